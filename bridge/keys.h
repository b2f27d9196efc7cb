// The objects that batches refer to: key messages bring them and bind them to a device's numbers;
// what is lacking is asked for, a schema of one device at a time. Intake's thread.
#ifndef BRIDGE_KEYS_H
#define BRIDGE_KEYS_H

#include "bridge/arrival.h"
#include "bridge/refs.h"
#include <runnel/log.h>

#define KEYS_ASKED 64

struct keys_asked {
    int64_t object;
    const struct fleet_device *dev;
    int64_t until_ms; // then another device may be asked
};

struct keys {                            // zeroed: nobody was asked
    struct keys_asked asked[KEYS_ASKED]; // schemas that somebody was asked for lately
    struct fleet_bucket more;            // asked although somebody was, since they wait for long
    struct rn_complaint schemas;         // about schemas.db
};

// A key message: its binding, and its object if it brings one, into schemas.db.
void keys_take(struct keys *keys, const struct arrival *a);
// Looks up what a batch refers to; false: it cannot be read now (logged).
bool keys_find(struct keys *keys, const struct arrival *a, struct fleet_install *in,
               const struct rn_batch_info *batch, struct refs *refs);
// Asks for what a batch is dropped for. True if anything is lacking.
bool keys_lacking(struct keys *keys, const struct arrival *a, struct fleet_install *in,
                  const struct refs *refs);
// The device has forgotten this install: so do its bindings.
void keys_forget(struct keys *keys, const struct arrival *a, uint64_t install);

#endif
