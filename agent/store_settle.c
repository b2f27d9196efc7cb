// Settling: the bridge has said what became of a range of rows. They are counted, checked against
// its CRC and deleted; see store_settle in store.h.
#include "agent/store_private.h"
#include <runnel/crc.h>

struct tally {
    uint32_t crc;
    uint64_t expect; // next seq that the range must show
    uint64_t samples, rows;
    uint64_t gone; // samples of evicted rows that are remembered
    bool gap;
};

static void add_crc(struct tally *t, uint32_t crc)
{
    const uint8_t bytes[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                              (uint8_t)crc};
    t->crc = rn_crc32c(t->crc, bytes, sizeof bytes);
}

// Seqs up to (not including) `until` must have been settled shortly before.
static void fill_gap(const struct store *store, struct tally *t, uint32_t tag, uint64_t until)
{
    while (!t->gap && t->expect < until) {
        const struct store_recent *old = store_recall(store, tag, t->expect);
        t->gap = !old;
        if (old)
            add_crc(t, old->crc);
        t->expect++;
    }
}

// Walks the range's rows, the remembered ones among them: sums them up.
static int sum_up(struct store *store, uint32_t tag, uint64_t first, uint64_t last, struct tally *t,
                  struct rn_err *err)
{
    struct rn_stmt *range = store->stmt[SQL_RANGE];
    rn_bind_int(range, 1, (int64_t)first);
    rn_bind_int(range, 2, (int64_t)last);
    int rc;
    while ((rc = rn_stmt_step(range, err)) == 1) {
        uint64_t seq = (uint64_t)rn_column_int(range, 0);
        uint64_t samples = (uint64_t)rn_column_int(range, 3);
        bool gone = rn_column_int(range, 4) != 0;
        if ((uint32_t)rn_column_int(range, 1) != tag)
            continue;
        fill_gap(store, t, tag, seq);
        add_crc(t, (uint32_t)rn_column_int(range, 2));
        t->expect = seq + 1;
        *(gone ? &t->gone : &t->samples) += samples;
        t->rows += !gone;
    }
    rn_stmt_reset(range);
    return rc;
}

// Keeps the CRCs of rows that are about to go: a later range may span them.
static int remember_range(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                          struct rn_err *err)
{
    struct rn_stmt *range = store->stmt[SQL_RANGE];
    rn_bind_int(range, 1, (int64_t)first);
    rn_bind_int(range, 2, (int64_t)last);
    int rc;
    while ((rc = rn_stmt_step(range, err)) == 1)
        if ((uint32_t)rn_column_int(range, 1) == tag)
            store_remember(store, tag, (uint64_t)rn_column_int(range, 0),
                           (uint32_t)rn_column_int(range, 2));
    rn_stmt_reset(range);
    return rc;
}

static int drop_rows(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                     struct rn_err *err)
{
    struct rn_stmt *drop = store->stmt[SQL_DROP_RANGE];
    rn_bind_int(drop, 1, (int64_t)first);
    rn_bind_int(drop, 2, (int64_t)last);
    rn_bind_int(drop, 3, tag);
    return rn_stmt_run(drop, err);
}

static int drop_range(struct store *store, uint32_t tag, uint64_t first, uint64_t last,
                      const struct tally *t, enum row_state fate, struct rn_err *err)
{
    struct rn_ledger *ledger = &store->now.state.ledger;
    enum ledger_fate to = fate == ROW_REFUSED ? LEDGER_REFUSED : LEDGER_DELIVERED;
    int rc = store_gone_settle(store, tag, first, last, err);
    if (rc >= 0 && t->rows)
        rc = drop_rows(store, tag, first, last, err);
    if (rc < 0)
        return rc;
    ledger_settle(ledger, to, t->samples);
    ledger_found(ledger, to, t->gone);
    store->now.state.rows -= t->rows;
    return store_find_low(store, err);
}

int store_settle(struct store *store, uint32_t tag, uint64_t first, uint64_t last, uint32_t crc,
                 enum row_state fate, struct rn_err *err)
{
    store_release_borrowed(store);
    struct tally t = {.expect = first};
    int rc = sum_up(store, tag, first, last, &t, err);
    if (rc < 0)
        return rc;
    if (fate == ROW_DURABLE) {
        fill_gap(store, &t, tag, last + 1);
        if (t.gap || t.crc != crc)
            return 0;
    }
    if (t.rows == 0 && t.gone == 0)
        return 1;
    rc = remember_range(store, tag, first, last, err);
    if (rc < 0)
        return rc;
    rc = store_begin(store, err);
    if (rc < 0)
        return rc;
    rc = drop_range(store, tag, first, last, &t, fate, err);
    if (rc < 0)
        return store_end(store, rc, err);
    rc = store_leave_open(store, t.rows, err);
    return rc < 0 ? rc : 1;
}
