// See cursor_db.h.
#include "bridge/cursor_db.h"

#include <runnel/clock.h>
#include <runnel/file.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_MAX_BYTES 512

static const char setup[] =
    "CREATE TABLE IF NOT EXISTS cursor(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " log_id INTEGER NOT NULL, position INTEGER NOT NULL, saved BLOB NOT NULL)";

// Moves the file and its WAL out of the way.
static int put_aside(const char *path, struct rn_err *err)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char from[PATH_MAX_BYTES + 8], to[PATH_MAX_BYTES + 40];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(from, sizeof from, "%s%s", path, suffixes[i]);
        snprintf(to, sizeof to, "%s.damaged-%lld%s", path, (long long)(rn_clock_utc_ms() / 1000),
                 suffixes[i]);
        if (rename(from, to) < 0 && i == 0)
            return rn_fail_errno(err, "rename %s", from);
    }
    return RN_OK;
}

static int open_file(struct cursor_db *out, const char *path, struct rn_err *err)
{
    int rc = rn_db_open(&out->db, &(struct rn_db_conf){.path = path}, err);
    if (rc == RN_OK)
        rc = rn_db_check(out->db, err);
    if (rc == RN_OK)
        rc = rn_db_exec(out->db, setup, err);
    if (rc < 0) {
        rn_db_close(out->db);
        out->db = NULL;
    }
    return rc;
}

static int read_state(struct cursor_db *out, uint64_t log_id, uint64_t log_head, struct rn_err *err)
{
    struct rn_stmt *stmt;
    int rc = rn_db_prepare(&stmt, out->db, "SELECT log_id, position, saved FROM cursor", err);
    if (rc < 0)
        return rc;
    rc = rn_stmt_step(stmt, err);
    out->fresh = true;
    if (rc > 0) {
        struct rn_span saved = rn_column_blob(stmt, 2);
        rn_buf_append(&out->saved, saved.data, saved.len);
        if (!rn_buf_ok(&out->saved)) // without it a sink would begin anew
            rc = rn_fail(err, rn_buf_status(&out->saved), "no room for what its sink has saved");
        out->position = (uint64_t)rn_column_int(stmt, 1);
        out->fresh = (uint64_t)rn_column_int(stmt, 0) != log_id || out->position > log_head;
    }
    rn_stmt_free(stmt);
    if (out->fresh)
        out->position = 0;
    return rc < 0 ? rc : RN_OK;
}

static int prepare_move(struct cursor_db *out, uint64_t log_id, struct rn_err *err)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "INSERT INTO cursor VALUES(1, %lld, ?1, ?2) ON CONFLICT(one) DO UPDATE"
             " SET log_id = excluded.log_id, position = excluded.position, saved = excluded.saved",
             (long long)log_id);
    return rn_db_prepare(&out->move, out->db, sql, err);
}

int cursor_db_open(struct cursor_db *out, const char *folder, const char *name, uint64_t log_id,
                   uint64_t log_head, struct rn_err *err)
{
    char path[PATH_MAX_BYTES];
    memset(out, 0, sizeof *out);
    rn_buf_init(&out->saved, SINK_SAVED_MAX);
    int n = snprintf(path, sizeof path, "%s/cursor/", folder);
    if (n >= PATH_MAX_BYTES - CURSOR_NAME_MAX - 4)
        return rn_fail(err, RN_ELIMIT, "the folder's path is too long");
    int rc = rn_mkdirs(path, 0750, err);
    if (rc < 0)
        return rc;
    snprintf(path + n, sizeof path - (size_t)n, "%s.db", name);
    rc = open_file(out, path, err);
    if (rc == RN_ECORRUPT) {
        rc = put_aside(path, err);
        out->quarantined = rc == RN_OK;
        if (rc == RN_OK)
            rc = open_file(out, path, err);
    }
    if (rc == RN_OK)
        rc = read_state(out, log_id, log_head, err);
    if (rc == RN_OK)
        rc = prepare_move(out, log_id, err);
    if (rc < 0)
        cursor_db_close(out);
    return rc;
}

void cursor_db_close(struct cursor_db *db)
{
    rn_stmt_free(db->move);
    rn_db_close(db->db);
    rn_buf_release(&db->saved);
    db->move = NULL;
    db->db = NULL;
}

int cursor_db_move(struct cursor_db *db, uint64_t position, const struct cursor_hooks *hooks,
                   struct rn_err *err)
{
    if (!rn_buf_ok(&db->saved))
        return rn_fail(err, rn_buf_status(&db->saved), "no room for what its sink is to save");
    int rc = rn_db_begin(db->db, err);
    if (rc < 0)
        return rc;
    rn_bind_int(db->move, 1, (int64_t)position);
    rn_bind_blob(db->move, 2, rn_buf_span(&db->saved));
    rc = rn_stmt_run(db->move, err);
    if (rc == RN_OK && hooks)
        rc = hooks->commit(hooks->arg, db->db, err);
    if (rc == RN_OK)
        rc = rn_db_commit(db->db, err);
    if (rc < 0)
        rn_db_rollback(db->db);
    else
        db->position = position;
    return rc;
}
