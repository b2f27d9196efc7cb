// See cells.h.
#include "lib/wire/cells.h"

#include "lib/wire/packed.h"

#include <math.h>
#include <string.h>

bool walk_next(struct walk *walk, struct column *column)
{
    const struct rn_schema *schema = walk->schema;
    while (walk->group < schema->ngroups) {
        const struct rn_group *group = &schema->groups[walk->group];
        if (walk->field == group->nfields) {
            walk->field = 0;
            walk->series++;
        }
        if (walk->series < group->nseries && group->nfields) {
            *column = (struct column){group, &group->fields[walk->field], walk->index++,
                                      walk->series, walk->field};
            walk->field++;
            return true;
        }
        walk->series = walk->field = 0;
        walk->group++;
    }
    return false;
}

static uint32_t columns_of(const struct rn_group *group)
{
    return group->nfields * group->nseries;
}

void finder_init(struct finder *finder, const struct rn_schema *schema)
{
    uint32_t columns = 0;
    finder->schema = schema;
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        if (g % FINDER_GROUPS == 0)
            finder->before[g / FINDER_GROUPS] = (uint16_t)columns;
        columns += columns_of(&schema->groups[g]);
    }
}

bool find_column(const struct finder *finder, uint32_t index, struct column *column)
{
    const struct rn_schema *schema = finder->schema;
    if (index >= schema->ncolumns)
        return false;
    uint32_t part = (schema->ngroups - 1) / FINDER_GROUPS;
    while (finder->before[part] > index)
        part--;
    const struct rn_group *group = &schema->groups[part * FINDER_GROUPS];
    uint32_t within = index - finder->before[part];
    for (; within >= columns_of(group); group++)
        within -= columns_of(group);
    uint32_t position = within % group->nfields;
    *column =
        (struct column){group, &group->fields[position], index, within / group->nfields, position};
    return true;
}

int64_t time_max(const struct rn_schema *schema)
{
    return INT64_MAX / (int64_t)schema->unit_ns;
}

bool integer_fits(const struct rn_field *field, int64_t scaled)
{
    int64_t product;
    uint64_t whole;
    switch (field->type) {
    case RN_BOOL:
        return scaled == 0 || scaled == 1;
    case RN_UINT:
        return !__builtin_mul_overflow((uint64_t)scaled, field->mul, &whole);
    case RN_INT:
    case RN_FLOAT:
        return !__builtin_mul_overflow(scaled, field->mul, &product);
    default:
        return false;
    }
}

static int check_times(const struct rn_schema *schema, const struct rn_grid *grid,
                       struct rn_err *err)
{
    int64_t t0 = grid->times[0];
    if (t0 < 0 || (schema->step && (uint64_t)t0 % schema->step))
        return rn_fail(err, RN_EINVAL, "first tick is no multiple of the step");
    for (uint32_t i = 0; i < grid->n; i++) {
        int64_t t = grid->times[i];
        if (t < t0 || t > time_max(schema))
            return rn_fail(err, RN_EINVAL, "time of tick %u is out of range", i);
        if (schema->step && (uint64_t)(t - t0) != i * schema->step)
            return rn_fail(err, RN_EINVAL, "time of tick %u is not its step's", i);
    }
    return RN_OK;
}

bool cell_fits(const struct rn_grid *grid, const struct rn_field *field, size_t at)
{
    const union rn_cell *cell = &grid->cells[at];
    switch (grid->states[at]) {
    case RN_CELL_SCALED:
        return integer_fits(field, cell->i);
    case RN_CELL_DOUBLE:
        return field->type == RN_FLOAT && isfinite(cell->d);
    case RN_CELL_TEXT: {
        struct rn_span text = rn_grid_text(grid, at);
        return field->type == RN_TEXT && text.len <= RN_TEXT_MAX &&
               rn_utf8_valid(text.data, text.len);
    }
    default:
        return false;
    }
}

bool cell_same(const struct rn_grid *grid, size_t a, size_t b)
{
    if (grid->states[a] != grid->states[b])
        return false;
    if (grid->states[a] == RN_CELL_TEXT)
        return rn_span_eq(rn_grid_text(grid, a), rn_grid_text(grid, b));
    return grid->cells[a].i == grid->cells[b].i; // the bits, of doubles too
}

bool too_many_cells(const struct rn_schema *schema, uint32_t n)
{
    return n == 0 || n > RN_BATCH_MAX_CELLS || (uint64_t)n * schema->ncolumns > RN_BATCH_MAX_CELLS;
}

int fill_times(const struct rn_schema *schema, const struct rn_batch_info *info,
               struct rn_grid *grid, struct rn_err *err)
{
    if (info->t0 < 0 || (schema->step && (uint64_t)info->t0 % schema->step))
        return rn_fail(err, RN_EFORMAT, "first tick is no multiple of the step");
    int64_t max = time_max(schema);
    if (info->t0 > max ||
        (info->n > 1 && schema->step > (uint64_t)(max - info->t0) / (info->n - 1)))
        return rn_fail(err, RN_EFORMAT, "ticks are out of range");
    for (uint32_t i = 0; i < info->n; i++)
        grid->times[i] = info->t0 + (int64_t)(i * schema->step);
    return RN_OK;
}

static bool has_text(const struct rn_schema *schema)
{
    for (uint32_t i = 0; i < schema->ngroups; i++)
        for (uint32_t j = 0; j < schema->groups[i].nfields; j++)
            if (schema->groups[i].fields[j].type == RN_TEXT)
                return true;
    return false;
}

uint32_t text_space(const struct rn_schema *schema, const struct rn_batch_info *info)
{
    if (!has_text(schema))
        return 0;
    uint64_t cells = (uint64_t)info->n * schema->ncolumns;
    if (info->enc == RN_ENC_PLAIN)
        return (uint32_t)info->columns.len;
    uint32_t max = info->enc == RN_ENC_RANGE ? RANGED_TEXT_MAX : PACKED_TEXT_MAX;
    return cells * info->text_max < max ? (uint32_t)cells * info->text_max : max;
}

int longest_text(const struct rn_grid *grid, uint32_t max, struct rn_err *err)
{
    size_t cells = grid->text_len ? (size_t)grid->n * grid->ncolumns : 0;
    uint32_t longest = 0, sum = 0; // of 16,384 cells with 131,072 bytes at most: below 2^32
    for (size_t at = 0; at < cells; at++) {
        uint32_t len = grid->states[at] == RN_CELL_TEXT ? grid->cells[at].text.len : 0;
        sum += len;
        longest = len > longest ? len : longest;
    }
    if (longest > max || sum > RN_BATCH_MAX_TEXT)
        return rn_fail(err, RN_ELIMIT, "a text, or all together, is over its maximum");
    return (int)longest;
}

void copy_cell(struct rn_grid *grid, size_t to, size_t from)
{
    grid->cells[to] = grid->cells[from];
    grid->states[to] = grid->states[from];
}

int check_grid(const struct rn_schema *schema, const struct rn_grid *grid, struct rn_err *err)
{
    if (too_many_cells(schema, grid->n))
        return rn_fail(err, RN_ELIMIT, "%u ticks of %u columns are too many or none", grid->n,
                       schema->ncolumns);
    if (grid->ncolumns != schema->ncolumns)
        return rn_fail(err, RN_EINVAL, "grid does not fit the schema");
    return check_times(schema, grid, err);
}
