// See runnel/db.h. The only file that includes SQLite.
#include <runnel/db.h>

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUSY_MS = 5000,
    PAGE_SIZE = 4096,
    CACHE_KIB = 256,
    WAL_PAGES = 256,
    SHOWN_PATH = 80, // of a long path the end is shown
};

struct rn_db {
    sqlite3 *handle;
    int64_t page_size;
    char shown[SHOWN_PATH + 1]; // for error texts
};

struct rn_stmt {
    sqlite3_stmt *handle;
    struct rn_db *db;
    int bind_rc; // the first binding that failed
};

void rn_db_setup(int64_t soft_heap_bytes)
{
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD); // a connection belongs to one thread
    // SQLite enforces its heap limit only while it keeps statistics (a mutex an allocation).
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, soft_heap_bytes > 0);
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 256, 16);    // 4 kB a connection instead of 48
    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0); // pages as needed, not 20 beforehand
    sqlite3_initialize();
    if (soft_heap_bytes > 0)
        sqlite3_soft_heap_limit64(soft_heap_bytes);
}

// --- errors ---------------------------------------------------------------------------------

struct cause {
    int primary; // SQLite's primary result code
    int number;  // errno that goes with it; 0: any
    int code;    // ours
    const char *advice;
};

// The first row that fits counts.
static const struct cause causes[] = {
    {SQLITE_FULL, 0, RN_ENOSPC,
     "the disk or this database's limit is full: free space or raise the limit"},
    {SQLITE_IOERR, ENOSPC, RN_ENOSPC, "the disk is full: free space"},
    {SQLITE_IOERR, EDQUOT, RN_ENOSPC, "the disk quota is used up: free space or raise the quota"},
    {SQLITE_IOERR, 0, RN_EIO, "the disk refused: check the file system and the kernel's messages"},
    {SQLITE_CORRUPT, 0, RN_ECORRUPT, "the file is damaged: move it away or restore it"},
    {SQLITE_NOTADB, 0, RN_ECORRUPT, "not a database: move the file away"},
    {SQLITE_READONLY, 0, RN_EACCESS,
     "cannot write: check owner, mode and mount of the file and its folder"},
    {SQLITE_PERM, 0, RN_EACCESS, "not permitted: check owner and mode of the file and its folder"},
    {SQLITE_AUTH, 0, RN_EACCESS, "not permitted"},
    {SQLITE_CANTOPEN, ENOSPC, RN_ENOSPC, "the disk is full: free space"},
    {SQLITE_CANTOPEN, EACCES, RN_EACCESS,
     "cannot open: check owner and mode of the file and its folder"},
    {SQLITE_CANTOPEN, EPERM, RN_EACCESS,
     "cannot open: check owner and mode of the file and its folder"},
    {SQLITE_CANTOPEN, EROFS, RN_EACCESS, "cannot open: its file system is mounted read-only"},
    {SQLITE_CANTOPEN, ENOENT, RN_ENOENT, "cannot open: there is no such file or folder"},
    {SQLITE_CANTOPEN, 0, RN_EIO, "cannot open: check that its folder exists and may be written"},
    {SQLITE_BUSY, 0, RN_EAGAIN, "in use by another process: stop that one or try again"},
    {SQLITE_LOCKED, 0, RN_EAGAIN, "a statement of this process still reads"},
    {SQLITE_NOMEM, 0, RN_ENOMEM, "out of memory"},
    {SQLITE_CONSTRAINT, 0, RN_EEXIST, "a constraint forbids it"},
    {SQLITE_TOOBIG, 0, RN_ELIMIT, "the value is too large"},
};

static int fail_cause(struct rn_err *err, const struct rn_db *db, int primary, int number,
                      const char *words)
{
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        const struct cause *cause = &causes[i];
        if (cause->primary == primary && (cause->number == 0 || cause->number == number))
            return rn_fail(err, cause->code, "database %s: %s (%s)", db->shown, cause->advice,
                           words);
    }
    return rn_fail(err, RN_EINVAL, "database %s: %s", db->shown, words);
}

static int fail_sqlite(struct rn_err *err, const struct rn_db *db, int rc)
{
    int number = sqlite3_system_errno(db->handle);
    return fail_cause(err, db, rc & 0xff, number, sqlite3_errmsg(db->handle));
}

// --- opening --------------------------------------------------------------------------------

// The first column of the first row; `otherwise` if there is none or the statement fails.
static int scalar(struct rn_db *db, const char *sql, int64_t otherwise, int64_t *out)
{
    sqlite3_stmt *handle = NULL;
    *out = otherwise;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &handle, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(handle);
    if (rc == SQLITE_ROW && sqlite3_column_type(handle, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(handle, 0);
    sqlite3_finalize(handle);
    return rc;
}

int rn_db_get_int(struct rn_db *db, const char *sql, int64_t otherwise, int64_t *value,
                  struct rn_err *err)
{
    int rc = scalar(db, sql, otherwise, value);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RN_OK : fail_sqlite(err, db, rc);
}

int64_t rn_db_int(struct rn_db *db, const char *sql, int64_t otherwise)
{
    int64_t value;
    scalar(db, sql, otherwise, &value);
    return value;
}

int rn_db_exec(struct rn_db *db, const char *sql, struct rn_err *err)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? RN_OK : fail_sqlite(err, db, rc);
}

static int or_default(int value, int otherwise)
{
    return value > 0 ? value : otherwise;
}

// Makes the file, so that it is private from its first byte; WAL and shared memory take its mode.
// SQLite would hide the reason of a failure: it tries again for reading only, and tells of that.
// A file that is there is not opened: the close would drop the locks of this process's other
// connections to it.
static int create_private(const struct rn_db *db, const char *path, struct rn_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0 && errno == EEXIST)
        return RN_OK;
    if (fd < 0)
        return fail_cause(err, db, SQLITE_CANTOPEN, errno, strerror(errno));
    close(fd);
    return RN_OK;
}

static int set_pragmas(struct rn_db *db, const struct rn_db_conf *conf, struct rn_err *err)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "PRAGMA locking_mode=%s; PRAGMA page_size=%d; PRAGMA temp_store=MEMORY;"
             "PRAGMA mmap_size=0; PRAGMA cache_size=-%d; PRAGMA trusted_schema=OFF;"
             "PRAGMA cell_size_check=ON",
             conf->exclusive ? "EXCLUSIVE" : "NORMAL", or_default(conf->page_size, PAGE_SIZE),
             or_default(conf->cache_kib, CACHE_KIB));
    return rn_db_exec(db, sql, err);
}

// The first statements that touch the file: they find out whether it is a database.
static int start_wal(struct rn_db *db, const struct rn_db_conf *conf, struct rn_err *err)
{
    int64_t version;
    int rc = scalar(db, "PRAGMA schema_version", 0, &version);
    if (rc != SQLITE_ROW)
        return fail_sqlite(err, db, rc);
    int failed = rn_db_get_int(db, "PRAGMA page_size", PAGE_SIZE, &db->page_size, err);
    if (failed < 0 || conf->read_only)
        return failed;
    failed = rn_db_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", err);
    if (failed < 0)
        return failed;
    int64_t is_wal;
    rc = scalar(db, "SELECT journal_mode='wal' FROM pragma_journal_mode", 0, &is_wal);
    if (rc != SQLITE_ROW)
        return fail_sqlite(err, db, rc);
    if (!is_wal)
        return rn_fail(err, RN_EIO, "database %s: its file system does not support WAL", db->shown);
    char sql[256];
    int pages = or_default(conf->wal_pages, WAL_PAGES);
    int64_t limit = conf->max_bytes > 0 ? conf->max_bytes / db->page_size : 0;
    snprintf(sql, sizeof sql, "PRAGMA wal_autocheckpoint=%d; PRAGMA journal_size_limit=%lld;",
             pages, (long long)pages * db->page_size);
    if (limit > 0)
        snprintf(sql + strlen(sql), sizeof sql - strlen(sql), "PRAGMA max_page_count=%lld",
                 (long long)limit);
    return rn_db_exec(db, sql, err);
}

static int open_file(struct rn_db *db, const struct rn_db_conf *conf, struct rn_err *err)
{
    int flags = conf->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int failed = conf->read_only ? RN_OK : create_private(db, conf->path, err);
    if (failed < 0)
        return failed;
    int rc = sqlite3_open_v2(conf->path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (!db->handle)
        return rn_fail(err, RN_ENOMEM, "no memory to open %s", db->shown);
    if (rc != SQLITE_OK)
        return fail_sqlite(err, db, rc);
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    failed = set_pragmas(db, conf, err);
    return failed < 0 ? failed : start_wal(db, conf, err);
}

int rn_db_open(struct rn_db **out, const struct rn_db_conf *conf, struct rn_err *err)
{
    struct rn_db *db = calloc(1, sizeof *db);
    if (!db)
        return rn_fail(err, RN_ENOMEM, "no memory to open %.100s", conf->path);
    size_t len = strlen(conf->path);
    snprintf(db->shown, sizeof db->shown, "%s",
             len > SHOWN_PATH ? conf->path + len - SHOWN_PATH : conf->path);
    int rc = open_file(db, conf, err);
    if (rc < 0) {
        rn_db_close(db);
        return rc;
    }
    *out = db;
    return RN_OK;
}

void rn_db_close(struct rn_db *db)
{
    if (!db)
        return;
    sqlite3_close_v2(db->handle); // a forgotten statement keeps the handle, not the memory of ours
    free(db);
}

// --- the whole database ---------------------------------------------------------------------

// SQLite itself takes these for a sector that is gone, which no later try brings back.
static bool is_gone(int number)
{
    return number == EIO || number == ENXIO || number == ERANGE;
}

// quick_check tells of a page that it could not read as of a damaged one. The code of what failed
// then; SQLITE_CORRUPT: what it found is damage.
static int judge(const struct rn_db *db, const char *found)
{
    static const char with_code[] = "unable to get the page. error code=";
    const char *at = strstr(found, with_code);
    int code = at ? atoi(at + sizeof with_code - 1) : SQLITE_CORRUPT, number = 0;
    if (strstr(found, "failed to get page")) { // of a chain of overflow pages
        sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_LAST_ERRNO, &number);
        code = is_gone(number) ? SQLITE_CORRUPT : SQLITE_IOERR;
    }
    return code == SQLITE_IOERR_CORRUPTFS ? SQLITE_CORRUPT : code & 0xff;
}

int rn_db_check(struct rn_db *db, struct rn_err *err)
{
    sqlite3_stmt *handle = NULL;
    char found[160] = "";
    int rc = sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &handle, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(handle);
    if (rc == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(handle, 0);
        snprintf(found, sizeof found, "%s", text ? (const char *)text : "");
    }
    int failed = rc == SQLITE_ROW ? RN_OK : fail_sqlite(err, db, rc);
    sqlite3_finalize(handle);
    if (failed < 0 || strcmp(found, "ok") == 0)
        return failed;
    // Without words it had no memory for them.
    return fail_cause(err, db, found[0] ? judge(db, found) : SQLITE_NOMEM, 0, found);
}

int rn_db_begin(struct rn_db *db, struct rn_err *err)
{
    return rn_db_exec(db, "BEGIN IMMEDIATE", err);
}

int rn_db_commit(struct rn_db *db, struct rn_err *err)
{
    return rn_db_exec(db, "COMMIT", err);
}

void rn_db_rollback(struct rn_db *db)
{
    // SQLite rolls back by itself after some errors (a full disk, say).
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool rn_db_in_transaction(const struct rn_db *db)
{
    return !sqlite3_get_autocommit(db->handle);
}

int rn_db_checkpoint(struct rn_db *db, struct rn_err *err)
{
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? RN_OK : fail_sqlite(err, db, rc);
}

int64_t rn_db_last_rowid(struct rn_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int64_t rn_db_changes(struct rn_db *db)
{
    return sqlite3_changes64(db->handle);
}

int64_t rn_db_bytes(struct rn_db *db)
{
    int64_t pages = rn_db_int(db, "PRAGMA page_count", 0);
    int64_t spare = rn_db_int(db, "PRAGMA freelist_count", 0);
    return (pages - spare) * db->page_size;
}

// --- statements -----------------------------------------------------------------------------

int rn_db_prepare(struct rn_stmt **out, struct rn_db *db, const char *sql, struct rn_err *err)
{
    struct rn_stmt *stmt = calloc(1, sizeof *stmt);
    if (!stmt)
        return rn_fail(err, RN_ENOMEM, "no memory for a statement");
    stmt->db = db;
    int rc =
        sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->handle, NULL);
    if (rc != SQLITE_OK) {
        free(stmt);
        return fail_sqlite(err, db, rc);
    }
    *out = stmt;
    return RN_OK;
}

void rn_stmt_free(struct rn_stmt *stmt)
{
    if (!stmt)
        return;
    sqlite3_finalize(stmt->handle);
    free(stmt);
}

static void bound(struct rn_stmt *stmt, int rc)
{
    if (rc != SQLITE_OK && stmt->bind_rc == SQLITE_OK)
        stmt->bind_rc = rc;
}

void rn_bind_int(struct rn_stmt *stmt, int at, int64_t value)
{
    bound(stmt, sqlite3_bind_int64(stmt->handle, at, value));
}

void rn_bind_double(struct rn_stmt *stmt, int at, double value)
{
    bound(stmt, sqlite3_bind_double(stmt->handle, at, value));
}

void rn_bind_blob(struct rn_stmt *stmt, int at, struct rn_span bytes)
{
    // A null pointer would bind NULL, and no bytes are not NULL.
    const void *data = bytes.len ? (const void *)bytes.data : "";
    bound(stmt, sqlite3_bind_blob64(stmt->handle, at, data, bytes.len, SQLITE_STATIC));
}

void rn_bind_text(struct rn_stmt *stmt, int at, const char *text)
{
    bound(stmt, sqlite3_bind_text(stmt->handle, at, text, -1, SQLITE_STATIC));
}

void rn_bind_null(struct rn_stmt *stmt, int at)
{
    bound(stmt, sqlite3_bind_null(stmt->handle, at));
}

int rn_stmt_step(struct rn_stmt *stmt, struct rn_err *err)
{
    int rc = stmt->bind_rc;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt->handle);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    int failed = fail_sqlite(err, stmt->db, rc);
    rn_stmt_reset(stmt);
    return failed;
}

int rn_stmt_run(struct rn_stmt *stmt, struct rn_err *err)
{
    int rc = rn_stmt_step(stmt, err);
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : RN_OK;
}

void rn_stmt_reset(struct rn_stmt *stmt)
{
    sqlite3_reset(stmt->handle);
    sqlite3_clear_bindings(stmt->handle);
    stmt->bind_rc = SQLITE_OK;
}

int64_t rn_column_int(struct rn_stmt *stmt, int at)
{
    return sqlite3_column_int64(stmt->handle, at);
}

double rn_column_double(struct rn_stmt *stmt, int at)
{
    return sqlite3_column_double(stmt->handle, at);
}

struct rn_span rn_column_blob(struct rn_stmt *stmt, int at)
{
    const void *data = sqlite3_column_blob(stmt->handle, at); // first: it may convert the value
    int len = sqlite3_column_bytes(stmt->handle, at);
    return (struct rn_span){data, data && len > 0 ? (size_t)len : 0};
}

const char *rn_column_text(struct rn_stmt *stmt, int at)
{
    const unsigned char *text = sqlite3_column_text(stmt->handle, at);
    return text ? (const char *)text : "";
}

bool rn_column_null(struct rn_stmt *stmt, int at)
{
    return sqlite3_column_type(stmt->handle, at) == SQLITE_NULL;
}
