// See sampling.h.
#include "agent/sampling.h"

#include "agent/pace.h"
#include <runnel/clock.h>
#include <runnel/log.h>

#include <stdlib.h>

struct sampling {
    const struct config *config;
    struct sampling_hooks hooks;
    struct storage *storage;
    struct sampler *sampler;
    struct rn_timer *tick, *journal;
};

struct sampler *sampling_sampler(const struct sampling *x)
{
    return x->sampler;
}

static int on_batch(void *arg, const struct sampler_batch *batch)
{
    struct sampling *x = arg;
    return x->hooks.batch(x->hooks.arg, batch);
}

static void on_trouble(void *arg, const char *collector, const char *text)
{
    (void)arg;
    if (text)
        rn_log(RN_LOG_WARN, "collector_failed", "collector=%s err=%s", collector, RN_Q(text));
    else
        rn_log(RN_LOG_INFO, "collector_recovered", "collector=%s", collector);
}

static void on_tick(void *arg)
{
    struct sampling *x = arg;
    int64_t wait = sampler_run(x->sampler, rn_clock_utc_ms(), rn_clock_boot_ms());
    rn_timer_start(x->tick, wait, 0);
}

static void on_journal(void *arg)
{
    struct sampling *x = arg;
    storage_journal(x->storage, x->sampler);
}

void sampling_start(struct sampling *x)
{
    const struct agent_settings *s = &x->config->settings;
    rn_timer_start(x->tick, 1, 0);
    // A batch that is cut at least as often needs no journal.
    if (s->journal_interval_ms < pace_interval(s))
        rn_timer_start(x->journal, s->journal_interval_ms, s->journal_interval_ms);
    else
        rn_timer_stop(x->journal);
}

void sampling_stop(struct sampling *x)
{
    rn_timer_stop(x->tick);
    rn_timer_stop(x->journal);
}

int sampling_reconf(struct sampling *x, const struct config *config, struct rn_err *err)
{
    int rc = sampler_reconfigure(x->sampler, config, err);
    if (rc >= 0)
        x->config = config;
    return rc;
}

int sampling_new(struct sampling **out, struct rn_loop *loop, const struct config *config,
                 struct storage *storage, const struct sampling_hooks *hooks, struct rn_err *err)
{
    struct sampling *x = calloc(1, sizeof *x);
    if (!x)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    x->config = config;
    x->storage = storage;
    x->hooks = *hooks;
    const struct sampler_hooks own = {.arg = x, .batch = on_batch, .trouble = on_trouble};
    int rc = sampler_new(&x->sampler, config, &own, err);
    if (rc >= 0)
        rc = rn_timer_new(&x->tick, loop, on_tick, x, err);
    if (rc >= 0)
        rc = rn_timer_new(&x->journal, loop, on_journal, x, err);
    if (rc < 0) {
        sampling_free(x);
        return rc;
    }
    *out = x;
    return RN_OK;
}

void sampling_free(struct sampling *x)
{
    if (!x)
        return;
    rn_timer_free(x->tick);
    rn_timer_free(x->journal);
    sampler_free(x->sampler);
    free(x);
}
