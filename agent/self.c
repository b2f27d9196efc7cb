// See self.h.
#include "agent/self.h"

void self_read(const struct self_parts *parts, struct self_stats *out)
{
    struct rn_mqtt_stats net;
    struct sampler_stats sampled;
    rn_mqtt_get_stats(parts->mqtt, &net);
    sampler_get_stats(parts->sampler, &sampled);
    *out = (struct self_stats){.bytes_sent = net.bytes_out,
                               .messages_sent = net.messages_out,
                               .connects = net.connects,
                               .connect_failures = net.failures,
                               .resent = parts->uplink->resent,
                               .timeouts = parts->uplink->timeouts,
                               .ticks_missed = sampled.missed,
                               .values_refused = sampled.refused + sampled.left_out,
                               .collect_errors = sampled.collect_errors,
                               .batches_early = sampled.early,
                               .changes_held = sampled.held};
    if (!parts->store)
        return;
    const struct store_state *s = store_state(parts->store);
    out->rows = s->rows;
    out->bytes_written = s->bytes_written;
    out->produced = s->ledger.produced;
    out->pending = s->ledger.pending;
    out->delivered = s->ledger.delivered;
    out->evicted = s->ledger.evicted;
    out->thinned = s->ledger.thinned;
    out->refused = s->ledger.refused;
    out->lost = s->ledger.lost;
}
