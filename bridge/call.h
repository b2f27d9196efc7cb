// How other threads ask the intake's thread: a bounded queue of closures that are run there, in
// order. The asker says in its closure where the answer goes (a queue of its own).
#ifndef BRIDGE_CALL_H
#define BRIDGE_CALL_H

#include <runnel/err.h>
#include <runnel/loop.h>
#include <stdint.h>

struct bridge;
typedef void bridge_call_fn(struct bridge *bridge, void *arg);

struct calls;
RN_MUST_CHECK int calls_new(struct calls **out, struct rn_loop *loop, struct bridge *bridge,
                            uint32_t max, struct rn_err *err);
// Runs what is left, then frees: no thread may push any more.
void calls_free(struct calls *calls);
// Any thread. RN_EAGAIN when too many are waiting: fn is not run then.
RN_MUST_CHECK int calls_push(struct calls *calls, bridge_call_fn *fn, void *arg);
uint64_t calls_refused(struct calls *calls);

#endif
