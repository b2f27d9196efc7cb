// See upkeep.h.
#include "bridge/upkeep.h"

#define SAVE_MS      2000
#define SAVE_DEVICES 500
#define RETAIN_MS    1000
#define COMPLAINT_MS 60000

static void save(struct upkeep *upkeep, int64_t mono_ms, uint32_t max)
{
    struct rn_err err;
    upkeep->saved_ms = mono_ms;
    if (fleet_save(upkeep->fleet, max, &err) < 0)
        rn_complain(&upkeep->save_failed, mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "fleet_not_saved",
                    "err=%s", RN_Q(err.text));
    else
        rn_recovered(&upkeep->save_failed, "fleet_saved_again");
}

static void tell_full(struct upkeep *upkeep)
{
    bool full = log_full(upkeep->log);
    if (full == upkeep->full)
        return;
    upkeep->full = full;
    if (full)
        rn_log(RN_LOG_ERROR, "log_full",
               "bytes=%lld advice=\"a sink that acknowledgement waits for is behind: mend it or "
               "raise log.cursor_bytes; devices keep their data\"",
               (long long)log_bytes(upkeep->log));
    else
        rn_log(RN_LOG_INFO, "log_has_room", "bytes=%lld", (long long)log_bytes(upkeep->log));
}

static void retain(struct upkeep *upkeep, int64_t mono_ms, int64_t utc_ms)
{
    struct rn_err err;
    upkeep->retained_ms = mono_ms;
    int64_t dropped = log_retain(upkeep->log, cursors_needed(upkeep->cursors), utc_ms, &err);
    if (dropped < 0) {
        rn_complain(&upkeep->retain_failed, mono_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "log_retention_failed", "err=%s", RN_Q(err.text));
        return;
    }
    upkeep->counters->rows_retired += (uint64_t)dropped;
    tell_full(upkeep);
}

void upkeep_tick(struct upkeep *upkeep, int64_t mono_ms, int64_t utc_ms)
{
    if (mono_ms - upkeep->saved_ms >= SAVE_MS)
        save(upkeep, mono_ms, SAVE_DEVICES);
    if (mono_ms - upkeep->retained_ms >= RETAIN_MS)
        retain(upkeep, mono_ms, utc_ms);
}

void upkeep_end(struct upkeep *upkeep, int64_t mono_ms)
{
    save(upkeep, mono_ms, UINT32_MAX);
}
