// See runnel/map.h. Linear probing; removal shifts the followers back, so there are no tombstones
// and a lookup never gets slower with age.
#include <runnel/map.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 16 };

struct rn_map_slot {
    uint8_t *key; // NULL if the slot is empty; at least one byte is allocated
    size_t key_len;
    uint64_t hash;
    void *value;
};

void rn_map_init(struct rn_map *map, uint32_t max, uint64_t seed)
{
    *map = (struct rn_map){.max = max, .seed = seed};
}

void rn_map_release(struct rn_map *map)
{
    for (uint32_t i = 0; i < map->cap; i++)
        free(map->slot[i].key);
    free(map->slot);
    rn_map_init(map, map->max, map->seed);
}

static uint64_t hash_of(uint64_t seed, struct rn_span key)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ key.data[i]) * 0x100000001b3u;
    // FNV leaves the low bits weak; the mask takes just those.
    hash = (hash ^ (hash >> 32) ^ seed) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

// The slot that holds the key, or the empty one where it would go. There is always an empty one.
static uint32_t probe(const struct rn_map *map, uint64_t hash, struct rn_span key)
{
    uint32_t mask = map->cap - 1;
    uint32_t at = (uint32_t)hash & mask;
    for (;; at = (at + 1) & mask) {
        const struct rn_map_slot *slot = &map->slot[at];
        if (!slot->key)
            return at;
        if (slot->hash == hash && rn_span_eq((struct rn_span){slot->key, slot->key_len}, key))
            return at;
    }
}

void *rn_map_get(const struct rn_map *map, struct rn_span key)
{
    if (map->count == 0)
        return NULL;
    const struct rn_map_slot *slot = &map->slot[probe(map, hash_of(map->seed, key), key)];
    return slot->key ? slot->value : NULL;
}

static int grow(struct rn_map *map)
{
    struct rn_map bigger = *map;
    if (map->cap > UINT32_MAX / 2)
        return RN_ELIMIT;
    bigger.cap = map->cap ? map->cap * 2 : FIRST_CAP;
    bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
    if (!bigger.slot)
        return RN_ENOMEM;
    for (uint32_t i = 0; i < map->cap; i++) {
        const struct rn_map_slot *old = &map->slot[i];
        if (old->key)
            bigger.slot[probe(&bigger, old->hash, (struct rn_span){old->key, old->key_len})] = *old;
    }
    free(map->slot);
    *map = bigger;
    return RN_OK;
}

int rn_map_put(struct rn_map *map, struct rn_span key, void *value)
{
    assert(value);
    uint64_t hash = hash_of(map->seed, key);
    if (map->count) {
        struct rn_map_slot *there = &map->slot[probe(map, hash, key)];
        if (there->key) {
            there->value = value;
            return RN_OK;
        }
    }
    if (map->count >= map->max)
        return RN_ELIMIT;
    if (map->count >= map->cap - map->cap / 4) { // also when there is no slot at all
        int rc = grow(map);
        if (rc < 0)
            return rc;
    }
    uint8_t *copy = malloc(key.len ? key.len : 1);
    if (!copy)
        return RN_ENOMEM;
    if (key.len)
        memcpy(copy, key.data, key.len);
    map->slot[probe(map, hash, key)] = (struct rn_map_slot){copy, key.len, hash, value};
    map->count++;
    return RN_OK;
}

// Closes the gap at `hole`: a later entry of the run moves up if its home is not after the hole.
static void close_gap(struct rn_map *map, uint32_t hole)
{
    uint32_t mask = map->cap - 1;
    for (uint32_t at = (hole + 1) & mask; map->slot[at].key; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)map->slot[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        map->slot[hole] = map->slot[at];
        hole = at;
    }
    map->slot[hole] = (struct rn_map_slot){0};
}

void *rn_map_take(struct rn_map *map, struct rn_span key)
{
    if (map->count == 0)
        return NULL;
    uint32_t at = probe(map, hash_of(map->seed, key), key);
    if (!map->slot[at].key)
        return NULL;
    void *value = map->slot[at].value;
    free(map->slot[at].key);
    close_gap(map, at);
    map->count--;
    return value;
}

bool rn_map_next(const struct rn_map *map, uint32_t *at, struct rn_span *key, void **value)
{
    while (*at < map->cap && !map->slot[*at].key)
        ++*at;
    if (*at >= map->cap)
        return false;
    const struct rn_map_slot *slot = &map->slot[(*at)++];
    *key = (struct rn_span){slot->key, slot->key_len};
    *value = slot->value;
    return true;
}
