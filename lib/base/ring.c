// See runnel/ring.h.
#include <runnel/ring.h>

#include <stdlib.h>
#include <string.h>

int rn_ring_init(struct rn_ring *ring, size_t element_bytes, size_t cap)
{
    *ring = (struct rn_ring){.element = element_bytes};
    if (element_bytes == 0 || cap == 0 || cap > SIZE_MAX / element_bytes)
        return RN_EINVAL;
    ring->data = calloc(cap, element_bytes);
    if (!ring->data)
        return RN_ENOMEM;
    ring->cap = cap;
    return RN_OK;
}

void rn_ring_release(struct rn_ring *ring)
{
    free(ring->data);
    *ring = (struct rn_ring){.element = ring->element};
}

static uint8_t *slot(struct rn_ring *ring, size_t index)
{
    size_t to_end = ring->cap - ring->head;
    size_t at = index < to_end ? ring->head + index : index - to_end;
    return ring->data + at * ring->element;
}

bool rn_ring_push(struct rn_ring *ring, const void *element)
{
    if (ring->count == ring->cap)
        return false;
    memcpy(slot(ring, ring->count), element, ring->element);
    ring->count++;
    return true;
}

bool rn_ring_pop(struct rn_ring *ring, void *element)
{
    if (ring->count == 0)
        return false;
    memcpy(element, slot(ring, 0), ring->element);
    ring->head = ring->head + 1 == ring->cap ? 0 : ring->head + 1;
    ring->count--;
    return true;
}

void *rn_ring_at(struct rn_ring *ring, size_t index)
{
    return index < ring->count ? slot(ring, index) : NULL;
}
