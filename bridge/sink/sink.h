// A sink writes decoded batches somewhere. It belongs to one worker loop; everything is called on
// that loop's thread. The cursor runner gives it runs in log order and moves its cursor only after
// the sink has completed them. A sink does not decide about retries: its policy core does, from
// what the sink reports (bridge/sink/policy.h).
#ifndef BRIDGE_SINK_SINK_H
#define BRIDGE_SINK_SINK_H

#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/loop.h>
#include <runnel/opt.h>
#include <runnel/schema.h>
#include <stddef.h>
#include <stdint.h>

// One decoded batch. Immutable; owned by the cursor runner until the sink has completed it.
struct rn_run {
    const char *dev;
    uint64_t install, seq;
    char type;            // 'm', 'l', 'e', 'i'
    uint64_t position;    // in the log
    int64_t received_ms;  // wall clock of the bridge at intake
    const struct rn_schema *schema;
    const struct rn_grid *grid;
};

enum sink_outcome {
    SINK_DONE,        // all of it is where it belongs
    SINK_RETRY,       // not now: overload, connection, 5xx; retry_after_ms if the other side said so
    SINK_HOLD,        // will not work until somebody mends it: 401, 403, 404: retry slowly, say so
    SINK_TOO_LARGE,   // 413: send less at once
    SINK_POISON,      // refused for its content: runs or points named in `bad`, or unknown (bisect)
};

// What a dead letter needs: one point that the sink could not place, as line protocol.
struct sink_dead {
    const char *dev;
    uint64_t install, seq;
    struct rn_span line;
    const char *reason;
};

struct sink_result {
    enum sink_outcome outcome;
    int64_t retry_after_ms;    // 0: not said
    const char *text;          // for the log: status and the server's words, one line
};

// How sure a completed run is.
enum sink_promise { SINK_IDEMPOTENT, SINK_TRANSACTIONAL, SINK_AT_LEAST_ONCE };

// The runner's side: the sink calls these on its loop.
struct sink_host {
    void *arg;
    void (*complete)(void *arg, const struct sink_result *result); // ends the write or flush
    void (*dead_letter)(void *arg, const struct sink_dead *dead);  // stored before complete(DONE)
};

struct rn_sink {
    const char *type; // "influx", "file", "null"
    const char *help;
    size_t state_size; // bytes of private state, zeroed before open
    size_t conf_size;
    const struct rn_opt *opts; // keys relative to sinks.<name>.
    size_t nopts;
    enum sink_promise promise;
    int (*open)(void *state, const void *conf, struct rn_loop *loop, const struct sink_host *host,
                struct rn_err *err);
    // Takes n runs (borrowed until completion) and completes once, now or later. Only one write is
    // out at a time.
    void (*write)(void *state, const struct rn_run *const *runs, uint32_t n);
    // Makes everything written so far durable; completes once. NULL: a completed write is durable.
    void (*flush)(void *state);
    void (*tick)(void *state, int64_t mono_ms); // about once a second; may be NULL
    void (*close)(void *state);                 // accepts a half-opened state
};

extern const struct rn_sink *const sink_table[];
extern const size_t sink_table_count;

#endif
