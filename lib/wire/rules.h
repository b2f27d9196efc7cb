// What a rule of the schema expects, see runnel/schema.h. Private to lib/wire.
#ifndef WIRE_RULES_H
#define WIRE_RULES_H

#include <runnel/grid.h>
#include <runnel/schema.h>

// False if nothing can be expected at this tick: *expected is left as it was.
bool rule_expect(const struct rn_rule *rule, const struct rn_grid *grid, uint32_t tick,
                 int64_t *expected);

#endif
