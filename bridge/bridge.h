// The bridge as a whole: makes the parts, connects them, runs them on the intake's loop. The only
// file that knows all of them; it decides nothing.
//
// What others may ask: other threads put a closure into the intake's queue with bridge_call and use
// the accessors inside it; an accessor is for the intake's thread only unless it says "any thread".
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include "bridge/call.h"
#include "bridge/config.h"
#include "bridge/counters.h"
#include "bridge/cursors.h"
#include "bridge/fleet.h"
#include "bridge/intake.h"
#include "bridge/log.h"
#include <runnel/err.h>
#include <runnel/mqtt.h>

// Opens everything in config->settings.data; config outlives the bridge.
RN_MUST_CHECK int bridge_new(struct bridge **out, const struct config *config, struct rn_err *err);
// Connects and runs until SIGTERM or SIGINT; then stops within 2 s.
void bridge_run(struct bridge *bridge);
void bridge_free(struct bridge *bridge);

// Any thread: runs fn(bridge, arg) on the intake's thread, in order. RN_EAGAIN: too many waiting.
RN_MUST_CHECK int bridge_call(struct bridge *bridge, bridge_call_fn *fn, void *arg);

// ---- for closures on the intake's thread -------------------------------------------------------
const struct config *bridge_config(const struct bridge *bridge); // any thread
struct cursors *bridge_cursors(struct bridge *bridge);           // any thread
struct fleet *bridge_fleet(struct bridge *bridge);
struct counters bridge_counters(const struct bridge *bridge); // a copy

struct bridge_state {
    bool in_connected, out_connected; // the receiving and the publishing MQTT client
    bool fleet_blind;
    bool ready; // connected, and every cursor has told its position
    bool full;  // the log has no room
    uint64_t log_id, log_head, log_tail;
    int64_t log_bytes;
    uint64_t acked;     // position up to which acknowledgement has been told
    int64_t started_ms; // wall clock
    uint64_t refused_devices;
    struct rn_mqtt_stats in, out;
};
void bridge_state(const struct bridge *bridge, struct bridge_state *out);

// The device's rows in a form for people are read by whoever needs them from fleet.h.
void bridge_retire(struct bridge *bridge, struct fleet_device *dev, bool retired);

// The owner of the desired configurations hooks in before bridge_run.
void bridge_set_hooks(struct bridge *bridge, const struct intake_hooks *hooks);
// Publishes a device's configuration, retained, QoS 1. RN_EAGAIN, RN_ESTATE: not now; the next
// birth brings it.
RN_MUST_CHECK int bridge_publish_config(struct bridge *bridge, const char *dev,
                                        struct rn_span message);

#endif
