// See downlink.h.
#include "agent/downlink.h"

#include <runnel/clock.h>

#include <stdio.h>
#include <string.h>

int downlink_init(struct downlink *down, const char *prefix, const char *device, struct rn_err *err)
{
    if (rn_topic_write(down->topic_ack, prefix, RN_TOPIC_ACK, device) < 0 ||
        rn_topic_write(down->topic_config, prefix, RN_TOPIC_CONFIG, device) < 0)
        return rn_fail(err, RN_EINVAL, "no topic can be made of prefix %s and device %s", prefix,
                       device);
    snprintf(down->prefix, sizeof down->prefix, "%s", prefix);
    snprintf(down->filter_bridge, sizeof down->filter_bridge, "%s/b/+", prefix);
    return RN_OK;
}

int downlink_subscribe(struct downlink *down, struct rn_mqtt *mqtt, struct rn_err *err)
{
    int rc = rn_mqtt_subscribe(mqtt, down->topic_ack, 0, err);
    if (rc >= 0)
        rc = rn_mqtt_subscribe(mqtt, down->topic_config, 1, err);
    return rc < 0 ? rc : rn_mqtt_subscribe(mqtt, down->filter_bridge, 1, err);
}

static void complain(struct downlink *down, const struct rn_mqtt_message *message,
                     const struct rn_err *err)
{
    down->malformed++;
    rn_complain(&down->complaint, rn_clock_mono_ms(), 60000, RN_LOG_WARN, "downlink_malformed",
                "topic=%s err=%s", RN_Q(message->topic), RN_Q(err->text));
}

static void take_ack(struct downlink *down, const struct rn_mqtt_message *message)
{
    struct rn_ack ack;
    struct rn_err err;
    if (message->retained) // an answer to somebody's past is not for us
        return;
    if (rn_ack_decode(message->payload, &ack, &err) >= 0)
        down->ack(down->arg, &ack);
    else
        complain(down, message, &err);
}

static void take_bridge(struct downlink *down, const struct rn_mqtt_message *message)
{
    struct rn_bridge_status status;
    struct rn_err err;
    if (message->payload.len == 0)
        return; // its status was deleted
    if (rn_bridge_status_decode(message->payload, &status, &err) >= 0)
        down->bridge(down->arg, &status);
    else
        complain(down, message, &err);
}

void downlink_message(struct downlink *down, const struct rn_mqtt_message *message)
{
    char name[RN_DEV_MAX + 1];
    if (strcmp(message->topic, down->topic_ack) == 0)
        take_ack(down, message);
    else if (strcmp(message->topic, down->topic_config) == 0 && message->payload.len > 0)
        down->config(down->arg, message->payload);
    else if (rn_topic_parse(message->topic, message->topic_len, down->prefix, name) ==
             RN_TOPIC_BRIDGE)
        take_bridge(down, message);
}
