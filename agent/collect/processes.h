// processes: how many there are in which state, and threads. From /proc/<pid>/stat
// (proc_pid_stat(5)).
#ifndef AGENT_COLLECT_PROCESSES_H
#define AGENT_COLLECT_PROCESSES_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define PROCESSES_MAX 65536 // looked at in a tick

// State letter and threads of a line; the name in it may contain anything. False if it is cut short
// or no such line.
bool processes_parse(struct rn_span line, char *state, uint64_t *threads);

extern const struct rn_collector collect_processes;

#endif
