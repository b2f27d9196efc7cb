// cursor/NAME.db: the position of a cursor and its sink's saved state, moved in one transaction.
// A damaged file is put aside: the cursor then begins again at the log's tail, which an idempotent
// sink does not mind.
#ifndef BRIDGE_CURSOR_DB_H
#define BRIDGE_CURSOR_DB_H

#include "bridge/cursor.h"

struct cursor_db {
    struct rn_db *db;
    struct rn_stmt *move;
    uint64_t position;
    bool fresh;          // has no history in this log: new, of another log, or put aside
    bool quarantined;    // a damaged file was renamed
    struct rn_buf saved; // of the sink
};

RN_MUST_CHECK int cursor_db_open(struct cursor_db *out, const char *folder, const char *name,
                                 uint64_t log_id, uint64_t log_head, struct rn_err *err);
void cursor_db_close(struct cursor_db *db);
// Takes saved from db->saved.
RN_MUST_CHECK int cursor_db_move(struct cursor_db *db, uint64_t position,
                                 const struct cursor_hooks *hooks, struct rn_err *err);

#endif
