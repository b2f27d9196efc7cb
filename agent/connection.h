// Connection: the MQTT client, made of the settings and of the fleet's size, and what is to be said
// in the log about it. The keepalive is learned (keepalive.h) and kept in state.db. A fleet that
// lost its broker comes back at a pace that the broker can take.
//
// Owner: the agent; one thread, the loop's.
#ifndef AGENT_CONNECTION_H
#define AGENT_CONNECTION_H

#include "agent/config.h"
#include "agent/state.h"
#include <runnel/loop.h>
#include <runnel/mqtt.h>

// What the client is made of, also for `check --connect`. `client` must live as long.
struct connection_conf {
    struct rn_mqtt_conf conf;
    char client[64];
    const char *addresses[RN_OPT_LIST_MAX];
};
void connection_conf(struct connection_conf *out, const struct agent_settings *settings,
                     uint64_t seed);

struct connection;

struct connection_hooks {
    void *arg;
    bool (*will)(void *arg, char topic[128], struct rn_buf *payload); // before each attempt
    void (*connected)(void *arg, const char *address);
    void (*disconnected)(void *arg, const char *reason); // not for attempts that failed
    void (*message)(void *arg, const struct rn_mqtt_message *message);
    void (*published)(void *arg, uint64_t token); // the broker took it
};

// settings and state are borrowed; state may be NULL: no disk.
RN_MUST_CHECK int connection_new(struct connection **out, struct rn_loop *loop,
                                 const struct agent_settings *settings, struct state *state,
                                 uint64_t seed, const struct connection_hooks *hooks,
                                 struct rn_err *err);
void connection_free(struct connection *connection); // accepts NULL
struct rn_mqtt *connection_mqtt(const struct connection *connection);
bool connection_up(const struct connection *connection); // and not being given up
bool connection_leaving(const struct connection *connection);
// Would connection_reconf take them? The text names the option.
RN_MUST_CHECK int connection_check(const struct connection *connection,
                                   const struct agent_settings *settings, struct rn_err *err);
// For the next connect. An error changes nothing.
RN_MUST_CHECK int connection_reconf(struct connection *connection,
                                    const struct agent_settings *settings, struct rn_err *err);
// From here on the old connection is as good as gone: nothing more is sent on it, nothing that it
// still delivers counts.
void connection_leave(struct connection *connection);
// So many devices share our bridge.
void connection_fleet(struct connection *connection, uint64_t devices);
// Over how long a thing is spread that the whole fleet does at once.
int64_t connection_spread_ms(const struct connection *connection);

#endif
