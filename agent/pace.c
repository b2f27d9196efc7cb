// See pace.h.
#include "agent/pace.h"

#include <runnel/wire.h>

#define IDLE_MAX_MS 240000

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t pace_interval(const struct agent_settings *s)
{
    static const int64_t wanted_ms[] = {
        [PACE_LIVE] = 60000, [PACE_ECONOMY] = 240000, [PACE_REALTIME] = 0};
    if (s->batch_interval_ms > 0)
        return s->batch_interval_ms;
    int64_t steps = wanted_ms[s->profile] / s->step_ms;
    return (steps > 0 ? steps : 1) * s->step_ms;
}

// NATs forget connections that are idle for longer than four to six minutes, so something has to
// pass every 240 s; where batches do, pings wait a little longer than they take.
int64_t pace_keepalive(const struct agent_settings *s)
{
    int64_t interval = pace_interval(s);
    if (s->mqtt_keepalive_ms > 0)
        return s->mqtt_keepalive_ms;
    return interval <= IDLE_MAX_MS && interval > IDLE_MAX_MS * 4 / 5 ? interval * 5 / 4
                                                                     : IDLE_MAX_MS;
}

int64_t pace_ack_by(const struct agent_settings *s)
{
    int64_t interval = pace_interval(s);
    int64_t wanted = s->uplink_ack_by_ms > 0 ? s->uplink_ack_by_ms
                                             : (int64_t)rn_ack_by_default((uint64_t)interval);
    int64_t room = (s->uplink_window - 1) * interval;
    return least(wanted, room > 0 ? room : PACE_AT_ONCE_MS);
}

// What is cut while the bridge may keep silent, one that is on its way, and one in reserve.
static uint32_t live_rows(const struct agent_settings *s)
{
    return (uint32_t)least(pace_ack_by(s) / pace_interval(s) + 2, s->uplink_window);
}

struct uplink_conf pace_uplink(const struct agent_settings *s, bool hurry)
{
    return (struct uplink_conf){.ack_by_ms = hurry ? PACE_AT_ONCE_MS : pace_ack_by(s),
                                .ack_timeout_min_ms = s->uplink_ack_timeout_min_ms,
                                .ack_timeout_max_ms = s->uplink_ack_timeout_max_ms,
                                .hello_timeout_ms = s->uplink_hello_timeout_ms,
                                .window = (uint32_t)s->uplink_window,
                                .live = live_rows(s)};
}
