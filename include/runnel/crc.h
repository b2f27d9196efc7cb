// CRC-32C (Castagnoli, RFC 3720) for content, CRC-32 (IEEE 802.3, as zlib's) for shard numbers.
#ifndef RUNNEL_CRC_H
#define RUNNEL_CRC_H

#include <stddef.h>
#include <stdint.h>

// Start with crc = 0; feed the result of one call to the next to continue.
uint32_t rn_crc32c(uint32_t crc, const void *bytes, size_t len);
uint32_t rn_crc32(uint32_t crc, const void *bytes, size_t len);

#endif
