// Numbers of the range coder, and the primitives of both encodings. See packed_walk.h.
#include "lib/wire/packed_walk.h"

static inline uint32_t step_at(uint32_t steps)
{
    return steps < MODEL_SIZE_STEPS ? steps : MODEL_SIZE_STEPS - 1;
}

static inline uint32_t top_at(uint32_t bits)
{
    return AT_TOP + (bits < MODEL_TOP_BITS ? bits : MODEL_TOP_BITS - 1) * 3;
}

// How many bits: from what is expected step by step up or down.
static inline void range_put_size(struct range_out *to, struct range_odds odds,
                                  const struct odds_of *of, uint32_t bits)
{
    uint32_t at = of->expected, up = of->size + 1, down = up + MODEL_SIZE_STEPS;
    range_put(to, odds, of->size, bits > at);
    if (bits > at) {
        for (uint32_t k = at + 1; k < 64; k++) {
            range_put(to, odds, up + step_at(k - at - 1), bits > k);
            if (bits == k)
                break;
        }
    } else {
        for (uint32_t k = at; k > 1; k--) {
            range_put(to, odds, down + step_at(at - k), bits < k);
            if (bits == k)
                break;
        }
    }
}

static inline uint32_t range_get_size(struct range_in *from, struct range_odds odds,
                                      const struct odds_of *of)
{
    uint32_t at = of->expected, up = of->size + 1, down = up + MODEL_SIZE_STEPS, k = at;
    if (range_get(from, odds, of->size)) {
        for (k = at + 1; k < 64 && range_get(from, odds, up + step_at(k - at - 1));)
            k++;
    } else {
        while (k > 1 && range_get(from, odds, down + step_at(at - k)))
            k--;
    }
    return k;
}

// The bits below the highest: two with probabilities, the rest as they are.
static inline void range_put_bits(struct range_out *to, struct range_odds odds, uint64_t size,
                                  uint32_t bits)
{
    uint32_t top = top_at(bits), left = bits - 1;
    for (uint32_t i = 0, above = 0; i < 2 && left; i++) {
        bool bit = size >> --left & 1;
        range_put(to, odds, top + (i ? 1 + above : 0), bit);
        above = bit;
    }
    while (left) {
        uint32_t take = left < 16 ? left : 16;
        left -= take;
        range_put_raw(to, (uint32_t)(size >> left) & ((1U << take) - 1), take);
    }
}

static inline uint64_t range_get_bits(struct range_in *from, struct range_odds odds, uint32_t bits)
{
    uint32_t top = top_at(bits), left = bits - 1;
    uint64_t size = 1;
    for (uint32_t i = 0, above = 0; i < 2 && left; i++, left--) {
        above = range_get(from, odds, top + (i ? 1 + above : 0));
        size = size << 1 | above;
    }
    while (left) {
        uint32_t take = left < 16 ? left : 16;
        left -= take;
        size = size << take | range_get_raw(from, take);
    }
    return size;
}

static void range_put_number(struct packed *c, const struct odds_of *of, int64_t value)
{
    struct range_out to = c->range_out;
    range_put(&to, c->odds, of->zero, value != 0);
    if (value) {
        uint32_t bits = bits_of(size_of(value));
        range_put(&to, c->odds, of->sign, value < 0);
        range_put_size(&to, c->odds, of, bits);
        range_put_bits(&to, c->odds, size_of(value), bits);
    }
    c->range_out = to;
}

static int64_t range_get_number(struct packed *c, const struct odds_of *of)
{
    struct range_in from = c->range_in;
    uint64_t value = 0;
    if (range_get(&from, c->odds, of->zero)) {
        bool minus = range_get(&from, c->odds, of->sign);
        uint64_t size = range_get_bits(&from, c->odds, range_get_size(&from, c->odds, of));
        value = minus ? 0 - size : size;
    }
    c->range_in = from;
    return (int64_t)value;
}

// A whole symbol of some bits, each bit with a probability that knows the bits before.
uint32_t range_tree(struct packed *c, uint32_t at, uint32_t bits, uint32_t value)
{
    uint32_t node = 1;
    for (uint32_t i = bits; i-- > 0;) {
        uint32_t bit = value >> i & 1;
        if (c->putting)
            range_put(&c->range_out, c->odds, at + node, bit);
        else
            bit = range_get(&c->range_in, c->odds, at + node);
        node = node << 1 | bit;
    }
    return node - (1U << bits);
}

// ---- primitives: put what is given, or get it ---------------------------------------------------

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}
bool range_bit(struct packed *c, uint32_t at, bool bit)
{
    if (!c->putting)
        return range_get(&c->range_in, c->odds, at);
    range_put(&c->range_out, c->odds, at, bit);
    return bit;
}

int64_t code_number(struct packed *c, const struct odds_of *of, int64_t value)
{
    if (!c->ranged && !c->putting)
        return unzigzag(get_varint(c));
    if (c->ranged && c->putting)
        range_put_number(c, of, value);
    else if (c->ranged)
        value = range_get_number(c, of);
    put_varint(c, zigzag(value));
    return value;
}

uint8_t code_byte(struct packed *c, uint8_t byte)
{
    if (!c->ranged && !c->putting)
        return get_byte(c);
    put_byte(c, byte);
    return byte;
}

int64_t code_odd(struct packed *c, enum model_odd sort, int64_t value)
{
    uint32_t at = AT_ODD + sort * MODEL_ODD, level = c->odd_level[sort];
    struct odds_of of = {at, at + 1, at + 2, level < 1 ? 1 : level};
    if (c->putting)
        range_put_number(c, &of, value);
    else
        value = range_get_number(c, &of);
    c->odd_level[sort] = (level + bits_of(size_of(value)) + 1) / 2;
    return value;
}

bool code_bit(struct packed *c, struct bit_run *run, uint32_t at, bool bit)
{
    uint32_t place = run->count++ % 8;
    if (c->ranged)
        bit = range_bit(c, at, bit);
    else if (!c->putting && place == 0)
        run->byte = get_byte(c);
    if (!c->ranged && !c->putting)
        return run->byte >> place & 1;
    run->byte = (uint8_t)(place ? run->byte | (unsigned)bit << place : bit);
    if (place == 7)
        put_byte(c, run->byte);
    return bit;
}

void end_bits(struct packed *c, const struct bit_run *run)
{
    uint32_t place = run->count % 8;
    if (!place)
        return;
    if (c->ranged || c->putting)
        put_byte(c, run->byte);
    else if (run->byte >> place)
        packed_fail(c, RN_EFORMAT, "unused bits must be zero");
}
