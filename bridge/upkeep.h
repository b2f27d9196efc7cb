// What the bridge does on its disks from time to time: devices that have changed go to fleet.db,
// and what nobody needs any more leaves the log. Intake's thread.
#ifndef BRIDGE_UPKEEP_H
#define BRIDGE_UPKEEP_H

#include "bridge/counters.h"
#include "bridge/cursors.h"
#include "bridge/fleet.h"
#include "bridge/log.h"
#include <runnel/log.h>

struct upkeep {
    struct fleet *fleet;
    struct log *log;
    struct cursors *cursors;
    struct counters *counters;
    int64_t saved_ms, retained_ms;
    bool full; // the log; was told
    struct rn_complaint save_failed, retain_failed;
};

// Does what is due: some of the devices, all of the log.
void upkeep_tick(struct upkeep *upkeep, int64_t mono_ms, int64_t utc_ms);
// All devices, now: the bridge ends.
void upkeep_end(struct upkeep *upkeep, int64_t mono_ms);

#endif
