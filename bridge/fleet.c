// See fleet.h.
#include "bridge/fleet.h"

#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <runnel/map.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_LEN 512

static const char create_sql[] =
    "CREATE TABLE IF NOT EXISTS device(dev TEXT PRIMARY KEY, state INTEGER NOT NULL,"
    " reason INTEGER NOT NULL, retired INTEGER NOT NULL, install INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, n INTEGER NOT NULL, fingerprint INTEGER NOT NULL,"
    " interval_ms INTEGER NOT NULL, first_ms INTEGER NOT NULL, status_ms INTEGER NOT NULL,"
    " heard_ms INTEGER NOT NULL, config_revision INTEGER NOT NULL, config_hash BLOB NOT NULL,"
    " version TEXT NOT NULL, status_reason TEXT NOT NULL, ledger BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS install(dev TEXT NOT NULL, install INTEGER NOT NULL,"
    " max_epoch INTEGER NOT NULL, fingerprint INTEGER NOT NULL, heard_ms INTEGER NOT NULL,"
    " PRIMARY KEY(dev, install)) WITHOUT ROWID;";

enum { SAVE_DEVICE, SAVE_INSTALL, CLEAR_INSTALLS, NSTMTS };
static const char *const statement_sql[NSTMTS] = {
    [SAVE_DEVICE] = ("INSERT OR REPLACE INTO device VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
                     " ?11, ?12, ?13, ?14, ?15, ?16, ?17)"),
    [SAVE_INSTALL] = "INSERT OR REPLACE INTO install VALUES(?1, ?2, ?3, ?4, ?5)",
    [CLEAR_INSTALLS] = "DELETE FROM install WHERE dev = ?1",
};

struct fleet_store {
    struct rn_map names;
    struct rn_db *db;
    struct rn_stmt *stmt[NSTMTS];
    uint32_t max_devices;
    uint32_t save_at; // where the next save begins to look
    char quarantined[PATH_LEN + 16];
};

// ---- devices -----------------------------------------------------------------------------------

struct fleet_device *fleet_find(const struct fleet *fleet, const char *name)
{
    return rn_map_get(&fleet->store->names, rn_span_text(name));
}

static void device_free(struct fleet *fleet, struct fleet_device *dev)
{
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        free(dev->install[i]);
    dedupe_device_release(&fleet->dedupe, &dev->dedupe);
    free(dev);
}

static struct fleet_device *add(struct fleet *fleet, const char *name)
{
    struct fleet_store *store = fleet->store;
    if (fleet->count >= store->max_devices) {
        fleet->refused++;
        return NULL;
    }
    struct fleet_device *dev = calloc(1, sizeof *dev);
    if (!dev)
        return NULL;
    snprintf(dev->name, sizeof dev->name, "%s", name);
    dev->fleet = fleet;
    if (rn_map_put(&store->names, rn_span_text(dev->name), dev) != RN_OK) {
        free(dev);
        return NULL;
    }
    fleet->device[fleet->count++] = dev;
    return dev;
}

struct fleet_device *fleet_get(struct fleet *fleet, const char *name, int64_t now_ms,
                               int64_t utc_ms)
{
    struct fleet_device *dev = fleet_find(fleet, name);
    if (dev)
        return dev;
    dev = add(fleet, name);
    if (!dev)
        return NULL;
    dev->first_ms = utc_ms;
    dev->state_ms = utc_ms;
    dev->dirty = true;
    live_enter(&fleet->live, &dev->live, now_ms);
    return dev;
}

struct fleet_install *fleet_install_find(const struct fleet_device *dev, uint64_t install)
{
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        if (dev->install[i]->id == install)
            return dev->install[i];
    return NULL;
}

struct fleet_install *fleet_install_by_tag(const struct fleet_device *dev, uint32_t tag)
{
    for (uint32_t i = dev->ninstalls; i > 0; i--)
        if ((uint32_t)dev->install[i - 1]->id == tag)
            return dev->install[i - 1];
    return NULL;
}

static void drop_install(struct fleet_device *dev, uint64_t gone)
{
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        if (dev->install[i]->id == gone) {
            free(dev->install[i]);
            dev->install[i] = dev->install[--dev->ninstalls];
            return;
        }
}

struct fleet_install *fleet_announce(struct fleet_device *dev, uint64_t install, int64_t utc_ms,
                                     uint64_t *gone)
{
    struct fleet_install *in = fleet_install_find(dev, install);
    struct dedupe_install *batches =
        dedupe_announce(&dev->fleet->dedupe, &dev->dedupe, install, utc_ms, gone);
    if (in || !batches)
        return in;
    if (*gone)
        drop_install(dev, *gone);
    in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    in->id = install;
    in->batches = batches;
    dev->install[dev->ninstalls++] = in;
    dev->dirty = true;
    return in;
}

static void copy_text(char *out, size_t size, struct rn_span text)
{
    size_t len = text.len < size ? text.len : size - 1;
    if (len)
        memcpy(out, text.data, len);
    out[len] = 0;
}

void fleet_note_status(struct fleet_device *dev, const struct rn_status *status, int64_t utc_ms)
{
    dev->dirty = true;
    dev->status_ms = utc_ms;
    dev->next_seq = status->next_seq;
    dev->away_ms = status->away_ms;
    dev->ack_by_ms = status->ack_by_ms ? status->ack_by_ms : rn_ack_by_default(status->interval_ms);
    if (dev->ack_by_ms > RN_ACK_BY_MAX_MS)
        dev->ack_by_ms = RN_ACK_BY_MAX_MS;
    dev->config_revision = status->config_revision;
    memcpy(dev->config_hash, status->config_hash, sizeof dev->config_hash);
    if (status->has_ledger) {
        dev->has_ledger = true;
        dev->ledger = status->ledger;
    }
    if (status->version.len)
        copy_text(dev->version, sizeof dev->version, status->version);
    copy_text(dev->reason, sizeof dev->reason, status->reason);
}

bool fleet_bucket_take(struct fleet_bucket *bucket, int64_t now_ms, int64_t burst, int64_t every_ms)
{
    int64_t from = bucket->full_ms > now_ms ? bucket->full_ms : now_ms;
    if (from + every_ms - now_ms > burst * every_ms)
        return false;
    bucket->full_ms = from + every_ms;
    return true;
}

// ---- fleet.db ----------------------------------------------------------------------------------

// What did not fit the maximum is passed over; what there was no memory for would be saved without
// all that is known of it.
static int load_device(struct fleet *fleet, struct rn_stmt *row, int64_t now_ms)
{
    uint64_t refused = fleet->refused;
    struct fleet_device *dev = add(fleet, rn_column_text(row, 0));
    if (!dev)
        return fleet->refused > refused ? RN_OK : RN_ENOMEM;
    dev->live = (struct live_device){.state = (enum live_state)rn_column_int(row, 1),
                                     .reason = (enum live_reason)rn_column_int(row, 2),
                                     .retired = rn_column_int(row, 3) != 0,
                                     .install = (uint64_t)rn_column_int(row, 4),
                                     .epoch = (uint64_t)rn_column_int(row, 5),
                                     .n = (uint64_t)rn_column_int(row, 6),
                                     .fingerprint = (uint64_t)rn_column_int(row, 7),
                                     .interval_ms = rn_column_int(row, 8)};
    dev->first_ms = rn_column_int(row, 9);
    dev->status_ms = rn_column_int(row, 10);
    dev->heard_ms = rn_column_int(row, 11);
    dev->state_ms = dev->heard_ms;
    dev->config_revision = (uint64_t)rn_column_int(row, 12);
    struct rn_span hash = rn_column_blob(row, 13), ledger = rn_column_blob(row, 16);
    if (hash.len == sizeof dev->config_hash)
        memcpy(dev->config_hash, hash.data, hash.len);
    snprintf(dev->version, sizeof dev->version, "%s", rn_column_text(row, 14));
    snprintf(dev->reason, sizeof dev->reason, "%s", rn_column_text(row, 15));
    dev->has_ledger = ledger.len == sizeof dev->ledger;
    if (dev->has_ledger)
        memcpy(&dev->ledger, ledger.data, ledger.len);
    live_enter(&fleet->live, &dev->live, now_ms);
    return RN_OK;
}

static int load_install(struct fleet *fleet, struct rn_stmt *row, int64_t now_ms)
{
    (void)now_ms;
    struct fleet_device *dev = fleet_find(fleet, rn_column_text(row, 0));
    uint64_t gone, refused = fleet->dedupe.installs_refused;
    if (!dev)
        return RN_OK;
    struct fleet_install *in =
        fleet_announce(dev, (uint64_t)rn_column_int(row, 1), rn_column_int(row, 4), &gone);
    if (!in)
        return fleet->dedupe.installs_refused > refused ? RN_OK : RN_ENOMEM;
    in->max_epoch = (uint64_t)rn_column_int(row, 2);
    in->fingerprint = (uint64_t)rn_column_int(row, 3);
    in->saved = true;
    return RN_OK;
}

static int load_rows(struct fleet *fleet, const char *sql, int64_t now_ms,
                     int (*take)(struct fleet *fleet, struct rn_stmt *row, int64_t now_ms),
                     struct rn_err *err)
{
    struct rn_stmt *rows;
    int rc = rn_db_prepare(&rows, fleet->store->db, sql, err);
    if (rc)
        return rc;
    while ((rc = rn_stmt_step(rows, err)) == 1 && (rc = take(fleet, rows, now_ms)) == RN_OK)
        ;
    rn_stmt_free(rows);
    return rc == RN_ENOMEM ? rn_fail(err, rc, "no memory for the devices that are known") : rc;
}

static int load(struct fleet *fleet, int64_t now_ms, struct rn_err *err)
{
    int rc = load_rows(fleet, "SELECT * FROM device", now_ms, load_device, err);
    if (rc == RN_OK)
        rc = load_rows(fleet, "SELECT * FROM install ORDER BY heard_ms", now_ms, load_install, err);
    for (uint32_t i = 0; i < fleet->count; i++)
        fleet->device[i]->dirty = false;
    return rc;
}

static int open_db(struct fleet_store *store, const char *path, struct rn_err *err)
{
    struct rn_db_conf conf = {.path = path};
    int rc = rn_db_open(&store->db, &conf, err);
    if (rc == RN_OK)
        rc = rn_db_check(store->db, err);
    if (rc == RN_OK)
        rc = rn_db_exec(store->db, create_sql, err);
    if (rc) {
        rn_db_close(store->db);
        store->db = NULL;
    }
    return rc;
}

static int quarantine(struct fleet_store *store, const char *path, struct rn_err *err)
{
    static const char *const tails[] = {"-wal", "-shm"}; // not to be applied to another file
    char name[PATH_LEN + 8];
    snprintf(store->quarantined, sizeof store->quarantined, "%s.damaged", path);
    if (rename(path, store->quarantined) != 0)
        return rn_fail_errno(err, "cannot put aside the damaged %s", path);
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        snprintf(name, sizeof name, "%s%s", path, tails[i]);
        unlink(name);
    }
    return open_db(store, path, err);
}

static int open_store(struct fleet *fleet, const struct fleet_conf *conf, struct rn_err *err)
{
    char path[PATH_LEN];
    uint64_t seed;
    struct fleet_store *store = fleet->store;
    store->max_devices = conf->max_devices;
    int rc = rn_random(&seed, sizeof seed, err);
    if (rc)
        return rc;
    rn_map_init(&store->names, conf->max_devices, seed);
    rc = rn_path_join(path, sizeof path, conf->folder, "fleet.db", err);
    if (rc)
        return rc;
    rc = open_db(store, path, err);
    if (rc == RN_ECORRUPT)
        rc = quarantine(store, path, err);
    for (int i = 0; rc == RN_OK && i < NSTMTS; i++)
        rc = rn_db_prepare(&store->stmt[i], store->db, statement_sql[i], err);
    return rc;
}

int fleet_open(struct fleet **out, const struct fleet_conf *conf, int64_t now_ms,
               struct rn_err *err)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    fleet->dedupe = (struct dedupe){.max_device = conf->max_items_device,
                                    .max_items = conf->max_items,
                                    .silent_ms = conf->silent_ms};
    live_fleet_init(&fleet->live, &conf->live);
    fleet->store = calloc(1, sizeof *fleet->store);
    fleet->device = calloc(conf->max_devices, sizeof(struct fleet_device *));
    int rc = fleet->store && fleet->device ? open_store(fleet, conf, err)
                                           : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc == RN_OK)
        rc = load(fleet, now_ms, err);
    if (rc) {
        fleet_close(fleet);
        return rc;
    }
    *out = fleet;
    return RN_OK;
}

const char *fleet_quarantined(const struct fleet *fleet)
{
    return fleet->store->quarantined;
}

void fleet_close(struct fleet *fleet)
{
    if (!fleet)
        return;
    for (uint32_t i = 0; i < fleet->count; i++)
        device_free(fleet, fleet->device[i]);
    if (fleet->store) {
        for (int i = 0; i < NSTMTS; i++)
            rn_stmt_free(fleet->store->stmt[i]);
        rn_db_close(fleet->store->db);
        rn_map_release(&fleet->store->names);
    }
    free(fleet->store);
    free(fleet->device);
    free(fleet);
}

static int save_installs(struct fleet_store *store, const struct fleet_device *dev,
                         struct rn_err *err)
{
    struct rn_stmt *clear = store->stmt[CLEAR_INSTALLS];
    rn_bind_text(clear, 1, dev->name);
    int rc = rn_stmt_run(clear, err);
    for (uint32_t i = 0; rc == RN_OK && i < dev->ninstalls; i++) {
        const struct fleet_install *in = dev->install[i];
        struct rn_stmt *stmt = store->stmt[SAVE_INSTALL];
        rn_bind_text(stmt, 1, dev->name);
        rn_bind_int(stmt, 2, (int64_t)in->id);
        rn_bind_int(stmt, 3, (int64_t)in->max_epoch);
        rn_bind_int(stmt, 4, (int64_t)in->fingerprint);
        rn_bind_int(stmt, 5, in->batches->heard_ms);
        rc = rn_stmt_run(stmt, err);
    }
    return rc;
}

static int save_device(struct fleet_store *store, const struct fleet_device *dev,
                       struct rn_err *err)
{
    const struct live_device *live = &dev->live;
    struct rn_stmt *stmt = store->stmt[SAVE_DEVICE];
    const int64_t numbers[] = {live->state,
                               live->reason,
                               live->retired,
                               (int64_t)live->install,
                               (int64_t)live->epoch,
                               (int64_t)live->n,
                               (int64_t)live->fingerprint,
                               live->interval_ms,
                               dev->first_ms,
                               dev->status_ms,
                               dev->heard_ms,
                               (int64_t)dev->config_revision};
    rn_bind_text(stmt, 1, dev->name);
    for (int i = 0; i < (int)(sizeof numbers / sizeof numbers[0]); i++)
        rn_bind_int(stmt, 2 + i, numbers[i]);
    rn_bind_blob(stmt, 14, (struct rn_span){dev->config_hash, sizeof dev->config_hash});
    rn_bind_text(stmt, 15, dev->version);
    rn_bind_text(stmt, 16, dev->reason);
    if (dev->has_ledger) {
        const void *ledger = &dev->ledger;
        rn_bind_blob(stmt, 17, (struct rn_span){ledger, sizeof dev->ledger});
    } else {
        rn_bind_null(stmt, 17);
    }
    int rc = rn_stmt_run(stmt, err);
    return rc == RN_OK ? save_installs(store, dev, err) : rc;
}

static void note_saved(struct fleet_device *dev)
{
    dev->dirty = false;
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        dev->install[i]->saved = true;
}

static int save_some(struct fleet *fleet, uint32_t max, struct rn_err *err)
{
    struct fleet_store *store = fleet->store;
    int saved = 0;
    for (uint32_t i = 0; i < fleet->count && (uint32_t)saved < max; i++) {
        struct fleet_device *dev = fleet->device[store->save_at++ % fleet->count];
        if (!dev->dirty)
            continue;
        int rc = save_device(store, dev, err);
        if (rc)
            return rc;
        note_saved(dev);
        saved++;
    }
    return saved;
}

int fleet_save(struct fleet *fleet, uint32_t max, struct rn_err *err)
{
    bool any = false;
    for (uint32_t i = 0; i < fleet->count && !any; i++)
        any = fleet->device[i]->dirty;
    if (!any)
        return 0;
    int rc = rn_db_begin(fleet->store->db, err);
    if (rc)
        return rc;
    int saved = save_some(fleet, max, err);
    rc = saved < 0 ? saved : rn_db_commit(fleet->store->db, err);
    if (rc) {
        rn_db_rollback(fleet->store->db);
        return rc;
    }
    return saved;
}

int fleet_save_device(struct fleet_device *dev, struct rn_err *err)
{
    struct fleet_store *store = dev->fleet->store;
    int rc = rn_db_begin(store->db, err);
    if (rc)
        return rc;
    rc = save_device(store, dev, err);
    if (rc == RN_OK)
        rc = rn_db_commit(store->db, err);
    if (rc)
        rn_db_rollback(store->db);
    else
        note_saved(dev);
    return rc;
}
