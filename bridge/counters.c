// See counters.h.
#include "bridge/counters.h"

const struct counter_row counter_rows[] = {
#define RN_COUNTER(field, name, help) {name, help, offsetof(struct counters, field)},
#include "bridge/counters.def"
#undef RN_COUNTER
};
const size_t counter_count = sizeof counter_rows / sizeof counter_rows[0];
