// Schemas of the vectors that cover types, periods, gaps, irregular times and rules, each with a
// base and hints; and what must hold of every grid that a decoder made.
#ifndef FUZZ_COMPANIONS_H
#define FUZZ_COMPANIONS_H

#include "room.h"

#include <runnel/wire.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMAS 5
static struct rn_schema schemas[SCHEMAS];
static struct rn_base bases[SCHEMAS];
static struct rn_hints hints[SCHEMAS];
static uint64_t work[RN_ENCODE_WORK / 8];

static struct rn_span load_file(const char *folder, const char *name, uint8_t bytes[4096])
{
    char path[512];
    snprintf(path, sizeof path, FUZZ_VECTORS "/%s-%s.cbor", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        abort();
    size_t len = fread(bytes, 1, 4096, file);
    fclose(file);
    return (struct rn_span){bytes, len};
}

static void load(void)
{
    static const char *const names[SCHEMAS] = {"minimal", "vitals", "types", "irregular", "rules"};
    static uint8_t bytes[SCHEMAS][4096], companion[4096];
    static uint64_t storage[SCHEMAS][4096];
    if (schemas[0].groups)
        return;
    for (int i = 0; i < SCHEMAS; i++) {
        struct rn_err err;
        if (rn_schema_decode(load_file("schema", names[i], bytes[i]), &schemas[i], storage[i],
                             sizeof storage[i], &err) ||
            rn_base_decode(load_file("packed/base", names[i], companion), &bases[i], &err) ||
            rn_hints_decode(load_file("packed/hints", names[i], companion), &hints[i], &err))
            abort();
    }
}

static struct rn_coding coding(uint32_t schema)
{
    return (struct rn_coding){.base = &bases[schema], .hints = &hints[schema]};
}

static int decode(struct room *room, uint32_t schema, const struct rn_batch_info *info,
                  struct rn_grid *grid, struct rn_err *err)
{
    struct rn_coding with = coding(schema);
    size_t size = rn_batch_grid_bytes(&schemas[schema], info);
    return rn_batch_decode_with(&schemas[schema], info, &with, grid, room_take(room, size), size,
                                work, RN_DECODE_WORK, err);
}

static void check_same(const struct rn_grid *a, const struct rn_grid *b)
{
    size_t cells = (size_t)a->n * a->ncolumns;
    if (a->n != b->n || memcmp(a->times, b->times, a->n * sizeof *a->times) != 0 ||
        memcmp(a->states, b->states, cells) != 0)
        abort();
    for (size_t at = 0; at < cells; at++) {
        if (a->states[at] == RN_CELL_TEXT && !rn_span_eq(rn_grid_text(a, at), rn_grid_text(b, at)))
            abort();
        if ((a->states[at] == RN_CELL_SCALED || a->states[at] == RN_CELL_DOUBLE) &&
            a->cells[at].i != b->cells[at].i)
            abort();
    }
}

// Every cell can be read as its field says.
static void check_values(uint32_t schema, const struct rn_grid *grid)
{
    struct rn_column_ref ref;
    struct rn_value value;
    for (uint32_t column = 0; column < grid->ncolumns; column++) {
        if (!rn_schema_column(&schemas[schema], column, &ref))
            abort();
        for (uint32_t tick = 0; tick < grid->n; tick++) {
            bool there = grid->states[rn_grid_at(grid, column, tick)] != RN_CELL_MISSING;
            if (rn_grid_value(grid, ref.field, column, tick, &value) != there ||
                (there && value.type == RN_FLOAT && !isfinite(value.d)))
                abort();
        }
    }
}

// The grid encodes, and that decodes to the same cells.
static void check_again(uint32_t schema, uint32_t enc, const struct rn_grid *grid)
{
    static uint8_t bytes[RN_BATCH_MAX_BYTES];
    static struct room room;
    struct rn_coding with = coding(schema);
    struct rn_grid again;
    struct rn_batch_info info;
    struct rn_err err;
    struct rn_buf out;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    size_t size = enc == RN_ENC_RANGE ? RN_RANGE_WORK : sizeof work;
    int rc = rn_batch_encode_as(enc, &schemas[schema], 0, &with, grid, work, size, &out, &err);
    if (rc == RN_ELIMIT) // repeated texts may need more room when they are written out
        return;
    if (rc || rn_batch_open_body(rn_buf_span(&out), &info, &err) ||
        decode(&room, schema, &info, &again, &err))
        abort();
    check_same(grid, &again);
}

#endif
