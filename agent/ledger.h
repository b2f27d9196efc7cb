// Ledger: where every sample went. A sample is in exactly one fate, so produced is always the sum
// of the others; that is what makes "nothing was lost" a statement that can be checked.
//
// Pure. The store keeps one per buffer and commits it in the same transaction as the rows.
#ifndef AGENT_LEDGER_H
#define AGENT_LEDGER_H

#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

enum ledger_fate {
    LEDGER_DELIVERED, // durable at the bridge, deleted here
    LEDGER_EVICTED,   // the buffer was full or the row too old
    LEDGER_THINNED,
    LEDGER_REFUSED, // dead-lettered by the bridge
    LEDGER_LOST,    // damaged storage
    LEDGER_FATES
};

// Samples were committed to the buffer or the journal.
void ledger_produce(struct rn_ledger *ledger, uint64_t samples);
// Pending samples met their fate. At most what is pending is moved; returns how many were.
uint64_t ledger_settle(struct rn_ledger *ledger, enum ledger_fate fate, uint64_t samples);
// Samples counted as evicted had arrived all the same: they move to this fate. At most what is
// evicted is moved; returns how many were.
uint64_t ledger_found(struct rn_ledger *ledger, enum ledger_fate fate, uint64_t samples);
// Is every produced sample in exactly one fate?
bool ledger_balanced(const struct rn_ledger *ledger);

#endif
