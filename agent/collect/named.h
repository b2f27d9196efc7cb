// Named counters of /proc/stat and /proc/vmstat: lines "name value ...". Pure.
#ifndef AGENT_COLLECT_NAMED_H
#define AGENT_COLLECT_NAMED_H

#include <runnel/buf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct named_counter {
    const char *name;
    uint64_t value; // as found; 0 otherwise
    bool found;
};

// Fills in the counters whose lines are in the text: the first number after the name.
void named_counters(struct rn_span text, struct named_counter *counters, size_t count);

#endif
