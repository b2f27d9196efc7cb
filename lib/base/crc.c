// See runnel/crc.h. Four bits at a time: two 64-byte tables instead of two of a kilobyte; batches
// are small and the cost is far below that of storing them.
#include <runnel/crc.h>

static uint32_t update(const uint32_t table[16], uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = table[crc & 15] ^ (crc >> 4);
        crc = table[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}

// Entry n is n carried through four steps of the reflected polynomial.
uint32_t rn_crc32c(uint32_t crc, const void *bytes, size_t len)
{
    static const uint32_t table[16] = {
        // polynomial 0x82f63b78
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    return update(table, crc, bytes, len);
}

uint32_t rn_crc32(uint32_t crc, const void *bytes, size_t len)
{
    static const uint32_t table[16] = {
        // polynomial 0xedb88320
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    return update(table, crc, bytes, len);
}
