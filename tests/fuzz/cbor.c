// The reader alone: whatever it skips as one item it can read item by item, and it never leaves the
// input.
#include <runnel/cbor.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rn_cbor_in skipping, reading;
    struct rn_cbor_item item;
    rn_cbor_in_init(&skipping, (struct rn_span){data, size}, NULL);
    rn_cbor_in_init(&reading, (struct rn_span){data, size}, NULL);
    if (rn_cbor_skip(&skipping))
        return 0;
    do {
        if (rn_cbor_next(&reading, &item))
            abort();
        if (item.bytes.len &&
            (item.bytes.data < data || item.bytes.data + item.bytes.len > data + size))
            abort();
    } while (reading.depth > 0);
    if (reading.at != skipping.at)
        abort();
    return 0;
}
