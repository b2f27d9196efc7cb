// See state.h.
#include "agent/state.h"

#include <runnel/db.h>
#include <runnel/file.h>
#include <runnel/log.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EPOCH_BLOCK = 64 };

static const int64_t pause_min_ms = 60000, pause_max_ms = 3600000;

struct state {
    struct rn_db *db;
    struct rn_stmt *get, *put, *drop;
};

static int open_db(struct state *s, const char *path, struct rn_err *err)
{
    struct rn_db_conf conf = {
        .path = path, .page_size = 1024, .max_bytes = 1 << 20, .cache_kib = 16, .wal_pages = 32};
    int rc = rn_db_open(&s->db, &conf, err);
    if (rc >= 0)
        rc = rn_db_exec(s->db,
                        "CREATE TABLE IF NOT EXISTS state(name TEXT PRIMARY KEY, value BLOB) "
                        "WITHOUT ROWID",
                        err);
    if (rc >= 0)
        rc = rn_db_check(s->db, err);
    if (rc >= 0)
        rc = rn_db_prepare(&s->get, s->db, "SELECT value FROM state WHERE name=?", err);
    if (rc >= 0)
        rc = rn_db_prepare(&s->put, s->db, "INSERT OR REPLACE INTO state VALUES(?,?)", err);
    if (rc >= 0)
        rc = rn_db_prepare(&s->drop, s->db, "DELETE FROM state WHERE name=?", err);
    return rc;
}

static int open_read(struct state *s, const char *folder, struct rn_err *err)
{
    char path[500];
    struct rn_db_conf conf = {.path = path, .cache_kib = 16, .read_only = true};
    int rc = rn_path_join(path, sizeof path, folder, "state.db", err);
    if (rc >= 0 && access(path, F_OK) != 0)
        return errno == ENOENT
                   ? rn_fail(err, RN_ENOENT, "%s: no agent has used this folder yet", path)
                   : rn_fail_errno(err, "%s", path);
    if (rc >= 0)
        rc = rn_db_open(&s->db, &conf, err);
    return rc < 0 ? rc : rn_db_prepare(&s->get, s->db, "SELECT value FROM state WHERE name=?", err);
}

static void close_db(struct state *s)
{
    rn_stmt_free(s->get);
    rn_stmt_free(s->put);
    rn_stmt_free(s->drop);
    rn_db_close(s->db);
    *s = (struct state){0};
}

static void set_aside(const char *path)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char from[520], to[520];
        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s.damaged%s", path, parts[i]);
        (void)!rename(from, to);
    }
}

int state_open(struct state **out, const char *folder, bool *renewed, struct rn_err *err)
{
    char path[500];
    *renewed = false;
    int rc = rn_mkdirs(folder, 0700, err);
    if (rc >= 0)
        rc = rn_path_join(path, sizeof path, folder, "state.db", err);
    if (rc < 0)
        return rc;
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rc = open_db(s, path, err);
    if (rc == RN_ECORRUPT) {
        close_db(s);
        set_aside(path);
        *renewed = true;
        rc = open_db(s, path, err);
    }
    if (rc < 0) {
        state_close(s);
        return rc;
    }
    *out = s;
    return RN_OK;
}

struct state *state_open_or_go_on(const char *folder)
{
    struct state *state = NULL;
    struct rn_err why;
    bool renewed;
    if (state_open(&state, folder, &renewed, &why) < 0)
        rn_log(RN_LOG_ERROR, "state_not_kept", "err=%s", RN_Q(why.text));
    else if (renewed)
        rn_log(RN_LOG_ERROR, "state_damaged", "data=%s", RN_Q(folder));
    return state;
}

int state_open_read(struct state **out, const char *folder, struct rn_err *err)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = open_read(s, folder, err);
    if (rc < 0) {
        state_close(s);
        return rc;
    }
    *out = s;
    return RN_OK;
}

void state_close(struct state *state)
{
    if (!state)
        return;
    close_db(state);
    free(state);
}

static int put_one(struct state *state, const struct state_value *v, struct rn_err *err)
{
    struct rn_stmt *stmt = v->value.data ? state->put : state->drop;
    rn_bind_text(stmt, 1, v->name);
    if (v->value.data)
        rn_bind_blob(stmt, 2, v->value);
    return rn_stmt_run(stmt, err);
}

int state_put_all(struct state *state, const struct state_value *values, size_t count,
                  struct rn_err *err)
{
    int rc = rn_db_begin(state->db, err);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = put_one(state, &values[i], err);
    if (rc >= 0)
        rc = rn_db_commit(state->db, err);
    if (rc < 0)
        rn_db_rollback(state->db);
    return rc;
}

int state_put(struct state *state, const char *name, struct rn_span value, struct rn_err *err)
{
    const struct state_value one = {.name = name, .value = value};
    return state_put_all(state, &one, 1, err);
}

int state_get(struct state *state, const char *name, struct rn_buf *out, struct rn_err *err)
{
    rn_bind_text(state->get, 1, name);
    int rc = rn_stmt_step(state->get, err);
    if (rc == 1) {
        struct rn_span value = rn_column_blob(state->get, 0);
        rn_buf_append(out, value.data, value.len);
    }
    rn_stmt_reset(state->get);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return rn_fail(err, RN_ENOENT, "nothing is stored under %s", name);
    if (rn_buf_ok(out))
        return RN_OK;
    return rn_fail(err, rn_buf_status(out), "there is no room for %s", name);
}

// ---- epochs -------------------------------------------------------------------------------------

static void reserve(struct epochs *e, struct state *state)
{
    uint64_t up_to = e->last + EPOCH_BLOCK;
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(up_to >> (8 * i));
    struct rn_err err;
    if (state_put(state, "epoch", (struct rn_span){bytes, sizeof bytes}, &err) >= 0)
        e->reserved = up_to;
}

// Until it could be read nothing is reserved: that would put lower numbers in its place.
static void recall(struct epochs *e, struct state *state)
{
    uint8_t bytes[8] = {0};
    uint64_t reserved = 0;
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, bytes, sizeof bytes);
    int rc = state_get(state, "epoch", &buf, NULL);
    e->recalled = rc >= 0 || rc == RN_ENOENT || rc == RN_ELIMIT;
    for (int i = 0; rc >= 0 && i < 8; i++)
        reserved |= (uint64_t)bytes[i] << (8 * i);
    if (reserved > e->last)
        e->last = reserved;
    e->reserved = reserved;
}

void epochs_init(struct epochs *epochs, struct state *state, int64_t utc_ms)
{
    *epochs = (struct epochs){0};
    if (!state) {
        epochs->last = utc_ms > 0 ? (uint64_t)utc_ms / 1000 : 0;
        return;
    }
    recall(epochs, state);
}

uint64_t epochs_next(struct epochs *epochs, struct state *state)
{
    // A failed reservation is tried again with the next one; the bridge mends what a crash repeats.
    if (state && !epochs->recalled)
        recall(epochs, state);
    if (state && epochs->recalled && epochs->last >= epochs->reserved)
        reserve(epochs, state);
    return ++epochs->last;
}

bool epochs_lift(struct epochs *epochs, uint64_t seen)
{
    if (seen <= epochs->last)
        return true;
    if (seen > EPOCH_LIFT_MAX)
        return false;
    epochs->last = seen;
    return true;
}

bool epochs_reconnect(struct epochs *epochs, int64_t mono_ms)
{
    if (mono_ms < epochs->reconnect_ms)
        return false;
    bool quiet = mono_ms - epochs->reconnect_ms >= pause_max_ms;
    int64_t pause = epochs->pause_ms == 0 || quiet ? pause_min_ms : epochs->pause_ms;
    epochs->reconnect_ms = mono_ms + pause;
    epochs->pause_ms = 2 * pause < pause_max_ms ? 2 * pause : pause_max_ms;
    return true;
}
