// Publishes that are on their way: one slot each, bounded in number and bytes. It decides whether
// another one may go, and sends nothing. The loop's thread.
#ifndef RUNNEL_LIB_MQTT_OUTBOX_H
#define RUNNEL_LIB_MQTT_OUTBOX_H

#include "lib/mqtt/mailbox_io.h"

struct rn_mqtt_slot {             // one publish
    struct rn_mqtt_notice notice; // that it is over: the first member
    uint64_t token;
    size_t bytes;
    bool busy, qos1;
};

struct rn_mqtt_outbox {
    struct rn_mqtt_slot *slots;
    uint32_t nslots, nslots_qos0, next_slot;
    uint32_t busy_qos1, busy_qos0;
    size_t busy_bytes;
};

// Slots for QoS 1 up to max_inflight, and for QoS 0 by max_queue_items, within bounds. Release
// accepts a zeroed one.
RN_MUST_CHECK int rn_mqtt_outbox_init(struct rn_mqtt_outbox *out, struct rn_mqtt_mailbox *box,
                                      uint32_t max_inflight, uint32_t max_queue_items,
                                      struct rn_err *err);
void rn_mqtt_outbox_release(struct rn_mqtt_outbox *out);
// window: QoS 1 on the way, at most; max_bytes of all. NULL: not now.
struct rn_mqtt_slot *rn_mqtt_outbox_take(struct rn_mqtt_outbox *out, int qos, size_t bytes,
                                         uint32_t window, size_t max_bytes, uint64_t token);
void rn_mqtt_outbox_give_back(struct rn_mqtt_outbox *out, struct rn_mqtt_slot *slot);
bool rn_mqtt_outbox_empty(const struct rn_mqtt_outbox *out);

#endif
