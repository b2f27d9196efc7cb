// The agent's own measurement, runnel_agent: what it costs and how it fares.
#ifndef AGENT_SELF_H
#define AGENT_SELF_H

#include "agent/collect/collector.h"
#include <runnel/wire.h>
#include <stdint.h>

struct self_stats {
    uint64_t rows, bytes_written, bytes_sent, messages_sent, connects, connect_failures, resent,
        timeouts;
    uint64_t ticks_missed, values_refused, collect_errors;
    struct rn_ledger ledger;
};

// The collector's configuration: set by the agent that it reports on.
struct self_conf {
    void (*read)(void *arg, struct self_stats *out); // NULL: nothing is reported
    void *arg;
};

extern const struct rn_collector self_collector;

#endif
