// Downlink: what comes from the broker for this device. Checks it and hands it on. Everything that
// does not decode is counted and dropped.
#ifndef AGENT_DOWNLINK_H
#define AGENT_DOWNLINK_H

#include <runnel/log.h>
#include <runnel/mqtt.h>
#include <runnel/wire.h>

struct downlink {
    char topic_ack[RN_TOPIC_MAX], topic_config[RN_TOPIC_MAX], filter_bridge[RN_TOPIC_MAX];
    char prefix[33]; // of the topics
    void *arg;
    void (*ack)(void *arg, const struct rn_ack *ack);
    void (*config)(void *arg, struct rn_span payload); // the signed document, not yet checked
    void (*bridge)(void *arg, const struct rn_bridge_status *status);
    uint64_t malformed;
    struct rn_complaint complaint;
};

RN_MUST_CHECK int downlink_init(struct downlink *down, const char *prefix, const char *device,
                                struct rn_err *err);
RN_MUST_CHECK int downlink_subscribe(struct downlink *down, struct rn_mqtt *mqtt,
                                     struct rn_err *err);
void downlink_message(struct downlink *down, const struct rn_mqtt_message *message);

#endif
