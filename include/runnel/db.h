// SQLite behind one file of ours. One connection, one thread. Every database is opened in WAL mode
// with synchronous=FULL (measured: NORMAL loses committed rows on a power cut), a bounded WAL and a
// bounded cache. Statements are prepared once and reused; nothing is allocated per step by us.
#ifndef RUNNEL_DB_H
#define RUNNEL_DB_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct rn_db;
struct rn_stmt;

struct rn_db_conf {
    const char *path;
    int page_size;     // bytes, for a new file; 0: 4096
    int64_t max_bytes; // max_page_count; 0: no limit. A full file gives RN_ENOSPC
    int cache_kib;     // page cache; 0: 256
    int wal_pages;     // wal_autocheckpoint; 0: 256
    bool read_only;
    bool exclusive; // locking_mode=EXCLUSIVE: no shared-memory file, one process
};

// Opens, sets the pragmas, checks that the file is a database. RN_ECORRUPT if it is damaged.
RN_MUST_CHECK int rn_db_open(struct rn_db **out, const struct rn_db_conf *conf, struct rn_err *err);
void rn_db_close(struct rn_db *db); // finalizes nothing: free the statements first; accepts NULL
RN_MUST_CHECK int rn_db_exec(struct rn_db *db, const char *sql, struct rn_err *err);
// PRAGMA quick_check: RN_ECORRUPT if it finds damage or sectors that are gone (EIO), another code
// if it could not look.
RN_MUST_CHECK int rn_db_check(struct rn_db *db, struct rn_err *err);
RN_MUST_CHECK int rn_db_begin(struct rn_db *db, struct rn_err *err); // BEGIN IMMEDIATE
RN_MUST_CHECK int rn_db_commit(struct rn_db *db, struct rn_err *err);
void rn_db_rollback(struct rn_db *db); // harmless outside a transaction
// False also when SQLite has rolled back by itself: it does after a statement of any kind that had
// no memory, or that the disk refused.
bool rn_db_in_transaction(const struct rn_db *db);
RN_MUST_CHECK int rn_db_checkpoint(struct rn_db *db, struct rn_err *err); // TRUNCATE
int64_t rn_db_last_rowid(struct rn_db *db);
int64_t rn_db_changes(struct rn_db *db);
int64_t rn_db_bytes(struct rn_db *db); // pages in use x page size
// The first column of the first row; `otherwise` if there is no row or it holds NULL.
RN_MUST_CHECK int rn_db_get_int(struct rn_db *db, const char *sql, int64_t otherwise,
                                int64_t *value, struct rn_err *err);
// The same, and `otherwise` also if it cannot be read: only for what is merely shown. What is
// saved, used up or deleted by such a number would be wrong for good.
int64_t rn_db_int(struct rn_db *db, const char *sql, int64_t otherwise);

RN_MUST_CHECK int rn_db_prepare(struct rn_stmt **out, struct rn_db *db, const char *sql,
                                struct rn_err *err);
void rn_stmt_free(struct rn_stmt *stmt);
// Parameters count from 1. Bound bytes are borrowed until the reset.
void rn_bind_int(struct rn_stmt *stmt, int at, int64_t value);
void rn_bind_double(struct rn_stmt *stmt, int at, double value);
void rn_bind_blob(struct rn_stmt *stmt, int at, struct rn_span bytes);
void rn_bind_text(struct rn_stmt *stmt, int at, const char *text);
void rn_bind_null(struct rn_stmt *stmt, int at);
// 1: a row is there, 0: done, negative: error (the statement is reset).
RN_MUST_CHECK int rn_stmt_step(struct rn_stmt *stmt, struct rn_err *err);
// step + reset for statements without rows.
RN_MUST_CHECK int rn_stmt_run(struct rn_stmt *stmt, struct rn_err *err);
void rn_stmt_reset(struct rn_stmt *stmt); // also clears the bindings
// Columns count from 0; borrowed until the next step or reset.
int64_t rn_column_int(struct rn_stmt *stmt, int at);
double rn_column_double(struct rn_stmt *stmt, int at);
struct rn_span rn_column_blob(struct rn_stmt *stmt, int at);
const char *rn_column_text(struct rn_stmt *stmt, int at); // "" for NULL
bool rn_column_null(struct rn_stmt *stmt, int at);

// Process-wide, once, before the first open and any thread: connections without mutexes, a small
// lookaside, pages allocated as needed. soft_heap_bytes is SQLite's own limit; 0: none, and no
// memory statistics either (SQLite needs them for the limit).
void rn_db_setup(int64_t soft_heap_bytes);

#endif
