// Pace: the times that follow from the settings together. Pure.
#ifndef AGENT_PACE_H
#define AGENT_PACE_H

#include "agent/config.h"
#include "agent/uplink.h"

// How long the bridge may take to answer a batch.
int64_t pace_ack_by(const struct agent_settings *settings);
// Without the machine's fingerprint and the seed.
struct uplink_conf pace_uplink(const struct agent_settings *settings);

#endif
