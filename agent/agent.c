// See agent.h. The composition root: it wires and decides nothing that a core decides.
#include "agent/agent.h"

#include "agent/collect/self.h"
#include "agent/downlink.h"
#include "agent/encoder.h"
#include "agent/fingerprint.h"
#include "agent/sampler.h"
#include "agent/store.h"
#include "agent/uplink_io.h"
#include <runnel/clock.h>
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RAM_BUFFER_BYTES = 1 << 20, // where the disk refuses
    DISK_RETRY_MS = 60000,
    INFLIGHT_MAX = 16,
    STATUS_TOKEN = 1, // of publishes whose acknowledgement shows that the link lives
    QUEUE_ITEMS = 64,
    CLOCK_OFF_MS = 300000,
    SPREAD_MIN_MS = 500, // of what a whole fleet does at once
    SPREAD_MAX_MS = 60000,
    SPREAD_PER_DEVICE_MS = 2, // 500 devices a second
    STOP_SHARE_MS = 200,      // of the time to stop, what is left for writing and freeing
    STOP_ANSWER_MS = 600,     // and what the bridge gets to answer the last batch
};
static const int64_t plausible_utc_ms =
    INT64_C(1735689600000); // 2025: a clock before that was never set

struct agent {
    struct rn_loop *loop;
    struct config *config;
    struct agent_hooks hooks;
    struct store *store;
    struct state *state;
    struct sampler *sampler;
    struct rn_mqtt *mqtt;
    struct uplink_io *uplink;
    struct downlink downlink;
    struct rn_timer *tick, *journal, *beat, *disk, *last, *watch;
    char topic_data[RN_TOPIC_MAX], topic_key[RN_TOPIC_MAX], topic_status[RN_TOPIC_MAX],
        topic_report[RN_TOPIC_MAX];
    struct encoder *encoder;
    struct rn_buf message;
    uint64_t fingerprint, seed;
    struct epochs epochs;
    uint64_t epoch, status_n; // of this connection (attempt)
    uint64_t config_revision;
    uint8_t config_hash[RN_HASH_BYTES];
    char reason[128]; // for the next birth
    int64_t away_since_ms;
    uint64_t journaled;               // samples of the open window that the journal has
    uint64_t fleet;                   // devices that share our bridge; 0: not known
    bool bridge_known, bridge_online; // since this connection
    uint64_t bridge_since_ms;
    int64_t asked_ms, heard_ms; // the last status, and the last sign of life of the broker
    const char *stop_reason;
    int64_t stop_by_ms;
    bool started, stopping, gone, connected; // gone: goodbye was said
    bool leaving;                            // the connection is being given up for another one
    struct rn_complaint broker, disk_full, clock, duplicate;
};

static const struct agent_settings *settings(const struct agent *agent)
{
    return &agent->config->settings;
}

static bool clock_trusted(int64_t utc_ms)
{
    return utc_ms > plausible_utc_ms;
}

// ---- the buffer ---------------------------------------------------------------------------------

static void tell_opened(const struct agent *agent, const struct store_report *r)
{
    if (r->quarantined)
        rn_log(RN_LOG_ERROR, "buffer_damaged", "aside=%s salvaged_batches=%llu lost_samples=%llu",
               RN_Q(r->aside), (unsigned long long)r->salvaged_rows,
               (unsigned long long)r->lost_samples);
    if (r->relabelled)
        rn_log(RN_LOG_WARN, "install_renewed",
               "new=%016llx why=\"this buffer was made on another machine\"",
               (unsigned long long)store_state(agent->store)->install);
    if (r->journal_samples)
        rn_log(RN_LOG_INFO, "journal_recovered", "samples=%llu",
               (unsigned long long)r->journal_samples);
}

static int open_store(struct agent *agent, bool disk, struct rn_err *err)
{
    const struct agent_settings *s = settings(agent);
    struct store_conf conf = {.folder = disk ? s->data : NULL,
                              .max_bytes = disk ? s->buffer_max_bytes : RAM_BUFFER_BYTES,
                              .max_age_ms = s->buffer_max_age_ms,
                              .fingerprint = agent->fingerprint};
    struct store_report report;
    int rc = store_open(&agent->store, &conf, &report, err);
    if (rc >= 0)
        tell_opened(agent, &report);
    return rc;
}

// The disk refuses: go on in memory, and look from time to time whether it is back.
static int open_ram(struct agent *agent, const struct rn_err *why, struct rn_err *err)
{
    rn_complain(&agent->disk_full, rn_clock_mono_ms(), 3600000, RN_LOG_ERROR, "buffer_in_memory",
                "data=%s err=%s advice=\"mend the disk; until then at most %d kB are kept\"",
                RN_Q(settings(agent)->data), RN_Q(why->text), RAM_BUFFER_BYTES / 1024);
    return open_store(agent, false, err);
}

static void store_failed(void *arg, const struct rn_err *why)
{
    struct agent *agent = arg;
    struct rn_err err;
    bool damaged = why->code == RN_ECORRUPT && !store_in_memory(agent->store);
    rn_log(RN_LOG_ERROR, "buffer_failed", "err=%s", RN_Q(why->text));
    store_close(agent->store);
    agent->store = NULL;
    int rc = damaged ? open_store(agent, true, &err) : RN_EIO;
    if (rc < 0)
        rc = open_ram(agent, damaged ? &err : why, &err);
    if (rc < 0) {
        agent->hooks.fatal(agent->hooks.arg, &err);
        return;
    }
    agent->journaled = 0;
    uplink_io_attach(agent->uplink, agent->store);
}

// Back to the disk once memory has drained and the disk takes writes again.
static void try_disk(void *arg)
{
    struct agent *agent = arg;
    struct rn_err err;
    struct store *ram = agent->store;
    if (agent->stopping || !ram || !store_in_memory(ram) || store_state(ram)->rows > 0)
        return;
    agent->store = NULL;
    int rc = open_store(agent, true, &err);
    if (rc >= 0)
        rc = store_publish(agent->store, 0, &err); // a commit shows that it takes writes
    if (rc < 0) {
        store_close(agent->store);
        agent->store = ram;
        return;
    }
    store_close(ram);
    rn_recovered(&agent->disk_full, "buffer_on_disk");
    agent->journaled = 0;
    uplink_io_attach(agent->uplink, agent->store);
}

// ---- from the window to the buffer --------------------------------------------------------------

// plain: for the journal, which is written often and never sent as it is.
static int encode_row(struct agent *agent, const struct sampler_batch *b, bool plain,
                      struct store_row *row, struct rn_err *err)
{
    *row = (struct store_row){.samples = b->samples,
                              .t_first = b->t_first_ms,
                              .t_last = b->t_last_ms,
                              .boot_ms = rn_clock_boot_ms(),
                              .trusted = clock_trusted(rn_clock_utc_ms())};
    int rc = store_schema_id(agent->store, b->hash, b->object, &row->schema, err);
    if (rc < 0)
        return rc;
    if (plain)
        rc = encoder_plain(agent->encoder, b->schema, row->schema, b->grid, &row->body, err);
    else
        rc = encoder_smallest(agent->encoder, b->schema, row->schema, b->grid, &row->body, err);
    if (rc < 0)
        return rc;
    row->crc = rn_crc32c(0, row->body.data, row->body.len);
    return RN_OK;
}

static bool is_storage(int code)
{
    return code == RN_EIO || code == RN_ENOSPC || code == RN_EACCESS || code == RN_ECORRUPT ||
           code == RN_EAGAIN;
}

static int append(struct agent *agent, const struct sampler_batch *b, struct rn_err *err)
{
    struct store_row row;
    int64_t utc = rn_clock_utc_ms();
    int rc = encode_row(agent, b, false, &row, err);
    if (rc >= 0)
        rc = store_append(agent->store, &row, uplink_io_open(agent->uplink),
                          clock_trusted(utc) ? utc : 0, err);
    if (rc < 0)
        return rc;
    const struct store_state *s = store_state(agent->store);
    agent->journaled = 0;
    if (agent->hooks.tee)
        tee_commit(agent->hooks.tee, settings(agent)->device, s->install, row.seq, row.samples);
    uplink_io_event(
        agent->uplink,
        &(struct uplink_event){.type = UPLINK_COMMITTED, .seq = row.seq, .up_to = s->published});
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_GONE, .low = s->low});
    return RN_OK;
}

static void on_batch(void *arg, const struct sampler_batch *b)
{
    struct agent *agent = arg;
    struct rn_err err;
    if (!agent->store)
        return;
    if (agent->hooks.tee)
        tee_begin(agent->hooks.tee, settings(agent)->device, b);
    int rc = append(agent, b, &err);
    if (rc < 0 && is_storage(rc)) {
        store_failed(agent, &err);
        rc = agent->store ? append(agent, b, &err) : rc;
    }
    if (rc < 0)
        rn_log(RN_LOG_ERROR, "batch_dropped", "samples=%llu err=%s", (unsigned long long)b->samples,
               RN_Q(err.text));
}

static void on_trouble(void *arg, const char *collector, const char *text)
{
    (void)arg;
    if (text)
        rn_log(RN_LOG_WARN, "collector_failed", "collector=%s err=%s", collector, RN_Q(text));
    else
        rn_log(RN_LOG_INFO, "collector_recovered", "collector=%s", collector);
}

static void on_journal(void *arg)
{
    struct agent *agent = arg;
    struct sampler_batch batch;
    struct store_row row;
    struct rn_err err;
    uint64_t open = sampler_open_samples(agent->sampler);
    if (!agent->store || open == 0 || open == agent->journaled ||
        sampler_peek(agent->sampler, &batch, &err) < 0)
        return;
    int rc = encode_row(agent, &batch, true, &row, &err);
    if (rc >= 0)
        rc = store_journal(agent->store, &row, &err);
    if (rc >= 0)
        agent->journaled = open;
    else if (is_storage(rc))
        store_failed(agent, &err);
}

static void on_tick(void *arg)
{
    struct agent *agent = arg;
    int64_t wait = sampler_run(agent->sampler, rn_clock_utc_ms(), rn_clock_boot_ms());
    rn_timer_start(agent->tick, wait, 0);
}

// ---- status -------------------------------------------------------------------------------------

static void fill_status(const struct agent *agent, struct rn_status *out, enum rn_presence presence,
                        const char *reason)
{
    const struct store_state *s = store_state(agent->store);
    int64_t utc = rn_clock_utc_ms();
    *out = (struct rn_status){
        .presence = presence,
        .install = s->install,
        .epoch = agent->epoch,
        .n = agent->status_n,
        .time_ms = clock_trusted(utc) ? (uint64_t)utc : 0,
        .interval_ms = (uint64_t)settings(agent)->batch_interval_ms,
        .next_seq = s->next,
        .fingerprint = agent->fingerprint,
        .config_revision = agent->config_revision,
        .has_ledger = presence != RN_PRESENCE_WILL,
        .ledger = s->ledger,
        .version = rn_span_text(RUNNEL_VERSION),
        .reason = rn_span_text(reason),
    };
    memcpy(out->config_hash, agent->config_hash, RN_HASH_BYTES);
}

static void publish_status(struct agent *agent, enum rn_presence presence, const char *reason,
                           int64_t away_ms)
{
    struct rn_status status;
    if (!agent->store || !agent_connected(agent))
        return;
    agent->status_n++;
    fill_status(agent, &status, presence, reason);
    status.away_ms = away_ms > 0 ? (uint64_t)away_ms : 0;
    rn_buf_clear(&agent->message);
    if (rn_status_encode(&status, &agent->message) < 0 ||
        rn_mqtt_publish(agent->mqtt, agent->topic_status, rn_buf_span(&agent->message), 1, true,
                        STATUS_TOKEN) < 0)
        rn_log(RN_LOG_WARN, "status_not_sent", "reason=%s", RN_Q(reason));
    agent->asked_ms = rn_clock_mono_ms();
    rn_timer_start(agent->watch, settings(agent)->mqtt_connect_timeout_ms, 0);
}

// A status is acknowledged by the broker. A link that swallows everything is noticed so long before
// the keepalive would.
static void on_watch(void *arg)
{
    struct agent *agent = arg;
    if (agent_connected(agent) && !agent->gone && agent->heard_ms < agent->asked_ms)
        rn_mqtt_reconnect(agent->mqtt, "the broker does not acknowledge: the link is silent");
}

// The core asks for a birth: the first of a connection, and again until the bridge answers.
static void announce(void *arg)
{
    struct agent *agent = arg;
    int64_t away = rn_clock_mono_ms() - agent->away_since_ms;
    if (agent->status_n == 0)
        publish_status(agent, RN_PRESENCE_ONLINE, agent->reason, away);
    else
        publish_status(agent, RN_PRESENCE_ONLINE, "repeated: no answer yet", 0);
}

static void on_beat(void *arg)
{
    publish_status(arg, RN_PRESENCE_ONLINE, "update", 0);
}

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

void agent_mqtt_conf(struct agent_mqtt *out, const struct agent_settings *s, uint64_t seed)
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
        .keepalive_ms = s->mqtt_keepalive_ms,
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
static void connection_conf(const struct agent *agent, const struct agent_settings *s,
                            struct agent_mqtt *out)
{
    int64_t spread = (int64_t)agent->fleet * SPREAD_PER_DEVICE_MS;
    agent_mqtt_conf(out, s, agent->seed);
    if (spread > out->conf.first_reconnect_ms)
        out->conf.first_reconnect_ms = spread;
}

// ---- the connection -----------------------------------------------------------------------------

// Each attempt has an epoch of its own; the will carries it with n = 0.
static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct agent *agent = arg;
    struct rn_status status;
    if (!agent->store)
        return false;
    agent->epoch = epochs_next(&agent->epochs, agent->state);
    agent->status_n = 0;
    fill_status(agent, &status, RN_PRESENCE_WILL, "connection lost");
    snprintf(topic, 128, "%s", agent->topic_status);
    return rn_status_encode(&status, payload) >= 0;
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct agent *agent = arg;
    (void)receive_maximum;
    agent->connected = true;
    agent->leaving = false;
    rn_recovered(&agent->broker, "broker_reachable");
    rn_log(RN_LOG_INFO, "connected", "address=%s epoch=%llu", RN_Q(address),
           (unsigned long long)agent->epoch);
    if (agent->stopping)
        return;
    encoder_connected(agent->encoder);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_CONNECTED});
    rn_timer_start(agent->beat, settings(agent)->status_interval_ms,
                   settings(agent)->status_interval_ms);
    if (agent->hooks.connection)
        agent->hooks.connection(agent->hooks.arg, true);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    struct agent *agent = arg;
    agent->connected = agent->leaving = false;
    if (!was_connected) {
        rn_complain(&agent->broker, rn_clock_mono_ms(), 300000, RN_LOG_WARN, "broker_unreachable",
                    "address=%s err=%s retry_ms=%lld", RN_Q(address), RN_Q(reason),
                    (long long)retry_ms);
        return;
    }
    rn_log(RN_LOG_WARN, "disconnected", "address=%s err=%s retry_ms=%lld", RN_Q(address),
           RN_Q(reason), (long long)retry_ms);
    rn_timer_stop(agent->beat);
    agent->away_since_ms = rn_clock_mono_ms();
    agent->bridge_known = false;
    snprintf(agent->reason, sizeof agent->reason, "reconnect: %s", reason);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_DISCONNECTED});
    if (agent->hooks.connection)
        agent->hooks.connection(agent->hooks.arg, false);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    struct agent *agent = arg;
    agent->heard_ms = rn_clock_mono_ms();
    if (!agent->gone && !agent->leaving)
        downlink_message(&agent->downlink, message);
}

static void on_published(void *arg, uint64_t token, int code)
{
    struct agent *agent = arg;
    if (code >= 0 && token == STATUS_TOKEN)
        agent->heard_ms = rn_clock_mono_ms();
    if (code >= 0x80)
        rn_log(RN_LOG_WARN, "publish_refused",
               "device=%s code=%d advice=\"the broker's rules forbid it: check name and ACL\"",
               settings(arg)->device, code);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    if (code >= 0x80)
        rn_log(RN_LOG_WARN, "subscription_refused",
               "device=%s filter=%s code=%d advice=\"the broker's rules forbid it: check name and "
               "ACL\"",
               settings(arg)->device, RN_Q(filter), code);
}

static void say_goodbye(void *arg);

// ---- answers ------------------------------------------------------------------------------------

static void check_clock(struct agent *agent, const struct rn_ack *ack)
{
    int64_t off = rn_clock_utc_ms() - (int64_t)ack->time_ms;
    if (ack->time_ms != 0 && (off > CLOCK_OFF_MS || off < -CLOCK_OFF_MS))
        rn_complain(&agent->clock, rn_clock_mono_ms(), 3600000, RN_LOG_WARN, "clock_differs",
                    "off_ms=%lld advice=\"set this machine's clock, or the bridge's\"",
                    (long long)off);
    else
        rn_recovered(&agent->clock, "clock_agrees");
}

// A fleet that lost its broker comes back at a pace that the broker can take.
static void note_fleet(struct agent *agent, uint64_t fleet)
{
    struct agent_mqtt mqtt;
    struct rn_err err;
    uint64_t before = agent->fleet;
    agent->fleet = fleet < SPREAD_MAX_MS ? fleet : SPREAD_MAX_MS; // it only counts up to there
    bool much = agent->fleet > before + before / 4 || before > agent->fleet + agent->fleet / 4;
    if (!much ||
        (int64_t)agent->fleet * SPREAD_PER_DEVICE_MS < settings(agent)->mqtt_first_reconnect_ms)
        return;
    connection_conf(agent, settings(agent), &mqtt);
    if (rn_mqtt_reconfigure(agent->mqtt, &mqtt.conf, &err) < 0)
        rn_log(RN_LOG_ERROR, "mqtt_settings_refused", "err=%s", RN_Q(err.text));
}

// False: an answer to a birth that is not our last.
static bool check_hello(struct agent *agent, const struct rn_hello *hello)
{
    if (hello->install != store_state(agent->store)->install || hello->epoch != agent->epoch)
        return false;
    if (hello->duplicate)
        rn_complain(&agent->duplicate, rn_clock_mono_ms(), 3600000, RN_LOG_ERROR,
                    "name_in_use_twice",
                    "device=%s advice=\"another agent uses this device name: rename one of them\"",
                    settings(agent)->device);
    note_fleet(agent, hello->fleet);
    if (hello->max_epoch <= agent->epoch)
        return true;
    epochs_lift(&agent->epochs, hello->max_epoch);
    rn_mqtt_reconnect(agent->mqtt, "the bridge knows a higher epoch of this agent");
    return false;
}

static void on_ack(void *arg, const struct rn_ack *ack)
{
    struct agent *agent = arg;
    if (!agent->store)
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
    check_clock(agent, ack);
    if (agent->stopping && agent->store && store_state(agent->store)->rows == 0)
        say_goodbye(agent);
    if (agent->hooks.ack && !agent->stopping)
        agent->hooks.ack(agent->hooks.arg, ack,
                         hello || uplink_io_stats(agent->uplink)->answered > before);
}

static int64_t spread_ms(const struct agent *agent)
{
    uint64_t wanted = agent->fleet * SPREAD_PER_DEVICE_MS;
    return wanted < SPREAD_MIN_MS   ? SPREAD_MIN_MS
           : wanted > SPREAD_MAX_MS ? SPREAD_MAX_MS
                                    : (int64_t)wanted;
}

// The retained status that comes first only tells how things are.
static void on_bridge(void *arg, const struct rn_bridge_status *status)
{
    struct agent *agent = arg;
    bool back = agent->bridge_known && status->online &&
                (!agent->bridge_online || status->since_ms != agent->bridge_since_ms);
    agent->bridge_known = true;
    agent->bridge_online = status->online;
    agent->bridge_since_ms = status->since_ms;
    if (back && agent->store)
        uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_BRIDGE_BACK,
                                                              .spread_ms = spread_ms(agent)});
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
    struct rn_mqtt_stats net;
    struct sampler_stats sampled;
    const struct uplink_stats *up = uplink_io_stats(agent->uplink);
    rn_mqtt_get_stats(agent->mqtt, &net);
    sampler_get_stats(agent->sampler, &sampled);
    *out = (struct self_stats){.bytes_sent = net.bytes_out,
                               .messages_sent = net.messages_out,
                               .connects = net.connects,
                               .connect_failures = net.failures,
                               .resent = up->resent,
                               .timeouts = up->timeouts,
                               .ticks_missed = sampled.missed,
                               .values_refused = sampled.refused + sampled.left_out,
                               .collect_errors = sampled.collect_errors};
    if (!agent->store)
        return;
    const struct store_state *s = store_state(agent->store);
    out->rows = s->rows;
    out->bytes_written = s->bytes_written;
    out->produced = s->ledger.produced;
    out->pending = s->ledger.pending;
    out->delivered = s->ledger.delivered;
    out->evicted = s->ledger.evicted;
    out->thinned = s->ledger.thinned;
    out->refused = s->ledger.refused;
    out->lost = s->ledger.lost;
}

static void bind_self(struct agent *agent, struct config *config)
{
    for (size_t i = 0; i < config->ncollectors; i++)
        if (config->collectors[i].what == &self_collector)
            *(struct self_conf *)config->collectors[i].conf =
                (struct self_conf){.read = read_self, .arg = agent};
}

// ---- configuration ------------------------------------------------------------------------------

// Three batch intervals below two minutes, else one: the bridge reckons with the same.
static int64_t ack_by(const struct agent_settings *s)
{
    if (s->uplink_ack_by_ms > 0)
        return s->uplink_ack_by_ms;
    return s->batch_interval_ms < 120000 ? 3 * s->batch_interval_ms : s->batch_interval_ms;
}

static struct uplink_conf uplink_conf(const struct agent *agent)
{
    const struct agent_settings *s = settings(agent);
    return (struct uplink_conf){.ack_by_ms = ack_by(s),
                                .ack_timeout_min_ms = s->uplink_ack_timeout_min_ms,
                                .ack_timeout_max_ms = s->uplink_ack_timeout_max_ms,
                                .hello_timeout_ms = s->uplink_hello_timeout_ms,
                                .window = (uint32_t)s->uplink_window,
                                .fingerprint = agent->fingerprint,
                                .seed = agent->seed};
}

static void start_timers(struct agent *agent)
{
    const struct agent_settings *s = settings(agent);
    rn_timer_start(agent->tick, 1, 0);
    rn_timer_start(agent->disk, DISK_RETRY_MS, DISK_RETRY_MS);
    // A batch that is cut at least as often needs no journal.
    if (s->journal_interval_ms < s->batch_interval_ms)
        rn_timer_start(agent->journal, s->journal_interval_ms, s->journal_interval_ms);
    else
        rn_timer_stop(agent->journal);
    if (agent->connected)
        rn_timer_start(agent->beat, s->status_interval_ms, s->status_interval_ms);
}

static int check_fixed(const struct agent_settings *a, const struct agent_settings *b,
                       struct rn_err *err)
{
    const char *key = strcmp(a->device, b->device) != 0               ? "device"
                      : strcmp(a->data, b->data) != 0                 ? "data"
                      : strcmp(a->topic_prefix, b->topic_prefix) != 0 ? "topic_prefix"
                                                                      : NULL;
    if (key)
        return rn_fail(err, RN_EINVAL, "%s: cannot change while running: restart the agent", key);
    return RN_OK;
}

// What the connection is made of, checked without making one.
static int check_mqtt(const struct agent *agent, const struct config *config, struct rn_err *err)
{
    struct agent_mqtt mqtt;
    agent_mqtt_conf(&mqtt, &config->settings, agent->seed);
    int rc = rn_mqtt_conf_check(&mqtt.conf, err);
    if (rc < 0 && strncmp(err->text, "broker address", 14) == 0)
        rn_err_prefix(err, "mqtt.addresses");
    return rc;
}

int agent_check(const struct agent *agent, const struct config *config, struct rn_err *err)
{
    int rc = check_fixed(settings(agent), &config->settings, err);
    return rc < 0 ? rc : check_mqtt(agent, config, err);
}

// From here on the old connection is as good as gone: nothing more is sent on it, nothing that it
// still delivers counts.
static void leave_connection(struct agent *agent)
{
    if (!agent->started)
        return;
    agent->leaving = agent->connected;
    rn_mqtt_reconnect(agent->mqtt, "new connection settings");
}

int agent_reconfigure(struct agent *agent, struct config *config, struct rn_err *err)
{
    struct config *old = agent->config;
    struct agent_mqtt mqtt;
    int rc = agent_check(agent, config, err);
    if (rc < 0)
        return rc;
    rc = encoder_reconf(agent->encoder, config_encodings(&config->settings), err);
    if (rc < 0)
        return rc;
    bind_self(agent, config);
    rc = sampler_reconfigure(agent->sampler, config, err);
    connection_conf(agent, &config->settings, &mqtt);
    if (rc >= 0)
        rc = rn_mqtt_reconfigure(agent->mqtt, &mqtt.conf, err);
    if (rc < 0) {
        (void)!encoder_reconf(agent->encoder, config_encodings(&old->settings), NULL);
        (void)!sampler_reconfigure(agent->sampler, old, NULL);
        return rc;
    }
    agent->config = config;
    if (!config_same_connection(&old->settings, &config->settings))
        leave_connection(agent);
    struct uplink_conf up = uplink_conf(agent);
    uplink_io_reconf(agent->uplink, &up);
    if (agent->store && !store_in_memory(agent->store))
        store_reconf(agent->store, settings(agent)->buffer_max_bytes,
                     settings(agent)->buffer_max_age_ms);
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
        rn_topic_write(agent->topic_key, prefix, RN_TOPIC_KEY, dev) < 0 ||
        rn_topic_write(agent->topic_report, prefix, RN_TOPIC_REPORT, dev) < 0 ||
        rn_topic_write(agent->topic_status, prefix, RN_TOPIC_STATUS, dev) < 0)
        return rn_fail(err, RN_EINVAL, "no topic can be made of prefix %s and device %s", prefix,
                       dev);
    return downlink_init(&agent->downlink, prefix, dev, err);
}

static int open_storage(struct agent *agent, struct rn_err *err)
{
    struct rn_err why;
    bool renewed;
    int rc = open_store(agent, true, &why);
    if (rc == RN_EEXIST)
        return rn_fail(err, RN_EEXIST, "%s", why.text);
    if (rc < 0)
        rc = open_ram(agent, &why, err);
    if (rc < 0)
        return rc;
    if (state_open(&agent->state, settings(agent)->data, &renewed, &why) < 0)
        rn_log(RN_LOG_ERROR, "state_not_kept", "err=%s", RN_Q(why.text));
    else if (renewed)
        rn_log(RN_LOG_ERROR, "state_damaged", "data=%s", RN_Q(settings(agent)->data));
    epochs_init(&agent->epochs, agent->state, rn_clock_utc_ms());
    return RN_OK;
}

static int make_connection(struct agent *agent, struct rn_err *err)
{
    struct agent_mqtt mqtt;
    const struct rn_mqtt_handler handler = {.arg = agent,
                                            .will = on_will,
                                            .connected = on_connected,
                                            .disconnected = on_disconnected,
                                            .message = on_message,
                                            .published = on_published,
                                            .subscribed = on_subscribed};
    connection_conf(agent, settings(agent), &mqtt);
    agent->downlink.arg = agent;
    agent->downlink.ack = on_ack;
    agent->downlink.config = on_config;
    agent->downlink.bridge = on_bridge;
    int rc = rn_mqtt_new(&agent->mqtt, agent->loop, &mqtt.conf, &handler, err);
    return rc < 0 ? rc : downlink_subscribe(&agent->downlink, agent->mqtt, err);
}

static int make_uplink(struct agent *agent, struct rn_err *err)
{
    const struct uplink_io_hooks hooks = {
        .arg = agent, .announce = announce, .store_failed = store_failed};
    const struct uplink_io_conf conf = {.topic_data = agent->topic_data,
                                        .topic_key = agent->topic_key,
                                        .encoder = agent->encoder,
                                        .core = uplink_conf(agent)};
    return uplink_io_new(&agent->uplink, agent->loop, agent->mqtt, &conf, &hooks, err);
}

static int make_timers(struct agent *agent, struct rn_err *err)
{
    int rc = rn_timer_new(&agent->tick, agent->loop, on_tick, agent, err);
    if (rc >= 0)
        rc = rn_timer_new(&agent->journal, agent->loop, on_journal, agent, err);
    if (rc >= 0)
        rc = rn_timer_new(&agent->beat, agent->loop, on_beat, agent, err);
    if (rc >= 0)
        rc = rn_timer_new(&agent->disk, agent->loop, try_disk, agent, err);
    if (rc >= 0)
        rc = rn_timer_new(&agent->last, agent->loop, say_goodbye, agent, err);
    if (rc >= 0)
        rc = rn_timer_new(&agent->watch, agent->loop, on_watch, agent, err);
    return rc;
}

static int make_parts(struct agent *agent, struct rn_err *err)
{
    const struct sampler_hooks hooks = {.arg = agent, .batch = on_batch, .trouble = on_trouble};
    int rc = rn_random(&agent->seed, sizeof agent->seed, err);
    if (rc >= 0)
        rc = write_topics(agent, err);
    if (rc >= 0)
        rc = open_storage(agent, err);
    if (rc >= 0)
        rc = encoder_new(&agent->encoder, config_encodings(settings(agent)), err);
    if (rc >= 0)
        rc = make_connection(agent, err);
    if (rc >= 0)
        rc = make_uplink(agent, err);
    if (rc >= 0)
        rc = sampler_new(&agent->sampler, agent->config, &hooks, err);
    return rc < 0 ? rc : make_timers(agent, err);
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
    agent->away_since_ms = rn_clock_mono_ms();
    agent->fingerprint = fingerprint_read(config->settings.device);
    snprintf(agent->reason, sizeof agent->reason, "start");
    rn_buf_init(&agent->message, 4096);
    bind_self(agent, config);
    int rc = make_parts(agent, err);
    if (rc < 0) {
        agent->config = NULL; // stays the caller's
        agent_free(agent);
        return rc;
    }
    uplink_io_attach(agent->uplink, agent->store);
    *out = agent;
    return RN_OK;
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    rn_timer_free(agent->tick);
    rn_timer_free(agent->journal);
    rn_timer_free(agent->beat);
    rn_timer_free(agent->disk);
    rn_timer_free(agent->last);
    rn_timer_free(agent->watch);
    rn_mqtt_free(agent->mqtt);
    uplink_io_free(agent->uplink);
    sampler_free(agent->sampler);
    store_close(agent->store);
    state_close(agent->state);
    encoder_free(agent->encoder);
    rn_buf_release(&agent->message);
    config_free(agent->config);
    free(agent);
}

void agent_start(struct agent *agent)
{
    const struct store_state *s = store_state(agent->store);
    rn_log(RN_LOG_INFO, "agent_started",
           "device=%s version=%s install=%016llx batches=%llu samples_pending=%llu",
           settings(agent)->device, RUNNEL_VERSION, (unsigned long long)s->install,
           (unsigned long long)s->rows, (unsigned long long)s->ledger.pending);
    agent->started = true;
    start_timers(agent);
    rn_mqtt_start(agent->mqtt);
}

static void on_stopped(void *arg)
{
    struct agent *agent = arg;
    if (agent->store) {
        const struct rn_ledger *l = &store_state(agent->store)->ledger;
        rn_log(RN_LOG_INFO, "agent_stopped",
               "device=%s produced=%llu delivered=%llu pending=%llu evicted=%llu refused=%llu "
               "lost=%llu",
               settings(agent)->device, (unsigned long long)l->produced,
               (unsigned long long)l->delivered, (unsigned long long)l->pending,
               (unsigned long long)l->evicted, (unsigned long long)l->refused,
               (unsigned long long)l->lost);
    }
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
    publish_status(agent, RN_PRESENCE_STOPPED, agent->stop_reason, 0);
    uplink_io_event(agent->uplink, &(struct uplink_event){.type = UPLINK_DISCONNECTED});
    int64_t left = agent->stop_by_ms - rn_clock_mono_ms() - STOP_SHARE_MS;
    rn_mqtt_stop(agent->mqtt, left > 0 ? left : 1, on_stopped, agent);
}

void agent_stop(struct agent *agent, const char *reason, int64_t timeout_ms)
{
    if (agent->stopping)
        return;
    sampler_cut(agent->sampler);
    agent->stopping = true;
    agent->stop_reason = reason;
    agent->stop_by_ms = rn_clock_mono_ms() + timeout_ms;
    rn_timer_stop(agent->tick);
    rn_timer_stop(agent->journal);
    rn_timer_stop(agent->beat);
    bool waits = uplink_io_open(agent->uplink) && agent->store &&
                 store_state(agent->store)->rows > 0 && timeout_ms > 2 * STOP_ANSWER_MS;
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
    return agent->connected && !agent->leaving;
}

uint64_t agent_install(const struct agent *agent)
{
    return agent->store ? store_state(agent->store)->install : 0;
}

const struct uplink_stats *agent_uplink_stats(const struct agent *agent)
{
    return uplink_io_stats(agent->uplink);
}

void agent_set_running(struct agent *agent, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    if (agent->config_revision == revision && memcmp(agent->config_hash, hash, RN_HASH_BYTES) == 0)
        return;
    agent->config_revision = revision;
    memcpy(agent->config_hash, hash, RN_HASH_BYTES);
    if (agent->status_n > 0)
        publish_status(agent, RN_PRESENCE_ONLINE, "configuration", 0);
}

void agent_flush(struct agent *agent)
{
    sampler_cut(agent->sampler);
}

int agent_publish_report(struct agent *agent, struct rn_span payload)
{
    return agent_connected(agent)
               ? rn_mqtt_publish(agent->mqtt, agent->topic_report, payload, 1, false, 0)
               : RN_ESTATE;
}
