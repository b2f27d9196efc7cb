// runnel/mqtt.h over Eclipse Paho's MQTTAsync: the only file that includes its headers.
//
// Threads. Everything below runs on the loop's thread, except the functions under "Paho's threads",
// which only copy into a bounded queue and return (0 is never returned from on_message: Paho would
// acknowledge the message all the same and get stuck behind it). They run under Paho's process-wide
// lock; we hold no lock of our own while calling Paho.
//
// One Paho client per attempt. MQTTAsync_destroy takes Paho's lock and forgets the client's
// commands, so after it no callback of that client can run: the notices still queued are then taken
// out, and nothing stale can be mistaken for news of the next session. It also guarantees that
// publishes queued in a lost session are never sent in the next one, as Paho would do on a
// reconnect. A second client that is never connected, the anchor, outlives us: with its last client
// Paho ends its threads, which would block the loop at every reconnect, and frees what they use
// after a second, also when they have not ended yet: on a busy machine a stopping process died of
// that. Paho keeps hold of the anchor, so it is no leak, but for every rn_mqtt_new one stays.
//
// Each publish and subscription owns one notice, which is in the queue at most once; so the queue
// for notices has room for all and news about them is never lost nor reported twice.
//
// Limits: Paho resolves names and talks to a proxy under its lock, so calls of this file may wait
// for a resolver that does not answer. One address of a name is tried.
#include "lib/mqtt/machine.h"
#include "lib/mqtt/settings.h"

#include <runnel/mqtt.h>
#include <runnel/queue.h>

#include <MQTTAsync.h>
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUBSCRIPTIONS_MAX = 1024,
    QOS0_SLOTS_MIN = 64,   // QoS 0 publishes not yet handed to the socket: max_queue_items
    QOS0_SLOTS_MAX = 4096, // within these bounds
    PAYLOAD_MAX = 1 << 20,
    WILL_MAX = 1 << 14,
    WILL_QOS = 1,
    REASON_MAX = 200,
    MESSAGES_PER_TURN = 256, // then the loop's other handles get their turn
    PAHO_GRACE_S = 30,       // Paho's own connect timeout comes after ours
};

enum notice_kind { NOTICE_UP, NOTICE_FAILED, NOTICE_LOST, NOTICE_PUBLISHED, NOTICE_SUBSCRIBED };
enum { NOTICE_KINDS = NOTICE_SUBSCRIBED + 1 };

// News from Paho. Its fields are written by whoever turned `posted` to true, before it is queued,
// and read by the loop's thread after it came out of the queue.
struct notice {
    struct rn_mqtt *mqtt;
    enum notice_kind kind;
    atomic_bool posted;
    int code;
};

struct slot { // one publish
    struct notice notice;
    uint64_t token;
    size_t bytes;
    bool busy, qos1;
};

struct subscription {
    struct notice notice;
    int qos;
    bool stored_only; // see RN_MQTT_STORED_ONLY
    char filter[];
};

struct incoming {
    size_t topic_len, payload_len;
    int qos;
    bool retained;
    char bytes[]; // topic, NUL, payload
};

struct rn_mqtt {
    struct rn_loop *loop;
    struct rn_mqtt_handler handler;
    struct rn_mqtt_settings settings;
    struct rn_mqtt_machine machine;
    struct rn_timer *timer;
    struct rn_wake *wake;
    struct rn_queue *notices;  // struct notice, embedded in slots, subscriptions and below
    struct rn_queue *messages; // struct incoming, owned
    MQTTAsync client, anchor;

    struct notice up, failed, lost;
    uint32_t receive_maximum;                            // of up
    char failed_text[REASON_MAX], lost_text[REASON_MAX]; // of failed, lost
    char tls_error[REASON_MAX];   // Paho's threads only, while a client exists
    atomic_uint_fast64_t dropped; // incoming messages that did not fit

    struct slot *slots;
    uint32_t nslots, nslots_qos0, next_slot;
    uint32_t busy_qos1, busy_qos0;
    size_t busy_bytes;
    struct subscription **subscriptions;
    uint32_t nsubscriptions;

    char reason[REASON_MAX]; // why the connection is to be given up
    bool told_up;            // the session was reported
    bool start_asked, reconnect_asked, stop_asked, stop_told;
    int64_t stop_ms;
    rn_loop_cb *done;
    void *done_arg;
    struct rn_mqtt_stats stats;
};

// ---- Paho's threads -------------------------------------------------------------------------

// True if the caller may fill the notice in and must then queue it.
static bool claim(struct notice *notice)
{
    return !atomic_exchange(&notice->posted, true);
}

static void queue_notice(struct notice *notice)
{
    bool fits = rn_queue_push(notice->mqtt->notices, notice, 0);
    assert(fits); // there is room for every notice that exists
    (void)fits;
}

static void post(struct notice *notice, int code)
{
    if (!claim(notice))
        return;
    notice->code = code;
    queue_notice(notice);
}

RN_PRINTF(3, 4)
static void post_text(struct notice *notice, char text[REASON_MAX], const char *format, ...)
{
    if (!claim(notice))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, REASON_MAX, format, args);
    va_end(args);
    queue_notice(notice);
}

static const char *reason_name(int code)
{
    const char *name = MQTTReasonCode_toString((enum MQTTReasonCodes)code);
    return name ? name : "unknown reason";
}

static void on_connected(void *context, MQTTAsync_successData5 *data)
{
    struct rn_mqtt *m = context;
    int most = MQTTProperties_getNumericValue(&data->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM);
    if (!claim(&m->up))
        return;
    m->receive_maximum = most > 0 ? (uint32_t)most : 65535; // MQTT 5, 3.2.2.3.3
    queue_notice(&m->up);
}

// Paho tells little: a code above 0 is the broker's answer, else there was none.
static void on_connect_failed(void *context, MQTTAsync_failureData5 *data)
{
    struct rn_mqtt *m = context;
    const char *said = data->message ? data->message : "";
    if (data->code > 0)
        post_text(&m->failed, m->failed_text, "the broker refused: %s (0x%02x)",
                  reason_name(data->code), (unsigned)data->code);
    else if (m->tls_error[0])
        post_text(&m->failed, m->failed_text, "TLS: %s", m->tls_error);
    else if (strstr(said, "completion") || strstr(said, "socket error"))
        post_text(&m->failed, m->failed_text,
                  "closed by the other side before it accepted us (is it an MQTT 5 broker, and are "
                  "the credentials right?)");
    else
        post_text(&m->failed, m->failed_text,
                  "no connection: name unknown, refused, unreachable, or with TLS a certificate "
                  "that is not for this name");
}

static void on_connection_lost(void *context, char *cause)
{
    struct rn_mqtt *m = context;
    post_text(&m->lost, m->lost_text, "connection lost%s%s", cause ? ": " : "", cause ? cause : "");
}

// The broker said DISCONNECT; Paho does not call on_connection_lost then.
static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code)
{
    struct rn_mqtt *m = context;
    (void)properties;
    post_text(&m->lost, m->lost_text, "the broker ended the session: %s (0x%02x)",
              reason_name((int)code), (unsigned)code);
}

// "thread:error:code:library:function:reason:file:line:data": the reason is what helps.
static int on_tls_error(const char *line, size_t len, void *context)
{
    struct rn_mqtt *m = context;
    if (m->tls_error[0])
        return 1; // the first is the cause
    size_t begin = 0, fields = 0;
    for (size_t i = 0; i < len && fields < 5; i++)
        if (line[i] == ':') {
            fields++;
            begin = i + 1;
        }
    const char *text = fields == 5 ? line + begin : line;
    size_t text_len = strcspn(text, fields == 5 ? ":\n" : "\n");
    snprintf(m->tls_error, sizeof m->tls_error, "%.*s", (int)text_len, text);
    return 1;
}

static void on_published(void *context, MQTTAsync_successData5 *data)
{
    (void)data;
    post(context, 0);
}

// Only a PUBACK carries a reason code; for QoS 0 the field is not even set.
static void on_publish_failed(void *context, MQTTAsync_failureData5 *data)
{
    struct slot *slot = context;
    bool refused = slot->qos1 && data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR;
    post(&slot->notice, refused ? (int)data->reasonCode : -1);
}

static void on_subscribed(void *context, MQTTAsync_successData5 *data)
{
    post(context, (int)data->reasonCode);
}

static void on_subscribe_failed(void *context, MQTTAsync_failureData5 *data)
{
    if (data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR) // else the connection was lost
        post(context, (int)data->reasonCode);
}

static struct incoming *copy_incoming(const char *topic, size_t topic_len,
                                      const MQTTAsync_message *message)
{
    size_t payload_len = message->payloadlen > 0 ? (size_t)message->payloadlen : 0;
    struct incoming *in = malloc(sizeof *in + topic_len + 1 + payload_len);
    if (!in)
        return NULL;
    *in = (struct incoming){topic_len, payload_len, message->qos, message->retained != 0};
    memcpy(in->bytes, topic, topic_len);
    in->bytes[topic_len] = '\0';
    if (payload_len)
        memcpy(in->bytes + topic_len + 1, message->payload, payload_len);
    return in;
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct rn_mqtt *m = context;
    size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);
    struct incoming *in = copy_incoming(topic, len, message);
    size_t bytes = in ? sizeof *in + len + 1 + in->payload_len : 0;
    if (!in || !rn_queue_push(m->messages, in, bytes)) {
        free(in);
        atomic_fetch_add(&m->dropped, 1);
    }
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

// ---- The loop's thread: from here to the end ---------------------------------------------------

static void release_slot(struct rn_mqtt *m, struct slot *slot)
{
    slot->busy = false;
    m->busy_bytes -= slot->bytes;
    if (slot->qos1)
        m->busy_qos1--;
    else
        m->busy_qos0--;
}

static void publish_is_over(struct rn_mqtt *m, struct slot *slot, int code)
{
    release_slot(m, slot);
    if (m->handler.published)
        m->handler.published(m->handler.arg, slot->token, code);
}

static void take_published(struct rn_mqtt *m, struct notice *notice)
{
    struct slot *slot = (struct slot *)notice; // its first member
    if (slot->busy)
        publish_is_over(m, slot, notice->code);
}

static void take_subscribed(struct rn_mqtt *m, struct notice *notice)
{
    struct subscription *subscription = (struct subscription *)notice; // its first member
    if (m->handler.subscribed)
        m->handler.subscribed(m->handler.arg, subscription->filter, notice->code);
}

static void give_message(struct rn_mqtt *m, const struct incoming *in)
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
    struct incoming *in;
    while (m->told_up && most > 0 && (in = rn_queue_pop(m->messages))) {
        give_message(m, in);
        free(in);
        most--;
    }
    if (most == 0)
        rn_wake_send(m->wake);
}

// After the client is gone: hands out what it received, then ends every publish it left open.
static void forget_session(struct rn_mqtt *m)
{
    struct incoming *in;
    while ((in = rn_queue_pop(m->messages))) {
        if (m->told_up)
            give_message(m, in);
        free(in);
    }
    struct notice *notice;
    while ((notice = rn_queue_pop(m->notices))) {
        atomic_store(&notice->posted, false);
        if (notice->kind == NOTICE_PUBLISHED)
            take_published(m, notice);
    }
    for (uint32_t i = 0; i < m->nslots; i++)
        if (m->slots[i].busy)
            publish_is_over(m, &m->slots[i], -1);
}

static void do_close(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    (void)action;
    if (m->client)
        MQTTAsync_destroy(&m->client);
    forget_session(m);
    m->told_up = false;
}

static int send_subscribe(struct rn_mqtt *m, struct subscription *subscription)
{
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = &subscription->notice;
    options.onSuccess5 = on_subscribed;
    options.onFailure5 = on_subscribe_failed;
    options.subscribeOptions.retainAsPublished = !subscription->stored_only;
    options.subscribeOptions.noLocal = 1;
    return MQTTAsync_subscribe(m->client, subscription->filter, subscription->qos, &options);
}

// An error here means that the connection is gone again, which is reported on its own.
static void send_subscriptions(struct rn_mqtt *m)
{
    for (uint32_t i = 0; i < m->nsubscriptions; i++)
        if (send_subscribe(m, m->subscriptions[i]) == MQTTASYNC_BAD_UTF8_STRING)
            post(&m->subscriptions[i]->notice, MQTTREASONCODE_TOPIC_FILTER_INVALID);
}

static void do_tell_up(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    m->told_up = true;
    m->stats.connects++;
    send_subscriptions(m);
    if (m->handler.connected)
        m->handler.connected(m->handler.arg, m->settings.shown[action->address],
                             m->receive_maximum);
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
    if (!MQTTAsync_isConnected(m->client))
        post_text(&m->lost, m->lost_text, "the connection ended without notice");
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

static int create_client(struct rn_mqtt *m, MQTTAsync *client, const char *uri)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
    options.maxBufferedMessages = (int)m->nslots + 1;
    options.restoreMessages = 0;
    options.persistQoS0 = 0;
    return MQTTAsync_createWithOptions(client, uri, m->settings.client_id,
                                       MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
}

static bool readable(struct rn_mqtt *m, const char *name, const char *path)
{
    if (!path || access(path, R_OK) == 0)
        return true;
    post_text(&m->failed, m->failed_text, "%s %s cannot be read: %s", name, path, strerror(errno));
    return false;
}

static bool tls_files_readable(struct rn_mqtt *m)
{
    return readable(m, "ca_file", m->settings.ca_file) &&
           readable(m, "cert_file", m->settings.cert_file) &&
           readable(m, "key_file", m->settings.key_file);
}

static MQTTAsync_SSLOptions tls_options(struct rn_mqtt *m)
{
    MQTTAsync_SSLOptions options = MQTTAsync_SSLOptions_initializer;
    options.trustStore = m->settings.ca_file;
    options.disableDefaultTrustStore = m->settings.ca_file != NULL;
    options.keyStore = m->settings.cert_file;
    options.privateKey = m->settings.key_file;
    options.enableServerCertAuth = 1;
    options.verify = !m->settings.insecure;
    options.ssl_error_cb = on_tls_error;
    options.ssl_error_context = m;
    return options;
}

static MQTTAsync_connectOptions connect_options(struct rn_mqtt *m)
{
    const struct rn_mqtt_settings *s = &m->settings;
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer5;
    options.keepAliveInterval = (int)((s->keepalive_ms + 999) / 1000);
    options.cleanstart = 1;
    options.connectTimeout = (int)(s->connect_timeout_ms / 1000) + PAHO_GRACE_S;
    options.username = s->username;
    options.password = s->password;
    options.httpProxy = options.httpsProxy = s->proxy;
    options.context = m;
    options.onSuccess5 = on_connected;
    options.onFailure5 = on_connect_failed;
    return options;
}

// Fills *will from the handler; false: there is none. topic and payload are the storage.
static bool make_will(struct rn_mqtt *m, MQTTAsync_willOptions *will, char topic[128],
                      struct rn_buf *payload)
{
    if (!m->handler.will || !m->handler.will(m->handler.arg, topic, payload) || !rn_buf_ok(payload))
        return false;
    will->topicName = topic;
    will->payload.data = payload->len ? (const void *)payload->data : "";
    will->payload.len = (int)payload->len;
    will->qos = WILL_QOS;
    will->retained = 1;
    return true;
}

static int connect_client(struct rn_mqtt *m, bool tls)
{
    char topic[128] = "";
    struct rn_buf payload;
    rn_buf_init(&payload, WILL_MAX);
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    MQTTAsync_SSLOptions ssl = tls_options(m);
    MQTTAsync_connectOptions options = connect_options(m);
    if (make_will(m, &will, topic, &payload))
        options.will = &will;
    if (tls)
        options.ssl = &ssl;
    int rc = MQTTAsync_connect(m->client, &options); // copies all of it
    rn_buf_release(&payload);
    return rc;
}

// What fails here is reported as a failed attempt, by the way of the queue like any other.
static void do_open(struct rn_mqtt *m, const struct rn_mqtt_action *action)
{
    const struct rn_mqtt_address *address = &m->settings.addresses[action->address];
    m->tls_error[0] = '\0';
    if (address->tls && !tls_files_readable(m))
        return;
    int rc = create_client(m, &m->client, address->uri);
    if (!rc)
        rc = MQTTAsync_setCallbacks(m->client, m, on_connection_lost, on_message, NULL);
    if (!rc)
        rc = MQTTAsync_setDisconnected(m->client, m, on_disconnected);
    if (!rc)
        rc = connect_client(m, address->tls);
    if (rc)
        post_text(&m->failed, m->failed_text, "the MQTT library refuses to connect: %s",
                  MQTTAsync_strerror(rc));
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

static void take_up(struct rn_mqtt *m, struct notice *notice)
{
    (void)notice;
    step(m, RN_MQTT_ON_UP, 0);
}

static void take_failed(struct rn_mqtt *m, struct notice *notice)
{
    (void)notice;
    memcpy(m->reason, m->failed_text, sizeof m->reason);
    step(m, RN_MQTT_ON_FAILED, 0);
}

static void take_lost(struct rn_mqtt *m, struct notice *notice)
{
    (void)notice;
    memcpy(m->reason, m->lost_text, sizeof m->reason);
    step(m, RN_MQTT_ON_LOST, 0);
}

typedef void notice_fn(struct rn_mqtt *m, struct notice *notice);
static notice_fn *const notice_table[NOTICE_KINDS] = {
    [NOTICE_UP] = take_up,
    [NOTICE_FAILED] = take_failed,
    [NOTICE_LOST] = take_lost,
    [NOTICE_PUBLISHED] = take_published,
    [NOTICE_SUBSCRIBED] = take_subscribed,
};

static void take_notices(struct rn_mqtt *m)
{
    struct notice *notice;
    while ((notice = rn_queue_pop(m->notices))) {
        atomic_store(&notice->posted, false);
        notice_table[notice->kind](m, notice);
    }
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
    if (m->machine.state == RN_MQTT_DRAINING && m->busy_qos0 + m->busy_qos1 == 0)
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

static void notice_init(struct notice *notice, struct rn_mqtt *m, enum notice_kind kind)
{
    notice->mqtt = m;
    notice->kind = kind;
    notice->code = 0;
    atomic_init(&notice->posted, false);
}

static int make_slots(struct rn_mqtt *m, struct rn_err *err)
{
    uint32_t qos0 = m->settings.max_queue_items;
    qos0 = qos0 < QOS0_SLOTS_MIN ? QOS0_SLOTS_MIN : qos0;
    qos0 = qos0 > QOS0_SLOTS_MAX ? QOS0_SLOTS_MAX : qos0;
    m->nslots_qos0 = qos0;
    m->nslots = m->settings.max_inflight + qos0;
    m->slots = calloc(m->nslots, sizeof *m->slots);
    if (!m->slots)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < m->nslots; i++)
        notice_init(&m->slots[i].notice, m, NOTICE_PUBLISHED);
    return RN_OK;
}

static int make_queues(struct rn_mqtt *m, struct rn_err *err)
{
    int rc = rn_wake_new(&m->wake, m->loop, on_wake, m, err);
    if (!rc)
        rc = rn_timer_new(&m->timer, m->loop, on_timer, m, err);
    if (!rc)
        rc = rn_queue_new(&m->notices, m->nslots + SUBSCRIPTIONS_MAX + 3, SIZE_MAX, m->wake, NULL,
                          err);
    if (!rc)
        rc = rn_queue_new(&m->messages, m->settings.max_queue_items, m->settings.max_queue_bytes,
                          m->wake, free, err);
    return rc;
}

int rn_mqtt_new(struct rn_mqtt **out, struct rn_loop *loop, const struct rn_mqtt_conf *conf,
                const struct rn_mqtt_handler *handler, struct rn_err *err)
{
    struct rn_mqtt *m = calloc(1, sizeof *m);
    if (!m)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    m->loop = loop;
    m->handler = *handler;
    notice_init(&m->up, m, NOTICE_UP);
    notice_init(&m->failed, m, NOTICE_FAILED);
    notice_init(&m->lost, m, NOTICE_LOST);
    atomic_init(&m->dropped, 0);
    int rc = rn_mqtt_settings_copy(&m->settings, conf, err);
    if (!rc)
        rc = make_slots(m, err);
    if (!rc)
        rc = make_queues(m, err);
    if (!rc && create_client(m, &m->anchor, m->settings.addresses[0].uri))
        rc = rn_fail(err, RN_EINVAL, "the MQTT library refuses the client id \"%s\"",
                     conf->client_id);
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
    notice_init(&subscription->notice, m, NOTICE_SUBSCRIBED);
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
    if (m->machine.state == RN_MQTT_UP)
        send_subscribe(m, subscription); // fails only with the connection: sent again with the next
    return RN_OK;
}

// In-flight QoS 1 stays below the broker's Receive Maximum: at it Paho falls asleep for a second.
static uint32_t window(const struct rn_mqtt *m)
{
    uint32_t most = m->receive_maximum > 1 ? m->receive_maximum - 1 : 1;
    return m->settings.max_inflight < most ? m->settings.max_inflight : most;
}

// Round robin, so that a slot rests as long as possible before it is used again.
static struct slot *find_free_slot(struct rn_mqtt *m)
{
    for (uint32_t i = 0; i < m->nslots; i++) {
        struct slot *slot = &m->slots[(m->next_slot + i) % m->nslots];
        if (!slot->busy && !atomic_load(&slot->notice.posted)) {
            m->next_slot = (m->next_slot + i + 1) % m->nslots;
            return slot;
        }
    }
    return NULL;
}

static struct slot *take_slot(struct rn_mqtt *m, int qos, size_t bytes, uint64_t token)
{
    uint32_t busy = m->busy_qos0 + m->busy_qos1;
    if (qos == 1 ? m->busy_qos1 >= window(m) : m->busy_qos0 >= m->nslots_qos0)
        return NULL;
    if (busy > 0 && m->busy_bytes + bytes > m->settings.max_queue_bytes)
        return NULL;
    struct slot *slot = find_free_slot(m);
    if (!slot)
        return NULL;
    slot->busy = true;
    slot->qos1 = qos == 1;
    slot->bytes = bytes;
    slot->token = token;
    m->busy_bytes += bytes;
    if (slot->qos1)
        m->busy_qos1++;
    else
        m->busy_qos0++;
    return slot;
}

static int publish_code(int paho)
{
    switch (paho) {
    case MQTTASYNC_DISCONNECTED:
        return RN_ESTATE;
    case MQTTASYNC_MAX_BUFFERED_MESSAGES:
    case MQTTASYNC_NO_MORE_MSGIDS:
        return RN_EAGAIN;
    default:
        return RN_EINVAL;
    }
}

int rn_mqtt_publish(struct rn_mqtt *m, const char *topic, struct rn_span payload, int qos,
                    bool retained, uint64_t token)
{
    if (m->machine.state != RN_MQTT_UP)
        return RN_ESTATE;
    size_t topic_len = strlen(topic);
    if (topic_len == 0 || topic_len > UINT16_MAX || qos < 0 || qos > 1 || payload.len > PAYLOAD_MAX)
        return RN_EINVAL;
    struct slot *slot = take_slot(m, qos, topic_len + payload.len, token);
    if (!slot)
        return RN_EAGAIN;
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = slot;
    options.onSuccess5 = on_published;
    options.onFailure5 = on_publish_failed;
    int rc = MQTTAsync_send(m->client, topic, (int)payload.len,
                            payload.len ? payload.data : (const void *)"", qos, retained, &options);
    if (rc) {
        release_slot(m, slot);
        return publish_code(rc);
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
    if (m->client)
        MQTTAsync_destroy(&m->client);
    rn_queue_free(m->notices);
    rn_queue_free(m->messages);
    rn_timer_free(m->timer);
    rn_wake_free(m->wake);
    for (uint32_t i = 0; i < m->nsubscriptions; i++)
        free(m->subscriptions[i]);
    free(m->subscriptions);
    free(m->slots);
    rn_mqtt_settings_release(&m->settings);
    free(m);
}

void rn_mqtt_get_stats(const struct rn_mqtt *m, struct rn_mqtt_stats *out)
{
    *out = m->stats;
    out->queue_refused = atomic_load(&m->dropped);
}
