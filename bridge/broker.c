// See broker.h.
#include "bridge/broker.h"

#include "bridge/probe.h"
#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/log.h>
#include <runnel/wire.h>
#include <stdio.h>
#include <stdlib.h>

#define COMPLAINT_MS 60000

struct client {
    struct broker *broker;
    struct rn_mqtt *mqtt;
    const char *role; // "in", "out"
    char client_id[RN_DEV_MAX + 8];
    bool stopped;
    struct rn_complaint lost;
};

struct broker {
    const struct bridge_settings *settings;
    struct broker_handler handler;
    uint64_t log_id;
    int64_t since_ms; // wall clock of the receiver's connection
    struct client in, out;
    bool stopping;
};

// ---- presence ----------------------------------------------------------------------------------

static int presence(const struct broker *broker, bool online, char topic[RN_TOPIC_MAX],
                    struct rn_buf *out)
{
    const struct bridge_settings *s = broker->settings;
    struct rn_bridge_status status = {
        .online = online, .log_id = broker->log_id, .since_ms = (uint64_t)broker->since_ms};
    int rc = rn_topic_write(topic, s->topic_prefix, RN_TOPIC_BRIDGE, s->name);
    return rc == RN_OK ? rn_bridge_status_encode(&status, out) : rc;
}

static void publish_presence(struct broker *broker, bool online)
{
    char topic[RN_TOPIC_MAX];
    uint8_t bytes[128];
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, bytes, sizeof bytes);
    int rc = presence(broker, online, topic, &buf);
    if (rc == RN_OK)
        rc = rn_mqtt_publish(broker->in.mqtt, topic, rn_buf_span(&buf), 1, true, 0);
    if (rc)
        rn_log(RN_LOG_WARN, "presence_not_published", "code=%d", rc);
}

// ---- what the clients tell ---------------------------------------------------------------------

static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct client *client = arg;
    return client == &client->broker->in &&
           presence(client->broker, false, topic, payload) == RN_OK;
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct client *client = arg;
    struct broker *broker = client->broker;
    rn_log(RN_LOG_INFO, "broker_connected", "client=%s address=%s receive_maximum=%u", client->role,
           RN_Q(address), receive_maximum);
    rn_recovered(&client->lost, "broker_back");
    if (client == &broker->out) {
        broker->handler.publishing(broker->handler.arg);
        return;
    }
    broker->since_ms = rn_clock_utc_ms();
    publish_presence(broker, true);
    broker->handler.receiving(broker->handler.arg, true);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    struct client *client = arg;
    struct broker *broker = client->broker;
    if (broker->stopping)
        return;
    rn_complain(&client->lost, rn_clock_mono_ms(), COMPLAINT_MS, RN_LOG_WARN,
                was_connected ? "broker_lost" : "broker_unreachable",
                "client=%s address=%s err=%s retry_ms=%lld", client->role, RN_Q(address),
                RN_Q(reason), (long long)retry_ms);
    if (client == &broker->in && was_connected)
        broker->handler.receiving(broker->handler.arg, false);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    const struct client *client = arg;
    client->broker->handler.message(client->broker->handler.arg, message);
}

static void on_published(void *arg, uint64_t token, int code)
{
    const struct client *client = arg;
    if (code >= 0x80)
        rn_log(RN_LOG_ERROR, "publish_refused",
               "client=%s token=%llu code=%d advice=\"the broker's access rules must let the "
               "bridge write\"",
               client->role, (unsigned long long)token, code);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    const struct client *client = arg;
    if (code < 0x80)
        rn_log(RN_LOG_INFO, "subscribed", "filter=%s", RN_Q(filter));
    else
        rn_log(RN_LOG_ERROR, "subscription_refused",
               "client=%s filter=%s code=%d advice=\"the broker's access rules must let the "
               "bridge read\"",
               client->role, RN_Q(filter), code);
}

static void on_stopped(void *arg)
{
    struct client *client = arg;
    struct broker *broker = client->broker;
    client->stopped = true;
    if (broker->in.stopped && broker->out.stopped)
        broker->handler.stopped(broker->handler.arg);
}

// ---- making ------------------------------------------------------------------------------------

static int make_client(struct broker *broker, struct client *client, const char *role,
                       struct rn_loop *loop, struct rn_err *err)
{
    const char *addresses[RN_OPT_LIST_MAX];
    struct rn_mqtt_conf conf;
    struct rn_mqtt_handler handler = {.arg = client,
                                      .will = on_will,
                                      .connected = on_connected,
                                      .disconnected = on_disconnected,
                                      .message = on_message,
                                      .published = on_published,
                                      .subscribed = on_subscribed};
    probe_mqtt_conf(broker->settings, addresses, &conf);
    conf.client_id = client->client_id;
    client->broker = broker;
    client->role = role;
    snprintf(client->client_id, sizeof client->client_id, "%s-%s", broker->settings->name, role);
    int rc = rn_random(&conf.seed, sizeof conf.seed, err);
    return rc == RN_OK ? rn_mqtt_new(&client->mqtt, loop, &conf, &handler, err) : rc;
}

static int subscribe(struct broker *broker, struct rn_err *err)
{
    char filter[RN_TOPIC_MAX];
    const char *prefix = broker->settings->topic_prefix;
    snprintf(filter, sizeof filter, "%s/s/+/+", prefix);
    // A live status must not look like a stored one, though it is published to be stored.
    int rc = rn_mqtt_subscribe(broker->in.mqtt, filter, 1 | RN_MQTT_STORED_ONLY, err);
    snprintf(filter, sizeof filter, "%s/u/+/+/+", prefix);
    return rc == RN_OK ? rn_mqtt_subscribe(broker->in.mqtt, filter, 1, err) : rc;
}

int broker_new(struct broker **out, const struct bridge_settings *settings, uint64_t log_id,
               struct rn_loop *loop, const struct broker_handler *handler, struct rn_err *err)
{
    struct broker *broker = calloc(1, sizeof *broker);
    if (!broker)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    broker->settings = settings;
    broker->handler = *handler;
    broker->log_id = log_id;
    int rc = make_client(broker, &broker->in, "in", loop, err);
    if (rc == RN_OK)
        rc = make_client(broker, &broker->out, "out", loop, err);
    if (rc == RN_OK)
        rc = subscribe(broker, err);
    if (rc) {
        broker_free(broker);
        return rc;
    }
    *out = broker;
    return RN_OK;
}

void broker_start(struct broker *broker)
{
    rn_mqtt_start(broker->out.mqtt);
    rn_mqtt_start(broker->in.mqtt);
}

void broker_stop(struct broker *broker, int64_t timeout_ms)
{
    broker->stopping = true;
    if (rn_mqtt_connected(broker->in.mqtt))
        publish_presence(broker, false);
    rn_mqtt_stop(broker->in.mqtt, timeout_ms, on_stopped, &broker->in);
    rn_mqtt_stop(broker->out.mqtt, timeout_ms, on_stopped, &broker->out);
}

void broker_free(struct broker *broker)
{
    if (!broker)
        return;
    rn_mqtt_free(broker->in.mqtt);
    rn_mqtt_free(broker->out.mqtt);
    free(broker);
}

bool broker_connected(const struct broker *broker)
{
    return rn_mqtt_connected(broker->in.mqtt) && rn_mqtt_connected(broker->out.mqtt);
}

int broker_publish(struct broker *broker, const char *topic, struct rn_span payload)
{
    return rn_mqtt_publish(broker->out.mqtt, topic, payload, 0, false, 0);
}

int broker_retain(struct broker *broker, const char *topic, struct rn_span payload)
{
    return rn_mqtt_publish(broker->out.mqtt, topic, payload, 1, true, 1);
}
