// See outbox.h.
#include "lib/mqtt/outbox.h"

#include <stdlib.h>

enum { QOS0_SLOTS_MIN = 64, QOS0_SLOTS_MAX = 4096 }; // not yet handed to the socket

int rn_mqtt_outbox_init(struct rn_mqtt_outbox *out, struct rn_mqtt_mailbox *box,
                        uint32_t max_inflight, uint32_t max_queue_items, struct rn_err *err)
{
    uint32_t qos0 = max_queue_items;
    qos0 = qos0 < QOS0_SLOTS_MIN ? QOS0_SLOTS_MIN : qos0;
    qos0 = qos0 > QOS0_SLOTS_MAX ? QOS0_SLOTS_MAX : qos0;
    out->nslots_qos0 = qos0;
    out->nslots = max_inflight + qos0;
    out->slots = calloc(out->nslots, sizeof *out->slots);
    if (!out->slots)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < out->nslots; i++)
        rn_mqtt_notice_init(&out->slots[i].notice, box, RN_MQTT_NOTICE_PUBLISHED);
    return RN_OK;
}

void rn_mqtt_outbox_release(struct rn_mqtt_outbox *out)
{
    free(out->slots);
}

// Round robin, so that a slot rests as long as possible before it is used again.
static struct rn_mqtt_slot *find_free(struct rn_mqtt_outbox *out)
{
    for (uint32_t i = 0; i < out->nslots; i++) {
        struct rn_mqtt_slot *slot = &out->slots[(out->next_slot + i) % out->nslots];
        if (!slot->busy && !atomic_load(&slot->notice.posted)) {
            out->next_slot = (out->next_slot + i + 1) % out->nslots;
            return slot;
        }
    }
    return NULL;
}

struct rn_mqtt_slot *rn_mqtt_outbox_take(struct rn_mqtt_outbox *out, int qos, size_t bytes,
                                         uint32_t window, size_t max_bytes, uint64_t token)
{
    if (qos == 1 ? out->busy_qos1 >= window : out->busy_qos0 >= out->nslots_qos0)
        return NULL;
    if (!rn_mqtt_outbox_empty(out) && out->busy_bytes + bytes > max_bytes)
        return NULL;
    struct rn_mqtt_slot *slot = find_free(out);
    if (!slot)
        return NULL;
    slot->busy = true;
    slot->qos1 = qos == 1;
    slot->bytes = bytes;
    slot->token = token;
    out->busy_bytes += bytes;
    if (slot->qos1)
        out->busy_qos1++;
    else
        out->busy_qos0++;
    return slot;
}

void rn_mqtt_outbox_give_back(struct rn_mqtt_outbox *out, struct rn_mqtt_slot *slot)
{
    slot->busy = false;
    out->busy_bytes -= slot->bytes;
    if (slot->qos1)
        out->busy_qos1--;
    else
        out->busy_qos0--;
}

bool rn_mqtt_outbox_empty(const struct rn_mqtt_outbox *out)
{
    return out->busy_qos0 + out->busy_qos1 == 0;
}
