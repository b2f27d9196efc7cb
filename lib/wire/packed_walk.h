// The walk over a batch's columns that encodings 1 and 2 share, in both directions: its state, and
// the primitives that put or get one fact each. Private to packed*.c.
//
// packed.c         the two encodings: set-up, CRC, end
// packed_plain.c   the plain bytes
// packed_number.c  numbers of the range coder, and the primitives
// packed_column.c  times; a column's shape, presence, cells
// packed_value.c   numbers and literals
// packed_text.c    texts
// packed_known.c   encoding 2's table of literals and texts that it can refer to
//
// After the first error nothing is put or got any more: `failed` is its code.
#ifndef WIRE_PACKED_WALK_H
#define WIRE_PACKED_WALK_H

#include "lib/wire/model.h"
#include "lib/wire/packed.h"
#include "lib/wire/range.h"
#include "lib/wire/rules.h"

#include <runnel/deflate.h>

#define PACKED_CHUNK     1024 // inflate is fast only where it may write 258 bytes at once
#define PACKED_TEXT_BACK 255  // present cells that a text is looked for in

enum { SHAPE_MISSING = 1, SHAPE_LITERALS = 2, SHAPE_VARIES = 4, SHAPE_UNIT = 8 };

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
    uint32_t plain_left;  // plain bytes, in encoding 1
    uint32_t last_column; // coded before this one; UINT32_MAX: none
    bool last_missing, last_literals, last_unit;
    uint32_t odd_level[ODD_SORTS];
    uint8_t ruled[RN_SCHEMA_MAX_COLUMNS / 8]; // one bit a column
    uint32_t used, filled;                    // of chunk
    uint8_t chunk[PACKED_CHUNK];
    uint32_t ntexts;                      // of the column so far, in encoding 1
    uint16_t texts[PACKED_TEXT_BACK + 1]; // ticks of the latest, round and round
};

// A column while it is coded.
struct line {
    const struct column *column;
    const struct rn_rule *rule; // or NULL
    uint32_t first, stride;     // due ticks
    uint8_t shape;
    uint64_t unit;    // of all differences
    bool begun;       // a number, literal or text was there
    bool number;      // a number was there
    int64_t expected; // by the rule
    uint64_t before;  // the number before, less what was expected of it
    uint64_t literal; // before, in the order of doubles
    size_t text;      // where the cell before is
    bool same;        // the text before was the same as its own
    bool known;       // the literal or text before was in the table
    struct rn_hint hint;
    int32_t level;   // mean of log2(1 + |difference|), in 1/256
    uint32_t recent; // bit 0: the last difference was not 0; bit 1: the one before
    uint32_t sign;   // of the last difference that was not 0: 0 none yet, 1 up, 2 down
};

void packed_fail(struct packed *c, int code, const char *words);

// Fails once encoding 2 takes too many steps. Looked at before each cell.
static inline void packed_limit(struct packed *c)
{
    if ((c->putting ? c->range_out.steps : c->range_in.steps) > RANGED_STEPS_MAX)
        packed_fail(c, RN_ELIMIT, "too many steps");
}

// ---- plain bytes --------------------------------------------------------------------------------

// Counts bytes of encoding 1: fails where there are too many.
void packed_take_plain(struct packed *c, size_t bytes);
void packed_flush(struct packed *c, bool last);
// Gets the next bytes. False, and failed, if there are none.
bool packed_fill(struct packed *c);

static inline void put_byte(struct packed *c, uint8_t byte)
{
    c->chunk[c->used++] = byte;
    if (c->used == PACKED_CHUNK)
        packed_flush(c, false);
}

// 0 after an error.
static inline uint8_t get_byte(struct packed *c)
{
    if (c->used == c->filled && !packed_fill(c))
        return 0;
    return c->chunk[c->used++];
}

void put_varint(struct packed *c, uint64_t value);
uint64_t get_varint(struct packed *c);

static inline uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

// ---- primitives: put what is given, or get it ---------------------------------------------------

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

// A number; `of` only matters in encoding 2.
int64_t code_number(struct packed *c, const struct odds_of *of, int64_t value);
// A number of a sort that follows the size of its own kind. Only for encoding 2.
int64_t code_odd(struct packed *c, enum model_odd sort, int64_t value);
uint8_t code_byte(struct packed *c, uint8_t byte);
// 8 bytes, the lowest first.
uint64_t code_fixed(struct packed *c, uint64_t value);
// A whole symbol of some bits, each bit with a probability that knows the bits before.
uint32_t range_tree(struct packed *c, uint32_t at, uint32_t bits, uint32_t value);
bool range_bit(struct packed *c, uint32_t at, bool bit);

// Bits in plain bytes, eight a byte, least significant first. Encoding 2 codes each bit where it is
// gathered; encoding 1 reads a byte before its first bit is needed.
struct bit_run {
    uint8_t byte;
    uint32_t count;
};

bool code_bit(struct packed *c, struct bit_run *run, uint32_t at, bool bit);
void end_bits(struct packed *c, const struct bit_run *run);
// Irregular ticks: differences of differences.
void code_times(struct packed *c);

// ---- columns and their cells --------------------------------------------------------------------

void code_columns(struct packed *c);
void code_cell_number(struct packed *c, struct line *line, uint32_t tick, size_t at);
void code_cell_literal(struct packed *c, struct line *line, size_t at);
void code_cell_text(struct packed *c, struct line *line, uint32_t tick, size_t at);
// Encoding 2: is the literal or text of cell `at` in the table? Decoding gets it from there.
bool code_known(struct packed *c, struct line *line, size_t at, uint32_t *slot);
// It is from now on.
void note_known(struct packed *c, size_t at);
// What is left of a number when what its rule expects is taken away.
uint64_t rest_of(const struct packed *c, struct line *line, uint32_t tick, size_t at);
// Decoding: the cell's number from its rest.
void set_number(struct packed *c, const struct line *line, size_t at);

#endif
