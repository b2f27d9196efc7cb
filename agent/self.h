// Self: what the agent's parts count, gathered for the collector of the same name.
#ifndef AGENT_SELF_H
#define AGENT_SELF_H

#include "agent/collect/self.h"
#include "agent/sampler.h"
#include "agent/store.h"
#include "agent/uplink.h"
#include <runnel/mqtt.h>

struct self_parts {
    const struct rn_mqtt *mqtt;
    const struct sampler *sampler;
    const struct store *store; // NULL: there is none
    const struct uplink_stats *uplink;
};

void self_read(const struct self_parts *parts, struct self_stats *out);

#endif
