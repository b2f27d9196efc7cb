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
    *to = (struct range_out){.out = out, .start = out->len, .range = UINT32_MAX};
}

static void carry(struct rn_buf *out, size_t start)
{
    size_t at = out->len;
    while (at > start && ++out->data[--at] == 0)
        ;
}

uint64_t range_out_shift(struct rn_buf *out, size_t start, uint64_t low)
{
    if (low > UINT32_MAX)
        carry(out, start);
    rn_buf_byte(out, (uint8_t)(low >> 24));
    return (uint32_t)low << 8;
}

// The last byte that a carry can still reach, and so all that an encoder may leave out if it is 0:
// what is before had its end.
static size_t settled(const struct range_out *to)
{
    size_t len = to->out->len;
    while (len > to->start && to->out->data[len - 1] == 0xff)
        len--;
    return len > to->start ? len - 1 : len;
}

// Any number in [low, low + range) will do: the one with most zeros at its end.
void range_out_end(struct range_out *to)
{
    size_t start = settled(to);
    for (uint32_t zeros = 32; zeros > 0; zeros -= 8) {
        uint64_t mask = (1ULL << (zeros - 1) << 1) - 1;
        uint64_t rounded = (to->low + mask) & ~mask;
        if (rounded < to->low + to->range) {
            to->low = rounded;
            break;
        }
    }
    for (int i = 0; i < 4; i++)
        to->low = range_out_shift(to->out, to->start, to->low);
    while (to->out->len > start && to->out->data[to->out->len - 1] == 0)
        to->out->len--;
}

void range_in_begin(struct range_in *from, struct rn_span in)
{
    *from = (struct range_in){.at = in.data, .end = in.data + in.len, .range = UINT32_MAX};
    for (int i = 0; i < 4; i++)
        from->code = from->code << 8 | (from->at < from->end ? *from->at++ : 0U);
}
