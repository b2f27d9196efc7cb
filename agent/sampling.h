// Sampling: the sampler's shell. Runs it by the loop's clock, journals the open window and tells
// which collectors are in trouble. Owner: the agent; one thread, the loop's.
#ifndef AGENT_SAMPLING_H
#define AGENT_SAMPLING_H

#include "agent/sampler.h"
#include "agent/storage.h"
#include <runnel/loop.h>

struct sampling;

struct sampling_hooks {
    void *arg;
    int (*batch)(void *arg, const struct sampler_batch *batch); // see sampler_hooks
};

// config and storage are borrowed.
RN_MUST_CHECK int sampling_new(struct sampling **out, struct rn_loop *loop,
                               const struct config *config, struct storage *storage,
                               const struct sampling_hooks *hooks, struct rn_err *err);
void sampling_free(struct sampling *sampling); // accepts NULL
void sampling_start(struct sampling *sampling);
void sampling_stop(struct sampling *sampling);
// See sampler_reconfigure. Goes on as it was: started or not.
RN_MUST_CHECK int sampling_reconf(struct sampling *sampling, const struct config *config,
                                  struct rn_err *err);
struct sampler *sampling_sampler(const struct sampling *sampling);

#endif
