// All collectors. See collector.h.
#include "agent/collect/cpu.h"
#include "agent/collect/mem.h"

const struct rn_collector *const collect_table[] = {
    &collect_cpu,
    &collect_mem,
};
const size_t collect_table_count = sizeof collect_table / sizeof collect_table[0];
