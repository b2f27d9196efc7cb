// Storage: keeps what the sampler cut, on the disk while that takes it. It opens the buffer, goes
// on in memory when the disk refuses, and goes back once memory has drained and the disk takes
// writes again. It encodes what it is given; what becomes of a row afterwards is the uplink's.
//
// Owner: the agent; one thread, the loop's. At most RAM_BUFFER_BYTES are kept in memory.
#ifndef AGENT_STORAGE_H
#define AGENT_STORAGE_H

#include "agent/config.h"
#include "agent/encoder.h"
#include "agent/sampler.h"
#include "agent/store.h"
#include "agent/tee.h"
#include <runnel/loop.h>

struct storage;

struct storage_hooks {
    void *arg;
    struct tee *tee; // told of each batch; may be NULL
    // The buffer is another one now: see storage_store. Not called by storage_new.
    void (*changed)(void *arg);
    bool (*sends)(void *arg); // is a new row sent at once?
    // Neither disk nor memory can hold a buffer.
    void (*fatal)(void *arg, const struct rn_err *err);
};

// settings and encoder are borrowed. RN_EEXIST: the data folder is in use.
RN_MUST_CHECK int storage_new(struct storage **out, struct rn_loop *loop,
                              const struct agent_settings *settings, struct encoder *encoder,
                              uint64_t fingerprint, const struct storage_hooks *hooks,
                              struct rn_err *err);
void storage_free(struct storage *storage); // accepts NULL
// Looks every minute from now on; begins anew if called again.
void storage_start(struct storage *storage);
void storage_stop(struct storage *storage);
// Goes back to a disk that refused if it takes writes again and memory has drained. After a salvage
// that came to no end it waits: 1, 2, 4 .. 60 calls.
void storage_look(struct storage *storage);
void storage_reconf(struct storage *storage, const struct agent_settings *settings);

// What there is at the start and at the end, for the log.
void storage_tell_start(const struct storage *storage);
void storage_tell_end(const struct storage *storage);

struct store *storage_store(const struct storage *storage); // NULL: after `fatal`
// Appends a batch as a row, which *row shows. If the disk fails it goes to the memory that takes
// the disk's place.
RN_MUST_CHECK int storage_append(struct storage *storage, const struct sampler_batch *batch,
                                 struct store_row *row, struct rn_err *err);
// Journals the open window, if it has grown since.
void storage_journal(struct storage *storage, struct sampler *sampler);
// The buffer failed: goes on with another one.
void storage_failed(struct storage *storage, const struct rn_err *why);

#endif
