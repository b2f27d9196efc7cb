// From MQTT messages to the log: trusts nothing, stores each batch once, remembers what the devices
// say of themselves. One thread, no waiting: what cannot be stored is not acknowledged, so it stays
// on the device.
//
// Batches are gathered and committed together; only then are they `received`. The shell (bridge.c)
// calls intake_commit when intake_due says so.
#ifndef BRIDGE_INTAKE_H
#define BRIDGE_INTAKE_H

#include "bridge/answers.h"
#include "bridge/counters.h"
#include "bridge/deadletters.h"
#include "bridge/fleet.h"
#include "bridge/log.h"
#include "bridge/schemas.h"
#include <runnel/mqtt.h>

struct intake_time {
    int64_t mono_ms, utc_ms;
};

// What others hook in: the owner of desired configurations. Any may be NULL. Intake's thread.
struct intake_hooks {
    void *arg;
    // What a birth is to be told; false: nothing is desired.
    bool (*desired)(void *arg, const char *dev, uint64_t *revision, uint8_t hash[RN_HASH_BYTES]);
    // After the hello was queued: the place to publish a configuration that differs.
    void (*born)(void *arg, const char *dev, const struct rn_status *status);
    // True once the report is stored: the device is told its number.
    bool (*report)(void *arg, const char *dev, const struct rn_report *report);
};

struct intake_conf {
    const char *prefix;
    int64_t past_ms, future_ms; // batches wholly outside are refused
    int64_t commit_ms;          // a group waits at most so long
    uint32_t commit_messages;   // and has at most so many batches
    size_t commit_bytes;        // or bytes
    int64_t hold_ms;            // what a device is told to wait when there is no room
};

struct intake_parts { // all outlive the intake; dead may be NULL
    struct log *log;
    struct schemas *schemas;
    struct fleet *fleet;
    struct answers *answers;
    struct deadletters *dead;
    struct counters *counters;
    // A group was committed: wake the cursors.
    void (*committed)(void *arg, uint64_t head);
    void *committed_arg;
};

struct intake;
RN_MUST_CHECK int intake_new(struct intake **out, const struct intake_conf *conf,
                             const struct intake_parts *parts, struct rn_err *err);
void intake_free(struct intake *intake); // commits nothing
void intake_set_hooks(struct intake *intake, const struct intake_hooks *hooks);
void intake_message(struct intake *intake, const struct rn_mqtt_message *message,
                    struct intake_time now);
// When the group is to be committed (monotonic); 0: there is none.
int64_t intake_due(const struct intake *intake);
void intake_commit(struct intake *intake, struct intake_time now);

#endif
