// `verify`, the built-in cursor: every batch of the log is decoded, counted, remembered and shown.
//
// It is a sink to the cursor runner, with hooks for its tables in cursor/verify.db: totals, totals
// per device, refusals. A batch that does not decode goes to dead.db with its bytes and is reported
// to the intake before the cursor moves on. What is durable by the log has passed here.
#ifndef BRIDGE_VERIFY_H
#define BRIDGE_VERIFY_H

#include "bridge/cursor.h"
#include "bridge/tail.h"

#define VERIFY_DEVICES_MAX 65536

struct verify_conf {
    struct deadletters_conf dead;
    uint32_t max_last_values;  // series, over all devices
    struct rn_queue *refusals; // of struct cursor_refusal, each malloc'd: drained by the intake
    struct tails *tails;
};

struct verify;
RN_MUST_CHECK int verify_new(struct verify **out, const struct verify_conf *conf,
                             struct rn_err *err);
void verify_free(struct verify *verify); // after its cursor is gone
const struct rn_sink *verify_sink(void); // its sink_conf is the struct verify
const struct cursor_hooks *verify_hooks(const struct verify *verify);
void verify_totals(struct verify *verify, struct cursors_totals *out); // any thread
RN_MUST_CHECK int verify_ask(struct verify *verify, const char *dev, struct rn_queue *reply,
                             void *token, struct rn_err *err); // any thread

#endif
