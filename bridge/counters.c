// See counters.h.
#include "bridge/counters.h"

const struct counter_row counter_rows[] = {
#define X(field, name, help) {name, help, offsetof(struct counters, field)},
    COUNTERS(X)
#undef X
};
const size_t counter_count = sizeof counter_rows / sizeof counter_rows[0];
