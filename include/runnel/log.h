// Structured log of a daemon: logfmt lines on standard error, with a stable event name.
//
//   ts=... level=warn event=broker_unreachable address=127.0.0.1:1883 err="..." repeated=12
//
// The library never logs; a daemon logs once, where it decides. Under systemd (JOURNAL_STREAM set)
// the line begins with <priority> instead of ts and level. Thread-safe without a lock: a line is
// one write(2). Values are quoted and escaped where they need it, so no input can forge a line.
#ifndef RUNNEL_LOG_H
#define RUNNEL_LOG_H

#include <runnel/err.h>
#include <stdint.h>

enum rn_log_level { RN_LOG_ERROR, RN_LOG_WARN, RN_LOG_INFO, RN_LOG_DEBUG };

void rn_log_level_set(enum rn_log_level level); // default info
// keys and values: a printf format of `key=value` pairs; every %s value is passed through
// rn_log_quote by the caller if it comes from outside:
//   rn_log(RN_LOG_WARN, "config_rejected", "path=%s err=%s", RN_Q(path), RN_Q(err.text));
void rn_log(enum rn_log_level level, const char *event, const char *format, ...) RN_PRINTF(3, 4);

// Quoted and escaped copy in one of 8 rotating per-thread buffers of 512 bytes (truncated with …).
const char *rn_log_quote(const char *text);
const char *rn_log_quote_n(const void *bytes, unsigned long len);
#define RN_Q(text) rn_log_quote(text)

// Collapses repeats of one complaint: logs the first, then at most one every interval with
// repeated=N, and tells the recovery once. Caller's storage, zeroed; one thread.
struct rn_complaint {
    int64_t last_mono_ms;
    uint32_t suppressed;
    int active;
};
void rn_complain(struct rn_complaint *state, int64_t mono_ms, int64_t interval_ms,
                 enum rn_log_level level, const char *event, const char *format, ...)
    RN_PRINTF(6, 7);
// Logs `event` at info if the complaint was active, and clears it.
void rn_recovered(struct rn_complaint *state, const char *event);

#endif
