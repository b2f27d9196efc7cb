// What the HTTP interface sees of the bridge. All of it belongs to the intake's thread: it is used
// there only, inside a call (call.h). bridge.c, which knows its neighbours, fills it in.
#ifndef BRIDGE_VIEW_H
#define BRIDGE_VIEW_H

#include "bridge/counters.h"
#include "bridge/desired.h"
#include "bridge/fleet.h"
#include "bridge/log.h"
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct bridge;

struct bridge_view {
    const char *name;
    struct fleet *fleet;
    struct log *log;
    struct desired *desired;
    const struct counters *counters;
    bool connected; // the broker is there, both ways
    bool storing;   // the log takes batches
    int64_t started_ms;
};

void bridge_get_view(struct bridge *bridge, struct bridge_view *out);
// Publishes a device's newest desired configuration (retained). Harmless while there is no
// connection: the device gets it with its next birth.
RN_MUST_CHECK int bridge_offer_config(struct bridge *bridge, const char *dev, struct rn_err *err);

#endif
