// The plain bytes: what encoding 1 deflates; encoding 2 only takes their CRC. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#include <runnel/crc.h>

#include <endian.h>
#include <string.h>

void packed_fail(struct packed *c, int code, const char *words)
{
    if (!c->failed)
        c->failed = rn_fail(c->err, code, "columns: %s", words);
}

void packed_take_plain(struct packed *c, size_t bytes)
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
    packed_take_plain(c, bytes.len);
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
    packed_take_plain(c, c->filled);
    return !c->failed;
}

void put_varint(struct packed *c, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(c, (uint8_t)(value | 0x80));
    put_byte(c, (uint8_t)value);
}

static uint64_t bad_varint(struct packed *c)
{
    packed_fail(c, RN_EFORMAT, "a number is not in its shortest form, or too large");
    return 0;
}

// Byte by byte: of more than 8, or near the end of the chunk.
static uint64_t get_long_varint(struct packed *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = get_byte(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (shift && !byte) || (shift == 63 && byte > 1) ? bad_varint(c) : value;
    }
    return bad_varint(c);
}

// Whether the chunk holds 8 more bytes: then they are given, as a number of which the first is the
// lowest byte.
static bool see_word(const struct packed *c, uint64_t *word)
{
    if (c->filled - c->used < sizeof *word)
        return false;
    memcpy(word, c->chunk + c->used, sizeof *word);
    *word = le64toh(*word);
    return true;
}

// All of its bytes at once, since nobody can guess how many there are.
uint64_t get_varint(struct packed *c)
{
    uint64_t word, ends;
    if (!see_word(c, &word) || !(ends = ~word & 0x8080808080808080))
        return get_long_varint(c);
    uint32_t last = (uint32_t)__builtin_ctzll(ends) & ~7U; // where the last byte begins, in bits
    word &= ends ^ (ends - 1);
    if (last && !(word >> last))
        return bad_varint(c);
    c->used += last / 8 + 1;
    word = (word & 0x007f007f007f007f) | (word & 0x7f007f007f007f00) >> 1; // two bytes' 14 bits
    word = (word & 0x00003fff00003fff) | (word & 0x3fff00003fff0000) >> 2;
    return (word & 0x0fffffff) | (word & 0x0fffffff00000000) >> 4;
}

uint64_t code_fixed(struct packed *c, uint64_t value)
{
    uint64_t got = 0;
    if (c->ranged || c->putting) {
        for (uint32_t shift = 0; shift < 64; shift += 8)
            put_byte(c, (uint8_t)(value >> shift));
        return value;
    }
    if (see_word(c, &got)) {
        c->used += (uint32_t)sizeof got;
        return got;
    }
    for (uint32_t shift = 0; shift < 64; shift += 8)
        got |= (uint64_t)get_byte(c) << shift;
    return got;
}
