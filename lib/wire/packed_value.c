// Numbers and literals of a column. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#include <math.h>

uint64_t rest_of(const struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (line->rule)
        (void)rule_expect(line->rule, c->grid, tick, &line->expected);
    return (uint64_t)c->grid->cells[at].i - (uint64_t)line->expected;
}

static inline uint32_t near_at(const struct model *model, uint32_t tick)
{
    return model->near[tick % MODEL_NEIGHBOURS / 4] >> tick % 4 * 2 & 3;
}

static inline void set_near(struct model *model, uint32_t tick, uint32_t near)
{
    uint8_t *four = &model->near[tick % MODEL_NEIGHBOURS / 4];
    uint32_t shift = tick % 4 * 2;
    *four = (uint8_t)((*four & ~(3U << shift)) | near << shift);
}

static struct odds_of odds_of_first(const struct line *line)
{
    uint32_t habit = line->hint.first;
    uint32_t at = habit < MODEL_FIRSTS ? habit : MODEL_FIRSTS - 1;
    return (struct odds_of){AT_FIRST_ZERO + at, AT_FIRST_SIGN + at, AT_FIRST_SIZE + at * MODEL_SIZE,
                            habit < 1    ? 1
                            : habit > 63 ? 63
                                         : habit};
}

static inline struct odds_of odds_of_step(const struct packed *c, const struct line *line,
                                          uint32_t tick)
{
    uint32_t level = (uint32_t)(line->level + 128) >> 8;
    uint32_t at = level < MODEL_LEVELS ? level : MODEL_LEVELS - 1;
    uint32_t near = near_at(c->model, tick);
    uint32_t counter = line->column->field->kind == RN_COUNTER ? 3 : 0;
    return (struct odds_of){AT_ZERO + (at * 4 + line->recent) * 3 + near,
                            AT_SIGN + at * 6 + counter + line->sign,
                            AT_SIZE + (at * 4 + line->recent) * MODEL_SIZE,
                            level < 1    ? 1
                            : level > 63 ? 63
                                         : level};
}

static inline void learn_step(struct packed *c, struct line *line, uint32_t tick, int64_t step)
{
    int32_t size = log_of(size_of(step));
    set_near(c->model, tick, step == 0 ? 0 : size > line->level ? 2 : 1);
    line->recent = (line->recent << 1 & 2) | (step != 0);
    if (step)
        line->sign = step < 0 ? 2 : 1;
    int32_t change = (size - line->level) * 77;
    line->level += change < 0 ? -((255 - change) / 256) : change / 256; // rounded down
}

void set_number(struct packed *c, const struct line *line, size_t at)
{
    int64_t value = (int64_t)(line->before + (uint64_t)line->expected);
    if (!integer_fits(line->column->field, value))
        packed_fail(c, RN_EFORMAT, "a number does not fit its field");
    c->grid->cells[at].i = value;
    c->grid->states[at] = RN_CELL_SCALED;
}

void code_cell_number(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint64_t rest = rest_of(c, line, tick, at);
    int64_t step = (int64_t)(rest - line->before);
    if (line->number && line->unit > 1)
        step /= (int64_t)line->unit;
    if (!c->ranged) {
        step = code_number(c, NULL, step);
    } else if (line->number) {
        struct odds_of of = odds_of_step(c, line, tick);
        step = code_number(c, &of, step);
        learn_step(c, line, tick, step);
    } else {
        struct odds_of of = odds_of_first(line);
        step = code_number(c, &of, step);
        uint32_t slot = line->column->position % MODEL_LEARNED;
        c->model->learned[slot].first = (uint8_t)bits_of(size_of(step));
    }
    line->before += (uint64_t)step * (line->number ? line->unit : 1);
    line->number = true;
    if (!c->putting)
        set_number(c, line, at);
}

// Doubles as numbers in the same order, and back.
static uint64_t order_of(uint64_t bits)
{
    return bits >> 63 ? ~bits : bits | 1ULL << 63;
}

static uint64_t bits_in_order(uint64_t order)
{
    return order >> 63 ? order & ~(1ULL << 63) : ~order;
}

// A literal that is not known: the distance to the literal before in that order, which is never 0,
// without its zeros at the end and the lowest 1 before them.
static uint64_t range_literal(struct packed *c, uint64_t bits, uint64_t before)
{
    uint64_t step = order_of(bits) - before;
    uint32_t zeros = c->putting && step ? (uint32_t)__builtin_ctzll(step) : 63;
    zeros = range_tree(c, AT_LITERAL_ZEROS, 6, zeros);
    uint64_t above = 0;
    if (zeros < 63)
        above = (uint64_t)code_odd(c, ODD_LITERAL, (int64_t)step >> (zeros + 1)) << 1;
    return bits_in_order(before + ((above | 1) << zeros));
}

void code_cell_literal(struct packed *c, struct line *line, size_t at)
{
    uint64_t bits = (uint64_t)c->grid->cells[at].i;
    uint32_t slot;
    bool known = c->ranged && code_known(c, line, at, &slot);
    if (known)
        bits = (uint64_t)c->grid->cells[at].i;
    else if (c->ranged)
        bits = range_literal(c, bits, line->literal);
    bits = code_fixed(c, bits);
    line->literal = order_of(bits);
    if (!c->putting) {
        c->grid->cells[at].i = (int64_t)bits;
        c->grid->states[at] = RN_CELL_DOUBLE;
        if (!isfinite(c->grid->cells[at].d))
            packed_fail(c, RN_EFORMAT, "a literal is not finite");
    }
    if (c->ranged && !known)
        note_known(c, at);
}
