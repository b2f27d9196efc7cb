// How a cursor writes: dead letters first, then what the policy says, then flush and commit. See
// cursor_private.h.
#include "bridge/cursor_private.h"

#include <runnel/clock.h>
#include <stdio.h>
#include <string.h>

#define LINE_BUF_MAX (16 << 20) // more than any point: RN_BATCH_MAX_TEXT escaped, and its names

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
        cursor_wait_until(c, c->action.until_ms, PHASE_WRITE);
        break;
    case POLICY_DONE:
        cursor_finish_group(c);
        break;
    }
}

void cursor_bury(struct cursor *c)
{
    struct rn_err err;
    if (c->to_bury) {
        if (bury_set(c, c->to_bury, &err) < 0) {
            cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
            return;
        }
        cursor_own_recovery(c);
        atomic_fetch_add(&c->shared.dead, c->to_bury->count);
        rn_complain(&c->burials, rn_clock_mono_ms(), CURSOR_COMPLAIN_MS, RN_LOG_WARN,
                    "points_dead_lettered", "sink=%s points=%u reason=%s", c->conf->name,
                    c->to_bury->count, RN_Q(c->reason));
        c->to_bury = NULL;
    }
    if (!c->begun && c->group->all.count == 0) {
        cursor_finish_group(c);
        return;
    }
    if (!c->begun)
        policy_begin(c->policy, &c->group->all, &c->action);
    c->begun = true;
    act(c);
}

// ---- writing ----------------------------------------------------------------------------------

void cursor_write_set(struct cursor *c)
{
    struct rn_err err;
    if (c->action.what == POLICY_WAIT) // the wait is over
        policy_again(c->policy, &c->action);
    if (c->hooks) {
        c->group->nview = c->group->n;
    } else if (group_show(c->group, c->action.set) < 0) {
        rn_fail(&err, RN_ENOMEM, "out of memory");
        cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
        return;
    }
    atomic_fetch_add(&c->shared.writes, 1);
    c->phase = PHASE_OUT;
    c->conf->sink->write(c->sink, c->group->view, c->group->nview);
}

void cursor_written(struct cursor *c, const struct sink_result *result)
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
    cursor_say(c, c->action.say, text);
    snprintf(c->reason, sizeof c->reason, "%s", text);
    c->to_bury = c->action.dead;
    c->rewind |= result->rewind && c->npending && c->rewinds < POLICY_REWINDS_MAX;
    c->phase = PHASE_BURY;
}

// ---- flush and commit -------------------------------------------------------------------------

uint32_t cursor_due(const struct cursor *c, int64_t mono_ms)
{
    uint32_t n = 0;
    while (n < c->npending && c->pending[n].due_ms <= mono_ms)
        n++;
    return n;
}

void cursor_begin_flush(struct cursor *c, uint32_t n)
{
    c->flush_n = n;
    c->flush_upto = c->pending[n - 1].position;
    c->phase = c->conf->sink->flush ? PHASE_FLUSH : PHASE_COMMIT;
}

void cursor_flushed(struct cursor *c, const struct sink_result *result)
{
    if (result->rewind && c->rewinds < POLICY_REWINDS_MAX) {
        cursor_rewind(c);
        return;
    }
    if (result->outcome == SINK_DONE) {
        cursor_say(c, policy_success(c->policy), "");
        c->phase = PHASE_COMMIT;
        return;
    }
    struct policy_action action = {0};
    policy_trouble(c->policy, result->outcome, result->retry_after_ms, rn_clock_mono_ms(), &action);
    cursor_say(c, action.say, result->text ? result->text : "");
    cursor_wait_until(c, action.until_ms, PHASE_FLUSH);
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

void cursor_commit(struct cursor *c)
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
        cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
        return;
    }
    cursor_own_recovery(c);
    if (c->hooks)
        c->hooks->committed(c->hooks->arg);
    if (letters)
        cursor_drop_replay(c);
    c->npending -= c->flush_n;
    memmove(c->pending, c->pending + c->flush_n, c->npending * sizeof c->pending[0]);
    c->rewinds = 0;
    cursor_publish_position(c);
    c->phase = PHASE_READY;
}
