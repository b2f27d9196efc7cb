// Presence: what the bridge is told of this agent's being there. The epoch of each connection
// attempt, its last will, the birth and its repetitions, the regular status, and the goodbye.
//
// A status is acknowledged by the broker: a link that swallows everything is noticed by that long
// before the keepalive would. Owner: the agent; one thread, the loop's.
#ifndef AGENT_PRESENCE_H
#define AGENT_PRESENCE_H

#include "agent/config.h"
#include "agent/connection.h"
#include "agent/state.h"
#include "agent/storage.h"
#include <runnel/loop.h>
#include <runnel/wire.h>

struct presence;

// Everything is borrowed; state may be NULL: no disk.
struct presence_conf {
    const struct agent_settings *settings;
    struct connection *connection;
    const struct storage *storage;
    struct state *state;
    uint64_t fingerprint;
};

RN_MUST_CHECK int presence_new(struct presence **out, struct rn_loop *loop,
                               const struct presence_conf *conf, struct rn_err *err);
void presence_free(struct presence *presence); // accepts NULL
// A changed interval or ack_by is told at once.
void presence_reconf(struct presence *presence, const struct agent_settings *settings);

// A connection is tried: the next epoch, and the will that carries it with n = 0.
bool presence_will(struct presence *presence, char topic[128], struct rn_buf *payload);
void presence_start(struct presence *presence); // statuses at their interval from now on
void presence_stop(struct presence *presence);  // none from now on
void presence_disconnected(struct presence *presence, const char *reason);
// The birth: the first of a connection, or again because no answer came.
void presence_announce(struct presence *presence);
void presence_heard(struct presence *presence); // the broker gave a sign of life
void presence_published(struct presence *presence, uint64_t token); // it took a message
bool presence_answers(const struct presence *presence, const struct rn_hello *hello); // our last?
// The bridge has seen this epoch. False: it is above ours, and a new connection goes beyond it. If
// that was so a moment ago already, this one goes on, and is given up at a later status.
bool presence_seen(struct presence *presence, uint64_t max_epoch);
// What statuses say is running; a change is told at once.
void presence_set_running(struct presence *presence, uint64_t revision,
                          const uint8_t hash[RN_HASH_BYTES]);
// Answers to batches are wanted at once, or may wait again: the latter is told at once, the former
// by the next status.
void presence_set_hurry(struct presence *presence, bool hurry);
// The bridge is asked to answer all that it has at once, from now on.
void presence_ask(struct presence *presence, const char *reason);
// Publishes a report on the configuration (QoS 1). RN_ESTATE: not connected.
RN_MUST_CHECK int presence_report(struct presence *presence, struct rn_span payload);
void presence_goodbye(struct presence *presence, const char *reason);
uint64_t presence_epoch(const struct presence *presence);

#endif
