// See cursor.h. The worker is a small machine: `phase` says what it is about to do or waits for;
// pump() takes steps until one of them has to wait. complete() of the sink, timers and wake-ups
// change the phase and pump again. Everything below runs on the worker's thread but for the five
// functions at the end.
#include "bridge/cursor.h"
#include "bridge/cursor_db.h"
#include "bridge/group.h"
#include "bridge/log.h"
#include "bridge/replay.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <runnel/clock.h>
#include <runnel/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES      131072
#define REPLAY_AT_ONCE   64
#define LINE_BUF_MAX     (4 << 20) // more than any point's line
#define START_RETRY_MS   1000
#define STORE_RETRY_MS   250
#define COMPLAIN_MS      60000
#define PENDING_MAX      256
#define REWINDS_IN_A_ROW 3
#define TICK_MS          1000
#define NS_PER_MS        1000000

enum phase {
    PHASE_START, // open the cursor's file, the log, dead.db
    PHASE_OPEN,  // open the sink
    PHASE_READY, // look for something to do
    PHASE_BURY,  // store dead letters, then act on `action`
    PHASE_WRITE, // give action.set to the sink
    PHASE_OUT,   // a write is out
    PHASE_FLUSH, // ask the sink to flush
    PHASE_FLUSH_OUT,
    PHASE_COMMIT, // move the cursor to flush_upto
    PHASE_WAIT,   // for the wait timer, then `after_wait`
};

// What was written but not yet committed.
struct pending {
    uint64_t position;
    int64_t due_ms; // may be flushed from then on
    bool letters;   // the replayed letters are among it
};

struct cursor {
    const struct cursor_conf *conf;
    const struct cursor_env *env;
    const struct cursor_hooks *hooks;
    struct cursor_shared shared;
    pthread_t thread;
    bool started; // and not joined
    struct rn_loop *loop;
    struct rn_wake *wake;
    struct rn_timer *wait, *gather, *settle, *tick;
    _Atomic bool stop, replay_asked;

    struct cursor_db db;
    struct log_reader *reader;
    struct deadletters *dead;
    struct sink_host host;
    void *sink;
    bool sink_open;

    enum phase phase, after_wait;
    bool pumping, hungry, gathering, letters_waiting;
    struct rn_complaint trouble, burials;
    int64_t said_ms;      // when trouble of the sink was last logged
    enum policy_say said; // and which
    uint32_t unsaid;      // troubles since then that were not
    bool recovery_is_due; // the last trouble was logged: its end will be

    // The chunk that was read: runs[next..nruns) are still to be grouped.
    struct log_run *owned[GROUP_RUNS];
    const struct rn_run *runs[GROUP_RUNS];
    uint32_t nowned, nruns, next;
    uint64_t read_upto; // of the log, by reading; beyond the commit
    // Letters that are being replayed instead of a chunk.
    struct replay_run *replay[REPLAY_AT_ONCE];
    uint32_t nreplay;
    bool replaying; // the group is made of them

    struct group *group; // the group being written; n = 0: none
    struct policy *policy;
    struct policy_action action;
    const struct policy_set *to_bury;
    char reason[240];
    bool begun;                          // the policy has the group
    struct pending pending[PENDING_MAX]; // oldest first
    uint32_t npending;
    uint64_t flush_upto;
    uint32_t flush_n; // entries of pending that the flush is for
    uint32_t rewinds; // since the last commit
    bool rewind;
};

static void pump(struct cursor *c);

// ---- what others see --------------------------------------------------------------------------

void cursor_shared_text(struct cursor_shared *s, const char *text)
{
    uint64_t words[CURSOR_TEXT_WORDS] = {0};
    snprintf((char *)words, sizeof words, "%s", text);
    uint32_t seq = atomic_load_explicit(&s->text_seq, memory_order_relaxed);
    atomic_store(&s->text_seq, seq + 1);
    for (size_t i = 0; i < CURSOR_TEXT_WORDS; i++)
        atomic_store(&s->text[i], words[i]);
    atomic_store(&s->text_seq, seq + 2);
}

void cursor_shared_read_text(struct cursor_shared *s, char out[CURSOR_TEXT_WORDS * 8])
{
    uint64_t words[CURSOR_TEXT_WORDS];
    uint32_t before, after;
    do {
        before = atomic_load(&s->text_seq);
        for (size_t i = 0; i < CURSOR_TEXT_WORDS; i++)
            words[i] = atomic_load(&s->text[i]);
        after = atomic_load(&s->text_seq);
    } while (before != after || before % 2);
    memcpy(out, words, sizeof words);
    out[sizeof words - 1] = 0;
}

static void set_state(struct cursor *c, enum cursor_state state, const char *text)
{
    atomic_store(&c->shared.state, (int)state);
    cursor_shared_text(&c->shared, text);
}

static void publish_position(struct cursor *c)
{
    atomic_store(&c->shared.position, c->db.position);
    rn_wake_send(c->env->moved);
}

// ---- waiting ----------------------------------------------------------------------------------

static void wait_until(struct cursor *c, int64_t mono_ms, enum phase then)
{
    c->phase = PHASE_WAIT;
    c->after_wait = then;
    rn_timer_start(c->wait, mono_ms - rn_clock_mono_ms(), 0);
}

// Trouble of our own (log, disk): said, counted, tried again.
static void own_trouble(struct cursor *c, const struct rn_err *err, int64_t after_ms)
{
    enum phase again = c->phase;
    atomic_fetch_add(&c->shared.errors, 1);
    rn_complain(&c->trouble, rn_clock_mono_ms(), COMPLAIN_MS, RN_LOG_ERROR, "cursor_trouble",
                "cursor=%s err=%s", c->conf->name, RN_Q(err->text));
    set_state(c, c->phase == PHASE_START ? CURSOR_STARTING : CURSOR_RETRYING, err->text);
    wait_until(c, rn_clock_mono_ms() + after_ms, again);
}

static void own_recovery(struct cursor *c)
{
    static const enum cursor_state states[] = {
        [POLICY_OK] = CURSOR_OK, [POLICY_RETRYING] = CURSOR_RETRYING, [POLICY_HELD] = CURSOR_HELD};
    if (!c->trouble.active)
        return;
    c->trouble = (struct rn_complaint){0};
    rn_log(RN_LOG_INFO, "cursor_recovered", "cursor=%s", c->conf->name);
    set_state(c, states[c->policy->state], "");
}

// A database that comes and goes every second is logged once a minute.
static bool quiet(struct cursor *c, enum policy_say what)
{
    int64_t now_ms = rn_clock_mono_ms();
    if (c->said == what && now_ms - c->said_ms < COMPLAIN_MS) {
        c->unsaid++;
        return true;
    }
    c->said_ms = now_ms;
    c->said = what;
    c->recovery_is_due = true;
    return false;
}

static void say_recovered(struct cursor *c)
{
    set_state(c, CURSOR_OK, "");
    if (c->recovery_is_due)
        rn_log(RN_LOG_INFO, "sink_recovered", "sink=%s", c->conf->name);
    c->recovery_is_due = false;
}

static void say(struct cursor *c, enum policy_say what, const char *text)
{
    atomic_store(&c->shared.retries, c->policy->retries);
    if (what == POLICY_SAY_NOTHING)
        return;
    if (what == POLICY_SAY_RECOVERED) {
        say_recovered(c);
        return;
    }
    bool held = what == POLICY_SAY_HELD;
    set_state(c, held ? CURSOR_HELD : CURSOR_RETRYING, text);
    if (quiet(c, what))
        return;
    if (held)
        rn_log(RN_LOG_ERROR, "sink_held", "sink=%s retry_ms=%" PRId64 " repeated=%u err=%s",
               c->conf->name, c->policy->conf.hold_ms, c->unsaid, RN_Q(text));
    else
        rn_log(RN_LOG_WARN, "sink_retrying", "sink=%s repeated=%u err=%s", c->conf->name, c->unsaid,
               RN_Q(text));
    c->unsaid = 0;
}

// ---- start ------------------------------------------------------------------------------------

static int open_files(struct cursor *c, struct rn_err *err)
{
    const struct cursors_conf *conf = c->env->conf;
    int rc = RN_OK;
    if (!c->db.db) {
        rc = cursor_db_open(&c->db, conf->folder, c->conf->name, conf->log_id, conf->log_head, err);
        if (rc == RN_OK && c->hooks)
            rc = c->hooks->opened(c->hooks->arg, c->db.db, err);
        if (rc < 0) {
            cursor_db_close(&c->db);
            return rc;
        }
    }
    if (!c->reader)
        rc = log_reader_open(&c->reader, conf->folder, conf->schema_cache_bytes, err);
    struct deadletters_conf dead = {conf->folder, conf->dead_max_bytes, conf->dead_max_age_ms};
    if (rc == RN_OK && !c->dead)
        rc = deadletters_open(&c->dead, &dead, err);
    return rc;
}

static void start(struct cursor *c)
{
    struct rn_err err;
    if (open_files(c, &err) < 0) {
        own_trouble(c, &err, START_RETRY_MS);
        return;
    }
    if (c->db.quarantined)
        rn_log(RN_LOG_ERROR, "cursor_quarantined", "cursor=%s", c->conf->name);
    own_recovery(c);
    c->read_upto = c->db.position;
    c->host.saved = rn_buf_span(&c->db.saved);
    c->phase = PHASE_OPEN;
    publish_position(c);
}

// A sink's state is committed before it first writes, so that it knows what a crash leaves behind
// for its own.
static int commit_first_state(struct cursor *c, struct rn_err *err)
{
    if (!c->conf->sink->save || c->db.saved.len)
        return RN_OK;
    c->conf->sink->save(c->sink, &c->db.saved);
    int rc = cursor_db_move(&c->db, c->db.position, c->hooks, err);
    if (rc < 0)
        rn_buf_clear(&c->db.saved);
    return rc;
}

static void open_sink(struct cursor *c)
{
    struct rn_err err;
    const struct rn_sink *sink = c->conf->sink;
    memset(c->sink, 0, sink->state_size);
    c->host.saved = rn_buf_span(&c->db.saved);
    if (sink->open(c->sink, c->conf->sink_conf, c->loop, &c->host, &err) < 0) {
        struct policy_action action = {0};
        sink->close(c->sink);
        policy_trouble(c->policy, SINK_RETRY, 0, rn_clock_mono_ms(), &action);
        say(c, action.say, err.text);
        wait_until(c, action.until_ms, PHASE_OPEN);
        return;
    }
    if (commit_first_state(c, &err) < 0) {
        sink->close(c->sink);
        own_trouble(c, &err, STORE_RETRY_MS);
        return;
    }
    own_recovery(c);
    c->sink_open = true;
    set_state(c, CURSOR_OK, "");
    say(c, policy_success(c->policy), "");
    c->phase = PHASE_READY;
}

// ---- chunks -----------------------------------------------------------------------------------

static void drop_chunk(struct cursor *c)
{
    group_hide(c->group);
    c->group->n = 0;
    for (uint32_t i = 0; i < c->nowned; i++)
        log_run_free(c->owned[i]);
    c->nowned = c->nruns = c->next = 0;
}

static void drop_replay(struct cursor *c)
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

// What has to rest is flushed at most once a second.
static void push_pending(struct cursor *c, uint64_t position, bool letters)
{
    const struct rn_sink *sink = c->conf->sink;
    int64_t settle = sink->settle_ms ? sink->settle_ms(c->sink) : 0;
    int64_t due = rn_clock_mono_ms() + settle;
    if (settle)
        due += TICK_MS - due % TICK_MS;
    if (c->npending == PENDING_MAX) // the newest entry then speaks for more
        letters |= c->pending[--c->npending].letters;
    c->pending[c->npending++] = (struct pending){position, due, letters};
}

// Reads the next chunk; false if there is nothing.
static bool read_chunk(struct cursor *c)
{
    struct rn_err err;
    uint32_t max = (uint32_t)c->conf->opts->max_batches;
    int n = log_read(c->reader, c->read_upto, max, CHUNK_BYTES, c->owned, &err);
    if (n < 0) {
        own_trouble(c, &err, STORE_RETRY_MS);
        return true;
    }
    own_recovery(c);
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
        drop_chunk(c);
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

static void begin_group(struct cursor *c)
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

static void rewind_cursor(struct cursor *c)
{
    drop_chunk(c);
    drop_replay(c); // their marks are still there
    atomic_store(&c->replay_asked, true);
    c->npending = 0;
    c->read_upto = c->db.position;
    c->rewind = false;
    c->rewinds++;
    c->hungry = true;
    atomic_fetch_add(&c->shared.rewinds, 1);
    rn_log(RN_LOG_WARN, "sink_rewind", "sink=%s position=%" PRIu64, c->conf->name, c->read_upto);
    c->phase = PHASE_READY;
}

static void finish_group(struct cursor *c)
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
            drop_chunk(c);
        }
        push_pending(c, position, false);
    }
    c->group->n = 0;
    c->phase = PHASE_READY;
}

// ---- dead letters -----------------------------------------------------------------------------

static int bury_point(struct cursor *c, uint32_t point, struct rn_buf *line, struct rn_err *err)
{
    const struct rn_run *run = NULL;
    if (c->replaying) { // each of its runs is one point
        int rc = deadletters_failed(c->dead, c->replay[point]->letter, c->reason, err);
        c->replay[point]->letter = rc < 0 ? c->replay[point]->letter : 0;
        return rc;
    }
    rn_buf_clear(line);
    int rc = group_line(c->group, point, line, &run);
    if (rc <= 0)
        return rc < 0 ? rn_fail(err, rc, "out of memory for a dead letter") : RN_OK;
    struct dead_letter letter = {.kind = DEAD_POINT,
                                 .sink = c->conf->name,
                                 .dev = run->dev,
                                 .install = run->install,
                                 .seq = run->seq,
                                 .type = run->type,
                                 .time_ms = rn_clock_utc_ms(),
                                 .body = rn_buf_span(line),
                                 .reason = c->reason};
    return deadletters_put(c->dead, &letter, err);
}

static int bury_set(struct cursor *c, const struct policy_set *set, struct rn_err *err)
{
    struct rn_buf line;
    int rc = RN_OK;
    rn_buf_init(&line, LINE_BUF_MAX);
    for (uint32_t i = 0; i < POLICY_MAX_POINTS && rc >= 0; i++)
        if (policy_set_has(set, i))
            rc = bury_point(c, i, &line, err);
    rn_buf_release(&line);
    if (rc >= 0)
        rc = deadletters_commit(c->dead, err);
    else
        deadletters_rollback(c->dead);
    return rc;
}

static void act(struct cursor *c)
{
    switch (c->action.what) {
    case POLICY_WRITE:
        c->phase = PHASE_WRITE;
        break;
    case POLICY_WAIT:
        wait_until(c, c->action.until_ms, PHASE_WRITE);
        break;
    case POLICY_DONE:
        finish_group(c);
        break;
    }
}

static void bury(struct cursor *c)
{
    struct rn_err err;
    if (c->to_bury) {
        if (bury_set(c, c->to_bury, &err) < 0) {
            own_trouble(c, &err, STORE_RETRY_MS);
            return;
        }
        own_recovery(c);
        atomic_fetch_add(&c->shared.dead, c->to_bury->count);
        rn_complain(&c->burials, rn_clock_mono_ms(), COMPLAIN_MS, RN_LOG_WARN,
                    "points_dead_lettered", "sink=%s points=%u reason=%s", c->conf->name,
                    c->to_bury->count, RN_Q(c->reason));
        c->to_bury = NULL;
    }
    if (!c->begun && c->group->all.count == 0) {
        finish_group(c);
        return;
    }
    if (!c->begun)
        policy_begin(c->policy, &c->group->all, &c->action);
    c->begun = true;
    act(c);
}

// ---- writing ----------------------------------------------------------------------------------

static void write_set(struct cursor *c)
{
    struct rn_err err;
    if (c->action.what == POLICY_WAIT) // the wait is over
        policy_again(c->policy, &c->action);
    if (c->hooks) {
        c->group->nview = c->group->n;
    } else if (group_show(c->group, c->action.set) < 0) {
        rn_fail(&err, RN_ENOMEM, "out of memory");
        own_trouble(c, &err, STORE_RETRY_MS);
        return;
    }
    atomic_fetch_add(&c->shared.writes, 1);
    c->phase = PHASE_OUT;
    c->conf->sink->write(c->sink, c->group->view, c->group->nview);
}

static void on_written(struct cursor *c, const struct sink_result *result)
{
    uint32_t bad[SINK_RESULT_POINTS];
    uint8_t suspects[POLICY_SET_BYTES];
    const char *text = result->text ? result->text : "";
    struct policy_result translated = {.outcome = result->outcome,
                                       .retry_after_ms = result->retry_after_ms,
                                       .dropped = result->dropped};
    for (uint32_t i = 0; i < result->nbad && i < SINK_RESULT_POINTS; i++) {
        bad[i] = group_number(c->group, result->bad[i]);
        translated.nbad = i + 1;
    }
    translated.bad = bad;
    if (result->outcome == SINK_POISON && result->suspect) {
        group_suspects(c->group, result, c->sink, suspects);
        translated.suspects = suspects;
    }
    if (c->hooks)
        c->group->nview = 0;
    group_hide(c->group);
    policy_result(c->policy, &translated, rn_clock_mono_ms(), &c->action);
    say(c, c->action.say, text);
    snprintf(c->reason, sizeof c->reason, "%s", text);
    c->to_bury = c->action.dead;
    c->rewind |= result->rewind && c->npending && c->rewinds < REWINDS_IN_A_ROW;
    c->phase = PHASE_BURY;
}

// ---- flush and commit -------------------------------------------------------------------------

// How many pending entries are due now.
static uint32_t due_entries(const struct cursor *c, int64_t mono_ms)
{
    uint32_t n = 0;
    while (n < c->npending && c->pending[n].due_ms <= mono_ms)
        n++;
    return n;
}

static void begin_flush(struct cursor *c, uint32_t n)
{
    c->flush_n = n;
    c->flush_upto = c->pending[n - 1].position;
    c->phase = c->conf->sink->flush ? PHASE_FLUSH : PHASE_COMMIT;
}

static void on_flushed(struct cursor *c, const struct sink_result *result)
{
    if (result->rewind && c->rewinds < REWINDS_IN_A_ROW) {
        rewind_cursor(c);
        return;
    }
    if (result->outcome == SINK_DONE) {
        say(c, policy_success(c->policy), "");
        c->phase = PHASE_COMMIT;
        return;
    }
    struct policy_action action = {0};
    policy_trouble(c->policy, result->outcome, result->retry_after_ms, rn_clock_mono_ms(), &action);
    say(c, action.say, result->text ? result->text : "");
    wait_until(c, action.until_ms, PHASE_FLUSH);
}

// Letters that are durable where they belong go; those that failed again have lost their id.
static int forget_letters(struct cursor *c, struct rn_err *err)
{
    int rc = RN_OK;
    for (uint32_t i = 0; i < c->nreplay && rc >= 0; i++)
        if (c->replay[i]->letter)
            rc = deadletters_delete(c->dead, c->replay[i]->letter, NULL, err);
    return rc;
}

static void commit(struct cursor *c)
{
    struct rn_err err;
    bool letters = false;
    for (uint32_t i = 0; i < c->flush_n; i++)
        letters |= c->pending[i].letters;
    rn_buf_clear(&c->db.saved);
    if (c->conf->sink->save)
        c->conf->sink->save(c->sink, &c->db.saved);
    int rc = cursor_db_move(&c->db, c->flush_upto, c->hooks, &err);
    if (rc >= 0 && letters)
        rc = forget_letters(c, &err);
    if (rc < 0) {
        own_trouble(c, &err, STORE_RETRY_MS);
        return;
    }
    own_recovery(c);
    if (c->hooks)
        c->hooks->committed(c->hooks->arg);
    if (letters)
        drop_replay(c);
    c->npending -= c->flush_n;
    memmove(c->pending, c->pending + c->flush_n, c->npending * sizeof c->pending[0]);
    c->rewinds = 0;
    publish_position(c);
    c->phase = PHASE_READY;
}

// ---- replay -----------------------------------------------------------------------------------

struct loading {
    struct cursor *cursor;
    int64_t broken; // a letter that is no line; 0: none
    struct rn_err err;
};

static bool load_letter(void *arg, const struct dead_letter *letter)
{
    struct loading *load = arg;
    struct cursor *c = load->cursor;
    if (replay_run_new(&c->replay[c->nreplay], letter, &load->err) < 0) {
        load->broken = letter->id;
        return false;
    }
    c->runs[c->nreplay] = &c->replay[c->nreplay]->run;
    return ++c->nreplay < REPLAY_AT_ONCE;
}

// True if letters were loaded (or one of them was found broken): there is more to do.
static bool load_letters(struct cursor *c)
{
    struct rn_err err;
    struct loading load = {.cursor = c};
    int n = deadletters_waiting(c->dead, c->conf->name, REPLAY_AT_ONCE, load_letter, &load, &err);
    if (n >= 0 && load.broken)
        n = deadletters_failed(c->dead, load.broken, load.err.text, &err);
    if (n < 0) {
        drop_replay(c);
        own_trouble(c, &err, STORE_RETRY_MS);
        return true;
    }
    c->letters_waiting = n > 0;
    if (c->nreplay == 0)
        return c->letters_waiting;
    c->nruns = c->nreplay;
    c->next = 0;
    c->replaying = true;
    begin_group(c);
    c->nruns = 0;
    return true;
}

// ---- the machine ------------------------------------------------------------------------------

static void start_gathering(struct cursor *c)
{
    if (c->hungry || c->gathering)
        return;
    c->gathering = true;
    rn_timer_start(c->gather, c->conf->opts->gather_ms, 0);
}

// Looks for something to do; false if there is nothing.
static bool look(struct cursor *c)
{
    int64_t now_ms = rn_clock_mono_ms();
    uint32_t due = due_entries(c, now_ms);
    if (c->rewind) {
        rewind_cursor(c);
        return true;
    }
    if (due) {
        begin_flush(c, due);
        return true;
    }
    if (c->next < c->nruns) {
        begin_group(c);
        return true;
    }
    if (!c->nreplay && (atomic_exchange(&c->replay_asked, false) || c->letters_waiting) &&
        load_letters(c))
        return true;
    if (c->hungry) {
        if (read_chunk(c)) {
            c->hungry = c->nowned >= (uint32_t)c->conf->opts->max_batches ||
                        c->conf->opts->gather_ms == 0 || c->phase == PHASE_WAIT;
            return true;
        }
        c->hungry = false; // whatever comes is announced
    } else if (atomic_load(c->env->head) > c->read_upto) {
        start_gathering(c);
    }
    if (c->npending)
        rn_timer_start(c->settle, c->pending[0].due_ms - now_ms, 0);
    return false;
}

// One step; false if the worker has to wait for something.
static bool step(struct cursor *c)
{
    switch (c->phase) {
    case PHASE_START:
        start(c);
        return true;
    case PHASE_OPEN:
        open_sink(c);
        return true;
    case PHASE_READY:
        return look(c);
    case PHASE_BURY:
        bury(c);
        return true;
    case PHASE_WRITE:
        write_set(c);
        return true;
    case PHASE_FLUSH:
        c->phase = PHASE_FLUSH_OUT;
        c->conf->sink->flush(c->sink);
        return true;
    case PHASE_COMMIT:
        commit(c);
        return true;
    case PHASE_OUT:
    case PHASE_FLUSH_OUT:
    case PHASE_WAIT:
        break;
    }
    return false;
}

static void pump(struct cursor *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    while (!atomic_load(&c->stop) && step(c))
        ;
    c->pumping = false;
}

static void on_complete(void *arg, const struct sink_result *result)
{
    struct cursor *c = arg;
    assert(c->phase == PHASE_OUT || c->phase == PHASE_FLUSH_OUT);
    if (c->phase == PHASE_OUT)
        on_written(c, result);
    else
        on_flushed(c, result);
    pump(c);
}

static void on_wait(void *arg)
{
    struct cursor *c = arg;
    if (c->phase == PHASE_WAIT)
        c->phase = c->after_wait;
    pump(c);
}

static void on_gathered(void *arg)
{
    struct cursor *c = arg;
    c->gathering = false;
    c->hungry = true;
    pump(c);
}

static void on_settled(void *arg)
{
    pump(arg);
}

static void on_tick(void *arg)
{
    struct cursor *c = arg;
    if (c->sink_open && c->conf->sink->tick)
        c->conf->sink->tick(c->sink, rn_clock_mono_ms());
    if (atomic_load(c->env->head) > c->read_upto) // should an announcement ever come too early
        start_gathering(c);
    pump(c);
}

static void on_wake(void *arg)
{
    struct cursor *c = arg;
    if (atomic_load(&c->stop)) {
        rn_loop_stop(c->loop);
        return;
    }
    if (atomic_load(c->env->head) > c->read_upto)
        start_gathering(c);
    pump(c);
}

// ---- the thread -------------------------------------------------------------------------------

static void close_all(struct cursor *c)
{
    if (c->sink_open)
        c->conf->sink->close(c->sink);
    drop_chunk(c);
    drop_replay(c);
    if (c->hooks)
        c->hooks->closing(c->hooks->arg);
    log_reader_close(c->reader);
    deadletters_close(c->dead);
    cursor_db_close(&c->db);
    set_state(c, CURSOR_STOPPED, "");
}

static void *worker(void *arg)
{
    struct cursor *c = arg;
    char name[16];
    snprintf(name, sizeof name, "cur-%.11s", c->conf->name);
    (void)pthread_setname_np(pthread_self(), name);
    c->hungry = true;
    atomic_store(&c->replay_asked, true); // marks from before the start
    rn_timer_start(c->tick, TICK_MS, TICK_MS);
    pump(c);
    if (!atomic_load(&c->stop))
        rn_loop_run(c->loop);
    close_all(c);
    return NULL;
}

static int make_loop(struct cursor *c, struct rn_err *err)
{
    int rc = rn_loop_new(&c->loop, err);
    if (rc == RN_OK)
        rc = rn_wake_new(&c->wake, c->loop, on_wake, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->wait, c->loop, on_wait, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->gather, c->loop, on_gathered, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->settle, c->loop, on_settled, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->tick, c->loop, on_tick, c, err);
    if (rc == RN_OK && c->hooks)
        rc = c->hooks->prepare(c->hooks->arg, c->loop, err);
    return rc;
}

static void release(struct cursor *c)
{
    if (c->hooks)
        c->hooks->closing(c->hooks->arg);
    rn_timer_free(c->wait);
    rn_timer_free(c->gather);
    rn_timer_free(c->settle);
    rn_timer_free(c->tick);
    rn_wake_free(c->wake);
    rn_loop_free(c->loop);
    free(c->group);
    free(c->policy);
    free(c->sink);
    free(c);
}

int cursor_start(struct cursor *c, struct rn_err *err)
{
    sigset_t all, old;
    sigfillset(&all); // signals are for the main thread
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&c->thread, NULL, worker, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    c->started = rc == 0;
    return rc ? rn_fail(err, RN_ELIMIT, "cannot start the thread of cursor %s", c->conf->name)
              : RN_OK;
}

int cursor_new(struct cursor **out, const struct cursor_conf *conf, const struct cursor_env *env,
               const struct cursor_hooks *hooks, struct rn_err *err)
{
    assert(conf->opts->max_batches <= GROUP_RUNS);
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    c->conf = conf;
    c->env = env;
    c->hooks = hooks;
    c->host = (struct sink_host){.arg = c, .complete = on_complete, .name = conf->name};
    c->group = calloc(1, sizeof *c->group);
    c->policy = calloc(1, sizeof *c->policy);
    c->sink = calloc(1, conf->sink->state_size);
    int rc = c->group && c->policy && c->sink ? make_loop(c, err)
                                              : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc == RN_OK) {
        struct policy_conf policy = {conf->opts->retry_min_ms, conf->opts->retry_max_ms,
                                     conf->opts->hold_retry_ms, (uint64_t)rn_clock_utc_ns()};
        policy_init(c->policy, &policy);
    }
    if (rc < 0) {
        release(c);
        return rc;
    }
    *out = c;
    return RN_OK;
}

void cursor_wake(struct cursor *c)
{
    rn_wake_send(c->wake);
}

void cursor_replay(struct cursor *c)
{
    atomic_store(&c->replay_asked, true);
    rn_wake_send(c->wake);
}

void cursor_stop(struct cursor *c)
{
    atomic_store(&c->stop, true);
    rn_wake_send(c->wake);
}

void cursor_join(struct cursor *c)
{
    if (c->started)
        pthread_join(c->thread, NULL);
    c->started = false;
}

void cursor_free(struct cursor *c)
{
    if (c)
        release(c);
}

struct cursor_shared *cursor_shared(struct cursor *c)
{
    return &c->shared;
}
