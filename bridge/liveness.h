// Whether a device is there: a pure core per device and a little of the whole fleet. The shell
// tells what was heard and the time; every change of what is shown goes through one place and is
// counted.
//
//   never-seen   nothing is known of it
//   unconfirmed  a retained "online": perhaps of a device that died with the broker
//   online       something live came within two intervals
//   late         two intervals were missed
//   offline      will of the current epoch and no return within the grace; a graceful stop; or
//                `missed` intervals of silence while it was able to be heard
//   blind        it cannot be heard: the broker or the bridge was away, or it was told to hold
//   duplicate    two live agents use its name
//   retired      an operator took it out
//
// Only a birth of a greater epoch ends offline by will or stop; anything live of the shown install
// ends the others. Nothing retained is alive. A will or stop counts for the shown (install, epoch)
// only.
#ifndef BRIDGE_LIVENESS_H
#define BRIDGE_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

enum live_state {
    LIVE_NEVER,
    LIVE_UNCONFIRMED,
    LIVE_ONLINE,
    LIVE_LATE,
    LIVE_OFFLINE,
    LIVE_BLIND,
    LIVE_DUPLICATE, // shown only: lies over online, late, unconfirmed
    LIVE_RETIRED,   // shown only
    LIVE_STATES
};
enum live_reason {
    LIVE_NO_REASON,
    LIVE_WILL,
    LIVE_STOPPED,
    LIVE_SILENCE,
    LIVE_BROKER,
    LIVE_BRIDGE,
    LIVE_BACKPRESSURE,
};
const char *live_state_name(enum live_state state);
const char *live_reason_name(enum live_reason reason); // "" for none

struct live_conf {
    int64_t grace_ms;            // after a will
    int64_t missed;              // intervals of silence that make a device offline; late after 2
    int64_t default_interval_ms; // of a device that did not say
    int64_t reconnect_ms;       // devices come back within this after the broker's return, at least
    int64_t backoff_max_ms;     // and within the outage's length up to this
    int64_t retry_ms;           // a device that was put off tries again within this
    int64_t storm_ms;           // window in which a storm gathers
    int64_t storm_percent;      // so many of the devices present vanish in it...
    int64_t storm_min;          // ...and at least so many
    int64_t duplicate_ms;       // window in which evidence of a second agent gathers
    int64_t duplicate_clear_ms; // without evidence for so long: over
};

#define LIVE_STORM_SLOTS 32
struct live_fleet { // initialise with live_fleet_init
    struct live_conf conf;
    uint32_t count[LIVE_STATES]; // of what is shown
    bool connected;              // the intake hears the broker
    int64_t lost_ms;             // when it ceased to
    int64_t sighted_ms;          // silence counts from here at the earliest
    int64_t storm_until_ms;      // 0: no storm
    uint32_t vanished[LIVE_STORM_SLOTS];
    int64_t vanished_slot;
    uint32_t missing; // vanished and not heard since
    uint64_t storms;
};

struct live_device {       // zeroed: never seen
    enum live_state state; // underlying: NEVER..BLIND
    enum live_reason reason;
    enum live_state shown;
    bool retired;
    bool put_off;     // its last message could not be taken: it waits before the next
    bool vanished;    // counted for the storm since it was last heard
    uint8_t evidence; // of a second agent, within the window
    uint64_t install, epoch, n, fingerprint;                // of the shown agent
    uint64_t other_install, other_fingerprint, other_epoch; // shown before it
    int64_t since_ms;                                       // of what is shown
    int64_t heard_ms;                                       // something live of the shown install
    int64_t interval_ms;
    int64_t held_ms;            // it was told to send nothing until then
    int64_t will_at_ms;         // the grace of a will ends; 0: none
    int64_t evidence_ms;        // last
    int64_t duplicate_until_ms; // 0: not
};

struct live_status { // what a status message says
    uint64_t install, epoch, n, fingerprint;
    int64_t interval_ms; // 0: not said
    bool retained;
};

void live_fleet_init(struct live_fleet *fleet, const struct live_conf *conf);
// A device enters the table: zeroed, or with what was saved (state, install, epoch, ...). What was
// there when the bridge stopped is blind until it is heard.
void live_enter(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms);

// The intake has lost, or found again, the broker: call the fleet's once, then each device's.
void live_fleet_lost(struct live_fleet *fleet, int64_t now_ms);
void live_lost(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms);
void live_fleet_back(struct live_fleet *fleet, uint32_t devices, int64_t now_ms);
void live_back(struct live_fleet *fleet, struct live_device *dev);
// The bridge itself was stopped or stalled: silence counts anew.
void live_fleet_stalled(struct live_fleet *fleet, int64_t now_ms);

// Each returns true if the message was taken as the shown agent's own (stale ones are not).
bool live_birth(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
                int64_t now_ms);
bool live_will(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
               int64_t now_ms);
bool live_stop(struct live_fleet *fleet, struct live_device *dev, const struct live_status *status,
               int64_t now_ms);
void live_data(struct live_fleet *fleet, struct live_device *dev, uint64_t install, int64_t now_ms);
// Its message could not be taken: it was told to send nothing until then, and will back off.
void live_hold(struct live_device *dev, int64_t until_ms);
void live_retire(struct live_fleet *fleet, struct live_device *dev, bool retired, int64_t now_ms);
// Whenever time has passed, at least every second.
void live_tick(struct live_fleet *fleet, struct live_device *dev, int64_t now_ms);

// True while the fleet cannot be judged: no broker, or a storm.
bool live_fleet_blind(const struct live_fleet *fleet, int64_t now_ms);

#endif
