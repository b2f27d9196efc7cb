// cpu: how each core, and all together, spent the time since the last tick, in per cent. From
// /proc/stat (proc_stat(5)).
//
// Nothing is reported at the first tick, for a core that has just appeared, or where no tick of the
// kernel's clock has passed. Guest time is part of user time in the kernel's count and taken out of
// it here. A counter that goes back counts as standing still; a sum that goes back starts anew.
#ifndef AGENT_COLLECT_CPU_H
#define AGENT_COLLECT_CPU_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define CPU_MAX_CORES 256

// In the order of /proc/stat.
enum cpu_time {
    CPU_USER,
    CPU_NICE,
    CPU_SYSTEM,
    CPU_IDLE,
    CPU_IOWAIT,
    CPU_IRQ,
    CPU_SOFTIRQ,
    CPU_STEAL,
    CPU_GUEST,
    CPU_GUEST_NICE,
    CPU_TIMES
};

struct cpu_ticks {
    uint64_t time[CPU_TIMES];
};

// A line "cpu ..." or "cpuN ...": *core is -1 for all together. Times that an old kernel does not
// give are 0. False if it is no such line.
bool cpu_parse(struct rn_span line, int64_t *core, struct cpu_ticks *ticks);

// Shares in hundredths of a per cent. False if there is nothing to report.
bool cpu_shares(const struct cpu_ticks *before, const struct cpu_ticks *now,
                uint64_t share[CPU_TIMES]);

struct cpu_conf {
    bool per_core, total;
};

extern const struct rn_collector collect_cpu;

#endif
