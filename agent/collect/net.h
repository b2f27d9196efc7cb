// net: what went through each network interface since boot. From /proc/net/dev (proc_pid_net(5))
// and /sys/class/net.
//
// Without `interfaces`: all that are up, without loopback. With it: those whose name fits one of
// its patterns, up or not. Where /sys does not know an interface, it is taken for up.
#ifndef AGENT_COLLECT_NET_H
#define AGENT_COLLECT_NET_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define NET_MAX_INTERFACES 64
#define NET_NAME_MAX       32

enum net_field {
    NET_BYTES_RECV,
    NET_PACKETS_RECV,
    NET_ERR_IN,
    NET_DROP_IN,
    NET_BYTES_SENT,
    NET_PACKETS_SENT,
    NET_ERR_OUT,
    NET_DROP_OUT,
    NET_COUNTERS,
    NET_SPEED = NET_COUNTERS,
    NET_FIELDS
};

struct net_counters {
    char name[NET_NAME_MAX];
    uint64_t value[NET_COUNTERS];
};

// A line "name: 16 numbers". False if it is none, as the two lines of headings.
bool net_parse(struct rn_span line, struct net_counters *counters);

struct net_conf {
    struct rn_opt_list interfaces;
};

extern const struct rn_collector collect_net;

#endif
