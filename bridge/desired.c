// See desired.h.
#include "bridge/desired.h"

#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum statement {
    GET_NEWEST,
    GET_REVISION,
    PUT_DOCUMENT,
    LIST,
    UNANSWERED,
    GET_REPORT,
    PUT_REPORT,
    STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [GET_NEWEST] = "SELECT revision, hash, created_ms, payload FROM document WHERE dev = ?1 "
                   "ORDER BY revision DESC LIMIT 1",
    [GET_REVISION] = "SELECT revision, hash, created_ms, payload FROM document WHERE dev = ?1 "
                     "AND revision = ?2",
    [PUT_DOCUMENT] = "INSERT INTO document(dev, revision, hash, created_ms, author, comment, "
                     "payload) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [LIST] = "SELECT revision, hash, created_ms, author, comment, payload FROM document "
             "WHERE dev = ?1 ORDER BY revision DESC LIMIT ?2",
    [UNANSWERED] = "SELECT d.dev FROM document d LEFT JOIN report r ON r.dev = d.dev "
                   "WHERE d.revision = (SELECT max(revision) FROM document WHERE dev = d.dev) "
                   "AND d.revision > max(ifnull(r.offered, 0), ifnull(r.running, 0)) "
                   "ORDER BY d.created_ms DESC LIMIT ?1",
    [GET_REPORT] = "SELECT n, running, running_hash, offered, state, reported_ms, path, reason, "
                   "install FROM report WHERE dev = ?1",
    [PUT_REPORT] = "INSERT OR REPLACE INTO report(dev, install, n, running, running_hash, offered, "
                   "state, reported_ms, path, reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
                   "?10)",
};

static const char tables_sql[] =
    "CREATE TABLE IF NOT EXISTS document(dev TEXT NOT NULL, revision INTEGER NOT NULL, "
    "hash BLOB NOT NULL, created_ms INTEGER NOT NULL, author TEXT NOT NULL, comment TEXT NOT NULL, "
    "payload BLOB NOT NULL, PRIMARY KEY(dev, revision)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS report(dev TEXT PRIMARY KEY, install INTEGER NOT NULL, "
    "n INTEGER NOT NULL, running INTEGER NOT NULL, running_hash BLOB NOT NULL, "
    "offered INTEGER NOT NULL, state INTEGER NOT NULL, reported_ms INTEGER NOT NULL, "
    "path TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;";

struct desired {
    struct rn_db *db;
    struct rn_stmt *stmt[STATEMENTS];
    uint8_t seed[RN_ED25519_KEY_BYTES];
    char public_hex[2 * RN_ED25519_KEY_BYTES + 1];
    struct rn_config_doc doc; // scratch
};

// ---- the signing key --------------------------------------------------------------------------
static int write_hex(const char *path, const uint8_t key[32], mode_t mode, struct rn_err *err)
{
    char hex[2 * RN_ED25519_KEY_BYTES + 2];
    rn_hex(hex, key, RN_ED25519_KEY_BYTES);
    strcat(hex, "\n");
    return rn_file_replace(path, rn_span_text(hex), mode, err);
}

static int read_hex(const char *path, uint8_t key[32], struct rn_err *err)
{
    struct rn_buf text;
    rn_buf_init(&text, 256);
    int rc = rn_file_read(path, &text, err);
    if (rc == 0) {
        char *hex = strdup(rn_buf_cstr(&text));
        if (!hex || !rn_buf_ok(&text)) {
            rc = rn_fail(err, RN_ENOMEM, "out of memory");
        } else {
            hex[strcspn(hex, "\r\n")] = 0;
            if (rn_unhex(key, RN_ED25519_KEY_BYTES, hex) != 0)
                rc = rn_fail(err, RN_ECORRUPT, "%s: expected 64 hex digits", path);
        }
        free(hex);
    }
    rn_buf_release(&text);
    return rc;
}

// 1: it is there, 0: it is not.
static int is_there(const char *path, struct rn_err *err)
{
    if (access(path, F_OK) == 0)
        return 1;
    return errno == ENOENT ? 0 : rn_fail_errno(err, "%s", path);
}

// A key is made if there is none, and only then: every device has the old one pinned.
static int load_secret(struct desired *desired, const char *path, uint8_t public_key[32],
                       struct rn_err *err)
{
    int rc = is_there(path, err);
    if (rc == 1) {
        rc = read_hex(path, desired->seed, err);
        return rc < 0 ? rc : rn_ed25519_public(public_key, desired->seed, err);
    }
    if (rc == 0)
        rc = rn_ed25519_keygen(desired->seed, public_key, err);
    return rc < 0 ? rc : write_hex(path, desired->seed, 0600, err);
}

static int load_key(struct desired *desired, const char *folder, struct rn_err *err)
{
    char secret_path[512], public_path[512];
    uint8_t public_key[RN_ED25519_KEY_BYTES];
    int rc = rn_path_join(secret_path, sizeof secret_path, folder, "config.key", err);
    if (rc == 0)
        rc = rn_path_join(public_path, sizeof public_path, folder, "config.pub", err);
    if (rc < 0)
        return rc;
    rc = load_secret(desired, secret_path, public_key, err);
    if (rc == 0 && access(public_path, F_OK) != 0)
        rc = write_hex(public_path, public_key, 0644, err);
    if (rc == 0)
        rn_hex(desired->public_hex, public_key, sizeof public_key);
    return rc;
}

// ---- open and close ---------------------------------------------------------------------------
int desired_open(struct desired **out, const char *folder, struct rn_err *err)
{
    char path[512];
    struct desired *desired = calloc(1, sizeof *desired);
    if (!desired)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = rn_path_join(path, sizeof path, folder, "desired.db", err);
    if (rc == 0)
        rc = load_key(desired, folder, err);
    if (rc == 0)
        rc = rn_db_open(&desired->db, &(struct rn_db_conf){.path = path}, err);
    if (rc == 0)
        rc = rn_db_exec(desired->db, tables_sql, err);
    for (int i = 0; rc == 0 && i < STATEMENTS; i++)
        rc = rn_db_prepare(&desired->stmt[i], desired->db, statement_sql[i], err);
    if (rc < 0) {
        desired_close(desired);
        return rc;
    }
    *out = desired;
    return 0;
}

void desired_close(struct desired *desired)
{
    if (!desired)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        rn_stmt_free(desired->stmt[i]);
    rn_db_close(desired->db);
    free(desired);
}

// ---- documents --------------------------------------------------------------------------------
static void copy_hash(uint8_t hash[RN_HASH_BYTES], struct rn_span blob)
{
    memset(hash, 0, RN_HASH_BYTES);
    if (blob.len == RN_HASH_BYTES)
        memcpy(hash, blob.data, RN_HASH_BYTES);
}

static int read_report(struct desired *desired, const char *dev, struct desired_state *state,
                       struct rn_err *err)
{
    struct rn_stmt *stmt = desired->stmt[GET_REPORT];
    rn_bind_text(stmt, 1, dev);
    int rc = rn_stmt_step(stmt, err);
    if (rc == 1) {
        state->has_report = true;
        state->report_n = (uint64_t)rn_column_int(stmt, 0);
        state->running = (uint64_t)rn_column_int(stmt, 1);
        copy_hash(state->running_hash, rn_column_blob(stmt, 2));
        state->offered = (uint64_t)rn_column_int(stmt, 3);
        state->state = (enum rn_config_state)rn_column_int(stmt, 4);
        state->reported_ms = rn_column_int(stmt, 5);
        snprintf(state->path, sizeof state->path, "%s", rn_column_text(stmt, 6));
        snprintf(state->reason, sizeof state->reason, "%s", rn_column_text(stmt, 7));
    }
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : 0;
}

int desired_state(struct desired *desired, const char *dev, struct desired_state *state,
                  struct rn_err *err)
{
    *state = (struct desired_state){0};
    struct rn_stmt *stmt = desired->stmt[GET_NEWEST];
    rn_bind_text(stmt, 1, dev);
    int rc = rn_stmt_step(stmt, err);
    if (rc == 1) {
        state->revision = (uint64_t)rn_column_int(stmt, 0);
        copy_hash(state->hash, rn_column_blob(stmt, 1));
        state->created_ms = rn_column_int(stmt, 2);
    }
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : read_report(desired, dev, state, err);
}

static int by_key(const void *a, const void *b)
{
    const struct rn_config_item *left = a, *right = b;
    return rn_span_cmp(left->key, right->key);
}

// Sorts the items into desired->doc and encodes it.
static int build_payload(struct desired *desired, const char *dev, uint64_t revision,
                         const struct rn_config_item *items, uint32_t nitems, struct rn_buf *out,
                         struct rn_err *err)
{
    if (nitems > RN_CONFIG_MAX_KEYS)
        return rn_fail(err, RN_ELIMIT, "a document has at most %d keys", RN_CONFIG_MAX_KEYS);
    struct rn_config_doc *doc = &desired->doc;
    doc->dev = rn_span_text(dev);
    doc->revision = revision;
    doc->expires_ms = 0;
    doc->nitems = nitems;
    if (nitems)
        memcpy(doc->items, items, nitems * sizeof *items);
    qsort(doc->items, nitems, sizeof *doc->items, by_key);
    for (uint32_t i = 1; i < nitems; i++)
        if (rn_span_eq(doc->items[i - 1].key, doc->items[i].key))
            return rn_fail(err, RN_EINVAL, "the key '%.*s' stands twice",
                           (int)doc->items[i].key.len, (const char *)doc->items[i].key.data);
    if (rn_config_encode(doc, out) < 0 || !rn_buf_ok(out))
        return rn_fail(err, RN_ELIMIT, "the document is larger than %d bytes or has a bad key",
                       RN_CONFIG_MAX_BYTES);
    return 0;
}

static int insert_document(struct desired *desired, const char *dev, uint64_t revision,
                           struct rn_span payload, const char *author, const char *comment,
                           int64_t utc_ms, struct rn_err *err)
{
    uint8_t hash[RN_SHA256_BYTES];
    rn_sha256(hash, payload.data, payload.len);
    struct rn_stmt *stmt = desired->stmt[PUT_DOCUMENT];
    rn_bind_text(stmt, 1, dev);
    rn_bind_int(stmt, 2, (int64_t)revision);
    rn_bind_blob(stmt, 3, (struct rn_span){hash, sizeof hash});
    rn_bind_int(stmt, 4, utc_ms);
    rn_bind_text(stmt, 5, author ? author : "");
    rn_bind_text(stmt, 6, comment ? comment : "");
    rn_bind_blob(stmt, 7, payload);
    return rn_stmt_run(stmt, err);
}

// The highest revision that must not be given again. A document that the device took for forged
// does not count: anybody at the broker could use up all numbers with one.
static uint64_t newest_revision(const struct desired_state *state)
{
    uint64_t newest = state->revision > state->running ? state->revision : state->running;
    bool forged = state->state == RN_CONFIG_REJECTED && strcmp(state->path, "signature") == 0;
    return !forged && state->offered > newest ? state->offered : newest;
}

int desired_put(struct desired *desired, const char *dev, const struct rn_config_item *items,
                uint32_t nitems, uint64_t base, const char *author, const char *comment,
                int64_t utc_ms, uint64_t *revision, struct rn_err *err)
{
    struct desired_state state;
    int rc = desired_state(desired, dev, &state, err);
    if (rc < 0)
        return rc;
    if (base != UINT64_MAX && base != state.revision)
        return rn_fail(err, RN_ECONFLICT,
                       "revision %llu was stored meanwhile; read it again and repeat the change",
                       (unsigned long long)state.revision);
    uint64_t newest = newest_revision(&state);
    if (newest >= RN_ID_MAX)
        return rn_fail(err, RN_ELIMIT, "no revision number is left");
    struct rn_buf payload;
    rn_buf_init(&payload, RN_CONFIG_MAX_BYTES);
    rc = build_payload(desired, dev, newest + 1, items, nitems, &payload, err);
    if (rc == 0)
        rc = insert_document(desired, dev, newest + 1, rn_buf_span(&payload), author, comment,
                             utc_ms, err);
    rn_buf_release(&payload);
    if (rc == 0)
        *revision = newest + 1;
    return rc;
}

static int sign(const struct desired *desired, struct rn_span payload, struct rn_buf *out,
                struct rn_err *err)
{
    uint8_t signature[RN_ED25519_SIG_BYTES];
    struct rn_buf tbs;
    rn_buf_init(&tbs, RN_CONFIG_MAX_BYTES + 64);
    int rc = rn_signed_tbs(payload, &tbs);
    if (rc == 0)
        rc = rn_ed25519_sign(signature, desired->seed, rn_buf_span(&tbs), err);
    if (rc == 0)
        rc = rn_signed_encode(
            &(struct rn_signed){.payload = payload, .signature = {signature, sizeof signature}},
            out);
    rn_buf_release(&tbs);
    return rc;
}

int desired_message(struct desired *desired, const char *dev, uint64_t revision, struct rn_buf *out,
                    struct rn_err *err)
{
    struct rn_stmt *stmt = desired->stmt[revision ? GET_REVISION : GET_NEWEST];
    rn_bind_text(stmt, 1, dev);
    if (revision)
        rn_bind_int(stmt, 2, (int64_t)revision);
    int rc = rn_stmt_step(stmt, err);
    if (rc == 1)
        rc = sign(desired, rn_column_blob(stmt, 3), out, err);
    else if (rc == 0)
        rc = rn_fail(err, RN_ENOENT, "there is no desired configuration for %s", dev);
    rn_stmt_reset(stmt);
    return rc;
}

int desired_unanswered(struct desired *desired, uint32_t max,
                       void (*visit)(void *arg, const char *dev), void *arg, struct rn_err *err)
{
    struct rn_stmt *stmt = desired->stmt[UNANSWERED];
    int rc;
    rn_bind_int(stmt, 1, max);
    while ((rc = rn_stmt_step(stmt, err)) == 1)
        visit(arg, rn_column_text(stmt, 0));
    rn_stmt_reset(stmt);
    return rc;
}

int desired_history(struct desired *desired, const char *dev, uint32_t max,
                    void (*visit)(void *arg, const struct desired_version *version), void *arg,
                    struct rn_err *err)
{
    struct rn_stmt *stmt = desired->stmt[LIST];
    rn_bind_text(stmt, 1, dev);
    rn_bind_int(stmt, 2, max);
    int rc;
    while ((rc = rn_stmt_step(stmt, err)) == 1) {
        rc = rn_config_decode(rn_column_blob(stmt, 5), &desired->doc, err);
        if (rc < 0)
            break;
        struct desired_version version = {.revision = (uint64_t)rn_column_int(stmt, 0),
                                          .created_ms = rn_column_int(stmt, 2),
                                          .author = rn_column_text(stmt, 3),
                                          .comment = rn_column_text(stmt, 4),
                                          .doc = &desired->doc};
        copy_hash(version.hash, rn_column_blob(stmt, 1));
        visit(arg, &version);
    }
    rn_stmt_reset(stmt);
    return rc;
}

// ---- reports ----------------------------------------------------------------------------------
static int known_report(struct desired *desired, const char *dev, uint64_t *install, uint64_t *n,
                        struct rn_err *err)
{
    struct rn_stmt *stmt = desired->stmt[GET_REPORT];
    rn_bind_text(stmt, 1, dev);
    int rc = rn_stmt_step(stmt, err);
    *n = rc == 1 ? (uint64_t)rn_column_int(stmt, 0) : 0;
    *install = rc == 1 ? (uint64_t)rn_column_int(stmt, 8) : 0;
    rn_stmt_reset(stmt);
    return rc < 0 ? rc : 0;
}

static void bind_span_text(struct rn_stmt *stmt, int at, struct rn_span text, char *storage,
                           size_t size)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    if (len)
        memcpy(storage, text.data, len);
    storage[len] = 0;
    rn_bind_text(stmt, at, storage);
}

int desired_report(struct desired *desired, const char *dev, const struct rn_report *report,
                   int64_t utc_ms, struct rn_err *err)
{
    uint64_t install, n;
    int rc = known_report(desired, dev, &install, &n, err);
    if (rc < 0 || (install == report->install && report->n <= n && n != 0))
        return rc;
    char path[DESIRED_TEXT], reason[DESIRED_TEXT];
    struct rn_stmt *stmt = desired->stmt[PUT_REPORT];
    rn_bind_text(stmt, 1, dev);
    rn_bind_int(stmt, 2, (int64_t)report->install);
    rn_bind_int(stmt, 3, (int64_t)report->n);
    rn_bind_int(stmt, 4, (int64_t)report->running);
    rn_bind_blob(stmt, 5, (struct rn_span){report->running_hash, RN_HASH_BYTES});
    rn_bind_int(stmt, 6, (int64_t)report->offered);
    rn_bind_int(stmt, 7, (int64_t)report->state);
    rn_bind_int(stmt, 8, utc_ms);
    bind_span_text(stmt, 9, report->path, path, sizeof path);
    bind_span_text(stmt, 10, report->reason, reason, sizeof reason);
    return rn_stmt_run(stmt, err);
}

const char *desired_public_key(const struct desired *desired)
{
    return desired->public_hex;
}
