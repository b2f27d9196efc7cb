// See pace.h.
#include "agent/pace.h"

// Three batch intervals below two minutes, else one: the bridge reckons with the same.
int64_t pace_ack_by(const struct agent_settings *s)
{
    if (s->uplink_ack_by_ms > 0)
        return s->uplink_ack_by_ms;
    return s->batch_interval_ms < 120000 ? 3 * s->batch_interval_ms : s->batch_interval_ms;
}

struct uplink_conf pace_uplink(const struct agent_settings *s)
{
    return (struct uplink_conf){.ack_by_ms = pace_ack_by(s),
                                .ack_timeout_min_ms = s->uplink_ack_timeout_min_ms,
                                .ack_timeout_max_ms = s->uplink_ack_timeout_max_ms,
                                .hello_timeout_ms = s->uplink_hello_timeout_ms,
                                .window = (uint32_t)s->uplink_window};
}
