// Schemas: what is accepted encodes, and without extensions to its own bytes.
#include <runnel/wire.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t storage[RN_SCHEMA_STORAGE / 8];
    static uint8_t bytes[RN_SCHEMA_MAX_BYTES];
    struct rn_err words, *err = size % 8 ? NULL : &words; // words are slow
    struct rn_schema schema;
    struct rn_span in = {data, size};
    if (rn_schema_decode(in, &schema, storage, sizeof storage, err))
        return 0;
    struct rn_buf out;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    if (rn_schema_encode(&schema, &out, err))
        abort();
    if (out.len >= size && !rn_span_eq(rn_buf_span(&out), in))
        abort();
    if (rn_schema_decode(in, &schema, storage, 32 * size, err))
        abort(); // the storage that the header promises to suffice
    return 0;
}
