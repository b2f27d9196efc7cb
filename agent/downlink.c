// See downlink.h.
#include "agent/downlink.h"

#include <runnel/clock.h>

#include <string.h>

int downlink_init(struct downlink *down, const char *prefix, const char *device, struct rn_err *err)
{
    if (rn_topic_write(down->topic_ack, prefix, RN_TOPIC_ACK, device) < 0 ||
        rn_topic_write(down->topic_config, prefix, RN_TOPIC_CONFIG, device) < 0)
        return rn_fail(err, RN_EINVAL, "no topic can be made of prefix %s and device %s", prefix,
                       device);
    return RN_OK;
}

int downlink_subscribe(struct downlink *down, struct rn_mqtt *mqtt, struct rn_err *err)
{
    int rc = rn_mqtt_subscribe(mqtt, down->topic_ack, 0, err);
    return rc < 0 ? rc : rn_mqtt_subscribe(mqtt, down->topic_config, 1, err);
}

static void take_ack(struct downlink *down, const struct rn_mqtt_message *message)
{
    struct rn_ack ack;
    struct rn_err err;
    if (message->retained) // an answer to somebody's past is not for us
        return;
    if (rn_ack_decode(message->payload, &ack, &err) >= 0) {
        down->ack(down->arg, &ack);
        return;
    }
    down->malformed++;
    rn_complain(&down->complaint, rn_clock_mono_ms(), 60000, RN_LOG_WARN, "downlink_malformed",
                "topic=%s err=%s", message->topic, RN_Q(err.text));
}

void downlink_message(struct downlink *down, const struct rn_mqtt_message *message)
{
    if (strcmp(message->topic, down->topic_ack) == 0)
        take_ack(down, message);
    else if (strcmp(message->topic, down->topic_config) == 0 && message->payload.len > 0)
        down->config(down->arg, message->payload);
}
