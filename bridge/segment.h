// One file of the log: a SQLite database of consecutive positions. No secondary index while it is
// open; sealing builds one by (dev, received_ms) and saves the dedupe state beside the rows. It
// also holds the objects (schemas, hints, bases) that its rows are decoded with, each once, so that
// it can be read for as long as it exists, whatever becomes of other files. One segment, one
// connection, one thread.
#ifndef BRIDGE_SEGMENT_H
#define BRIDGE_SEGMENT_H

#include "bridge/log.h"
#include <runnel/db.h>
#include <stdbool.h>

#define SEGMENT_PATH_MAX 512
#define SEGMENT_MAX_ROWS (1ull << 28) // 4 GB, the largest segment, of rows of 16 bytes

// "<folder>/log/<first, 19 digits>.db".
RN_MUST_CHECK int segment_path(char out[SEGMENT_PATH_MAX], const char *folder, uint64_t first,
                               struct rn_err *err);
// First positions of all segments there are, ascending; freed by the caller with free().
RN_MUST_CHECK int segment_list(const char *folder, uint64_t **firsts, int *count,
                               struct rn_err *err);
int64_t segment_file_bytes(const char *path);  // database and WAL; 0 if there is none
int64_t segment_file_utc_ms(const char *path); // when it was last written; 0 if there is none
void segment_remove(const char *path);         // database, WAL, shared memory

struct segment;
// For appending: made if it is not there, checked if it is. RN_ECORRUPT if damaged, RN_EUNSUPPORTED
// if another version wrote it.
RN_MUST_CHECK int segment_open(struct segment **out, const char *path, uint64_t first,
                               struct rn_err *err);
RN_MUST_CHECK int segment_open_read(struct segment **out, const char *path, uint64_t first,
                                    struct rn_err *err);
// Whether one that was sealed can be opened for reading at all: RN_ECORRUPT if it never can.
RN_MUST_CHECK int segment_check_sealed(const char *path, uint64_t first, struct rn_err *err);
void segment_close(struct segment *segment);
uint64_t segment_first(const struct segment *segment);
// The highest committed position; first - 1: it is empty.
RN_MUST_CHECK int segment_last(struct segment *segment, uint64_t *last, struct rn_err *err);
RN_MUST_CHECK int segment_sealed(struct segment *segment, bool *sealed, struct rn_err *err);
// The last position that the saved state knows of; 0: none was saved.
RN_MUST_CHECK int segment_sealed_upto(struct segment *segment, uint64_t *last, struct rn_err *err);
int64_t segment_bytes(struct segment *segment);

// The first append begins a transaction.
RN_MUST_CHECK int segment_append(struct segment *segment, uint64_t position,
                                 const struct log_row *row, struct rn_err *err);
// The number that rows of this segment name an object by; RN_ENOENT: it is not here yet.
RN_MUST_CHECK int segment_find_object(struct segment *segment, const uint8_t hash[RN_HASH_BYTES],
                                      int64_t *number, struct rn_err *err);
// Stored unless it is here already; the same transaction as appended rows.
RN_MUST_CHECK int segment_put_object(struct segment *segment, const uint8_t hash[RN_HASH_BYTES],
                                     struct rn_span body, int64_t *number, struct rn_err *err);
// RN_ENOENT: not here; RN_EFORMAT: not what was stored.
RN_MUST_CHECK int segment_get_object(struct segment *segment, int64_t number,
                                     uint8_t hash[RN_HASH_BYTES], struct rn_buf *body,
                                     struct rn_err *err);
RN_MUST_CHECK int segment_commit(struct segment *segment, struct rn_err *err);
void segment_rollback(struct segment *segment);
RN_MUST_CHECK int segment_seal(struct segment *segment, const struct log_saver *saver,
                               struct rn_err *err);

RN_MUST_CHECK int segment_heads(struct segment *segment, uint64_t after, uint64_t upto,
                                uint32_t max, void *arg,
                                int (*row)(void *arg, const struct log_head_row *row),
                                struct rn_err *err);
RN_MUST_CHECK int segment_saved(struct segment *segment, void *arg,
                                int (*saved)(void *arg, const char *dev, struct rn_span state),
                                struct rn_err *err);
// Whole rows after `after` (of one device and received within [from_ms, to_ms], if dev is not NULL)
// until the visitor says 1 (stop) or there are no more. What is given is borrowed for the call.
RN_MUST_CHECK int segment_rows(struct segment *segment, uint64_t after, const char *dev,
                               int64_t from_ms, int64_t to_ms, uint32_t max, void *arg,
                               int (*row)(void *arg, uint64_t position, const struct log_row *row),
                               struct rn_err *err);

#endif
