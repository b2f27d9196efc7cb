// See ledger.h.
#include "agent/ledger.h"

void ledger_produce(struct rn_ledger *ledger, uint64_t samples)
{
    ledger->produced += samples;
    ledger->pending += samples;
}

static uint64_t *account(struct rn_ledger *ledger, enum ledger_fate fate)
{
    switch (fate) {
    case LEDGER_DELIVERED:
        return &ledger->delivered;
    case LEDGER_EVICTED:
        return &ledger->evicted;
    case LEDGER_THINNED:
        return &ledger->thinned;
    case LEDGER_REFUSED:
        return &ledger->refused;
    case LEDGER_LOST:
    case LEDGER_FATES:
        break;
    }
    return &ledger->lost;
}

uint64_t ledger_settle(struct rn_ledger *ledger, enum ledger_fate fate, uint64_t samples)
{
    uint64_t moved = samples < ledger->pending ? samples : ledger->pending;
    ledger->pending -= moved;
    *account(ledger, fate) += moved;
    return moved;
}

uint64_t ledger_found(struct rn_ledger *ledger, enum ledger_fate fate, uint64_t samples)
{
    uint64_t moved = samples < ledger->evicted ? samples : ledger->evicted;
    ledger->evicted -= moved;
    *account(ledger, fate) += moved;
    return moved;
}

bool ledger_balanced(const struct rn_ledger *ledger)
{
    return ledger->produced == ledger->delivered + ledger->pending + ledger->evicted +
                                   ledger->thinned + ledger->refused + ledger->lost;
}
