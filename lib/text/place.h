// Where a series' columns lie, for whoever writes points. Private to lib/text.
#ifndef LIB_TEXT_PLACE_H
#define LIB_TEXT_PLACE_H

#include <runnel/schema.h>

struct place {
    const struct rn_group *group;
    const struct rn_series *series;
    uint32_t column; // of the series' first field
};

static inline struct place place_of(const struct rn_schema *schema, uint32_t group, uint32_t series)
{
    struct place at = {.group = &schema->groups[group]};
    at.series = &at.group->series[series];
    for (uint32_t g = 0; g < group; g++)
        at.column += schema->groups[g].nfields * schema->groups[g].nseries;
    at.column += at.group->nfields * series;
    return at;
}

#endif
