// See deadletters.h.
#include "bridge/deadletters.h"
#include "bridge/sink/sink.h"

#include <runnel/clock.h>
#include <runnel/crc.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <stdio.h>
#include <stdlib.h>

#define DROP_AT_ONCE 64
#define REASON_MAX   240

struct deadletters {
    struct rn_db *db;
    struct rn_stmt *put, *oldest, *aged, *dropped, *list, *waiting, *mark, *mark_all, *failed;
    struct rn_stmt *drop_one, *drop_all, *kind_of;
    int64_t max_bytes, max_age_ms;
    bool open; // a transaction is
};

// The counts are kept by the database itself, so that no way of changing letters forgets them.
static const char setup[] =
    "CREATE TABLE IF NOT EXISTS letter(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
    " sink TEXT NOT NULL, dev TEXT NOT NULL, install INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " type INTEGER NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,"
    " reason TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, replay INTEGER NOT NULL DEFAULT "
    "0);"
    "CREATE UNIQUE INDEX IF NOT EXISTS letter_name ON letter(sink, dev, install, seq, kind, crc);"
    "CREATE INDEX IF NOT EXISTS letter_replay ON letter(sink, id) WHERE replay;"
    "CREATE TABLE IF NOT EXISTS counts(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " letters INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO counts VALUES(1, 0, 0, 0);"
    "CREATE TRIGGER IF NOT EXISTS letter_in AFTER INSERT ON letter BEGIN"
    " UPDATE counts SET letters = letters + 1, bytes = bytes + length(new.body); END;"
    "CREATE TRIGGER IF NOT EXISTS letter_out AFTER DELETE ON letter BEGIN"
    " UPDATE counts SET letters = letters - 1, bytes = bytes - length(old.body); END;";

#define COLUMNS "id, kind, sink, dev, install, seq, type, time_ms, body, reason, attempts, replay"

static int prepare_all(struct deadletters *s, struct rn_err *err)
{
    const struct {
        struct rn_stmt **stmt;
        const char *sql;
    } all[] = {
        {&s->put, "INSERT INTO letter(kind, sink, dev, install, seq, type, time_ms, body, crc,"
                  " reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
                  " ON CONFLICT(sink, dev, install, seq, kind, crc)"
                  " DO UPDATE SET reason = excluded.reason, replay = 0"},
        {&s->oldest, "DELETE FROM letter WHERE id IN (SELECT id FROM letter ORDER BY id LIMIT ?1)"},
        {&s->aged, "DELETE FROM letter WHERE id IN"
                   " (SELECT id FROM letter ORDER BY id LIMIT ?1) AND time_ms < ?2"},
        {&s->dropped, "UPDATE counts SET dropped = dropped + ?1"},
        {&s->list, "SELECT " COLUMNS " FROM letter WHERE id > ?1 AND (?2 = '' OR sink = ?2)"
                   " ORDER BY id LIMIT ?3"},
        {&s->waiting, "SELECT " COLUMNS " FROM letter WHERE replay AND sink = ?1"
                      " ORDER BY id LIMIT ?2"},
        {&s->mark, "UPDATE letter SET replay = 1 WHERE id = ?1"},
        {&s->mark_all, "UPDATE letter SET replay = 1 WHERE kind = 0 AND (?1 = '' OR sink = ?1)"},
        {&s->failed, "UPDATE letter SET replay = 0, attempts = attempts + 1, reason = ?2"
                     " WHERE id = ?1"},
        {&s->drop_one, "DELETE FROM letter WHERE id = ?1"},
        {&s->drop_all, "DELETE FROM letter WHERE ?1 = '' OR sink = ?1"},
        {&s->kind_of, "SELECT kind FROM letter WHERE id = ?1"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int rc = rn_db_prepare(all[i].stmt, s->db, all[i].sql, err);
        if (rc < 0)
            return rc;
    }
    return RN_OK;
}

int deadletters_open(struct deadletters **out, const struct deadletters_conf *conf,
                     struct rn_err *err)
{
    char path[512];
    int rc = rn_path_join(path, sizeof path, conf->folder, "dead.db", err);
    if (rc < 0)
        return rc;
    struct deadletters *s = calloc(1, sizeof *s);
    if (!s)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    s->max_bytes = conf->max_bytes;
    s->max_age_ms = conf->max_age_ms;
    rc = rn_db_open(&s->db, &(struct rn_db_conf){.path = path}, err);
    if (rc == RN_OK)
        rc = rn_db_exec(s->db, setup, err);
    if (rc == RN_OK)
        rc = prepare_all(s, err);
    if (rc < 0) {
        deadletters_close(s);
        return rc;
    }
    *out = s;
    return RN_OK;
}

void deadletters_close(struct deadletters *s)
{
    if (!s)
        return;
    struct rn_stmt *all[] = {s->put,  s->oldest,   s->aged,   s->dropped,  s->list,     s->waiting,
                             s->mark, s->mark_all, s->failed, s->drop_one, s->drop_all, s->kind_of};
    if (s->db)
        deadletters_rollback(s);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        rn_stmt_free(all[i]);
    rn_db_close(s->db);
    free(s);
}

static int begin(struct deadletters *s, struct rn_err *err)
{
    int rc = s->open ? RN_OK : rn_db_begin(s->db, err);
    s->open = rc == RN_OK;
    return rc;
}

int deadletters_put(struct deadletters *s, const struct dead_letter *letter, struct rn_err *err)
{
    int rc = begin(s, err);
    if (rc < 0)
        return rc;
    char reason[REASON_MAX];
    snprintf(reason, sizeof reason, "%s", letter->reason);
    rn_bind_int(s->put, 1, letter->kind);
    rn_bind_text(s->put, 2, letter->sink);
    rn_bind_text(s->put, 3, letter->dev);
    rn_bind_int(s->put, 4, (int64_t)letter->install);
    rn_bind_int(s->put, 5, (int64_t)letter->seq);
    rn_bind_int(s->put, 6, letter->type);
    rn_bind_int(s->put, 7, letter->time_ms ? letter->time_ms : rn_clock_utc_ms());
    rn_bind_blob(s->put, 8, letter->body);
    rn_bind_int(s->put, 9, rn_crc32c(0, letter->body.data, letter->body.len));
    rn_bind_text(s->put, 10, reason);
    return rn_stmt_run(s->put, err);
}

static int64_t delete_some(struct deadletters *s, struct rn_stmt *stmt, int64_t older_than_ms,
                           struct rn_err *err)
{
    rn_bind_int(stmt, 1, DROP_AT_ONCE);
    if (stmt == s->aged)
        rn_bind_int(stmt, 2, older_than_ms);
    int rc = rn_stmt_run(stmt, err);
    return rc < 0 ? rc : rn_db_changes(s->db);
}

// The oldest go until what is left is within its bounds; returns how many went.
static int64_t enforce_bounds(struct deadletters *s, struct rn_err *err)
{
    int64_t total = 0, n = 1, bytes;
    while (n > 0 && s->max_bytes) {
        int rc = rn_db_get_int(s->db, "SELECT bytes FROM counts", 0, &bytes, err);
        if (rc < 0)
            return rc;
        if (bytes <= s->max_bytes)
            break;
        n = delete_some(s, s->oldest, 0, err);
        total += n;
    }
    for (n = n < 0 ? n : 1; n > 0 && s->max_age_ms;) {
        n = delete_some(s, s->aged, rn_clock_utc_ms() - s->max_age_ms, err);
        total += n;
    }
    return n < 0 ? n : total;
}

int deadletters_commit(struct deadletters *s, struct rn_err *err)
{
    if (!s->open)
        return RN_OK;
    int64_t dropped = enforce_bounds(s, err);
    int rc = dropped < 0 ? (int)dropped : RN_OK;
    if (rc == RN_OK && dropped > 0) {
        rn_bind_int(s->dropped, 1, dropped);
        rc = rn_stmt_run(s->dropped, err);
    }
    if (rc == RN_OK)
        rc = rn_db_commit(s->db, err);
    if (rc < 0)
        rn_db_rollback(s->db);
    s->open = false;
    return rc;
}

void deadletters_rollback(struct deadletters *s)
{
    rn_db_rollback(s->db);
    s->open = false;
}

static void read_letter(struct rn_stmt *stmt, struct dead_letter *out)
{
    *out = (struct dead_letter){
        .id = rn_column_int(stmt, 0),
        .kind = rn_column_int(stmt, 1) ? DEAD_BATCH : DEAD_POINT,
        .sink = rn_column_text(stmt, 2),
        .dev = rn_column_text(stmt, 3),
        .install = (uint64_t)rn_column_int(stmt, 4),
        .seq = (uint64_t)rn_column_int(stmt, 5),
        .type = (char)rn_column_int(stmt, 6),
        .time_ms = rn_column_int(stmt, 7),
        .body = rn_column_blob(stmt, 8),
        .reason = rn_column_text(stmt, 9),
        .attempts = (uint32_t)rn_column_int(stmt, 10),
        .replay = rn_column_int(stmt, 11) != 0,
    };
}

static int visit_rows(struct rn_stmt *stmt,
                      bool (*visit)(void *arg, const struct dead_letter *letter), void *arg,
                      struct rn_err *err)
{
    int n = 0, rc;
    while ((rc = rn_stmt_step(stmt, err)) > 0) {
        struct dead_letter letter;
        read_letter(stmt, &letter);
        n++;
        if (!visit(arg, &letter))
            break;
    }
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : n;
}

int deadletters_list(struct deadletters *s, const char *sink, int64_t after, uint32_t max,
                     bool (*visit)(void *arg, const struct dead_letter *), void *arg,
                     struct rn_err *err)
{
    rn_bind_int(s->list, 1, after);
    rn_bind_text(s->list, 2, sink ? sink : "");
    rn_bind_int(s->list, 3, max);
    return visit_rows(s->list, visit, arg, err);
}

int deadletters_waiting(struct deadletters *s, const char *sink, uint32_t max,
                        bool (*visit)(void *arg, const struct dead_letter *), void *arg,
                        struct rn_err *err)
{
    rn_bind_text(s->waiting, 1, sink);
    rn_bind_int(s->waiting, 2, max);
    return visit_rows(s->waiting, visit, arg, err);
}

// Runs a changing statement; returns how many rows it touched.
static int run_counted(struct deadletters *s, struct rn_stmt *stmt, struct rn_err *err)
{
    int rc = rn_stmt_run(stmt, err);
    return rc < 0 ? rc : (int)rn_db_changes(s->db);
}

int deadletters_replay(struct deadletters *s, int64_t id, const char *sink, struct rn_err *err)
{
    if (!id) {
        rn_bind_text(s->mark_all, 1, sink ? sink : "");
        return run_counted(s, s->mark_all, err);
    }
    rn_bind_int(s->kind_of, 1, id);
    int rc = rn_stmt_step(s->kind_of, err);
    bool batch = rc > 0 && rn_column_int(s->kind_of, 0) == DEAD_BATCH;
    rn_stmt_reset(s->kind_of);
    if (rc <= 0)
        return rc < 0 ? rc : rn_fail(err, RN_ENOENT, "there is no dead letter %lld", (long long)id);
    if (batch)
        return rn_fail(err, RN_EUNSUPPORTED, "dead letter %lld is a batch that does not decode",
                       (long long)id);
    rn_bind_int(s->mark, 1, id);
    return run_counted(s, s->mark, err);
}

int deadletters_delete(struct deadletters *s, int64_t id, const char *sink, struct rn_err *err)
{
    if (id) {
        rn_bind_int(s->drop_one, 1, id);
        return run_counted(s, s->drop_one, err);
    }
    rn_bind_text(s->drop_all, 1, sink ? sink : "");
    return run_counted(s, s->drop_all, err);
}

int deadletters_failed(struct deadletters *s, int64_t id, const char *reason, struct rn_err *err)
{
    rn_bind_int(s->failed, 1, id);
    rn_bind_text(s->failed, 2, reason);
    return run_counted(s, s->failed, err);
}

int deadletters_counts(struct deadletters *s, struct deadletters_counts *out, struct rn_err *err)
{
    int rc = rn_db_get_int(s->db, "SELECT letters FROM counts", 0, &out->letters, err);
    if (rc >= 0)
        rc = rn_db_get_int(s->db, "SELECT bytes FROM counts", 0, &out->bytes, err);
    if (rc >= 0)
        rc = rn_db_get_int(s->db, "SELECT dropped FROM counts", 0, &out->dropped, err);
    return rc;
}
