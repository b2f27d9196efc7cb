// Whole batches, envelope and all, under the schema that their number names: what is accepted
// encodes, in the encoding that its tag names, and decodes to the same cells.
#include "companions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CELLS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct room room;
    struct rn_batch_head head;
    struct rn_batch_info info, stored;
    struct rn_grid grid;
    struct rn_span body;
    struct rn_err err;
    load();
    if (rn_batch_open((struct rn_span){data, size}, &head, &info, &body, &err))
        return 0;
    if (body.data + body.len != data + size || rn_batch_open_body(body, &stored, &err))
        abort();
    uint32_t schema = info.schema_id % SCHEMAS;
    uint64_t cells = (uint64_t)info.n * schemas[schema].ncolumns;
    if (cells > CELLS_MAX && cells <= RN_BATCH_MAX_CELLS)
        return 0; // slow, and nothing new
    if (decode(&room, schema, &info, &grid, &err))
        return 0;
    check_values(schema, &grid);
    check_again(schema, head.tag % (RN_ENC_MAX + 1), &grid);
    return 0;
}
