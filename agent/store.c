// See store.h.
#include "agent/store.h"

#include "agent/evict.h"
#include "agent/store_private.h"
#include "agent/store_salvage.h"
#include <runnel/crc.h>
#include <runnel/crypto.h>

enum {
    ROW_OVERHEAD = 96,   // what a row takes beside its body
    SPARE_PAGES = 32,    // kept free below max_bytes: meta, journal, schemas, tree pages
    EVICT_CHUNK = 64,    // rows looked at in one round of eviction
    EVICT_ROUNDS = 4096, // a bound for a loop over a damaged file
};

const struct store_state *store_state(const struct store *store)
{
    return &store->now.state;
}

bool store_in_memory(const struct store *store)
{
    return store->ram_folder[0] != 0;
}

void store_reconf(struct store *store, int64_t max_bytes, int64_t max_age_ms)
{
    store->conf.max_bytes = max_bytes;
    store->conf.max_age_ms = max_age_ms;
}

void store_set_received(struct store *store, const struct rn_ranges *received)
{
    store->received = received;
}

// ---- transactions -------------------------------------------------------------------------------

void store_release_borrowed(struct store *store)
{
    rn_stmt_reset(store->stmt[SQL_NEXT]);
    rn_stmt_reset(store->stmt[SQL_SCHEMA_GET]);
    rn_stmt_reset(store->stmt[SQL_OBJECT_GET]);
    rn_stmt_reset(store->stmt[SQL_OBJECT_NEWEST]);
}

int store_begin(struct store *store, struct rn_err *err)
{
    store_release_borrowed(store);
    if (!store->settled) {
        store->before = store->now;
        return rn_db_begin(store->db, err);
    }
    store->inner = store->now;
    int rc = rn_db_exec(store->db, "SAVEPOINT joined", err);
    store->joined = rc >= 0;
    return rc;
}

static int put_meta(struct store *store, struct rn_err *err)
{
    const struct store_known *k = &store->now;
    const struct rn_ledger *l = &k->state.ledger;
    const uint64_t values[] = {k->state.install, k->fingerprint, k->state.published,
                               k->state.log_id,  k->schema_next, l->produced,
                               l->delivered,     l->evicted,     l->thinned,
                               l->refused,       l->lost};
    struct rn_stmt *put = store->stmt[SQL_META_PUT];
    for (int i = 0; i < (int)(sizeof values / sizeof values[0]); i++)
        rn_bind_int(put, i + 1, (int64_t)values[i]);
    return rn_stmt_run(put, err);
}

// Without a row nothing is pending: what a damaged file told too much of is lost.
static void settle_remainder(struct store *store)
{
    if (store->now.state.rows == 0 && store->now.journal_samples == 0)
        ledger_settle(&store->now.state.ledger, LEDGER_LOST, store->now.state.ledger.pending);
}

// Undoes an operation that joined a transaction; false: all of it has to go.
static bool undo_joined(struct store *store)
{
    if (!store->joined || rn_db_exec(store->db, "ROLLBACK TO joined; RELEASE joined", NULL) < 0)
        return false;
    store->joined = false;
    store->now = store->inner;
    return true;
}

static int commit(struct store *store, struct rn_err *err)
{
    int rc = put_meta(store, err);
    return rc < 0 ? rc : rn_db_commit(store->db, err);
}

int store_end(struct store *store, int rc, struct rn_err *err)
{
    if (rc < 0 && undo_joined(store))
        return rc;
    settle_remainder(store);
    int done = rc < 0 ? rc : commit(store, err);
    if (done < 0) {
        rn_db_rollback(store->db);
        store->now = store->before;
    }
    store->settled = 0;
    store->joined = false;
    return done < 0 ? done : rc;
}

int store_leave_open(struct store *store, uint64_t rows, struct rn_err *err)
{
    int rc = store->joined ? rn_db_exec(store->db, "RELEASE joined", err) : RN_OK;
    if (rc < 0)
        return store_end(store, rc, err);
    store->joined = false;
    store->settled += rows ? rows : 1;
    return store->settled >= STORE_WAITING ? store_flush(store, err) : RN_OK;
}

int store_flush(struct store *store, struct rn_err *err)
{
    if (!store->settled)
        return RN_OK;
    int rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, RN_OK, err);
}

bool store_waits(const struct store *store)
{
    return store->settled > 0;
}

uint64_t store_safe_low(const struct store *store)
{
    return store->settled ? store->before.state.low : store->now.state.low;
}

void store_remember(struct store *store, uint64_t install, uint64_t seq, uint32_t crc)
{
    store->recent[store->recent_next++ % STORE_RECENT] =
        (struct store_recent){.seq = seq, .tag = (uint32_t)install, .crc = crc};
}

const struct store_recent *store_recall(const struct store *store, uint32_t tag, uint64_t seq)
{
    for (int i = 0; i < STORE_RECENT; i++)
        if (store->recent[i].seq == seq && store->recent[i].tag == tag)
            return &store->recent[i];
    return NULL;
}

int store_find_low(struct store *store, struct rn_err *err)
{
    struct rn_stmt *low = store->stmt[SQL_LOW];
    int rc = rn_stmt_step(low, err);
    if (rc >= 0)
        store->now.state.low = rc == 1 ? (uint64_t)rn_column_int(low, 0) : store->now.state.next;
    rn_stmt_reset(low);
    return rc < 0 ? rc : store_gone_low(store, err);
}

// ---- rows ---------------------------------------------------------------------------------------

// The ledger counts what the window adds over what the journal had.
static void produce(struct store *store, uint64_t samples)
{
    uint64_t had = store->now.journal_samples;
    if (samples >= had)
        ledger_produce(&store->now.state.ledger, samples - had);
    else
        ledger_settle(&store->now.state.ledger, LEDGER_LOST, had - samples);
}

static void bind_row(struct rn_stmt *stmt, int at, const struct store *store,
                     const struct store_row *row)
{
    rn_bind_int(stmt, at, row->schema);
    rn_bind_int(stmt, at + 1, (int64_t)row->samples);
    rn_bind_int(stmt, at + 2, row->t_first);
    rn_bind_int(stmt, at + 3, row->t_last);
    rn_bind_int(stmt, at + 4, store->boot);
    rn_bind_int(stmt, at + 5, row->boot_ms);
    rn_bind_int(stmt, at + 6, row->trusted);
    rn_bind_int(stmt, at + 7, row->crc);
    rn_bind_int(stmt, at + 8, store_row_mark(row));
    rn_bind_blob(stmt, at + 9, row->body);
}

int store_drop_row(struct store *store, const struct store_row *row, enum ledger_fate fate,
                   struct rn_err *err)
{
    rn_bind_int(store->stmt[SQL_DROP], 1, (int64_t)row->seq);
    int rc = rn_stmt_run(store->stmt[SQL_DROP], err);
    if (rc < 0)
        return rc;
    ledger_settle(&store->now.state.ledger, fate, row->samples);
    store->now.state.rows--;
    return RN_OK;
}

static int evict_row(struct store *store, const struct store_row *row, struct rn_err *err)
{
    int rc = store_drop_row(store, row, LEDGER_EVICTED, err);
    return rc < 0 ? rc : store_gone_evicted(store, row, err);
}

// One round: the oldest rows are looked at, those that must go are dropped. Returns how many.
static int evict_round(struct store *store, const struct evict_need *need, struct rn_err *err)
{
    struct evict_row rows[EVICT_CHUNK];
    struct store_row is[EVICT_CHUNK];
    uint32_t n = 0;
    struct rn_stmt *oldest = store->stmt[SQL_OLDEST];
    rn_bind_int(oldest, 1, EVICT_CHUNK);
    int rc;
    while ((rc = rn_stmt_step(oldest, err)) == 1 && n < EVICT_CHUNK) {
        uint64_t seq = (uint64_t)rn_column_int(oldest, 0);
        rows[n] =
            (struct evict_row){.seq = seq,
                               .bytes = rn_column_int(oldest, 1) + ROW_OVERHEAD,
                               .t_last = rn_column_int(oldest, 2),
                               .received = store->received && rn_ranges_has(store->received, seq)};
        is[n++] = (struct store_row){.seq = seq,
                                     .samples = (uint64_t)rn_column_int(oldest, 3),
                                     .crc = (uint32_t)rn_column_int(oldest, 4),
                                     .install = (uint64_t)rn_column_int(oldest, 5)};
    }
    rn_stmt_reset(oldest);
    if (rc < 0)
        return rc;
    int dropped = (int)evict_choose(need, rows, n);
    for (uint32_t i = 0; i < n && rc >= 0; i++)
        if (rows[i].drop)
            rc = evict_row(store, &is[i], err);
    return rc < 0 ? rc : dropped;
}

// Makes room for `bytes` more, and lets go what is too old.
static int make_room(struct store *store, int64_t bytes, int64_t utc_ms, struct rn_err *err)
{
    for (int round = 0; round < EVICT_ROUNDS; round++) {
        struct evict_need need = {
            .excess_bytes = rn_db_bytes(store->db) + bytes + ROW_OVERHEAD +
                            SPARE_PAGES * STORE_PAGE_BYTES - store->conf.max_bytes,
            .oldest_ms = utc_ms && store->conf.max_age_ms ? utc_ms - store->conf.max_age_ms : 0,
        };
        if (need.excess_bytes <= 0 && need.oldest_ms <= 0)
            return RN_OK;
        int dropped = evict_round(store, &need, err);
        if (dropped <= 0)
            return dropped;
    }
    return RN_OK;
}

int store_make_room(struct store *store, size_t bytes, struct rn_err *err)
{
    return make_room(store, (int64_t)bytes, 0, err);
}

static int append(struct store *store, struct store_row *row, int64_t utc_ms, struct rn_err *err)
{
    struct store_state *state = &store->now.state;
    int rc = make_room(store, (int64_t)row->body.len, utc_ms, err);
    if (rc < 0)
        return rc;
    row->install = state->install;
    rn_bind_int(store->stmt[SQL_APPEND], 1, (int64_t)row->install);
    bind_row(store->stmt[SQL_APPEND], 2, store, row);
    rc = rn_stmt_run(store->stmt[SQL_APPEND], err);
    if (rc < 0)
        return rc;
    row->seq = (uint64_t)rn_db_last_rowid(store->db);
    if (store->now.journal_samples > 0) // SQLite writes a page even if there is nothing to delete
        rc = rn_stmt_run(store->stmt[SQL_JOURNAL_DROP], err);
    if (rc < 0)
        return rc;
    produce(store, row->samples);
    store->now.journal_samples = 0;
    state->next = row->seq + 1;
    state->rows++;
    state->bytes_written += row->body.len;
    return store_find_low(store, err);
}

int store_append(struct store *store, struct store_row *row, bool publish, int64_t utc_ms,
                 struct rn_err *err)
{
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = append(store, row, utc_ms, err);
    if (rc >= 0 && publish)
        store->now.state.published = row->seq;
    return store_end(store, rc, err);
}

static int journal(struct store *store, const struct store_row *row, struct rn_err *err)
{
    int rc = make_room(store, (int64_t)row->body.len, 0, err);
    if (rc < 0)
        return rc;
    bind_row(store->stmt[SQL_JOURNAL], 1, store, row);
    rc = rn_stmt_run(store->stmt[SQL_JOURNAL], err);
    if (rc < 0)
        return rc;
    produce(store, row->samples);
    store->now.journal_samples = row->samples;
    store->now.state.bytes_written += row->body.len;
    return store_find_low(store, err);
}

int store_journal(struct store *store, const struct store_row *row, struct rn_err *err)
{
    int rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, journal(store, row, err), err);
}

void store_read_row(struct rn_stmt *stmt, struct store_row *row)
{
    *row = (struct store_row){.seq = (uint64_t)rn_column_int(stmt, 0),
                              .install = (uint64_t)rn_column_int(stmt, 1),
                              .schema = (uint32_t)rn_column_int(stmt, 2),
                              .samples = (uint64_t)rn_column_int(stmt, 3),
                              .t_first = rn_column_int(stmt, 4),
                              .t_last = rn_column_int(stmt, 5),
                              .boot_ms = rn_column_int(stmt, 6),
                              .trusted = rn_column_int(stmt, 7) != 0,
                              .crc = (uint32_t)rn_column_int(stmt, 8),
                              .body = rn_column_blob(stmt, 10)};
}

static int drop_damaged(struct store *store, const struct store_row *row, struct rn_err *err)
{
    const struct store_row gone = {.seq = row->seq, .samples = row->samples};
    rn_stmt_reset(store->stmt[SQL_NEXT]);
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = store_drop_row(store, &gone, LEDGER_LOST, err);
    if (rc >= 0)
        rc = store_find_low(store, err);
    return store_end(store, rc, err);
}

int store_next(struct store *store, uint64_t first, uint64_t last, struct store_row *row,
               struct rn_err *err)
{
    struct rn_stmt *next = store->stmt[SQL_NEXT];
    for (;;) {
        rn_stmt_reset(next);
        rn_bind_int(next, 1, (int64_t)first);
        rn_bind_int(next, 2, (int64_t)last);
        int rc = rn_stmt_step(next, err);
        if (rc != 1) {
            rn_stmt_reset(next);
            return rc;
        }
        store_read_row(next, row);
        if (store_row_whole(row, (uint32_t)rn_column_int(next, 9)))
            return 1;
        rc = drop_damaged(store, row, err);
        if (rc < 0)
            return rc;
    }
}

int store_publish(struct store *store, uint64_t up_to, struct rn_err *err)
{
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    if (up_to > store->now.state.published)
        store->now.state.published = up_to;
    return store_end(store, RN_OK, err);
}

// ---- replacing ----------------------------------------------------------------------------------

static int is_there(struct store *store, uint64_t seq, struct rn_err *err)
{
    struct rn_stmt *next = store->stmt[SQL_NEXT];
    rn_bind_int(next, 1, (int64_t)seq);
    rn_bind_int(next, 2, (int64_t)seq + 1);
    int rc = rn_stmt_step(next, err);
    rn_stmt_reset(next);
    return rc;
}

static int copy_row(struct store *store, const struct store_row *row, struct rn_err *err)
{
    struct rn_stmt *copy = store->stmt[SQL_COPY];
    rn_bind_int(copy, 1, (int64_t)store->now.state.install);
    rn_bind_int(copy, 2, row->crc);
    rn_bind_int(copy, 3, store_row_mark(row));
    rn_bind_blob(copy, 4, row->body);
    rn_bind_int(copy, 5, (int64_t)row->seq);
    int rc = rn_stmt_run(copy, err);
    if (rc < 0)
        return rc;
    store->now.state.next = (uint64_t)rn_db_last_rowid(store->db) + 1;
    store->now.state.bytes_written += row->body.len;
    rn_bind_int(store->stmt[SQL_DROP], 1, (int64_t)row->seq);
    return rn_stmt_run(store->stmt[SQL_DROP], err);
}

static int replace(struct store *store, const struct store_row *row, struct rn_err *err)
{
    int rc = make_room(store, (int64_t)row->body.len, 0, err);
    if (rc >= 0)
        rc = is_there(store, row->seq, err); // room may have been made of this very row
    bool there = rc == 1;
    if (there)
        rc = copy_row(store, row, err);
    if (rc >= 0)
        rc = store_find_low(store, err);
    return rc < 0 ? rc : there;
}

// The samples stay pending: the ledger does not notice.
int store_replace(struct store *store, const struct store_row *old, struct rn_span body,
                  uint64_t *seq, struct rn_err *err)
{
    struct store_row row = *old;
    row.body = body;
    row.crc = rn_crc32c(0, body.data, body.len);
    int rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = store_end(store, replace(store, &row, err), err);
    if (rc != 1)
        return rc;
    store_remember(store, old->install, old->seq, old->crc);
    *seq = store->now.state.next - 1;
    return 1;
}

// ---- identity -----------------------------------------------------------------------------------

int store_new_install(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                      struct rn_err *err)
{
    uint64_t install = store->now.state.install;
    int rc = RN_OK;
    if (first > last || tag == (uint32_t)install)
        rc = rn_random_id(&install, err);
    if (rc < 0)
        return rc;
    struct rn_stmt *change = store->stmt[SQL_RELABEL];
    rn_bind_int(change, 1, (int64_t)install);
    rn_bind_int(change, 2, (int64_t)store->now.state.published);
    rn_bind_int(change, 3, (int64_t)first);
    rn_bind_int(change, 4, (int64_t)last);
    rn_bind_int(change, 5, tag);
    store->now.state.install = install;
    return rn_stmt_run(change, err);
}

int store_relabel(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                  struct rn_err *err)
{
    int rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, store_new_install(store, tag, first, last, err), err);
}

static int adopt(struct store *store, uint64_t log_id, struct rn_err *err)
{
    bool other = store->now.state.log_id != 0 && store->now.state.log_id != log_id;
    store->now.state.log_id = log_id;
    if (!other)
        return RN_OK;
    rn_bind_int(store->stmt[SQL_ADOPT], 1, (int64_t)store->now.state.install);
    int rc = rn_stmt_run(store->stmt[SQL_ADOPT], err);
    if (rc >= 0)
        rc = store_gone_clear(store, err); // nothing of them is in this log
    return rc < 0 ? rc : store_find_low(store, err);
}

int store_adopt(struct store *store, uint64_t log_id, struct rn_err *err)
{
    int rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, adopt(store, log_id, err), err);
}
