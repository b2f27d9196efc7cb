// Batches under five schemas that cover types, periods, gaps, irregular times and rules, with a
// base and hints: what is accepted encodes, in every encoding, and decodes to the same cells.
#include "companions.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *decode(int schema, const struct rn_batch_info *info, struct rn_grid *grid)
{
    struct rn_err err;
    struct rn_coding with = coding(schema);
    size_t size = rn_batch_grid_bytes(&schemas[schema], info);
    void *storage = malloc(size ? size : 1);
    if (storage && rn_batch_decode_with(&schemas[schema], info, &with, grid, storage, size, work,
                                        RN_DECODE_WORK, &err) == RN_OK)
        return storage;
    free(storage);
    return NULL;
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

static void check_encoding(int schema, uint32_t enc, const struct rn_grid *grid)
{
    static uint8_t bytes[RN_BATCH_MAX_BYTES];
    struct rn_coding with = coding(schema);
    struct rn_grid again;
    struct rn_batch_info second;
    struct rn_err err;
    struct rn_buf out;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    size_t size = enc == RN_ENC_RANGE ? RN_RANGE_WORK : sizeof work;
    int rc = rn_batch_encode_as(enc, &schemas[schema], 0, &with, grid, work, size, &out, &err);
    if (rc == RN_ELIMIT) // repeated texts may need more room when they are written out
        return;
    if (rc || rn_batch_open_body(rn_buf_span(&out), &second, &err))
        abort();
    void *storage = decode(schema, &second, &again);
    if (!storage)
        abort();
    check_same(grid, &again);
    free(storage);
}

static void check_under(int schema, const struct rn_batch_info *info)
{
    struct rn_grid grid;
    void *storage = decode(schema, info, &grid);
    if (!storage)
        return;
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++)
        check_encoding(schema, enc, &grid);
    free(storage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span body;
    struct rn_err err;
    if (!schemas[0].groups)
        load();
    if (rn_batch_open((struct rn_span){data, size}, &head, &info, &body, &err))
        return 0;
    for (int i = 0; i < SCHEMAS; i++)
        check_under(i, &info);
    return 0;
}
