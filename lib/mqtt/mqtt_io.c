// runnel/mqtt.h: the shell of the connection machine, over the transport in mqtt_paho.h. One
// thread, the loop's; what the client library's threads have to say comes through the mailbox.
//
// Each publish and subscription owns one notice, which is in the mailbox at most once; so there is
// room for all, and news about them is never lost nor reported twice.
#include "lib/mqtt/machine.h"
#include "lib/mqtt/mailbox_io.h"
#include "lib/mqtt/mqtt_paho.h"
#include "lib/mqtt/outbox.h"
#include "lib/mqtt/settings.h"

#include <runnel/mqtt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUBSCRIPTIONS_MAX = 1024,
    PAYLOAD_MAX = 1 << 20,
    MESSAGES_PER_TURN = 256, // then the loop's other handles get their turn
    FILTER_INVALID = 0x8f,   // MQTT 5, 3.9.3
};

struct subscription {
    struct rn_mqtt_notice notice; // the broker's answer: the first member
    int qos;
    bool stored_only; // see RN_MQTT_STORED_ONLY
    char filter[];
};

struct rn_mqtt {
    struct rn_loop *loop;
    struct rn_mqtt_handler handler;
    struct rn_mqtt_settings settings;
    struct rn_mqtt_machine machine;
    struct rn_timer *timer;
    struct rn_wake *wake;
    struct rn_mqtt_mailbox box;
    struct rn_mqtt_outbox outbox;
    struct rn_paho *paho;
    struct subscription **subscriptions;
    uint32_t nsubscriptions;

    char reason[RN_MQTT_REASON_MAX]; // why the connection is to be given up
    bool told_up;                    // the session was reported
    bool start_asked, reconnect_asked, stop_asked, stop_told;
    int64_t stop_ms;
    rn_loop_cb *done;
    void *done_arg;
    struct rn_mqtt_stats stats;
};

// ---- what the mailbox brings --------------------------------------------------------------------

static void publish_is_over(struct rn_mqtt *m, struct rn_mqtt_slot *slot, int code)
{
    rn_mqtt_outbox_give_back(&m->outbox, slot);
    if (m->handler.published)
        m->handler.published(m->handler.arg, slot->token, code);
}

static void take_published(struct rn_mqtt *m, struct rn_mqtt_notice *notice)
{
    struct rn_mqtt_slot *slot = (struct rn_mqtt_slot *)notice; // its first member
    if (slot->busy)
        publish_is_over(m, slot, notice->code);
}

static void take_subscribed(struct rn_mqtt *m, struct rn_mqtt_notice *notice)
{
    struct subscription *subscription = (struct subscription *)notice; // its first member
    if (m->handler.subscribed)
        m->handler.subscribed(m->handler.arg, subscription->filter, notice->code);
}

static void give_message(struct rn_mqtt *m, const struct rn_mqtt_incoming *in)
{
    struct rn_mqtt_message message = {
        .topic = in->bytes,
        .topic_len = in->topic_len,
        .payload = {(const uint8_t *)in->bytes + in->topic_len + 1, in->payload_len},
        .qos = in->qos,
        .retained = in->retained,
    };
    m->stats.messages_in++;
    m->stats.bytes_in += in->payload_len;
    if (m->handler.message)
        m->handler.message(m->handler.arg, &message);
}

// Messages of a session that was not yet reported wait until it is.
static void take_messages(struct rn_mqtt *m, uint32_t most)
{
    struct rn_mqtt_incoming *in;
    while (m->told_up && most > 0 && (in = rn_mqtt_take_message(&m->box))) {
        give_message(m, in);
        free(in);
        most--;
    }
    if (most == 0)
        rn_wake_send(m->wake);
}

// ---- what the machine asks for -----------------------------------------------------------------

// After the client is gone: hands out what it received, then ends every publish it left open.
static void forget_session(struct rn_mqtt *m)
{
    struct rn_mqtt_incoming *in;
    while ((in = rn_mqtt_take_message(&m->box))) {
        if (m->told_up)
            give_message(m, in);
        free(in);
    }
    struct rn_mqtt_notice *notice;
    while ((notice = rn_mqtt_take_notice(&m->box)))
        if (notice->kind == RN_MQTT_NOTICE_PUBLISHED)
            take_published(m, notice);
    for (uint32_t i = 0; i < m->outbox.nslots; i++)
        if (m->outbox.slots[i].busy)
            publish_is_over(m, &m->outbox.slots[i], -1);
}

static void do_close(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    (void)action;
    rn_paho_close(m->paho);
    forget_session(m);
    m->told_up = false;
}

static void send_subscription(struct rn_mqtt *m, struct subscription *s)
{
    if (!rn_paho_subscribe(m->paho, s->filter, s->qos, s->stored_only, &s->notice))
        rn_mqtt_post(&s->notice, FILTER_INVALID);
}

static void do_open(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    rn_paho_open(m->paho, &m->settings, action->address, &m->handler);
}

static void do_tell_up(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    m->told_up = true;
    m->stats.connects++;
    for (uint32_t i = 0; i < m->nsubscriptions; i++)
        send_subscription(m, m->subscriptions[i]);
    if (m->handler.connected)
        m->handler.connected(m->handler.arg, m->settings.shown[action->address],
                             m->box.receive_maximum);
}

static void do_tell_down(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    m->stats.failures++;
    if (action->deadline)
        snprintf(m->reason, sizeof m->reason, "no answer within %lld ms",
                 (long long)m->settings.connect_timeout_ms);
    if (m->handler.disconnected)
        m->handler.disconnected(m->handler.arg, action->was_connected,
                                m->settings.shown[action->address], m->reason, action->ms);
}

static void do_tell_stopped(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    (void)action;
    m->stop_told = true; // done() may free us: called last, by finish()
}

static void do_check(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    (void)action;
    if (!rn_paho_connected(m->paho))
        rn_mqtt_post_lost(&m->box, "the connection ended without notice");
}

static void do_timer(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    rn_timer_start(m->timer, action->ms, 0);
}

static void do_no_timer(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    (void)action;
    rn_timer_stop(m->timer);
}

typedef void action_fn(struct rn_mqtt *m, const struct rn_mqtt_action *action);
static action_fn *const action_table[] = {
    [RN_MQTT_DO_OPEN] = do_open,           [RN_MQTT_DO_CLOSE] = do_close,
    [RN_MQTT_DO_CHECK] = do_check,         [RN_MQTT_DO_TIMER] = do_timer,
    [RN_MQTT_DO_NO_TIMER] = do_no_timer,   [RN_MQTT_DO_TELL_UP] = do_tell_up,
    [RN_MQTT_DO_TELL_DOWN] = do_tell_down, [RN_MQTT_DO_TELL_STOPPED] = do_tell_stopped,
};

// Never nested: the handler's calls only leave requests for the next turn.
static void step(struct rn_mqtt *m, enum rn_mqtt_event_kind kind, int64_t ms)
{
    struct rn_mqtt_actions actions;
    rn_mqtt_machine_step(&m->machine, (struct rn_mqtt_event){kind, ms}, rn_loop_now_ms(m->loop),
                         &actions);
    for (uint32_t i = 0; i < actions.count; i++)
        action_table[actions.list[i].kind](m, &actions.list[i]);
}

// ---- the loop's turns --------------------------------------------------------------------------

static void take_up(struct rn_mqtt *m, struct rn_mqtt_notice *notice)
{
    (void)notice;
    step(m, RN_MQTT_ON_UP, 0);
}

static void take_failed(struct rn_mqtt *m, struct rn_mqtt_notice *notice)
{
    (void)notice;
    memcpy(m->reason, m->box.failed_text, sizeof m->reason);
    step(m, RN_MQTT_ON_FAILED, 0);
}

static void take_lost(struct rn_mqtt *m, struct rn_mqtt_notice *notice)
{
    (void)notice;
    memcpy(m->reason, m->box.lost_text, sizeof m->reason);
    step(m, RN_MQTT_ON_LOST, 0);
}

typedef void notice_fn(struct rn_mqtt *m, struct rn_mqtt_notice *notice);
static notice_fn *const notice_table[RN_MQTT_NOTICES] = {
    [RN_MQTT_NOTICE_UP] = take_up,
    [RN_MQTT_NOTICE_FAILED] = take_failed,
    [RN_MQTT_NOTICE_LOST] = take_lost,
    [RN_MQTT_NOTICE_PUBLISHED] = take_published,
    [RN_MQTT_NOTICE_SUBSCRIBED] = take_subscribed,
};

static void take_notices(struct rn_mqtt *m)
{
    struct rn_mqtt_notice *notice;
    while ((notice = rn_mqtt_take_notice(&m->box)))
        notice_table[notice->kind](m, notice);
}

static void take_requests(struct rn_mqtt *m)
{
    if (m->start_asked) {
        m->start_asked = false;
        step(m, RN_MQTT_ON_START, 0);
    }
    if (m->reconnect_asked) {
        m->reconnect_asked = false;
        step(m, RN_MQTT_ON_RECONNECT, 0);
    }
    if (m->stop_asked) {
        m->stop_asked = false;
        if (m->machine.state == RN_MQTT_STOPPED)
            m->stop_told = true;
        step(m, RN_MQTT_ON_STOP, m->stop_ms);
    }
}

// Always the last thing that a callback of ours does.
static void finish(struct rn_mqtt *m)
{
    if (m->machine.state == RN_MQTT_DRAINING && rn_mqtt_outbox_empty(&m->outbox))
        step(m, RN_MQTT_ON_DRAINED, 0);
    if (!m->stop_told)
        return;
    rn_loop_cb *done = m->done;
    m->stop_told = false;
    m->done = NULL;
    if (done)
        done(m->done_arg);
}

static void on_wake(void *arg)
{
    struct rn_mqtt *m = arg;
    take_requests(m);
    take_notices(m);
    take_messages(m, MESSAGES_PER_TURN);
    finish(m);
}

static void on_timer(void *arg)
{
    struct rn_mqtt *m = arg;
    step(m, RN_MQTT_ON_TIMER, 0);
    finish(m);
}

// ---- Interface ---------------------------------------------------------------------------------

// Paho takes these from the environment where no proxy is configured, and a TLS connection through
// what they usually hold ("http://host:port") never comes to life.
static void forget_proxy_environment(const struct rn_mqtt_settings *settings)
{
    static const char *const names[] = {"http_proxy", "https_proxy"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!settings->proxy && getenv(names[i]))
            unsetenv(names[i]);
}

static int make_parts(struct rn_mqtt *m, struct rn_err *err)
{
    const struct rn_mqtt_settings *s = &m->settings;
    int rc = rn_mqtt_outbox_init(&m->outbox, &m->box, s->max_inflight, s->max_queue_items, err);
    if (!rc)
        rc = rn_wake_new(&m->wake, m->loop, on_wake, m, err);
    if (!rc)
        rc = rn_timer_new(&m->timer, m->loop, on_timer, m, err);
    if (!rc)
        rc = rn_mqtt_mailbox_init(&m->box, m->outbox.nslots + SUBSCRIPTIONS_MAX, s->max_queue_items,
                                  s->max_queue_bytes, m->wake, err);
    return rc ? rc : rn_paho_new(&m->paho, s, m->outbox.nslots, &m->box, err);
}

int rn_mqtt_new(struct rn_mqtt **out, struct rn_loop *loop, const struct rn_mqtt_conf *conf,
                const struct rn_mqtt_handler *handler, struct rn_err *err)
{
    struct rn_mqtt *m = calloc(1, sizeof *m);
    if (!m)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    m->loop = loop;
    m->handler = *handler;
    int rc = rn_mqtt_settings_copy(&m->settings, conf, err);
    if (!rc)
        rc = make_parts(m, err);
    if (rc) {
        rn_mqtt_free(m);
        return rc;
    }
    struct rn_mqtt_machine_conf machine = rn_mqtt_settings_machine(&m->settings);
    rn_mqtt_machine_init(&m->machine, &machine);
    forget_proxy_environment(&m->settings);
    *out = m;
    return RN_OK;
}

int rn_mqtt_conf_check(const struct rn_mqtt_conf *conf, struct rn_err *err)
{
    struct rn_mqtt_settings settings;
    int rc = rn_mqtt_settings_copy(&settings, conf, err);
    if (!rc)
        rn_mqtt_settings_release(&settings);
    return rc;
}

int rn_mqtt_reconfigure(struct rn_mqtt *m, const struct rn_mqtt_conf *conf, struct rn_err *err)
{
    struct rn_mqtt_settings settings;
    int rc = rn_mqtt_settings_copy(&settings, conf, err);
    if (rc)
        return rc;
    rn_mqtt_settings_release(&m->settings);
    m->settings = settings;
    struct rn_mqtt_machine_conf machine = rn_mqtt_settings_machine(&m->settings);
    rn_mqtt_machine_reconfigure(&m->machine, &machine);
    forget_proxy_environment(&m->settings);
    return RN_OK;
}

void rn_mqtt_start(struct rn_mqtt *m)
{
    m->start_asked = true;
    rn_wake_send(m->wake);
}

void rn_mqtt_reconnect(struct rn_mqtt *m, const char *reason)
{
    m->reconnect_asked = true;
    snprintf(m->reason, sizeof m->reason, "%s", reason);
    rn_wake_send(m->wake);
}

static struct subscription *find_subscription(const struct rn_mqtt *m, const char *filter)
{
    for (uint32_t i = 0; i < m->nsubscriptions; i++)
        if (strcmp(m->subscriptions[i]->filter, filter) == 0)
            return m->subscriptions[i];
    return NULL;
}

static struct subscription *add_subscription(struct rn_mqtt *m, const char *filter)
{
    struct subscription **list =
        realloc(m->subscriptions, (m->nsubscriptions + 1) * sizeof(struct subscription *));
    if (!list)
        return NULL;
    m->subscriptions = list;
    size_t len = strlen(filter) + 1;
    struct subscription *subscription = malloc(sizeof *subscription + len);
    if (!subscription)
        return NULL;
    rn_mqtt_notice_init(&subscription->notice, &m->box, RN_MQTT_NOTICE_SUBSCRIBED);
    memcpy(subscription->filter, filter, len);
    m->subscriptions[m->nsubscriptions++] = subscription;
    return subscription;
}

int rn_mqtt_subscribe(struct rn_mqtt *m, const char *filter, int qos, struct rn_err *err)
{
    if (!*filter || strlen(filter) > UINT16_MAX || (qos & ~RN_MQTT_STORED_ONLY) < 0 ||
        (qos & ~RN_MQTT_STORED_ONLY) > 1)
        return rn_fail(err, RN_EINVAL, "mqtt: not a filter or QoS to subscribe to");
    struct subscription *subscription = find_subscription(m, filter);
    if (!subscription && m->nsubscriptions == SUBSCRIPTIONS_MAX)
        return rn_fail(err, RN_ELIMIT, "mqtt: more than %d subscriptions", SUBSCRIPTIONS_MAX);
    if (!subscription)
        subscription = add_subscription(m, filter);
    if (!subscription)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    subscription->qos = qos & 1;
    subscription->stored_only = (qos & RN_MQTT_STORED_ONLY) != 0;
    if (m->machine.state == RN_MQTT_UP) // fails only with the connection: sent again with the next
        (void)rn_paho_subscribe(m->paho, filter, subscription->qos, subscription->stored_only,
                                &subscription->notice);
    return RN_OK;
}

// In-flight QoS 1 stays below the broker's Receive Maximum: at it Paho falls asleep for a second.
static uint32_t window(const struct rn_mqtt *m)
{
    uint32_t most = m->box.receive_maximum > 1 ? m->box.receive_maximum - 1 : 1;
    return m->settings.max_inflight < most ? m->settings.max_inflight : most;
}

int rn_mqtt_publish(struct rn_mqtt *m, const char *topic, struct rn_span payload, int qos,
                    bool retained, uint64_t token)
{
    if (m->machine.state != RN_MQTT_UP)
        return RN_ESTATE;
    size_t topic_len = strlen(topic);
    if (topic_len == 0 || topic_len > UINT16_MAX || qos < 0 || qos > 1 || payload.len > PAYLOAD_MAX)
        return RN_EINVAL;
    struct rn_mqtt_slot *slot = rn_mqtt_outbox_take(&m->outbox, qos, topic_len + payload.len,
                                                    window(m), m->settings.max_queue_bytes, token);
    if (!slot)
        return RN_EAGAIN;
    int rc = rn_paho_publish(m->paho, topic, payload, qos, retained, &slot->notice);
    if (rc) {
        rn_mqtt_outbox_give_back(&m->outbox, slot);
        return rc;
    }
    m->stats.messages_out++;
    m->stats.bytes_out += payload.len;
    return RN_OK;
}

bool rn_mqtt_connected(const struct rn_mqtt *m)
{
    return m->machine.state == RN_MQTT_UP;
}

void rn_mqtt_stop(struct rn_mqtt *m, int64_t timeout_ms, rn_loop_cb *done, void *arg)
{
    m->stop_asked = true;
    m->stop_ms = timeout_ms;
    m->done = done;
    m->done_arg = arg;
    rn_wake_send(m->wake);
}

void rn_mqtt_free(struct rn_mqtt *m)
{
    if (!m)
        return;
    rn_paho_free(m->paho);
    rn_mqtt_mailbox_release(&m->box);
    rn_timer_free(m->timer);
    rn_wake_free(m->wake);
    for (uint32_t i = 0; i < m->nsubscriptions; i++)
        free(m->subscriptions[i]);
    free(m->subscriptions);
    rn_mqtt_outbox_release(&m->outbox);
    rn_mqtt_settings_release(&m->settings);
    free(m);
}

void rn_mqtt_get_stats(const struct rn_mqtt *m, struct rn_mqtt_stats *out)
{
    *out = m->stats;
    out->queue_refused = atomic_load(&m->box.dropped);
}
