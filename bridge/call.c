// See call.h.
#include "bridge/call.h"

#include <runnel/queue.h>
#include <stdlib.h>

struct call {
    bridge_call_fn *fn;
    void *arg;
};

struct calls {
    struct rn_queue *queue;
    struct rn_wake *wake;
    struct bridge *bridge;
};

static void run_all(void *arg)
{
    struct calls *calls = arg;
    struct call *call;
    while ((call = rn_queue_pop(calls->queue))) {
        call->fn(calls->bridge, call->arg);
        free(call);
    }
}

int calls_new(struct calls **out, struct rn_loop *loop, struct bridge *bridge, uint32_t max,
              struct rn_err *err)
{
    struct calls *calls = calloc(1, sizeof *calls);
    if (!calls)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    calls->bridge = bridge;
    int rc = rn_wake_new(&calls->wake, loop, run_all, calls, err);
    if (rc == RN_OK)
        rc = rn_queue_new(&calls->queue, max, max * sizeof(struct call), calls->wake, free, err);
    if (rc) {
        rn_wake_free(calls->wake);
        free(calls);
        return rc;
    }
    *out = calls;
    return RN_OK;
}

void calls_free(struct calls *calls)
{
    if (!calls)
        return;
    run_all(calls);
    rn_queue_free(calls->queue);
    rn_wake_free(calls->wake);
    free(calls);
}

int calls_push(struct calls *calls, bridge_call_fn *fn, void *arg)
{
    struct call *call = malloc(sizeof *call);
    if (!call)
        return RN_ENOMEM;
    *call = (struct call){fn, arg};
    if (rn_queue_push(calls->queue, call, sizeof *call))
        return RN_OK;
    free(call);
    return RN_EAGAIN;
}

uint64_t calls_refused(struct calls *calls)
{
    return rn_queue_refused(calls->queue);
}
