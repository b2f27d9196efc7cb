// Watches the devices: gives their liveness the time and the broker's coming and going, and logs
// what becomes of them. The shell of liveness.h; intake's thread.
#ifndef BRIDGE_WATCH_H
#define BRIDGE_WATCH_H

#include "bridge/fleet.h"

struct watch {
    struct fleet *fleet;
    bool blind;        // was told
    int64_t ticked_ms; // 0: not yet
};

// Devices can be heard (again), or not any more.
void watch_connected(struct watch *watch, bool yes, int64_t mono_ms);
// To be called several times a second. A call that comes seconds late shows that the process was
// stopped: then the silence was ours.
void watch_tick(struct watch *watch, int64_t mono_ms, int64_t utc_ms);

#endif
