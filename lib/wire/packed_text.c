// Texts of a column: as before, in encoding 1 as some cells back, in encoding 2 one that is known,
// or new. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#define ALIKE_MAX   8 // bytes before a place that are compared
#define CONTEXT     0xffffff
#define PLACE_SHIFT 24 // leaves 8 bits of 32
_Static_assert(1 << (32 - PLACE_SHIFT) == MODEL_PLACES, "a place has 8 bits");

// Where a text comes from: TEXT_SAME as the cell before, TEXT_NEW, or so many cells back.
enum { TEXT_SAME = 0, TEXT_NEW = 1 };

// A guess at the bytes to come: those that followed the same three bytes the last time.
struct guess {
    const uint8_t *at;
    size_t left;
    uint32_t run;     // bytes that were alike up to here
    uint32_t context; // the three bytes before; at the start of a text its column
};

// What stands at a place; of the text that is being coded only the bytes so far are known.
static void guess_from(const struct packed *c, struct guess *guess, uint32_t place, size_t at,
                       struct rn_span so_far)
{
    size_t cell = (place - 1) >> 16, byte = (place - 1) & 65535;
    struct rn_span text = cell == at ? so_far : rn_grid_text(c->grid, cell);
    guess->at = text.data + byte;
    guess->left = text.len - byte;
    guess->run = 0;
    while (guess->run < ALIKE_MAX && guess->run < byte && guess->run < so_far.len &&
           guess->at[-1 - (int)guess->run] == so_far.data[so_far.len - 1 - guess->run])
        guess->run++;
}

static uint32_t kind_of(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return 1;
    return byte >= 0x80 || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') ? 2 : 0;
}

// One byte of a new text in cell `at`.
static uint8_t range_text_byte(struct packed *c, struct guess *guess, size_t at,
                               struct rn_span so_far, uint8_t byte)
{
    uint32_t *place = &c->model->places[guess->context * 0x9e3779b1 >> PLACE_SHIFT];
    uint8_t before = so_far.len ? so_far.data[so_far.len - 1] : 0;
    if (!guess->left && *place)
        guess_from(c, guess, *place, at, so_far);
    *place = (uint32_t)(1 + (at << 16 | so_far.len));
    bool right = false;
    if (guess->left) {
        uint32_t run = guess->run < MODEL_TEXT_RUNS ? guess->run : MODEL_TEXT_RUNS - 1;
        right = range_bit(c, AT_TEXT_GUESS + run, byte == *guess->at);
    }
    if (right) {
        byte = *guess->at++;
        guess->left--;
        guess->run++;
    } else {
        byte = (uint8_t)range_tree(c, AT_TEXT_BYTE + 256 * kind_of(before), 8, byte);
        guess->left = 0;
    }
    guess->context = (guess->context << 8 | byte) & CONTEXT;
    return byte;
}

static uint64_t code_count(struct packed *c, uint64_t count)
{
    if (!c->ranged && !c->putting)
        return get_varint(c);
    put_varint(c, count);
    return count;
}

// Decoding writes it where it stays, behind the texts that the grid has.
static void code_new_text(struct packed *c, const struct line *line, size_t at)
{
    struct rn_grid *grid = c->grid;
    struct guess guess = {.context = line->column->index};
    if (!c->putting)
        grid->cells[at].text = (struct rn_cell_text){grid->text_len, 0};
    struct rn_cell_text *text = &grid->cells[at].text;
    uint64_t len = c->ranged ? (uint64_t)code_odd(c, ODD_TEXT_LENGTH, text->len) : text->len;
    len = code_count(c, len);
    if (len > RN_TEXT_MAX || len > c->text_left ||
        (!c->putting && len > grid->text_cap - grid->text_len)) {
        packed_fail(c, RN_ELIMIT, "texts are more than their space");
        return;
    }
    c->text_left -= (uint32_t)len;
    uint8_t *bytes = grid->text + text->off;
    for (uint64_t i = 0; i < len && !c->failed; i++) {
        uint8_t byte = c->putting ? bytes[i] : 0;
        if (c->ranged) {
            byte = range_text_byte(c, &guess, at, (struct rn_span){bytes, i}, byte);
            packed_limit(c); // a text may be longer than everything before it
        }
        byte = code_byte(c, byte);
        if (!c->putting)
            bytes[i] = byte;
    }
    if (c->putting)
        return;
    text->len = (uint32_t)len;
    grid->text_len += (uint32_t)len;
    grid->states[at] = RN_CELL_TEXT;
    if (!rn_utf8_valid(bytes, len))
        packed_fail(c, RN_EFORMAT, "text is not UTF-8");
}

// The cell that is so many present cells back, 1 to PACKED_TEXT_BACK and not more than there are.
static size_t cell_back(const struct packed *c, const struct line *line, uint32_t cells)
{
    uint32_t tick = c->texts[(c->ntexts - cells) % (PACKED_TEXT_BACK + 1)];
    return rn_grid_at(c->grid, line->column->index, tick);
}

static uint32_t furthest_back(const struct packed *c)
{
    return c->ntexts < PACKED_TEXT_BACK ? c->ntexts : PACKED_TEXT_BACK;
}

// How many present cells back the same text is, 2 or more; 1, TEXT_NEW: nowhere near.
static uint32_t find_back(const struct packed *c, const struct line *line, size_t at)
{
    uint32_t furthest = furthest_back(c);
    for (uint32_t back = 2; back <= furthest; back++)
        if (cell_same(c->grid, cell_back(c, line, back), at))
            return back;
    return TEXT_NEW;
}

static void plain_cell_text(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint64_t source = TEXT_NEW;
    if (line->begun && c->putting)
        source = cell_same(c->grid, line->text, at) ? TEXT_SAME : find_back(c, line, at);
    if (line->begun)
        source = code_count(c, source);
    if (source == TEXT_NEW)
        code_new_text(c, line, at);
    else if (source > furthest_back(c))
        packed_fail(c, RN_EFORMAT, "a text refers to no cell");
    else if (!c->putting)
        copy_cell(c->grid, at, cell_back(c, line, source ? (uint32_t)source : 1));
    c->texts[c->ntexts++ % (PACKED_TEXT_BACK + 1)] = (uint16_t)tick;
}

// Its plain bytes tell the slot of a known text, plus 2, instead of how many cells back it is.
static void range_cell_text(struct packed *c, struct line *line, size_t at)
{
    uint32_t slot;
    if (line->begun) {
        bool same = c->putting && cell_same(c->grid, line->text, at);
        line->same = range_bit(c, AT_TEXT_SAME + line->same, same);
    }
    if (line->same) {
        put_varint(c, TEXT_SAME);
        if (!c->putting)
            copy_cell(c->grid, at, line->text);
    } else if (code_known(c, line, at, &slot)) {
        put_varint(c, slot + 2U);
    } else {
        put_varint(c, TEXT_NEW);
        code_new_text(c, line, at);
        if (!c->failed)
            note_known(c, at);
    }
}

void code_cell_text(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (c->ranged)
        range_cell_text(c, line, at);
    else
        plain_cell_text(c, line, tick, at);
}
