// See connection.h.
#include "agent/connection.h"

#include "agent/keepalive.h"
#include "agent/pace.h"
#include <runnel/clock.h>
#include <runnel/log.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INFLIGHT_MAX = 16,
    QUEUE_ITEMS = 64,
    SPREAD_MIN_MS = 500,
    SPREAD_MAX_MS = 60000,
    SPREAD_PER_DEVICE_MS = 2, // 500 devices a second
    LEARNED_TEXT = 128,
};
static const int64_t learned_max = INT64_C(30) * 24 * 3600 * 1000; // of any number in it

struct connection {
    const struct agent_settings *settings;
    struct connection_hooks hooks;
    struct rn_mqtt *mqtt;
    struct state *state;
    struct keepalive keepalive;
    uint64_t seed;
    uint64_t fleet; // devices that share our bridge; 0: not known
    bool connected;
    bool leaving;    // it is being given up for another one
    int64_t told_ms; // keepalive that the log told last
    struct rn_complaint broker;
};

struct rn_mqtt *connection_mqtt(const struct connection *c)
{
    return c->mqtt;
}

bool connection_up(const struct connection *c)
{
    return c->connected && !c->leaving;
}

bool connection_leaving(const struct connection *c)
{
    return c->leaving;
}

// ---- what it is made of -------------------------------------------------------------------------

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

void connection_conf(struct connection_conf *out, const struct agent_settings *s, uint64_t seed)
{
    snprintf(out->client, sizeof out->client, "%02x/%.32s", rn_dev_shard(rn_span_text(s->device)),
             s->device);
    for (int i = 0; i < s->mqtt_addresses.count; i++)
        out->addresses[i] = s->mqtt_addresses.item[i];
    out->conf = (struct rn_mqtt_conf){
        .addresses = out->addresses,
        .naddresses = (uint32_t)s->mqtt_addresses.count,
        .client_id = s->mqtt_client_id[0] ? s->mqtt_client_id : out->client,
        .username = s->mqtt_username[0] ? s->mqtt_username : out->client,
        .password = or_null(s->mqtt_password),
        .ca_file = or_null(s->mqtt_ca_file),
        .cert_file = or_null(s->mqtt_cert_file),
        .key_file = or_null(s->mqtt_key_file),
        .insecure = s->mqtt_insecure,
        .proxy = or_null(s->mqtt_proxy),
        .keepalive_ms = pace_keepalive(s),
        .connect_timeout_ms = s->mqtt_connect_timeout_ms,
        .backoff_min_ms = s->mqtt_backoff_min_ms,
        .backoff_max_ms = s->mqtt_backoff_max_ms,
        .first_reconnect_ms = s->mqtt_first_reconnect_ms,
        .seed = seed,
        .max_inflight = INFLIGHT_MAX,
        .max_queue_items = QUEUE_ITEMS,
        .max_queue_bytes = RN_MESSAGE_MAX,
    };
}

// What the fleet's size makes of the settings.
static void conf_of(const struct connection *c, const struct agent_settings *s,
                    struct connection_conf *out)
{
    int64_t spread = (int64_t)c->fleet * SPREAD_PER_DEVICE_MS;
    connection_conf(out, s, c->seed);
    out->conf.keepalive_ms = keepalive_ms(&c->keepalive);
    if (spread > out->conf.first_reconnect_ms)
        out->conf.first_reconnect_ms = spread;
}

static struct keepalive_conf keepalive_conf(const struct agent_settings *s)
{
    return (struct keepalive_conf){.min_ms = s->mqtt_keepalive_min_ms, .max_ms = pace_keepalive(s)};
}

int connection_check(const struct connection *c, const struct agent_settings *settings,
                     struct rn_err *err)
{
    struct connection_conf conf;
    connection_conf(&conf, settings, c->seed);
    int rc = rn_mqtt_conf_check(&conf.conf, err);
    if (rc < 0 && strncmp(err->text, "broker address", 14) == 0)
        rn_err_prefix(err, "mqtt.addresses");
    return rc;
}

int connection_reconf(struct connection *c, const struct agent_settings *settings,
                      struct rn_err *err)
{
    struct connection_conf conf;
    const struct keepalive_conf before = c->keepalive.conf, now = keepalive_conf(settings);
    keepalive_reconf(&c->keepalive, &now);
    conf_of(c, settings, &conf);
    int rc = rn_mqtt_reconfigure(c->mqtt, &conf.conf, err);
    if (rc < 0)
        keepalive_reconf(&c->keepalive, &before);
    else
        c->settings = settings;
    return rc;
}

void connection_leave(struct connection *c)
{
    c->leaving = c->connected;
    rn_mqtt_reconnect(c->mqtt, "new connection settings");
}

// For the next connection.
static void renew(struct connection *c)
{
    struct connection_conf conf;
    struct rn_err err;
    conf_of(c, c->settings, &conf);
    if (rn_mqtt_reconfigure(c->mqtt, &conf.conf, &err) < 0)
        rn_log(RN_LOG_ERROR, "mqtt_settings_refused", "err=%s", RN_Q(err.text));
}

void connection_fleet(struct connection *c, uint64_t devices)
{
    uint64_t before = c->fleet;
    c->fleet = devices < SPREAD_MAX_MS ? devices : SPREAD_MAX_MS; // it only counts up to there
    bool much = c->fleet > before + before / 4 || before > c->fleet + c->fleet / 4;
    if (!much || (int64_t)c->fleet * SPREAD_PER_DEVICE_MS < c->settings->mqtt_first_reconnect_ms)
        return;
    renew(c);
}

int64_t connection_spread_ms(const struct connection *c)
{
    uint64_t wanted = c->fleet * SPREAD_PER_DEVICE_MS;
    return wanted < SPREAD_MIN_MS   ? SPREAD_MIN_MS
           : wanted > SPREAD_MAX_MS ? SPREAD_MAX_MS
                                    : (int64_t)wanted;
}

// ---- what is learned about idleness -------------------------------------------------------------

static const char learned_name[] = "keepalive";

static void save_learned(struct connection *c)
{
    const struct keepalive_learned *l = &c->keepalive.learned;
    struct rn_err err;
    char text[LEARNED_TEXT];
    snprintf(text, sizeof text, "%lld %lld %lld %lld %lld", (long long)l->value_ms,
             (long long)l->hold_ms, (long long)l->step_ms, (long long)l->strike_ms,
             (long long)l->strikes);
    if (c->state && state_put(c->state, learned_name, rn_span_text(text), &err) < 0)
        rn_log(RN_LOG_WARN, "keepalive_not_kept", "err=%s", RN_Q(err.text));
}

// Nothing learned, if what was saved makes no sense.
static struct keepalive_learned read_learned(struct state *state)
{
    struct keepalive_learned l = {0};
    int64_t *const member[] = {&l.value_ms, &l.hold_ms, &l.step_ms, &l.strike_ms, &l.strikes};
    struct rn_err err;
    struct rn_buf text;
    rn_buf_init(&text, LEARNED_TEXT);
    bool good = state && state_get(state, learned_name, &text, &err) >= 0;
    rn_buf_append(&text, "", 1);
    good = good && rn_buf_ok(&text);
    char *at = (char *)text.data;
    for (size_t i = 0; good && i < sizeof member / sizeof *member; i++) {
        *member[i] = strtoll(at, &at, 10);
        good = *member[i] >= 0 && *member[i] < learned_max;
    }
    rn_buf_release(&text);
    return good ? l : (struct keepalive_learned){0};
}

static void note_connected(struct connection *c)
{
    int64_t before = keepalive_ms(&c->keepalive);
    if (!keepalive_connected(&c->keepalive, rn_clock_mono_ms()))
        return;
    save_learned(c);
    if (c->told_ms != before)
        rn_log(RN_LOG_INFO, "keepalive_learned", "device=%s keepalive_ms=%lld", c->settings->device,
               (long long)before);
    c->told_ms = before;
}

static void note_lost(struct connection *c, bool was_connected)
{
    int64_t before = keepalive_ms(&c->keepalive);
    if (was_connected)
        keepalive_lost(&c->keepalive, rn_clock_mono_ms());
    else
        keepalive_failed(&c->keepalive);
    if (keepalive_ms(&c->keepalive) != before)
        renew(c);
}

// ---- what it says -------------------------------------------------------------------------------

static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct connection *c = arg;
    return c->hooks.will(c->hooks.arg, topic, payload);
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct connection *c = arg;
    (void)receive_maximum;
    c->connected = true;
    c->leaving = false;
    note_connected(c);
    rn_recovered(&c->broker, "broker_reachable");
    c->hooks.connected(c->hooks.arg, address);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    struct connection *c = arg;
    bool left = c->leaving; // by our own will
    c->connected = c->leaving = false;
    if (was_connected) {
        rn_log(RN_LOG_WARN, "disconnected", "address=%s err=%s retry_ms=%lld", RN_Q(address),
               RN_Q(reason), (long long)retry_ms);
        c->hooks.disconnected(c->hooks.arg, reason);
    } else {
        rn_complain(&c->broker, rn_clock_mono_ms(), 300000, RN_LOG_WARN, "broker_unreachable",
                    "address=%s err=%s retry_ms=%lld", RN_Q(address), RN_Q(reason),
                    (long long)retry_ms);
    }
    if (!left) // last: it may renew the settings that `address` lies in
        note_lost(c, was_connected);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    struct connection *c = arg;
    keepalive_heard(&c->keepalive, rn_clock_mono_ms());
    c->hooks.message(c->hooks.arg, message);
}

static void on_published(void *arg, uint64_t token, int code)
{
    struct connection *c = arg;
    // Without a token it was QoS 0 as a rule: handed to the socket, which says nothing of the way.
    if (code >= 0 && token != 0)
        keepalive_heard(&c->keepalive, rn_clock_mono_ms());
    else if (code >= 0)
        keepalive_sent(&c->keepalive, rn_clock_mono_ms());
    if (code >= 0)
        c->hooks.published(c->hooks.arg, token);
    if (code >= 0x80)
        rn_log(RN_LOG_WARN, "publish_refused",
               "device=%s code=%d advice=\"the broker's rules forbid it: check name and ACL\"",
               c->settings->device, code);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    struct connection *c = arg;
    if (code >= 0x80)
        rn_log(RN_LOG_WARN, "subscription_refused",
               "device=%s filter=%s code=%d advice=\"the broker's rules forbid it: check name and "
               "ACL\"",
               c->settings->device, RN_Q(filter), code);
}

// ---- life ---------------------------------------------------------------------------------------

int connection_new(struct connection **out, struct rn_loop *loop,
                   const struct agent_settings *settings, struct state *state, uint64_t seed,
                   const struct connection_hooks *hooks, struct rn_err *err)
{
    struct connection_conf conf;
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    c->settings = settings;
    c->seed = seed;
    c->hooks = *hooks;
    c->state = state;
    const struct keepalive_conf bounds = keepalive_conf(settings);
    const struct keepalive_learned learned = read_learned(state);
    keepalive_init(&c->keepalive, &bounds, &learned);
    c->told_ms = keepalive_ms(&c->keepalive);
    const struct rn_mqtt_handler handler = {.arg = c,
                                            .will = on_will,
                                            .connected = on_connected,
                                            .disconnected = on_disconnected,
                                            .message = on_message,
                                            .published = on_published,
                                            .subscribed = on_subscribed};
    conf_of(c, settings, &conf);
    int rc = rn_mqtt_new(&c->mqtt, loop, &conf.conf, &handler, err);
    if (rc < 0) {
        connection_free(c);
        return rc;
    }
    *out = c;
    return RN_OK;
}

void connection_free(struct connection *c)
{
    if (!c)
        return;
    rn_mqtt_free(c->mqtt);
    free(c);
}
