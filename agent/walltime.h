// Is the wall clock to be believed? A device without a battery begins at 1970 or at its build date.
#ifndef AGENT_WALLTIME_H
#define AGENT_WALLTIME_H

#include <stdbool.h>
#include <stdint.h>

// 2025: a clock before that was never set
static inline bool walltime_trusted(int64_t utc_ms)
{
    return utc_ms > INT64_C(1735689600000);
}

#endif
