// What store.c and store_open.c share: the connection, its statements and what is kept in memory.
#ifndef AGENT_STORE_PRIVATE_H
#define AGENT_STORE_PRIVATE_H

#include "agent/store.h"
#include <runnel/db.h>

enum {
    STORE_PAGE_BYTES = 1024,
    STORE_RECENT = 256, // CRCs of settled rows that are remembered
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
    SQL_DROP,
    SQL_OLDEST,
    SQL_RELABEL,
    SQL_ADOPT,
    SQL_SCHEMA_FIND,
    SQL_SCHEMA_ADD,
    SQL_SCHEMA_GET,
    SQL_COUNT
};

// What is kept in memory and must go back when a transaction fails.
struct store_known {
    struct store_state state;
    uint64_t fingerprint;
    uint32_t schema_next;
    uint64_t journal_samples; // counted as produced already
};

struct store_recent {
    uint64_t seq;
    uint32_t tag, crc;
};

struct store {
    struct store_conf conf;
    char ram_folder[64]; // ours, removed at the end; "" if the folder is on the disk
    struct rn_db *db;
    struct rn_stmt *stmt[SQL_COUNT];
    int lock_fd;
    int64_t boot; // row of this boot
    struct store_known now, before;
    const struct rn_ranges *received;
    struct store_recent recent[STORE_RECENT];
    uint32_t recent_next;
};

// store.c, for store_open.c:
RN_MUST_CHECK int store_begin(struct store *store, struct rn_err *err);
// Commits if rc is not negative, else everything is as before. Returns rc or the commit's error.
RN_MUST_CHECK int store_end(struct store *store, int rc, struct rn_err *err);
RN_MUST_CHECK int store_find_low(struct store *store, struct rn_err *err);
// Inside a transaction.
RN_MUST_CHECK int store_new_install(struct store *store, uint32_t tag, uint64_t first,
                                    uint64_t last, struct rn_err *err);

#endif
