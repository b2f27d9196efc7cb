// A bounded, sorted set of 63-bit integers kept as disjoint, non-adjacent intervals [first, last].
// Used for what was received, what is durable and what was seen. Storage is the caller's and fixed:
// an insertion that would need one interval too many is refused (RN_ELIMIT), nothing is changed.
#ifndef RUNNEL_RANGES_H
#define RUNNEL_RANGES_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rn_range {
    uint64_t first, last; // both inside
};

struct rn_ranges {
    struct rn_range *item; // caller's array, sorted ascending
    uint32_t count, max;
};

void rn_ranges_init(struct rn_ranges *set, struct rn_range *storage, uint32_t max);
void rn_ranges_clear(struct rn_ranges *set);
RN_MUST_CHECK int rn_ranges_add(struct rn_ranges *set, uint64_t first, uint64_t last);
RN_MUST_CHECK int rn_ranges_remove(struct rn_ranges *set, uint64_t first, uint64_t last);
bool rn_ranges_has(const struct rn_ranges *set, uint64_t value);
// Forgets everything below `low` (intervals are cut).
void rn_ranges_forget_below(struct rn_ranges *set, uint64_t low);
// How many integers are in the set.
uint64_t rn_ranges_total(const struct rn_ranges *set);

#endif
