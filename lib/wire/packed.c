// Encodings 1 and 2 of columns: see packed.h, and docs/PROTOCOL.md for the format.
//
// One walk over the columns serves both encodings and both directions, so that writer and reader
// cannot disagree: each primitive below (a bit, a number, a text ...) puts or gets. The *plain
// bytes* are what encoding 1 deflates; encoding 2 only takes their CRC, and codes the same facts
// with the range coder.
#include "lib/wire/packed.h"

#include "lib/wire/model.h"
#include "lib/wire/range.h"
#include "lib/wire/rules.h"

#include <runnel/crc.h>
#include <runnel/deflate.h>

#include <math.h>
#include <string.h>

#define CHUNK     256
#define CRC_BYTES 4
#define TEXT_BACK 255 // present cells that a text is looked for in

enum { SHAPE_MISSING = 1, SHAPE_LITERALS = 2, SHAPE_VARIES = 4 };

struct packed {
    const struct rn_schema *schema;
    const struct rn_coding *with;
    struct rn_grid *grid;
    struct rn_err *err;
    bool putting, ranged;
    int failed; // the first error's code; everything after it does nothing
    uint32_t crc;
    struct rn_buf *out;
    struct rn_deflate *deflate;
    struct rn_inflate *inflate;
    struct model *model; // encoding 2
    struct range_odds odds;
    struct range_out range_out;
    struct range_in range_in;
    uint32_t text_left;   // bytes of new texts that may still come
    uint32_t last_column; // coded before this one; UINT32_MAX: none
    bool last_missing, last_literals;
    uint32_t odd_level[ODD_SORTS];
    uint8_t ruled[RN_SCHEMA_MAX_COLUMNS / 8]; // one bit a column
    uint32_t used, filled;                    // of chunk
    uint8_t chunk[CHUNK];
};

// A column while it is coded.
struct line {
    struct column column;
    const struct rn_rule *rule; // or NULL
    uint32_t first, stride;     // due ticks
    uint8_t shape;
    bool begun;       // a number, literal or text was there
    bool number;      // a number was there
    int64_t expected; // by the rule
    uint64_t before;  // the number before, less what was expected of it
    uint64_t literal; // before, in the order of doubles
    size_t text;      // where the text before is
    bool same;        // the text before was the same as its own
    struct rn_hint hint;
    int32_t level;   // mean of log2(1 + |difference|), in 1/256
    uint32_t recent; // bit 0: the last difference was not 0; bit 1: the one before
    uint32_t sign;   // of the last difference that was not 0: 0 none yet, 1 up, 2 down
};

static void fail(struct packed *c, int code, const char *words)
{
    if (!c->failed)
        c->failed = rn_fail(c->err, code, "columns: %s", words);
}

// ---- plain bytes --------------------------------------------------------------------------------

static void flush_chunk(struct packed *c, bool last)
{
    struct rn_span bytes = {c->chunk, c->used};
    c->crc = rn_crc32c(c->crc, bytes.data, bytes.len);
    c->used = 0;
    if (c->deflate && rn_deflate_put(c->deflate, bytes, last, c->out) < 0)
        fail(c, RN_ELIMIT, "too many bytes");
}

static void put_byte(struct packed *c, uint8_t byte)
{
    c->chunk[c->used++] = byte;
    if (c->used == CHUNK)
        flush_chunk(c, false);
}

// 0 after an error.
static uint8_t get_byte(struct packed *c)
{
    if (c->used == c->filled) {
        int got = c->failed ? 0 : rn_inflate_get(c->inflate, c->chunk, CHUNK);
        if (got <= 0) {
            fail(c, RN_EFORMAT, "deflated bytes are damaged or end early");
            return 0;
        }
        c->used = 0;
        c->filled = (uint32_t)got;
        c->crc = rn_crc32c(c->crc, c->chunk, c->filled);
    }
    return c->chunk[c->used++];
}

static void put_varint(struct packed *c, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(c, (uint8_t)(value | 0x80));
    put_byte(c, (uint8_t)value);
}

static uint64_t get_varint(struct packed *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = get_byte(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if ((shift && !byte) || (shift == 63 && byte > 1))
                break;
            return value;
        }
    }
    fail(c, RN_EFORMAT, "a number is not in its shortest form, or too large");
    return 0;
}

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

// ---- numbers in encoding 2 ----------------------------------------------------------------------

// Where a number's probabilities are, and how many bits it is expected to have.
struct odds_of {
    uint32_t zero, sign, size, expected;
};

static inline uint32_t bits_of(uint64_t value)
{
    return value ? 64 - (uint32_t)__builtin_clzll(value) : 0;
}

// log2(1 + size) in 1/256, linear between powers of two.
static inline int32_t log_of(uint64_t size)
{
    size += size < UINT64_MAX;
    uint32_t whole = bits_of(size) - 1;
    uint64_t part = whole >= 8 ? size >> (whole - 8) : size << (8 - whole);
    return (int32_t)(whole << 8 | (part & 255));
}

static inline uint64_t size_of(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

static inline uint32_t step_at(uint32_t steps)
{
    return steps < MODEL_SIZE_STEPS ? steps : MODEL_SIZE_STEPS - 1;
}

static inline uint32_t top_at(uint32_t bits)
{
    return AT_TOP + (bits < MODEL_TOP_BITS ? bits : MODEL_TOP_BITS - 1) * 3;
}

// How many bits: from what is expected step by step up or down.
static void range_put_size(struct packed *c, const struct odds_of *of, uint32_t bits)
{
    struct range_out *to = &c->range_out;
    uint32_t at = of->expected, up = of->size + 1, down = up + MODEL_SIZE_STEPS;
    range_put(to, c->odds, of->size, bits > at);
    if (bits > at) {
        for (uint32_t k = at + 1; k < 64; k++) {
            range_put(to, c->odds, up + step_at(k - at - 1), bits > k);
            if (bits == k)
                break;
        }
    } else {
        for (uint32_t k = at; k > 1; k--) {
            range_put(to, c->odds, down + step_at(at - k), bits < k);
            if (bits == k)
                break;
        }
    }
}

static uint32_t range_get_size(struct packed *c, const struct odds_of *of)
{
    struct range_in *from = &c->range_in;
    uint32_t at = of->expected, up = of->size + 1, down = up + MODEL_SIZE_STEPS, k = at;
    if (range_get(from, c->odds, of->size)) {
        for (k = at + 1; k < 64 && range_get(from, c->odds, up + step_at(k - at - 1));)
            k++;
    } else {
        while (k > 1 && range_get(from, c->odds, down + step_at(at - k)))
            k--;
    }
    return k;
}

// The bits below the highest: two with probabilities, the rest as they are.
static void range_put_bits(struct packed *c, uint64_t size, uint32_t bits)
{
    uint32_t top = top_at(bits), left = bits - 1;
    for (uint32_t i = 0, above = 0; i < 2 && left; i++) {
        bool bit = size >> --left & 1;
        range_put(&c->range_out, c->odds, top + (i ? 1 + above : 0), bit);
        above = bit;
    }
    while (left) {
        uint32_t take = left < 16 ? left : 16;
        left -= take;
        range_put_raw(&c->range_out, (uint32_t)(size >> left) & ((1U << take) - 1), take);
    }
}

static uint64_t range_get_bits(struct packed *c, uint32_t bits)
{
    uint32_t top = top_at(bits), left = bits - 1;
    uint64_t size = 1;
    for (uint32_t i = 0, above = 0; i < 2 && left; i++, left--) {
        above = range_get(&c->range_in, c->odds, top + (i ? 1 + above : 0));
        size = size << 1 | above;
    }
    while (left) {
        uint32_t take = left < 16 ? left : 16;
        left -= take;
        size = size << take | range_get_raw(&c->range_in, take);
    }
    return size;
}

static void range_put_number(struct packed *c, const struct odds_of *of, int64_t value)
{
    range_put(&c->range_out, c->odds, of->zero, value != 0);
    if (!value)
        return;
    uint32_t bits = bits_of(size_of(value));
    range_put(&c->range_out, c->odds, of->sign, value < 0);
    range_put_size(c, of, bits);
    range_put_bits(c, size_of(value), bits);
}

static int64_t range_get_number(struct packed *c, const struct odds_of *of)
{
    if (!range_get(&c->range_in, c->odds, of->zero))
        return 0;
    bool minus = range_get(&c->range_in, c->odds, of->sign);
    uint64_t size = range_get_bits(c, range_get_size(c, of));
    return (int64_t)(minus ? 0 - size : size);
}

// A whole symbol of some bits, each bit with a probability that knows the bits before.
static uint32_t range_tree(struct packed *c, uint32_t at, uint32_t bits, uint32_t value)
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

static bool range_bit(struct packed *c, uint32_t at, bool bit)
{
    if (!c->putting)
        return range_get(&c->range_in, c->odds, at);
    range_put(&c->range_out, c->odds, at, bit);
    return bit;
}

static int64_t code_number(struct packed *c, const struct odds_of *of, int64_t value)
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

static uint8_t code_byte(struct packed *c, uint8_t byte)
{
    if (!c->ranged && !c->putting)
        return get_byte(c);
    put_byte(c, byte);
    return byte;
}

// A number of a sort that follows the size of its own kind. Only for encoding 2.
static int64_t code_odd(struct packed *c, enum model_odd sort, int64_t value)
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

// Bits in plain bytes, eight a byte, least significant first. Encoding 2 codes each bit where it is
// gathered; encoding 1 reads a byte before its first bit is needed.
struct bit_run {
    uint8_t byte;
    uint32_t count;
};

static bool code_bit(struct packed *c, struct bit_run *run, uint32_t at, bool bit)
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

static void end_bits(struct packed *c, const struct bit_run *run)
{
    uint32_t place = run->count % 8;
    if (!place)
        return;
    if (c->ranged || c->putting)
        put_byte(c, run->byte);
    else if (run->byte >> place)
        fail(c, RN_EFORMAT, "unused bits must be zero");
}

// ---- times --------------------------------------------------------------------------------------

// Irregular ticks: differences of differences.
static void code_times(struct packed *c)
{
    int64_t *times = c->grid->times, max = time_max(c->schema);
    uint64_t pace = 0;
    for (uint32_t i = 1; i < c->grid->n && !c->failed; i++) {
        uint64_t before = (uint64_t)times[i - 1];
        int64_t change = (int64_t)((uint64_t)times[i] - before - pace);
        if (c->ranged) {
            change = code_odd(c, ODD_TIME, change);
            put_varint(c, zigzag(change));
        } else {
            change = code_number(c, NULL, change);
        }
        pace += (uint64_t)change;
        if (c->putting)
            continue;
        times[i] = (int64_t)(before + pace);
        if (times[i] < times[0] || times[i] > max)
            fail(c, RN_EFORMAT, "a time is out of range");
    }
}

// ---- one column's shape -------------------------------------------------------------------------

static void set_due(const struct packed *c, struct line *line)
{
    uint64_t step = c->schema->step, every = line->column.group->every;
    line->first = 0;
    line->stride = 1;
    if (step == 0 || every <= 1)
        return;
    uint64_t late = (uint64_t)c->grid->times[0] / step % every;
    uint64_t first = late ? every - late : 0;
    line->first = first < c->grid->n ? (uint32_t)first : c->grid->n;
    line->stride = (uint32_t)every;
}

static uint32_t count_due(const struct packed *c, const struct line *line)
{
    uint32_t n = c->grid->n;
    return line->first < n ? (n - 1 - line->first) / line->stride + 1 : 0;
}

// The next due tick, n when there is none.
static inline uint32_t next_due(const struct packed *c, const struct line *line, uint32_t tick)
{
    return c->grid->n - tick > line->stride ? tick + line->stride : c->grid->n;
}

// What is left of a number when what its rule expects is taken away.
static uint64_t rest_of(const struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (line->rule)
        (void)rule_expect(line->rule, c->grid, tick, &line->expected);
    return (uint64_t)c->grid->cells[at].i - (uint64_t)line->expected;
}

// Numbers are compared by their rests, everything else by itself.
static bool varies(const struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (c->grid->states[at] == RN_CELL_SCALED) {
        uint64_t rest = rest_of(c, line, tick, at);
        bool other = line->begun && (!line->number || rest != line->before);
        line->before = rest;
        line->number = true;
        return other;
    }
    return line->begun && (line->number || !cell_same(c->grid, line->text, at));
}

// Encoding: finds the shape, and refuses what could not be decoded.
static void find_shape(struct packed *c, struct line *line)
{
    struct line trial = *line;
    uint32_t present = 0, there = 0;
    const uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column.index, 0);
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        size_t at = rn_grid_at(c->grid, line->column.index, tick);
        if (states[tick] == RN_CELL_MISSING) {
            line->shape |= SHAPE_MISSING;
            continue;
        }
        present++;
        if (!cell_fits(c->grid, line->column.field, at))
            fail(c, RN_EINVAL, "a cell does not fit its field");
        else if (!(line->shape & SHAPE_VARIES) && varies(c, &trial, tick, at))
            line->shape |= SHAPE_VARIES;
        if (states[tick] == RN_CELL_DOUBLE)
            line->shape |= SHAPE_LITERALS;
        trial.text = at;
        trial.begun = true;
    }
    for (uint32_t tick = 0; line->stride > 1 && tick < c->grid->n; tick++)
        there += states[tick] != RN_CELL_MISSING;
    if (line->stride > 1 && there != present)
        fail(c, RN_EINVAL, "a cell is there though it is not due");
}

static void code_shape(struct packed *c, struct line *line, uint32_t due)
{
    uint8_t shape = line->shape;
    bool is_float = line->column.field->type == RN_FLOAT;
    if (c->ranged) {
        bool missing = range_bit(c, AT_MISSING + c->last_missing, shape & SHAPE_MISSING);
        bool literals =
            is_float && range_bit(c, AT_LITERALS + c->last_literals, shape & SHAPE_LITERALS);
        uint32_t habit = line->hint.step < 63 ? line->hint.step : 63;
        bool varying = due > 1 && range_bit(c, AT_VARIES + habit, shape & SHAPE_VARIES);
        shape = (uint8_t)((missing ? SHAPE_MISSING : 0) | (literals ? SHAPE_LITERALS : 0) |
                          (varying ? SHAPE_VARIES : 0));
    }
    shape = code_byte(c, shape);
    if (shape > 7 || (shape & SHAPE_LITERALS && !is_float) || (shape & SHAPE_VARIES && due < 2))
        fail(c, RN_EFORMAT, "shape does not fit its column");
    line->shape = shape;
    c->last_missing = shape & SHAPE_MISSING;
    c->last_literals = shape & SHAPE_LITERALS;
}

static bool present_in_last(const struct packed *c, uint32_t tick)
{
    return c->last_column != UINT32_MAX &&
           c->grid->states[rn_grid_at(c->grid, c->last_column, tick)] != RN_CELL_MISSING;
}

// Decoding marks present cells as what the column's type says; literals come after.
static void code_presence(struct packed *c, const struct line *line)
{
    uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column.index, 0);
    uint8_t mark = line->column.field->type == RN_TEXT ? RN_CELL_TEXT : RN_CELL_SCALED;
    struct bit_run run = {0};
    bool present = true;
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        if (line->shape & SHAPE_MISSING) {
            uint32_t at = AT_PRESENT + 2U * present_in_last(c, tick) + present;
            present = code_bit(c, &run, at, states[tick] != RN_CELL_MISSING);
        }
        if (!c->putting && present)
            states[tick] = mark;
    }
    end_bits(c, &run);
}

// One bit for each value that is written: is it a literal?
static void code_literals(struct packed *c, const struct line *line)
{
    uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column.index, 0);
    struct bit_run run = {0};
    bool literal = false;
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        if (states[tick] == RN_CELL_MISSING)
            continue;
        literal = code_bit(c, &run, AT_LITERAL + literal, states[tick] == RN_CELL_DOUBLE);
        if (!c->putting && literal)
            states[tick] = RN_CELL_DOUBLE;
        if (!(line->shape & SHAPE_VARIES))
            break;
    }
    end_bits(c, &run);
}

// ---- one column's values ------------------------------------------------------------------------

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
    uint32_t near = c->model->neighbour[tick % MODEL_NEIGHBOURS];
    uint32_t counter = line->column.field->kind == RN_COUNTER ? 3 : 0;
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
    c->model->neighbour[tick % MODEL_NEIGHBOURS] = step == 0 ? 0 : size > line->level ? 2 : 1;
    line->recent = (line->recent << 1 & 2) | (step != 0);
    if (step)
        line->sign = step < 0 ? 2 : 1;
    int32_t change = (size - line->level) * 77;
    line->level += change < 0 ? -((255 - change) / 256) : change / 256; // rounded down
}

static void set_number(struct packed *c, const struct line *line, size_t at)
{
    int64_t value = (int64_t)(line->before + (uint64_t)line->expected);
    if (!integer_fits(line->column.field, value))
        fail(c, RN_EFORMAT, "a number does not fit its field");
    c->grid->cells[at].i = value;
    c->grid->states[at] = RN_CELL_SCALED;
}

static void code_cell_number(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint64_t rest = rest_of(c, line, tick, at);
    int64_t step = (int64_t)(rest - line->before);
    if (!c->ranged) {
        step = code_number(c, NULL, step);
    } else if (line->number) {
        struct odds_of of = odds_of_step(c, line, tick);
        step = code_number(c, &of, step);
        learn_step(c, line, tick, step);
    } else {
        struct odds_of of = odds_of_first(line);
        step = code_number(c, &of, step);
        uint32_t slot = line->column.position % MODEL_LEARNED;
        c->model->learned[slot].first = (uint8_t)bits_of(size_of(step));
    }
    line->before += (uint64_t)step;
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

// Encoding 2 codes the distance to the literal before in that order, its zeros at the end apart.
static uint64_t range_literal(struct packed *c, uint64_t bits, uint64_t before)
{
    int64_t step = (int64_t)(order_of(bits) - before);
    uint32_t zeros = 63;
    if (step)
        zeros = (uint32_t)__builtin_ctzll((uint64_t)step);
    if (step && zeros > 62)
        zeros = 62;
    zeros = range_tree(c, AT_LITERAL_ZEROS, 6, zeros);
    if (zeros == 63)
        return bits_in_order(before);
    step = code_odd(c, ODD_LITERAL, step >> zeros);
    return bits_in_order(before + ((uint64_t)step << zeros));
}

static void code_cell_literal(struct packed *c, struct line *line, size_t at)
{
    uint64_t bits = (uint64_t)c->grid->cells[at].i, got = 0;
    if (c->ranged)
        bits = range_literal(c, bits, line->literal);
    for (uint32_t shift = 0; shift < 64; shift += 8)
        got |= (uint64_t)code_byte(c, (uint8_t)(bits >> shift)) << shift;
    line->literal = order_of(got);
    if (c->putting)
        return;
    c->grid->cells[at].i = (int64_t)got;
    c->grid->states[at] = RN_CELL_DOUBLE;
    if (!isfinite(c->grid->cells[at].d))
        fail(c, RN_EFORMAT, "a literal is not finite");
}

// ---- texts --------------------------------------------------------------------------------------

static uint64_t code_count(struct packed *c, enum model_odd sort, uint64_t count)
{
    if (!c->ranged && !c->putting)
        return get_varint(c);
    if (c->ranged)
        count = (uint64_t)code_odd(c, sort, (int64_t)count);
    put_varint(c, count);
    return count;
}

static void code_new_text(struct packed *c, const struct line *line, uint32_t tick, size_t at)
{
    uint8_t bytes[RN_TEXT_MAX];
    struct rn_span text = c->putting ? rn_grid_text(c->grid, at) : (struct rn_span){bytes, 0};
    uint64_t len = code_count(c, ODD_TEXT_LENGTH, text.len);
    if (len > RN_TEXT_MAX || len > c->text_left) {
        fail(c, RN_ELIMIT, "texts are more than their space");
        return;
    }
    c->text_left -= (uint32_t)len;
    for (uint64_t i = 0; i < len; i++) {
        uint8_t byte = c->putting ? text.data[i] : 0;
        if (c->ranged)
            byte = (uint8_t)range_tree(c, AT_TEXT_BYTE, 8, byte);
        bytes[i] = code_byte(c, byte);
    }
    if (c->putting)
        return;
    if (!rn_utf8_valid(bytes, len))
        fail(c, RN_EFORMAT, "text is not UTF-8");
    else if (rn_grid_set_text(c->grid, line->column.index, tick, (struct rn_span){bytes, len}))
        fail(c, RN_ELIMIT, "texts are more than their space");
}

// The tick of the cell so many present cells back; UINT32_MAX if there is none.
static uint32_t back_by(const struct packed *c, const struct line *line, uint32_t tick,
                        uint32_t cells)
{
    const uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column.index, 0);
    while (tick > line->first) {
        tick -= line->stride;
        if (states[tick] != RN_CELL_MISSING && --cells == 0)
            return tick;
    }
    return UINT32_MAX;
}

// How many present cells back the same text is, 2 or more; 0: nowhere near.
static uint32_t find_back(const struct packed *c, const struct line *line, uint32_t tick, size_t at)
{
    uint32_t back = 0;
    while (back < TEXT_BACK && (tick = back_by(c, line, tick, 1)) != UINT32_MAX)
        if (++back > 1 && cell_same(c->grid, rn_grid_at(c->grid, line->column.index, tick), at))
            return back;
    return 0;
}

// Where a text comes from: TEXT_SAME as the cell before, TEXT_NEW, or so many cells back.
enum { TEXT_SAME = 0, TEXT_NEW = 1 };

static uint64_t find_source(struct packed *c, const struct line *line, uint32_t tick, size_t at)
{
    if (!line->begun)
        return TEXT_NEW;
    if (cell_same(c->grid, line->text, at))
        return TEXT_SAME;
    uint32_t back = find_back(c, line, tick, at);
    return back ? back : TEXT_NEW;
}

static uint64_t code_source(struct packed *c, struct line *line, uint64_t source)
{
    if (!line->begun)
        return TEXT_NEW;
    if (!c->ranged)
        return code_count(c, ODD_TEXT_BACK, source);
    bool same = range_bit(c, AT_TEXT_SAME + line->same, source == TEXT_SAME);
    line->same = same;
    if (same || !range_bit(c, AT_TEXT_SEEN, source != TEXT_NEW)) {
        source = same ? TEXT_SAME : TEXT_NEW;
        put_varint(c, source);
        return source;
    }
    return code_count(c, ODD_TEXT_BACK, source);
}

static void code_cell_text(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint64_t source = c->putting ? find_source(c, line, tick, at) : TEXT_NEW;
    source = code_source(c, line, source);
    if (source == TEXT_NEW) {
        code_new_text(c, line, tick, at);
        return;
    }
    if (c->putting)
        return;
    uint32_t from = line->begun && source <= TEXT_BACK
                        ? back_by(c, line, tick, source ? (uint32_t)source : 1)
                        : UINT32_MAX;
    if (from == UINT32_MAX)
        fail(c, RN_EFORMAT, "a text refers to no cell");
    else
        copy_cell(c->grid, at, rn_grid_at(c->grid, line->column.index, from));
}

// ---- columns ------------------------------------------------------------------------------------

static void code_cell(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint8_t state = c->grid->states[at];
    if (state == RN_CELL_SCALED)
        code_cell_number(c, line, tick, at);
    else if (state == RN_CELL_DOUBLE)
        code_cell_literal(c, line, at);
    else
        code_cell_text(c, line, tick, at);
    line->text = at;
    line->begun = true;
}

// Decoding: a further cell of a column that does not vary.
static void repeat_cell(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (c->putting)
        return;
    if (line->number && line->rule) {
        (void)rest_of(c, line, tick, at);
        set_number(c, line, at);
    } else {
        copy_cell(c->grid, at, line->text);
    }
}

static void code_values(struct packed *c, struct line *line)
{
    const uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column.index, 0);
    for (uint32_t tick = line->first; tick < c->grid->n && !c->failed;
         tick = next_due(c, line, tick)) {
        size_t at = rn_grid_at(c->grid, line->column.index, tick);
        if (states[tick] == RN_CELL_MISSING)
            continue;
        if (line->begun && !(line->shape & SHAPE_VARIES))
            repeat_cell(c, line, tick, at);
        else
            code_cell(c, line, tick, at);
    }
}

// Without hints: as the same field of the series before was, or a guess for the first series.
static struct rn_hint usual(const struct packed *c, const struct line *line)
{
    const struct rn_field *field = line->column.field;
    if (c->with->hints)
        return c->with->hints->column[line->column.index];
    if (line->rule)
        return (struct rn_hint){0, 2};
    if (line->column.series > 0 && c->model)
        return c->model->learned[line->column.position % MODEL_LEARNED];
    if (field->type == RN_BOOL || field->kind == RN_STATE)
        return (struct rn_hint){1, 0};
    return field->kind == RN_COUNTER ? (struct rn_hint){24, 16} : (struct rn_hint){12, 8};
}

static void learn_column(struct packed *c, const struct line *line)
{
    if (!c->model || line->rule)
        return;
    bool varies_on = line->shape & SHAPE_VARIES;
    uint8_t *step = &c->model->learned[line->column.position % MODEL_LEARNED].step;
    *step = varies_on ? (uint8_t)((line->level + 64) >> 7) : 0;
}

static void code_column(struct packed *c, const struct column *column, const struct rn_rule *rule)
{
    struct line line = {.column = *column, .rule = rule};
    set_due(c, &line);
    uint32_t due = count_due(c, &line);
    if (due == 0 || c->failed)
        return;
    if (c->model && column->series == 0 && !rule)
        c->model->learned[column->position % MODEL_LEARNED] = usual(c, &line);
    line.hint = usual(c, &line);
    line.level = line.hint.step * 128;
    if (c->with->base)
        line.before = (uint64_t)c->with->base->column[column->index];
    if (c->putting)
        find_shape(c, &line);
    code_shape(c, &line, due);
    code_presence(c, &line);
    if (line.shape & SHAPE_LITERALS)
        code_literals(c, &line);
    code_values(c, &line);
    learn_column(c, &line);
    c->last_column = column->index;
}

static bool is_ruled(const struct packed *c, uint32_t column)
{
    return c->ruled[column / 8] >> (column % 8) & 1;
}

// First the columns without a rule, then those with one, as the rules come.
static void code_columns(struct packed *c)
{
    const struct rn_schema *schema = c->schema;
    for (uint32_t i = 0; i < schema->nrules; i++) {
        uint32_t column = schema->rules[i].column;
        c->ruled[column / 8] = (uint8_t)(c->ruled[column / 8] | 1U << column % 8);
    }
    if (!schema->step)
        code_times(c);
    struct walk walk = {.schema = schema};
    struct column column;
    while (!c->failed && walk_next(&walk, &column))
        if (!is_ruled(c, column.index))
            code_column(c, &column, NULL);
    for (uint32_t i = 0; i < schema->nrules && !c->failed; i++)
        if (find_column(schema, schema->rules[i].column, &column))
            code_column(c, &column, &schema->rules[i]);
}

// ---- the two encodings --------------------------------------------------------------------------

static int set_up(struct packed *c, uint32_t enc, const struct rn_schema *schema,
                  const struct rn_coding *with)
{
    c->schema = schema;
    c->with = with;
    c->ranged = enc == RN_ENC_RANGE;
    c->last_column = UINT32_MAX;
    c->text_left = PACKED_TEXT_MAX;
    if ((with->base && with->base->ncolumns != schema->ncolumns) ||
        (with->hints && with->hints->ncolumns != schema->ncolumns))
        return rn_fail(c->err, RN_EINVAL, "base or hints are another schema's");
    if (with->base)
        c->crc = with->base->crc;
    return RN_OK;
}

static bool load_model(struct packed *c, void *work, size_t size)
{
    struct model *model = work;
    if (size < sizeof *model)
        return false;
    memcpy(model->p, model_prior_p, sizeof model->p);
    memcpy(model->seen, model_prior_seen, sizeof model->seen);
    memset(model->neighbour, 0, sizeof model->neighbour);
    memset(model->learned, 0, sizeof model->learned); // of fields whose first series has a rule
    c->model = model;
    c->odds = (struct range_odds){model->p, model->seen};
    return true;
}

static void put_crc(uint8_t to[CRC_BYTES], uint32_t crc)
{
    for (int i = 0; i < CRC_BYTES; i++)
        to[i] = (uint8_t)(crc >> (24 - 8 * i));
}

int packed_put(uint32_t enc, const struct rn_schema *schema, const struct rn_coding *with,
               struct rn_grid *grid, void *work, size_t work_size, struct rn_buf *out,
               struct rn_err *err)
{
    struct packed c = {.grid = grid, .err = err, .putting = true, .out = out};
    size_t start = out->len;
    int rc = set_up(&c, enc, schema, with);
    if (rc < 0)
        return rc;
    rn_buf_append(out, (uint8_t[CRC_BYTES]){0}, CRC_BYTES);
    if (c.ranged)
        range_out_begin(&c.range_out, out);
    else
        c.deflate = rn_deflate_begin(work, work_size, 9);
    if (c.ranged ? !load_model(&c, work, work_size) : !c.deflate)
        return rn_fail(err, RN_EINVAL, "work memory of %zu bytes is too small", work_size);
    code_columns(&c);
    flush_chunk(&c, true);
    if (c.ranged && rn_buf_ok(out))
        range_out_end(&c.range_out);
    if (!c.failed && !rn_buf_ok(out))
        fail(&c, RN_ELIMIT, "too many bytes");
    if (!c.failed)
        put_crc(out->data + start, c.crc);
    return c.failed;
}

static void check_end(struct packed *c, const uint8_t *crc)
{
    uint8_t beyond, found[CRC_BYTES];
    if (c->ranged) {
        flush_chunk(c, true);
        if (!c->failed && !range_in_ended(&c->range_in))
            fail(c, RN_EFORMAT, "bytes are left over");
    } else if (!c->failed && (c->used < c->filled || rn_inflate_get(c->inflate, &beyond, 1) != 0 ||
                              !rn_inflate_ended(c->inflate))) {
        fail(c, RN_EFORMAT, "bytes are left over");
    }
    put_crc(found, c->crc);
    if (!c->failed && memcmp(found, crc, CRC_BYTES) != 0)
        fail(c, RN_EFORMAT, "CRC is wrong: damage, or another base, hints or schema");
}

int packed_get(uint32_t enc, const struct rn_schema *schema, const struct rn_coding *with,
               struct rn_span bytes, struct rn_grid *grid, void *work, size_t work_size,
               struct rn_err *err)
{
    struct packed c = {.grid = grid, .err = err};
    int rc = set_up(&c, enc, schema, with);
    if (rc < 0)
        return rc;
    if (bytes.len < CRC_BYTES)
        return rn_fail(err, RN_EFORMAT, "columns: no CRC");
    struct rn_span stream = {bytes.data + CRC_BYTES, bytes.len - CRC_BYTES};
    if (c.ranged)
        range_in_begin(&c.range_in, stream);
    else
        c.inflate = rn_inflate_begin(work, work_size, stream);
    if (c.ranged ? !load_model(&c, work, work_size) : !c.inflate)
        return rn_fail(err, RN_EINVAL, "work memory of %zu bytes is too small", work_size);
    code_columns(&c);
    check_end(&c, bytes.data);
    return c.failed;
}
