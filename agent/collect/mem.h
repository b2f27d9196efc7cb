// mem: what the main memory is used for. From /proc/meminfo (proc_meminfo(5)).
//
// cached includes what of the slab can be reclaimed; used is total less available. What a kernel
// does not list is 0; without MemAvailable (before Linux 3.14) available is free plus cached.
#ifndef AGENT_COLLECT_MEM_H
#define AGENT_COLLECT_MEM_H

#include "agent/collect/collector.h"

#include <stdbool.h>

enum mem_field {
    MEM_ACTIVE,
    MEM_AVAILABLE,
    MEM_BUFFERED,
    MEM_CACHED,
    MEM_COMMIT_LIMIT,
    MEM_COMMITTED_AS,
    MEM_DIRTY,
    MEM_FREE,
    MEM_HIGH_FREE,
    MEM_HIGH_TOTAL,
    MEM_HUGE_PAGE_SIZE,
    MEM_HUGE_PAGES_FREE,
    MEM_HUGE_PAGES_TOTAL,
    MEM_INACTIVE,
    MEM_LOW_FREE,
    MEM_LOW_TOTAL,
    MEM_MAPPED,
    MEM_PAGE_TABLES,
    MEM_SHARED,
    MEM_SLAB,
    MEM_SRECLAIMABLE,
    MEM_SUNRECLAIM,
    MEM_SWAP_CACHED,
    MEM_SWAP_FREE,
    MEM_SWAP_TOTAL,
    MEM_TOTAL,
    MEM_VMALLOC_CHUNK,
    MEM_VMALLOC_TOTAL,
    MEM_VMALLOC_USED,
    MEM_WRITE_BACK,
    MEM_WRITE_BACK_TMP,
    MEM_SOURCES, // the rest is computed
    MEM_USED = MEM_SOURCES,
    MEM_USED_PERCENT,
    MEM_AVAILABLE_PERCENT,
    MEM_FIELDS
};

// In the unit of the file: kB, or a count of huge pages; the percentages in hundredths.
struct mem_values {
    uint64_t value[MEM_FIELDS];
};

// False if there is no MemTotal.
bool mem_parse(struct rn_span text, struct mem_values *mem);

extern const struct rn_collector collect_mem;

#endif
