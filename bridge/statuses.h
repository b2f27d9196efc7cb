// What agents say of themselves: births, wills and stops move the liveness; a birth announces an
// install, which may send from then on, and is answered with a hello. Intake's thread.
#ifndef BRIDGE_STATUSES_H
#define BRIDGE_STATUSES_H

#include "bridge/arrival.h"
#include "bridge/keys.h"
#include <runnel/log.h>

struct statuses {
    struct keys *keys;
    struct rn_complaint unsaved; // devices in fleet.db
};

void statuses_take(struct statuses *statuses, const struct arrival *a);

#endif
