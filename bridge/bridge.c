// See bridge.h.
#include "bridge/bridge.h"

#include "bridge/http/api.h"
#include "bridge/offers.h"
#include "bridge/probe.h"
#include "bridge/recall.h"
#include "bridge/view.h"
#include <fcntl.h>
#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <runnel/log.h>
#include <runnel/notify.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TICK_MS      250
#define STALLED_MS   5000 // a tick that comes so late: the process was stopped
#define SAVE_MS      2000
#define SAVE_DEVICES 500
#define RETAIN_MS    1000
#define STOP_MS      1000
#define MAX_CALLS    1024
#define COMPLAINT_MS 60000

// One of the two MQTT clients: one only receives, so that blocked writes never stop the reading.
struct client {
    struct bridge *bridge;
    struct rn_mqtt *mqtt;
    const char *role; // "in", "out"
    char client_id[RN_DEV_MAX + 8];
    bool stopped;
    struct rn_complaint lost;
};

struct bridge {
    const struct config *config;
    int lock; // of the data folder
    struct rn_loop *loop;
    struct log *log;
    struct schemas *schemas;
    struct fleet *fleet;
    struct deadletters *dead;
    struct answers *answers;
    struct intake *intake;
    struct cursors *cursors;
    struct calls *calls;
    struct desired *desired;
    struct offers *offers;
    struct http_api *api;
    struct counters counters, counted; // counted: the copy that a view shows
    struct client in, out;
    struct rn_timer *work, *tick;
    struct rn_signal *sigterm, *sigint;
    int64_t watchdog_ms, watched_ms; // systemd's; 0: none
    int64_t work_ms;                 // when the work timer fires; 0: it does not run
    int64_t tick_ms, saved_ms, retained_ms, started_ms, since_ms;
    int64_t started_mono_ms;
    uint32_t ack_cursor[ANSWERS_CURSORS]; // cursor numbers of those that acknowledgement waits for
    uint32_t nack_cursors;
    bool blind, full, stopping, ready;
    struct rn_complaint save_failed, retain_failed;
    struct cursor_conf cursor_conf[CONFIG_MAX_SINKS];
};

static struct intake_time time_now(void)
{
    return (struct intake_time){rn_clock_mono_ms(), rn_clock_utc_ms()};
}

// ---- work: commits and answers -----------------------------------------------------------------

// Makes sure that work() runs within delay_ms.
static void arm(struct bridge *bridge, int64_t now_ms, int64_t delay_ms)
{
    int64_t at = now_ms + delay_ms;
    if (bridge->work_ms && bridge->work_ms <= at)
        return;
    bridge->work_ms = at;
    rn_timer_start(bridge->work, delay_ms, 0);
}

static void work(void *arg)
{
    struct bridge *bridge = arg;
    struct intake_time now = time_now();
    bridge->work_ms = 0;
    int64_t due = intake_due(bridge->intake);
    if (due && now.mono_ms >= due) {
        intake_commit(bridge->intake, now);
        due = 0;
    }
    int64_t next = answers_step(bridge->answers, now.mono_ms, now.utc_ms);
    if (next >= 0)
        arm(bridge, now.mono_ms, next);
    if (due)
        arm(bridge, now.mono_ms, due - now.mono_ms);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    struct client *client = arg;
    struct bridge *bridge = client->bridge;
    struct intake_time now = time_now();
    intake_message(bridge->intake, message, now);
    arm(bridge, now.mono_ms, ACKER_SLOT_MS);
}

static void on_committed(void *arg, uint64_t head)
{
    struct bridge *bridge = arg;
    cursors_wake(bridge->cursors, head);
}

// ---- cursors -----------------------------------------------------------------------------------

static void on_moved(void *arg, uint32_t cursor, uint64_t position)
{
    struct bridge *bridge = arg;
    for (uint32_t i = 0; i < bridge->nack_cursors; i++)
        if (bridge->ack_cursor[i] == cursor)
            answers_moved(bridge->answers, i, position);
    arm(bridge, rn_clock_mono_ms(), 0);
}

static void on_refused(void *arg, const struct cursor_refusal *refusal)
{
    struct bridge *bridge = arg;
    bridge->counters.refused_decode++;
    rn_log(RN_LOG_WARN, "batch_refused", "device=%s seq=%llu err=%s", refusal->dev,
           (unsigned long long)refusal->seq, RN_Q(refusal->text));
    int64_t now_ms = rn_clock_mono_ms();
    answers_refused(bridge->answers, refusal->dev, refusal->install, refusal->seq,
                    (uint8_t)refusal->reason, now_ms);
    arm(bridge, now_ms, ACKER_SLOT_MS);
}

// A cursor that stands where it stood says nothing by itself: it is asked until all have told.
static void ask_cursors(struct bridge *bridge)
{
    bool ready = true;
    for (uint32_t i = 0; i < bridge->nack_cursors; i++) {
        struct cursor_status status;
        cursors_status(bridge->cursors, bridge->ack_cursor[i], &status);
        if (status.state == CURSOR_STARTING)
            ready = false;
        else
            answers_moved(bridge->answers, i, status.position);
    }
    bridge->ready = ready;
}

// ---- MQTT --------------------------------------------------------------------------------------

static int presence(const struct bridge *bridge, bool online, char topic[RN_TOPIC_MAX],
                    struct rn_buf *out)
{
    const struct bridge_settings *s = &bridge->config->settings;
    struct rn_bridge_status status = {
        .online = online, .log_id = log_id(bridge->log), .since_ms = (uint64_t)bridge->since_ms};
    int rc = rn_topic_write(topic, s->topic_prefix, RN_TOPIC_BRIDGE, s->name);
    return rc == RN_OK ? rn_bridge_status_encode(&status, out) : rc;
}

static void publish_presence(struct bridge *bridge, bool online)
{
    char topic[RN_TOPIC_MAX];
    uint8_t bytes[128];
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, bytes, sizeof bytes);
    int rc = presence(bridge, online, topic, &buf);
    if (rc == RN_OK)
        rc = rn_mqtt_publish(bridge->in.mqtt, topic, rn_buf_span(&buf), 1, true, 0);
    if (rc)
        rn_log(RN_LOG_WARN, "presence_not_published", "code=%d", rc);
}

static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct client *client = arg;
    return client == &client->bridge->in &&
           presence(client->bridge, false, topic, payload) == RN_OK;
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct client *client = arg;
    struct bridge *bridge = client->bridge;
    rn_log(RN_LOG_INFO, "broker_connected", "client=%s address=%s receive_maximum=%u", client->role,
           RN_Q(address), receive_maximum);
    rn_recovered(&client->lost, "broker_back");
    if (client == &bridge->out)
        offers_again(bridge->offers);
    if (client != &bridge->in)
        return;
    bridge->since_ms = rn_clock_utc_ms();
    publish_presence(bridge, true);
    live_fleet_back(&bridge->fleet->live, bridge->fleet->count, rn_clock_mono_ms());
    for (uint32_t i = 0; i < bridge->fleet->count; i++)
        live_back(&bridge->fleet->live, &bridge->fleet->device[i]->live);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    struct client *client = arg;
    struct bridge *bridge = client->bridge;
    int64_t now_ms = rn_clock_mono_ms();
    if (bridge->stopping)
        return;
    rn_complain(&client->lost, now_ms, COMPLAINT_MS, RN_LOG_WARN,
                was_connected ? "broker_lost" : "broker_unreachable",
                "client=%s address=%s err=%s retry_ms=%lld", client->role, RN_Q(address),
                RN_Q(reason), (long long)retry_ms);
    if (client != &bridge->in || !was_connected)
        return;
    live_fleet_lost(&bridge->fleet->live, now_ms);
    for (uint32_t i = 0; i < bridge->fleet->count; i++)
        live_lost(&bridge->fleet->live, &bridge->fleet->device[i]->live, now_ms);
}

static void on_published(void *arg, uint64_t token, int code)
{
    struct client *client = arg;
    if (code >= 0x80)
        rn_log(RN_LOG_ERROR, "publish_refused",
               "client=%s token=%llu code=%d advice=\"the broker's access rules must let the "
               "bridge write\"",
               client->role, (unsigned long long)token, code);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    struct client *client = arg;
    if (code < 0x80)
        rn_log(RN_LOG_INFO, "subscribed", "filter=%s", RN_Q(filter));
    else
        rn_log(RN_LOG_ERROR, "subscription_refused",
               "client=%s filter=%s code=%d advice=\"the broker's access rules must let the "
               "bridge read\"",
               client->role, RN_Q(filter), code);
}

static int publish(void *arg, const char *topic, struct rn_span payload)
{
    struct bridge *bridge = arg;
    return rn_mqtt_publish(bridge->out.mqtt, topic, payload, 0, false, 0);
}

static int make_client(struct bridge *bridge, struct client *client, const char *role,
                       struct rn_err *err)
{
    const struct bridge_settings *s = &bridge->config->settings;
    const char *addresses[RN_OPT_LIST_MAX];
    struct rn_mqtt_conf conf;
    struct rn_mqtt_handler handler = {.arg = client,
                                      .will = on_will,
                                      .connected = on_connected,
                                      .disconnected = on_disconnected,
                                      .message = on_message,
                                      .published = on_published,
                                      .subscribed = on_subscribed};
    probe_mqtt_conf(s, addresses, &conf);
    conf.client_id = client->client_id;
    client->bridge = bridge;
    client->role = role;
    snprintf(client->client_id, sizeof client->client_id, "%s-%s", s->name, role);
    int rc = rn_random(&conf.seed, sizeof conf.seed, err);
    return rc == RN_OK ? rn_mqtt_new(&client->mqtt, bridge->loop, &conf, &handler, err) : rc;
}

static int subscribe(struct bridge *bridge, struct rn_err *err)
{
    char filter[RN_TOPIC_MAX];
    const char *prefix = bridge->config->settings.topic_prefix;
    snprintf(filter, sizeof filter, "%s/s/+/+", prefix);
    // A live status must not look like a stored one, though it is published to be stored.
    int rc = rn_mqtt_subscribe(bridge->in.mqtt, filter, 1 | RN_MQTT_STORED_ONLY, err);
    snprintf(filter, sizeof filter, "%s/u/+/+/+", prefix);
    return rc == RN_OK ? rn_mqtt_subscribe(bridge->in.mqtt, filter, 1, err) : rc;
}

// ---- time --------------------------------------------------------------------------------------

static void tell_state(struct fleet_device *dev, int64_t utc_ms)
{
    if (dev->told_state == (int)dev->live.shown)
        return;
    dev->told_state = (int)dev->live.shown;
    dev->state_ms = utc_ms;
    dev->dirty = true;
    const char *reason = live_reason_name(dev->live.reason);
    rn_log(RN_LOG_INFO, "device_state", "device=%s state=%s reason=%s", dev->name,
           live_state_name(dev->live.shown), reason[0] ? reason : "none");
}

static void tell_blind(struct bridge *bridge, int64_t now_ms)
{
    bool blind = live_fleet_blind(&bridge->fleet->live, now_ms);
    if (blind == bridge->blind)
        return;
    bridge->blind = blind;
    if (blind)
        rn_log(RN_LOG_WARN, "fleet_blind", "connected=%d missing=%u devices=%u",
               bridge->fleet->live.connected, bridge->fleet->live.missing, bridge->fleet->count);
    else
        rn_log(RN_LOG_INFO, "fleet_seen", "devices=%u", bridge->fleet->count);
}

static void save_fleet(struct bridge *bridge, int64_t now_ms, uint32_t max)
{
    struct rn_err err;
    bridge->saved_ms = now_ms;
    if (fleet_save(bridge->fleet, max, &err) < 0)
        rn_complain(&bridge->save_failed, now_ms, COMPLAINT_MS, RN_LOG_ERROR, "fleet_not_saved",
                    "err=%s", RN_Q(err.text));
    else
        rn_recovered(&bridge->save_failed, "fleet_saved_again");
}

static void retain(struct bridge *bridge, int64_t now_ms, int64_t utc_ms)
{
    struct rn_err err;
    bridge->retained_ms = now_ms;
    int64_t dropped = log_retain(bridge->log, cursors_needed(bridge->cursors), utc_ms, &err);
    if (dropped < 0) {
        rn_complain(&bridge->retain_failed, now_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "log_retention_failed", "err=%s", RN_Q(err.text));
        return;
    }
    bridge->counters.rows_retired += (uint64_t)dropped;
    if (log_full(bridge->log) == bridge->full)
        return;
    bridge->full = log_full(bridge->log);
    if (bridge->full)
        rn_log(RN_LOG_ERROR, "log_full",
               "bytes=%lld advice=\"a sink that acknowledgement waits for is behind: mend it or "
               "raise log.cursor_bytes; devices keep their data\"",
               (long long)log_bytes(bridge->log));
    else
        rn_log(RN_LOG_INFO, "log_has_room", "bytes=%lld", (long long)log_bytes(bridge->log));
}

static void tick(void *arg)
{
    struct bridge *bridge = arg;
    struct fleet *fleet = bridge->fleet;
    struct intake_time now = time_now();
    if (bridge->tick_ms && now.mono_ms - bridge->tick_ms > STALLED_MS) {
        rn_log(RN_LOG_WARN, "bridge_stalled", "ms=%lld",
               (long long)(now.mono_ms - bridge->tick_ms));
        live_fleet_stalled(&fleet->live, now.mono_ms);
    }
    bridge->tick_ms = now.mono_ms;
    if (!bridge->ready)
        ask_cursors(bridge);
    for (uint32_t i = 0; i < fleet->count; i++) {
        live_tick(&fleet->live, &fleet->device[i]->live, now.mono_ms);
        tell_state(fleet->device[i], now.utc_ms);
    }
    tell_blind(bridge, now.mono_ms);
    if (bridge->watchdog_ms && now.mono_ms - bridge->watched_ms >= bridge->watchdog_ms) {
        bridge->watched_ms = now.mono_ms;
        rn_notify_send("WATCHDOG=1");
    }
    if (now.mono_ms - bridge->saved_ms >= SAVE_MS)
        save_fleet(bridge, now.mono_ms, SAVE_DEVICES);
    if (now.mono_ms - bridge->retained_ms >= RETAIN_MS)
        retain(bridge, now.mono_ms, now.utc_ms);
    arm(bridge, now.mono_ms, ACKER_SLOT_MS);
}

// ---- stopping ----------------------------------------------------------------------------------

static void on_client_stopped(void *arg)
{
    struct client *client = arg;
    struct bridge *bridge = client->bridge;
    client->stopped = true;
    if (bridge->in.stopped && bridge->out.stopped)
        rn_loop_stop(bridge->loop);
}

static void on_signal(void *arg, int signum)
{
    struct bridge *bridge = arg;
    if (bridge->stopping)
        return;
    rn_log(RN_LOG_INFO, "bridge_stopping", "signal=%d", signum);
    bridge->stopping = true;
    rn_notify_send("STOPPING=1");
    struct intake_time now = time_now();
    intake_commit(bridge->intake, now);
    answers_end(bridge->answers, now.mono_ms, now.utc_ms);
    if (rn_mqtt_connected(bridge->in.mqtt))
        publish_presence(bridge, false);
    rn_mqtt_stop(bridge->in.mqtt, STOP_MS, on_client_stopped, &bridge->in);
    rn_mqtt_stop(bridge->out.mqtt, STOP_MS, on_client_stopped, &bridge->out);
}

// ---- making ------------------------------------------------------------------------------------

// One bridge a folder.
static int lock_folder(struct bridge *bridge, struct rn_err *err)
{
    char path[512];
    const char *folder = bridge->config->settings.data;
    int rc = rn_mkdirs(folder, 0750, err);
    if (rc == RN_OK)
        rc = rn_path_join(path, sizeof path, folder, "lock", err);
    if (rc)
        return rc;
    bridge->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (bridge->lock < 0)
        return rn_fail_errno(err, "cannot write to the data folder %s", folder);
    if (flock(bridge->lock, LOCK_EX | LOCK_NB) != 0)
        return rn_fail(err, RN_EEXIST, "another bridge uses the data folder %s", folder);
    return RN_OK;
}

static int open_log(struct bridge *bridge, struct rn_err *err)
{
    const struct bridge_settings *s = &bridge->config->settings;
    struct log_conf conf = {.folder = s->data,
                            .segment_bytes = s->log_segment_bytes,
                            .cursor_bytes = s->log_cursor_bytes,
                            .history_bytes = s->log_history_bytes,
                            .max_age_ms = s->log_max_age_ms};
    int rc = log_open(&bridge->log, &conf, err);
    if (rc)
        return rc;
    if (log_quarantined(bridge->log)[0])
        rn_log(RN_LOG_ERROR, "log_segment_damaged",
               "kept_as=%s advice=\"agents send again what was not durable\"",
               RN_Q(log_quarantined(bridge->log)));
    rc = schemas_open(&bridge->schemas, s->data, err);
    if (rc == RN_OK && schemas_quarantined(bridge->schemas)[0])
        rn_log(RN_LOG_ERROR, "schemas_damaged",
               "kept_as=%s advice=\"devices are asked for their schemas again\"",
               RN_Q(schemas_quarantined(bridge->schemas)));
    return rc;
}

static int open_fleet(struct bridge *bridge, struct rn_err *err)
{
    const struct bridge_settings *s = &bridge->config->settings;
    struct fleet_conf conf = {.folder = s->data,
                              .max_devices = (uint32_t)s->fleet_max,
                              .max_items_device = (uint32_t)s->fleet_pending_max,
                              .max_items = 8u << 20,
                              .silent_ms = 3600 * 1000,
                              .live = {.grace_ms = s->live_grace_ms,
                                       .missed = s->live_missed,
                                       .default_interval_ms = s->live_default_interval_ms,
                                       .reconnect_ms = s->live_reconnect_ms,
                                       .backoff_max_ms = s->mqtt_backoff_max_ms,
                                       .retry_ms = 300000,
                                       .storm_ms = 30000,
                                       .storm_percent = 10,
                                       .storm_min = s->live_storm_min,
                                       .duplicate_ms = 120000,
                                       .duplicate_clear_ms = s->live_duplicate_clear_ms}};
    struct deadletters_conf dead = {s->data, s->dead_max_bytes, s->dead_max_age_ms};
    int rc = fleet_open(&bridge->fleet, &conf, rn_clock_mono_ms(), err);
    return rc == RN_OK ? deadletters_open(&bridge->dead, &dead, err) : rc;
}

// Which cursor decides about which type: the sink named by ack_after where it takes the type, else
// the log's own.
static void choose_cursors(struct bridge *bridge, struct answers_conf *conf)
{
    const struct config *config = bridge->config;
    bridge->nack_cursors = 1;
    for (uint32_t i = 0; i < config->nsinks; i++) {
        if (strcmp(config->sinks[i].name, config->settings.ack_after) != 0)
            continue;
        bridge->ack_cursor[bridge->nack_cursors++] = i + 1;
        for (uint32_t type = 0; type < 4; type++)
            if (strchr(config->sinks[i].opts.types, "mlei"[type]))
                conf->cursor_of[type] = 1;
        break;
    }
    conf->cursors = bridge->nack_cursors;
}

static int open_intake(struct bridge *bridge, struct rn_err *err)
{
    const struct bridge_settings *s = &bridge->config->settings;
    struct answers_conf answers = {.prefix = s->topic_prefix,
                                   .delay_ms = s->ack_delay_ms,
                                   .patience_ms = 5000,
                                   .publish = publish,
                                   .publish_arg = bridge};
    choose_cursors(bridge, &answers);
    int rc = answers_new(&bridge->answers, &answers, bridge->log, bridge->fleet, &bridge->counters,
                         rn_clock_mono_ms(), err);
    if (rc)
        return rc;
    struct intake_conf conf = {.prefix = s->topic_prefix,
                               .past_ms = s->time_past_ms,
                               .future_ms = s->time_future_ms,
                               .commit_ms = s->commit_interval_ms,
                               .commit_messages = 1000,
                               .commit_bytes = 1 << 20,
                               .hold_ms = s->hold_ms};
    struct intake_parts parts = {.log = bridge->log,
                                 .schemas = bridge->schemas,
                                 .fleet = bridge->fleet,
                                 .answers = bridge->answers,
                                 .dead = bridge->dead,
                                 .counters = &bridge->counters,
                                 .committed = on_committed,
                                 .committed_arg = bridge};
    rc = intake_new(&bridge->intake, &conf, &parts, err);
    return rc == RN_OK ? recall(bridge->fleet, bridge->log, err) : rc;
}

static int open_cursors(struct bridge *bridge, struct rn_err *err)
{
    const struct config *config = bridge->config;
    const struct bridge_settings *s = &config->settings;
    for (uint32_t i = 0; i < config->nsinks; i++) {
        const struct config_sink *sink = &config->sinks[i];
        bridge->cursor_conf[i] = (struct cursor_conf){.name = sink->name,
                                                      .sink = sink->sink,
                                                      .sink_conf = sink->conf,
                                                      .opts = &sink->opts,
                                                      .hold = config_sink_holds(config, sink)};
    }
    struct cursors_conf conf = {.folder = s->data,
                                .log_id = log_id(bridge->log),
                                .log_head = log_head(bridge->log),
                                .time_past_ms = s->time_past_ms,
                                .time_future_ms = s->time_future_ms,
                                .schema_cache_bytes = s->schema_cache_bytes,
                                .dead_max_bytes = s->dead_max_bytes,
                                .dead_max_age_ms = s->dead_max_age_ms,
                                .max_last_values = (uint32_t)s->last_values_max,
                                .cursor = bridge->cursor_conf,
                                .ncursors = config->nsinks};
    struct cursors_callbacks callbacks = {bridge, on_moved, on_refused};
    return cursors_new(&bridge->cursors, &conf, bridge->loop, &callbacks, err);
}

static int make_handles(struct bridge *bridge, struct rn_err *err)
{
    int rc = make_client(bridge, &bridge->in, "in", err);
    if (rc == RN_OK)
        rc = make_client(bridge, &bridge->out, "out", err);
    if (rc == RN_OK)
        rc = subscribe(bridge, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&bridge->work, bridge->loop, work, bridge, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&bridge->tick, bridge->loop, tick, bridge, err);
    if (rc == RN_OK)
        rc = rn_signal_new(&bridge->sigterm, bridge->loop, SIGTERM, on_signal, bridge, err);
    if (rc == RN_OK)
        rc = rn_signal_new(&bridge->sigint, bridge->loop, SIGINT, on_signal, bridge, err);
    return rc == RN_OK ? calls_new(&bridge->calls, bridge->loop, bridge, MAX_CALLS, err) : rc;
}

// ---- desired configurations and HTTP -----------------------------------------------------------

static int publish_config(void *arg, const char *dev, struct rn_span message)
{
    return bridge_publish_config(arg, dev, message);
}

static int open_desired(struct bridge *bridge, struct rn_err *err)
{
    int rc = desired_open(&bridge->desired, bridge->config->settings.data, err);
    if (rc == RN_OK)
        rc = offers_new(&bridge->offers,
                        &(struct offers_conf){
                            .desired = bridge->desired, .publish = publish_config, .arg = bridge},
                        err);
    if (rc == RN_OK) {
        struct intake_hooks hooks = offers_hooks(bridge->offers);
        bridge_set_hooks(bridge, &hooks);
    }
    return rc;
}

static int open_http(struct bridge *bridge, struct rn_err *err)
{
    const struct bridge_settings *s = &bridge->config->settings;
    char token[sizeof s->http_token], token_path[512], socket_path[512];
    int rc = rn_path_join(token_path, sizeof token_path, s->data, "http.token", err);
    if (rc == RN_OK)
        rc = rn_path_join(socket_path, sizeof socket_path, s->data, "bridge.sock", err);
    memcpy(token, s->http_token, sizeof token);
    if (rc == RN_OK && !token[0])
        rc = http_api_token(token, token_path, err);
    if (rc == RN_OK)
        rc = http_api_start(&bridge->api,
                            &(struct http_api_conf){.listen = s->http_listen,
                                                    .socket_path = socket_path,
                                                    .hosts = s->http_hosts,
                                                    .token = token,
                                                    .folder = s->data,
                                                    .dead_max_bytes = s->dead_max_bytes,
                                                    .dead_max_age_ms = s->dead_max_age_ms,
                                                    .calls = bridge->calls,
                                                    .cursors = bridge->cursors},
                            err);
    return rc;
}

int bridge_new(struct bridge **out, const struct config *config, struct rn_err *err)
{
    struct bridge *bridge = calloc(1, sizeof *bridge);
    if (!bridge)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    bridge->config = config;
    bridge->started_ms = rn_clock_utc_ms();
    bridge->started_mono_ms = rn_clock_mono_ms();
    bridge->lock = -1;
    int rc = lock_folder(bridge, err);
    if (rc == RN_OK)
        rc = rn_loop_new(&bridge->loop, err);
    if (rc == RN_OK)
        rc = open_log(bridge, err);
    if (rc == RN_OK)
        rc = open_fleet(bridge, err);
    if (rc == RN_OK)
        rc = make_handles(bridge, err);
    if (rc == RN_OK)
        rc = open_intake(bridge, err);
    if (rc == RN_OK)
        rc = open_cursors(bridge, err);
    if (rc == RN_OK)
        rc = open_desired(bridge, err);
    if (rc == RN_OK)
        rc = open_http(bridge, err);
    if (rc) {
        bridge_free(bridge);
        return rc;
    }
    *out = bridge;
    return RN_OK;
}

void bridge_run(struct bridge *bridge)
{
    const struct bridge_settings *s = &bridge->config->settings;
    rn_log(RN_LOG_INFO, "bridge_started",
           "version=%s name=%s data=%s log_id=%016llx head=%llu devices=%u", RUNNEL_VERSION,
           s->name, RN_Q(s->data), (unsigned long long)log_id(bridge->log),
           (unsigned long long)log_head(bridge->log), bridge->fleet->count);
    ask_cursors(bridge);
    rn_mqtt_start(bridge->out.mqtt);
    rn_mqtt_start(bridge->in.mqtt);
    rn_timer_start(bridge->tick, TICK_MS, TICK_MS);
    bridge->watchdog_ms = rn_notify_watchdog_ms();
    rn_notify_send("READY=1");
    rn_loop_run(bridge->loop);
    save_fleet(bridge, rn_clock_mono_ms(), UINT32_MAX);
    rn_log(RN_LOG_INFO, "bridge_stopped", "head=%llu batches=%llu",
           (unsigned long long)log_head(bridge->log),
           (unsigned long long)bridge->counters.batches_stored);
}

void bridge_free(struct bridge *bridge)
{
    if (!bridge)
        return;
    http_api_close(bridge->api);
    calls_free(bridge->calls);
    cursors_free(bridge->cursors);
    http_api_free(bridge->api);
    rn_mqtt_free(bridge->in.mqtt);
    rn_mqtt_free(bridge->out.mqtt);
    rn_timer_free(bridge->tick);
    rn_timer_free(bridge->work);
    intake_free(bridge->intake);
    offers_free(bridge->offers);
    desired_close(bridge->desired);
    answers_free(bridge->answers);
    deadletters_close(bridge->dead);
    fleet_close(bridge->fleet);
    schemas_close(bridge->schemas);
    log_close(bridge->log);
    rn_signal_free(bridge->sigint);
    rn_signal_free(bridge->sigterm);
    rn_loop_free(bridge->loop);
    if (bridge->lock >= 0)
        close(bridge->lock);
    free(bridge);
}

// ---- asking ------------------------------------------------------------------------------------

int bridge_call(struct bridge *bridge, bridge_call_fn *fn, void *arg)
{
    return calls_push(bridge->calls, fn, arg);
}

const struct config *bridge_config(const struct bridge *bridge)
{
    return bridge->config;
}

struct cursors *bridge_cursors(struct bridge *bridge)
{
    return bridge->cursors;
}

struct fleet *bridge_fleet(struct bridge *bridge)
{
    return bridge->fleet;
}

struct counters bridge_counters(const struct bridge *bridge)
{
    struct counters copy = bridge->counters;
    copy.calls_refused = calls_refused(bridge->calls);
    return copy;
}

void bridge_state(const struct bridge *bridge, struct bridge_state *out)
{
    *out = (struct bridge_state){
        .in_connected = rn_mqtt_connected(bridge->in.mqtt),
        .out_connected = rn_mqtt_connected(bridge->out.mqtt),
        .fleet_blind = bridge->blind,
        .full = log_full(bridge->log),
        .log_id = log_id(bridge->log),
        .log_head = log_head(bridge->log),
        .log_tail = log_tail(bridge->log),
        .log_bytes = log_bytes(bridge->log),
        .acked = answers_position(bridge->answers),
        .started_ms = bridge->started_ms,
        .refused_devices = bridge->fleet->refused,
    };
    out->ready = bridge->ready && out->in_connected && out->out_connected;
    rn_mqtt_get_stats(bridge->in.mqtt, &out->in);
    rn_mqtt_get_stats(bridge->out.mqtt, &out->out);
}

void bridge_retire(struct bridge *bridge, struct fleet_device *dev, bool retired)
{
    live_retire(&bridge->fleet->live, &dev->live, retired, rn_clock_mono_ms());
    dev->dirty = true;
}

void bridge_set_hooks(struct bridge *bridge, const struct intake_hooks *hooks)
{
    intake_set_hooks(bridge->intake, hooks);
}

int bridge_publish_config(struct bridge *bridge, const char *dev, struct rn_span message)
{
    char topic[RN_TOPIC_MAX];
    int rc = rn_topic_write(topic, bridge->config->settings.topic_prefix, RN_TOPIC_CONFIG, dev);
    return rc == RN_OK ? rn_mqtt_publish(bridge->out.mqtt, topic, message, 1, true, 1) : rc;
}

void bridge_get_view(struct bridge *bridge, struct bridge_view *out)
{
    bridge->counted = bridge_counters(bridge);
    *out = (struct bridge_view){
        .name = bridge->config->settings.name,
        .fleet = bridge->fleet,
        .log = bridge->log,
        .desired = bridge->desired,
        .counters = &bridge->counted,
        .connected = bridge->ready && rn_mqtt_connected(bridge->in.mqtt) &&
                     rn_mqtt_connected(bridge->out.mqtt),
        .storing = !log_full(bridge->log),
        .started_ms = bridge->started_mono_ms,
    };
}

int bridge_offer_config(struct bridge *bridge, const char *dev, struct rn_err *err)
{
    return offers_publish(bridge->offers, dev, err);
}
