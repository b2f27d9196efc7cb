// A sink writes decoded batches somewhere. It belongs to one worker loop; everything is called on
// that loop's thread. The cursor runner (bridge/cursor.h) gives it runs in log order and moves its
// cursor only after the sink has completed them. A sink does not decide about retries: the policy
// core does, from what the sink reports (bridge/sink/policy.h). When content was refused, the
// runner finds the points by writing parts of the runs again: cells that are not to be written are
// simply missing from the grid, so a sink needs to know nothing about it.
//
// A new sink is one file, one row in table.c, one test: docs/how-to/write-a-sink.md.
#ifndef BRIDGE_SINK_SINK_H
#define BRIDGE_SINK_SINK_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/loop.h>
#include <runnel/opt.h>
#include <runnel/schema.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One decoded batch. Immutable; owned by the cursor runner until the sink has completed it.
struct rn_run {
    const char *dev;
    uint64_t install, seq;
    char type;           // 'm', 'l', 'e', 'i'
    uint64_t position;   // in the log
    int64_t received_ms; // wall clock of the bridge at intake
    const struct rn_schema *schema;
    const struct rn_grid *grid; // NULL if the columns do not decode (only `verify` sees those)
    const char *error;          // why they do not; else NULL
    struct rn_span
        body; // the stored bytes, filled by the log reader: counted, and kept when refused
};

// A point of a run is all fields of one series at one tick. Points are numbered tick by tick, in a
// tick in the order of the schema's groups and series, whether they hold values or not.
struct sink_point_at {
    const struct rn_run *run;
    uint32_t index; // number of the point
    uint32_t tick, group, series;
    uint32_t column, nfields; // its cells: nfields columns from this one on
};
// Walks the points that hold values: begin with {.run = run} and call next until it returns false.
struct sink_walk {
    struct sink_point_at at;
    bool begun;
};
bool sink_walk_next(struct sink_walk *walk);
uint32_t sink_points(const struct rn_run *run); // number of all points, empty ones too
// Time of a tick in ns since 1970; false if it does not fit into 64 bits.
bool sink_time_ns(const struct rn_run *run, uint32_t tick, int64_t *ns);

enum sink_outcome {
    SINK_DONE,      // all of it is where it belongs
    SINK_RETRY,     // not now: overload, connection, 5xx; retry_after_ms if the other side said so
    SINK_HOLD,      // will not work until somebody mends it: 401, 403, 404: retry slowly, say so
    SINK_TOO_LARGE, // 413: send less at once
    SINK_POISON,    // refused for its content; see `bad`, `suspect`, `dropped`
};

// Names one point of the runs that were given to write().
struct sink_point {
    uint32_t run;   // index
    uint32_t point; // within the run
};

#define SINK_RESULT_POINTS 64
struct sink_result {
    enum sink_outcome outcome;
    int64_t retry_after_ms; // 0: not said
    const char *text;       // for the log and for dead letters: what the other side said, one line
    // For SINK_POISON only. Points that the other side named without doubt; the runner dead-letters
    // them and writes the others again.
    const struct sink_point *bad;
    uint32_t nbad; // at most SINK_RESULT_POINTS
    // How many points the other side says it dropped; 0: not said. If it is all that were written,
    // nothing needs to be searched for.
    uint64_t dropped;
    // Decides which points are worth a look first (a measurement that was named); NULL: unknown.
    // Called during complete() only.
    bool (*suspect)(void *state, const struct sink_point_at *at);
    // The other side may have lost what it took since the last completed flush (it restarted): the
    // runner goes back to the cursor and writes again.
    bool rewind;
};

// How sure a completed run is.
enum sink_promise {
    SINK_IDEMPOTENT,    // writing again changes nothing: exactly once
    SINK_TRANSACTIONAL, // what is not covered by the saved state is undone at open: exactly once
    SINK_AT_LEAST_ONCE, // carries (dev, install, seq, index) as a key
};

// The runner's side, given at open.
struct sink_host {
    void *arg;
    // Ends the one write or flush that is out. May be called from within write() or flush().
    void (*complete)(void *arg, const struct sink_result *result);
    const char *name;     // of this sink in the configuration
    struct rn_span saved; // what save() said last: committed after the first open and each flush
};

struct rn_sink {
    const char *type; // "influx", "file", "null"
    const char *help;
    size_t state_size; // bytes of private state, zeroed before open
    size_t conf_size;
    const struct rn_opt *opts; // keys relative to sinks.<name>.
    size_t nopts;
    enum sink_promise promise;
    bool database; // acknowledgement may wait for it: the first such sink of a route
    // Checks the configuration as a whole when the program starts; may be NULL. The words of an
    // error begin with the key: "url: ...".
    int (*check)(const void *conf, struct rn_err *err);
    // Called again with backoff after an error. host and what it points to outlive the sink.
    int (*open)(void *state, const void *conf, struct rn_loop *loop, const struct sink_host *host,
                struct rn_err *err);
    // Takes n runs (borrowed until completion) and completes once, now or later. Only one write or
    // flush is out at a time.
    void (*write)(void *state, const struct rn_run *const *runs, uint32_t n);
    // Makes everything written so far durable; completes once with DONE, RETRY or HOLD. NULL: a
    // completed write is durable.
    void (*flush)(void *state);
    // How long after its write data must rest before flush() can speak for it; NULL: 0.
    int64_t (*settle_ms)(const void *state);
    // Appends at most SINK_SAVED_MAX bytes that are committed with the cursor after a flush; NULL:
    // nothing to save.
    void (*save)(void *state, struct rn_buf *out);
    void (*tick)(void *state, int64_t mono_ms); // about once a second; may be NULL
    // Ends everything at once: no complete() after it. Accepts a half-opened state.
    void (*close)(void *state);
};
#define SINK_SAVED_MAX 4096

// All sinks that a configuration may name; bridge/sink/table.c.
extern const struct rn_sink *const sink_table[];
extern const size_t sink_table_count;
const struct rn_sink *sink_find(const char *type); // NULL: there is none

#endif
