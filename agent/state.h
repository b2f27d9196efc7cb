// What the agent remembers beside its data (state.db): the block of epochs it may use, and named
// values of other parts (remote configurations, learned things). Quarantining the buffer never
// touches it. One thread.
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct state;

// A damaged file is renamed to state.db.damaged and begun anew (*renewed): the bridge's hello lifts
// the epoch.
RN_MUST_CHECK int state_open(struct state **out, const char *folder, bool *renewed,
                             struct rn_err *err);
// The same, and the log is told if it cannot be opened (NULL then: no disk) or was damaged.
struct state *state_open_or_go_on(const char *folder);
// For looking only, while an agent may be running. RN_ENOENT: there is none yet.
RN_MUST_CHECK int state_open_read(struct state **out, const char *folder, struct rn_err *err);
void state_close(struct state *state);
RN_MUST_CHECK int state_put(struct state *state, const char *name, struct rn_span value,
                            struct rn_err *err);
// Several values in one transaction; a span with data NULL deletes its name.
struct state_value {
    const char *name;
    struct rn_span value;
};
RN_MUST_CHECK int state_put_all(struct state *state, const struct state_value *values, size_t count,
                                struct rn_err *err);
// Appends the value to out; RN_ENOENT.
RN_MUST_CHECK int state_get(struct state *state, const char *name, struct rn_buf *out,
                            struct rn_err *err);

// Epochs: one per connection attempt, ascending for ever. They are reserved in blocks, so that most
// cost no write. state may be NULL (no disk): then they follow the wall clock.
struct epochs {
    uint64_t last, reserved;
    bool recalled;                  // what is reserved could be read
    int64_t reconnect_ms, pause_ms; // not before; and how long the next pause is
};
void epochs_init(struct epochs *epochs, struct state *state, int64_t utc_ms);
uint64_t epochs_next(struct epochs *epochs, struct state *state);
// The bridge has seen this one: the next is above it. False: it is above EPOCH_LIFT_MAX, where no
// counting leads, and is not believed: the numbers would soon be used up for ever.
#define EPOCH_LIFT_MAX (1ULL << 62)
RN_MUST_CHECK bool epochs_lift(struct epochs *epochs, uint64_t seen);
// May a connection be given up for a higher epoch now? After each yes there is a pause, from a
// minute doubling to an hour: a bridge that always knows a higher one must not use up the traffic.
bool epochs_reconnect(struct epochs *epochs, int64_t mono_ms);

#endif
