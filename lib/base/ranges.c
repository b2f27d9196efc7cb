// See runnel/ranges.h.
#include <runnel/ranges.h>

#include <string.h>

void rn_ranges_init(struct rn_ranges *set, struct rn_range *storage, uint32_t max)
{
    *set = (struct rn_ranges){.item = storage, .max = max};
}

void rn_ranges_clear(struct rn_ranges *set)
{
    set->count = 0;
}

// Index of the first interval whose last is >= value; count if there is none.
static uint32_t first_reaching(const struct rn_ranges *set, uint64_t value)
{
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->item[middle].last < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Moves the intervals from `from` on so that they begin at `to`.
static void shift(struct rn_ranges *set, uint32_t from, uint32_t to)
{
    memmove(set->item + to, set->item + from, (set->count - from) * sizeof *set->item);
    set->count = set->count - from + to;
}

static bool acceptable(uint64_t first, uint64_t last)
{
    return first <= last && last <= INT64_MAX;
}

int rn_ranges_add(struct rn_ranges *set, uint64_t first, uint64_t last)
{
    if (!acceptable(first, last))
        return RN_EINVAL;
    // Everything in [from, to) touches or overlaps the new interval and melts into it.
    uint32_t from = first_reaching(set, first ? first - 1 : 0);
    uint32_t to = from;
    while (to < set->count && set->item[to].first <= last + 1)
        to++;
    if (to == from) {
        if (set->count == set->max)
            return RN_ELIMIT;
        shift(set, from, from + 1);
        set->item[from] = (struct rn_range){first, last};
        return RN_OK;
    }
    if (set->item[from].first < first)
        first = set->item[from].first;
    if (set->item[to - 1].last > last)
        last = set->item[to - 1].last;
    set->item[from] = (struct rn_range){first, last};
    shift(set, to, from + 1);
    return RN_OK;
}

static int split(struct rn_ranges *set, uint32_t at, uint64_t first, uint64_t last)
{
    if (set->count == set->max)
        return RN_ELIMIT;
    shift(set, at, at + 1);
    set->item[at] = (struct rn_range){set->item[at + 1].first, first - 1};
    set->item[at + 1].first = last + 1;
    return RN_OK;
}

int rn_ranges_remove(struct rn_ranges *set, uint64_t first, uint64_t last)
{
    if (!acceptable(first, last))
        return RN_EINVAL;
    uint32_t from = first_reaching(set, first);
    if (from == set->count || set->item[from].first > last)
        return RN_OK;
    if (set->item[from].first < first && set->item[from].last > last)
        return split(set, from, first, last);
    if (set->item[from].first < first)
        set->item[from++].last = first - 1;
    uint32_t to = from;
    while (to < set->count && set->item[to].last <= last)
        to++;
    if (to < set->count && set->item[to].first <= last)
        set->item[to].first = last + 1;
    shift(set, to, from);
    return RN_OK;
}

bool rn_ranges_has(const struct rn_ranges *set, uint64_t value)
{
    uint32_t at = first_reaching(set, value);
    return at < set->count && set->item[at].first <= value;
}

void rn_ranges_forget_below(struct rn_ranges *set, uint64_t low)
{
    uint32_t at = first_reaching(set, low);
    if (at < set->count && set->item[at].first < low)
        set->item[at].first = low;
    shift(set, at, 0);
}

uint64_t rn_ranges_total(const struct rn_ranges *set)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < set->count; i++)
        total += set->item[i].last - set->item[i].first + 1;
    return total;
}
