// Batches under four schemas that cover types, periods, gaps and irregular times: what is accepted
// encodes and decodes to the same cells.
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SCHEMAS 4
static struct rn_schema schemas[SCHEMAS];

static void load(void)
{
    static const char *const names[SCHEMAS] = {"minimal", "vitals", "types", "irregular"};
    static uint8_t bytes[SCHEMAS][4096];
    static uint64_t storage[SCHEMAS][4096];
    for (int i = 0; i < SCHEMAS; i++) {
        char path[512];
        struct rn_err err;
        snprintf(path, sizeof path, FUZZ_VECTORS "/schema-%s.cbor", names[i]);
        FILE *file = fopen(path, "rb");
        if (!file)
            abort();
        size_t len = fread(bytes[i], 1, sizeof bytes[i], file);
        fclose(file);
        if (rn_schema_decode((struct rn_span){bytes[i], len}, &schemas[i], storage[i],
                             sizeof storage[i], &err))
            abort();
    }
}

static void *decode(const struct rn_schema *schema, const struct rn_batch_info *info,
                    struct rn_grid *grid)
{
    struct rn_err err;
    size_t size = rn_batch_grid_bytes(schema, info);
    void *storage = malloc(size ? size : 1);
    if (storage && rn_batch_decode(schema, info, grid, storage, size, &err) == RN_OK)
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

static void check_under(const struct rn_schema *schema, const struct rn_batch_info *info)
{
    static uint8_t bytes[RN_BATCH_MAX_BYTES];
    struct rn_grid grid, again;
    struct rn_batch_info second;
    struct rn_err err;
    struct rn_buf out;
    void *storage = decode(schema, info, &grid);
    if (!storage)
        return;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    if (rn_batch_encode_body(schema, info->schema_id, &grid, &out, &err))
        abort();
    if (rn_batch_open_body(rn_buf_span(&out), &second, &err))
        abort();
    void *storage_again = decode(schema, &second, &again);
    if (!storage_again)
        abort();
    check_same(&grid, &again);
    free(storage_again);
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
        check_under(&schemas[i], &info);
    return 0;
}
