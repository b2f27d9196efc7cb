// See probe.h.
#include "bridge/probe.h"

#include <runnel/loop.h>
#include <runnel/mqtt.h>
#include <stdio.h>

struct probe {
    struct rn_loop *loop;
    struct rn_mqtt *mqtt;
    struct rn_err *err;
    int rc;
    char address[160];
};

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

void probe_mqtt_conf(const struct bridge_settings *s, const char **addresses,
                     struct rn_mqtt_conf *out)
{
    for (int i = 0; i < s->mqtt_addresses.count; i++)
        addresses[i] = s->mqtt_addresses.item[i];
    *out = (struct rn_mqtt_conf){.addresses = addresses,
                                 .naddresses = (uint32_t)s->mqtt_addresses.count,
                                 .username = or_null(s->mqtt_username),
                                 .password = or_null(s->mqtt_password),
                                 .ca_file = or_null(s->mqtt_ca_file),
                                 .cert_file = or_null(s->mqtt_cert_file),
                                 .key_file = or_null(s->mqtt_key_file),
                                 .insecure = s->mqtt_insecure,
                                 .keepalive_ms = s->mqtt_keepalive_ms,
                                 .connect_timeout_ms = s->mqtt_connect_timeout_ms,
                                 .backoff_min_ms = s->mqtt_backoff_min_ms,
                                 .backoff_max_ms = s->mqtt_backoff_max_ms,
                                 .first_reconnect_ms = s->mqtt_first_reconnect_ms,
                                 .max_inflight = 16,
                                 .max_queue_items = 65536,
                                 .max_queue_bytes = 64u << 20};
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct probe *probe = arg;
    (void)receive_maximum;
    snprintf(probe->address, sizeof probe->address, "%s", address);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    struct probe *probe = arg;
    (void)retry_ms;
    probe->rc = rn_fail(probe->err, RN_EIO, "%s: %s: %s", address,
                        was_connected ? "connection lost" : "cannot connect", reason);
    rn_loop_stop(probe->loop);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    struct probe *probe = arg;
    probe->rc = code < 0x80 ? RN_OK
                            : rn_fail(probe->err, RN_EACCESS,
                                      "%s: the broker refuses the subscription %s (code %d)",
                                      probe->address, filter, code);
    rn_loop_stop(probe->loop);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    (void)arg;
    (void)message;
}

static void on_published(void *arg, uint64_t token, int code)
{
    (void)arg;
    (void)token;
    (void)code;
}

static bool no_will(void *arg, char topic[128], struct rn_buf *payload)
{
    (void)arg;
    (void)topic;
    (void)payload;
    return false;
}

static void on_timeout(void *arg)
{
    struct probe *probe = arg;
    rn_loop_stop(probe->loop);
}

static int attempt(struct probe *probe, const struct config *config, struct rn_timer *timer)
{
    const struct bridge_settings *s = &config->settings;
    const char *addresses[RN_OPT_LIST_MAX];
    char client_id[RN_DEV_MAX + 16], filter[RN_TOPIC_MAX];
    struct rn_mqtt_conf conf;
    struct rn_mqtt_handler handler = {.arg = probe,
                                      .will = no_will,
                                      .connected = on_connected,
                                      .disconnected = on_disconnected,
                                      .message = on_message,
                                      .published = on_published,
                                      .subscribed = on_subscribed};
    probe_mqtt_conf(s, addresses, &conf);
    snprintf(client_id, sizeof client_id, "%s-check", s->name);
    conf.client_id = client_id;
    int rc = rn_mqtt_new(&probe->mqtt, probe->loop, &conf, &handler, probe->err);
    if (rc)
        return rc;
    snprintf(filter, sizeof filter, "%s/u/+/+/+", s->topic_prefix);
    rc = rn_mqtt_subscribe(probe->mqtt, filter, 0, probe->err);
    if (rc == RN_OK) {
        probe->rc = rn_fail(probe->err, RN_EAGAIN, "the broker does not answer");
        rn_mqtt_start(probe->mqtt);
        rn_timer_start(timer, s->mqtt_connect_timeout_ms + 1000, 0);
        rn_loop_run(probe->loop);
        rc = probe->rc;
    }
    rn_mqtt_free(probe->mqtt);
    return rc;
}

int probe_broker(const struct config *config, struct rn_err *err)
{
    struct probe probe = {.err = err};
    struct rn_timer *timer;
    int rc = rn_loop_new(&probe.loop, err);
    if (rc)
        return rc;
    rc = rn_timer_new(&timer, probe.loop, on_timeout, &probe, err);
    if (rc == RN_OK) {
        rc = attempt(&probe, config, timer);
        rn_timer_free(timer);
    }
    rn_loop_free(probe.loop);
    if (rc == RN_OK)
        rn_fail(err, RN_OK, "%s", probe.address);
    return rc;
}
