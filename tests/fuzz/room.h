// Room that is exactly as large as asked for: a byte beyond it is a finding under AddressSanitizer.
// Without a call of malloc for each input, which would cost more than most decoders.
#ifndef FUZZ_ROOM_H
#define FUZZ_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <sanitizer/asan_interface.h>

#define ROOM_MAX 524288

struct room {
    _Alignas(8) uint8_t bytes[ROOM_MAX];
    size_t size; // of what may be used
    bool begun;
};

// All of the room beyond what is taken is poisoned, not only a wall: a wild index lands far away.
static inline void *room_take(struct room *room, size_t size)
{
    if (size > ROOM_MAX)
        abort();
    if (!room->begun)
        ASAN_POISON_MEMORY_REGION(room->bytes, ROOM_MAX);
    room->begun = true;
    if (size > room->size)
        ASAN_UNPOISON_MEMORY_REGION(room->bytes + room->size, size - room->size);
    else
        ASAN_POISON_MEMORY_REGION(room->bytes + size, room->size - size);
    room->size = size;
    return room->bytes;
}

#endif
