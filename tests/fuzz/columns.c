// Columns in one encoding (FUZZ_ENC) from any bytes, without an envelope around them. First byte:
// schema, base, hints; second: ticks; third: time of the first tick, and in which encoding the grid
// is written again; the rest are the columns' bytes. In encoding 1 they are mostly taken as what
// was deflated, so that the fuzzer need not find its way through deflate.
//
// The CRC must not hide anything. In encoding 1 the right one is given. In encoding 2 it is over
// what the decoder makes of the bytes, and the last thing that is looked at: a grid that nothing
// but its CRC speaks against is treated as if it had been accepted.
#include "companions.h"

#include <runnel/cbor.h>
#include <runnel/crc.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD        3
#define NOW_NS      1795255200000000000
#define COLUMNS_MAX 4096
#define ITEM_MAX    (COLUMNS_MAX + 32)
#define CELLS_MAX   100 // larger ones are slow and little else: batch.c has them

static bool has_text(const struct rn_schema *schema)
{
    for (uint32_t i = 0; i < schema->groups[0].nfields; i++)
        if (schema->groups[0].fields[i].type == RN_TEXT)
            return true;
    return false;
}

// Texts take the range coder most of the time: few of them.
static uint32_t ticks(uint8_t byte, uint32_t schema)
{
    uint32_t columns = schemas[schema].ncolumns, few = 1U + byte % 6;
    if (FUZZ_ENC == RN_ENC_RANGE && has_text(&schemas[schema]))
        return byte < 254 ? 1U + byte % 3 : few;
    uint32_t n = byte < 252 ? few : 20U * (byte - 250U);
    return n * columns <= CELLS_MAX ? n : CELLS_MAX / columns;
}

static void put_crc(struct rn_buf *out, uint32_t crc)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        rn_buf_byte(out, (uint8_t)(crc >> shift));
}

// One block of raw deflate that is only stored.
static void put_stored(struct rn_buf *out, struct rn_span bytes)
{
    uint8_t low = (uint8_t)bytes.len, high = (uint8_t)(bytes.len >> 8);
    uint8_t head[5] = {1, low, high, (uint8_t)~low, (uint8_t)~high};
    rn_buf_append(out, head, sizeof head);
    rn_buf_append(out, bytes.data, bytes.len);
}

static void put_item(struct rn_buf *out, struct rn_span bytes, uint32_t base_crc, bool raw)
{
    if (FUZZ_ENC == RN_ENC_PLAIN) {
        rn_buf_append(out, bytes.data, bytes.len);
    } else if (FUZZ_ENC == RN_ENC_RANGE || raw) {
        rn_cbor_put_bytes_head(out, 4 + bytes.len);
        put_crc(out, 0);
        rn_buf_append(out, bytes.data, bytes.len);
    } else {
        rn_cbor_put_bytes_head(out, 4 + 5 + bytes.len);
        put_crc(out, rn_crc32c(base_crc, bytes.data, bytes.len));
        put_stored(out, bytes);
    }
}

static bool only_its_crc(int rc, const struct rn_err *err)
{
    return rc == RN_EFORMAT && strstr(err->text, "CRC is wrong");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct room in, out;
    struct rn_buf item;
    struct rn_grid grid;
    struct rn_err err;
    load();
    if (size < HEAD + 1 || size > COLUMNS_MAX)
        return 0;
    uint32_t schema = (data[0] & 31) % SCHEMAS;
    struct rn_batch_info info = {.enc = FUZZ_ENC,
                                 .t0 = NOW_NS / (int64_t)schemas[schema].unit_ns,
                                 .n = ticks(data[1], schema),
                                 .has_base = FUZZ_ENC != RN_ENC_PLAIN && data[0] & 32,
                                 .has_hints = FUZZ_ENC == RN_ENC_RANGE && data[0] & 64,
                                 .text_max =
                                     (data[0] & 31) >= 5 * SCHEMAS ? RN_TEXT_MAX : RN_TEXT_SHORT};
    info.t0 += (int64_t)((data[2] & 15) * schemas[schema].step);
    struct rn_span bytes = {data + HEAD, size - HEAD};
    rn_buf_init_fixed(&item, room_take(&in, ITEM_MAX), ITEM_MAX);
    put_item(&item, bytes, info.has_base ? bases[schema].crc : 0, data[0] & 128);
    info.columns = (struct rn_span){room_take(&in, item.len), item.len};
    int rc = decode(&out, schema, &info, &grid, &err);
    if (rc > 0)
        abort();
    if (rc && !only_its_crc(rc, &err))
        return 0;
    check_values(schema, &grid);
    uint32_t again = data[2] >> 4; // in which encoding, if any
    if (again < 8)
        check_again(schema, again <= RN_ENC_MAX ? again : FUZZ_ENC, &grid);
    return 0;
}
