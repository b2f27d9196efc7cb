// Cells of a batch as every encoding sees them: columns in their order, which cells are due, which
// values a field can have. Private to lib/wire.
#ifndef WIRE_CELLS_H
#define WIRE_CELLS_H

#include <runnel/wire.h>

struct column {
    const struct rn_group *group;
    const struct rn_field *field;
    uint32_t index;
    uint32_t series, position; // of the series in its group, of the field in its list
};

// Goes through the columns in order; begin with {.schema = schema}.
struct walk {
    const struct rn_schema *schema;
    uint32_t group, series, field, index;
};

bool walk_next(struct walk *walk, struct column *column);
// Finds columns by their index, with a bounded search for each: a schema may have a rule for every
// column and a group for every rule.
#define FINDER_GROUPS 32
struct finder {
    const struct rn_schema *schema;
    uint16_t before[RN_SCHEMA_MAX_COLUMNS / FINDER_GROUPS]; // columns before every 32nd group
};
void finder_init(struct finder *finder, const struct rn_schema *schema);
// False if there is no such column.
bool find_column(const struct finder *finder, uint32_t index, struct column *column);

static inline bool is_due(const struct rn_schema *schema, const struct rn_grid *grid,
                          const struct rn_group *group, uint32_t tick)
{
    return rn_tick_due((uint64_t)grid->times[tick], schema->step, group->every);
}

// Times of a schema's batch are 0 or later and fit 64 bits in nanoseconds.
int64_t time_max(const struct rn_schema *schema);
bool too_many_cells(const struct rn_schema *schema, uint32_t n);
// How long the longest text is. RN_ELIMIT if that is over max, or all cells' texts are over
// RN_BATCH_MAX_TEXT, each counted in every cell that has it: nobody is to write a gigabyte that
// came in 100 bytes.
RN_MUST_CHECK int longest_text(const struct rn_grid *grid, uint32_t max, struct rn_err *err);
// Bytes of text that a batch with such columns can bring, at most; 0 if the schema has no text.
uint32_t text_space(const struct rn_schema *schema, const struct rn_batch_info *info);

// Whether a scaled integer is a value of its field: nothing that nobody could read is let in or
// out.
bool integer_fits(const struct rn_field *field, int64_t scaled);
bool cell_fits(const struct rn_grid *grid, const struct rn_field *field, size_t at);
bool cell_same(const struct rn_grid *grid, size_t a, size_t b);
void copy_cell(struct rn_grid *grid, size_t to, size_t from);

// What an encoder asks of a grid before it begins: its size, its times, that it is the schema's.
RN_MUST_CHECK int check_grid(const struct rn_schema *schema, const struct rn_grid *grid,
                             struct rn_err *err);
// The ticks that follow from the envelope; without a step all at t0 for now.
RN_MUST_CHECK int fill_times(const struct rn_schema *schema, const struct rn_batch_info *info,
                             struct rn_grid *grid, struct rn_err *err);

#endif
