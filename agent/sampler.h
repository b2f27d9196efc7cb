// Sampler: takes the ticks, runs the collectors, fills the window and cuts batches. What it cuts
// goes to its owner as encoded bodies. No clock of its own: it is told the time.
//
// A collector that fails is tried again with backoff (1, 2, 4 .. ticks, at most 5 minutes); the
// others go on. One thread.
#ifndef AGENT_SAMPLER_H
#define AGENT_SAMPLER_H

#include "agent/config.h"
#include <runnel/err.h>
#include <runnel/schema.h>
#include <runnel/window.h>
#include <stdbool.h>
#include <stdint.h>

struct sampler;

// The window's content so far, encoded.
struct sampler_batch {
    const struct rn_schema *schema;
    struct rn_span object;       // its deterministic encoding
    uint8_t hash[RN_HASH_BYTES]; // of that
    const struct rn_grid *grid;
    uint64_t samples;
    int64_t t_first_ms, t_last_ms;
};

struct sampler_stats {
    uint64_t ticks, missed;  // taken, and not read in time
    uint64_t refused;        // values that the window could not take, or keep until it was cut
    uint64_t left_out;       // values that a collector's maximum kept out
    uint64_t collect_errors; // failed opens and reads
    uint64_t early, held;    // batches cut because of a change; changes that had to wait
};

struct sampler_hooks {
    void *arg;
    // A batch is complete: everything in it is borrowed for the call. RN_ENOMEM: nothing of it was
    // taken, and it comes again with what is added to it. Any other error: it is lost and counted.
    int (*batch)(void *arg, const struct sampler_batch *batch);
    // A collector began to fail (text says why) or works again (text is NULL).
    void (*trouble)(void *arg, const char *collector, const char *text);
};

// config is borrowed until the sampler is freed or given another one.
RN_MUST_CHECK int sampler_new(struct sampler **out, const struct config *config,
                              const struct sampler_hooks *hooks, struct rn_err *err);
void sampler_free(struct sampler *sampler);
// Other step, periods, collectors: cuts what is open, then goes on with the new ones. Collectors
// that stay keep their state.
RN_MUST_CHECK int sampler_reconfigure(struct sampler *sampler, const struct config *config,
                                      struct rn_err *err);
// Takes a tick if one is due at this wall-clock time; returns how long to wait for the next, >= 1.
int64_t sampler_run(struct sampler *sampler, int64_t utc_ms, int64_t boot_ms);
// One tick at utc_ms, whatever the schedule says (collect --once).
void sampler_once(struct sampler *sampler, int64_t utc_ms, int64_t boot_ms);
// Cuts what is open, if anything. Without memory, here or at its owner, it stays open, to be cut
// with the next batch, or with the tick that it has no room for.
void sampler_cut(struct sampler *sampler);
// The open window without cutting it, for the journal. RN_ENOENT: there is nothing in it.
RN_MUST_CHECK int sampler_peek(struct sampler *sampler, struct sampler_batch *out,
                               struct rn_err *err);
uint64_t sampler_open_samples(const struct sampler *sampler);
void sampler_get_stats(const struct sampler *sampler, struct sampler_stats *out);

#endif
