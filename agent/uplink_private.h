// Inside the uplink's core only: what uplink.c and uplink_keys.c share. uplink_keys.c decides which
// key message goes when: the binding, and where needed the object, of all that a row names.
#ifndef AGENT_UPLINK_PRIVATE_H
#define AGENT_UPLINK_PRIVATE_H

#include "agent/uplink.h"

static inline uint32_t tag_of(uint64_t install)
{
    return (uint32_t)install;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Appends an action; there is room for all that one event can cause.
struct uplink_action *uplink_act(struct uplink_actions *a, enum uplink_action_type type);

// Binds everything that the row names and that is not bound yet.
void uplink_keys_send(struct uplink *x, const struct uplink_flight *f, int64_t now,
                      struct uplink_actions *a);
// The bridge has all that this row names.
void uplink_keys_heard(struct uplink *x, const struct uplink_flight *f);
// The bridge dropped rows because it lacks an object that they name: tell it, then send them again.
void uplink_keys_need(struct uplink *x, const struct uplink_event *e, int64_t now,
                      struct uplink_actions *a);

#endif
