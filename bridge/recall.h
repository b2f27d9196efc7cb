// What is known of stored batches outlives the bridge in the log itself: it is saved with each
// segment that is sealed, and rebuilt from there and from the rows that came after. Intake's
// thread.
#ifndef BRIDGE_RECALL_H
#define BRIDGE_RECALL_H

#include "bridge/fleet.h"
#include "bridge/log.h"

// Rebuilds it and has it saved from now on; call once, before the first message. Both outlive it.
RN_MUST_CHECK int recall(struct fleet *fleet, struct log *log, struct rn_err *err);

#endif
