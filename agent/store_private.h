// What the files of the store share: the connection, its statements and what is kept in memory.
#ifndef AGENT_STORE_PRIVATE_H
#define AGENT_STORE_PRIVATE_H

#include "agent/store.h"
#include <runnel/db.h>

enum {
    STORE_PAGE_BYTES = 512, // of a new file: a commit changes a few bytes on each of some pages
    STORE_RAM_PATH = 64,
    STORE_RECENT = 256, // CRCs of settled rows that are remembered
    STORE_GONE = 256,   // evicted rows that are remembered, and how far below the lowest row
    STORE_WAITING = 64, // settled rows that may wait for a commit
    STORE_SENT = 64,    // ranges of rows that were handed to the transport
};

enum store_sql {
    SQL_META_GET,
    SQL_META_PUT,
    SQL_APPEND,
    SQL_COPY,
    SQL_JOURNAL,
    SQL_JOURNAL_DROP,
    SQL_NEXT,
    SQL_LOW,
    SQL_RANGE,
    SQL_DROP_RANGE,
    SQL_GONE_ADD,
    SQL_GONE_SETTLE,
    SQL_GONE_COPY,
    SQL_GONE_LOW,
    SQL_GONE_TRIM,
    SQL_GONE_COUNT,
    SQL_GONE_CLEAR,
    SQL_DROP,
    SQL_OLDEST,
    SQL_RELABEL,
    SQL_ADOPT,
    SQL_SCHEMA_FIND,
    SQL_SCHEMA_ADD,
    SQL_SCHEMA_GET,
    SQL_OBJECT_RETIRE,
    SQL_OBJECT_ADD,
    SQL_OBJECT_GET,
    SQL_OBJECT_NEWEST,
    SQL_COUNT
};

struct store_recent {
    uint64_t seq;
    uint32_t tag, crc;
};

// What is kept in memory and must go back when a transaction fails.
struct store_known {
    struct store_state state;
    uint64_t fingerprint;
    uint32_t schema_next;
    uint64_t journal_samples; // counted as produced already
};

struct store {
    struct store_conf conf;
    char ram_folder[STORE_RAM_PATH]; // ours, removed at the end; "" if the folder is on the disk
    struct rn_db *db;
    struct rn_stmt *stmt[SQL_COUNT];
    int lock_fd;
    int64_t boot; // row of this boot
    // before: as committed; inner: before the operation that joined a transaction
    struct store_known now, before, inner;
    uint64_t settled; // so many rows were settled in a transaction that waits for company
    bool joined;      // an operation is under way in it
    const struct rn_ranges *received;
    struct store_recent recent[STORE_RECENT];
    uint32_t recent_next;
    struct rn_range sent_storage[STORE_SENT];
    struct rn_ranges sent; // rows that this process handed to the transport
    uint64_t maybe_sent;   // every row up to here may have been, too
};

// store.c, for its neighbours:
RN_MUST_CHECK int store_begin(struct store *store, struct rn_err *err);
// Commits if rc is not negative, else the operation is undone: that alone, what was settled before
// it goes on waiting for a commit. If the disk fails, all that was not committed is undone. Returns
// rc or the commit's error.
RN_MUST_CHECK int store_end(struct store *store, int rc, struct rn_err *err);
// The operation's end, but for the commit; so many rows were settled by it.
RN_MUST_CHECK int store_leave_open(struct store *store, uint64_t rows, struct rn_err *err);
// What is borrowed ends: an open read statement would keep the WAL from being checkpointed.
void store_release_borrowed(struct store *store);
RN_MUST_CHECK int store_find_low(struct store *store, struct rn_err *err);
// The CRCs of rows that left the buffer lately.
void store_remember(struct store *store, uint64_t install, uint64_t seq, uint32_t crc);
const struct store_recent *store_recall(const struct store *store, uint32_t tag, uint64_t seq);
// From a row of SQL_NEXT; its body is borrowed until that is reset.
void store_read_row(struct rn_stmt *stmt, struct store_row *row);
// Inside a transaction, all three.
RN_MUST_CHECK int store_drop_row(struct store *store, const struct store_row *row,
                                 enum ledger_fate fate, struct rn_err *err);
RN_MUST_CHECK int store_make_room(struct store *store, size_t bytes, struct rn_err *err);
RN_MUST_CHECK int store_new_install(struct store *store, uint32_t tag, uint64_t first,
                                    uint64_t last, struct rn_err *err);

// store_open.c, for store_inspect.c:
extern const char *const store_statements[SQL_COUNT];
// Reads what meta holds: 1 there, 0 a new file.
RN_MUST_CHECK int store_get_meta(struct store *store, struct rn_err *err);
// Pending is what is there; what the ledger says beyond that was lost with a damaged file.
RN_MUST_CHECK int store_count_rows(struct store *store, struct rn_err *err);
// Makes a folder of a file system in memory.
RN_MUST_CHECK int store_ram_folder(char out[STORE_RAM_PATH], struct rn_err *err);

// store_gone.c; inside a transaction:
RN_MUST_CHECK int store_gone_init(struct store *store, struct rn_err *err);
// Row `row` leaves the buffer. If it may have arrived, it is remembered.
RN_MUST_CHECK int store_gone_evicted(struct store *store, const struct store_row *row,
                                     struct rn_err *err);
// The range is being settled: call it before its rows are deleted.
RN_MUST_CHECK int store_gone_settle(struct store *store, uint32_t tag, uint64_t first,
                                    uint64_t last, struct rn_err *err);
RN_MUST_CHECK int store_gone_clear(struct store *store, struct rn_err *err);
// Lowers state.low to what is remembered, after what has become too old was forgotten.
RN_MUST_CHECK int store_gone_low(struct store *store, struct rn_err *err);

#endif
