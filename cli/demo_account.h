// The demo's bookkeeping: what became of every sample, from the devices' own ledgers (in their last
// status) and from what the bridge's log holds.
//
// A device says: produced = delivered + pending + evicted + thinned + refused + lost. The bridge
// says how many samples of the device are stored. A sample that is stored but whose acknowledgement
// has not reached the device yet is in both `pending` and `stored`; it counts as stored here. So
//   produced = stored + pending + dropped        holds exactly, with
//   lost = samples that the device was told are delivered and the log does not have
//          + what the device lost itself + whatever its ledger leaves unexplained.
#ifndef CLI_DEMO_ACCOUNT_H
#define CLI_DEMO_ACCOUNT_H

#include <runnel/json.h>
#include <stdint.h>

struct demo_account {
    int64_t devices, online;
    int64_t produced, stored, pending; // pending: not in the log
    int64_t evicted, thinned, refused;
    int64_t lost;
    int64_t wire_bytes; // payloads of batches and schemas that the bridge took
};

// devices: the answer of /api/v1/devices; summary: of /api/v1/summary. Either may be NULL.
void demo_account_read(struct demo_account *account, const struct rn_json *devices,
                       const struct rn_json *summary);
double demo_account_bytes_per_sample(const struct demo_account *account); // 0 without samples

#endif
