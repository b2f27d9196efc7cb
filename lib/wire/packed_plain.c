// The plain bytes: what encoding 1 deflates; encoding 2 only takes their CRC. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#include <runnel/crc.h>

void packed_fail(struct packed *c, int code, const char *words)
{
    if (!c->failed)
        c->failed = rn_fail(c->err, code, "columns: %s", words);
}

static void take_plain(struct packed *c, size_t bytes)
{
    if (bytes > c->plain_left)
        packed_fail(c, RN_ELIMIT, "too many plain bytes");
    else if (!c->ranged)
        c->plain_left -= (uint32_t)bytes;
}

void packed_flush(struct packed *c, bool last)
{
    struct rn_span bytes = {c->chunk, c->used};
    c->crc = rn_crc32c(c->crc, bytes.data, bytes.len);
    c->used = 0;
    take_plain(c, bytes.len);
    if (c->deflate && rn_deflate_put(c->deflate, bytes, last, c->out) < 0)
        packed_fail(c, RN_ELIMIT, "too many bytes");
}

bool packed_fill(struct packed *c)
{
    int got = c->failed ? 0 : rn_inflate_get(c->inflate, c->chunk, PACKED_CHUNK);
    if (got <= 0) {
        packed_fail(c, RN_EFORMAT, "deflated bytes are damaged or end early");
        return false;
    }
    c->used = 0;
    c->filled = (uint32_t)got;
    c->crc = rn_crc32c(c->crc, c->chunk, c->filled);
    take_plain(c, c->filled);
    return !c->failed;
}

void put_varint(struct packed *c, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(c, (uint8_t)(value | 0x80));
    put_byte(c, (uint8_t)value);
}

uint64_t get_varint(struct packed *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = get_byte(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if ((shift && !byte) || (shift == 63 && byte > 1))
                break;
            return value;
        }
    }
    packed_fail(c, RN_EFORMAT, "a number is not in its shortest form, or too large");
    return 0;
}
