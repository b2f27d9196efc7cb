// See rules.h.
#include "lib/wire/rules.h"

__extension__ typedef __int128 wide;

static bool sum_up(const struct rn_linear *linear, const struct rn_grid *grid, uint32_t tick,
                   wide *out)
{
    if (!linear->time && !linear->nterms) {
        *out = linear->constant;
        return true;
    }
    // A product of two 64-bit numbers and the sum of two such fit.
    wide sum = (wide)linear->time * grid->times[tick] + linear->constant;
    for (uint32_t i = 0; i < linear->nterms; i++) {
        const struct rn_term *term = &linear->terms[i];
        size_t at = rn_grid_at(grid, term->column, tick);
        if (grid->states[at] != RN_CELL_SCALED ||
            __builtin_add_overflow(sum, (wide)term->coefficient * grid->cells[at].i, &sum))
            return false;
    }
    *out = sum;
    return true;
}

static bool fits_64(wide value)
{
    return value >= INT64_MIN && value <= INT64_MAX;
}

static wide floor_div(wide num, wide den)
{
    if (fits_64(num) && fits_64(den)) { // the processor's own division
        int64_t n = (int64_t)num, d = (int64_t)den;
        return n / d - (n % d < 0);
    }
    wide quotient = num / den; // of wide numbers a remainder is another division
    return quotient - (quotient * den > num);
}

bool rule_expect(const struct rn_rule *rule, const struct rn_grid *grid, uint32_t tick,
                 int64_t *expected)
{
    wide num, den;
    if (!sum_up(&rule->num, grid, tick, &num) || !sum_up(&rule->den, grid, tick, &den) || den <= 0)
        return false;
    if (den != 1)
        num = floor_div(num, den);
    *expected = (int64_t)(uint64_t)num; // modulo 2^64, like all differences
    return true;
}
