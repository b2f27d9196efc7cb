// The durable log: batches as they came, in a sequence of SQLite files (log/<first position>.db) of
// at most segment_bytes, appended by the intake alone and dropped whole by retention. A position
// numbers the rows of the whole log, from 1, without gaps, for ever.
//
// Writer: the intake's thread. Readers: any thread, each with a log_reader of its own; they open
// the files themselves and hold a read transaction only while one chunk is copied out.
#ifndef BRIDGE_LOG_H
#define BRIDGE_LOG_H

#include "bridge/sink/sink.h"
#include <runnel/err.h>
#include <runnel/schema.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

struct log_conf {
    const char *folder;    // holds log/
    int64_t segment_bytes; // default 256 MB
    int64_t cursor_bytes;  // space that is kept for cursors that have not read it yet
    int64_t history_bytes; // best-effort history for queries; the oldest sealed segments go first
    int64_t max_age_ms;    // of history; 0: no limit
};

struct log_row {
    const char *dev;
    uint64_t install, seq;
    char type; // 'm', 'l', 'e', 'i'
    int64_t received_ms;
    int64_t schema, hints, base; // numbers from log_put_object; 0: none
    uint32_t crc;                // CRC-32C of body
    struct rn_span body;
};

struct log;
RN_MUST_CHECK int log_open(struct log **out, const struct log_conf *conf, struct rn_err *err);
void log_close(struct log *log);
uint64_t log_id(const struct log *log);   // 63 random bits made with the folder
uint64_t log_head(const struct log *log); // highest committed position; 0: empty
uint64_t log_tail(const struct log *log); // lowest position still there
// Rows name what they are decoded with by a number, which holds as long as log_numbers stays the
// same: until a rollback, a commit that fails or a new segment. find: RN_ENOENT if the object has
// to be put first. Objects are committed with the rows.
RN_MUST_CHECK int log_find_object(struct log *log, const uint8_t hash[RN_HASH_BYTES],
                                  int64_t *number, struct rn_err *err);
RN_MUST_CHECK int log_put_object(struct log *log, const uint8_t hash[RN_HASH_BYTES],
                                 struct rn_span body, int64_t *number, struct rn_err *err);
uint64_t log_numbers(const struct log *log); // never 0
// append any number, then commit: one transaction. Positions are given out by append. An error may
// have undone what was appended before it: everything up to the commit, which included, then fails.
RN_MUST_CHECK int log_append(struct log *log, const struct log_row *row, uint64_t *position,
                             struct rn_err *err);
RN_MUST_CHECK int log_commit(struct log *log, struct rn_err *err);
void log_rollback(struct log *log);
// Drops sealed segments that retention allows: up to `needed` (the slowest holding cursor's
// position) within the history budget. Returns how many rows were dropped, negative on error.
RN_MUST_CHECK int64_t log_retain(struct log *log, uint64_t needed, int64_t utc_ms,
                                 struct rn_err *err);
int64_t log_bytes(const struct log *log);
// True while the cursors' space is used up: log_append gives RN_ENOSPC until log_retain has dropped
// something or the cursors have moved.
bool log_full(const struct log *log);
// A damaged segment that log_open put aside (its new name), or "". If it was the newest, the log has
// a new identity, so that agents send again what was not durable. If it was the newest sealed one,
// they do so from time to time; what is known of its batches is gone with it.
const char *log_quarantined(const struct log *log);

// What has to be known about stored batches when the log is opened again is saved with each segment
// that is sealed: `save` is called then and calls `put` for each device. NULL: nothing is saved.
struct log_saver {
    void *arg;
    int (*save)(void *arg,
                int (*put)(void *to, const char *dev, struct rn_span state, struct rn_err *err),
                void *to, struct rn_err *err);
};
void log_on_seal(struct log *log, const struct log_saver *saver);
// Row without its body.
struct log_head_row {
    uint64_t position, install, seq;
    const char *dev; // borrowed for the call
    char type;
    uint32_t crc;
    uint32_t bytes; // of the body
};
// Called once after log_open: the state saved last, then the rows after it. A visitor's negative
// result ends the replay with it.
RN_MUST_CHECK int log_replay(struct log *log, void *arg,
                             int (*saved)(void *arg, const char *dev, struct rn_span state),
                             int (*row)(void *arg, const struct log_head_row *row),
                             struct rn_err *err);
// Rows with after < position <= upto, in order, at most max. Returns how many; the last one's
// position is where to go on. 0: there are none (any more).
RN_MUST_CHECK int log_heads(struct log *log, uint64_t after, uint64_t upto, uint32_t max, void *arg,
                            void (*row)(void *arg, const struct log_head_row *row),
                            struct rn_err *err);

// ---- reading ----------------------------------------------------------------------------------
// A decoded batch on the heap; owns everything that run points to (the schema is shared and counted
// inside the reader: free runs before the reader).
struct log_run {
    struct rn_run run;
    const char *error; // not NULL: it does not decode, run.grid is NULL; run.schema too, if the
                       // schema, hints or base cannot be read or do not fit each other
    uint32_t crc;
};

struct log_reader;
RN_MUST_CHECK int log_reader_open(struct log_reader **out, const char *folder,
                                  int64_t schema_cache_bytes, struct rn_err *err);
void log_reader_close(struct log_reader *reader);
// Reads up to max decoded batches after position `after`, in order, at most about max_bytes of
// bodies. Returns how many (0: at the head), negative on error. If rows after `after` have been
// dropped by retention, reading goes on at the tail: the gap shows in the positions.
RN_MUST_CHECK int log_read(struct log_reader *reader, uint64_t after, uint32_t max,
                           size_t max_bytes, struct log_run **runs, struct rn_err *err);
// The same for one device and a range of tick times (query API): visits at most max batches whose
// received time is within [from_ms - slack, to_ms + slack].
RN_MUST_CHECK int log_read_device(struct log_reader *reader, const char *dev, int64_t from_ms,
                                  int64_t to_ms, uint64_t after, uint32_t max,
                                  struct log_run **runs, struct rn_err *err);
void log_run_free(struct log_run *run);

#endif
