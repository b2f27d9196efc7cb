// See evict.h.
#include "agent/evict.h"

static bool too_old(const struct evict_need *need, const struct evict_row *row)
{
    return need->oldest_ms > 0 && row->t_last > 0 && row->t_last < need->oldest_ms;
}

// Marks rows until the excess is gone; with `received`, only such.
static uint32_t take(struct evict_row *rows, uint32_t count, bool received, int64_t *excess)
{
    uint32_t marked = 0;
    for (uint32_t i = 0; i<count && * excess> 0; i++) {
        if (rows[i].drop || (received && !rows[i].received))
            continue;
        rows[i].drop = true;
        *excess -= rows[i].bytes;
        marked++;
    }
    return marked;
}

uint32_t evict_choose(const struct evict_need *need, struct evict_row *rows, uint32_t count)
{
    int64_t excess = need->excess_bytes;
    uint32_t marked = 0;
    for (uint32_t i = 0; i < count; i++) {
        rows[i].drop = too_old(need, &rows[i]);
        if (rows[i].drop) {
            excess -= rows[i].bytes;
            marked++;
        }
    }
    marked += take(rows, count, true, &excess);
    marked += take(rows, count, false, &excess);
    return marked;
}
