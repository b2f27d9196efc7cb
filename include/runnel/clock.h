// The clocks. Pure cores never call these: they are given the time.
#ifndef RUNNEL_CLOCK_H
#define RUNNEL_CLOCK_H

#include <runnel/err.h>
#include <stdint.h>

int64_t rn_clock_mono_ms(void); // CLOCK_MONOTONIC
int64_t rn_clock_boot_ms(void); // CLOCK_BOOTTIME: counts suspend too
int64_t rn_clock_utc_ms(void);  // CLOCK_REALTIME since 1970
int64_t rn_clock_utc_ns(void);

// The kernel's random boot id as 32 hex digits; "" (and an error) if it cannot be read.
RN_MUST_CHECK int rn_clock_boot_id(char out[33], struct rn_err *err);

// RFC 3339 in UTC with milliseconds: "2026-11-21T10:00:00.000Z". out is returned.
const char *rn_clock_rfc3339(char out[32], int64_t utc_ms);

#endif
