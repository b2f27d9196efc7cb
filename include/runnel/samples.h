// Samples: the only thing that a collector writes to. A collector reports points: one measurement,
// one tag set, some field values, all at the time of the tick that is being taken. Where they go
// (the agent's window, a text printer, a test) is the receiver's business.
#ifndef RUNNEL_SAMPLES_H
#define RUNNEL_SAMPLES_H

#include <runnel/err.h>
#include <runnel/schema.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RN_POINT_MAX_FIELDS 64

// Changes that are worth a batch of their own: they are rare, and somebody waits for them.
enum rn_news {
    RN_NEWS_NONE = 0,
    RN_NEWS_VALUE,  // its value changed, or a series with it came
    RN_NEWS_SERIES, // a series with it came: its tags say what happened
};

// A field as a collector declares it, in a static const table: it is also the vocabulary. There are
// many, so the small members share a word.
struct rn_field_desc {
    const char *name;
    enum rn_type type : 8;
    enum rn_kind kind : 8;
    uint8_t decimals;
    enum rn_news news : 8;
    uint32_t mul;     // 0 counts as 1
    const char *unit; // or NULL
    const char *help; // one sentence, for docs and the vocabulary
};

// What a collector knows of its fields beforehand: at any tick, the scaled integer of `field` is
// about floor(num / den), see struct rn_rule in runnel/schema.h. A static const table; the window
// makes rules of it for the series that are there, and leaves out what lacks a field.
enum rn_term_of {
    RN_OF_SERIES = 0, // the same series
    RN_OF_OTHERS = 1, // the sum over all other series of the measurement
    RN_OF_ONLY = 2,   // `measurement`'s only series; no rule if it has another number of them
};

struct rn_term_desc {
    const char *field; // NULL ends a list
    int32_t coefficient;
    enum rn_term_of of;
    const char *measurement; // RN_OF_ONLY
};
// A list of them, for the tables.
#define RN_TERMS(...)                                                                              \
    (const struct rn_term_desc[])                                                                  \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            .field = NULL                                                                          \
        }                                                                                          \
    }

struct rn_rule_desc {
    const char *measurement, *field;
    const char *tag_value; // only for series with a tag of this value; NULL: all
    int64_t constant;      // of num
    int64_t time;          // of num, per second; no rule in a schema whose unit is not the second
    const struct rn_term_desc *num; // each field once; NULL: none
    int64_t per;                    // constant of den; 0 counts as 1 if den has no terms
    bool per_others;                // den is the number of other series instead
    const struct rn_term_desc *den; // NULL: none
};

#define RN_RULE_COUNT(rules) (sizeof(rules) / sizeof(rules)[0])

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
