// See peer.h.
#include "agent/peer.h"

#include <runnel/clock.h>

static const int64_t clock_off_ms = 300000;
static const int64_t repeat_ms = 3600000; // of complaints

void peer_disconnected(struct peer *peer)
{
    peer->known = false;
}

bool peer_status(struct peer *peer, const struct rn_bridge_status *status)
{
    bool back =
        peer->known && status->online && (!peer->online || status->since_ms != peer->since_ms);
    peer->known = true;
    peer->online = status->online;
    peer->since_ms = status->since_ms;
    return back;
}

void peer_time(struct peer *peer, uint64_t time_ms)
{
    int64_t off = rn_clock_utc_ms() - (int64_t)time_ms;
    if (time_ms != 0 && (off > clock_off_ms || off < -clock_off_ms))
        rn_complain(&peer->clock, rn_clock_mono_ms(), repeat_ms, RN_LOG_WARN, "clock_differs",
                    "off_ms=%lld advice=\"set this machine's clock, or the bridge's\"",
                    (long long)off);
    else
        rn_recovered(&peer->clock, "clock_agrees");
}

void peer_hello(struct peer *peer, const struct rn_hello *hello, const char *device)
{
    if (hello->duplicate)
        rn_complain(
            &peer->duplicate, rn_clock_mono_ms(), repeat_ms, RN_LOG_ERROR, "name_in_use_twice",
            "device=%s advice=\"another agent uses this device name: rename one of them\"", device);
}
