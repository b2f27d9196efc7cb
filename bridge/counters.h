// The bridge's counters: one row a counter in counters.def, one field in the struct. Owned by the
// intake's thread; others get a copy (bridge.h).
#ifndef BRIDGE_COUNTERS_H
#define BRIDGE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct counters {
#define RN_COUNTER(field, name, help) uint64_t field;
#include "bridge/counters.def"
#undef RN_COUNTER
};

struct counter_row {
    const char *name, *help;
    size_t offset; // of the uint64_t in struct counters
};
extern const struct counter_row counter_rows[];
extern const size_t counter_count;

#endif
