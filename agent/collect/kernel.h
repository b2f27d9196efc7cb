// kernel: counters of the kernel since boot, from /proc/stat, /proc/vmstat and
// /proc/sys/kernel/random.
//
// disk_pages_in and disk_pages_out are pgpgin and pgpgout of /proc/vmstat: kB, in spite of the
// name, as in the line "page" that Linux 2.4 had in /proc/stat. What a machine does not have
// (vmstat, entropy_avail) is not reported.
#ifndef AGENT_COLLECT_KERNEL_H
#define AGENT_COLLECT_KERNEL_H

#include "agent/collect/collector.h"

extern const struct rn_collector collect_kernel;

#endif
