// What a cursor tells: its state to other threads, its troubles to the log. See cursor_private.h.
#include "bridge/cursor_private.h"

#include <inttypes.h>
#include <runnel/clock.h>
#include <stdio.h>
#include <string.h>

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

void cursor_set_state(struct cursor *c, enum cursor_state state, const char *text)
{
    atomic_store(&c->shared.state, (int)state);
    cursor_shared_text(&c->shared, text);
}

void cursor_publish_position(struct cursor *c)
{
    atomic_store(&c->shared.position, c->db.position);
    rn_wake_send(c->env->moved);
}

// ---- waiting ----------------------------------------------------------------------------------

void cursor_wait_until(struct cursor *c, int64_t mono_ms, enum cursor_phase then)
{
    c->phase = PHASE_WAIT;
    c->after_wait = then;
    rn_timer_start(c->wait, mono_ms - rn_clock_mono_ms(), 0);
}

void cursor_own_trouble(struct cursor *c, const struct rn_err *err, int64_t after_ms)
{
    enum cursor_phase again = c->phase;
    atomic_fetch_add(&c->shared.errors, 1);
    rn_complain(&c->trouble, rn_clock_mono_ms(), CURSOR_COMPLAIN_MS, RN_LOG_ERROR, "cursor_trouble",
                "cursor=%s err=%s", c->conf->name, RN_Q(err->text));
    cursor_set_state(c, c->phase == PHASE_START ? CURSOR_STARTING : CURSOR_RETRYING, err->text);
    cursor_wait_until(c, rn_clock_mono_ms() + after_ms, again);
}

void cursor_own_recovery(struct cursor *c)
{
    static const enum cursor_state states[] = {
        [POLICY_OK] = CURSOR_OK, [POLICY_RETRYING] = CURSOR_RETRYING, [POLICY_HELD] = CURSOR_HELD};
    if (!c->trouble.active)
        return;
    c->trouble = (struct rn_complaint){0};
    rn_log(RN_LOG_INFO, "cursor_recovered", "cursor=%s", c->conf->name);
    cursor_set_state(c, states[c->policy->state], "");
}

// A database that comes and goes every second is logged once a minute.
static bool quiet(struct cursor *c, enum policy_say what)
{
    int64_t now_ms = rn_clock_mono_ms();
    if (c->said == what && now_ms - c->said_ms < CURSOR_COMPLAIN_MS) {
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
    cursor_set_state(c, CURSOR_OK, "");
    if (c->recovery_is_due)
        rn_log(RN_LOG_INFO, "sink_recovered", "sink=%s", c->conf->name);
    c->recovery_is_due = false;
}

void cursor_say(struct cursor *c, enum policy_say what, const char *text)
{
    atomic_store(&c->shared.retries, c->policy->retries);
    if (what == POLICY_SAY_NOTHING)
        return;
    if (what == POLICY_SAY_RECOVERED) {
        say_recovered(c);
        return;
    }
    bool held = what == POLICY_SAY_HELD;
    cursor_set_state(c, held ? CURSOR_HELD : CURSOR_RETRYING, text);
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
