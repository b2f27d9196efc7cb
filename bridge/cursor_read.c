// What a cursor is to write: chunks of the log, dead letters that are replayed, and the groups that
// are made of them. See cursor_private.h.
#include "bridge/cursor_private.h"

#include <inttypes.h>
#include <runnel/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 131072
#define NS_PER_MS   1000000

// ---- chunks -----------------------------------------------------------------------------------

void cursor_drop_chunk(struct cursor *c)
{
    group_hide(c->group);
    c->group->n = 0;
    for (uint32_t i = 0; i < c->nowned; i++)
        log_run_free(c->owned[i]);
    c->nowned = c->nruns = c->next = 0;
}

void cursor_drop_replay(struct cursor *c)
{
    group_hide(c->group);
    c->group->n = 0;
    for (uint32_t i = 0; i < c->nreplay; i++)
        free(c->replay[i]);
    c->nreplay = 0;
    c->replaying = false;
}

// Rows that retention dropped before this cursor read them. A new cursor has missed nothing.
static void note_gap(struct cursor *c, uint64_t first)
{
    uint64_t rows = first - c->read_upto - 1;
    if (rows && c->read_upto && !c->db.fresh) {
        atomic_fetch_add(&c->shared.gap_rows, rows);
        rn_log(RN_LOG_WARN, "log_gap", "cursor=%s from=%" PRIu64 " rows=%" PRIu64, c->conf->name,
               c->read_upto + 1, rows);
    }
    c->db.fresh = false;
}

static bool wanted(const struct cursor *c, const struct log_run *run)
{
    if (c->hooks)
        return true;
    return run->run.grid && strchr(c->conf->opts->types, run->run.type);
}

static int64_t settle_ms(const struct cursor *c)
{
    const struct rn_sink *sink = c->conf->sink;
    return sink->settle_ms ? sink->settle_ms(c->sink) : 0;
}

// What has to rest is flushed at most once a second.
static void push_pending(struct cursor *c, uint64_t position, bool letters)
{
    int64_t settle = settle_ms(c);
    int64_t due = rn_clock_mono_ms() + settle;
    if (settle)
        due += CURSOR_TICK_MS - due % CURSOR_TICK_MS;
    if (c->npending == CURSOR_PENDING_MAX) // the newest entry then speaks for more
        letters |= c->pending[--c->npending].letters;
    c->pending[c->npending++] = (struct cursor_pending){position, due, letters};
}

bool cursor_read_chunk(struct cursor *c)
{
    struct rn_err err;
    uint32_t max = (uint32_t)c->conf->opts->max_batches;
    int n = log_read(c->reader, c->read_upto, max, CHUNK_BYTES, c->owned, &err);
    if (n < 0) {
        cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
        return true;
    }
    cursor_own_recovery(c);
    if (n == 0)
        return false;
    c->nowned = (uint32_t)n;
    note_gap(c, c->owned[0]->run.position);
    for (uint32_t i = 0; i < c->nowned; i++) {
        c->owned[i]->run.error = c->owned[i]->error;
        if (wanted(c, c->owned[i]))
            c->runs[c->nruns++] = &c->owned[i]->run;
    }
    c->read_upto = c->owned[c->nowned - 1]->run.position;
    if (c->nruns == 0) {
        cursor_drop_chunk(c);
        push_pending(c, c->read_upto, false);
    }
    return true;
}

// ---- groups -----------------------------------------------------------------------------------

static struct group_window time_window(const struct cursor *c)
{
    int64_t now_ms = rn_clock_utc_ms();
    return (struct group_window){(now_ms - c->env->conf->time_past_ms) * NS_PER_MS,
                                 (now_ms + c->env->conf->time_future_ms) * NS_PER_MS};
}

// verify sees batches whole, also those without a grid: one point stands for all.
static void fill_whole(struct cursor *c)
{
    struct group *g = c->group;
    memset(&g->all, 0, sizeof g->all);
    g->outside.count = 0;
    g->samples = g->bytes = 0;
    for (g->n = 0; g->n < c->nruns; g->n++) {
        g->run[g->n] = g->view[g->n] = c->runs[g->n];
        g->samples += c->runs[g->n]->grid ? rn_grid_samples(c->runs[g->n]->grid) : 0;
        g->bytes += c->runs[g->n]->body.len;
    }
    policy_set_add(&g->all, 0);
}

void cursor_begin_group(struct cursor *c)
{
    if (c->hooks) {
        fill_whole(c);
    } else {
        struct group_window window = time_window(c);
        (void)group_fill(c->group, c->runs + c->next, c->nruns - c->next, &window);
    }
    c->begun = false;
    c->to_bury = NULL;
    if (c->group->outside.count) {
        c->to_bury = &c->group->outside;
        snprintf(c->reason, sizeof c->reason, "its time is outside the window that is accepted");
    }
    c->phase = PHASE_BURY;
}

void cursor_rewind(struct cursor *c)
{
    cursor_drop_chunk(c);
    cursor_drop_replay(c); // their marks are still there
    atomic_store(&c->replay_asked, true);
    c->npending = 0;
    c->read_upto = c->db.position;
    c->rewind = false;
    c->rewinds++;
    c->hungry = true;
    atomic_fetch_add(&c->shared.rewinds, 1);
    int64_t pause_ms = policy_rewind_pause_ms(c->rewinds, settle_ms(c));
    rn_log(RN_LOG_WARN, "sink_rewind", "sink=%s position=%" PRIu64 " pause_ms=%" PRId64,
           c->conf->name, c->read_upto, pause_ms);
    c->phase = PHASE_READY;
    if (pause_ms)
        cursor_wait_until(c, rn_clock_mono_ms() + pause_ms, PHASE_READY);
}

void cursor_finish_group(struct cursor *c)
{
    group_hide(c->group);
    if (c->replaying) {
        push_pending(c, c->npending ? c->pending[c->npending - 1].position : c->db.position, true);
        c->replaying = false;
    } else {
        atomic_fetch_add(&c->shared.batches, c->group->n);
        atomic_fetch_add(&c->shared.samples, c->group->samples);
        atomic_fetch_add(&c->shared.bytes, c->group->bytes);
        uint64_t position = c->group->run[c->group->n - 1]->position;
        c->next += c->group->n;
        if (c->next == c->nruns) {
            position = c->read_upto;
            cursor_drop_chunk(c);
        }
        push_pending(c, position, false);
    }
    c->group->n = 0;
    c->phase = PHASE_READY;
}

// ---- replay -----------------------------------------------------------------------------------

struct loading {
    struct cursor *cursor;
    int64_t broken; // a letter that is no line; 0: none
    int rc;         // negative: a letter could not be loaded now
    struct rn_err err;
};

static bool load_letter(void *arg, const struct dead_letter *letter)
{
    struct loading *load = arg;
    struct cursor *c = load->cursor;
    int rc = replay_run_new(&c->replay[c->nreplay], letter, &load->err);
    if (rc == RN_ENOMEM)
        load->rc = rc;
    else if (rc < 0)
        load->broken = letter->id;
    if (rc < 0)
        return false;
    c->runs[c->nreplay] = &c->replay[c->nreplay]->run;
    return ++c->nreplay < CURSOR_REPLAY_AT_ONCE;
}

bool cursor_load_letters(struct cursor *c)
{
    struct rn_err err;
    struct loading load = {.cursor = c};
    int n = deadletters_waiting(c->dead, c->conf->name, CURSOR_REPLAY_AT_ONCE, load_letter, &load,
                                &err);
    if (n >= 0 && load.rc < 0) {
        err = load.err;
        n = load.rc;
    } else if (n >= 0 && load.broken) {
        n = deadletters_failed(c->dead, load.broken, load.err.text, &err);
    }
    if (n < 0) {
        cursor_drop_replay(c);
        atomic_store(&c->replay_asked, true); // their marks are still there
        cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
        return true;
    }
    c->letters_waiting = n > 0;
    if (c->nreplay == 0)
        return c->letters_waiting;
    c->nruns = c->nreplay;
    c->next = 0;
    c->replaying = true;
    cursor_begin_group(c);
    c->nruns = 0;
    return true;
}
