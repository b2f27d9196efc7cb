// Eviction: which rows leave a buffer that is too full or too old. Pure.
//
// Too old goes first, whatever its state. Then, while there is too much, rows that the bridge's log
// already has (received), oldest first; then the oldest of the others.
#ifndef AGENT_EVICT_H
#define AGENT_EVICT_H

#include <stdbool.h>
#include <stdint.h>

struct evict_row {
    uint64_t seq;
    int64_t bytes;  // of storage that its removal gives back
    int64_t t_last; // ms since 1970 of its last sample; 0: unknown, never too old
    bool received;
    bool drop; // the answer
};

struct evict_need {
    int64_t excess_bytes; // how much must go; <= 0: nothing for the sake of space
    int64_t oldest_ms;    // rows that end before this are too old; 0: no limit
};

// rows: the oldest rows of the buffer in order of age. Sets `drop` in each; returns how many it
// set.
uint32_t evict_choose(const struct evict_need *need, struct evict_row *rows, uint32_t count);

#endif
