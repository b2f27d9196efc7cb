// Bounded hash map from a byte string to a pointer (open addressing, seeded FNV-1a so that
// a peer cannot choose colliding keys). Keys are copied; values are the caller's.
#ifndef RUNNEL_MAP_H
#define RUNNEL_MAP_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rn_map_slot;

struct rn_map {
    struct rn_map_slot *slot;
    uint32_t count, cap, max; // cap is a power of two; max entries
    uint64_t seed;
};

void rn_map_init(struct rn_map *map, uint32_t max, uint64_t seed);
void rn_map_release(struct rn_map *map);                        // does not touch the values
void *rn_map_get(const struct rn_map *map, struct rn_span key); // NULL if not there
// Adds or replaces. value must not be NULL. RN_ELIMIT at max entries, RN_ENOMEM.
RN_MUST_CHECK int rn_map_put(struct rn_map *map, struct rn_span key, void *value);
void *rn_map_take(struct rn_map *map, struct rn_span key); // removes; NULL if not there
// Visits in no particular order: *at starts at 0; false at the end. Do not change the map
// meanwhile.
bool rn_map_next(const struct rn_map *map, uint32_t *at, struct rn_span *key, void **value);

#endif
