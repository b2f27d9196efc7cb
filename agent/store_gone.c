// Rows that left the buffer for space or age and may have arrived all the same: the answer was on
// its way, or came to nobody. They were counted as evicted; their names, CRCs and samples are kept,
// and when the bridge says what became of them, the ledger is put right. Until then `low` covers
// them, so the bridge keeps their names as well and says it again after every birth.
//
// Bounds: STORE_GONE of them, and none further than that below the lowest row: what was forgotten
// stays counted as evicted. A table of the buffer's file, so that a restart changes nothing.
//
// A durable range is checked over the CRCs of all its rows. So while some rows are remembered, the
// CRCs of those that were settled just before or are settled meanwhile are kept too: with no
// samples.
#include "agent/store_private.h"

enum { NEIGHBOURS = 2 * 16 }; // twice the largest window

void store_sent(struct store *store, uint64_t seq)
{
    rn_ranges_forget_below(&store->sent, store->now.state.low);
    if (seq > store->maybe_sent && rn_ranges_add(&store->sent, seq, seq) < 0)
        store->maybe_sent = seq; // no room: every row up to here counts as sent
}

static int keep(struct store *store, uint64_t seq, uint64_t install, uint32_t crc, uint64_t samples,
                struct rn_err *err)
{
    struct rn_stmt *add = store->stmt[SQL_GONE_ADD];
    rn_bind_int(add, 1, (int64_t)seq);
    rn_bind_int(add, 2, (int64_t)install);
    rn_bind_int(add, 3, crc);
    rn_bind_int(add, 4, (int64_t)samples);
    return rn_stmt_run(add, err);
}

// The settled rows directly below: after a restart a range that spans them and this one could not
// be checked without.
static int keep_neighbours(struct store *store, const struct store_row *row, struct rn_err *err)
{
    int rc = RN_OK;
    for (uint64_t n = 1; rc >= 0 && n <= NEIGHBOURS && n < row->seq; n++) {
        const struct store_recent *old = store_recall(store, (uint32_t)row->install, row->seq - n);
        if (!old)
            break;
        rc = keep(store, old->seq, row->install, old->crc, 0, err);
    }
    return rc;
}

int store_gone_evicted(struct store *store, const struct store_row *row, struct rn_err *err)
{
    if (row->seq > store->maybe_sent && !rn_ranges_has(&store->sent, row->seq))
        return RN_OK;
    int rc = keep(store, row->seq, row->install, row->crc, row->samples, err);
    if (rc < 0)
        return rc;
    store->now.state.gone++;
    return keep_neighbours(store, row, err);
}

static int count(struct store *store, struct rn_err *err)
{
    struct rn_stmt *counting = store->stmt[SQL_GONE_COUNT];
    int rc = rn_stmt_step(counting, err);
    if (rc == 1)
        store->now.state.gone = (uint64_t)rn_column_int(counting, 0);
    rn_stmt_reset(counting);
    return rc < 0 ? rc : RN_OK;
}

int store_gone_init(struct store *store, struct rn_err *err)
{
    rn_ranges_init(&store->sent, store->sent_storage, STORE_SENT);
    store->maybe_sent = store->now.state.published;
    return count(store, err);
}

static int run_range(struct rn_stmt *stmt, uint32_t tag, uint64_t first, uint64_t last,
                     struct rn_err *err)
{
    rn_bind_int(stmt, 1, (int64_t)first);
    rn_bind_int(stmt, 2, (int64_t)last);
    rn_bind_int(stmt, 3, tag);
    return rn_stmt_run(stmt, err);
}

int store_gone_settle(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                      struct rn_err *err)
{
    if (store->now.state.gone == 0)
        return RN_OK;
    int rc = run_range(store->stmt[SQL_GONE_SETTLE], tag, first, last, err);
    if (rc >= 0)
        rc = run_range(store->stmt[SQL_GONE_COPY], tag, first, last, err);
    return rc < 0 ? rc : count(store, err);
}

int store_gone_clear(struct store *store, struct rn_err *err)
{
    store->now.state.gone = 0;
    return rn_stmt_run(store->stmt[SQL_GONE_CLEAR], err);
}

static int trim(struct store *store, struct rn_err *err)
{
    uint64_t low = store->now.state.low;
    struct rn_stmt *old = store->stmt[SQL_GONE_TRIM];
    rn_bind_int(old, 1, low > STORE_GONE ? (int64_t)(low - STORE_GONE) : 0);
    rn_bind_int(old, 2, STORE_GONE);
    int rc = rn_stmt_run(old, err);
    return rc < 0 ? rc : count(store, err);
}

int store_gone_low(struct store *store, struct rn_err *err)
{
    if (store->now.state.gone == 0)
        return RN_OK;
    int rc = trim(store, err);
    if (rc >= 0 && store->now.state.gone == 0)
        return store_gone_clear(store, err);
    if (rc < 0)
        return rc;
    struct rn_stmt *lowest = store->stmt[SQL_GONE_LOW];
    rc = rn_stmt_step(lowest, err);
    uint64_t low = rc == 1 ? (uint64_t)rn_column_int(lowest, 0) : 0;
    if (low > 0 && low < store->now.state.low)
        store->now.state.low = low;
    rn_stmt_reset(lowest);
    return rc < 0 ? rc : RN_OK;
}
