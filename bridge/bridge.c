// See bridge.h.
#include "bridge/bridge.h"

#include "bridge/answers.h"
#include "bridge/broker.h"
#include "bridge/call.h"
#include "bridge/cursors.h"
#include "bridge/http/api.h"
#include "bridge/intake.h"
#include "bridge/offers.h"
#include "bridge/recall.h"
#include "bridge/upkeep.h"
#include "bridge/view.h"
#include "bridge/watch.h"
#include <fcntl.h>
#include <runnel/clock.h>
#include <runnel/file.h>
#include <runnel/log.h>
#include <runnel/notify.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TICK_MS   250
#define STOP_MS   1000
#define MAX_CALLS 1024

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
    struct broker *broker;
    struct watch watch;
    struct upkeep upkeep;
    struct rn_timer *work, *tick;
    struct rn_signal *sigterm, *sigint;
    int64_t watchdog_ms, watched_ms; // systemd's; 0: none
    int64_t work_ms;                 // when the work timer fires; 0: it does not run
    int64_t started_mono_ms;
    uint32_t ack_cursor[ANSWERS_CURSORS]; // cursor numbers of those that acknowledgement waits for
    uint32_t nack_cursors;
    bool stopping;
    bool ready; // every cursor has told its position
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
    struct bridge *bridge = arg;
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
    struct cursor_status status[ANSWERS_CURSORS];
    for (uint32_t i = 0; i < bridge->nack_cursors; i++)
        cursors_status(bridge->cursors, bridge->ack_cursor[i], &status[i]);
    cursors_hear(bridge->cursors); // refusals first: what they are about is below a position
    for (uint32_t i = 0; i < bridge->nack_cursors; i++) {
        if (status[i].state == CURSOR_STARTING)
            ready = false;
        else
            answers_moved(bridge->answers, i, status[i].position);
    }
    bridge->ready = ready;
}

// ---- the broker --------------------------------------------------------------------------------

static void on_receiving(void *arg, bool yes)
{
    struct bridge *bridge = arg;
    watch_connected(&bridge->watch, yes, rn_clock_mono_ms());
}

static void on_publishing(void *arg)
{
    struct bridge *bridge = arg;
    offers_again(bridge->offers);
}

static void on_stopped(void *arg)
{
    struct bridge *bridge = arg;
    rn_loop_stop(bridge->loop);
}

static int publish(void *arg, const char *topic, struct rn_span payload)
{
    struct bridge *bridge = arg;
    return broker_publish(bridge->broker, topic, payload);
}

static int publish_config(void *arg, const char *dev, struct rn_span message)
{
    struct bridge *bridge = arg;
    char topic[RN_TOPIC_MAX];
    int rc = rn_topic_write(topic, bridge->config->settings.topic_prefix, RN_TOPIC_CONFIG, dev);
    return rc == RN_OK ? broker_retain(bridge->broker, topic, message) : rc;
}

// ---- time --------------------------------------------------------------------------------------

static void tick(void *arg)
{
    struct bridge *bridge = arg;
    struct intake_time now = time_now();
    if (!bridge->ready)
        ask_cursors(bridge);
    watch_tick(&bridge->watch, now.mono_ms, now.utc_ms);
    if (bridge->watchdog_ms && now.mono_ms - bridge->watched_ms >= bridge->watchdog_ms) {
        bridge->watched_ms = now.mono_ms;
        rn_notify_send("WATCHDOG=1");
    }
    upkeep_tick(&bridge->upkeep, now.mono_ms, now.utc_ms);
    arm(bridge, now.mono_ms, ACKER_SLOT_MS);
}

// ---- stopping ----------------------------------------------------------------------------------

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
    broker_stop(bridge->broker, STOP_MS);
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
    if (rc == RN_OK && fleet_quarantined(bridge->fleet)[0])
        rn_log(RN_LOG_ERROR, "fleet_damaged",
               "kept_as=%s advice=\"devices are known again when they are heard\"",
               RN_Q(fleet_quarantined(bridge->fleet)));
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
    const struct broker_handler handler = {.arg = bridge,
                                           .message = on_message,
                                           .receiving = on_receiving,
                                           .publishing = on_publishing,
                                           .stopped = on_stopped};
    int rc = broker_new(&bridge->broker, &bridge->config->settings, log_id(bridge->log),
                        bridge->loop, &handler, err);
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
        intake_set_hooks(bridge->intake, &hooks);
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
    bridge->watch.fleet = bridge->fleet;
    bridge->upkeep = (struct upkeep){.fleet = bridge->fleet,
                                     .log = bridge->log,
                                     .cursors = bridge->cursors,
                                     .counters = &bridge->counters};
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
    broker_start(bridge->broker);
    rn_timer_start(bridge->tick, TICK_MS, TICK_MS);
    bridge->watchdog_ms = rn_notify_watchdog_ms();
    rn_notify_send("READY=1");
    rn_loop_run(bridge->loop);
    upkeep_end(&bridge->upkeep, rn_clock_mono_ms());
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
    broker_free(bridge->broker);
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

void bridge_get_view(struct bridge *bridge, struct bridge_view *out)
{
    bridge->counted = bridge->counters;
    bridge->counted.calls_refused = calls_refused(bridge->calls);
    *out = (struct bridge_view){
        .name = bridge->config->settings.name,
        .fleet = bridge->fleet,
        .log = bridge->log,
        .desired = bridge->desired,
        .counters = &bridge->counted,
        .connected = bridge->ready && broker_connected(bridge->broker),
        .storing = !log_full(bridge->log),
        .started_ms = bridge->started_mono_ms,
    };
}

int bridge_offer_config(struct bridge *bridge, const char *dev, struct rn_err *err)
{
    return offers_publish(bridge->offers, dev, err);
}
