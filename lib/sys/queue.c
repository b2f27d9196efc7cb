// See runnel/queue.h. A ring behind a mutex, held for a few instructions only.
#include <runnel/queue.h>
#include <runnel/ring.h>

#include <pthread.h>
#include <stdlib.h>

struct entry {
    void *item;
    size_t bytes;
};

struct rn_queue {
    pthread_mutex_t lock; // guards what follows up to refused
    struct rn_ring ring;
    size_t bytes;
    uint64_t refused;
    size_t max_bytes;
    struct rn_wake *wake;
    void (*free_item)(void *item);
};

int rn_queue_new(struct rn_queue **out, size_t max_items, size_t max_bytes, struct rn_wake *wake,
                 void (*free_item)(void *item), struct rn_err *err)
{
    struct rn_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return rn_fail(err, RN_ENOMEM, "no memory for a queue");
    int rc = rn_ring_init(&queue->ring, sizeof(struct entry), max_items);
    if (rc < 0) {
        free(queue);
        return rn_fail(err, rc, "no queue of %zu items", max_items);
    }
    pthread_mutex_init(&queue->lock, NULL);
    queue->max_bytes = max_bytes;
    queue->wake = wake;
    queue->free_item = free_item;
    *out = queue;
    return RN_OK;
}

void rn_queue_free(struct rn_queue *queue)
{
    if (!queue)
        return;
    for (void *item = rn_queue_pop(queue); item; item = rn_queue_pop(queue))
        if (queue->free_item)
            queue->free_item(item);
    rn_ring_release(&queue->ring);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

bool rn_queue_push(struct rn_queue *queue, void *item, size_t bytes)
{
    struct entry entry = {item, bytes};
    pthread_mutex_lock(&queue->lock);
    bool taken = bytes <= queue->max_bytes - queue->bytes && rn_ring_push(&queue->ring, &entry);
    if (taken)
        queue->bytes += bytes;
    else
        queue->refused++;
    pthread_mutex_unlock(&queue->lock);
    // Always, not only for the first one: sends coalesce, and a consumer may leave some inside.
    if (taken && queue->wake)
        rn_wake_send(queue->wake);
    return taken;
}

void *rn_queue_pop(struct rn_queue *queue)
{
    struct entry entry = {0};
    pthread_mutex_lock(&queue->lock);
    if (rn_ring_pop(&queue->ring, &entry))
        queue->bytes -= entry.bytes;
    pthread_mutex_unlock(&queue->lock);
    return entry.item;
}

size_t rn_queue_count(struct rn_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->ring.count;
    pthread_mutex_unlock(&queue->lock);
    return count;
}

uint64_t rn_queue_refused(struct rn_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    uint64_t refused = queue->refused;
    pthread_mutex_unlock(&queue->lock);
    return refused;
}
