// See schemas.h.
#include "bridge/schemas.h"

#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT   2 // user_version
#define PATH_LEN 512

static const char create_sql[] =
    "BEGIN;"
    "DROP TABLE IF EXISTS object;"
    "DROP TABLE IF EXISTS binding;"
    "CREATE TABLE object(row INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL,"
    " kind INTEGER NOT NULL, body BLOB, ncolumns INTEGER NOT NULL DEFAULT 0,"
    " unit_ns INTEGER NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0, UNIQUE(hash, kind));"
    "CREATE TABLE binding(n INTEGER PRIMARY KEY AUTOINCREMENT, dev TEXT NOT NULL,"
    " install INTEGER NOT NULL, kind INTEGER NOT NULL, id INTEGER NOT NULL,"
    " object INTEGER NOT NULL, disputed INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE(dev, install, kind, id));"
    "CREATE INDEX binding_object ON binding(object);"
    "PRAGMA user_version = 2;"
    "COMMIT";

#define INFO_COLUMNS "row, body IS NOT NULL, ncolumns, unit_ns, step, hash"

enum {
    LOOKUP,
    FIND,
    CONTENT,
    ADD,
    FILL,
    EMPTY,
    BOUND,
    BIND,
    COUNT_BOUND,
    OLDEST,
    BYTES,
    OLDEST_BYTES,
    UNBIND,
    DISPUTE,
    DROP_UNBOUND,
    DROP_OF_INSTALL,
    FORGET,
    NSTMTS
};
static const char *const statement_sql[NSTMTS] = {
    [LOOKUP] = "SELECT " INFO_COLUMNS ", disputed FROM binding JOIN object ON row = object"
               " WHERE dev = ?1 AND install = ?2 AND binding.kind = ?3 AND id = ?4",
    [FIND] = "SELECT " INFO_COLUMNS ", 0 FROM object WHERE hash = ?1 AND kind = ?2",
    [CONTENT] = "SELECT body FROM object WHERE row = ?1 AND body IS NOT NULL",
    [ADD] = "INSERT INTO object(hash, kind) VALUES(?1, ?2)",
    [FILL] = "UPDATE object SET body = ?2, ncolumns = ?3, unit_ns = ?4, step = ?5 WHERE row = ?1",
    [EMPTY] = "UPDATE object SET body = NULL WHERE row = ?1",
    [BOUND] =
        "SELECT object FROM binding WHERE dev = ?1 AND install = ?2 AND kind = ?3 AND id = ?4",
    [BIND] = "INSERT INTO binding(dev, install, kind, id, object) VALUES(?1, ?2, ?3, ?4, ?5)",
    [COUNT_BOUND] = "SELECT count(*) FROM binding WHERE dev = ?1 AND install = ?2 AND kind = ?3",
    [OLDEST] = ("SELECT n, object FROM binding WHERE dev = ?1 AND install = ?2 AND kind = ?3"
                " ORDER BY n LIMIT 1"),
    [BYTES] = "SELECT coalesce(sum(length(body)), 0) FROM binding JOIN object ON row = object"
              " WHERE dev = ?1",
    [OLDEST_BYTES] = "SELECT n, object, length(body) FROM binding JOIN object ON row = object"
                     " WHERE dev = ?1 AND body IS NOT NULL ORDER BY n LIMIT 1",
    [UNBIND] = "DELETE FROM binding WHERE n = ?1",
    [DISPUTE] = ("UPDATE binding SET disputed = 1"
                 " WHERE dev = ?1 AND install = ?2 AND kind = ?3 AND id = ?4"),
    [DROP_UNBOUND] = ("DELETE FROM object WHERE row = ?1"
                      " AND NOT EXISTS(SELECT 1 FROM binding WHERE object = ?1)"),
    [DROP_OF_INSTALL] = ("DELETE FROM object WHERE row IN"
                         " (SELECT object FROM binding WHERE dev = ?1 AND install = ?2)"
                         " AND NOT EXISTS(SELECT 1 FROM binding WHERE object = row"
                         " AND (dev <> ?1 OR install <> ?2))"),
    [FORGET] = "DELETE FROM binding WHERE dev = ?1 AND install = ?2",
};

// Of a parsed object.
struct facts {
    uint32_t ncolumns;
    uint64_t unit_ns, step;
};

struct schemas {
    struct rn_db *db;
    struct rn_stmt *stmt[NSTMTS];
    char quarantined[PATH_LEN + 16];
    union { // for parsing
        struct rn_hints hints;
        struct rn_base base;
        uint64_t schema[RN_SCHEMA_STORAGE / sizeof(uint64_t)];
    } scratch;
};

// ---- opening -----------------------------------------------------------------------------------

static int open_db(struct schemas *schemas, const char *path, struct rn_err *err)
{
    struct rn_db_conf conf = {.path = path};
    int64_t format;
    int rc = rn_db_open(&schemas->db, &conf, err);
    if (rc == RN_OK)
        rc = rn_db_check(schemas->db, err);
    if (rc == RN_OK)
        rc = rn_db_get_int(schemas->db, "PRAGMA user_version", 0, &format, err);
    if (rc == RN_OK && format != FORMAT)
        rc = rn_db_exec(schemas->db, create_sql, err);
    if (rc) {
        rn_db_close(schemas->db);
        schemas->db = NULL;
    }
    return rc;
}

static int quarantine(struct schemas *schemas, const char *path, struct rn_err *err)
{
    static const char *const tails[] = {"-wal", "-shm"}; // not to be applied to another file
    char name[PATH_LEN + 8];
    snprintf(schemas->quarantined, sizeof schemas->quarantined, "%s.damaged", path);
    if (rename(path, schemas->quarantined) != 0)
        return rn_fail_errno(err, "cannot put aside the damaged %s", path);
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        snprintf(name, sizeof name, "%s%s", path, tails[i]);
        unlink(name);
    }
    return open_db(schemas, path, err);
}

int schemas_open(struct schemas **out, const char *folder, struct rn_err *err)
{
    char path[PATH_LEN];
    int rc = rn_path_join(path, sizeof path, folder, "schemas.db", err);
    if (rc)
        return rc;
    struct schemas *schemas = calloc(1, sizeof *schemas);
    if (!schemas)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rc = open_db(schemas, path, err);
    if (rc == RN_ECORRUPT)
        rc = quarantine(schemas, path, err);
    for (int i = 0; rc == RN_OK && i < NSTMTS; i++)
        rc = rn_db_prepare(&schemas->stmt[i], schemas->db, statement_sql[i], err);
    if (rc) {
        schemas_close(schemas);
        return rc;
    }
    *out = schemas;
    return RN_OK;
}

const char *schemas_quarantined(const struct schemas *schemas)
{
    return schemas->quarantined;
}

void schemas_close(struct schemas *schemas)
{
    if (!schemas)
        return;
    for (int i = 0; i < NSTMTS; i++)
        rn_stmt_free(schemas->stmt[i]);
    rn_db_close(schemas->db);
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

// ---- looking up --------------------------------------------------------------------------------

static int read_info(struct rn_stmt *stmt, struct schemas_info *out, struct rn_err *err)
{
    int rc = rn_stmt_step(stmt, err);
    if (rc == 1) {
        struct rn_span hash = rn_column_blob(stmt, 5);
        *out = (struct schemas_info){.row = rn_column_int(stmt, 0),
                                     .complete = rn_column_int(stmt, 1) != 0,
                                     .ncolumns = (uint32_t)rn_column_int(stmt, 2),
                                     .unit_ns = (uint64_t)rn_column_int(stmt, 3),
                                     .step = (uint64_t)rn_column_int(stmt, 4),
                                     .disputed = rn_column_int(stmt, 6) != 0};
        if (hash.len == RN_HASH_BYTES)
            memcpy(out->hash, hash.data, RN_HASH_BYTES);
    }
    rn_stmt_reset(stmt);
    if (rc == 0)
        return rn_fail(err, RN_ENOENT, "not known");
    return rc < 0 ? rc : RN_OK;
}

// The first column of the first row; -1 if there is none.
static int read_int(struct rn_stmt *stmt, int64_t *value, struct rn_err *err)
{
    int rc = rn_stmt_step(stmt, err);
    *value = rc == 1 ? rn_column_int(stmt, 0) : -1;
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : RN_OK;
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

int schemas_content(struct schemas *schemas, const struct schemas_info *info, struct rn_buf *out,
                    struct rn_err *err)
{
    uint8_t hash[RN_SHA256_BYTES];
    struct rn_stmt *stmt = schemas->stmt[CONTENT];
    rn_bind_int(stmt, 1, info->row);
    int rc = rn_stmt_step(stmt, err);
    rn_buf_clear(out);
    if (rc == 1) {
        struct rn_span body = rn_column_blob(stmt, 0);
        rn_buf_append(out, body.data, body.len);
        rn_sha256(hash, body.data, body.len);
    }
    rn_stmt_reset(stmt);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return rn_fail(err, RN_ENOENT, "the object is not here");
    if (rn_buf_status(out) == RN_ENOMEM)
        return rn_fail(err, RN_ENOMEM, "no memory for an object");
    if (rn_buf_ok(out) && memcmp(hash, info->hash, sizeof hash) == 0)
        return RN_OK;
    rn_bind_int(schemas->stmt[EMPTY], 1, info->row);
    rc = rn_stmt_run(schemas->stmt[EMPTY], err);
    return rc < 0 ? rc : rn_fail(err, RN_ENOENT, "the object was damaged");
}

// ---- taking ------------------------------------------------------------------------------------

static int add(struct schemas *schemas, const struct rn_key_msg *msg, struct schemas_info *out,
               struct rn_err *err)
{
    struct rn_stmt *stmt = schemas->stmt[ADD];
    rn_bind_blob(stmt, 1, (struct rn_span){msg->hash, RN_HASH_BYTES});
    rn_bind_int(stmt, 2, msg->kind);
    int rc = rn_stmt_run(stmt, err);
    if (rc)
        return rc;
    *out = (struct schemas_info){.row = rn_db_last_rowid(schemas->db)};
    memcpy(out->hash, msg->hash, RN_HASH_BYTES);
    return RN_OK;
}

// Content whose hash and form were checked.
static int fill(struct schemas *schemas, const struct rn_key_msg *msg, const struct facts *facts,
                struct schemas_info *info, struct rn_err *err)
{
    info->complete = true;
    info->ncolumns = facts->ncolumns;
    info->unit_ns = facts->unit_ns;
    info->step = facts->step;
    struct rn_stmt *stmt = schemas->stmt[FILL];
    rn_bind_int(stmt, 1, info->row);
    rn_bind_blob(stmt, 2, msg->object);
    rn_bind_int(stmt, 3, facts->ncolumns);
    rn_bind_int(stmt, 4, (int64_t)facts->unit_ns);
    rn_bind_int(stmt, 5, (int64_t)facts->step);
    return rn_stmt_run(stmt, err);
}

static struct rn_stmt *bind_kind(struct schemas *schemas, int which, const char *dev,
                                 const struct rn_key_msg *msg)
{
    struct rn_stmt *stmt = bind_install(schemas, which, dev, msg->install);
    rn_bind_int(stmt, 3, msg->kind);
    return stmt;
}

// Removes the binding that `oldest` finds: its number and its object.
static int unbind(struct schemas *schemas, struct rn_stmt *oldest, int64_t *bytes,
                  struct rn_err *err)
{
    int rc = rn_stmt_step(oldest, err);
    int64_t n = rc == 1 ? rn_column_int(oldest, 0) : 0;
    int64_t object = rc == 1 ? rn_column_int(oldest, 1) : 0;
    if (bytes)
        *bytes = rc == 1 ? rn_column_int(oldest, 2) : 0;
    rn_stmt_reset(oldest);
    if (rc < 0)
        return rc;
    rn_bind_int(schemas->stmt[UNBIND], 1, n);
    rc = rn_stmt_run(schemas->stmt[UNBIND], err);
    if (rc)
        return rc;
    rn_bind_int(schemas->stmt[DROP_UNBOUND], 1, object);
    return rn_stmt_run(schemas->stmt[DROP_UNBOUND], err);
}

// Shared objects count for each device that has them bound, and as often as it has.
static int keep_within_bytes(struct schemas *schemas, const char *dev, struct schemas_taken *out,
                             struct rn_err *err)
{
    int64_t bytes = 0, held;
    rn_bind_text(schemas->stmt[BYTES], 1, dev);
    int rc = read_int(schemas->stmt[BYTES], &held, err);
    if (rc)
        return rc;
    for (; held > SCHEMAS_MAX_BYTES; held -= bytes) {
        rn_bind_text(schemas->stmt[OLDEST_BYTES], 1, dev);
        rc = unbind(schemas, schemas->stmt[OLDEST_BYTES], &bytes, err);
        if (rc || bytes == 0)
            return rc;
        out->replaced = true;
    }
    return RN_OK;
}

static int bind(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                struct schemas_taken *out, struct rn_err *err)
{
    int64_t bound, count = 0;
    int rc = read_int(bind_id(schemas, BOUND, dev, msg->install, msg->kind, msg->id), &bound, err);
    if (rc || bound == out->info.row)
        return rc;
    if (bound >= 0)
        return rn_fail(err, RN_ECONFLICT, "id %u is bound to another object", msg->id);
    rc = read_int(bind_kind(schemas, COUNT_BOUND, dev, msg), &count, err);
    out->replaced = count >= SCHEMAS_MAX_BINDINGS;
    if (rc == RN_OK && out->replaced)
        rc = unbind(schemas, bind_kind(schemas, OLDEST, dev, msg), NULL, err);
    if (rc)
        return rc;
    struct rn_stmt *stmt = bind_id(schemas, BIND, dev, msg->install, msg->kind, msg->id);
    rn_bind_int(stmt, 5, out->info.row);
    return rn_stmt_run(stmt, err);
}

static int parse(struct schemas *schemas, const struct rn_key_msg *msg, struct facts *out,
                 struct rn_err *err)
{
    struct rn_schema schema;
    int rc;
    switch (msg->kind) {
    case RN_OBJECT_SCHEMA:
        rc =
            rn_schema_decode(msg->object, &schema, schemas->scratch.schema, RN_SCHEMA_STORAGE, err);
        if (rc == RN_OK)
            *out = (struct facts){schema.ncolumns, schema.unit_ns, schema.step};
        return rc;
    case RN_OBJECT_HINTS:
        rc = rn_hints_decode(msg->object, &schemas->scratch.hints, err);
        out->ncolumns = rc ? 0 : schemas->scratch.hints.ncolumns;
        return rc;
    case RN_OBJECT_BASE:
        rc = rn_base_decode(msg->object, &schemas->scratch.base, err);
        out->ncolumns = rc ? 0 : schemas->scratch.base.ncolumns;
        return rc;
    }
    return rn_fail(err, RN_EUNSUPPORTED, "objects of kind %d are not known", (int)msg->kind);
}

static int check_object(struct schemas *schemas, const struct rn_key_msg *msg, struct facts *out,
                        struct rn_err *err)
{
    uint8_t hash[RN_SHA256_BYTES];
    if (!msg->has_object)
        return RN_OK;
    rn_sha256(hash, msg->object.data, msg->object.len);
    if (memcmp(hash, msg->hash, sizeof hash) != 0)
        return rn_fail(err, RN_EFORMAT, "the object does not have the hash that it claims");
    return parse(schemas, msg, out, err);
}

static int take(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                const struct facts *facts, struct schemas_taken *out, struct rn_err *err)
{
    int rc = find(schemas, msg, &out->info, err);
    if (rc == RN_ENOENT)
        rc = add(schemas, msg, &out->info, err);
    if (rc == RN_OK && msg->has_object && !out->info.complete) {
        out->bytes = msg->object.len;
        rc = fill(schemas, msg, facts, &out->info, err);
    }
    if (rc == RN_OK)
        rc = bind(schemas, dev, msg, out, err);
    return rc == RN_OK ? keep_within_bytes(schemas, dev, out, err) : rc;
}

int schemas_take(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                 struct schemas_taken *out, struct rn_err *err)
{
    struct facts facts = {0};
    *out = (struct schemas_taken){0};
    int rc = check_object(schemas, msg, &facts, err);
    if (rc)
        return rc;
    rc = rn_db_begin(schemas->db, err);
    if (rc)
        return rc;
    rc = take(schemas, dev, msg, &facts, out, err);
    if (rc == RN_OK)
        rc = rn_db_commit(schemas->db, err);
    if (rc)
        rn_db_rollback(schemas->db);
    return rc;
}

int schemas_dispute(struct schemas *schemas, const char *dev, const struct rn_key_msg *msg,
                    struct rn_err *err)
{
    return rn_stmt_run(bind_id(schemas, DISPUTE, dev, msg->install, msg->kind, msg->id), err);
}

// Objects first: which ones are the install's is told by its bindings.
int schemas_forget(struct schemas *schemas, const char *dev, uint64_t install, struct rn_err *err)
{
    int rc = rn_db_begin(schemas->db, err);
    if (rc)
        return rc;
    rc = rn_stmt_run(bind_install(schemas, DROP_OF_INSTALL, dev, install), err);
    if (rc == RN_OK)
        rc = rn_stmt_run(bind_install(schemas, FORGET, dev, install), err);
    if (rc == RN_OK)
        rc = rn_db_commit(schemas->db, err);
    if (rc)
        rn_db_rollback(schemas->db);
    return rc;
}

void schemas_counts(struct schemas *schemas, struct schemas_counts *out)
{
    out->objects = rn_db_int(schemas->db, "SELECT count(*) FROM object", 0);
    out->bytes = rn_db_int(schemas->db, "SELECT coalesce(sum(length(body)), 0) FROM object", 0);
    out->bindings = rn_db_int(schemas->db, "SELECT count(*) FROM binding", 0);
}
