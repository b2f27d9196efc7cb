// See liveness.h.
#include "bridge/liveness.h"

#include <string.h>

const char *live_state_name(enum live_state state)
{
    static const char *const names[LIVE_STATES] = {
        "never-seen", "unconfirmed", "online", "late", "offline", "blind", "duplicate", "retired"};
    return state < LIVE_STATES ? names[state] : "";
}

const char *live_reason_name(enum live_reason reason)
{
    static const char *const names[] = {"",       "will",   "stopped",     "silence",
                                        "broker", "bridge", "backpressure"};
    return reason <= LIVE_BACKPRESSURE ? names[reason] : "";
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// ---- the one place where what is shown changes -------------------------------------------------

static enum live_state shown_state(const struct live_device *dev)
{
    if (dev->retired)
        return LIVE_RETIRED;
    bool present =
        dev->state == LIVE_ONLINE || dev->state == LIVE_LATE || dev->state == LIVE_UNCONFIRMED;
    return dev->duplicate_until_ms && present ? LIVE_DUPLICATE : dev->state;
}

static void show(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    enum live_state shown = shown_state(dev);
    if (shown == dev->shown)
        return;
    fleet->count[dev->shown]--;
    fleet->count[shown]++;
    dev->shown = shown;
    dev->since_ms = now_ms;
}

static void become(struct live_fleet *fleet, struct live_device *dev, enum live_state state,
                   enum live_reason reason, int64_t now_ms)
{
    dev->state = state;
    dev->reason = reason;
    show(fleet, dev, now_ms);
}

void live_fleet_init(struct live_fleet *fleet, const struct live_conf *conf)
{
    memset(fleet, 0, sizeof *fleet);
    fleet->conf = *conf;
}

void live_enter(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (dev->state != LIVE_NEVER && dev->state != LIVE_OFFLINE) {
        dev->state = LIVE_BLIND;
        dev->reason = LIVE_BRIDGE;
    }
    dev->shown = shown_state(dev);
    dev->since_ms = now_ms;
    fleet->count[dev->shown]++;
}

void live_retire(struct live_fleet *fleet, struct live_device *dev, bool retired, int64_t now_ms)
{
    dev->retired = retired;
    show(fleet, dev, now_ms);
}

// ---- sight -------------------------------------------------------------------------------------

void live_fleet_lost(struct live_fleet *fleet, int64_t now_ms)
{
    if (fleet->connected)
        fleet->lost_ms = now_ms;
    fleet->connected = false;
}

void live_lost(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (dev->state == LIVE_ONLINE || dev->state == LIVE_LATE || dev->state == LIVE_UNCONFIRMED)
        become(fleet, dev, LIVE_BLIND, LIVE_BROKER, now_ms);
}

// After an outage the devices have backed off for up to its length: they are given that, or what a
// fleet of this size spreads its reconnects over.
void live_fleet_back(struct live_fleet *fleet, uint32_t devices, int64_t now_ms)
{
    int64_t outage = fleet->lost_ms ? now_ms - fleet->lost_ms : 0;
    int64_t spread = at_least(fleet->conf.reconnect_ms, (int64_t)devices * 2);
    spread = at_least(spread, at_most(outage, fleet->conf.backoff_max_ms));
    fleet->connected = true;
    fleet->sighted_ms = now_ms + spread;
}

void live_back(struct live_fleet *fleet, struct live_device *dev)
{
    if (dev->will_at_ms)
        dev->will_at_ms = at_least(dev->will_at_ms, fleet->sighted_ms + fleet->conf.grace_ms);
}

void live_fleet_stalled(struct live_fleet *fleet, int64_t now_ms)
{
    fleet->sighted_ms = at_least(fleet->sighted_ms, now_ms);
}

// ---- storms ------------------------------------------------------------------------------------

static void roll_storm(struct live_fleet *fleet, int64_t now_ms)
{
    int64_t slot = now_ms / (fleet->conf.storm_ms / LIVE_STORM_SLOTS + 1);
    int64_t steps = at_most(slot - fleet->vanished_slot, LIVE_STORM_SLOTS);
    for (int64_t i = 0; i < steps; i++)
        fleet->vanished[(slot - i) % LIVE_STORM_SLOTS] = 0;
    fleet->vanished_slot = slot;
}

static void vanish(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (dev->vanished)
        return;
    dev->vanished = true;
    fleet->missing++;
    roll_storm(fleet, now_ms);
    fleet->vanished[fleet->vanished_slot % LIVE_STORM_SLOTS]++;
    int64_t gone = 0;
    for (int i = 0; i < LIVE_STORM_SLOTS; i++)
        gone += fleet->vanished[i];
    int64_t present = (int64_t)fleet->count[LIVE_ONLINE] + fleet->count[LIVE_LATE] +
                      fleet->count[LIVE_UNCONFIRMED] + fleet->count[LIVE_DUPLICATE] +
                      fleet->count[LIVE_BLIND];
    if (gone < fleet->conf.storm_min || gone * 100 <= present * fleet->conf.storm_percent)
        return;
    if (now_ms >= fleet->storm_until_ms)
        fleet->storms++;
    int64_t settle =
        fleet->conf.storm_ms + at_least(fleet->conf.reconnect_ms, fleet->conf.backoff_max_ms);
    fleet->storm_until_ms = now_ms + at_least(settle, fleet->conf.grace_ms);
}

static bool storm(const struct live_fleet *fleet, int64_t now_ms)
{
    return now_ms < fleet->storm_until_ms;
}

bool live_fleet_blind(const struct live_fleet *fleet, int64_t now_ms)
{
    return !fleet->connected || storm(fleet, now_ms);
}

// ---- two agents with one name ------------------------------------------------------------------

static void add_evidence(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (dev->evidence && now_ms - dev->evidence_ms > fleet->conf.duplicate_ms)
        dev->evidence = 0;
    dev->evidence_ms = now_ms;
    if (dev->evidence < UINT8_MAX)
        dev->evidence++;
    if (dev->evidence >= 2)
        dev->duplicate_until_ms = now_ms + fleet->conf.duplicate_clear_ms;
}

static bool recently(const struct live_fleet *fleet, const struct live_device *dev, int64_t now_ms)
{
    return dev->heard_ms && now_ms - dev->heard_ms <= fleet->conf.duplicate_ms;
}

// A live birth of an agent other than the shown one, while that was alive: one that was shown
// before has come back, so both are there.
static void compare_agents(struct live_fleet *fleet, struct live_device *dev,
                           const struct live_status *status, int64_t now_ms)
{
    bool other_install = status->install != dev->install;
    bool other_machine = status->fingerprint != dev->fingerprint;
    if (dev->state == LIVE_NEVER || (!other_install && !other_machine))
        return;
    if (recently(fleet, dev, now_ms) && status->install == dev->other_install &&
        status->fingerprint == dev->other_fingerprint)
        add_evidence(fleet, dev, now_ms);
    dev->other_install = dev->install;
    dev->other_fingerprint = dev->fingerprint;
    dev->other_epoch = dev->epoch;
}

// ---- what is heard -----------------------------------------------------------------------------

static void adopt(struct live_device *dev, const struct live_status *status)
{
    dev->install = status->install;
    dev->epoch = status->epoch;
    dev->n = status->n;
    dev->fingerprint = status->fingerprint;
    if (status->interval_ms > 0)
        dev->interval_ms = status->interval_ms;
}

static void heard(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    dev->heard_ms = now_ms;
    dev->put_off = false;
    if (dev->vanished && --fleet->missing < fleet->conf.storm_min)
        fleet->storm_until_ms = 0; // they are back
    dev->vanished = false;
    become(fleet, dev, LIVE_ONLINE, LIVE_NO_REASON, now_ms);
}

// Retained: tells of the newest agent that the broker remembers, not that it is alive.
static bool retained_birth(struct live_fleet *fleet, struct live_device *dev,
                           const struct live_status *status, int64_t now_ms)
{
    bool known = dev->state != LIVE_NEVER && status->install == dev->install;
    if (known && status->epoch < dev->epoch)
        return false;
    bool alive = dev->state == LIVE_ONLINE || dev->state == LIVE_LATE;
    if (alive || (known && status->epoch == dev->epoch && dev->state == LIVE_OFFLINE))
        return known;
    adopt(dev, status);
    dev->will_at_ms = 0;
    become(fleet, dev, LIVE_UNCONFIRMED, LIVE_NO_REASON, now_ms);
    return true;
}

bool live_birth(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
                int64_t now_ms)
{
    if (status->retained)
        return retained_birth(fleet, dev, status, now_ms);
    bool known = dev->state != LIVE_NEVER && status->install == dev->install;
    if (known && status->epoch <= dev->epoch) {
        bool update = status->epoch == dev->epoch && status->n > dev->n;
        if (!update) { // each connection has an epoch of its own: somebody else has used this one
            if (recently(fleet, dev, now_ms))
                add_evidence(fleet, dev, now_ms);
            show(fleet, dev, now_ms);
            if (status->epoch < dev->epoch)
                return false;
        }
        bool gone = dev->state == LIVE_OFFLINE && dev->reason != LIVE_SILENCE;
        adopt(dev, status);
        if (!gone && !dev->will_at_ms)
            heard(fleet, dev, now_ms);
        return true;
    }
    compare_agents(fleet, dev, status, now_ms);
    adopt(dev, status);
    dev->will_at_ms = 0;
    heard(fleet, dev, now_ms);
    return true;
}

// A will or stop of an epoch that the bridge never saw born (it was away) names the newest agent.
static bool concerns(struct live_device *dev, const struct live_status *status)
{
    bool known = dev->state != LIVE_NEVER && status->install == dev->install;
    if (known && status->epoch == dev->epoch)
        return true;
    bool newer = known && status->epoch > dev->epoch;
    bool alive = dev->state == LIVE_ONLINE || dev->state == LIVE_LATE;
    if (dev->state == LIVE_NEVER || newer || (status->retained && !known && !alive)) {
        adopt(dev, status);
        return true;
    }
    return false;
}

bool live_will(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
               int64_t now_ms)
{
    bool first = dev->state == LIVE_NEVER;
    if (!concerns(dev, status))
        return false;
    if (dev->state == LIVE_OFFLINE && dev->reason != LIVE_SILENCE)
        return true;
    if (first)
        become(fleet, dev, LIVE_UNCONFIRMED, LIVE_NO_REASON, now_ms);
    if (!dev->will_at_ms)
        dev->will_at_ms = at_least(now_ms, fleet->sighted_ms) + fleet->conf.grace_ms;
    if (!status->retained)
        vanish(fleet, dev, now_ms);
    return true;
}

bool live_stop(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
               int64_t now_ms)
{
    if (!concerns(dev, status))
        return false;
    dev->n = status->n;
    dev->will_at_ms = 0;
    become(fleet, dev, LIVE_OFFLINE, LIVE_STOPPED, now_ms);
    return true;
}

void live_data(struct live_fleet *fleet, struct live_device *dev, uint64_t install, int64_t now_ms)
{
    if (dev->state == LIVE_NEVER || install != dev->install || dev->will_at_ms)
        return;
    if (dev->state == LIVE_OFFLINE && dev->reason != LIVE_SILENCE)
        return;
    heard(fleet, dev, now_ms);
}

void live_hold(struct live_device *dev, int64_t until_ms)
{
    dev->held_ms = at_least(dev->held_ms, until_ms);
    dev->put_off = true;
}

// ---- time --------------------------------------------------------------------------------------

static void will_is_due(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (storm(fleet, now_ms)) {
        dev->will_at_ms = fleet->storm_until_ms;
        become(fleet, dev, LIVE_BLIND, LIVE_BROKER, now_ms);
        return;
    }
    dev->will_at_ms = 0;
    become(fleet, dev, LIVE_OFFLINE, LIVE_WILL, now_ms);
}

static void judge_silence(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    int64_t interval = dev->interval_ms ? dev->interval_ms : fleet->conf.default_interval_ms;
    int64_t slack = at_most(at_least(interval / 4, 250), 10000);
    int64_t seen = at_least(dev->heard_ms, fleet->sighted_ms);
    if (dev->state == LIVE_UNCONFIRMED)
        seen = at_least(seen, dev->since_ms);
    int64_t from = at_least(seen, dev->held_ms + (dev->put_off ? fleet->conf.retry_ms : 0));
    if (now_ms - from > fleet->conf.missed * interval + slack) {
        vanish(fleet, dev, now_ms);
        if (storm(fleet, now_ms))
            become(fleet, dev, LIVE_BLIND, LIVE_BROKER, now_ms);
        else
            become(fleet, dev, LIVE_OFFLINE, LIVE_SILENCE, now_ms);
    } else if (dev->state == LIVE_ONLINE && now_ms - seen > 2 * interval + slack) {
        if (dev->put_off) {
            become(fleet, dev, LIVE_BLIND, LIVE_BACKPRESSURE, now_ms);
            return;
        }
        vanish(fleet, dev, now_ms);
        become(fleet, dev, LIVE_LATE, LIVE_NO_REASON, now_ms);
    }
}

void live_tick(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms)
{
    if (dev->duplicate_until_ms && now_ms >= dev->duplicate_until_ms) {
        dev->duplicate_until_ms = 0;
        dev->evidence = 0;
        show(fleet, dev, now_ms);
    }
    if (!fleet->connected || dev->state == LIVE_NEVER || dev->state == LIVE_OFFLINE)
        return;
    if (dev->will_at_ms) {
        if (now_ms >= dev->will_at_ms)
            will_is_due(fleet, dev, now_ms);
        return;
    }
    judge_silence(fleet, dev, now_ms);
}
