// Peer: the bridge as this agent sees it. Whether it came back, whether its clock and ours agree,
// whether it knows another agent by our name. One thread, the loop's.
#ifndef AGENT_PEER_H
#define AGENT_PEER_H

#include <runnel/log.h>
#include <runnel/wire.h>

struct peer {           // zero-initialise
    bool known, online; // since this connection
    uint64_t since_ms;
    struct rn_complaint clock, duplicate;
};

void peer_disconnected(struct peer *peer);
// Its presence was published. True: it came back, or another one took over; the retained message
// that comes first only tells how things are.
bool peer_status(struct peer *peer, const struct rn_bridge_status *status);
// It told its time.
void peer_time(struct peer *peer, uint64_t time_ms);
void peer_hello(struct peer *peer, const struct rn_hello *hello, const char *device);

#endif
