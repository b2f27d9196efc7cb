// What the demo runs: a private mosquitto, a bridge, the real agent of this machine, simulated
// devices in one process, and a relay in front of one of them. Everything lives in one temporary
// folder, listens on free loopback ports, and is ended by process id.
#ifndef CLI_DEMO_WORLD_H
#define CLI_DEMO_WORLD_H

#include "cli/api.h"
#include "cli/child.h"
#include "cli/relay.h"
#include <runnel/err.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

struct demo_world {
    char folder[256];
    char device[RN_DEV_MAX + 1];     // of this machine's agent
    char cut_device[RN_DEV_MAX + 1]; // behind the relay; "": none
    int devices;                     // simulated
    const char *influx;              // URL or NULL
    unsigned short broker_port, http_port;
    struct child broker, bridge, agent, simulator;
    struct relay *relay;
    struct api *api;
};

RN_MUST_CHECK int world_init(struct demo_world *world, int devices, const char *influx,
                             struct rn_err *err);
// Each waits until its part really works; the text of *err ends with the program's last words.
RN_MUST_CHECK int world_start_broker(struct demo_world *world, struct rn_err *err);
RN_MUST_CHECK int world_start_bridge(struct demo_world *world, struct rn_err *err);
RN_MUST_CHECK int world_start_agents(struct demo_world *world, struct rn_err *err);
// Everything that should be running is; else *err names what ended and its last words.
RN_MUST_CHECK int world_check(struct demo_world *world, struct rn_err *err);
bool world_stop_agents(struct demo_world *world); // gracefully; true if both went by themselves
void world_release(struct demo_world *world);     // stops what runs, removes the folder

#endif
