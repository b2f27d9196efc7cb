// Synthetic devices: many agents in one process, each with its own buffer, uplink and connection,
// fed by a collector that makes its values from a seed.
#ifndef AGENT_SIMULATE_H
#define AGENT_SIMULATE_H

#include "agent/collect/collector.h"

// measurement sim: a random walk, a counter, a state, a text. Values depend on the seed and the
// number of the tick alone.
extern const struct rn_collector simulate_collector;

#endif
