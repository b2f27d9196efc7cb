// See schemas.h.
#include "bridge/schemas.h"

#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <stdlib.h>
#include <string.h>

static const char create_sql[] =
    "CREATE TABLE IF NOT EXISTS object(row INTEGER PRIMARY KEY AUTOINCREMENT,"
    " hash BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, owner TEXT NOT NULL, body BLOB,"
    " ncolumns INTEGER NOT NULL DEFAULT 0, unit_ns INTEGER NOT NULL DEFAULT 0,"
    " step INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX IF NOT EXISTS object_owner ON object(owner);"
    "CREATE TABLE IF NOT EXISTS binding(n INTEGER PRIMARY KEY AUTOINCREMENT, dev TEXT NOT NULL,"
    " install INTEGER NOT NULL, kind INTEGER NOT NULL, id INTEGER NOT NULL,"
    " object INTEGER NOT NULL, UNIQUE(dev, install, kind, id));";

#define INFO_COLUMNS "row, body IS NOT NULL, ncolumns, unit_ns, step"

enum { LOOKUP, FIND, OWNED, ADD, FILL, BOUND, BIND, COUNT_BOUND, UNBIND_OLDEST, FORGET, NSTMTS };
static const char *const statement_sql[NSTMTS] = {
    [LOOKUP] = "SELECT " INFO_COLUMNS " FROM binding JOIN object ON row = object"
               " WHERE dev = ?1 AND install = ?2 AND binding.kind = ?3 AND id = ?4",
    [FIND] = "SELECT " INFO_COLUMNS " FROM object WHERE hash = ?1 AND kind = ?2",
    [OWNED] = "SELECT count(*) FROM object WHERE owner = ?1",
    [ADD] = "INSERT INTO object(hash, kind, owner) VALUES(?1, ?2, ?3)",
    [FILL] = "UPDATE object SET body = ?2, ncolumns = ?3, unit_ns = ?4, step = ?5 WHERE row = ?1",
    [BOUND] =
        "SELECT object FROM binding WHERE dev = ?1 AND install = ?2 AND kind = ?3 AND id = ?4",
    [BIND] = "INSERT INTO binding(dev, install, kind, id, object) VALUES(?1, ?2, ?3, ?4, ?5)",
    [COUNT_BOUND] = "SELECT count(*) FROM binding WHERE dev = ?1 AND install = ?2",
    [UNBIND_OLDEST] = ("DELETE FROM binding WHERE n = (SELECT min(n) FROM binding"
                       " WHERE dev = ?1 AND install = ?2)"),
    [FORGET] = "DELETE FROM binding WHERE dev = ?1 AND install = ?2",
};

struct schemas {
    struct rn_db *db;
    struct rn_stmt *stmt[NSTMTS];
    void *scratch; // RN_SCHEMA_STORAGE, for parsing
};

int schemas_open(struct schemas **out, const char *folder, struct rn_err *err)
{
    char path[512];
    int rc = rn_path_join(path, sizeof path, folder, "schemas.db", err);
    if (rc)
        return rc;
    struct schemas *schemas = calloc(1, sizeof *schemas);
    if (!schemas)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct rn_db_conf conf = {.path = path};
    schemas->scratch = malloc(RN_SCHEMA_STORAGE);
    rc = schemas->scratch ? rn_db_open(&schemas->db, &conf, err)
                          : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc == RN_OK)
        rc = rn_db_exec(schemas->db, create_sql, err);
    for (int i = 0; rc == RN_OK && i < NSTMTS; i++)
        rc = rn_db_prepare(&schemas->stmt[i], schemas->db, statement_sql[i], err);
    if (rc) {
        schemas_close(schemas);
        return rc;
    }
    *out = schemas;
    return RN_OK;
}

void schemas_close(struct schemas *schemas)
{
    if (!schemas)
        return;
    for (int i = 0; i < NSTMTS; i++)
        rn_stmt_free(schemas->stmt[i]);
    rn_db_close(schemas->db);
    free(schemas->scratch);
    free(schemas);
}

static struct rn_stmt *bind_id(struct schemas *schemas, int which, const char *dev,
                               uint64_t install, enum rn_object kind, uint32_t id)
{
    struct rn_stmt *stmt = schemas->stmt[which];
    rn_bind_text(stmt, 1, dev);
    rn_bind_int(stmt, 2, (int64_t)install);
    rn_bind_int(stmt, 3, kind);
    rn_bind_int(stmt, 4, id);
    return stmt;
}

static struct rn_stmt *bind_install(struct schemas *schemas, int which, const char *dev,
                                    uint64_t install)
{
    struct rn_stmt *stmt = schemas->stmt[which];
    rn_bind_text(stmt, 1, dev);
    rn_bind_int(stmt, 2, (int64_t)install);
    return stmt;
}

static int read_info(struct rn_stmt *stmt, struct schemas_info *out, struct rn_err *err)
{
    int rc = rn_stmt_step(stmt, err);
    if (rc == 1)
        *out = (struct schemas_info){.row = rn_column_int(stmt, 0),
                                     .complete = rn_column_int(stmt, 1) != 0,
                                     .ncolumns = (uint32_t)rn_column_int(stmt, 2),
                                     .unit_ns = (uint64_t)rn_column_int(stmt, 3),
                                     .step = (uint64_t)rn_column_int(stmt, 4)};
    rn_stmt_reset(stmt);
    if (rc == 0)
        return rn_fail(err, RN_ENOENT, "not known");
    return rc < 0 ? rc : RN_OK;
}

// The first column of the first row; -1 if there is none.
static int64_t read_int(struct rn_stmt *stmt)
{
    int64_t value = rn_stmt_step(stmt, NULL) == 1 ? rn_column_int(stmt, 0) : -1;
    rn_stmt_reset(stmt);
    return value;
}

int schemas_lookup(struct schemas *schemas, const char *dev, uint64_t install, enum rn_object kind,
                   uint32_t id, struct schemas_info *out, struct rn_err *err)
{
    return read_info(bind_id(schemas, LOOKUP, dev, install, kind, id), out, err);
}

static int find(struct schemas *schemas, const struct rn_key_msg *msg, struct schemas_info *out,
                struct rn_err *err)
{
    struct rn_stmt *stmt = schemas->stmt[FIND];
    rn_bind_blob(stmt, 1, (struct rn_span){msg->hash, RN_HASH_BYTES});
    rn_bind_int(stmt, 2, msg->kind);
    return read_info(stmt, out, err);
}

static int add(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
               struct schemas_info *out, struct rn_err *err)
{
    struct rn_stmt *stmt = schemas->stmt[OWNED];
    rn_bind_text(stmt, 1, dev);
    if (read_int(stmt) >= SCHEMAS_MAX_OWNED)
        return rn_fail(err, RN_ELIMIT, "the device brought %d objects already", SCHEMAS_MAX_OWNED);
    stmt = schemas->stmt[ADD];
    rn_bind_blob(stmt, 1, (struct rn_span){msg->hash, RN_HASH_BYTES});
    rn_bind_int(stmt, 2, msg->kind);
    rn_bind_text(stmt, 3, dev);
    int rc = rn_stmt_run(stmt, err);
    if (rc == RN_OK)
        *out = (struct schemas_info){.row = rn_db_last_rowid(schemas->db)};
    return rc;
}

// Content whose hash and form were checked.
static int fill(struct schemas *schemas, const struct rn_key_msg *msg,
                const struct rn_schema *parsed, struct schemas_info *info, struct rn_err *err)
{
    info->complete = true;
    info->ncolumns = parsed->ncolumns;
    info->unit_ns = parsed->unit_ns;
    info->step = parsed->step;
    struct rn_stmt *stmt = schemas->stmt[FILL];
    rn_bind_int(stmt, 1, info->row);
    rn_bind_blob(stmt, 2, msg->object);
    rn_bind_int(stmt, 3, parsed->ncolumns);
    rn_bind_int(stmt, 4, (int64_t)parsed->unit_ns);
    rn_bind_int(stmt, 5, (int64_t)parsed->step);
    return rn_stmt_run(stmt, err);
}

static int bind(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                int64_t object, struct rn_err *err)
{
    int64_t bound = read_int(bind_id(schemas, BOUND, dev, msg->install, msg->kind, msg->id));
    if (bound == object)
        return RN_OK;
    if (bound >= 0)
        return rn_fail(err, RN_ECONFLICT, "id %u is bound to another object", msg->id);
    int64_t count = read_int(bind_install(schemas, COUNT_BOUND, dev, msg->install));
    if (count >= SCHEMAS_MAX_BINDINGS) {
        int rc = rn_stmt_run(bind_install(schemas, UNBIND_OLDEST, dev, msg->install), err);
        if (rc)
            return rc;
    }
    struct rn_stmt *stmt = bind_id(schemas, BIND, dev, msg->install, msg->kind, msg->id);
    rn_bind_int(stmt, 5, object);
    return rn_stmt_run(stmt, err);
}

static int check_object(struct schemas *schemas, const struct rn_key_msg *msg,
                        struct rn_schema *parsed, struct rn_err *err)
{
    uint8_t hash[RN_SHA256_BYTES];
    memset(parsed, 0, sizeof *parsed);
    if (!msg->has_object)
        return RN_OK;
    rn_sha256(hash, msg->object.data, msg->object.len);
    if (memcmp(hash, msg->hash, sizeof hash) != 0)
        return rn_fail(err, RN_EFORMAT, "the object does not have the hash that it claims");
    if (msg->kind != RN_OBJECT_SCHEMA)
        return RN_OK;
    return rn_schema_decode(msg->object, parsed, schemas->scratch, RN_SCHEMA_STORAGE, err);
}

static int take(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                const struct rn_schema *parsed, struct schemas_info *out, uint64_t *bytes,
                struct rn_err *err)
{
    int rc = find(schemas, msg, out, err);
    if (rc == RN_ENOENT)
        rc = add(schemas, dev, msg, out, err);
    if (rc == RN_OK && msg->has_object && !out->complete) {
        *bytes = msg->object.len;
        rc = fill(schemas, msg, parsed, out, err);
    }
    return rc == RN_OK ? bind(schemas, dev, msg, out->row, err) : rc;
}

int schemas_take(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                 struct schemas_info *out, uint64_t *bytes, struct rn_err *err)
{
    struct rn_schema parsed;
    *bytes = 0;
    int rc = check_object(schemas, msg, &parsed, err);
    if (rc)
        return rc;
    rc = rn_db_begin(schemas->db, err);
    if (rc)
        return rc;
    rc = take(schemas, dev, msg, &parsed, out, bytes, err);
    if (rc == RN_OK)
        rc = rn_db_commit(schemas->db, err);
    if (rc)
        rn_db_rollback(schemas->db);
    return rc;
}

int schemas_forget(struct schemas *schemas, const char *dev, uint64_t install, struct rn_err *err)
{
    return rn_stmt_run(bind_install(schemas, FORGET, dev, install), err);
}

void schemas_counts(struct schemas *schemas, struct schemas_counts *out)
{
    out->objects = rn_db_int(schemas->db, "SELECT count(*) FROM object", 0);
    out->bytes = rn_db_int(schemas->db, "SELECT coalesce(sum(length(body)), 0) FROM object", 0);
    out->bindings = rn_db_int(schemas->db, "SELECT count(*) FROM binding", 0);
}
