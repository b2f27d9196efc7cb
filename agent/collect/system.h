// system: load, processors, users, uptime. From /proc/loadavg, /proc/stat, /proc/uptime,
// /sys/devices/system/cpu and utmp(5).
//
// Where there is no utmp, n_users and n_unique_users are not reported; where /sys tells no
// topology, n_physical_cpus is not. The uptime as a text (uptime_format) is not reported: it says
// nothing that uptime does not.
#ifndef AGENT_COLLECT_SYSTEM_H
#define AGENT_COLLECT_SYSTEM_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define SYSTEM_MAX_USERS 128 // different ones that are told apart

struct system_users {
    uint64_t sessions, unique;
    uint64_t left_out; // sessions beyond the users that are told apart
};

// "0.12 0.34 0.56 1/123 4567": the three averages in hundredths.
bool system_parse_load(struct rn_span text, uint64_t load[3]);
// Processors that /proc/stat lists.
uint64_t system_count_cpus(struct rn_span text);
// utmp records; what is left of a broken last one is ignored.
void system_parse_users(struct rn_span records, struct system_users *users);

extern const struct rn_collector collect_system;

#endif
