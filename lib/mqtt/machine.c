// See machine.h.
#include "lib/mqtt/machine.h"

#include <assert.h>

// One step: what the functions in the table below need.
struct step {
    struct rn_mqtt_machine *m;
    int64_t now_ms;
    int64_t arg_ms;
    struct rn_mqtt_actions *out;
};

static struct rn_mqtt_action *add(struct step *s, enum rn_mqtt_action_kind kind)
{
    assert(s->out->count < RN_MQTT_ACTIONS_MAX);
    struct rn_mqtt_action *action = &s->out->list[s->out->count++];
    *action = (struct rn_mqtt_action){.kind = kind, .address = s->m->address};
    return action;
}

static void arm(struct step *s, int64_t ms)
{
    s->m->due_ms = s->now_ms + ms;
    add(s, RN_MQTT_DO_TIMER)->ms = ms;
}

static int64_t uniform(struct step *s, int64_t max_ms)
{
    return max_ms <= 0 ? 0 : (int64_t)rn_rand_below(&s->m->rand, (uint64_t)max_ms + 1);
}

// Full jitter ("Exponential Backoff And Jitter", M. Brooker, AWS Architecture Blog, 2015).
static int64_t backoff(struct step *s)
{
    int64_t most = s->m->conf.backoff_min_ms;
    for (uint32_t i = 0; i < s->m->failures && most < s->m->conf.backoff_max_ms; i++)
        most *= 2;
    return uniform(s, most < s->m->conf.backoff_max_ms ? most : s->m->conf.backoff_max_ms);
}

static void open_client(struct step *s)
{
    s->m->state = RN_MQTT_OPENING;
    if (s->m->reconfigured)
        s->m->address = 0;
    s->m->reconfigured = false;
    add(s, RN_MQTT_DO_OPEN);
    arm(s, s->m->conf.connect_timeout_ms);
}

static void wait_for_retry(struct step *s, int64_t ms, bool was_connected, bool deadline)
{
    add(s, RN_MQTT_DO_CLOSE);
    struct rn_mqtt_action *tell = add(s, RN_MQTT_DO_TELL_DOWN);
    tell->ms = ms;
    tell->was_connected = was_connected;
    tell->deadline = deadline;
    s->m->state = RN_MQTT_WAITING;
    arm(s, ms);
}

static void fail(struct step *s, bool was_connected, bool deadline)
{
    struct rn_mqtt_machine *m = s->m;
    if (m->failures < UINT32_MAX)
        m->failures++;
    wait_for_retry(s, backoff(s), was_connected, deadline);
    m->address = (m->address + 1) % m->conf.naddresses; // told and closed: the old one
}

static void attempt_failed(struct step *s)
{
    fail(s, false, false);
}

static void connected(struct step *s)
{
    s->m->state = RN_MQTT_UP;
    s->m->up_since_ms = s->now_ms;
    add(s, RN_MQTT_DO_TELL_UP);
    arm(s, s->m->conf.check_ms);
}

// A session that ends at once (refused subscription, twin with the same client id) counts as a
// failure: two twins would otherwise throw each other out thousands of times a second.
static void lost(struct step *s)
{
    if (s->now_ms - s->m->up_since_ms < s->m->conf.healthy_ms) {
        fail(s, true, false);
        return;
    }
    s->m->failures = 0;
    wait_for_retry(s, uniform(s, s->m->conf.first_reconnect_ms), true, false);
}

static void asked_while_up(struct step *s)
{
    s->m->failures = 0;
    wait_for_retry(s, uniform(s, s->m->conf.first_reconnect_ms), true, false);
}

static void asked_while_opening(struct step *s)
{
    s->m->failures = 0;
    wait_for_retry(s, uniform(s, s->m->conf.first_reconnect_ms), false, false);
}

// Never later than what was planned already.
static void asked_while_waiting(struct step *s)
{
    int64_t ms = uniform(s, s->m->conf.first_reconnect_ms);
    s->m->failures = 0;
    if (s->now_ms + ms < s->m->due_ms)
        arm(s, ms);
}

static bool too_early(struct step *s)
{
    if (s->now_ms >= s->m->due_ms)
        return false;
    arm(s, s->m->due_ms - s->now_ms);
    return true;
}

static void deadline(struct step *s)
{
    if (!too_early(s))
        fail(s, false, true);
}

static void check(struct step *s)
{
    if (too_early(s))
        return;
    add(s, RN_MQTT_DO_CHECK);
    arm(s, s->m->conf.check_ms);
}

static void retry(struct step *s)
{
    if (!too_early(s))
        open_client(s);
}

static void stopped(struct step *s)
{
    s->m->state = RN_MQTT_STOPPED;
    add(s, RN_MQTT_DO_NO_TIMER);
    add(s, RN_MQTT_DO_TELL_STOPPED);
}

static void close_and_stop(struct step *s)
{
    add(s, RN_MQTT_DO_CLOSE);
    stopped(s);
}

static void drain(struct step *s)
{
    s->m->state = RN_MQTT_DRAINING;
    arm(s, s->arg_ms > 0 ? s->arg_ms : 0);
}

static void drain_is_over(struct step *s)
{
    if (!too_early(s))
        close_and_stop(s);
}

// What is not in the table is ignored.
typedef void step_fn(struct step *s);
static step_fn *const table[RN_MQTT_STATES][RN_MQTT_EVENTS] = {
    [RN_MQTT_IDLE] = {[RN_MQTT_ON_START] = open_client, [RN_MQTT_ON_STOP] = stopped},
    [RN_MQTT_OPENING] = {[RN_MQTT_ON_UP] = connected,
                         [RN_MQTT_ON_FAILED] = attempt_failed,
                         [RN_MQTT_ON_LOST] = attempt_failed,
                         [RN_MQTT_ON_TIMER] = deadline,
                         [RN_MQTT_ON_RECONNECT] = asked_while_opening,
                         [RN_MQTT_ON_STOP] = close_and_stop},
    [RN_MQTT_UP] = {[RN_MQTT_ON_LOST] = lost,
                    [RN_MQTT_ON_FAILED] = lost,
                    [RN_MQTT_ON_TIMER] = check,
                    [RN_MQTT_ON_RECONNECT] = asked_while_up,
                    [RN_MQTT_ON_STOP] = drain},
    [RN_MQTT_WAITING] = {[RN_MQTT_ON_TIMER] = retry,
                         [RN_MQTT_ON_RECONNECT] = asked_while_waiting,
                         [RN_MQTT_ON_STOP] = stopped},
    [RN_MQTT_DRAINING] = {[RN_MQTT_ON_LOST] = close_and_stop,
                          [RN_MQTT_ON_FAILED] = close_and_stop,
                          [RN_MQTT_ON_TIMER] = drain_is_over,
                          [RN_MQTT_ON_DRAINED] = close_and_stop},
};

void rn_mqtt_machine_init(struct rn_mqtt_machine *machine, const struct rn_mqtt_machine_conf *conf)
{
    assert(conf->naddresses > 0);
    *machine = (struct rn_mqtt_machine){.conf = *conf, .state = RN_MQTT_IDLE};
    rn_rand_init(&machine->rand, conf->seed);
}

void rn_mqtt_machine_reconfigure(struct rn_mqtt_machine *machine,
                                 const struct rn_mqtt_machine_conf *conf)
{
    assert(conf->naddresses > 0);
    machine->conf = *conf;
    machine->reconfigured = true;
    if (machine->address >= conf->naddresses)
        machine->address = 0;
}

void rn_mqtt_machine_step(struct rn_mqtt_machine *machine, struct rn_mqtt_event event,
                          int64_t mono_ms, struct rn_mqtt_actions *actions)
{
    actions->count = 0;
    step_fn *fn = table[machine->state][event.kind];
    if (fn)
        fn(&(struct step){machine, mono_ms, event.ms, actions});
}
