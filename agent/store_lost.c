// An object that cannot be had any more, and the rows that name it; see store_lose_object in
// store.h.
#include "agent/store_private.h"
#include "agent/store_salvage.h"

#include <stdio.h>

static bool needs(const struct store_row *row, enum rn_object kind, uint32_t id)
{
    struct rn_batch_info info;
    if (kind == RN_OBJECT_SCHEMA)
        return row->schema == id;
    if (rn_batch_open_body(row->body, &info, NULL) < 0)
        return false;
    return kind == RN_OBJECT_HINTS ? info.has_hints && info.hints_id == id
                                   : info.has_base && info.base_id == id;
}

// The next row from seq `from` on, with its body read and given back; *lost: it goes. A damaged row
// is left to store_next.
static int look_at(struct store *store, uint64_t from, enum rn_object kind, uint32_t id,
                   struct store_row *row, bool *lost, struct rn_err *err)
{
    struct rn_stmt *next = store->stmt[SQL_NEXT];
    rn_bind_int(next, 1, (int64_t)from);
    rn_bind_int(next, 2, INT64_MAX);
    int rc = rn_stmt_step(next, err);
    if (rc == 1) {
        store_read_row(next, row);
        *lost = store_row_whole(row, (uint32_t)rn_column_int(next, 9)) && needs(row, kind, id) &&
                !(store->received && rn_ranges_has(store->received, row->seq));
        row->body = (struct rn_span){0};
    }
    rn_stmt_reset(next);
    return rc;
}

static int lose_rows(struct store *store, enum rn_object kind, uint32_t id, struct store_loss *loss,
                     struct rn_err *err)
{
    struct store_row row = {0};
    bool lost = false;
    int rc;
    while ((rc = look_at(store, row.seq + 1, kind, id, &row, &lost, err)) == 1) {
        if (!lost)
            continue;
        rc = store_drop_row(store, &row, LEDGER_LOST, err);
        if (rc < 0)
            break;
        store_remember(store, row.install, row.seq, row.crc); // it may have arrived
        loss->rows++;
        loss->samples += row.samples;
    }
    return rc;
}

static int lose_object(struct store *store, enum rn_object kind, uint32_t id,
                       struct store_loss *loss, struct rn_err *err)
{
    char sql[96];
    int rc = lose_rows(store, kind, id, loss, err);
    if (rc < 0)
        return rc;
    if (kind == RN_OBJECT_SCHEMA)
        snprintf(sql, sizeof sql, "DELETE FROM schema WHERE id=%u", id);
    else
        snprintf(sql, sizeof sql, "DELETE FROM object WHERE id=%u AND kind=%d", id, kind);
    rc = rn_db_exec(store->db, sql, err);
    return rc < 0 ? rc : store_find_low(store, err);
}

int store_lose_object(struct store *store, enum rn_object kind, uint32_t id,
                      struct store_loss *loss, struct rn_err *err)
{
    *loss = (struct store_loss){0};
    int rc = store_begin(store, err);
    return rc < 0 ? rc : store_end(store, lose_object(store, kind, id, loss, err), err);
}
