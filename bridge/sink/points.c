// The points of a run: see sink.h.
#include "bridge/sink/sink.h"

uint32_t sink_points(const struct rn_run *run)
{
    uint32_t per_tick = 0;
    for (uint32_t g = 0; g < run->schema->ngroups; g++)
        per_tick += run->schema->groups[g].nseries;
    return per_tick * run->grid->n;
}

bool sink_time_ns(const struct rn_run *run, uint32_t tick, int64_t *ns)
{
    return !__builtin_mul_overflow(run->grid->times[tick], run->schema->unit_ns, ns);
}

// To the next point, empty or not.
static bool advance(struct sink_walk *walk)
{
    struct sink_point_at *at = &walk->at;
    const struct rn_schema *schema = at->run->schema;
    if (!walk->begun) {
        walk->begun = true;
        at->nfields = schema->ngroups ? schema->groups[0].nfields : 0;
        return schema->ngroups && at->run->grid->n;
    }
    at->index++;
    at->column += at->nfields;
    if (++at->series < schema->groups[at->group].nseries)
        return true;
    at->series = 0;
    if (++at->group == schema->ngroups) {
        at->group = at->column = 0;
        at->tick++;
    }
    at->nfields = schema->groups[at->group].nfields;
    return at->tick < at->run->grid->n;
}

static bool holds_values(const struct sink_point_at *at)
{
    const struct rn_grid *grid = at->run->grid;
    for (uint32_t f = 0; f < at->nfields; f++)
        if (grid->states[rn_grid_at(grid, at->column + f, at->tick)] != RN_CELL_MISSING)
            return true;
    return false;
}

bool sink_walk_next(struct sink_walk *walk)
{
    while (advance(walk))
        if (holds_values(&walk->at))
            return true;
    return false;
}
