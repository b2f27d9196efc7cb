// Tells devices what became of their batches: follows the cursors that acknowledgement waits for,
// composes what is due and hands it to the transport. The shell of acker.h; the intake's thread.
//
// A batch is durable when the cursor that decides about its type has taken it and the log's own has
// decoded it. Nothing is said before every cursor has told where it stands: until then it is not
// known which of the batches in the log are durable.
#ifndef BRIDGE_ANSWERS_H
#define BRIDGE_ANSWERS_H

#include "bridge/counters.h"
#include "bridge/fleet.h"
#include "bridge/log.h"

#define ANSWERS_CURSORS 2 // the log's own (verify), and the sink that acknowledgement waits for

struct answers_conf {
    const char *prefix;   // of topics
    int64_t delay_ms;     // words wait at least so long for company
    int64_t patience_ms;  // a cursor that has not told its position by then counts as at 0
    uint32_t cursors;     // 1 or 2
    uint8_t cursor_of[4]; // of the types m, l, e, i: which of them decides
    // Hands a QoS 0 message to the transport; negative: not now.
    int (*publish)(void *arg, const char *topic, struct rn_span payload);
    void *publish_arg;
};

struct answers;
RN_MUST_CHECK int answers_new(struct answers **out, const struct answers_conf *conf,
                              struct log *log, struct fleet *fleet, struct counters *counters,
                              int64_t now_ms, struct rn_err *err);
void answers_free(struct answers *answers);

// What is to be said to this device goes out within its ack_by, or soon, or at once.
void answers_schedule(struct answers *answers, struct fleet_device *dev, bool urgent,
                      int64_t now_ms);
void answers_now(struct answers *answers, struct fleet_device *dev, int64_t now_ms);
// Cursor `which` has committed everything up to position.
void answers_moved(struct answers *answers, uint32_t which, uint64_t position);
// A stored batch turned out not to decode.
void answers_refused(struct answers *answers, const char *dev, uint64_t install, uint64_t seq,
                     uint8_t reason, int64_t now_ms);
// Works on: some rows of the log, everything that is due. Returns when to be called again: 0 at
// once, else milliseconds; negative: when something has happened.
int64_t answers_step(struct answers *answers, int64_t now_ms, int64_t utc_ms);
// Says all that waits to be said: the bridge ends.
void answers_end(struct answers *answers, int64_t now_ms, int64_t utc_ms);

#endif
