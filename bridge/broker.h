// The bridge at the broker: two MQTT clients. One receives, so that blocked writes never stop the
// reading, and holds the bridge's presence with its will; the other publishes. Intake's thread.
#ifndef BRIDGE_BROKER_H
#define BRIDGE_BROKER_H

#include "bridge/config.h"
#include <runnel/loop.h>
#include <runnel/mqtt.h>

struct broker_handler {
    void *arg;
    void (*message)(void *arg, const struct rn_mqtt_message *message);
    void (*receiving)(void *arg, bool yes); // connected (again), or lost
    void (*publishing)(void *arg);          // connected (again)
    void (*stopped)(void *arg);             // broker_stop is over
};

struct broker;
// settings outlive it.
RN_MUST_CHECK int broker_new(struct broker **out, const struct bridge_settings *settings,
                             uint64_t log_id, struct rn_loop *loop,
                             const struct broker_handler *handler, struct rn_err *err);
void broker_start(struct broker *broker);
// Says goodbye and disconnects within timeout_ms.
void broker_stop(struct broker *broker, int64_t timeout_ms);
void broker_free(struct broker *broker); // accepts NULL

bool broker_connected(const struct broker *broker); // both ways
// As rn_mqtt_publish: QoS 0; and QoS 1, retained.
RN_MUST_CHECK int broker_publish(struct broker *broker, const char *topic, struct rn_span payload);
RN_MUST_CHECK int broker_retain(struct broker *broker, const char *topic, struct rn_span payload);

#endif
