// See runnel/grid.h.
#include <runnel/grid.h>

#include <math.h>
#include <string.h>

static const double power_of_ten[16] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

size_t rn_grid_bytes(uint32_t n, uint32_t ncolumns, uint32_t text_cap)
{
    size_t cells = (size_t)n * ncolumns;
    return n * sizeof(int64_t) + cells * sizeof(union rn_cell) + cells + text_cap;
}

int rn_grid_init(struct rn_grid *grid, uint32_t n, uint32_t ncolumns, uint32_t text_cap,
                 void *storage, size_t size, struct rn_err *err)
{
    if ((uint64_t)n * ncolumns > RN_BATCH_MAX_CELLS)
        return rn_fail(err, RN_ELIMIT, "%u ticks of %u columns are more than %d cells", n, ncolumns,
                       RN_BATCH_MAX_CELLS);
    if (size < rn_grid_bytes(n, ncolumns, text_cap))
        return rn_fail(err, RN_EINVAL, "storage of %zu bytes is too small for the grid", size);
    size_t cells = (size_t)n * ncolumns;
    uint8_t *at = storage;
    *grid = (struct rn_grid){.n = n, .ncolumns = ncolumns, .text_cap = text_cap};
    grid->times = (int64_t *)storage;
    at += n * sizeof(int64_t);
    grid->cells = (union rn_cell *)(void *)at;
    at += cells * sizeof(union rn_cell);
    grid->states = at;
    grid->text = at + cells;
    memset(storage, 0, n * sizeof(int64_t) + cells * sizeof(union rn_cell) + cells);
    return RN_OK;
}

int rn_grid_set_text(struct rn_grid *grid, uint32_t column, uint32_t tick, struct rn_span text)
{
    if (text.len > grid->text_cap - grid->text_len)
        return RN_ELIMIT;
    size_t at = rn_grid_at(grid, column, tick);
    grid->cells[at].text = (struct rn_cell_text){grid->text_len, (uint32_t)text.len};
    grid->states[at] = RN_CELL_TEXT;
    if (text.len)
        memcpy(grid->text + grid->text_len, text.data, text.len);
    grid->text_len += (uint32_t)text.len;
    return RN_OK;
}

struct rn_span rn_grid_text(const struct rn_grid *grid, size_t at)
{
    struct rn_cell_text text = grid->cells[at].text;
    return (struct rn_span){grid->text + text.off, text.len};
}

uint64_t rn_grid_samples(const struct rn_grid *grid)
{
    uint64_t samples = 0;
    size_t cells = (size_t)grid->n * grid->ncolumns;
    for (size_t at = 0; at < cells; at++)
        samples += grid->states[at] != RN_CELL_MISSING;
    return samples;
}

static bool scaled_double(int64_t scaled, uint8_t decimals, uint32_t mul, double *out)
{
    int64_t product;
    if (decimals > 15 || __builtin_mul_overflow(scaled, mul, &product))
        return false;
    *out = (double)product / power_of_ten[decimals];
    return true;
}

static bool scaled_value(int64_t scaled, const struct rn_field *field, struct rn_value *out)
{
    switch (field->type) {
    case RN_INT:
        return !__builtin_mul_overflow(scaled, field->mul, &out->i);
    case RN_UINT:
        return !__builtin_mul_overflow((uint64_t)scaled, field->mul, &out->u);
    case RN_FLOAT:
        return scaled_double(scaled, field->decimals, field->mul, &out->d);
    case RN_BOOL:
        out->b = scaled != 0;
        return true;
    case RN_TEXT:
        break;
    }
    return false;
}

bool rn_grid_value(const struct rn_grid *grid, const struct rn_field *field, uint32_t column,
                   uint32_t tick, struct rn_value *out)
{
    size_t at = rn_grid_at(grid, column, tick);
    out->type = field->type;
    switch (grid->states[at]) {
    case RN_CELL_SCALED:
        return scaled_value(grid->cells[at].i, field, out);
    case RN_CELL_DOUBLE:
        out->d = grid->cells[at].d;
        return field->type == RN_FLOAT;
    case RN_CELL_TEXT:
        out->text = rn_grid_text(grid, at);
        return field->type == RN_TEXT;
    default:
        return false;
    }
}

bool rn_scale_double(double value, uint8_t decimals, uint32_t mul, int64_t *scaled)
{
    if (!isfinite(value) || decimals > 15 || mul < 1)
        return false;
    double near = nearbyint(value * power_of_ten[decimals] / mul);
    // Not beyond the range of int64_t: 2^63 itself is a double.
    if (!(near >= -0x1p63 && near < 0x1p63))
        return false;
    int64_t candidate = (int64_t)near;
    double back;
    if (!scaled_double(candidate, decimals, mul, &back) || memcmp(&back, &value, sizeof back) != 0)
        return false;
    *scaled = candidate;
    return true;
}
