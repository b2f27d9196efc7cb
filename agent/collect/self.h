// The agent's own measurement, runnel_agent: what it costs and how it fares.
#ifndef AGENT_COLLECT_SELF_H
#define AGENT_COLLECT_SELF_H

#include "agent/collect/collector.h"
#include <stdint.h>

struct self_stats {
    uint64_t rows, bytes_written, bytes_sent, messages_sent, connects, connect_failures, resent,
        timeouts;
    uint64_t ticks_missed, values_refused, collect_errors, batches_early, changes_held;
    // The ledger: where every sample went.
    uint64_t produced, pending, delivered, evicted, thinned, refused, lost;
};

// The collector's configuration: set by the agent that it reports on.
struct self_conf {
    void (*read)(void *arg, struct self_stats *out); // NULL: nothing is reported
    void *arg;
};

extern const struct rn_collector self_collector;

#endif
