// See presence.h.
#include "agent/presence.h"

#include "agent/pace.h"
#include "agent/walltime.h"
#include <runnel/clock.h>
#include <runnel/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATUS_TOKEN = 1, // of publishes whose acknowledgement shows that the link lives
    JUMP_COMPLAIN_MS = 3600000,
};

struct presence {
    struct presence_conf conf;
    struct rn_timer *beat, *watch;
    struct rn_buf message;
    char topic[RN_TOPIC_MAX], topic_report[RN_TOPIC_MAX];
    struct epochs epochs;
    uint64_t epoch, n; // of this connection (attempt)
    uint64_t config_revision;
    uint8_t config_hash[RN_HASH_BYTES];
    uint64_t interval_ms, ack_by_ms; // as the last status said
    bool hurry;                      // answers are wanted at once
    char reason[128];                // for the next birth
    int64_t away_since_ms;
    int64_t asked_ms, heard_ms; // the last status, and the last sign of life of the broker
    struct rn_complaint jump;
};

uint64_t presence_epoch(const struct presence *p)
{
    return p->epoch;
}

// 0: the default, which the bridge knows.
static uint64_t ack_by(const struct presence *p)
{
    uint64_t wanted = p->hurry ? PACE_AT_ONCE_MS : (uint64_t)pace_ack_by(p->conf.settings);
    return wanted == rn_ack_by_default((uint64_t)pace_interval(p->conf.settings)) ? 0 : wanted;
}

// False: there is no buffer to speak of.
static bool fill(const struct presence *p, struct rn_status *out, enum rn_presence presence,
                 const char *reason)
{
    const struct store *store = storage_store(p->conf.storage);
    int64_t utc = rn_clock_utc_ms();
    if (!store)
        return false;
    const struct store_state *s = store_state(store);
    *out = (struct rn_status){
        .presence = presence,
        .install = s->install,
        .epoch = p->epoch,
        .n = p->n,
        .time_ms = walltime_trusted(utc) ? (uint64_t)utc : 0,
        .interval_ms = (uint64_t)pace_interval(p->conf.settings),
        .ack_by_ms = ack_by(p),
        .next_seq = s->next,
        .fingerprint = p->conf.fingerprint,
        .config_revision = p->config_revision,
        .has_ledger = presence != RN_PRESENCE_WILL,
        .ledger = s->ledger,
        .version = rn_span_text(RUNNEL_VERSION),
        .reason = rn_span_text(reason),
    };
    memcpy(out->config_hash, p->config_hash, RN_HASH_BYTES);
    return true;
}

static void publish(struct presence *p, enum rn_presence presence, const char *reason,
                    int64_t away_ms)
{
    struct rn_status status;
    if (!connection_up(p->conf.connection))
        return;
    p->n++;
    if (!fill(p, &status, presence, reason))
        return;
    status.away_ms = away_ms > 0 ? (uint64_t)away_ms : 0;
    rn_buf_clear(&p->message);
    if (rn_status_encode(&status, &p->message) < 0 ||
        rn_mqtt_publish(connection_mqtt(p->conf.connection), p->topic, rn_buf_span(&p->message), 1,
                        true, STATUS_TOKEN) < 0)
        rn_log(RN_LOG_WARN, "status_not_sent", "reason=%s", RN_Q(reason));
    p->interval_ms = status.interval_ms;
    p->ack_by_ms = status.ack_by_ms;
    p->asked_ms = rn_clock_mono_ms();
    rn_timer_start(p->watch, p->conf.settings->mqtt_connect_timeout_ms, 0);
}

static void on_watch(void *arg)
{
    struct presence *p = arg;
    if (connection_up(p->conf.connection) && p->heard_ms < p->asked_ms)
        rn_mqtt_reconnect(connection_mqtt(p->conf.connection),
                          "the broker does not acknowledge: the link is silent");
}

// The bridge knows a higher epoch than this connection's. True: it is given up for a new one.
static bool outdated(struct presence *p)
{
    if (p->epochs.last <= p->epoch || !epochs_reconnect(&p->epochs, rn_clock_mono_ms()))
        return false;
    rn_mqtt_reconnect(connection_mqtt(p->conf.connection),
                      "the bridge knows a higher epoch of this agent");
    return true;
}

static void on_beat(void *arg)
{
    struct presence *p = arg;
    if (!connection_up(p->conf.connection) || !outdated(p))
        publish(p, RN_PRESENCE_ONLINE, "update", 0);
}

bool presence_will(struct presence *p, char topic[128], struct rn_buf *payload)
{
    struct rn_status status;
    p->epoch = epochs_next(&p->epochs, p->conf.state);
    p->n = 0;
    if (!fill(p, &status, RN_PRESENCE_WILL, "connection lost"))
        return false;
    snprintf(topic, 128, "%s", p->topic);
    return rn_status_encode(&status, payload) >= 0;
}

void presence_start(struct presence *p)
{
    rn_timer_start(p->beat, p->conf.settings->status_interval_ms,
                   p->conf.settings->status_interval_ms);
}

void presence_stop(struct presence *p)
{
    rn_timer_stop(p->beat);
}

void presence_disconnected(struct presence *p, const char *reason)
{
    presence_stop(p);
    p->away_since_ms = rn_clock_mono_ms();
    snprintf(p->reason, sizeof p->reason, "reconnect: %s", reason);
}

void presence_announce(struct presence *p)
{
    int64_t away = rn_clock_mono_ms() - p->away_since_ms;
    if (p->n == 0)
        publish(p, RN_PRESENCE_ONLINE, p->reason, away);
    else
        publish(p, RN_PRESENCE_ONLINE, "repeated: no answer yet", 0);
}

void presence_heard(struct presence *p)
{
    p->heard_ms = rn_clock_mono_ms();
}

void presence_published(struct presence *p, uint64_t token)
{
    if (token == STATUS_TOKEN)
        presence_heard(p);
}

bool presence_answers(const struct presence *p, const struct rn_hello *hello)
{
    struct rn_status own;
    return fill(p, &own, RN_PRESENCE_ONLINE, "") && hello->install == own.install &&
           hello->epoch == p->epoch;
}

bool presence_seen(struct presence *p, uint64_t max_epoch)
{
    if (!epochs_lift(&p->epochs, max_epoch))
        rn_complain(&p->jump, rn_clock_mono_ms(), JUMP_COMPLAIN_MS, RN_LOG_WARN, "epoch_refused",
                    "max_epoch=%llu epoch=%llu", (unsigned long long)max_epoch,
                    (unsigned long long)p->epoch);
    return !outdated(p);
}

void presence_set_running(struct presence *p, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    if (p->config_revision == revision && memcmp(p->config_hash, hash, RN_HASH_BYTES) == 0)
        return;
    p->config_revision = revision;
    memcpy(p->config_hash, hash, RN_HASH_BYTES);
    if (p->n > 0)
        publish(p, RN_PRESENCE_ONLINE, "configuration", 0);
}

// Says how batches come and are to be answered, if that is news.
static void tell_pace(struct presence *p, const char *reason)
{
    if (p->n > 0 &&
        (p->ack_by_ms != ack_by(p) || p->interval_ms != (uint64_t)pace_interval(p->conf.settings)))
        publish(p, RN_PRESENCE_ONLINE, reason, 0);
}

void presence_set_hurry(struct presence *p, bool hurry)
{
    p->hurry = hurry;
    if (!hurry)
        tell_pace(p, "answers may wait");
}

void presence_ask(struct presence *p, const char *reason)
{
    p->hurry = true;
    tell_pace(p, reason);
}

int presence_report(struct presence *p, struct rn_span payload)
{
    return connection_up(p->conf.connection)
               ? rn_mqtt_publish(connection_mqtt(p->conf.connection), p->topic_report, payload, 1,
                                 false, 0)
               : RN_ESTATE;
}

void presence_goodbye(struct presence *p, const char *reason)
{
    presence_stop(p);
    publish(p, RN_PRESENCE_STOPPED, reason, 0);
    rn_timer_stop(p->watch);
}

// ---- life ---------------------------------------------------------------------------------------

static int write_topics(struct presence *p, const struct agent_settings *s, struct rn_err *err)
{
    if (rn_topic_write(p->topic, s->topic_prefix, RN_TOPIC_STATUS, s->device) < 0 ||
        rn_topic_write(p->topic_report, s->topic_prefix, RN_TOPIC_REPORT, s->device) < 0)
        return rn_fail(err, RN_EINVAL, "no topic can be made of prefix %s and device %s",
                       s->topic_prefix, s->device);
    return RN_OK;
}

int presence_new(struct presence **out, struct rn_loop *loop, const struct presence_conf *conf,
                 struct rn_err *err)
{
    struct presence *p = calloc(1, sizeof *p);
    if (!p)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    p->conf = *conf;
    p->away_since_ms = rn_clock_mono_ms();
    epochs_init(&p->epochs, conf->state, rn_clock_utc_ms());
    snprintf(p->reason, sizeof p->reason, "start");
    rn_buf_init(&p->message, 4096);
    int rc = write_topics(p, conf->settings, err);
    if (rc >= 0)
        rc = rn_timer_new(&p->beat, loop, on_beat, p, err);
    if (rc >= 0)
        rc = rn_timer_new(&p->watch, loop, on_watch, p, err);
    if (rc < 0) {
        presence_free(p);
        return rc;
    }
    *out = p;
    return RN_OK;
}

void presence_free(struct presence *p)
{
    if (!p)
        return;
    rn_timer_free(p->beat);
    rn_timer_free(p->watch);
    rn_buf_release(&p->message);
    free(p);
}

void presence_reconf(struct presence *p, const struct agent_settings *settings)
{
    p->conf.settings = settings;
    tell_pace(p, "settings");
}
