// Opening and closing the buffer; see store.h.
#include "agent/store.h"

#include "agent/store_private.h"
#include "agent/store_salvage.h"
#include <runnel/crypto.h>
#include <runnel/file.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { SCHEMA_NUMBERS_RENEW = 49152 }; // three quarters

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY CHECK(id=1), install INTEGER, "
    "fingerprint INTEGER, published INTEGER, log_id INTEGER, schema_next INTEGER, produced "
    "INTEGER, "
    "delivered INTEGER, evicted INTEGER, thinned INTEGER, refused INTEGER, lost INTEGER);"
    "CREATE TABLE IF NOT EXISTS batch(seq INTEGER PRIMARY KEY AUTOINCREMENT, install INTEGER, "
    "schema INTEGER, samples INTEGER, t_first INTEGER, t_last INTEGER, boot INTEGER, "
    "boot_ms INTEGER, trusted INTEGER, crc INTEGER, mark INTEGER, body BLOB);"
    "CREATE TABLE IF NOT EXISTS journal(id INTEGER PRIMARY KEY CHECK(id=1), schema INTEGER, "
    "samples INTEGER, t_first INTEGER, t_last INTEGER, boot INTEGER, boot_ms INTEGER, "
    "trusted INTEGER, crc INTEGER, mark INTEGER, body BLOB);"
    "CREATE TABLE IF NOT EXISTS gone(seq INTEGER PRIMARY KEY, install INTEGER, crc INTEGER, "
    "samples INTEGER);"
    "CREATE TABLE IF NOT EXISTS schema(id INTEGER PRIMARY KEY, hash BLOB UNIQUE, object BLOB);"
    // Rows first..last refer to it; the schema's newest has no last one yet: 2^63 - 1.
    "CREATE TABLE IF NOT EXISTS object(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER, "
    "schema INTEGER, first INTEGER, last INTEGER, hash BLOB, object BLOB);"
    "CREATE TABLE IF NOT EXISTS boot(id INTEGER PRIMARY KEY, name TEXT UNIQUE);";

const char *const store_statements[SQL_COUNT] = {
    [SQL_META_GET] = "SELECT install, fingerprint, published, log_id, schema_next, produced, "
                     "delivered, evicted, thinned, refused, lost FROM meta WHERE id=1",
    [SQL_META_PUT] = "INSERT OR REPLACE INTO meta VALUES(1,?,?,?,?,?,?,?,?,?,?,?)",
    [SQL_APPEND] = "INSERT INTO batch(install, schema, samples, t_first, t_last, boot, boot_ms, "
                   "trusted, crc, mark, body) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    [SQL_COPY] = "INSERT INTO batch(install, schema, samples, t_first, t_last, boot, boot_ms, "
                 "trusted, crc, mark, body) SELECT ?1, schema, samples, t_first, t_last, boot, "
                 "boot_ms, trusted, ?2, ?3, ?4 FROM batch WHERE seq=?5",
    [SQL_JOURNAL] = "INSERT OR REPLACE INTO journal VALUES(1,?,?,?,?,?,?,?,?,?,?)",
    [SQL_JOURNAL_DROP] = "DELETE FROM journal",
    [SQL_NEXT] = "SELECT seq, install, schema, samples, t_first, t_last, boot_ms, trusted, crc, "
                 "mark, body FROM batch WHERE seq>=? AND seq<? ORDER BY seq LIMIT 1",
    [SQL_LOW] = "SELECT seq FROM batch ORDER BY seq LIMIT 1",
    [SQL_RANGE] =
        "SELECT seq, install, crc, samples, 0 FROM batch WHERE seq>=?1 AND seq<=?2 UNION ALL "
        "SELECT seq, install, crc, samples, 1 FROM gone WHERE seq>=?1 AND seq<=?2 ORDER BY seq",
    [SQL_DROP_RANGE] = "DELETE FROM batch WHERE seq>=? AND seq<=? AND (install & 4294967295)=?",
    [SQL_GONE_ADD] = "INSERT OR IGNORE INTO gone VALUES(?,?,?,?)",
    [SQL_GONE_SETTLE] = "UPDATE gone SET samples=0 WHERE seq>=? AND seq<=? AND "
                        "(install & 4294967295)=?",
    [SQL_GONE_COPY] = "INSERT OR IGNORE INTO gone SELECT seq, install, crc, 0 FROM batch WHERE "
                      "seq>=? AND seq<=? AND (install & 4294967295)=?",
    [SQL_GONE_LOW] = "SELECT min(seq) FROM gone WHERE samples>0",
    [SQL_GONE_TRIM] = "DELETE FROM gone WHERE seq<?1 OR seq<=(SELECT seq FROM gone ORDER BY seq "
                      "DESC LIMIT 1 OFFSET ?2)",
    [SQL_GONE_COUNT] = "SELECT count(*) FROM gone WHERE samples>0",
    [SQL_GONE_CLEAR] = "DELETE FROM gone",
    [SQL_DROP] = "DELETE FROM batch WHERE seq=?",
    [SQL_OLDEST] = "SELECT seq, length(body), t_last, samples, crc, install FROM batch "
                   "ORDER BY seq LIMIT ?",
    [SQL_RELABEL] = "UPDATE batch SET install=?1 WHERE seq>?2 OR (seq>=?3 AND seq<=?4 AND "
                    "(install & 4294967295)=?5)",
    [SQL_ADOPT] = "UPDATE batch SET install=?1 WHERE install<>?1",
    [SQL_SCHEMA_FIND] = "SELECT id FROM schema WHERE hash=?",
    [SQL_SCHEMA_ADD] = "INSERT INTO schema VALUES(?,?,?)",
    [SQL_SCHEMA_GET] = "SELECT hash, object FROM schema WHERE id=?",
    [SQL_OBJECT_RETIRE] =
        "UPDATE object SET last=?3 WHERE kind=?1 AND schema=?2 AND last=9223372036854775807",
    [SQL_OBJECT_ADD] = "INSERT INTO object(kind, schema, first, last, hash, object) "
                       "VALUES(?,?,?,9223372036854775807,?,?)",
    [SQL_OBJECT_GET] = "SELECT hash, object FROM object WHERE id=? AND kind=?",
    [SQL_OBJECT_NEWEST] = "SELECT id, object FROM object WHERE kind=? AND schema=? AND "
                          "last=9223372036854775807 ORDER BY id DESC LIMIT 1",
};

// ---- opening ------------------------------------------------------------------------------------

static int lock_folder(struct store *store, struct rn_err *err)
{
    char path[512];
    int rc = rn_path_join(path, sizeof path, store->conf.folder, "lock", err);
    if (rc < 0)
        return rc;
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return rn_fail_errno(err, "%s", path);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return rn_fail(err, RN_EEXIST, "another agent uses the folder %s", store->conf.folder);
    return RN_OK;
}

static int open_db(struct store *store, const char *path, int64_t max_bytes, struct rn_err *err)
{
    struct rn_db_conf conf = {.path = path,
                              .page_size = STORE_PAGE_BYTES,
                              .max_bytes = max_bytes,
                              .cache_kib = 32,
                              .wal_pages = 256,
                              .exclusive = true};
    int rc = rn_db_open(&store->db, &conf, err);
    if (rc >= 0)
        rc = rn_db_check(store->db, err);
    if (rc >= 0)
        rc = rn_db_exec(store->db, tables, err);
    for (int i = 0; rc >= 0 && i < SQL_COUNT; i++)
        rc = rn_db_prepare(&store->stmt[i], store->db, store_statements[i], err);
    return rc;
}

static void close_db(struct store *store)
{
    for (int i = 0; i < SQL_COUNT; i++) {
        rn_stmt_free(store->stmt[i]);
        store->stmt[i] = NULL;
    }
    rn_db_close(store->db);
    store->db = NULL;
}

int store_get_meta(struct store *store, struct rn_err *err)
{
    struct rn_stmt *get = store->stmt[SQL_META_GET];
    int rc = rn_stmt_step(get, err);
    if (rc == 1) {
        struct store_known *k = &store->now;
        struct rn_ledger *l = &k->state.ledger;
        k->schema_next = (uint32_t)rn_column_int(get, 4);
        uint64_t *const into[] = {
            &k->state.install, &k->fingerprint, &k->state.published, &k->state.log_id, NULL,
            &l->produced,      &l->delivered,   &l->evicted,         &l->thinned,      &l->refused,
            &l->lost};
        for (int i = 0; i < (int)(sizeof into / sizeof into[0]); i++)
            if (into[i])
                *into[i] = (uint64_t)rn_column_int(get, i);
    }
    rn_stmt_reset(get);
    return rc;
}

static int new_meta(struct store *store, struct store_report *report, struct rn_err *err)
{
    report->created = true;
    store->now.fingerprint = store->conf.fingerprint;
    store->now.schema_next = 1;
    return rn_random_id(&store->now.state.install, err);
}

int store_count_rows(struct store *store, struct rn_err *err)
{
    struct store_state *s = &store->now.state;
    struct rn_ledger *l = &s->ledger;
    int64_t rows, last, objects, journal, there;
    const struct {
        const char *sql;
        int64_t *value;
    } numbers[] = {
        {"SELECT count(*) FROM batch", &rows},
        {"SELECT seq FROM sqlite_sequence WHERE name='batch'", &last},
        {"SELECT seq FROM sqlite_sequence WHERE name='object'", &objects},
        {"SELECT samples FROM journal", &journal},
        {"SELECT sum(samples) FROM batch", &there},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int rc = rn_db_get_int(store->db, numbers[i].sql, 0, numbers[i].value, err);
        if (rc < 0)
            return rc;
    }
    s->rows = (uint64_t)rows;
    s->next = (uint64_t)last + 1;
    s->objects = (uint32_t)objects;
    store->now.journal_samples = (uint64_t)journal;
    uint64_t settled = l->delivered + l->evicted + l->thinned + l->refused + l->lost;
    uint64_t pending = (uint64_t)there + (uint64_t)journal;
    if (l->produced < settled + pending)
        l->produced = settled + pending;
    l->lost += l->produced - settled - pending;
    l->pending = pending;
    return RN_OK;
}

// After a crash the journal is what is left of the open window: it becomes a batch.
static int journal_to_batch(struct store *store, struct store_report *report, struct rn_err *err)
{
    if (store->now.journal_samples == 0)
        return RN_OK;
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO batch(install, schema, samples, t_first, t_last, boot, boot_ms, trusted, "
             "crc, mark, body) SELECT %llu, schema, samples, t_first, t_last, boot, boot_ms, "
             "trusted, crc, mark, body FROM journal; DELETE FROM journal;",
             (unsigned long long)store->now.state.install);
    int rc = rn_db_exec(store->db, sql, err);
    if (rc < 0)
        return rc;
    report->journal_samples = store->now.journal_samples;
    store->now.journal_samples = 0;
    store->now.state.rows++;
    store->now.state.next++;
    return RN_OK;
}

static int check_machine(struct store *store, struct store_report *report, struct rn_err *err)
{
    struct store_known *k = &store->now;
    if (store->conf.fingerprint == 0 || k->fingerprint == store->conf.fingerprint)
        return RN_OK;
    bool known = k->fingerprint != 0;
    k->fingerprint = store->conf.fingerprint;
    if (!known)
        return RN_OK;
    report->relabelled = true;
    return store_new_install(store, 0, 1, 0, err);
}

// A number stands for one schema for ever, under an install. Where names keep changing they are
// used up in the end; under a new install they are free again, but for those of schemas that are
// here.
static int renew_numbers(struct store *store, struct rn_err *err)
{
    if (store->now.schema_next <= SCHEMA_NUMBERS_RENEW)
        return RN_OK;
    store->now.schema_next = 1;
    int rc = store_new_install(store, 0, 1, 0, err);
    if (rc < 0)
        return rc;
    char sql[160];
    snprintf(sql, sizeof sql,
             "UPDATE object SET last=%lld WHERE last=9223372036854775807 AND schema NOT IN "
             "(SELECT id FROM schema)",
             (long long)store->now.state.next - 1);
    return rn_db_exec(store->db, sql, err);
}

static int find_boot(struct store *store, struct rn_err *err)
{
    char name[33], sql[160];
    if (store_boot_name(name) < 0)
        return RN_OK; // rows then say boot 0: not known
    snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO boot(name) VALUES('%s')", name);
    int rc = rn_db_exec(store->db, sql, err);
    if (rc < 0)
        return rc;
    snprintf(sql, sizeof sql, "SELECT id FROM boot WHERE name='%s'", name);
    rc = rn_db_get_int(store->db, sql, 0, &store->boot, err);
    if (rc < 0)
        return rc;
    snprintf(sql, sizeof sql,
             "DELETE FROM boot WHERE id<>%lld AND id NOT IN (SELECT DISTINCT boot FROM batch)",
             (long long)store->boot);
    return rn_db_exec(store->db, sql, err);
}

static int load(struct store *store, struct store_report *report, struct rn_err *err)
{
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = store_get_meta(store, err);
    if (rc == 0)
        rc = new_meta(store, report, err);
    if (rc >= 0)
        rc = store_count_rows(store, err);
    if (rc >= 0)
        rc = journal_to_batch(store, report, err);
    if (rc >= 0)
        rc = check_machine(store, report, err);
    if (rc >= 0)
        rc = renew_numbers(store, err);
    if (rc >= 0)
        rc = find_boot(store, err);
    if (rc >= 0)
        rc = store_gone_init(store, err);
    if (rc >= 0)
        rc = store_find_low(store, err);
    return store_end(store, rc, err);
}

// A new file with what can be read of the damaged one. It has no limit yet, lest rows be lost that
// are there; what is too much is evicted as ever, and counted.
static int mend(struct store *store, const char *path, struct store_report *report,
                struct rn_err *err)
{
    char from[512];
    int rc = store_quarantine(path, from, sizeof from, err);
    if (rc >= 0)
        rc = open_db(store, path, 0, err);
    if (rc >= 0)
        rc = store_salvage(store->db, from, report, err);
    close_db(store);
    if (rc >= 0)
        rc = store_put_aside(path, report->aside, sizeof report->aside, err);
    report->quarantined = true;
    return rc;
}

static int open_and_load(struct store *store, const char *path, struct store_report *report,
                         struct rn_err *err)
{
    int rc = open_db(store, path, store->conf.max_bytes, err);
    return rc < 0 ? rc : load(store, report, err);
}

static int open_file(struct store *store, struct store_report *report, struct rn_err *err)
{
    char path[512];
    int rc = rn_mkdirs(store->conf.folder, 0700, err);
    if (rc >= 0)
        rc = lock_folder(store, err);
    if (rc >= 0)
        rc = rn_path_join(path, sizeof path, store->conf.folder, "buffer.db", err);
    if (rc >= 0)
        rc = store_salvage_begun(path, err);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        rc = open_and_load(store, path, report, err);
        if (rc >= 0 || store_judge(path, rc) != RN_ECORRUPT)
            return rc;
        close_db(store);
        store->now = (struct store_known){0};
    }
    rc = mend(store, path, report, err);
    return rc < 0 ? rc : open_and_load(store, path, report, err);
}

int store_ram_folder(char out[STORE_RAM_PATH], struct rn_err *err)
{
    static const char *const places[] = {"/dev/shm", "/run", "/tmp"};
    for (int i = 0; i < 3; i++) {
        snprintf(out, STORE_RAM_PATH, "%s/runnel-agent-XXXXXX", places[i]);
        if (mkdtemp(out))
            return RN_OK;
    }
    out[0] = 0;
    return rn_fail(err, RN_EACCESS, "no folder in memory can be made (/dev/shm, /run, /tmp)");
}

int store_open(struct store **out, const struct store_conf *conf, struct store_report *report,
               struct rn_err *err)
{
    *report = (struct store_report){0};
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    store->conf = *conf;
    store->lock_fd = -1;
    int rc = RN_OK;
    if (!conf->folder) { // the disk is full or read-only
        rc = store_ram_folder(store->ram_folder, err);
        store->conf.folder = store->ram_folder;
    }
    if (rc >= 0)
        rc = open_file(store, report, err);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *out = store;
    return RN_OK;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    (void)!store_flush(store, NULL); // if it can't be, the rows are sent again
    close_db(store);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    if (store->ram_folder[0])
        (void)!rn_remove_tree(store->ram_folder, NULL);
    free(store);
}
