// See group.h.
#include "bridge/group.h"

#include <runnel/text.h>
#include <stdlib.h>
#include <string.h>

struct group_mask {
    struct rn_run run;
    struct rn_grid grid;
    uint8_t states[];
};

static bool inside(const struct rn_run *run, uint32_t tick, const struct group_window *window)
{
    int64_t ns;
    return sink_time_ns(run, tick, &ns) && ns >= window->from_ns && ns <= window->to_ns;
}

static void take_run(struct group *g, const struct rn_run *run, const struct group_window *window)
{
    struct sink_walk walk = {.at.run = run};
    uint32_t base = g->base[g->n];
    g->present[g->n] = 0;
    g->clipped[g->n] = false;
    while (sink_walk_next(&walk)) {
        if (inside(run, walk.at.tick, window)) {
            policy_set_add(&g->all, base + walk.at.index);
            g->present[g->n]++;
        } else {
            policy_set_add(&g->outside, base + walk.at.index);
            g->clipped[g->n] = true;
        }
    }
    g->samples += rn_grid_samples(run->grid);
    g->bytes += run->body.len;
    g->run[g->n] = run;
    g->base[g->n + 1] = base + sink_points(run);
    g->n++;
}

uint32_t group_fill(struct group *g, const struct rn_run *const *runs, uint32_t n,
                    const struct group_window *window)
{
    group_hide(g);
    memset(&g->all, 0, sizeof g->all);
    memset(&g->outside, 0, sizeof g->outside);
    g->n = 0;
    g->base[0] = 0;
    g->samples = g->bytes = 0;
    while (g->n < n && g->n < GROUP_RUNS) {
        const struct rn_run *run = runs[g->n];
        if (g->n && g->base[g->n] + sink_points(run) > POLICY_MAX_POINTS)
            break;
        take_run(g, run, window);
    }
    return g->n;
}

static uint32_t count_in(const struct policy_set *set, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++)
        n += policy_set_has(set, i);
    return n;
}

// A copy of the run that lacks what is not in the set.
static struct group_mask *mask_run(const struct rn_run *run, uint32_t base,
                                   const struct policy_set *set)
{
    size_t cells = (size_t)run->grid->n * run->grid->ncolumns;
    struct group_mask *mask = malloc(sizeof *mask + cells);
    if (!mask)
        return NULL;
    mask->run = *run;
    mask->grid = *run->grid;
    mask->run.grid = &mask->grid;
    mask->grid.states = mask->states;
    memset(mask->states, RN_CELL_MISSING, cells);
    struct sink_walk walk = {.at.run = run};
    while (sink_walk_next(&walk)) {
        if (!policy_set_has(set, base + walk.at.index))
            continue;
        for (uint32_t f = 0; f < walk.at.nfields; f++) {
            size_t at = rn_grid_at(run->grid, walk.at.column + f, walk.at.tick);
            mask->states[at] = run->grid->states[at];
        }
    }
    return mask;
}

int group_show(struct group *g, const struct policy_set *set)
{
    group_hide(g);
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t wanted = count_in(set, g->base[i], g->base[i + 1]);
        if (wanted == 0)
            continue;
        const struct rn_run *shown = g->run[i];
        if (wanted < g->present[i] || g->clipped[i]) {
            g->mask[g->nview] = mask_run(shown, g->base[i], set);
            if (!g->mask[g->nview])
                return RN_ENOMEM;
            shown = &g->mask[g->nview]->run;
        }
        g->view_of[g->nview] = i;
        g->view[g->nview++] = shown;
    }
    return RN_OK;
}

void group_hide(struct group *g)
{
    for (uint32_t i = 0; i < g->nview; i++) {
        free(g->mask[i]);
        g->mask[i] = NULL;
    }
    g->nview = 0;
}

uint32_t group_number(const struct group *g, struct sink_point point)
{
    if (point.run >= g->nview)
        return UINT32_MAX;
    uint32_t run = g->view_of[point.run];
    uint32_t number = g->base[run] + point.point;
    return point.point < POLICY_MAX_POINTS && number < g->base[run + 1] ? number : UINT32_MAX;
}

void group_suspects(const struct group *g, const struct sink_result *result, void *sink_state,
                    uint8_t bits[POLICY_SET_BYTES])
{
    memset(bits, 0, POLICY_SET_BYTES);
    for (uint32_t i = 0; i < g->nview; i++) {
        uint32_t base = g->base[g->view_of[i]];
        struct sink_walk walk = {.at.run = g->view[i]};
        while (sink_walk_next(&walk)) {
            uint32_t number = base + walk.at.index;
            if (result->suspect(sink_state, &walk.at))
                bits[number >> 3] |= (uint8_t)(1U << (number & 7));
        }
    }
}

int group_line(const struct group *g, uint32_t point, struct rn_buf *line,
               const struct rn_run **run)
{
    uint32_t i = 0;
    while (i < g->n && point >= g->base[i + 1])
        i++;
    if (i == g->n)
        return 0;
    *run = g->run[i];
    struct sink_walk walk = {.at.run = g->run[i]};
    while (sink_walk_next(&walk)) {
        if (g->base[i] + walk.at.index != point)
            continue;
        struct rn_lp_conf lp = {.uint_form = RN_LP_UINT_AS_U};
        const struct sink_point_at *at = &walk.at;
        (void)rn_lp_point(line, (*run)->schema, (*run)->grid, at->group, at->series, at->tick, &lp);
        if (line->len && line->data[line->len - 1] == '\n')
            line->len--;
        return rn_buf_ok(line) ? line->len > 0 : RN_ENOMEM;
    }
    return 0;
}
