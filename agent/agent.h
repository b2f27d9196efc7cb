// An agent: one device's collectors, buffer, uplink and downlink, wired together. Any number of
// them can live on one loop. Everything happens on the loop's thread.
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "agent/config.h"
#include "agent/state.h"
#include "agent/tee.h"
#include "agent/uplink.h"
#include <runnel/loop.h>
#include <runnel/mqtt.h>
#include <runnel/wire.h>

struct agent;

struct agent_hooks {
    void *arg;
    // A configuration came from the broker, unchecked. NULL: not taken.
    void (*config)(void *arg, struct rn_span payload);
    // An acknowledgement came. fresh: it answers something that was sent on this connection (the
    // birth, a batch). May be NULL.
    void (*ack)(void *arg, const struct rn_ack *ack, bool fresh);
    // Connected (with a new epoch) or not any more. May be NULL.
    void (*connection)(void *arg, bool connected);
    void (*stopped)(void *arg); // after agent_stop
    struct tee *tee;            // told of each batch; may be NULL
    // Neither disk nor memory can hold a buffer: the process should end.
    void (*fatal)(void *arg, const struct rn_err *err);
};

// Takes config on success. Opens the buffer (in memory where the disk refuses) and the state, makes
// the connection's object; nothing runs before agent_start. RN_EEXIST: the data folder is in use.
RN_MUST_CHECK int agent_new(struct agent **out, struct rn_loop *loop, struct config *config,
                            const struct agent_hooks *hooks, struct rn_err *err);
void agent_free(struct agent *agent); // also without stop: what a crash would leave
void agent_start(struct agent *agent);
// Cuts, commits and sends the open window, gives the bridge a moment to answer, says goodbye with
// the final ledger, disconnects; then hooks.stopped. reason (borrowed until then): "SIGTERM".
// Within timeout_ms.
void agent_stop(struct agent *agent, const char *reason, int64_t timeout_ms);

// Puts another complete configuration in force and takes it: step, periods, intervals, budgets,
// addresses, credentials. The buffer stays untouched. device, data and topic_prefix cannot change
// in a running agent: RN_EINVAL, and everything stays as it was (config stays the caller's). When
// it returns, a connection made under other settings is no longer used.
RN_MUST_CHECK int agent_reconfigure(struct agent *agent, struct config *config, struct rn_err *err);
// Would agent_reconfigure take it? The text names the option.
RN_MUST_CHECK int agent_check(const struct agent *agent, const struct config *config,
                              struct rn_err *err);

// For remote configuration.
const struct config *agent_config(const struct agent *agent);
struct state *agent_state(struct agent *agent); // NULL: no disk
bool agent_connected(const struct agent *agent);
uint64_t agent_install(const struct agent *agent);
const struct uplink_stats *agent_uplink_stats(const struct agent *agent);
// Answers of the bridge are wanted at once from now on, or may wait again.
void agent_set_hurry(struct agent *agent, bool hurry);
void agent_flush(struct agent *agent); // cuts the open window and sends it
// Has the broker send the desired configuration that it keeps once more.
void agent_ask_config(struct agent *agent);
// What statuses say is running; a change is told at once.
void agent_set_running(struct agent *agent, uint64_t revision, const uint8_t hash[RN_HASH_BYTES]);
// Publishes a report (QoS 1). RN_ESTATE: not connected.
RN_MUST_CHECK int agent_publish_report(struct agent *agent, struct rn_span payload);

#endif
