// swap: the swap areas, from /proc/meminfo, and what went in and out, from /proc/vmstat.
#ifndef AGENT_COLLECT_SWAP_H
#define AGENT_COLLECT_SWAP_H

#include "agent/collect/collector.h"

extern const struct rn_collector collect_swap;

#endif
