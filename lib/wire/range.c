// See range.h.
#include "lib/wire/range.h"

#define RATE(seen) (uint16_t)(655360U / (10U * (seen) + 16U))
#define RATES(from)                                                                                \
    RATE(from), RATE((from) + 1), RATE((from) + 2), RATE((from) + 3), RATE((from) + 4)

const uint16_t range_rates[RANGE_SURE + 1] = {RATES(0),  RATES(5),  RATES(10),
                                              RATES(15), RATES(20), RATES(25),
                                              RATES(30), RATES(35), RATE(RANGE_SURE)};

void range_out_begin(struct range_out *to, struct rn_buf *out)
{
    *to = (struct range_out){.out = out, .range = UINT32_MAX, .pending = 1};
}

// Moves the top byte of low out. It is held until no carry can reach it any more.
void range_out_shift(struct range_out *to)
{
    if ((uint32_t)to->low < 0xff000000U || to->low > UINT32_MAX) {
        uint8_t carry = (uint8_t)(to->low >> 32);
        if (to->begun)
            rn_buf_byte(to->out, (uint8_t)(to->held + carry));
        for (to->begun = true; --to->pending;)
            rn_buf_byte(to->out, (uint8_t)(0xff + carry));
        to->held = (uint8_t)(to->low >> 24);
    }
    to->pending++;
    to->low = (uint32_t)to->low << 8;
}

// Any number in [low, low + range) will do: the one with most zeros at its end.
void range_out_end(struct range_out *to)
{
    size_t start = to->out->len;
    for (uint32_t zeros = 32; zeros > 0; zeros -= 8) {
        uint64_t mask = (1ULL << (zeros - 1) << 1) - 1;
        uint64_t rounded = (to->low + mask) & ~mask;
        if (rounded < to->low + to->range) {
            to->low = rounded;
            break;
        }
    }
    for (int i = 0; i < 5; i++)
        range_out_shift(to);
    while (to->out->len > start && to->out->data[to->out->len - 1] == 0)
        to->out->len--;
}

void range_in_begin(struct range_in *from, struct rn_span in)
{
    *from = (struct range_in){.at = in.data, .end = in.data + in.len, .range = UINT32_MAX};
    for (int i = 0; i < 4; i++)
        from->code = from->code << 8 | (from->at < from->end ? *from->at++ : 0U);
}
