// See policy.h.
#include "bridge/sink/policy.h"

#include <assert.h>
#include <string.h>

#define LIMIT_RISES_AFTER 64 // good writes
#define UNNAMED_DEAD_MAX  32 // in a row, before it looks like the other side's fault
#define BACKOFF_MAX_SHIFT 20

void policy_init(struct policy *p, const struct policy_conf *conf)
{
    memset(p, 0, sizeof *p);
    p->conf = *conf;
    p->limit = POLICY_MAX_POINTS;
    rn_rand_init(&p->rand, conf->seed);
}

static struct policy_set *top(struct policy *p)
{
    return &p->set[p->depth - 1];
}

static void remove_all(struct policy_set *from, const struct policy_set *what)
{
    for (uint32_t i = 0; i < POLICY_SET_BYTES; i++)
        from->bits[i] &= (uint8_t)~what->bits[i];
    from->count -= what->count;
}

// Puts `first`, a proper part of the top, on top of what is then left of it.
static void split_off(struct policy *p, const struct policy_set *first)
{
    assert(p->depth < POLICY_DEPTH && first->count && first->count < top(p)->count);
    remove_all(top(p), first);
    p->set[p->depth++] = *first;
    p->splits++;
}

static void halve(struct policy *p)
{
    const struct policy_set *whole = top(p);
    struct policy_set *first = &p->scratch;
    memset(first, 0, sizeof *first);
    first->suspects = whole->suspects;
    for (uint32_t i = 0; first->count < whole->count / 2; i++)
        if (policy_set_has(whole, i))
            policy_set_add(first, i);
    split_off(p, first);
}

// The action that goes on with what is left.
static void go_on(struct policy *p, struct policy_action *action)
{
    while (p->depth && top(p)->count == 0)
        p->depth--;
    if (p->depth == 0) {
        action->what = POLICY_DONE;
        return;
    }
    while (top(p)->count > p->limit)
        halve(p);
    action->what = POLICY_WRITE;
    action->set = top(p);
}

void policy_begin(struct policy *p, const struct policy_set *all, struct policy_action *action)
{
    *action = (struct policy_action){0};
    p->set[0] = *all;
    p->set[0].suspects = false;
    p->depth = 1;
    go_on(p, action);
}

void policy_again(struct policy *p, struct policy_action *action)
{
    *action = (struct policy_action){0};
    go_on(p, action);
}

// ---- waiting ----------------------------------------------------------------------------------

static int64_t backoff(struct policy *p)
{
    uint32_t shift = p->failures < BACKOFF_MAX_SHIFT ? p->failures : BACKOFF_MAX_SHIFT;
    int64_t most = p->conf.retry_min_ms << shift;
    if (most > p->conf.retry_max_ms)
        most = p->conf.retry_max_ms;
    return 1 + (int64_t)rn_rand_below(&p->rand, (uint64_t)most);
}

void policy_trouble(struct policy *p, enum sink_outcome outcome, int64_t retry_after_ms,
                    int64_t mono_ms, struct policy_action *action)
{
    bool hold = outcome != SINK_RETRY;
    enum policy_state next = hold ? POLICY_HELD : POLICY_RETRYING;
    action->what = POLICY_WAIT;
    if (hold)
        action->until_ms = mono_ms + p->conf.hold_ms;
    else if (retry_after_ms > 0) // all who were told the same must not come back at once
        action->until_ms = mono_ms + retry_after_ms +
                           (int64_t)rn_rand_below(&p->rand, (uint64_t)p->conf.retry_min_ms + 1);
    else
        action->until_ms = mono_ms + backoff(p);
    if (p->state != next)
        action->say = hold ? POLICY_SAY_HELD : POLICY_SAY_TROUBLE;
    p->state = next;
    p->failures++;
    p->retries++;
}

enum policy_say policy_success(struct policy *p)
{
    bool told = p->state != POLICY_OK;
    p->state = POLICY_OK;
    p->failures = 0;
    return told ? POLICY_SAY_RECOVERED : POLICY_SAY_NOTHING;
}

// ---- what came of a write ---------------------------------------------------------------------

static void written(struct policy *p, struct policy_action *action)
{
    action->say = policy_success(p);
    p->unnamed_dead = 0;
    p->depth--;
    if (p->limit < POLICY_MAX_POINTS && ++p->good_writes >= LIMIT_RISES_AFTER) {
        p->good_writes = 0;
        p->limit = p->limit < POLICY_MAX_POINTS / 2 ? p->limit * 2 : POLICY_MAX_POINTS;
    }
    go_on(p, action);
}

static void give_up_top(struct policy *p, struct policy_action *action)
{
    p->dead = *top(p);
    p->dead_points += p->dead.count;
    action->dead = &p->dead;
    p->depth--;
}

static void too_large(struct policy *p, struct policy_action *action)
{
    if (top(p)->count == 1) {
        give_up_top(p, action);
    } else {
        p->limit = top(p)->count / 2;
        p->good_writes = 0;
    }
    go_on(p, action);
}

// Points of the top set that were named: they die. False if none of them is in it.
static bool named_die(struct policy *p, const struct policy_result *result,
                      struct policy_action *action)
{
    memset(&p->dead, 0, sizeof p->dead);
    for (uint32_t i = 0; i < result->nbad; i++)
        if (result->bad[i] < POLICY_MAX_POINTS && policy_set_has(top(p), result->bad[i]))
            policy_set_add(&p->dead, result->bad[i]);
    if (p->dead.count == 0)
        return false;
    remove_all(top(p), &p->dead);
    p->dead_points += p->dead.count;
    p->unnamed_dead = 0;
    action->dead = &p->dead;
    return true;
}

static bool choose_suspects(struct policy *p, const uint8_t *suspects)
{
    const struct policy_set *whole = top(p);
    struct policy_set *chosen = &p->scratch;
    if (!suspects || whole->suspects)
        return false;
    memset(chosen, 0, sizeof *chosen);
    for (uint32_t i = 0; i < POLICY_SET_BYTES; i++) {
        chosen->bits[i] = whole->bits[i] & suspects[i];
        chosen->count += (uint32_t)__builtin_popcount(chosen->bits[i]);
    }
    if (chosen->count == 0 || chosen->count == whole->count)
        return false;
    chosen->suspects = true;
    split_off(p, chosen);
    return true;
}

// The set cannot be divided further, or the other side speaks of all of it. False: held.
static bool whole_dies(struct policy *p, bool named, int64_t mono_ms, struct policy_action *action)
{
    if (named) {
        p->unnamed_dead = 0;
    } else if (++p->unnamed_dead > UNNAMED_DEAD_MAX) {
        p->unnamed_dead = 0;
        policy_trouble(p, SINK_HOLD, 0, mono_ms, action);
        return false;
    }
    give_up_top(p, action);
    return true;
}

static void poisoned(struct policy *p, const struct policy_result *result, int64_t mono_ms,
                     struct policy_action *action)
{
    bool all_dropped = result->dropped && result->dropped >= top(p)->count;
    if (p->state == POLICY_RETRYING) // it answers again
        action->say = policy_success(p);
    if (all_dropped || (top(p)->count == 1 && !result->nbad)) {
        if (!whole_dies(p, all_dropped, mono_ms, action))
            return;
    } else if (!named_die(p, result, action)) {
        if (top(p)->count == 1)
            give_up_top(p, action); // another point was named: that is no point of ours
        else if (!choose_suspects(p, result->suspects))
            halve(p);
    }
    go_on(p, action);
}

void policy_result(struct policy *p, const struct policy_result *result, int64_t mono_ms,
                   struct policy_action *action)
{
    *action = (struct policy_action){0};
    switch (result->outcome) {
    case SINK_DONE:
        written(p, action);
        break;
    case SINK_TOO_LARGE:
        too_large(p, action);
        break;
    case SINK_POISON:
        poisoned(p, result, mono_ms, action);
        break;
    case SINK_RETRY:
    case SINK_HOLD:
        policy_trouble(p, result->outcome, result->retry_after_ms, mono_ms, action);
        break;
    }
}

int64_t policy_rewind_pause_ms(uint32_t nth, int64_t settle_ms)
{
    if (nth <= POLICY_REWINDS_AT_ONCE)
        return 0;
    int64_t pause_ms = settle_ms << (nth - POLICY_REWINDS_AT_ONCE - 1);
    return pause_ms < POLICY_REWIND_PAUSE_MAX_MS ? pause_ms : POLICY_REWIND_PAUSE_MAX_MS;
}
