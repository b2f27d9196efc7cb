// All collectors. See collector.h.
#include "agent/collect/cpu.h"
#include "agent/collect/disk.h"
#include "agent/collect/diskio.h"
#include "agent/collect/kernel.h"
#include "agent/collect/mem.h"
#include "agent/collect/net.h"
#include "agent/collect/processes.h"
#include "agent/collect/self.h"
#include "agent/collect/swap.h"
#include "agent/collect/system.h"
#include "agent/collect/temp.h"

const struct rn_collector *const collect_table[] = {
    &collect_cpu,    &collect_mem,  &collect_swap,   &collect_disk,
    &collect_diskio, &collect_net,  &collect_system, &collect_processes,
    &collect_kernel, &collect_temp, &self_collector,
};
const size_t collect_table_count = sizeof collect_table / sizeof collect_table[0];
