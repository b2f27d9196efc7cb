// Texts of a column: as before, as some cells back, or new. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#define TEXT_BACK 255 // present cells that a text is looked for in

static void code_new_text(struct packed *c, const struct line *line, uint32_t tick, size_t at)
{
    uint8_t bytes[RN_TEXT_MAX];
    struct rn_span text = c->putting ? rn_grid_text(c->grid, at) : (struct rn_span){bytes, 0};
    uint64_t len = code_count(c, ODD_TEXT_LENGTH, text.len);
    if (len > RN_TEXT_MAX || len > c->text_left) {
        packed_fail(c, RN_ELIMIT, "texts are more than their space");
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
        packed_fail(c, RN_EFORMAT, "text is not UTF-8");
    else if (rn_grid_set_text(c->grid, line->column.index, tick, (struct rn_span){bytes, len}))
        packed_fail(c, RN_ELIMIT, "texts are more than their space");
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

void code_cell_text(struct packed *c, struct line *line, uint32_t tick, size_t at)
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
        packed_fail(c, RN_EFORMAT, "a text refers to no cell");
    else
        copy_cell(c->grid, at, rn_grid_at(c->grid, line->column.index, from));
}
