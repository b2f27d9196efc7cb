// See demo_account.h.
#include "cli/demo_account.h"

#include <string.h>

static int64_t number(const struct rn_json *object, const char *key)
{
    return rn_json_int(rn_json_get(object, key), 0);
}

static int64_t positive(int64_t value)
{
    return value > 0 ? value : 0;
}

static void add_device(struct demo_account *account, const struct rn_json *device)
{
    const struct rn_json *ledger = rn_json_get(device, "ledger");
    int64_t stored = number(device, "stored");
    int64_t produced = number(ledger, "produced"), delivered = number(ledger, "delivered");
    int64_t pending = number(ledger, "pending"), evicted = number(ledger, "evicted");
    int64_t thinned = number(ledger, "thinned"), refused = number(ledger, "refused");
    int64_t settled = delivered + evicted + thinned + refused + number(ledger, "lost");

    account->devices++;
    if (strcmp(rn_json_text_or(rn_json_get(device, "state"), ""), "online") == 0)
        account->online++;
    account->stored += stored;
    account->evicted += evicted;
    account->thinned += thinned;
    account->refused += refused;
    // The log may be ahead of the device's last status: then the device has produced more since.
    int64_t ahead = positive(stored - delivered - pending);
    account->produced += produced + ahead;
    account->pending += positive(pending - positive(stored - delivered));
    account->lost += positive(delivered - stored) + number(ledger, "lost");
    int64_t unexplained = produced - settled - pending;
    account->lost += unexplained < 0 ? -unexplained : unexplained;
}

void demo_account_read(struct demo_account *account, const struct rn_json *devices,
                       const struct rn_json *summary)
{
    *account = (struct demo_account){0};
    const struct rn_json *list = rn_json_get(devices, "devices");
    for (size_t i = 0; i < rn_json_len(list); i++)
        add_device(account, rn_json_at(list, i));
    account->wire_bytes = number(summary, "payload_bytes") + number(summary, "schema_bytes");
}

double demo_account_bytes_per_sample(const struct demo_account *account)
{
    return account->stored ? (double)account->wire_bytes / (double)account->stored : 0.0;
}
