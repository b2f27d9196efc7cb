// Literals and texts of the batch that encoding 2 can refer to: a table of cells by a hash of what
// is in them, where a later one takes the slot of an earlier. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#define TREE_BITS 8
#define RAW_BITS  2
_Static_assert(1 << TREE_BITS == MODEL_KNOWN_TREE, "a tree of 8 bits");
_Static_assert(1 << (TREE_BITS + RAW_BITS) == MODEL_KNOWN, "and two raw ones");

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x9e3779b97f4a7c15;
}

static uint32_t slot_of(const struct packed *c, size_t at)
{
    uint64_t hash = 0;
    if (c->grid->states[at] == RN_CELL_TEXT) {
        struct rn_span text = rn_grid_text(c->grid, at);
        hash = text.len;
        for (size_t i = 0; i < text.len; i++)
            hash = mix(hash, text.data[i]);
        return (uint32_t)(hash >> (64 - TREE_BITS)) << RAW_BITS;
    }
    hash = mix(0, (uint64_t)c->grid->cells[at].i);
    return (uint32_t)(hash >> (64 - TREE_BITS - RAW_BITS));
}

static uint32_t code_slot(struct packed *c, bool text, uint32_t slot)
{
    uint32_t low = slot & ((1U << RAW_BITS) - 1);
    slot = range_tree(c, AT_KNOWN_SLOT, TREE_BITS, slot >> RAW_BITS);
    if (!text && c->putting)
        range_put_raw(&c->range_out, low, RAW_BITS);
    else if (!text)
        low = range_get_raw(&c->range_in, RAW_BITS);
    return slot << RAW_BITS | low;
}

// What is known stays in its slot: another cell of the same content would tell no more.
bool code_known(struct packed *c, struct line *line, size_t at, uint32_t *slot)
{
    const uint16_t *known = c->model->known;
    bool text = c->grid->states[at] == RN_CELL_TEXT;
    *slot = c->putting ? slot_of(c, at) : 0;
    bool there =
        c->putting && known[*slot] != MODEL_NOT_KNOWN && cell_same(c->grid, known[*slot], at);
    line->known = range_bit(c, AT_KNOWN + 2U * text + line->known, there);
    if (!line->known)
        return false;
    *slot = code_slot(c, text, *slot);
    if (known[*slot] == MODEL_NOT_KNOWN || c->grid->states[known[*slot]] != c->grid->states[at])
        packed_fail(c, RN_EFORMAT, "a reference to no cell");
    else if (!c->putting)
        copy_cell(c->grid, at, known[*slot]);
    return true;
}

void note_known(struct packed *c, size_t at)
{
    c->model->known[slot_of(c, at)] = (uint16_t)at;
}
