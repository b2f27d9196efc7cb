// A TCP relay that can be cut: how the demo takes one device off the network. Listens on a free
// loopback port, connects each caller to one loopback port, copies bytes both ways, on a thread of
// its own. Bounded in connections and in bytes held.
#ifndef CLI_RELAY_H
#define CLI_RELAY_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct relay;

RN_MUST_CHECK int relay_start(struct relay **out, uint16_t upstream_port, struct rn_err *err);
void relay_stop(struct relay *relay); // ends the thread; accepts NULL
uint16_t relay_port(const struct relay *relay);
// Any thread. Cut: open connections end at once and new callers are turned away, until it is
// mended.
void relay_cut(struct relay *relay, bool cut);

#endif
