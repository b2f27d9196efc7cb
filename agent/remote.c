// See remote.h. One handler an event; each changes `saved` first and then lists the actions.
#include "agent/remote.h"

#include <stdio.h>
#include <string.h>

enum { TRIES = 3, REPORT_SLOWEST_MS = 300000, RESTARTS = 2, PROMPT_MIN_MS = 5000 };
// Ticks come every second. More than this between two events: the process did not run.
enum { RAN_MAX_MS = 3000 };

static void act(struct remote_actions *out, enum remote_action_type type)
{
    if (out->count < REMOTE_MAX_ACTIONS)
        out->item[out->count++] = (struct remote_action){.type = type};
}

static void apply(struct remote_actions *out, struct remote_name name)
{
    act(out, REMOTE_APPLY);
    out->item[out->count - 1].name = name;
}

static bool same(const struct remote_name *a, const struct remote_name *b)
{
    return a->revision == b->revision &&
           (a->revision == 0 || memcmp(a->hash, b->hash, sizeof a->hash) == 0);
}

// Persists and reports a verdict about a document.
static void judge(struct remote *x, struct remote_actions *out, enum rn_config_state verdict,
                  const struct remote_name *name, const char *path, const char *reason)
{
    x->saved.verdict = verdict;
    x->saved.judged = *name;
    snprintf(x->saved.path, sizeof x->saved.path, "%s", path ? path : "");
    snprintf(x->saved.reason, sizeof x->saved.reason, "%s", reason ? reason : "");
    x->saved.report_n++;
    x->unsaved_ms = 0;
    act(out, REMOTE_PERSIST);
    act(out, REMOTE_REPORT);
}

static void reset_clocks(struct remote *x)
{
    x->saved.connected_ms = 0;
    x->saved.unconnected_ms = 0;
}

// Persists that the candidate runs, puts it in force, and asks for the acknowledgement that
// confirms it. Also after a restart.
static void run_candidate(struct remote *x, struct remote_actions *out)
{
    x->got_through = false;
    x->saved.verdict = RN_CONFIG_PROBATION;
    x->saved.judged = x->saved.candidate;
    x->saved.path[0] = x->saved.reason[0] = 0;
    x->saved.report_n++;
    x->unsaved_ms = 0;
    act(out, REMOTE_PERSIST);
    apply(out, x->saved.candidate);
    act(out, REMOTE_REPORT);
    act(out, REMOTE_FLUSH);
}

static void begin_probation(struct remote *x, struct remote_actions *out)
{
    x->saved.phase = REMOTE_PROBATION;
    x->saved.restarts = 0;
    x->saved.good_had_connection = x->connected;
    reset_clocks(x);
    run_candidate(x, out);
}

// Back to the last good one. What that says about the candidate is decided while settling.
static void roll_back(struct remote *x, struct remote_actions *out, const char *reason)
{
    x->saved.phase = REMOTE_SETTLING;
    reset_clocks(x);
    x->got_through = false;
    snprintf(x->saved.reason, sizeof x->saved.reason, "%s", reason);
    x->unsaved_ms = 0;
    act(out, REMOTE_PERSIST);
    apply(out, x->saved.good);
    act(out, REMOTE_FLUSH);
}

static void confirm(struct remote *x, struct remote_actions *out)
{
    x->saved.phase = REMOTE_IDLE;
    x->saved.good = x->saved.candidate;
    x->good_failed = false;
    x->got_through = true;
    act(out, REMOTE_KEEP_GOOD);
    judge(x, out, RN_CONFIG_CONFIRMED, &x->saved.good, "", "");
}

// A newer, acceptable document: it replaces whatever was being tried.
static void accept_offer(struct remote *x, struct remote_actions *out,
                         const struct remote_event *event)
{
    bool was_applied = x->saved.phase == REMOTE_PROBATION;
    x->saved.candidate = event->name;
    x->saved.moves = event->moves;
    x->saved.failures = 0;
    x->saved.phase = REMOTE_WAITING;
    act(out, REMOTE_KEEP_CANDIDATE);
    act(out, REMOTE_PERSIST);
    if (was_applied) {
        x->got_through = false;
        apply(out, x->saved.good);
    }
    if (x->got_through)
        begin_probation(x, out);
    else
        act(out, REMOTE_FLUSH);
}

// Answers an offer that changes nothing. The same answer again keeps its number: the bridge may not
// have had it.
static void answer(struct remote *x, struct remote_actions *out, enum rn_config_state verdict,
                   const struct remote_event *event, const char *path, const char *reason)
{
    const struct remote_saved *saved = &x->saved;
    size_t most = REMOTE_TEXT - 1;
    if (saved->verdict == verdict && same(&event->name, &saved->judged) &&
        strncmp(saved->path, path ? path : "", most) == 0 &&
        strncmp(saved->reason, reason ? reason : "", most) == 0)
        act(out, REMOTE_REPORT);
    else
        judge(x, out, verdict, &event->name, path, reason);
}

// A document that was tried and rejected stays so; the local files cannot mend it.
static bool known_offer(struct remote *x, struct remote_actions *out,
                        const struct remote_event *event)
{
    const struct remote_saved *saved = &x->saved;
    bool idle = saved->phase == REMOTE_IDLE, good = same(&event->name, &saved->good),
         condemned = same(&event->name, &saved->condemned),
         rejected = same(&event->name, &saved->judged) && saved->verdict == RN_CONFIG_REJECTED;
    if (!idle && (good || same(&event->name, &saved->candidate)))
        return true; // runs, or is being tried
    if (rejected && (condemned || (good && x->good_failed)))
        act(out, REMOTE_REPORT);
    else if (condemned)
        judge(x, out, RN_CONFIG_REJECTED, &event->name, "", "it was tried before and rolled back");
    else if (good)
        answer(x, out, RN_CONFIG_CONFIRMED, event, "", "");
    return condemned || good;
}

static void on_offer(struct remote *x, struct remote_actions *out, const struct remote_event *event)
{
    const struct remote_saved *saved = &x->saved;
    if (known_offer(x, out, event))
        return;
    uint64_t newest = saved->good.revision;
    if (saved->phase != REMOTE_IDLE && saved->candidate.revision > newest)
        newest = saved->candidate.revision;
    if (!event->acceptable)
        answer(x, out, RN_CONFIG_REJECTED, event, event->path, event->reason);
    else if (event->name.revision == newest)
        answer(x, out, RN_CONFIG_CONFLICT, event, "revision",
               "another document has this revision already");
    else if (event->name.revision < newest)
        answer(x, out, RN_CONFIG_REJECTED, event, "revision",
               "outdated: a newer revision is known");
    else
        accept_offer(x, out, event);
}

static void on_start(struct remote *x, struct remote_actions *out)
{
    if (x->saved.phase == REMOTE_PROBATION) {
        x->saved.restarts++;
        if (x->saved.restarts >= RESTARTS) {
            roll_back(x, out, "the agent was restarted twice while it was on probation");
            return;
        }
        run_candidate(x, out);
        return;
    }
    if (x->saved.good.revision)
        apply(out, x->saved.good);
}

static bool is_prompt(int64_t took_ms, int64_t deadline_ms)
{
    return took_ms <= PROMPT_MIN_MS || took_ms <= deadline_ms / 4;
}

// The last good one got through after a rollback: was the document at fault?
static bool at_fault(const struct remote *x)
{
    const struct remote_saved *saved = &x->saved;
    bool prompt = is_prompt(saved->connected_ms, x->conf.deadline_connected_ms) &&
                  is_prompt(saved->unconnected_ms, x->conf.deadline_unconnected_ms);
    return (saved->moves && prompt) || saved->restarts >= RESTARTS || saved->failures >= TRIES;
}

static void settle(struct remote *x, struct remote_actions *out)
{
    char reason[REMOTE_TEXT];
    memcpy(reason, x->saved.reason, sizeof reason);
    x->saved.failures++;
    if (!at_fault(x)) {
        begin_probation(x, out);
        return;
    }
    x->saved.phase = REMOTE_IDLE;
    x->saved.condemned = x->saved.candidate;
    judge(x, out, RN_CONFIG_REJECTED, &x->saved.candidate, "", reason);
}

static void on_received(struct remote *x, struct remote_actions *out)
{
    x->got_through = true;
    switch (x->saved.phase) {
    case REMOTE_WAITING:
    case REMOTE_UNDETERMINED:
        begin_probation(x, out);
        break;
    case REMOTE_SETTLING:
        settle(x, out);
        break;
    case REMOTE_IDLE:
    case REMOTE_PROBATION: // only its report confirms it
        break;
    }
}

static void on_report_seen(struct remote *x, struct remote_actions *out, uint64_t n)
{
    if (n > x->seen_n)
        x->seen_n = n;
    if (x->saved.phase == REMOTE_PROBATION && x->connected && n >= x->saved.report_n)
        confirm(x, out);
}

static void on_apply_failed(struct remote *x, struct remote_actions *out,
                            const struct remote_event *event)
{
    if (x->saved.phase == REMOTE_PROBATION) {
        x->saved.phase = REMOTE_IDLE;
        if (!event->acceptable)
            x->saved.condemned = x->saved.candidate;
        judge(x, out, RN_CONFIG_REJECTED, &x->saved.candidate, event->path, event->reason);
        apply(out, x->saved.good);
    } else if (!x->good_failed && x->saved.good.revision) {
        x->good_failed = true;
        if (x->saved.phase == REMOTE_IDLE)
            judge(x, out, RN_CONFIG_REJECTED, &x->saved.good, event->path, event->reason);
        apply(out, (struct remote_name){0});
    }
}

static void on_reloaded(struct remote *x, struct remote_actions *out)
{
    if (!x->good_failed)
        return;
    x->good_failed = false;
    if (x->saved.phase == REMOTE_IDLE)
        judge(x, out, RN_CONFIG_CONFIRMED, &x->saved.good, "", "");
}

// Time in which the machine was suspended, or too busy, is none that the bridge had for an answer.
static void count_time(struct remote *x, int64_t mono_ms)
{
    int64_t passed = mono_ms - x->counted_at;
    x->counted_at = mono_ms;
    if (passed > RAN_MAX_MS)
        passed = RAN_MAX_MS;
    if (passed < 0 || (x->saved.phase != REMOTE_PROBATION && x->saved.phase != REMOTE_SETTLING))
        return;
    if (x->connected)
        x->saved.connected_ms += passed;
    else
        x->saved.unconnected_ms += passed;
    x->unsaved_ms += passed;
}

static bool deadline_passed(const struct remote *x)
{
    return x->saved.connected_ms >= x->conf.deadline_connected_ms ||
           (x->saved.good_had_connection &&
            x->saved.unconnected_ms >= x->conf.deadline_unconnected_ms);
}

// While settling there is nothing to say yet.
static bool report_unseen(const struct remote *x)
{
    return x->connected && x->saved.phase != REMOTE_SETTLING &&
           x->saved.verdict != RN_CONFIG_NONE && x->saved.report_n > x->seen_n;
}

static void miss_deadline(struct remote *x, struct remote_actions *out)
{
    if (x->saved.phase == REMOTE_PROBATION) {
        roll_back(x, out,
                  x->saved.connected_ms >= x->conf.deadline_connected_ms
                      ? "not confirmed within the deadline: its report was not acknowledged"
                      : "not confirmed within the deadline: no connection");
        return;
    }
    char reason[REMOTE_TEXT];
    memcpy(reason, x->saved.reason, sizeof reason);
    x->saved.phase = REMOTE_UNDETERMINED;
    judge(x, out, RN_CONFIG_UNDETERMINED, &x->saved.candidate, "", reason);
}

static void on_tick(struct remote *x, struct remote_actions *out, int64_t mono_ms)
{
    bool counted = x->saved.phase == REMOTE_PROBATION || x->saved.phase == REMOTE_SETTLING;
    if (counted && deadline_passed(x)) {
        miss_deadline(x, out);
        return;
    }
    if (counted && x->unsaved_ms >= x->conf.persist_every_ms) {
        x->unsaved_ms = 0;
        act(out, REMOTE_PERSIST);
    }
    if (report_unseen(x) && mono_ms - x->reported_at >= x->report_wait_ms) {
        int64_t wait = 2 * x->report_wait_ms;
        act(out, REMOTE_REPORT);
        x->report_wait_ms = wait < REPORT_SLOWEST_MS ? wait : REPORT_SLOWEST_MS;
    }
}

void remote_init(struct remote *x, const struct remote_conf *conf, const struct remote_saved *saved)
{
    *x = (struct remote){.conf = *conf, .report_wait_ms = conf->report_every_ms};
    if (saved)
        x->saved = *saved;
}

struct remote_name remote_running(const struct remote *x)
{
    const struct remote_name none = {0};
    if (x->saved.phase == REMOTE_PROBATION)
        return x->saved.candidate;
    return x->good_failed ? none : x->saved.good;
}

static void note_report(struct remote *x, uint64_t before, int64_t mono_ms,
                        const struct remote_actions *out)
{
    if (x->saved.report_n != before)
        x->report_wait_ms = x->conf.report_every_ms;
    for (uint32_t i = 0; i < out->count; i++)
        if (out->item[i].type == REMOTE_REPORT)
            x->reported_at = mono_ms;
}

void remote_step(struct remote *x, const struct remote_event *event, int64_t mono_ms,
                 struct remote_actions *out)
{
    const uint64_t before = x->saved.report_n;
    out->count = 0;
    if (event->type == REMOTE_START)
        x->counted_at = mono_ms;
    count_time(x, mono_ms);
    switch (event->type) {
    case REMOTE_START:
        on_start(x, out);
        break;
    case REMOTE_OFFER:
        on_offer(x, out, event);
        break;
    case REMOTE_CONNECTED:
        x->connected = true;
        x->got_through = false;
        if (report_unseen(x))
            act(out, REMOTE_REPORT); // it may have been lost with the last connection
        break;
    case REMOTE_DISCONNECTED:
        x->connected = false;
        x->got_through = false;
        break;
    case REMOTE_RECEIVED:
        on_received(x, out);
        break;
    case REMOTE_REPORT_SEEN:
        on_report_seen(x, out, event->n);
        break;
    case REMOTE_TICK:
        on_tick(x, out, mono_ms);
        break;
    case REMOTE_APPLY_FAILED:
        on_apply_failed(x, out, event);
        break;
    case REMOTE_RELOADED:
        on_reloaded(x, out);
        break;
    }
    note_report(x, before, mono_ms, out);
}
