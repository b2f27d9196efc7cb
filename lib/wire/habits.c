// Hints and base: what encoders learn about a schema's columns. See runnel/wire.h,
// schemas/hints.cddl and schemas/base.cddl.
#include "lib/wire/cells.h"
#include "lib/wire/record.h"
#include "lib/wire/rules.h"

#include <runnel/crc.h>

#include <string.h>

#define FIRST_MAX 64
#define STEP_MAX  127

// ---- hints: {1: first of each column, 2: step of each column}, byte strings ---------------------

int rn_hints_encode(const struct rn_hints *hints, struct rn_buf *out)
{
    if (hints->ncolumns < 1 || hints->ncolumns > RN_SCHEMA_MAX_COLUMNS)
        return RN_EINVAL;
    rn_cbor_put_map(out, 2);
    rn_cbor_put_uint(out, 1);
    rn_cbor_put_bytes_head(out, hints->ncolumns);
    for (uint32_t i = 0; i < hints->ncolumns; i++)
        rn_buf_byte(out, hints->column[i].first);
    rn_cbor_put_uint(out, 2);
    rn_cbor_put_bytes_head(out, hints->ncolumns);
    for (uint32_t i = 0; i < hints->ncolumns; i++)
        rn_buf_byte(out, hints->column[i].step);
    return rn_buf_ok(out) ? RN_OK : RN_ELIMIT;
}

static int get_habits(struct rn_cbor_in *in, uint8_t max, struct rn_span *bytes)
{
    int result = rn_cbor_get_bytes(in, RN_SCHEMA_MAX_COLUMNS, bytes);
    for (size_t i = 0; !result && i < bytes->len; i++)
        if (bytes->data[i] > max)
            result = rn_cbor_fail(in, RN_ELIMIT, "a hint is out of range");
    return result;
}

int rn_hints_decode(struct rn_span bytes, struct rn_hints *hints, struct rn_err *err)
{
    struct rn_cbor_in in;
    struct rn_span firsts = {0}, steps = {0};
    uint64_t pairs = 0;
    int64_t key = -1;
    if (bytes.len > RN_SCHEMA_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "hints of %zu bytes", bytes.len);
    rn_cbor_in_init(&in, bytes, err);
    int result = rn_cbor_get_map(&in, UINT64_MAX, &pairs);
    for (uint64_t i = 0; !result && i < pairs; i++) {
        result = rec_key(&in, &key);
        if (!result && key == 1)
            result = get_habits(&in, FIRST_MAX, &firsts);
        else if (!result && key == 2)
            result = get_habits(&in, STEP_MAX, &steps);
        else if (!result)
            result = rn_cbor_skip(&in);
    }
    if (!result && (firsts.len == 0 || firsts.len != steps.len))
        result = rn_cbor_fail(&in, RN_EFORMAT, "hints are not one of each kind a column");
    if (!result)
        result = rn_cbor_end(&in);
    if (result)
        return result;
    hints->ncolumns = (uint32_t)firsts.len;
    for (size_t i = 0; i < firsts.len; i++)
        hints->column[i] = (struct rn_hint){firsts.data[i], steps.data[i]};
    return RN_OK;
}

// ---- base: {1: [first of each column]} ----------------------------------------------------------

int rn_base_encode(struct rn_base *base, struct rn_buf *out)
{
    size_t start = out->len;
    if (base->ncolumns < 1 || base->ncolumns > RN_SCHEMA_MAX_COLUMNS)
        return RN_EINVAL;
    rn_cbor_put_map(out, 1);
    rn_cbor_put_uint(out, 1);
    rn_cbor_put_array(out, base->ncolumns);
    for (uint32_t i = 0; i < base->ncolumns; i++)
        rn_cbor_put_int(out, base->column[i]);
    if (!rn_buf_ok(out) || out->len - start > RN_SCHEMA_MAX_BYTES)
        return RN_ELIMIT;
    base->crc = rn_crc32c(0, out->data + start, out->len - start);
    return RN_OK;
}

static int get_firsts(struct rn_cbor_in *in, struct rn_base *base)
{
    uint64_t count = 0;
    int result = rn_cbor_get_array(in, RN_SCHEMA_MAX_COLUMNS, &count);
    for (uint64_t i = 0; !result && i < count; i++)
        result = rn_cbor_get_int(in, &base->column[i]);
    base->ncolumns = (uint32_t)count;
    return result;
}

int rn_base_decode(struct rn_span bytes, struct rn_base *base, struct rn_err *err)
{
    struct rn_cbor_in in;
    uint64_t pairs = 0;
    int64_t key = -1;
    if (bytes.len > RN_SCHEMA_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "base of %zu bytes", bytes.len);
    base->ncolumns = 0;
    rn_cbor_in_init(&in, bytes, err);
    int result = rn_cbor_get_map(&in, UINT64_MAX, &pairs);
    for (uint64_t i = 0; !result && i < pairs; i++) {
        result = rec_key(&in, &key);
        if (!result)
            result = key == 1 ? get_firsts(&in, base) : rn_cbor_skip(&in);
    }
    if (!result && base->ncolumns == 0)
        result = rn_cbor_fail(&in, RN_EFORMAT, "a base without columns");
    if (!result)
        result = rn_cbor_end(&in);
    base->crc = rn_crc32c(0, bytes.data, bytes.len);
    return result;
}

// ---- learning -----------------------------------------------------------------------------------

static const struct rn_rule *rule_of(const struct rn_schema *schema, uint32_t column)
{
    for (uint32_t i = 0; i < schema->nrules; i++)
        if (schema->rules[i].column == column)
            return &schema->rules[i];
    return NULL;
}

// Goes through a column's numbers, each less what its rule expects. False at the end.
struct numbers {
    const struct rn_grid *grid;
    const struct rn_rule *rule;
    uint32_t column, tick;
    int64_t expected;
};

static bool next_number(struct numbers *from, uint64_t *rest)
{
    for (; from->tick < from->grid->n; from->tick++) {
        size_t at = rn_grid_at(from->grid, from->column, from->tick);
        if (from->grid->states[at] != RN_CELL_SCALED)
            continue;
        if (from->rule)
            (void)rule_expect(from->rule, from->grid, from->tick, &from->expected);
        *rest = (uint64_t)from->grid->cells[at].i - (uint64_t)from->expected;
        from->tick++;
        return true;
    }
    return false;
}

void rn_base_from(const struct rn_schema *schema, const struct rn_grid *grid, struct rn_base *base)
{
    base->ncolumns = schema->ncolumns;
    base->crc = 0;
    for (uint32_t column = 0; column < schema->ncolumns; column++) {
        struct numbers from = {.grid = grid, .rule = rule_of(schema, column), .column = column};
        uint64_t rest = 0;
        while (next_number(&from, &rest))
            continue;
        base->column[column] = (int64_t)rest;
    }
}

static uint64_t size_of(uint64_t value)
{
    return value >> 63 ? 0 - value : value;
}

// log2(1 + size) in 1/256, linear between powers of two.
static uint32_t log_of(uint64_t size)
{
    size += size < UINT64_MAX;
    uint32_t whole = 63 - (uint32_t)__builtin_clzll(size);
    uint64_t part = whole >= 8 ? size >> (whole - 8) : size << (8 - whole);
    return whole << 8 | (uint32_t)(part & 255);
}

void rn_hints_add(const struct rn_schema *schema, const struct rn_base *base,
                  const struct rn_grid *grid, struct rn_hints_sums *sums)
{
    for (uint32_t column = 0; column < schema->ncolumns; column++) {
        struct numbers from = {.grid = grid, .rule = rule_of(schema, column), .column = column};
        uint64_t before = base ? (uint64_t)base->column[column] : 0, rest;
        if (next_number(&from, &rest)) {
            sums->first[column] += log_of(size_of(rest - before));
            sums->nfirsts[column]++;
            before = rest;
        }
        while (next_number(&from, &rest)) {
            sums->step[column] += log_of(size_of(rest - before));
            sums->nsteps[column]++;
            before = rest;
        }
    }
}

// The mean, rounded, in units of 1/per of log2.
static uint8_t mean(uint64_t sum, uint32_t count, uint32_t per, uint8_t max)
{
    uint64_t units = count ? (sum * per + count * 128ULL) / (count * 256ULL) : 0;
    return units > max ? max : (uint8_t)units;
}

void rn_hints_from(const struct rn_schema *schema, const struct rn_hints_sums *sums,
                   struct rn_hints *hints)
{
    hints->ncolumns = schema->ncolumns;
    for (uint32_t i = 0; i < schema->ncolumns; i++)
        hints->column[i] = (struct rn_hint){mean(sums->first[i], sums->nfirsts[i], 1, FIRST_MAX),
                                            mean(sums->step[i], sums->nsteps[i], 2, STEP_MAX)};
}
