// Bounded FIFO of fixed-size elements in one allocation. Not thread-safe (see queue.h).
#ifndef RUNNEL_RING_H
#define RUNNEL_RING_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rn_ring {
    uint8_t *data;
    size_t element, cap, head, count;
};

RN_MUST_CHECK int rn_ring_init(struct rn_ring *ring, size_t element_bytes, size_t cap);
void rn_ring_release(struct rn_ring *ring);
bool rn_ring_push(struct rn_ring *ring, const void *element); // false when full
bool rn_ring_pop(struct rn_ring *ring, void *element);        // false when empty
void *rn_ring_at(struct rn_ring *ring, size_t index);         // 0 is the oldest; NULL beyond

#endif
