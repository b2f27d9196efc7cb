// See segment.h.
#include "bridge/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEGMENTS 65536
#define FORMAT       1 // user_version. 0 was before segments held their objects

// The body comes last, so that reading the columns before it never touches its overflow pages.
// schema, hints and base are numbers of objects, 0: none.
static const char create_sql[] =
    "BEGIN;"
    "CREATE TABLE batch(position INTEGER PRIMARY KEY, dev TEXT NOT NULL,"
    " install INTEGER NOT NULL, seq INTEGER NOT NULL, type INTEGER NOT NULL,"
    " received_ms INTEGER NOT NULL, schema INTEGER NOT NULL, hints INTEGER NOT NULL,"
    " base INTEGER NOT NULL, crc INTEGER NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL);"
    "CREATE TABLE object(number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE,"
    " body BLOB NOT NULL);"
    "CREATE TABLE saved(dev TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE sealed(last INTEGER PRIMARY KEY);"
    "PRAGMA user_version = 1;"
    "COMMIT";

enum { INSERT, HEADS, ROWS, DEVICE_ROWS, FIND_OBJECT, PUT_OBJECT, GET_OBJECT, NSTMTS };
#define ROW_COLUMNS "position, dev, install, seq, type, received_ms, schema, hints, base, crc, body"
static const char *const statement_sql[NSTMTS] = {
    [INSERT] = "INSERT INTO batch(" ROW_COLUMNS ", bytes)"
               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [HEADS] = "SELECT position, dev, install, seq, type, crc, bytes FROM batch"
              " WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3",
    [ROWS] = "SELECT " ROW_COLUMNS " FROM batch WHERE position > ?1 ORDER BY position LIMIT ?2",
    [DEVICE_ROWS] = "SELECT " ROW_COLUMNS " FROM batch WHERE dev = ?3"
                    " AND received_ms BETWEEN ?4 AND ?5 AND position > ?1"
                    " ORDER BY position LIMIT ?2",
    [FIND_OBJECT] = "SELECT number FROM object WHERE hash = ?1",
    [PUT_OBJECT] = "INSERT INTO object(hash, body) VALUES(?1, ?2)",
    [GET_OBJECT] = "SELECT hash, body FROM object WHERE number = ?1",
};

struct segment {
    struct rn_db *db;
    struct rn_stmt *stmt[NSTMTS]; // prepared when first used
    uint64_t first;
    bool begun; // a transaction is open
};

int segment_path(char out[SEGMENT_PATH_MAX], const char *folder, uint64_t first, struct rn_err *err)
{
    int n = snprintf(out, SEGMENT_PATH_MAX, "%s/log/%019" PRIu64 ".db", folder, first);
    if (n < 0 || n >= SEGMENT_PATH_MAX)
        return rn_fail(err, RN_ELIMIT, "path of the log is too long: %s", folder);
    return RN_OK;
}

int segment_list(const char *folder, uint64_t **firsts, int *count, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX], **names;
    int nnames;
    *firsts = NULL;
    *count = 0;
    int rc = rn_path_join(path, sizeof path, folder, "log", err);
    if (rc == RN_OK)
        rc = rn_names_list(path, ".db", MAX_SEGMENTS, &names, &nnames, err);
    if (rc)
        return rc;
    uint64_t *list = calloc((size_t)nnames + 1, sizeof *list);
    int n = 0;
    for (int i = 0; list && i < nnames; i++) {
        char *end;
        uint64_t first = strtoull(names[i], &end, 10);
        if (first > 0 && strcmp(end, ".db") == 0)
            list[n++] = first;
    }
    rn_names_free(names, nnames);
    if (!list)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    *firsts = list;
    *count = n;
    return RN_OK;
}

int64_t segment_file_bytes(const char *path)
{
    char wal[SEGMENT_PATH_MAX + 8];
    struct stat st;
    int64_t bytes = stat(path, &st) == 0 ? st.st_size : 0;
    snprintf(wal, sizeof wal, "%s-wal", path);
    return bytes + (stat(wal, &st) == 0 ? st.st_size : 0);
}

int64_t segment_file_utc_ms(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_mtime * 1000 : 0;
}

void segment_remove(const char *path)
{
    char name[SEGMENT_PATH_MAX + 8];
    unlink(path);
    snprintf(name, sizeof name, "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
}

static int format_of(struct rn_db *db, int64_t *format, struct rn_err *err)
{
    return rn_db_get_int(db, "PRAGMA user_version", 0, format, err);
}

// A file without tables is one whose making was cut short.
static int check_format(struct rn_db *db, const char *path, struct rn_err *err)
{
    int64_t format, tables = 1;
    int rc = format_of(db, &format, err);
    if (rc == RN_OK && format == 0)
        rc = rn_db_get_int(db, "SELECT count(*) FROM sqlite_schema", 0, &tables, err);
    if (rc < 0 || format == FORMAT || !tables)
        return rc;
    return rn_fail(err, RN_EUNSUPPORTED,
                   "%s has format %lld, this program reads %d: move the folder log away, or run the"
                   " version that wrote it",
                   path, (long long)format, FORMAT);
}

static int open_db(struct segment **out, const char *path, uint64_t first, bool read_only,
                   struct rn_err *err)
{
    struct segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct rn_db_conf conf = {.path = path,
                              .read_only = read_only,
                              .cache_kib = read_only ? 256 : 2048,
                              .wal_pages = read_only ? 0 : 1024};
    segment->first = first;
    int rc = rn_db_open(&segment->db, &conf, err);
    if (rc == RN_OK)
        rc = check_format(segment->db, path, err);
    if (rc) {
        rn_db_close(segment->db);
        free(segment);
        return rc;
    }
    *out = segment;
    return RN_OK;
}

static bool is_empty(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size == 0 : errno == ENOENT;
}

// Neither database nor WAL hold anything. If that cannot be told, they may.
static bool is_new(const char *path)
{
    char wal[SEGMENT_PATH_MAX + 8];
    snprintf(wal, sizeof wal, "%s-wal", path);
    return is_empty(path) && is_empty(wal);
}

static int open_checked(struct segment **out, const char *path, uint64_t first, bool fresh,
                        struct rn_err *err)
{
    int64_t format = 0;
    int rc = open_db(out, path, first, false, err);
    if (rc)
        return rc;
    rc = fresh ? RN_OK : rn_db_check((*out)->db, err);
    if (rc == RN_OK)
        rc = format_of((*out)->db, &format, err);
    if (rc == RN_OK && format != FORMAT)
        rc = rn_db_exec((*out)->db, create_sql, err);
    if (rc) {
        segment_close(*out);
        *out = NULL;
    }
    return rc;
}

// One that could not be made goes: what is left of it would hide the rows that the segment before
// it takes instead.
int segment_open(struct segment **out, const char *path, uint64_t first, struct rn_err *err)
{
    bool fresh = is_new(path);
    int rc = open_checked(out, path, first, fresh, err);
    if (rc && fresh)
        segment_remove(path);
    return rc;
}

int segment_open_read(struct segment **out, const char *path, uint64_t first, struct rn_err *err)
{
    return open_db(out, path, first, true, err);
}

int segment_check_sealed(const char *path, uint64_t first, struct rn_err *err)
{
    struct segment *segment;
    int64_t tables = 0;
    int rc = segment_open_read(&segment, path, first, err);
    if (rc)
        return rc;
    rc = rn_db_get_int(segment->db, "SELECT count(*) FROM sqlite_schema WHERE name = 'batch'", 0,
                       &tables, err);
    segment_close(segment);
    return rc || tables ? rc : rn_fail(err, RN_ECORRUPT, "%s holds no batches", path);
}

void segment_close(struct segment *segment)
{
    if (!segment)
        return;
    segment_rollback(segment);
    for (int i = 0; i < NSTMTS; i++)
        rn_stmt_free(segment->stmt[i]);
    rn_db_close(segment->db);
    free(segment);
}

uint64_t segment_first(const struct segment *segment)
{
    return segment->first;
}

int segment_last(struct segment *segment, uint64_t *last, struct rn_err *err)
{
    int64_t found;
    int rc = rn_db_get_int(segment->db, "SELECT max(position) FROM batch", 0, &found, err);
    *last = found > 0 ? (uint64_t)found : segment->first - 1;
    return rc;
}

int segment_sealed(struct segment *segment, bool *sealed, struct rn_err *err)
{
    int64_t found;
    int rc = rn_db_get_int(segment->db, "SELECT count(*) FROM sealed", 0, &found, err);
    *sealed = found > 0;
    return rc;
}

int segment_sealed_upto(struct segment *segment, uint64_t *last, struct rn_err *err)
{
    int64_t found;
    int rc = rn_db_get_int(segment->db, "SELECT max(last) FROM sealed", 0, &found, err);
    *last = rc == RN_OK ? (uint64_t)found : 0;
    return rc;
}

int64_t segment_bytes(struct segment *segment)
{
    return rn_db_bytes(segment->db);
}

static struct rn_stmt *statement(struct segment *segment, int which, struct rn_err *err)
{
    if (!segment->stmt[which] &&
        rn_db_prepare(&segment->stmt[which], segment->db, statement_sql[which], err) != RN_OK)
        segment->stmt[which] = NULL;
    return segment->stmt[which];
}

static int failed(const struct rn_err *err)
{
    return err && err->code < 0 ? err->code : RN_EIO;
}

// After some errors (memory, disk) SQLite has ended the transaction by itself.
static int check_group(const struct segment *segment, struct rn_err *err)
{
    if (segment->begun && !rn_db_in_transaction(segment->db))
        return rn_fail(err, RN_EIO, "the group's transaction was lost to an earlier error");
    return RN_OK;
}

static int begin(struct segment *segment, struct rn_err *err)
{
    if (segment->begun)
        return check_group(segment, err); // a row would be committed alone
    int rc = rn_db_begin(segment->db, err);
    segment->begun = rc == RN_OK;
    return rc;
}

int segment_append(struct segment *segment, uint64_t position, const struct log_row *row,
                   struct rn_err *err)
{
    struct rn_stmt *insert = statement(segment, INSERT, err);
    if (!insert)
        return failed(err);
    int rc = begin(segment, err);
    if (rc)
        return rc;
    rn_bind_int(insert, 1, (int64_t)position);
    rn_bind_text(insert, 2, row->dev);
    rn_bind_int(insert, 3, (int64_t)row->install);
    rn_bind_int(insert, 4, (int64_t)row->seq);
    rn_bind_int(insert, 5, row->type);
    rn_bind_int(insert, 6, row->received_ms);
    rn_bind_int(insert, 7, row->schema);
    rn_bind_int(insert, 8, row->hints);
    rn_bind_int(insert, 9, row->base);
    rn_bind_int(insert, 10, row->crc);
    rn_bind_blob(insert, 11, row->body);
    rn_bind_int(insert, 12, (int64_t)row->body.len);
    return rn_stmt_run(insert, err);
}

int segment_commit(struct segment *segment, struct rn_err *err)
{
    if (!segment->begun)
        return RN_OK;
    int rc = check_group(segment, err);
    if (rc == RN_OK)
        rc = rn_db_commit(segment->db, err);
    if (rc)
        rn_db_rollback(segment->db);
    segment->begun = false;
    return rc;
}

void segment_rollback(struct segment *segment)
{
    if (segment->begun)
        rn_db_rollback(segment->db);
    segment->begun = false;
}

// ---- objects ------------------------------------------------------------------------------------

int segment_find_object(struct segment *segment, const uint8_t hash[RN_HASH_BYTES], int64_t *number,
                        struct rn_err *err)
{
    struct rn_stmt *find = statement(segment, FIND_OBJECT, err);
    if (!find)
        return failed(err);
    rn_bind_blob(find, 1, (struct rn_span){hash, RN_HASH_BYTES});
    int rc = rn_stmt_step(find, err);
    if (rc == 1)
        *number = rn_column_int(find, 0);
    rn_stmt_reset(find);
    return rc > 0 ? RN_OK : rc < 0 ? rc : rn_fail(err, RN_ENOENT, "not in this segment");
}

int segment_put_object(struct segment *segment, const uint8_t hash[RN_HASH_BYTES],
                       struct rn_span body, int64_t *number, struct rn_err *err)
{
    int rc = segment_find_object(segment, hash, number, err);
    if (rc != RN_ENOENT)
        return rc;
    struct rn_stmt *put = statement(segment, PUT_OBJECT, err);
    if (!put)
        return failed(err);
    rc = begin(segment, err);
    if (rc)
        return rc;
    rn_bind_blob(put, 1, (struct rn_span){hash, RN_HASH_BYTES});
    rn_bind_blob(put, 2, body);
    rc = rn_stmt_run(put, err);
    if (rc == RN_OK)
        *number = rn_db_last_rowid(segment->db);
    return rc;
}

// What is stored is compared with its hash: another schema would give the values other names.
int segment_get_object(struct segment *segment, int64_t number, uint8_t hash[RN_HASH_BYTES],
                       struct rn_buf *body, struct rn_err *err)
{
    uint8_t found[RN_SHA256_BYTES];
    struct rn_stmt *get = statement(segment, GET_OBJECT, err);
    if (!get)
        return failed(err);
    rn_bind_int(get, 1, number);
    int rc = rn_stmt_step(get, err);
    if (rc == 1) {
        struct rn_span stored = rn_column_blob(get, 0), bytes = rn_column_blob(get, 1);
        rn_sha256(found, bytes.data, bytes.len);
        rn_buf_clear(body);
        rn_buf_append(body, bytes.data, bytes.len);
        memcpy(hash, found, RN_HASH_BYTES);
        if (rn_buf_status(body) == RN_ENOMEM)
            rc = rn_fail(err, RN_ENOMEM, "no memory for an object");
        else if (rn_buf_ok(body) && rn_span_eq(stored, (struct rn_span){found, sizeof found}))
            rc = RN_OK;
        else
            rc = rn_fail(err, RN_EFORMAT, "the object is damaged");
    } else if (rc == 0) {
        rc = rn_fail(err, RN_ENOENT, "the object is not there");
    }
    rn_stmt_reset(get);
    return rc;
}

// ---- sealing -----------------------------------------------------------------------------------

static int put_saved(void *to, const char *dev, struct rn_span state, struct rn_err *err)
{
    struct rn_stmt *stmt = to;
    rn_bind_text(stmt, 1, dev);
    rn_bind_blob(stmt, 2, state);
    return rn_stmt_run(stmt, err);
}

static int save_state(struct segment *segment, const struct log_saver *saver, struct rn_err *err)
{
    struct rn_stmt *stmt;
    int rc = rn_db_prepare(&stmt, segment->db, "INSERT OR REPLACE INTO saved VALUES(?1, ?2)", err);
    if (rc)
        return rc;
    rc = saver->save(saver->arg, put_saved, stmt, err);
    rn_stmt_free(stmt);
    return rc;
}

int segment_seal(struct segment *segment, const struct log_saver *saver, struct rn_err *err)
{
    int rc = rn_db_begin(segment->db, err);
    if (rc)
        return rc;
    if (saver && saver->save)
        rc = save_state(segment, saver, err);
    if (rc == RN_OK)
        rc =
            rn_db_exec(segment->db,
                       "CREATE INDEX IF NOT EXISTS batch_dev ON batch(dev, received_ms);"
                       "INSERT OR REPLACE INTO sealed SELECT coalesce(max(position), 0) FROM batch",
                       err);
    if (rc == RN_OK)
        rc = rn_db_commit(segment->db, err);
    if (rc) {
        rn_db_rollback(segment->db);
        return rc;
    }
    rc = rn_db_checkpoint(segment->db, NULL);
    return rc ? RN_OK : rc; // a reader in the way only means that the WAL is folded in later
}

// ---- reading ------------------------------------------------------------------------------------

// A page that cannot be read takes its rows with it, not those behind: after a damaged place the
// reading goes on at growing distances. What is left out shows in the positions.
#define LEAP_MAX (1u << 20)

static int heads_from(struct segment *segment, uint64_t after, uint64_t upto, uint32_t max,
                      void *arg, int (*row)(void *arg, const struct log_head_row *row),
                      struct rn_err *err)
{
    struct rn_stmt *stmt = statement(segment, HEADS, err);
    if (!stmt)
        return failed(err);
    rn_bind_int(stmt, 1, (int64_t)after);
    rn_bind_int(stmt, 2, (int64_t)upto);
    rn_bind_int(stmt, 3, max);
    int n = 0, rc;
    while ((rc = rn_stmt_step(stmt, err)) == 1) {
        struct log_head_row head = {.position = (uint64_t)rn_column_int(stmt, 0),
                                    .dev = rn_column_text(stmt, 1),
                                    .install = (uint64_t)rn_column_int(stmt, 2),
                                    .seq = (uint64_t)rn_column_int(stmt, 3),
                                    .type = (char)rn_column_int(stmt, 4),
                                    .crc = (uint32_t)rn_column_int(stmt, 5),
                                    .bytes = (uint32_t)rn_column_int(stmt, 6)};
        n++;
        rc = row(arg, &head);
        if (rc < 0)
            break;
    }
    rn_stmt_reset(stmt);
    return rc < 0 && !(rc == RN_ECORRUPT && n) ? rc : n;
}

int segment_heads(struct segment *segment, uint64_t after, uint64_t upto, uint32_t max, void *arg,
                  int (*row)(void *arg, const struct log_head_row *row), struct rn_err *err)
{
    int n = heads_from(segment, after, upto, max, arg, row, err);
    for (uint64_t leap = 1; n == RN_ECORRUPT && leap <= LEAP_MAX; leap *= 2)
        n = heads_from(segment, after + leap, upto, max, arg, row, err);
    return n;
}

int segment_saved(struct segment *segment, void *arg,
                  int (*saved)(void *arg, const char *dev, struct rn_span state),
                  struct rn_err *err)
{
    struct rn_stmt *stmt;
    int rc = rn_db_prepare(&stmt, segment->db, "SELECT dev, state FROM saved", err);
    if (rc)
        return rc;
    while ((rc = rn_stmt_step(stmt, err)) == 1) {
        rc = saved(arg, rn_column_text(stmt, 0), rn_column_blob(stmt, 1));
        if (rc < 0)
            break;
    }
    rn_stmt_free(stmt);
    return rc < 0 ? rc : RN_OK;
}

static int rows_from(struct segment *segment, uint64_t after, const char *dev, int64_t from_ms,
                     int64_t to_ms, uint32_t max, void *arg,
                     int (*row)(void *arg, uint64_t position, const struct log_row *row),
                     struct rn_err *err)
{
    struct rn_stmt *stmt = statement(segment, dev ? DEVICE_ROWS : ROWS, err);
    if (!stmt)
        return failed(err);
    rn_bind_int(stmt, 1, (int64_t)after);
    rn_bind_int(stmt, 2, max);
    if (dev) {
        rn_bind_text(stmt, 3, dev);
        rn_bind_int(stmt, 4, from_ms);
        rn_bind_int(stmt, 5, to_ms);
    }
    int n = 0, rc;
    while ((rc = rn_stmt_step(stmt, err)) == 1) {
        struct log_row out = {.dev = rn_column_text(stmt, 1),
                              .install = (uint64_t)rn_column_int(stmt, 2),
                              .seq = (uint64_t)rn_column_int(stmt, 3),
                              .type = (char)rn_column_int(stmt, 4),
                              .received_ms = rn_column_int(stmt, 5),
                              .schema = rn_column_int(stmt, 6),
                              .hints = rn_column_int(stmt, 7),
                              .base = rn_column_int(stmt, 8),
                              .crc = (uint32_t)rn_column_int(stmt, 9),
                              .body = rn_column_blob(stmt, 10)};
        n++;
        rc = row(arg, (uint64_t)rn_column_int(stmt, 0), &out);
        if (rc)
            break;
    }
    rn_stmt_reset(stmt);
    return rc < 0 && !(rc == RN_ECORRUPT && n) ? rc : n;
}

int segment_rows(struct segment *segment, uint64_t after, const char *dev, int64_t from_ms,
                 int64_t to_ms, uint32_t max, void *arg,
                 int (*row)(void *arg, uint64_t position, const struct log_row *row),
                 struct rn_err *err)
{
    int n = rows_from(segment, after, dev, from_ms, to_ms, max, arg, row, err);
    for (uint64_t leap = 1; n == RN_ECORRUPT && leap <= LEAP_MAX; leap *= 2)
        n = rows_from(segment, after + leap, dev, from_ms, to_ms, max, arg, row, err);
    return n;
}
