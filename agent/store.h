// Store: the buffer on the disk (buffer.db). Rows in the order of their seq, the journal of the
// open window, the schemas, hints and bases that rows refer to, who we are (install) and the
// ledger.
//
// Promises: what store_append or store_journal returned RN_OK for survives a power cut; the ledger
// is committed in the same transaction as the rows that it is about; a settled row costs no commit
// of its own (it goes with the next one: until then a crash brings it back, to be sent again); the
// file stays within max_bytes (oldest rows go first, counted, and moved in the ledger if they turn
// out to have arrived); the rows of a damaged file are salvaged one by one, the rest is counted
// as lost, and it stays as buffer.db.damaged. It knows bytes, not metrics.
//
// One thread. One process per folder (lock file). With folder NULL the same in memory: for a disk
// that is full or read-only.
#ifndef AGENT_STORE_H
#define AGENT_STORE_H

#include "agent/ledger.h"
#include "agent/rowlife.h"
#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/ranges.h>
#include <runnel/schema.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

struct store;

struct store_conf {
    const char *folder; // NULL: in memory
    int64_t max_bytes;
    int64_t max_age_ms;   // 0: no limit
    uint64_t fingerprint; // of this machine, 0: unknown
};

struct store_row {
    uint64_t seq, install;
    uint32_t schema; // local id
    uint64_t samples;
    int64_t t_first, t_last; // ms since 1970
    int64_t boot_ms;         // CLOCK_BOOTTIME of the cut
    bool trusted;            // was the wall clock trusted?
    uint32_t crc;            // CRC-32C of body
    struct rn_span body;     // of a batch, in whichever encoding
};

// What the buffer knows about itself; valid after every call.
struct store_state {
    uint64_t install;
    uint64_t low;       // lowest seq that is pending, or gone and remembered; next if none
    uint64_t next;      // seq of the next row
    uint64_t published; // every row up to here may have been sent
    uint64_t log_id;    // that answered last
    uint64_t rows;
    uint64_t gone;          // evicted rows that may have arrived and are remembered
    uint32_t objects;       // highest number that hints or a base ever had
    uint64_t bytes_written; // bodies and objects given to the disk since open, for the flash's wear
    struct rn_ledger ledger;
};

// What opening found, for the log.
struct store_report {
    bool created, relabelled; // relabelled: the machine is not the one of the file
    bool quarantined;         // also where opening failed after that
    uint64_t salvaged_rows, lost_samples, journal_samples;
    char aside[256]; // where the damaged file is
};

// RN_EEXIST: another process uses the folder.
RN_MUST_CHECK int store_open(struct store **out, const struct store_conf *conf,
                             struct store_report *report, struct rn_err *err);
void store_close(struct store *store);
const struct store_state *store_state(const struct store *store);
bool store_in_memory(const struct store *store);
// New budget; takes effect with the next append. Never drops anything by itself.
void store_reconf(struct store *store, int64_t max_bytes, int64_t max_age_ms);
// Rows that the bridge's log has: evicted first. Borrowed until the store is closed; may be NULL.
void store_set_received(struct store *store, const struct rn_ranges *received);

// Finds the schema's local id or gives it one. object: its deterministic encoding.
RN_MUST_CHECK int store_schema_id(struct store *store, const uint8_t hash[RN_HASH_BYTES],
                                  struct rn_span object, uint32_t *id, struct rn_err *err);
// *object is borrowed until the next call. RN_ENOENT.
RN_MUST_CHECK int store_schema(struct store *store, uint32_t id, uint8_t hash[RN_HASH_BYTES],
                               struct rn_span *object, struct rn_err *err);

// Hints and bases: numbered like schemas, in a row of numbers of their own that both share. At most
// STORE_OBJECTS of a kind are kept: those that rows refer to, and the newest of each schema.
#define STORE_OBJECTS 32
// Gives the object a number, once and for ever, and has it take the place of the schema's newest.
// RN_ELIMIT: no room for another one now.
RN_MUST_CHECK int store_keep_object(struct store *store, enum rn_object kind, uint32_t schema,
                                    const uint8_t hash[RN_HASH_BYTES], struct rn_span object,
                                    uint32_t *id, struct rn_err *err);
// The schema's newest; *object is borrowed until the next call of either. RN_ENOENT.
RN_MUST_CHECK int store_newest_object(struct store *store, enum rn_object kind, uint32_t schema,
                                      uint32_t *id, struct rn_span *object, struct rn_err *err);
RN_MUST_CHECK int store_object(struct store *store, enum rn_object kind, uint32_t id,
                               uint8_t hash[RN_HASH_BYTES], struct rn_span *object,
                               struct rn_err *err);

struct store_loss {
    uint64_t rows, samples;
};
// The object cannot be had any more (it is damaged, or not there): it goes, and with it, counted as
// lost, every row that cannot be decoded without; but rows that the bridge's log has stay, that one
// needs nothing more. An equal schema gets a new number. Reads the whole buffer.
RN_MUST_CHECK int store_lose_object(struct store *store, enum rn_object kind, uint32_t id,
                                    struct store_loss *loss, struct rn_err *err);

// Appends a batch (seq and install are filled in) in place of the journal. publish: advances the
// published mark over it in the same transaction. utc_ms: for the age limit, 0: not trusted.
RN_MUST_CHECK int store_append(struct store *store, struct store_row *row, bool publish,
                               int64_t utc_ms, struct rn_err *err);
// Replaces the journal by the open window's samples so far.
RN_MUST_CHECK int store_journal(struct store *store, const struct store_row *row,
                                struct rn_err *err);
// Lowest row with first <= seq < last: 1 found, 0 none. body is borrowed until the next call. A row
// whose body does not fit its CRC is dropped and counted as lost, and the next one is returned.
RN_MUST_CHECK int store_next(struct store *store, uint64_t first, uint64_t last,
                             struct store_row *row, struct rn_err *err);
RN_MUST_CHECK int store_publish(struct store *store, uint64_t up_to, struct rn_err *err);
// Row seq is about to be handed to the transport: from now on it may have arrived. For this
// process's life; after a restart that holds for every published row.
void store_sent(struct store *store, uint64_t seq);
// Deletes the rows of install tag in first..last. ROW_DURABLE checks crc, the CRC-32C over the
// rows' CRCs (4 bytes big-endian each, in order; rows settled shortly before are remembered): 1
// settled, 0 the CRCs differ and nothing was changed. ROW_REFUSED does not check. Evicted rows that
// are remembered count as rows of the range; their samples move in the ledger. Committed with the
// next commit, by store_flush or store_close, or when many of them wait.
RN_MUST_CHECK int store_settle(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                               uint32_t crc, enum row_state fate, struct rn_err *err);
bool store_waits(const struct store *store); // what was settled is not committed yet
RN_MUST_CHECK int store_flush(struct store *store, struct rn_err *err);
// state.low as of the last commit. No more may be told to anybody: a crash could bring rows back
// that the bridge would not know any more.
uint64_t store_safe_low(const struct store *store);
// Puts a new row with the same samples and another body in the place of row old, under the current
// install: 1 and *seq of the new one, 0 if old is not there (any more).
RN_MUST_CHECK int store_replace(struct store *store, const struct store_row *old,
                                struct rn_span body, uint64_t *seq, struct rn_err *err);
// New install for what was never published and for the rows of install tag in first..last; if tag
// is not that of the current install, those rows take that.
RN_MUST_CHECK int store_relabel(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                                struct rn_err *err);
// Remembers the log that answers. If it is another one, rows of older installs take the current
// one: no birth of theirs will reach it.
RN_MUST_CHECK int store_adopt(struct store *store, uint64_t log_id, struct rn_err *err);

// Looks into a buffer from another process without disturbing it, at what is committed; *running:
// an agent uses it.
RN_MUST_CHECK int store_inspect(const char *folder, struct store_state *state, bool *running,
                                struct rn_err *err);

#endif
