// Adaptive binary range coder: 32-bit range, carries added to the bytes before, probabilities of 16
// bits that learn fast at first and slowly later. Integers only. Private to lib/wire.
//
// Who codes several decisions does so on a copy of the coder that nothing else points to: the
// compiler keeps that in registers.
//
// A decision is 0 or 1; a probability is that of 0, in 1/65536. The end of the bytes reads as zeros
// for ever, and an encoder leaves out the zeros at its end. Decisions and raw pieces are counted as
// steps: they are what decoding costs, whatever the bytes are.
#ifndef WIRE_RANGE_H
#define WIRE_RANGE_H

#include <runnel/buf.h>
#include <stdbool.h>
#include <stdint.h>

#define RANGE_TOP   (1U << 24)
#define RANGE_P_MIN 48
#define RANGE_P_MAX 65488
#define RANGE_SURE  40 // decisions seen, at most: how slowly a probability learns in the end

struct range_out {
    struct rn_buf *out;
    size_t start; // of the stream in out
    uint64_t low; // below 2^33: a carry is waiting if it is 2^32 or more
    uint32_t range;
    uint32_t steps;
};

struct range_in {
    const uint8_t *at, *end;
    uint32_t range, code;
    uint32_t steps;
};

// Probabilities in two arrays: 3 bytes each instead of 4.
struct range_odds {
    uint16_t *p;
    uint8_t *seen;
};

extern const uint16_t range_rates[RANGE_SURE + 1]; // 65536 * 10 / (10 * seen + 16)

static inline void range_learn(struct range_odds odds, uint32_t at, bool bit)
{
    uint32_t p = odds.p[at], rate = range_rates[odds.seen[at]];
    if (bit) {
        p -= p * rate >> 16;
        odds.p[at] = (uint16_t)(p < RANGE_P_MIN ? RANGE_P_MIN : p);
    } else {
        p += (65536 - p) * rate >> 16;
        odds.p[at] = (uint16_t)(p > RANGE_P_MAX ? RANGE_P_MAX : p);
    }
    odds.seen[at] = (uint8_t)(odds.seen[at] + (odds.seen[at] < RANGE_SURE));
}

void range_out_begin(struct range_out *to, struct rn_buf *out);
// Moves the top byte of low to the end of out, and a carry to the bytes before it from start on.
// Gives what is left of low. Not of the coder itself, which so may stay in registers.
uint64_t range_out_shift(struct rn_buf *out, size_t start, uint64_t low);
// Ends the stream in as few bytes as can be.
void range_out_end(struct range_out *to);

static inline void range_out_settle(struct range_out *to)
{
    while (to->range < RANGE_TOP) {
        to->range <<= 8;
        to->low = range_out_shift(to->out, to->start, to->low);
    }
}

static inline void range_put(struct range_out *to, struct range_odds odds, uint32_t at, bool bit)
{
    uint32_t bound = (to->range >> 16) * odds.p[at];
    to->steps++;
    if (bit) {
        to->low += bound;
        to->range -= bound;
    } else {
        to->range = bound;
    }
    range_learn(odds, at, bit);
    range_out_settle(to);
}

// The lowest `bits` (1..16) bits of value, all as likely.
static inline void range_put_raw(struct range_out *to, uint32_t value, uint32_t bits)
{
    to->steps++;
    to->range >>= bits;
    to->low += (uint64_t)to->range * value;
    range_out_settle(to);
}

void range_in_begin(struct range_in *from, struct rn_span in);

static inline void range_in_settle(struct range_in *from)
{
    while (from->range < RANGE_TOP) {
        from->range <<= 8;
        from->code = from->code << 8 | (from->at < from->end ? *from->at++ : 0U);
    }
}

static inline bool range_get(struct range_in *from, struct range_odds odds, uint32_t at)
{
    uint32_t bound = (from->range >> 16) * odds.p[at];
    bool bit = from->code >= bound;
    from->steps++;
    if (bit) {
        from->code -= bound;
        from->range -= bound;
    } else {
        from->range = bound;
    }
    range_learn(odds, at, bit);
    range_in_settle(from);
    return bit;
}

// What no encoder writes may be beyond the last value: it is read as the last.
static inline uint32_t range_get_raw(struct range_in *from, uint32_t bits)
{
    from->steps++;
    from->range >>= bits;
    uint32_t value = from->code / from->range, last = (1U << bits) - 1;
    value = value > last ? last : value;
    from->code -= value * from->range;
    range_in_settle(from);
    return value;
}

// True if every byte was needed.
static inline bool range_in_ended(const struct range_in *from)
{
    return from->at == from->end;
}

#endif
