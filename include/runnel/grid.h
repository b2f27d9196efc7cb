// Grid: the values of one batch in columns, the pivot between collectors, codec and sinks.
//
// n ticks by ncolumns columns, column-major: cell (column, tick) is at column * n + tick. A cell is
// missing, a scaled integer, a literal double, or text. The storage is one caller's arena given at
// init; nothing else is allocated. Text bytes live in the same arena.
#ifndef RUNNEL_GRID_H
#define RUNNEL_GRID_H

#include <runnel/err.h>
#include <runnel/schema.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rn_cell_state {
    RN_CELL_MISSING = 0,
    RN_CELL_SCALED = 1, // .i; an RN_UINT column uses the whole 64 bits, see rn_value_u64
    RN_CELL_DOUBLE = 2, // .d; RN_FLOAT columns only; finite
    RN_CELL_TEXT = 3,   // .text; RN_TEXT columns only
};

struct rn_cell_text {
    uint32_t off, len; // into the grid's text bytes
};

union rn_cell {
    int64_t i;
    double d;
    struct rn_cell_text text;
};

struct rn_grid {
    uint32_t n, ncolumns;
    int64_t *times; // n, in the schema's units since 1970
    union rn_cell *cells;
    uint8_t *states; // enum rn_cell_state
    uint8_t *text;
    uint32_t text_len, text_cap;
};

// How many bytes of storage a grid of this size needs.
size_t rn_grid_bytes(uint32_t n, uint32_t ncolumns, uint32_t text_cap);
// storage: rn_grid_bytes() bytes aligned to 8. All cells missing, times 0.
RN_MUST_CHECK int rn_grid_init(struct rn_grid *grid, uint32_t n, uint32_t ncolumns,
                               uint32_t text_cap, void *storage, size_t size, struct rn_err *err);
static inline size_t rn_grid_at(const struct rn_grid *grid, uint32_t column, uint32_t tick)
{
    return (size_t)column * grid->n + tick;
}
// RN_ELIMIT when the text bytes are used up.
RN_MUST_CHECK int rn_grid_set_text(struct rn_grid *grid, uint32_t column, uint32_t tick,
                                   struct rn_span text);
struct rn_span rn_grid_text(const struct rn_grid *grid, size_t at);
// Number of cells that are not missing: the samples of the batch.
uint64_t rn_grid_samples(const struct rn_grid *grid);

// One value as a sink or a person reads it.
struct rn_value {
    enum rn_type type;
    union {
        int64_t i;           // RN_INT
        uint64_t u;          // RN_UINT
        double d;            // RN_FLOAT
        bool b;              // RN_BOOL
        struct rn_span text; // RN_TEXT
    };
};
// A value under its field's name.
struct rn_named_value {
    struct rn_span name;
    struct rn_value value;
};
// Reads cell (column, tick) as its field says: applies mul and decimals. The one place where scaled
// integers become values: double = (double)scaled / 10^decimals (correctly rounded division by an
// exact power of ten), after an exact integer multiplication by mul. False if the cell is missing,
// or if scaled * mul does not fit in the type's 64 bits (only a peer that lies sends such a cell:
// there is no value that it could mean).
bool rn_grid_value(const struct rn_grid *grid, const struct rn_field *field, uint32_t column,
                   uint32_t tick, struct rn_value *out);
// The scaled integer for a double at `decimals` and `mul`, if rn_grid_value gives back the very
// same bits; false otherwise (then the cell is a literal double).
bool rn_scale_double(double value, uint8_t decimals, uint32_t mul, int64_t *scaled);

#endif
