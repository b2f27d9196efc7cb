// Pace: the times that follow from the settings together. Pure.
#ifndef AGENT_PACE_H
#define AGENT_PACE_H

#include "agent/config.h"
#include "agent/uplink.h"

#define PACE_AT_ONCE_MS 1 // an ack_by that lets nothing wait

enum pace_profile { PACE_LIVE, PACE_ECONOMY, PACE_REALTIME };

// How much time one batch covers: what batch.interval says, else the profile's, a multiple of the
// step.
int64_t pace_interval(const struct agent_settings *settings);
// Longest silence on the connection. Batches that come at least every 240 s suppress the pings.
int64_t pace_keepalive(const struct agent_settings *settings);
// How long the bridge may take to answer a batch. Never longer than what the window has room for.
int64_t pace_ack_by(const struct agent_settings *settings);
// Without the machine's fingerprint and the seed. hurry: answers are wanted at once.
struct uplink_conf pace_uplink(const struct agent_settings *settings, bool hurry);

#endif
