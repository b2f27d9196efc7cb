// A dead letter's line becomes a run of one point again, so that it goes the same way as any other.
#ifndef BRIDGE_REPLAY_H
#define BRIDGE_REPLAY_H

#include "bridge/deadletters.h"
#include "bridge/sink/sink.h"

struct replay_run {
    struct rn_run run;
    int64_t letter; // id
};
// On the heap; free() frees all of it. Errors: RN_EFORMAT (the line), RN_ELIMIT, RN_ENOMEM.
RN_MUST_CHECK int replay_run_new(struct replay_run **out, const struct dead_letter *letter,
                                 struct rn_err *err);

#endif
