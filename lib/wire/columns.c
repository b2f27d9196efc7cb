// Columns of a batch in encoding 0, see schemas/batch.cddl:
//   [valid, varying, values] or, for a schema without step, [valid, varying, values, times].
// Only cells that are due count; a cell that is not due is missing on both sides. An integer stands
// for its difference, modulo 2^64, to the integer before it in the column (0 before the first).
// Rules, hints and base mean nothing here: any tool that reads CBOR can read these columns.
#include "lib/wire/packed.h"

#include <runnel/cbor.h>

#include <math.h>

// ---- encoding -----------------------------------------------------------------------------------

struct shape {
    uint32_t due, present;
    bool varying;
    bool bad; // a cell that does not fit its field, or is there though not due
};

static struct shape shape_of(const struct rn_schema *schema, const struct rn_grid *grid,
                             const struct column *column)
{
    struct shape shape = {0};
    size_t first = 0;
    for (uint32_t tick = 0; tick < grid->n; tick++) {
        size_t at = rn_grid_at(grid, column->index, tick);
        bool due = is_due(schema, grid, column->group, tick);
        shape.due += due;
        if (grid->states[at] == RN_CELL_MISSING)
            continue;
        if (!due || !cell_fits(grid, column->field, at))
            shape.bad = true;
        else if (shape.present++ == 0)
            first = at;
        else if (!shape.varying && !cell_same(grid, first, at))
            shape.varying = true;
    }
    return shape;
}

// Bits into a byte string whose head is written already, least significant first.
struct bits {
    struct rn_buf *out;
    uint8_t byte;
    uint8_t used;
};

static void bits_put(struct bits *bits, bool set)
{
    bits->byte = (uint8_t)(bits->byte | (set ? 1U << bits->used : 0U));
    if (++bits->used == 8) {
        rn_buf_byte(bits->out, bits->byte);
        bits->byte = bits->used = 0;
    }
}

static void bits_end(struct bits *bits)
{
    if (bits->used)
        rn_buf_byte(bits->out, bits->byte);
}

static void put_valid(const struct rn_schema *schema, const struct rn_grid *grid, uint64_t due,
                      struct rn_buf *out)
{
    struct walk walk = {.schema = schema};
    struct column column;
    struct bits bits = {.out = out};
    rn_cbor_put_bytes_head(out, (size_t)(due + 7) / 8);
    while (walk_next(&walk, &column))
        for (uint32_t tick = 0; tick < grid->n; tick++)
            if (is_due(schema, grid, column.group, tick))
                bits_put(&bits,
                         grid->states[rn_grid_at(grid, column.index, tick)] != RN_CELL_MISSING);
    bits_end(&bits);
}

static void put_varying(const struct rn_schema *schema, const struct rn_grid *grid,
                        struct rn_buf *out)
{
    struct walk walk = {.schema = schema};
    struct column column;
    struct bits bits = {.out = out};
    rn_cbor_put_bytes_head(out, ((size_t)schema->ncolumns + 7) / 8);
    while (walk_next(&walk, &column))
        bits_put(&bits, shape_of(schema, grid, &column).varying);
    bits_end(&bits);
}

// before: the present cell before this one, or `at` itself for the column's first.
static void put_cell(const struct rn_grid *grid, enum rn_type type, size_t at, size_t before,
                     uint64_t *integer, struct rn_buf *out)
{
    const union rn_cell *cell = &grid->cells[at];
    uint64_t value = (uint64_t)cell->i;
    switch (grid->states[at]) {
    case RN_CELL_SCALED:
        if (at == before && type == RN_UINT)
            rn_cbor_put_uint(out, value);
        else
            rn_cbor_put_int(out, (int64_t)(value - *integer));
        *integer = value;
        break;
    case RN_CELL_DOUBLE:
        rn_cbor_put_double(out, cell->d);
        break;
    default:
        if (at != before && cell_same(grid, at, before))
            rn_cbor_put_null(out);
        else
            rn_cbor_put_text(out, rn_grid_text(grid, at));
    }
}

static void put_values(const struct rn_schema *schema, const struct rn_grid *grid, uint64_t items,
                       struct rn_buf *out)
{
    struct walk walk = {.schema = schema};
    struct column column;
    rn_cbor_put_array(out, (size_t)items);
    while (walk_next(&walk, &column)) {
        bool varying = shape_of(schema, grid, &column).varying, first = true;
        uint64_t integer = 0;
        size_t before = 0;
        for (uint32_t tick = 0; tick < grid->n && (first || varying); tick++) {
            size_t at = rn_grid_at(grid, column.index, tick);
            if (grid->states[at] == RN_CELL_MISSING)
                continue;
            put_cell(grid, column.field->type, at, first ? at : before, &integer, out);
            before = at;
            first = false;
        }
    }
}

static void put_times(const struct rn_grid *grid, struct rn_buf *out)
{
    rn_cbor_put_array(out, grid->n - 1);
    for (uint32_t i = 1; i < grid->n; i++)
        rn_cbor_put_int(out, grid->times[i] - grid->times[0]);
}

int columns_put_plain(const struct rn_schema *schema, const struct rn_grid *grid,
                      struct rn_buf *out, struct rn_err *err)
{
    struct walk walk = {.schema = schema};
    struct column column;
    uint64_t due = 0, present = 0, items = 0;
    while (walk_next(&walk, &column)) {
        struct shape shape = shape_of(schema, grid, &column);
        if (shape.bad)
            return rn_fail(err, RN_EINVAL, "column %u holds a cell that does not fit its field",
                           column.index);
        due += shape.due;
        present += shape.present;
        items += shape.varying ? shape.present : shape.present > 0;
    }
    rn_cbor_put_array(out, schema->step ? 3 : 4);
    if (present == due)
        rn_cbor_put_null(out);
    else
        put_valid(schema, grid, due, out);
    put_varying(schema, grid, out);
    put_values(schema, grid, items, out);
    if (!schema->step)
        put_times(grid, out);
    return RN_OK;
}

// ---- decoding -----------------------------------------------------------------------------------

struct columns_in {
    const struct rn_schema *schema;
    struct rn_grid *grid;
    struct rn_cbor_in in;
    struct rn_span valid; // no data: all due cells are present
    struct rn_span varying;
    uint64_t bit;   // next of valid
    uint64_t items; // left in values
};

static bool bit_at(struct rn_span bitmap, uint64_t bit)
{
    return bitmap.data[bit / 8] >> (bit % 8) & 1;
}

static int check_bitmap(struct rn_cbor_in *in, struct rn_span bitmap, uint64_t bits)
{
    if (bitmap.len != (bits + 7) / 8)
        return rn_cbor_fail(in, RN_EFORMAT, "bitmap has the wrong length");
    if (bits % 8 && bitmap.data[bitmap.len - 1] >> (bits % 8))
        return rn_cbor_fail(in, RN_EFORMAT, "unused bits of a bitmap must be zero");
    return RN_OK;
}

static uint64_t count_due(const struct rn_schema *schema, const struct rn_grid *grid)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < schema->ngroups; i++) {
        const struct rn_group *group = &schema->groups[i];
        uint64_t due = 0;
        for (uint32_t tick = 0; tick < grid->n; tick++)
            due += is_due(schema, grid, group, tick);
        total += due * group->nfields * group->nseries;
    }
    return total;
}

static int get_valid(struct columns_in *from)
{
    struct rn_cbor_item item;
    int result = rn_cbor_next(&from->in, &item);
    if (result || item.type == RN_CBOR_NULL)
        return result;
    if (item.type != RN_CBOR_BYTES)
        return rn_cbor_fail(&from->in, RN_EFORMAT, "expected null or a bitmap");
    from->valid = item.bytes;
    return check_bitmap(&from->in, item.bytes, count_due(from->schema, from->grid));
}

static int get_varying(struct columns_in *from)
{
    int result = rn_cbor_get_bytes(&from->in, RN_SCHEMA_MAX_COLUMNS / 8, &from->varying);
    return result ? result : check_bitmap(&from->in, from->varying, from->schema->ncolumns);
}

static int get_integer(struct columns_in *from, const struct rn_cbor_item *item,
                       const struct rn_field *field, bool first, size_t at, uint64_t *integer)
{
    // Only the first value of an unsigned column is written as it is, up to 2^64 - 1.
    bool whole = first && field->type == RN_UINT && item->type == RN_CBOR_UINT;
    *integer += item->type == RN_CBOR_UINT ? item->u : ~item->u;
    if ((item->u > INT64_MAX && !whole) || !integer_fits(field, (int64_t)*integer))
        return rn_cbor_fail(&from->in, RN_EFORMAT, "integer does not fit its column");
    from->grid->cells[at].i = (int64_t)*integer;
    from->grid->states[at] = RN_CELL_SCALED;
    return RN_OK;
}

static int get_text(struct columns_in *from, const struct rn_cbor_item *item, uint32_t column,
                    uint32_t tick)
{
    struct rn_cbor_in *in = &from->in;
    if (!rn_utf8_valid(item->bytes.data, item->bytes.len))
        return rn_cbor_fail(in, RN_EFORMAT, "text is not UTF-8");
    if (rn_grid_set_text(from->grid, column, tick, item->bytes))
        return rn_cbor_fail(in, RN_ELIMIT, "texts are more than their space");
    return RN_OK;
}

// before: where the column's present cell before this one is, `at` itself for the first.
static int get_cell(struct columns_in *from, const struct column *column, uint32_t tick,
                    size_t before, uint64_t *integer)
{
    size_t at = rn_grid_at(from->grid, column->index, tick);
    enum rn_type type = column->field->type;
    struct rn_cbor_item item;
    if (from->items-- == 0)
        return rn_cbor_fail(&from->in, RN_EFORMAT, "fewer values than cells");
    int result = rn_cbor_next(&from->in, &item);
    if (result)
        return result;
    switch (item.type) {
    case RN_CBOR_UINT:
    case RN_CBOR_NINT:
        return get_integer(from, &item, column->field, at == before, at, integer);
    case RN_CBOR_DOUBLE:
        if (type != RN_FLOAT || !isfinite(item.d))
            return rn_cbor_fail(&from->in, RN_EFORMAT, "float does not fit its column");
        from->grid->cells[at].d = item.d;
        from->grid->states[at] = RN_CELL_DOUBLE;
        return RN_OK;
    case RN_CBOR_TEXT:
        if (type != RN_TEXT)
            return rn_cbor_fail(&from->in, RN_EFORMAT, "text does not fit its column");
        return get_text(from, &item, column->index, tick);
    case RN_CBOR_NULL:
        if (type != RN_TEXT || at == before)
            return rn_cbor_fail(&from->in, RN_EFORMAT, "null does not fit here");
        copy_cell(from->grid, at, before);
        return RN_OK;
    default:
        return rn_cbor_fail(&from->in, RN_EFORMAT, "expected a value");
    }
}

static int get_column(struct columns_in *from, const struct column *column)
{
    struct rn_grid *grid = from->grid;
    bool varying = bit_at(from->varying, column->index), first = true;
    uint64_t integer = 0;
    size_t before = 0;
    for (uint32_t tick = 0; tick < grid->n; tick++) {
        if (!is_due(from->schema, grid, column->group, tick))
            continue;
        if (from->valid.data && !bit_at(from->valid, from->bit++))
            continue;
        size_t at = rn_grid_at(grid, column->index, tick);
        if (!first && !varying) {
            copy_cell(grid, at, before);
            continue;
        }
        int result = get_cell(from, column, tick, first ? at : before, &integer);
        if (result)
            return result;
        before = at;
        first = false;
    }
    return RN_OK;
}

static int get_values(struct columns_in *from)
{
    struct walk walk = {.schema = from->schema};
    struct column column;
    int result = rn_cbor_get_array(&from->in, RN_BATCH_MAX_CELLS, &from->items);
    while (!result && walk_next(&walk, &column))
        result = get_column(from, &column);
    if (!result && from->items)
        result = rn_cbor_fail(&from->in, RN_EFORMAT, "more values than cells");
    return result;
}

static int get_times(struct columns_in *from)
{
    struct rn_grid *grid = from->grid;
    uint64_t items;
    int result = rn_cbor_get_array(&from->in, RN_BATCH_MAX_CELLS, &items);
    if (!result && items != grid->n - 1)
        result = rn_cbor_fail(&from->in, RN_EFORMAT, "not as many times as ticks");
    uint64_t max = (uint64_t)(time_max(from->schema) - grid->times[0]);
    for (uint32_t i = 1; !result && i < grid->n; i++) {
        uint64_t delta = 0;
        result = rn_cbor_get_uint(&from->in, max, &delta);
        grid->times[i] = grid->times[0] + (int64_t)delta;
    }
    return result;
}

static int get_columns(struct columns_in *from)
{
    uint64_t items;
    int result = rn_cbor_get_array(&from->in, UINT64_MAX, &items);
    if (!result && items != (from->schema->step ? 3 : 4))
        result = rn_cbor_fail(&from->in, RN_EFORMAT, "wrong number of parts");
    if (!result)
        result = get_valid(from);
    if (!result)
        result = get_varying(from);
    if (!result)
        result = get_values(from);
    if (!result && !from->schema->step)
        result = get_times(from);
    return result ? result : rn_cbor_end(&from->in);
}

int columns_get_plain(const struct rn_schema *schema, struct rn_span item, struct rn_grid *grid,
                      struct rn_err *err)
{
    struct columns_in from = {.schema = schema, .grid = grid};
    rn_cbor_in_init(&from.in, item, err);
    return get_columns(&from);
}
