// See agent.h. The composition root: it wires and decides nothing that a core decides.
#include "agent/agent.h"

#include "agent/collect/self.h"
#include "agent/connection.h"
#include "agent/downlink.h"
#include "agent/encoder.h"
#include "agent/fingerprint.h"
#include "agent/pace.h"
#include "agent/peer.h"
#include "agent/presence.h"
#include "agent/sampling.h"
#include "agent/self.h"
#include "agent/storage.h"
#include "agent/uplink_io.h"
#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/log.h>

#include <stdlib.h>
#include <string.h>

enum {
    STOP_SHARE_MS = 200,  // of the time to stop, what is left for writing and freeing
    STOP_ANSWER_MS = 600, // and what the bridge gets to answer the last batch
};

struct agent {
    struct rn_loop *loop;
    struct config *config;
    struct agent_hooks hooks;
    struct state *state;
    struct encoder *encoder;
    struct storage *storage;
    struct sampling *sampling;
    struct presence *presence;
    struct connection *connection;
    struct uplink_io *uplink;
    struct downlink downlink;
    struct peer peer;
    struct rn_timer *last;
    char topic_data[RN_TOPIC_MAX], topic_key[RN_TOPIC_MAX];
    uint64_t fingerprint, seed;
    const char *stop_reason;
    int64_t stop_by_ms;
    bool hurry;                   // answers are wanted at once
    bool started, stopping, gone; // gone: goodbye was said
};

static const struct agent_settings *settings(const struct agent *agent)
{
    return &agent->config->settings;
}

static struct store *store_of(const struct agent *agent)
{
    return storage_store(agent->storage);
}

// ---- the buffer and what fills it ---------------------------------------------------------------

static void on_store(void *arg)
{
    struct agent *agent = arg;
    uplink_io_attach(agent->uplink, store_of(agent));
}

static bool sends(void *arg)
{
    struct agent *agent = arg;
    return uplink_io_open(agent->uplink);
}

static void on_fatal(void *arg, const struct rn_err *err)
{
    struct agent *agent = arg;
    agent->hooks.fatal(agent->hooks.arg, err);
}

static void on_store_failed(void *arg, const struct rn_err *why)
{
    struct agent *agent = arg;
    storage_failed(agent->storage, why);
}

static int on_batch(void *arg, const struct sampler_batch *b)
{
    struct agent *agent = arg;
    struct store_row row;
    struct rn_err err;
    if (!store_of(agent))
        return RN_ESTATE;
    int rc = storage_append(agent->storage, b, &row, &err);
    if (rc < 0) {
        bool later = rc == RN_ENOMEM; // the sampler keeps it
        rn_log(later ? RN_LOG_WARN : RN_LOG_ERROR, later ? "batch_put_off" : "batch_dropped",
               "samples=%llu err=%s", (unsigned long long)b->samples, RN_Q(err.text));
        return rc;
    }
    const struct store_state *s = store_state(store_of(agent));
    uplink_io_event(
        agent->uplink,
        &(struct uplink_event){.type = UPLINK_COMMITTED, .seq = row.seq, .up_to = s->published});
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_GONE, .low = s->low});
    return RN_OK;
}

// ---- the connection -----------------------------------------------------------------------------

static void announce(void *arg)
{
    struct agent *agent = arg;
    presence_announce(agent->presence);
}

static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct agent *agent = arg;
    return presence_will(agent->presence, topic, payload);
}

static void on_connected(void *arg, const char *address)
{
    struct agent *agent = arg;
    rn_log(RN_LOG_INFO, "connected", "address=%s epoch=%llu", RN_Q(address),
           (unsigned long long)presence_epoch(agent->presence));
    if (agent->stopping)
        return;
    encoder_connected(agent->encoder);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_CONNECTED});
    presence_start(agent->presence);
    if (agent->hooks.connection)
        agent->hooks.connection(agent->hooks.arg, true);
}

static void on_disconnected(void *arg, const char *reason)
{
    struct agent *agent = arg;
    presence_disconnected(agent->presence, reason);
    peer_disconnected(&agent->peer);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_DISCONNECTED});
    if (agent->hooks.connection)
        agent->hooks.connection(agent->hooks.arg, false);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    struct agent *agent = arg;
    presence_heard(agent->presence);
    if (!agent->gone && !connection_leaving(agent->connection))
        downlink_message(&agent->downlink, message);
}

static void on_published(void *arg, uint64_t token)
{
    struct agent *agent = arg;
    presence_published(agent->presence, token);
}

static void say_goodbye(void *arg);

// ---- answers ------------------------------------------------------------------------------------

// False: an answer to a birth that is not our last, or that shows this connection to be of no use.
static bool check_hello(struct agent *agent, const struct rn_hello *hello)
{
    if (!presence_answers(agent->presence, hello))
        return false;
    peer_hello(&agent->peer, hello, settings(agent)->device);
    connection_fleet(agent->connection, hello->fleet);
    return presence_seen(agent->presence, hello->max_epoch);
}

static void on_ack(void *arg, const struct rn_ack *ack)
{
    struct agent *agent = arg;
    if (!store_of(agent))
        return;
    uint64_t before = uplink_io_stats(agent->uplink)->answered;
    bool hello = ack->has_hello && check_hello(agent, &ack->hello);
    if (ack->has_hello && !hello) {
        struct rn_ack rest = *ack;
        rest.has_hello = false;
        uplink_io_ack(agent->uplink, &rest);
    } else {
        uplink_io_ack(agent->uplink, ack);
    }
    peer_time(&agent->peer, ack->time_ms);
    if (agent->stopping && store_of(agent) && store_state(store_of(agent))->rows == 0)
        say_goodbye(agent);
    if (agent->hooks.ack && !agent->stopping)
        agent->hooks.ack(agent->hooks.arg, ack,
                         hello || uplink_io_stats(agent->uplink)->answered > before);
}

static void on_bridge(void *arg, const struct rn_bridge_status *status)
{
    struct agent *agent = arg;
    if (peer_status(&agent->peer, status) && store_of(agent))
        uplink_io_event(agent->uplink, &(struct uplink_event){
                                           .type = UPLINK_BRIDGE_BACK,
                                           .spread_ms = connection_spread_ms(agent->connection)});
}

static void on_config(void *arg, struct rn_span payload)
{
    struct agent *agent = arg;
    if (agent->hooks.config && !agent->stopping)
        agent->hooks.config(agent->hooks.arg, payload);
}

// ---- for the self collector ---------------------------------------------------------------------

static void read_self(void *arg, struct self_stats *out)
{
    struct agent *agent = arg;
    const struct self_parts parts = {.mqtt = connection_mqtt(agent->connection),
                                     .sampler = sampling_sampler(agent->sampling),
                                     .store = store_of(agent),
                                     .uplink = uplink_io_stats(agent->uplink)};
    self_read(&parts, out);
}

static void bind_self(struct agent *agent, struct config *config)
{
    for (size_t i = 0; i < config->ncollectors; i++)
        if (config->collectors[i].what == &self_collector)
            *(struct self_conf *)config->collectors[i].conf =
                (struct self_conf){.read = read_self, .arg = agent};
}

// ---- configuration ------------------------------------------------------------------------------

static struct uplink_conf uplink_conf(const struct agent *agent)
{
    struct uplink_conf conf = pace_uplink(settings(agent), agent->hurry);
    conf.fingerprint = agent->fingerprint;
    conf.seed = agent->seed;
    return conf;
}

static void start_timers(struct agent *agent)
{
    sampling_start(agent->sampling);
    storage_start(agent->storage);
    if (agent_connected(agent))
        presence_start(agent->presence);
}

int agent_check(const struct agent *agent, const struct config *config, struct rn_err *err)
{
    int rc = config_check_fixed(settings(agent), &config->settings, err);
    return rc < 0 ? rc : connection_check(agent->connection, &config->settings, err);
}

int agent_reconfigure(struct agent *agent, struct config *config, struct rn_err *err)
{
    struct config *old = agent->config;
    int rc = agent_check(agent, config, err);
    if (rc < 0)
        return rc;
    rc = encoder_reconf(agent->encoder, config_encodings(&config->settings), err);
    if (rc < 0)
        return rc;
    bind_self(agent, config);
    rc = sampling_reconf(agent->sampling, config, err);
    if (rc >= 0)
        rc = connection_reconf(agent->connection, &config->settings, err);
    if (rc < 0) {
        (void)!encoder_reconf(agent->encoder, config_encodings(&old->settings), NULL);
        (void)!sampling_reconf(agent->sampling, old, NULL);
        return rc;
    }
    agent->config = config;
    if (agent->started && !config_same_connection(&old->settings, &config->settings))
        connection_leave(agent->connection);
    struct uplink_conf up = uplink_conf(agent);
    uplink_io_reconf(agent->uplink, &up);
    storage_reconf(agent->storage, settings(agent));
    presence_reconf(agent->presence, settings(agent));
    if (agent->started)
        start_timers(agent);
    config_free(old);
    return RN_OK;
}

// ---- life ---------------------------------------------------------------------------------------

static int write_topics(struct agent *agent, struct rn_err *err)
{
    const char *prefix = settings(agent)->topic_prefix, *dev = settings(agent)->device;
    if (rn_topic_write(agent->topic_data, prefix, RN_TOPIC_METRICS, dev) < 0 ||
        rn_topic_write(agent->topic_key, prefix, RN_TOPIC_KEY, dev) < 0)
        return rn_fail(err, RN_EINVAL, "no topic can be made of prefix %s and device %s", prefix,
                       dev);
    return downlink_init(&agent->downlink, prefix, dev, err);
}

static int make_storage(struct agent *agent, struct rn_err *err)
{
    const struct storage_hooks hooks = {.arg = agent,
                                        .tee = agent->hooks.tee,
                                        .changed = on_store,
                                        .sends = sends,
                                        .fatal = on_fatal};
    int rc = encoder_new(&agent->encoder, config_encodings(settings(agent)), err);
    return rc < 0 ? rc
                  : storage_new(&agent->storage, agent->loop, settings(agent), agent->encoder,
                                agent->fingerprint, &hooks, err);
}

static int make_presence(struct agent *agent, struct rn_err *err)
{
    const struct presence_conf conf = {.settings = settings(agent),
                                       .connection = agent->connection,
                                       .storage = agent->storage,
                                       .state = agent->state,
                                       .fingerprint = agent->fingerprint};
    return presence_new(&agent->presence, agent->loop, &conf, err);
}

static int make_connection(struct agent *agent, struct rn_err *err)
{
    const struct connection_hooks hooks = {.arg = agent,
                                           .will = on_will,
                                           .connected = on_connected,
                                           .disconnected = on_disconnected,
                                           .message = on_message,
                                           .published = on_published};
    agent->downlink.arg = agent;
    agent->downlink.ack = on_ack;
    agent->downlink.config = on_config;
    agent->downlink.bridge = on_bridge;
    int rc = connection_new(&agent->connection, agent->loop, settings(agent), agent->state,
                            agent->seed, &hooks, err);
    return rc < 0 ? rc
                  : downlink_subscribe(&agent->downlink, connection_mqtt(agent->connection), err);
}

static int make_uplink(struct agent *agent, struct rn_err *err)
{
    const struct uplink_io_hooks hooks = {
        .arg = agent, .announce = announce, .store_failed = on_store_failed};
    const struct uplink_io_conf conf = {.topic_data = agent->topic_data,
                                        .topic_key = agent->topic_key,
                                        .encoder = agent->encoder,
                                        .core = uplink_conf(agent)};
    return uplink_io_new(&agent->uplink, agent->loop, connection_mqtt(agent->connection), &conf,
                         &hooks, err);
}

static int make_sampling(struct agent *agent, struct rn_err *err)
{
    const struct sampling_hooks hooks = {.arg = agent, .batch = on_batch};
    return sampling_new(&agent->sampling, agent->loop, agent->config, agent->storage, &hooks, err);
}

static int make_parts(struct agent *agent, struct rn_err *err)
{
    int rc = rn_random(&agent->seed, sizeof agent->seed, err);
    if (rc >= 0)
        rc = write_topics(agent, err);
    if (rc >= 0)
        rc = make_storage(agent, err);
    if (rc >= 0)
        agent->state = state_open_or_go_on(settings(agent)->data);
    if (rc >= 0)
        rc = make_connection(agent, err);
    if (rc >= 0)
        rc = make_presence(agent, err);
    if (rc >= 0)
        rc = make_uplink(agent, err);
    if (rc >= 0)
        rc = make_sampling(agent, err);
    return rc < 0 ? rc : rn_timer_new(&agent->last, agent->loop, say_goodbye, agent, err);
}

int agent_new(struct agent **out, struct rn_loop *loop, struct config *config,
              const struct agent_hooks *hooks, struct rn_err *err)
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    agent->loop = loop;
    agent->config = config;
    agent->hooks = *hooks;
    agent->fingerprint = fingerprint_read(config->settings.device);
    bind_self(agent, config);
    int rc = make_parts(agent, err);
    if (rc < 0) {
        agent->config = NULL; // stays the caller's
        agent_free(agent);
        return rc;
    }
    on_store(agent);
    *out = agent;
    return RN_OK;
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    rn_timer_free(agent->last);
    connection_free(agent->connection);
    uplink_io_free(agent->uplink);
    sampling_free(agent->sampling);
    presence_free(agent->presence);
    storage_free(agent->storage);
    state_close(agent->state);
    encoder_free(agent->encoder);
    config_free(agent->config);
    free(agent);
}

void agent_start(struct agent *agent)
{
    storage_tell_start(agent->storage);
    agent->started = true;
    start_timers(agent);
    rn_mqtt_start(connection_mqtt(agent->connection));
}

static void on_stopped(void *arg)
{
    struct agent *agent = arg;
    storage_tell_end(agent->storage);
    agent->hooks.stopped(agent->hooks.arg);
}

// The last word: the final ledger, then DISCONNECT.
static void say_goodbye(void *arg)
{
    struct agent *agent = arg;
    if (agent->gone)
        return;
    agent->gone = true;
    rn_timer_stop(agent->last);
    presence_goodbye(agent->presence, agent->stop_reason);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_DISCONNECTED});
    int64_t left = agent->stop_by_ms - rn_clock_mono_ms() - STOP_SHARE_MS;
    rn_mqtt_stop(connection_mqtt(agent->connection), left > 0 ? left : 1, on_stopped, agent);
}

void agent_stop(struct agent *agent, const char *reason, int64_t timeout_ms)
{
    if (agent->stopping)
        return;
    presence_ask(agent->presence, "stopping");
    sampler_cut(sampling_sampler(agent->sampling));
    agent->stopping = true;
    agent->stop_reason = reason;
    agent->stop_by_ms = rn_clock_mono_ms() + timeout_ms;
    sampling_stop(agent->sampling);
    storage_stop(agent->storage);
    presence_stop(agent->presence);
    bool waits = uplink_io_open(agent->uplink) && store_of(agent) &&
                 store_state(store_of(agent))->rows > 0 && timeout_ms > 2 * STOP_ANSWER_MS;
    if (waits)
        rn_timer_start(agent->last, STOP_ANSWER_MS, 0);
    else
        say_goodbye(agent);
}

// ---- for remote configuration -------------------------------------------------------------------

const struct config *agent_config(const struct agent *agent)
{
    return agent->config;
}

struct state *agent_state(struct agent *agent)
{
    return agent->state;
}

bool agent_connected(const struct agent *agent)
{
    return connection_up(agent->connection);
}

uint64_t agent_install(const struct agent *agent)
{
    return store_of(agent) ? store_state(store_of(agent))->install : 0;
}

const struct uplink_stats *agent_uplink_stats(const struct agent *agent)
{
    return uplink_io_stats(agent->uplink);
}

void agent_set_running(struct agent *agent, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    presence_set_running(agent->presence, revision, hash);
}

void agent_set_hurry(struct agent *agent, bool hurry)
{
    if (agent->hurry == hurry || agent->stopping)
        return;
    agent->hurry = hurry;
    presence_set_hurry(agent->presence, hurry);
    struct uplink_conf up = uplink_conf(agent);
    uplink_io_reconf(agent->uplink, &up);
}

void agent_flush(struct agent *agent)
{
    sampler_cut(sampling_sampler(agent->sampling));
}

// A subscription that is made again brings what is retained (MQTT 5, 3.8.4).
void agent_ask_config(struct agent *agent)
{
    struct rn_mqtt *mqtt = connection_mqtt(agent->connection);
    (void)!rn_mqtt_subscribe(mqtt, agent->downlink.topic_config, 1, NULL);
}

int agent_publish_report(struct agent *agent, struct rn_span payload)
{
    return presence_report(agent->presence, payload);
}
