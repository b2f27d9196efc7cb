// Subscribers of live data: a broadcast of decoded batches into one bounded queue each. The
// subscriber's interface is in cursors.h; this is the side of `verify`, which publishes.
// The list is behind a mutex, so that a subscriber's wake-up is never used after it has left.
#ifndef BRIDGE_TAIL_H
#define BRIDGE_TAIL_H

#include "bridge/cursors.h"

#define TAIL_MAX 32 // subscribers

struct tails;
RN_MUST_CHECK int tails_new(struct tails **out, struct rn_err *err);
void tails_free(struct tails *tails); // whoever still subscribes gets nothing more
RN_MUST_CHECK int tails_add(struct tails *tails, const char *types, const char *dev,
                            struct rn_wake *wake, struct tail **out, struct rn_err *err);
void tails_publish(struct tails *tails, const struct rn_run *run);

#endif
