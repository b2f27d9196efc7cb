// Samples: the only thing that a collector writes to. A collector reports points: one measurement,
// one tag set, some field values, all at the time of the tick that is being taken. Where they go
// (the agent's window, a text printer, a test) is the receiver's business.
#ifndef RUNNEL_SAMPLES_H
#define RUNNEL_SAMPLES_H

#include <runnel/err.h>
#include <runnel/schema.h>
#include <stddef.h>
#include <stdint.h>

#define RN_POINT_MAX_FIELDS 64

// A field as a collector declares it, in a static const table: it is also the vocabulary.
struct rn_field_desc {
    const char *name;
    enum rn_type type;
    enum rn_kind kind;
    uint8_t decimals;
    uint32_t mul;     // 0 counts as 1
    const char *unit; // or NULL
    const char *help; // one sentence, for docs and the vocabulary
};

// One value of one field: scaled integer (all types but text; bool is 0 or 1), or text.
struct rn_point_value {
    const struct rn_field_desc *field;
    int64_t scaled;
    struct rn_span text; // RN_TEXT only
};

struct rn_point {
    const char *measurement;
    const struct rn_tag *tags; // sorted by key
    uint32_t ntags;
    const struct rn_point_value *values;
    uint32_t nvalues;
};

// Everything in a point is borrowed for the call. `add` must not fail for good input; what it
// cannot take (too many series) it counts.
struct rn_samples {
    void (*add)(void *arg, const struct rn_point *point);
    void *arg;
};

static inline void rn_samples_add(const struct rn_samples *out, const struct rn_point *point)
{
    out->add(out->arg, point);
}

#endif
