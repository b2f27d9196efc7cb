// What is done with a damaged buffer: set aside, and every row that can still be read moved over.
#ifndef AGENT_STORE_SALVAGE_H
#define AGENT_STORE_SALVAGE_H

#include "agent/store.h"
#include <runnel/db.h>

// What opening the file failed with; RN_ECORRUPT if that is the file's damage: its first sector is
// gone, or what it says of its tables or of its format is not what we wrote.
RN_MUST_CHECK int store_judge(const char *path, int code);
// While a damaged file is being salvaged it is called "<path>.salvage", afterwards
// "<path>.damaged": what came to no end is begun again.
RN_MUST_CHECK int store_salvage_begun(const char *path, struct rn_err *err); // 1, or 0
// Out of the way with path (and its WAL), or with what a salvage that came to no end left there;
// an older "<path>.damaged" goes first: there may be no room for both.
// *from: the damaged file's name.
RN_MUST_CHECK int store_quarantine(const char *path, char *from, size_t size, struct rn_err *err);
// Reads rows of the damaged file one by one, by row id, into the empty tables of db: bodies that
// fit their CRC and whose schema could be read, with seq and install as they were. Ledger and
// published mark go along where they can be read; the install does not: what is new gets a new one.
// A damaged file that cannot be read at all is no error; one that only can't be read now is.
RN_MUST_CHECK int store_salvage(struct rn_db *db, const char *from, struct store_report *report,
                                struct rn_err *err);
// It is done. *aside: the damaged file's last name.
RN_MUST_CHECK int store_put_aside(const char *path, char *aside, size_t size, struct rn_err *err);
// SQLite does not notice a flipped bit in a row: the mark guards the columns beside the body
// (install changes later and seq is the key), the CRC the body.
uint32_t store_row_mark(const struct store_row *row);
bool store_row_whole(const struct store_row *row, uint32_t mark);
// The kernel's boot id, negative if it cannot be read.
RN_MUST_CHECK int store_boot_name(char out[33]);

#endif
