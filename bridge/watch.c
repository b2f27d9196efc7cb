// See watch.h.
#include "bridge/watch.h"

#include <runnel/log.h>

#define STALLED_MS 5000

void watch_connected(struct watch *watch, bool yes, int64_t mono_ms)
{
    struct fleet *fleet = watch->fleet;
    if (yes)
        live_fleet_back(&fleet->live, fleet->count, mono_ms);
    else
        live_fleet_lost(&fleet->live, mono_ms);
    for (uint32_t i = 0; i < fleet->count; i++)
        if (yes)
            live_back(&fleet->live, &fleet->device[i]->live);
        else
            live_lost(&fleet->live, &fleet->device[i]->live, mono_ms);
}

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

static void tell_blind(struct watch *watch, int64_t mono_ms)
{
    const struct fleet *fleet = watch->fleet;
    bool blind = live_fleet_blind(&fleet->live, mono_ms);
    if (blind == watch->blind)
        return;
    watch->blind = blind;
    if (blind)
        rn_log(RN_LOG_WARN, "fleet_blind", "connected=%d missing=%u devices=%u",
               fleet->live.connected, fleet->live.missing, fleet->count);
    else
        rn_log(RN_LOG_INFO, "fleet_seen", "devices=%u", fleet->count);
}

void watch_tick(struct watch *watch, int64_t mono_ms, int64_t utc_ms)
{
    struct fleet *fleet = watch->fleet;
    int64_t pause_ms = watch->ticked_ms ? mono_ms - watch->ticked_ms : 0;
    if (pause_ms > STALLED_MS) {
        rn_log(RN_LOG_WARN, "bridge_stalled", "ms=%lld", (long long)pause_ms);
        live_fleet_stalled(&fleet->live, mono_ms);
    }
    watch->ticked_ms = mono_ms;
    for (uint32_t i = 0; i < fleet->count; i++) {
        live_tick(&fleet->live, &fleet->device[i]->live, mono_ms);
        tell_state(fleet->device[i], utc_ms);
    }
    tell_blind(watch, mono_ms);
}
