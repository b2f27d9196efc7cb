// Room that is exactly as large as asked for: a byte beyond it is a finding under AddressSanitizer.
// Without a call of malloc for each input, which would cost more than most decoders.
#ifndef FUZZ_ROOM_H
#define FUZZ_ROOM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <sanitizer/asan_interface.h>

#define ROOM_MAX  524288
#define ROOM_WALL 256

struct room {
    _Alignas(8) uint8_t bytes[ROOM_MAX + ROOM_WALL];
    size_t size;
};

static inline void *room_take(struct room *room, size_t size)
{
    if (size > ROOM_MAX)
        abort();
    ASAN_UNPOISON_MEMORY_REGION(room->bytes + room->size, ROOM_WALL);
    room->size = size;
    ASAN_POISON_MEMORY_REGION(room->bytes + size, ROOM_WALL);
    return room->bytes;
}

#endif
