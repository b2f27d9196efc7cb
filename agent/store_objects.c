// The buffer's schemas, hints and bases; see store.h.
#include "agent/store.h"

#include "agent/store_private.h"

#include <stdio.h>
#include <string.h>

enum {
    SCHEMA_ID_MAX = 65535,
    SCHEMA_KEEP = 24, // schemas that no row refers to go when there are more
    OBJECT_SHARE = 8, // hints and bases take at most this part of max_bytes
};

// ---- schemas ------------------------------------------------------------------------------------

static int find_schema(struct store *store, const uint8_t hash[RN_HASH_BYTES], uint32_t *id,
                       struct rn_err *err)
{
    struct rn_stmt *find = store->stmt[SQL_SCHEMA_FIND];
    rn_bind_blob(find, 1, (struct rn_span){hash, RN_HASH_BYTES});
    int rc = rn_stmt_step(find, err);
    if (rc == 1)
        *id = (uint32_t)rn_column_int(find, 0);
    rn_stmt_reset(find);
    return rc;
}

// Schemas that nothing refers to any more go, but not at every change: one may come back.
static int drop_unused_schemas(struct store *store, struct rn_err *err)
{
    int64_t count;
    int rc = rn_db_get_int(store->db, "SELECT count(*) FROM schema", 0, &count, err);
    if (rc < 0 || count < SCHEMA_KEEP)
        return rc;
    return rn_db_exec(store->db,
                      "DELETE FROM schema WHERE id NOT IN (SELECT DISTINCT schema FROM batch) AND "
                      "id NOT IN (SELECT schema FROM journal)",
                      err);
}

// After so many numbers they begin anew (store_open.c): those of schemas that are here are taken.
static int free_number(struct store *store, struct rn_err *err)
{
    for (; store->now.schema_next <= SCHEMA_ID_MAX; store->now.schema_next++) {
        char sql[64];
        int64_t taken;
        snprintf(sql, sizeof sql, "SELECT count(*) FROM schema WHERE id=%u",
                 store->now.schema_next);
        int rc = rn_db_get_int(store->db, sql, 0, &taken, err);
        if (rc < 0 || !taken)
            return rc;
    }
    return rn_fail(err, RN_ELIMIT, "this buffer has used up its schema numbers: restart the agent");
}

static int add_schema(struct store *store, const uint8_t hash[RN_HASH_BYTES], struct rn_span object,
                      uint32_t *id, struct rn_err *err)
{
    int rc = drop_unused_schemas(store, err);
    if (rc >= 0)
        rc = free_number(store, err);
    if (rc < 0)
        return rc;
    struct rn_stmt *add = store->stmt[SQL_SCHEMA_ADD];
    rn_bind_int(add, 1, store->now.schema_next);
    rn_bind_blob(add, 2, (struct rn_span){hash, RN_HASH_BYTES});
    rn_bind_blob(add, 3, object);
    *id = store->now.schema_next++;
    return rn_stmt_run(add, err);
}

int store_schema_id(struct store *store, const uint8_t hash[RN_HASH_BYTES], struct rn_span object,
                    uint32_t *id, struct rn_err *err)
{
    store_release_borrowed(store);
    int rc = find_schema(store, hash, id, err);
    if (rc != 0)
        return rc < 0 ? rc : RN_OK;
    if (store->now.schema_next > SCHEMA_ID_MAX) // no need of a transaction to say so
        return rn_fail(err, RN_ELIMIT,
                       "this buffer has used up its schema numbers: restart the agent");
    rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, add_schema(store, hash, object, id, err), err);
}

int store_schema(struct store *store, uint32_t id, uint8_t hash[RN_HASH_BYTES],
                 struct rn_span *object, struct rn_err *err)
{
    struct rn_stmt *get = store->stmt[SQL_SCHEMA_GET];
    rn_stmt_reset(get);
    rn_bind_int(get, 1, id);
    int rc = rn_stmt_step(get, err);
    if (rc == 1 && rn_column_blob(get, 0).len == RN_HASH_BYTES) {
        memcpy(hash, rn_column_blob(get, 0).data, RN_HASH_BYTES);
        *object = rn_column_blob(get, 1);
        return RN_OK;
    }
    rn_stmt_reset(get);
    return rc < 0 ? rc : rn_fail(err, RN_ENOENT, "there is no schema %u in the buffer", id);
}

// ---- hints and bases ----------------------------------------------------------------------------

// Those of schemas that are gone are nobody's newest any more; those that no row refers to go.
static int drop_unused_objects(struct store *store, struct rn_err *err)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "UPDATE object SET last=%lld WHERE last=9223372036854775807 AND schema NOT IN "
             "(SELECT id FROM schema);"
             "DELETE FROM object WHERE last<9223372036854775807 AND NOT EXISTS "
             "(SELECT 1 FROM batch WHERE seq BETWEEN object.first AND object.last)",
             (long long)store->now.state.next - 1);
    return rn_db_exec(store->db, sql, err);
}

// 1: there is room, 0: there is none now.
static int room_for_object(struct store *store, enum rn_object kind, size_t bytes,
                           struct rn_err *err)
{
    char sql[96];
    int64_t count, held;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM object WHERE kind=%d", kind);
    int rc = drop_unused_objects(store, err);
    if (rc >= 0)
        rc = rn_db_get_int(store->db, sql, 0, &count, err);
    if (rc >= 0)
        rc = rn_db_get_int(store->db, "SELECT sum(length(object)) FROM object", 0, &held, err);
    if (rc < 0)
        return rc;
    if (count >= STORE_OBJECTS || held + (int64_t)bytes > store->conf.max_bytes / OBJECT_SHARE)
        return 0;
    rc = store_make_room(store, bytes, err);
    return rc < 0 ? rc : 1;
}

static int retire_newest(struct store *store, enum rn_object kind, uint32_t schema,
                         struct rn_err *err)
{
    struct rn_stmt *retire = store->stmt[SQL_OBJECT_RETIRE];
    rn_bind_int(retire, 1, kind);
    rn_bind_int(retire, 2, schema);
    rn_bind_int(retire, 3, (int64_t)store->now.state.next - 1);
    return rn_stmt_run(retire, err);
}

// As room_for_object. Having no room is no failure: the transaction holds what was settled, too.
static int add_object(struct store *store, enum rn_object kind, uint32_t schema,
                      const uint8_t hash[RN_HASH_BYTES], struct rn_span object, struct rn_err *err)
{
    struct store_state *state = &store->now.state;
    if (state->objects >= 65535)
        return 0; // all numbers are used up
    int rc = room_for_object(store, kind, object.len, err);
    if (rc <= 0)
        return rc;
    rc = retire_newest(store, kind, schema, err);
    if (rc < 0)
        return rc;
    struct rn_stmt *add = store->stmt[SQL_OBJECT_ADD];
    rn_bind_int(add, 1, kind);
    rn_bind_int(add, 2, schema);
    rn_bind_int(add, 3, (int64_t)state->next);
    rn_bind_blob(add, 4, (struct rn_span){hash, RN_HASH_BYTES});
    rn_bind_blob(add, 5, object);
    rc = rn_stmt_run(add, err);
    if (rc < 0)
        return rc;
    state->objects = (uint32_t)rn_db_last_rowid(store->db);
    state->bytes_written += object.len;
    rc = store_find_low(store, err);
    return rc < 0 ? rc : 1;
}

int store_keep_object(struct store *store, enum rn_object kind, uint32_t schema,
                      const uint8_t hash[RN_HASH_BYTES], struct rn_span object, uint32_t *id,
                      struct rn_err *err)
{
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = store_end(store, add_object(store, kind, schema, hash, object, err), err);
    if (rc == 0)
        return rn_fail(err, RN_ELIMIT, "there is no room for more hints or bases now");
    if (rc > 0)
        *id = store->now.state.objects;
    return rc < 0 ? rc : RN_OK;
}

int store_newest_object(struct store *store, enum rn_object kind, uint32_t schema, uint32_t *id,
                        struct rn_span *object, struct rn_err *err)
{
    struct rn_stmt *get = store->stmt[SQL_OBJECT_NEWEST];
    rn_stmt_reset(get);
    rn_bind_int(get, 1, kind);
    rn_bind_int(get, 2, schema);
    int rc = rn_stmt_step(get, err);
    if (rc == 1) {
        *id = (uint32_t)rn_column_int(get, 0);
        *object = rn_column_blob(get, 1);
        return RN_OK;
    }
    rn_stmt_reset(get);
    return rc < 0 ? rc : rn_fail(err, RN_ENOENT, "schema %u has no such object", schema);
}

int store_object(struct store *store, enum rn_object kind, uint32_t id, uint8_t hash[RN_HASH_BYTES],
                 struct rn_span *object, struct rn_err *err)
{
    struct rn_stmt *get = store->stmt[SQL_OBJECT_GET];
    rn_stmt_reset(get);
    rn_bind_int(get, 1, id);
    rn_bind_int(get, 2, kind);
    int rc = rn_stmt_step(get, err);
    if (rc == 1 && rn_column_blob(get, 0).len == RN_HASH_BYTES) {
        memcpy(hash, rn_column_blob(get, 0).data, RN_HASH_BYTES);
        *object = rn_column_blob(get, 1);
        return RN_OK;
    }
    rn_stmt_reset(get);
    return rc < 0 ? rc : rn_fail(err, RN_ENOENT, "there are no hints or base %u", id);
}
