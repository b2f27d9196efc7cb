// Columns in encodings 1 and 2 from any bytes, so that the decoder's every turn is reached without
// an envelope around it. First byte: encoding, schema, base and hints; second: ticks; the rest: the
// columns' bytes (in encoding 1: before they are deflated).
#include "companions.h"

#include <runnel/cbor.h>
#include <runnel/deflate.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS_MAX 65536

// The item: CRC 0, then the bytes.
static bool make_item(uint32_t enc, struct rn_span bytes, struct rn_buf *item)
{
    static uint8_t content[COLUMNS_MAX];
    struct rn_buf out;
    rn_buf_init_fixed(&out, content, sizeof content);
    rn_buf_append(&out, "\0\0\0\0", 4);
    if (enc == RN_ENC_RANGE) {
        rn_buf_append(&out, bytes.data, bytes.len);
    } else {
        struct rn_deflate *deflate = rn_deflate_begin(work, sizeof work, 1);
        if (!deflate || rn_deflate_put(deflate, bytes, true, &out))
            return false;
    }
    rn_cbor_put_bytes(item, rn_buf_span(&out));
    return rn_buf_ok(&out) && rn_buf_ok(item);
}

// Without the right CRC nothing is accepted; but all of the decoder is gone through.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[COLUMNS_MAX + 8];
    struct rn_buf item;
    struct rn_err err;
    struct rn_grid grid;
    if (size < 3 || size > 4096)
        return 0;
    if (!schemas[0].groups)
        load();
    uint32_t enc = 1 + (data[0] & 1), schema = data[0] / 2 % SCHEMAS;
    struct rn_coding with = coding((int)schema);
    rn_buf_init_fixed(&item, bytes, sizeof bytes);
    if (!make_item(enc, (struct rn_span){data + 2, size - 2}, &item))
        return 0;
    struct rn_batch_info info = {.t0 = 1795255200000,
                                 .n = 1U + data[1] % 64,
                                 .enc = enc,
                                 .columns = rn_buf_span(&item),
                                 .has_base = data[0] & 128,
                                 .has_hints = enc == RN_ENC_RANGE && data[0] & 128};
    size_t grid_size = rn_batch_grid_bytes(&schemas[schema], &info);
    void *storage = malloc(grid_size ? grid_size : 1);
    int rc = storage ? rn_batch_decode_with(&schemas[schema], &info, &with, &grid, storage,
                                            grid_size, work, RN_DECODE_WORK, &err)
                     : RN_OK;
    free(storage);
    if (rc > 0)
        abort();
    return 0;
}
