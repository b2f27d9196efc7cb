// The uplink's shell: feeds the pure core with what the connection and the bridge say, and executes
// its actions on the store and the connection. One thread, the loop's.
#ifndef AGENT_UPLINK_IO_H
#define AGENT_UPLINK_IO_H

#include "agent/encoder.h"
#include "agent/store.h"
#include "agent/uplink.h"
#include <runnel/loop.h>
#include <runnel/mqtt.h>

struct uplink_io;

struct uplink_io_hooks {
    void *arg;
    void (*announce)(void *arg); // publish the birth
    void (*store_failed)(void *arg,
                         const struct rn_err *err); // called from a later turn's safe point
};

struct uplink_io_conf {
    const char *topic_data, *topic_key; // borrowed for ever
    struct encoder *encoder;            // borrowed
    struct uplink_conf core;
};

RN_MUST_CHECK int uplink_io_new(struct uplink_io **out, struct rn_loop *loop, struct rn_mqtt *mqtt,
                                const struct uplink_io_conf *conf,
                                const struct uplink_io_hooks *hooks, struct rn_err *err);
void uplink_io_free(struct uplink_io *io);
// Begins anew over this store (borrowed): at the start, and when the agent had to change it.
void uplink_io_attach(struct uplink_io *io, struct store *store);
void uplink_io_reconf(struct uplink_io *io, const struct uplink_conf *core);
void uplink_io_event(struct uplink_io *io, const struct uplink_event *event);
// Everything that one acknowledgement says.
void uplink_io_ack(struct uplink_io *io, const struct rn_ack *ack);
bool uplink_io_open(const struct uplink_io *io); // a hello came: data flows
const struct uplink_stats *uplink_io_stats(const struct uplink_io *io);

#endif
