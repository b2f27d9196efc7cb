// Sink `null`: takes everything and keeps nothing. For tests, for measuring, and for a type of data
// that nobody wants.
#include "bridge/sink/sink.h"

struct null {
    const struct sink_host *host;
};

static int null_open(void *state, const void *conf, struct rn_loop *loop,
                     const struct sink_host *host, struct rn_err *err)
{
    (void)conf;
    (void)loop;
    (void)err;
    ((struct null *)state)->host = host;
    return RN_OK;
}

static void null_write(void *state, const struct rn_run *const *runs, uint32_t n)
{
    (void)runs;
    (void)n;
    const struct sink_host *host = ((struct null *)state)->host;
    host->complete(host->arg, &(struct sink_result){.outcome = SINK_DONE});
}

static void null_close(void *state)
{
    (void)state;
}

extern const struct rn_sink sink_null;
const struct rn_sink sink_null = {
    .type = "null",
    .help = "takes everything and keeps nothing",
    .state_size = sizeof(struct null),
    .promise = SINK_IDEMPOTENT,
    .open = null_open,
    .write = null_write,
    .close = null_close,
};
