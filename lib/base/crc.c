// See runnel/crc.h. CRC-32C goes over every batch, and over every number of one: a byte at a time,
// with a table of a kilobyte (four of them would halve the time, and cost the agent 3 kB). CRC-32
// is only for names: four bits at a time.
#include <runnel/crc.h>

// A CRC is linear: the entry of a byte is the sum of those of its bits, which are given, the lowest
// first.
#define BIT(i, n, of) ((i) >> (n)&1 ? (of) : 0U)
#define ENTRY(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                   \
    (BIT(i, 0, b0) ^ BIT(i, 1, b1) ^ BIT(i, 2, b2) ^ BIT(i, 3, b3) ^ BIT(i, 4, b4) ^               \
     BIT(i, 5, b5) ^ BIT(i, 6, b6) ^ BIT(i, 7, b7))
#define ENTRIES_4(i, ...)                                                                          \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1U, __VA_ARGS__), ENTRY((i) + 2U, __VA_ARGS__),             \
        ENTRY((i) + 3U, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                                         \
    ENTRIES_4(i, __VA_ARGS__), ENTRIES_4((i) + 4U, __VA_ARGS__), ENTRIES_4((i) + 8U, __VA_ARGS__), \
        ENTRIES_4((i) + 12U, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                                         \
    ENTRIES_16(i, __VA_ARGS__), ENTRIES_16((i) + 16U, __VA_ARGS__),                                \
        ENTRIES_16((i) + 32U, __VA_ARGS__), ENTRIES_16((i) + 48U, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    {                                                                                              \
        ENTRIES_64(0U, __VA_ARGS__), ENTRIES_64(64U, __VA_ARGS__), ENTRIES_64(128U, __VA_ARGS__),  \
            ENTRIES_64(192U, __VA_ARGS__)                                                          \
    }

// polynomial 0x82f63b78, reflected
static const uint32_t castagnoli[256] = TABLE(0xf26b8303U, 0xe13b70f7U, 0xc79a971fU, 0x8ad958cfU,
                                              0x105ec76fU, 0x20bd8edeU, 0x417b1dbcU, 0x82f63b78U);

uint32_t rn_crc32c(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = castagnoli[(crc ^ at[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

uint32_t rn_crc32(uint32_t crc, const void *bytes, size_t len)
{
    // Entry n is n carried through four steps of the reflected polynomial 0xedb88320.
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = table[crc & 15] ^ (crc >> 4);
        crc = table[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}
