// See store_salvage.h.
#include "agent/store_salvage.h"

#include <runnel/clock.h>
#include <runnel/crc.h>
#include <runnel/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SALVAGE_ROWS_MAX = 1000000, OBJECT_IDS_MAX = 65536, META_COLUMNS = 11 };
#define PAD_MAX_BYTES ((off_t)1 << 32)

int store_boot_name(char out[33])
{
    return rn_clock_boot_id(out, NULL);
}

uint32_t store_row_mark(const struct store_row *row)
{
    const uint64_t fields[] = {row->schema, row->samples, (uint64_t)row->t_first,
                               (uint64_t)row->t_last, row->crc};
    return rn_crc32c(0, fields, sizeof fields);
}

bool store_row_whole(const struct store_row *row, uint32_t mark)
{
    return row->body.len > 0 && store_row_mark(row) == mark &&
           rn_crc32c(0, row->body.data, row->body.len) == row->crc;
}

static const char *const parts[] = {"-wal", "-shm", ""}; // a file without its WAL comes last

static int name_part(char out[512], const char *path, const char *suffix, const char *part,
                     struct rn_err *err)
{
    if (snprintf(out, 512, "%s%s%s", path, suffix, part) >= 512)
        return rn_fail(err, RN_ELIMIT, "the path %s is too long", path);
    return RN_OK;
}

static int rename_parts(const char *path, const char *from, const char *to, struct rn_err *err)
{
    char old[512], new[512];
    for (int i = 0; i < 3; i++) {
        int rc = name_part(old, path, from, parts[i], err);
        if (rc >= 0)
            rc = name_part(new, path, to, parts[i], err);
        if (rc < 0)
            return rc;
        if (rename(old, new) < 0 && errno != ENOENT)
            return rn_fail_errno(err, "rename %s to %s", old, new);
    }
    return RN_OK;
}

static int remove_parts(const char *path, const char *suffix, struct rn_err *err)
{
    char old[512];
    for (int i = 0; i < 3; i++) {
        int rc = name_part(old, path, suffix, parts[i], err);
        if (rc < 0)
            return rc;
        if (unlink(old) < 0 && errno != ENOENT)
            return rn_fail_errno(err, "remove %s", old);
    }
    return RN_OK;
}

int store_judge(const char *path, int code)
{
    uint8_t head[19];
    if (code == RN_EINVAL)
        return RN_ECORRUPT; // the statements are ours: what SQLite does not understand is the file
    int fd = code == RN_EIO || code == RN_EACCESS ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return code;
    ssize_t n = pread(fd, head, sizeof head, 0);
    // SQLite writes no file whose format it does not know: fileformat2.html, 1.3.3.
    if (n < 0 ? errno == EIO : n == (ssize_t)sizeof head && head[18] > 2)
        code = RN_ECORRUPT;
    close(fd);
    return code;
}

int store_salvage_begun(const char *path, struct rn_err *err)
{
    char from[512];
    int rc = name_part(from, path, ".salvage", "", err);
    if (rc < 0 || access(from, F_OK) == 0)
        return rc < 0 ? rc : 1;
    return errno == ENOENT ? 0 : rn_fail_errno(err, "%s", from);
}

int store_quarantine(const char *path, char *from, size_t size, struct rn_err *err)
{
    if (snprintf(from, size, "%s.salvage", path) >= (int)size)
        return rn_fail(err, RN_ELIMIT, "the path %s is too long", path);
    int rc = remove_parts(path, ".damaged", err);
    if (rc >= 0)
        rc = store_salvage_begun(path, err);
    if (rc < 0)
        return rc;
    return rc ? remove_parts(path, "", err) : rename_parts(path, "", ".salvage", err);
}

int store_put_aside(const char *path, char *aside, size_t size, struct rn_err *err)
{
    if (snprintf(aside, size, "%s.damaged", path) >= (int)size)
        return rn_fail(err, RN_ELIMIT, "the path %s is too long", path);
    return rename_parts(path, ".salvage", ".damaged", err);
}

struct salvage {
    struct rn_db *from, *to;
    struct rn_stmt *get, *put;
    uint64_t samples, rows;
    uint64_t seq_max, install;
};

// Copies `columns` of the row that `get` stands on.
static int copy_row(struct salvage *s, int columns, uint32_t blobs, struct rn_err *err)
{
    for (int i = 0; i < columns; i++) {
        if (blobs & (1u << i))
            rn_bind_blob(s->put, i + 1, rn_column_blob(s->get, i));
        else
            rn_bind_int(s->put, i + 1, rn_column_int(s->get, i));
    }
    return rn_stmt_run(s->put, err);
}

// Columns 1 and 2 of a schema, hints or a base.
static bool object_is_whole(struct rn_stmt *get)
{
    struct rn_span hash = rn_column_blob(get, 1), object = rn_column_blob(get, 2);
    uint8_t now[RN_HASH_BYTES];
    if (hash.len != RN_HASH_BYTES || object.len == 0)
        return false;
    rn_sha256(now, object.data, object.len);
    return memcmp(now, hash.data, sizeof now) == 0;
}

// Not for the file's damage: it is to be tried again.
static bool is_passing(int code)
{
    return code == RN_ENOMEM || code == RN_EAGAIN;
}

// A number of the damaged file; `otherwise` if it is damaged.
static int read_number(const struct salvage *s, const char *sql, int64_t otherwise, int64_t *value,
                       struct rn_err *err)
{
    int rc = rn_db_get_int(s->from, sql, otherwise, value, err);
    return is_passing(rc) ? rc : RN_OK;
}

// The row of that id for `get`: 1, 0 if it cannot be read.
static int get_row(const struct salvage *s, int64_t id, struct rn_err *err)
{
    rn_stmt_reset(s->get);
    rn_bind_int(s->get, 1, id);
    int rc = rn_stmt_step(s->get, err);
    return rc > 0 || is_passing(rc) ? rc : 0;
}

static int has(struct rn_db *db, const char *table, uint32_t id, int kind, struct rn_err *err)
{
    char sql[96];
    int64_t count;
    int n = snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE id=%u", table, id);
    if (kind)
        snprintf(sql + n, sizeof sql - (size_t)n, " AND kind=%d", kind);
    int rc = rn_db_get_int(db, sql, 0, &count, err);
    return rc < 0 ? rc : count == 1;
}

// All that is needed to decode it could be read: 1.
static int row_has_objects(const struct salvage *s, const struct store_row *row, struct rn_err *err)
{
    struct rn_batch_info info;
    int rc = has(s->to, "schema", row->schema, 0, err);
    if (rc != 1 || rn_batch_open_body(row->body, &info, NULL) < 0)
        return rc; // that it does not open is not for us to judge
    if (info.has_hints)
        rc = has(s->to, "object", info.hints_id, RN_OBJECT_HINTS, err);
    if (rc == 1 && info.has_base)
        rc = has(s->to, "object", info.base_id, RN_OBJECT_BASE, err);
    return rc;
}

static int row_is_whole(const struct salvage *s, struct rn_err *err)
{
    const struct store_row row = {.schema = (uint32_t)rn_column_int(s->get, 2),
                                  .samples = (uint64_t)rn_column_int(s->get, 3),
                                  .t_first = rn_column_int(s->get, 4),
                                  .t_last = rn_column_int(s->get, 5),
                                  .crc = (uint32_t)rn_column_int(s->get, 9),
                                  .body = rn_column_blob(s->get, 11)};
    if (!store_row_whole(&row, (uint32_t)rn_column_int(s->get, 10)))
        return 0;
    return row_has_objects(s, &row, err);
}

static int copy_objects(struct salvage *s, const char *max_sql, int columns, struct rn_err *err)
{
    int64_t max;
    int rc = read_number(s, max_sql, OBJECT_IDS_MAX, &max, err);
    if (max > OBJECT_IDS_MAX)
        max = OBJECT_IDS_MAX;
    for (int64_t id = 0; rc >= 0 && id <= max; id++) {
        rc = get_row(s, id, err);
        if (rc == 1 && object_is_whole(s->get))
            rc = copy_row(s, columns, 6, err);
    }
    return rc < 0 ? rc : RN_OK;
}

static int copy_schemas(struct salvage *s, struct rn_err *err)
{
    return copy_objects(s, "SELECT max(id) FROM schema", 3, err);
}

static int copy_companions(struct salvage *s, struct rn_err *err)
{
    return copy_objects(s, "SELECT max(id) FROM object", 5, err);
}

static int copy_batches(struct salvage *s, struct rn_err *err)
{
    int64_t high, low;
    int rc = read_number(s, "SELECT seq FROM sqlite_sequence WHERE name='batch'", -1, &high, err);
    if (rc >= 0 && high < 0)
        rc = read_number(s, "SELECT max(seq) FROM batch", 0, &high, err);
    if (rc >= 0)
        rc = read_number(s, "SELECT min(seq) FROM batch", 1, &low, err);
    if (rc < 0)
        return rc;
    if (high - low > SALVAGE_ROWS_MAX)
        low = high - SALVAGE_ROWS_MAX;
    s->seq_max = (uint64_t)(high > 0 ? high : 0);
    for (int64_t seq = low > 0 ? low : 1; rc >= 0 && seq <= high; seq++) {
        rc = get_row(s, seq, err);
        if (rc == 1)
            rc = row_is_whole(s, err);
        if (rc != 1)
            continue;
        s->samples += (uint64_t)rn_column_int(s->get, 3);
        s->rows++;
        rc = copy_row(s, 12, 1u << 11, err);
    }
    return rc < 0 ? rc : RN_OK;
}

static int with_statements(struct salvage *s, const char *get, const char *put,
                           int (*copy)(struct salvage *s, struct rn_err *err), struct rn_err *err)
{
    s->get = s->put = NULL;
    int rc = rn_db_prepare(&s->get, s->from, get, err);
    if (rc < 0)
        return is_passing(rc) ? rc : RN_OK; // that table is gone
    rc = rn_db_prepare(&s->put, s->to, put, err);
    if (rc >= 0)
        rc = copy(s, err);
    rn_stmt_free(s->get);
    rn_stmt_free(s->put);
    return rc;
}

// The old ledger with everything that was pending and is not here as lost. Without a readable one
// the ledger begins with what was salvaged.
static int write_meta(struct salvage *s, struct store_report *report, struct rn_err *err)
{
    static const char *const columns[META_COLUMNS] = {
        "install",   "fingerprint", "published", "log_id",  "schema_next", "produced",
        "delivered", "evicted",     "thinned",   "refused", "lost"};
    int64_t v[META_COLUMNS];
    char sql[256];
    for (int i = 0; i < META_COLUMNS; i++) {
        snprintf(sql, sizeof sql, "SELECT %s FROM meta WHERE id=1", columns[i]);
        int rc = read_number(s, sql, -1, &v[i], err);
        if (rc < 0)
            return rc;
    }
    bool readable = v[0] > 0;
    for (int i = 0; i < META_COLUMNS && !readable; i++)
        v[i] = 0;
    v[0] = (int64_t)s->install;
    // Every name up to here counts as used: a mark that is too high costs nothing.
    v[2] = (int64_t)s->seq_max > v[2] ? (int64_t)s->seq_max : v[2];
    int64_t ids;
    int rc = rn_db_get_int(s->to, "SELECT max(id)+1 FROM schema", 1, &ids, err);
    if (rc < 0)
        return rc;
    v[4] = v[4] > ids ? v[4] : ids;
    int64_t known = v[6] + v[7] + v[8] + v[9] + v[10] + (int64_t)s->samples;
    if (v[5] < known)
        v[5] = known;
    report->lost_samples = (uint64_t)(v[5] - known);
    v[10] += v[5] - known;
    snprintf(sql, sizeof sql,
             "INSERT INTO meta VALUES(1,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld)",
             (long long)v[0], (long long)v[1], (long long)v[2], (long long)v[3], (long long)v[4],
             (long long)v[5], (long long)v[6], (long long)v[7], (long long)v[8], (long long)v[9],
             (long long)v[10]);
    return rn_db_exec(s->to, sql, err);
}

// Names and numbers are never used twice, also when the highest rows could not be read. Hints and
// bases go when no row that is here refers to them; new ones are made.
static int keep_sequences(struct salvage *s, struct rn_err *err)
{
    char sql[400];
    int64_t objects, before;
    int rc = rn_db_get_int(s->to, "SELECT max(id) FROM object", 0, &objects, err);
    if (rc >= 0)
        rc = read_number(s, "SELECT seq FROM sqlite_sequence WHERE name='object'", objects, &before,
                         err);
    if (rc < 0)
        return rc;
    if (before > objects && before <= OBJECT_IDS_MAX)
        objects = before;
    snprintf(sql, sizeof sql,
             "DELETE FROM sqlite_sequence WHERE name IN ('batch', 'object');"
             "INSERT INTO sqlite_sequence VALUES('batch',%llu);"
             "INSERT INTO sqlite_sequence VALUES('object',%lld);"
             "UPDATE object SET first=0, last=%llu;",
             (unsigned long long)s->seq_max, (long long)objects, (unsigned long long)s->seq_max);
    return rn_db_exec(s->to, sql, err);
}

static int salvage_into(struct salvage *s, struct store_report *report, struct rn_err *err)
{
    int rc = rn_db_begin(s->to, err);
    if (rc < 0)
        return rc;
    rc = with_statements(s, "SELECT id, hash, object FROM schema WHERE id=?",
                         "INSERT OR IGNORE INTO schema VALUES(?,?,?)", copy_schemas, err);
    if (rc >= 0)
        rc = with_statements(
            s, "SELECT id, hash, object, kind, schema FROM object WHERE id=?",
            "INSERT OR IGNORE INTO object(id, hash, object, kind, schema) VALUES(?,?,?,?,?)",
            copy_companions, err);
    if (rc >= 0)
        rc = with_statements(
            s,
            "SELECT seq, install, schema, samples, t_first, t_last, boot, boot_ms, "
            "trusted, crc, mark, body FROM batch WHERE seq=?",
            "INSERT OR IGNORE INTO batch VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", copy_batches, err);
    if (rc >= 0)
        rc = keep_sequences(s, err);
    if (rc >= 0)
        rc = write_meta(s, report, err);
    if (rc >= 0)
        rc = rn_db_commit(s->to, err);
    if (rc < 0)
        rn_db_rollback(s->to);
    return rc;
}

// SQLite reads nothing of a file that is shorter than its header says: the missing pages become
// zeros, which only fail where they are read. Page size and count: fileformat2.html, 1.3.
static void pad(const char *path)
{
    uint8_t head[32];
    struct stat info;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && fstat(fd, &info) == 0) {
        off_t page = (off_t)head[16] << 8 | head[17];
        off_t count =
            (off_t)head[28] << 24 | (off_t)head[29] << 16 | (off_t)head[30] << 8 | head[31];
        off_t whole = page * count;
        if (whole > info.st_size && whole < PAD_MAX_BYTES)
            (void)!ftruncate(fd, whole);
    }
    close(fd);
}

int store_salvage(struct rn_db *db, const char *from, struct store_report *report,
                  struct rn_err *err)
{
    struct salvage s = {.to = db};
    struct rn_db_conf conf = {.path = from, .cache_kib = 32, .exclusive = true};
    pad(from);
    int rc = rn_db_open(&s.from, &conf, err);
    if (rc < 0) // if nothing can be read, the buffer begins anew
        return store_judge(from, rc) == RN_ECORRUPT ? RN_OK : rc;
    rc = rn_random_id(&s.install, err);
    if (rc >= 0)
        rc = salvage_into(&s, report, err);
    report->salvaged_rows = s.rows;
    rn_db_close(s.from);
    return rc;
}
