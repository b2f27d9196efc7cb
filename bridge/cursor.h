// One cursor: a worker thread with its own loop that reads the log, gives runs to a sink, and moves
// its position in cursor/NAME.db once the sink has them. Internal to cursors.c, which starts and
// stops the workers; what other threads see of a worker are the atomics of struct cursor_shared.
//
// The way of the data: read a chunk of the log -> groups of at most POLICY_MAX_POINTS points ->
// the policy says which points to write -> sink -> flush -> commit. A chunk is decoded once; a
// group that is written in parts is given to the sink as copies with the other cells missing.
#ifndef BRIDGE_CURSOR_H
#define BRIDGE_CURSOR_H

#include "bridge/cursors.h"
#include "bridge/deadletters.h"
#include <runnel/db.h>
#include <stdatomic.h>

#define CURSOR_TEXT_WORDS 24

// Written by the worker, read by anyone. The text is guarded by a sequence number that is odd while
// it changes.
struct cursor_shared {
    _Atomic uint64_t position; // committed
    _Atomic int state;
    _Atomic uint64_t batches, samples, bytes, writes, retries, rewinds, dead, gap_rows, errors;
    _Atomic uint32_t text_seq;
    _Atomic uint64_t text[CURSOR_TEXT_WORDS];
};
void cursor_shared_text(struct cursor_shared *shared, const char *text);
void cursor_shared_read_text(struct cursor_shared *shared, char out[CURSOR_TEXT_WORDS * 8]);

// What `verify` needs beside a sink's interface: it sees every batch, also those that do not
// decode, and keeps tables of its own in the cursor's file. Called on the worker's thread but for
// prepare.
struct cursor_hooks {
    void *arg;
    int (*prepare)(void *arg, struct rn_loop *loop, struct rn_err *err); // before the thread is
    int (*opened)(void *arg, struct rn_db *db, struct rn_err *err);
    int (*commit)(void *arg, struct rn_db *db, struct rn_err *err); // within the transaction
    void (*committed)(void *arg);
    void (*closing)(
        void *arg); // before the file is closed; again, and on another thread, at the end
};

struct cursor_env {
    const struct cursors_conf *conf;
    _Atomic uint64_t *head;
    struct rn_wake *moved; // of the intake's loop
};

struct cursor;
// hooks: NULL for a sink. conf and env outlive it.
RN_MUST_CHECK int cursor_new(struct cursor **out, const struct cursor_conf *conf,
                             const struct cursor_env *env, const struct cursor_hooks *hooks,
                             struct rn_err *err);
RN_MUST_CHECK int cursor_start(struct cursor *cursor, struct rn_err *err); // its thread
void cursor_wake(struct cursor *cursor);   // there is more to read; any thread
void cursor_replay(struct cursor *cursor); // there are letters to replay; any thread
void cursor_stop(struct cursor *cursor);   // asks it to end; any thread
void cursor_join(struct cursor *cursor);   // waits for the end of its thread, if it has one
void cursor_free(struct cursor *cursor);   // after cursor_join
struct cursor_shared *cursor_shared(struct cursor *cursor);

#endif
