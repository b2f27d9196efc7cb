// The bridge as a whole: makes the parts, connects them, runs them on the intake's loop. bridge.c
// is the only file that knows all of them; it decides nothing. What other threads may ask: call.h,
// and view.h inside a call.
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include "bridge/config.h"
#include <runnel/err.h>

struct bridge;
// Opens everything in config->settings.data; config outlives the bridge.
RN_MUST_CHECK int bridge_new(struct bridge **out, const struct config *config, struct rn_err *err);
// Connects and runs until SIGTERM or SIGINT; then stops within 2 s.
void bridge_run(struct bridge *bridge);
void bridge_free(struct bridge *bridge);

#endif
