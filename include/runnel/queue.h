// Bounded queue that hands over ownership of pointers between threads. Many producers, one
// consumer; the consumer's loop is woken once per burst. Bounded in items and in bytes.
#ifndef RUNNEL_QUEUE_H
#define RUNNEL_QUEUE_H

#include <runnel/err.h>
#include <runnel/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rn_queue;

// free_item frees what is still inside at rn_queue_free. wake may be NULL (polled).
RN_MUST_CHECK int rn_queue_new(struct rn_queue **out, size_t max_items, size_t max_bytes,
                               struct rn_wake *wake, void (*free_item)(void *item),
                               struct rn_err *err);
void rn_queue_free(struct rn_queue *queue);
// Any thread. False when full: the item stays the caller's and the refusal is counted.
bool rn_queue_push(struct rn_queue *queue, void *item, size_t bytes);
void *rn_queue_pop(struct rn_queue *queue); // consumer's thread; NULL when empty
size_t rn_queue_count(struct rn_queue *queue);
uint64_t rn_queue_refused(struct rn_queue *queue);

#endif
