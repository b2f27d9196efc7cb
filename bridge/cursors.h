// Cursors: the consumers of the log. One worker thread with its own loop for each sink and one for
// `verify`; they share nothing but the log's files and bounded queues.
//
// `verify` is always there and is cursor 0: it decodes every batch in order, counts, keeps the last
// values and feeds the subscribers of `tail`. What is acknowledged as durable by the log has passed
// it. The others follow in the order of the configuration.
//
// The intake's loop owns this object: it calls everything here but what says "any thread". The
// callbacks run on the intake's loop. A worker's position in cursor/NAME.db moves only after the
// sink's success, in one transaction with the sink's saved state; moved() is told after the commit.
// No failure of one cursor holds up another.
#ifndef BRIDGE_CURSORS_H
#define BRIDGE_CURSORS_H

#include "bridge/sink/sink.h"
#include <runnel/err.h>
#include <runnel/loop.h>
#include <runnel/opt.h>
#include <runnel/queue.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSORS_MAX     16 // `verify` included
#define CURSOR_NAME_MAX 32 // [a-z0-9][a-z0-9_-]*

// What every sink has beside its own rows: option rows relative to sinks.<name>., the same section.
enum cursor_when_full { CURSOR_FULL_AUTO, CURSOR_FULL_SKIP, CURSOR_FULL_HOLD };
struct cursor_opts {
    int when_log_full;   // auto: hold for a sink that acknowledgement waits for, else skip
    int64_t gather_ms;   // waits so long for more batches before it writes
    int64_t max_batches; // of one write
    int64_t retry_min_ms, retry_max_ms; // full jitter between them
    int64_t hold_retry_ms;              // after 401, 403, 404
    char types[8];                      // of data that it takes: letters of "mlei"
};
extern const struct rn_opt cursor_opt_rows[];
extern const size_t cursor_opt_count;

struct cursor_conf {
    const char *name;
    const struct rn_sink *sink;
    const void *sink_conf; // sink->conf_size bytes
    const struct cursor_opts *opts;
    bool hold; // retention waits for it: the composition root resolves `auto`
};

struct cursors_conf {
    const char *folder; // holds log/, schemas.db, cursor/, dead.db
    uint64_t log_id;    // a cursor of another log starts again at its beginning
    uint64_t log_head;
    int64_t time_past_ms;       // points older than this are dead-lettered; default 365 days
    int64_t time_future_ms;     // points further ahead than this too; default 1 h
    int64_t schema_cache_bytes; // of each worker
    int64_t dead_max_bytes, dead_max_age_ms; // of dead.db
    uint32_t max_last_values;                // series kept by verify
    const struct cursor_conf *cursor;        // without verify; everything outlives the cursors
    uint32_t ncursors;
};

// A batch that does not decode: its bytes are in dead.db already.
struct cursor_refusal {
    char dev[RN_DEV_MAX + 1];
    uint64_t install, seq, position;
    enum rn_refusal reason;
    char text[160];
};

struct cursors_callbacks {
    void *arg;
    // Everything up to position is where it belongs and stays there.
    void (*moved)(void *arg, uint32_t cursor, uint64_t position);
    // By verify, before it moves past the batch. Refusals of the past are told again at the start
    // (the newest CURSORS_REFUSALS_KEPT), before the first moved() of verify.
    void (*refused)(void *arg, const struct cursor_refusal *refusal);
};
#define CURSORS_REFUSALS_KEPT 1024

struct cursors;
// Fails only for what the user must mend before anything can run (names, thread limits); a sink
// that does not open is retried by its worker and shows in its status.
RN_MUST_CHECK int cursors_new(struct cursors **out, const struct cursors_conf *conf,
                              struct rn_loop *intake, const struct cursors_callbacks *callbacks,
                              struct rn_err *err);
// Stops all workers within a second or so and frees everything; a write that is out is abandoned
// (and done again after the next start).
void cursors_free(struct cursors *cursors);

void cursors_wake(struct cursors *cursors, uint64_t head); // committed; any thread
// Tells what the cursors have said so far, without waiting for the loop's turn: a position that
// cursors_status showed before is told after the refusals that belong to it. The intake's thread.
void cursors_hear(struct cursors *cursors);
uint32_t cursors_count(const struct cursors *cursors); // with verify
const char *cursors_name(const struct cursors *cursors, uint32_t cursor);
// -1: there is none of that name.
int cursors_find(const struct cursors *cursors, const char *name);
// Last position that moved() told.
uint64_t cursors_position(const struct cursors *cursors, uint32_t cursor);
// The lowest position of the cursors that retention waits for: what log_retain() needs.
uint64_t cursors_needed(const struct cursors *cursors);

enum cursor_state { CURSOR_STARTING, CURSOR_OK, CURSOR_RETRYING, CURSOR_HELD, CURSOR_STOPPED };
struct cursor_status {
    enum cursor_state state;
    uint64_t position, head;
    uint64_t batches, samples, bytes; // completed, since the process started
    uint64_t writes, retries, rewinds;
    uint64_t dead;         // points dead-lettered
    uint64_t gap_rows;     // dropped by retention before they were read
    uint64_t errors_other; // log or disk trouble of the worker itself
    char text[192];        // why it is not CURSOR_OK; else ""
};
void cursors_status(struct cursors *cursors, uint32_t cursor,
                    struct cursor_status *out); // any thread

// ---- what verify knows
// ----------------------------------------------------------------------------- Of everything that
// is in the log or was, kept with its cursor: survives restarts.
struct cursors_totals {
    uint64_t batches, samples, bytes, refused;
};
void cursors_totals(struct cursors *cursors, struct cursors_totals *out); // any thread

// Text that another thread gets through its own queue. Freed with cursors_text_free.
struct cursors_text {
    void *token;   // of an answer to cursors_ask; NULL for tail
    uint64_t lost; // tail: batches that this subscriber was too slow for since the last text
    size_t len;
    char data[]; // terminated; whole lines of JSON
};
void cursors_text_free(void *text);

// Asks verify for what it knows of one device, as one JSON object: {"device":..,"batches":..,
// "samples":..,"bytes":..,"refused":..,"last":[{"measurement":..,"tags":{..},"time_ns":..,"fields":{..}},..]}.
// "": all devices, without "last", as an array. The answer arrives in `reply` as a cursors_text
// with the token. RN_EAGAIN when too many are waiting. Any thread; `reply` must outlive the
// cursors.
RN_MUST_CHECK int cursors_ask(struct cursors *cursors, const char *dev, struct rn_queue *reply,
                              void *token, struct rn_err *err);

// Live batches, decoded, as lines of JSON (rn_json_grid). types: letters of "mlei", "" for all;
// dev: "" for all. The subscriber owns the queue behind tail_queue() as its consumer; wake may be
// NULL. A slow subscriber loses batches and is told how many. Any thread.
struct tail;
RN_MUST_CHECK int tail_subscribe(struct cursors *cursors, const char *types, const char *dev,
                                 struct rn_wake *wake, struct tail **out, struct rn_err *err);
struct cursors_text *tail_next(struct tail *tail); // NULL: nothing now
void tail_unsubscribe(struct tail *tail);          // wake may be freed after it

// Dead letters of one sink that are marked for replay (deadletters.h) are picked up now. Any
// thread.
void cursors_replay(struct cursors *cursors);

#endif
