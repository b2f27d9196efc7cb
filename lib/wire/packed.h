// Columns in each encoding, between the envelope (body.c) and the bytes. Private to lib/wire.
#ifndef WIRE_PACKED_H
#define WIRE_PACKED_H

#include "lib/wire/cells.h"

// Encoding 0, columns.c: the whole item.
RN_MUST_CHECK int columns_put_plain(const struct rn_schema *schema, const struct rn_grid *grid,
                                    struct rn_buf *out, struct rn_err *err);
RN_MUST_CHECK int columns_get_plain(const struct rn_schema *schema, struct rn_span item,
                                    struct rn_grid *grid, struct rn_err *err);

// Bytes of new texts in a batch: what encoding 2 takes a millisecond to decode is less.
#define PACKED_TEXT_MAX 65536
#define RANGED_TEXT_MAX 8192
// What a batch may cost: no input takes longer to decode than this allows.
#define PACKED_PLAIN_MAX 73728 // plain bytes of encoding 1: 4.5 a cell of the largest batch
#define RANGED_STEPS_MAX 81920 // of the range coder in encoding 2: 5 a cell
#define RULE_COST        2 // bytes or steps that a rule counts as in each due cell, and one a term

// Encodings 1 and 2, packed*.c: the content of the byte string. The grid is checked (check_grid)
// when it is encoded, and has its times (fill_times) when it is decoded. with is not NULL.
RN_MUST_CHECK int packed_put(uint32_t enc, const struct rn_schema *schema,
                             const struct rn_coding *with, struct rn_grid *grid, void *work,
                             size_t work_size, struct rn_buf *out, struct rn_err *err);
RN_MUST_CHECK int packed_get(uint32_t enc, const struct rn_schema *schema,
                             const struct rn_coding *with, struct rn_span bytes,
                             struct rn_grid *grid, void *work, size_t work_size,
                             struct rn_err *err);

#endif
