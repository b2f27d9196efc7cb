// The life of one MQTT connection as a pure state machine: given an event and the time it answers
// with actions. It knows neither Paho nor the network, the clock or the loop; its jitter comes from
// a seed, so every run can be repeated.
//
// Promises:
// - At most one client exists: OPEN is only ever asked for after the CLOSE of the one before.
// - Every attempt has a deadline of its own and ends in UP, FAILED or that deadline.
// - While it runs and is not up, exactly one timer is pending: it can neither stall nor spin.
// - After STOP there is exactly one TELL_STOPPED, at the latest when the given time is over.
// Events that make no sense in a state (a late answer of a client closed long ago) are ignored.
//
// Each attempt gets a client of its own instead of reusing one: what a lost session left behind
// (queued publishes above all) must never be sent in the next one.
#ifndef RUNNEL_LIB_MQTT_MACHINE_H
#define RUNNEL_LIB_MQTT_MACHINE_H

#include <runnel/rand.h>
#include <stdbool.h>
#include <stdint.h>

struct rn_mqtt_machine_conf {
    uint32_t naddresses;        // at least 1
    int64_t connect_timeout_ms; // deadline of one attempt
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t first_reconnect_ms; // U(0, this) after a healthy session
    int64_t healthy_ms;         // a session that lasted this long was healthy
    int64_t check_ms;           // how often a connection that is up is checked
    uint64_t seed;
};

enum rn_mqtt_state {
    RN_MQTT_IDLE,     // not started
    RN_MQTT_OPENING,  // a client exists and connects
    RN_MQTT_UP,       // connected
    RN_MQTT_WAITING,  // for the next attempt
    RN_MQTT_DRAINING, // stop asked for: what was published is still on its way
    RN_MQTT_STOPPED,
    RN_MQTT_STATES,
};

enum rn_mqtt_event_kind {
    RN_MQTT_ON_START,
    RN_MQTT_ON_UP,        // the broker accepted
    RN_MQTT_ON_FAILED,    // the attempt failed
    RN_MQTT_ON_LOST,      // the connection is gone
    RN_MQTT_ON_TIMER,     // the time asked for by TIMER has come
    RN_MQTT_ON_RECONNECT, // the owner wants a new connection
    RN_MQTT_ON_STOP,      // the owner wants to end; ms = time left for draining
    RN_MQTT_ON_DRAINED,   // nothing published is outstanding
    RN_MQTT_EVENTS,
};

struct rn_mqtt_event {
    enum rn_mqtt_event_kind kind;
    int64_t ms; // of STOP
};

enum rn_mqtt_action_kind {
    RN_MQTT_DO_OPEN,  // make a client and connect it to `address`
    RN_MQTT_DO_CLOSE, // destroy the client; nothing of it is heard afterwards
    RN_MQTT_DO_CHECK, // look whether the client is still connected; if not: LOST
    RN_MQTT_DO_TIMER, // send TIMER after `ms`, replacing what was asked for before
    RN_MQTT_DO_NO_TIMER,
    RN_MQTT_DO_TELL_UP,
    RN_MQTT_DO_TELL_DOWN, // next attempt after `ms`
    RN_MQTT_DO_TELL_STOPPED,
};

struct rn_mqtt_action {
    enum rn_mqtt_action_kind kind;
    uint32_t address;   // of OPEN, TELL_DOWN: index
    int64_t ms;         // of TIMER, TELL_DOWN
    bool was_connected; // of TELL_DOWN
    bool deadline;      // of TELL_DOWN: the attempt took too long
};

enum { RN_MQTT_ACTIONS_MAX = 4 };

struct rn_mqtt_actions {
    struct rn_mqtt_action list[RN_MQTT_ACTIONS_MAX];
    uint32_t count;
};

struct rn_mqtt_machine {
    struct rn_mqtt_machine_conf conf;
    struct rn_rand rand;
    enum rn_mqtt_state state;
    uint32_t address;  // of the current or the next attempt
    uint32_t failures; // in a row
    bool reconfigured; // since the last attempt began
    int64_t up_since_ms;
    int64_t due_ms; // of the timer asked for
};

void rn_mqtt_machine_init(struct rn_mqtt_machine *machine, const struct rn_mqtt_machine_conf *conf);
// New times and addresses (not the seed); the next attempt begins with the first address.
void rn_mqtt_machine_reconfigure(struct rn_mqtt_machine *machine,
                                 const struct rn_mqtt_machine_conf *conf);
// Fills *actions (cleared first): to be done in order.
void rn_mqtt_machine_step(struct rn_mqtt_machine *machine, struct rn_mqtt_event event,
                          int64_t mono_ms, struct rn_mqtt_actions *actions);

#endif
