// See sampler.h.
#include "agent/sampler.h"

#include "agent/news.h"
#include "agent/pace.h"
#include "agent/schedule.h"
#include <runnel/crypto.h>
#include <runnel/wire.h>

#include <stdlib.h>
#include <string.h>

enum {
    TEXT_BYTES = 8192, // text values of one window
    BACKOFF_MAX_MS = 300000,
};

struct source {
    const struct rn_collector *what;
    const void *conf;
    void *state;
    uint32_t every;
    bool enabled, open, failing;
    bool known; // it has reported before
    uint32_t failures;
    int64_t retry_ms; // boot time
};

struct sampler {
    const struct config *config;
    struct sampler_hooks hooks;
    struct schedule schedule;
    struct source *sources;
    size_t nsources;
    struct rn_window *window;
    const struct source *current; // that is reporting
    int64_t unit_ms;              // of the window's times
    struct collect_env env;
    struct rn_buf scratch, object;
    struct news news;
    uint64_t refused_before; // by windows that are gone
    struct sampler_stats stats;
};

// ---- the window ---------------------------------------------------------------------------------

static int make_window(struct sampler *s, struct rn_err *err)
{
    const struct schedule *plan = &s->schedule;
    s->unit_ms = plan->step_ms % 1000 == 0 ? 1000 : 1;
    struct rn_window_conf conf = {
        .unit_ns = (uint64_t)s->unit_ms * 1000000,
        .step = (uint64_t)(plan->step_ms / s->unit_ms),
        .max_columns = RN_SCHEMA_MAX_COLUMNS,
        .max_ticks = (uint32_t)(plan->batch_ms / plan->step_ms),
        .max_text = TEXT_BYTES,
    };
    if (conf.max_ticks > RN_BATCH_MAX_CELLS)
        conf.max_ticks = RN_BATCH_MAX_CELLS;
    struct rn_window *window;
    int rc = rn_window_new(&window, &conf, err);
    if (rc < 0)
        return rc;
    if (s->window)
        s->refused_before += rn_window_refused(s->window) + rn_window_samples(s->window);
    rn_window_free(s->window);
    s->window = window;
    for (size_t i = 0; i < collect_table_count && rc == RN_OK; i++)
        if (collect_table[i]->nrules)
            rc = rn_window_add_rules(window, collect_table[i]->rules, collect_table[i]->nrules);
    return rc;
}

static int describe(struct sampler *s, struct sampler_batch *out, struct rn_err *err)
{
    bool changed;
    int rc = rn_window_cut(s->window, &out->schema, &out->grid, &changed, err);
    if (rc == RN_ENOMEM)
        rn_buf_clear(&s->object); // the schema may have changed all the same
    if (rc < 0)
        return rc;
    if (changed || s->object.len == 0) {
        rn_buf_clear(&s->object);
        rc = rn_schema_encode(out->schema, &s->object, err);
        if (rc < 0) {
            rn_buf_clear(&s->object);
            return rc;
        }
    }
    out->object = rn_buf_span(&s->object);
    rn_sha256(out->hash, s->object.data, s->object.len);
    out->samples = rn_grid_samples(out->grid);
    out->t_first_ms = out->grid->times[0] * s->unit_ms;
    out->t_last_ms = out->grid->times[out->grid->n - 1] * s->unit_ms;
    return RN_OK;
}

int sampler_peek(struct sampler *sampler, struct sampler_batch *out, struct rn_err *err)
{
    return describe(sampler, out, err);
}

void sampler_cut(struct sampler *s)
{
    struct sampler_batch batch;
    struct rn_err err;
    int rc = describe(s, &batch, &err);
    if (rc >= 0)
        rc = s->hooks.batch(s->hooks.arg, &batch);
    else if (rc != RN_ENOENT)
        s->hooks.trouble(s->hooks.arg, "window", err.text);
    if (rc == RN_ENOMEM)
        return; // it goes on, and is cut later
    if (rc < 0)
        s->refused_before += rn_window_samples(s->window);
    rn_window_clear(s->window);
    s->news.changed = false; // it is in this batch
}

// ---- collectors ---------------------------------------------------------------------------------

static void add_point(void *arg, const struct rn_point *point)
{
    struct sampler *s = arg;
    rn_window_add(s->window, point, s->current->every);
    news_see(&s->news, point, s->current->known);
}

static void failed(struct sampler *s, struct source *src, const char *text, int64_t boot_ms)
{
    int64_t wait = s->schedule.step_ms << (src->failures < 20 ? src->failures : 20);
    src->retry_ms = boot_ms + (wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS);
    src->failures++;
    s->stats.collect_errors++;
    if (!src->failing)
        s->hooks.trouble(s->hooks.arg, src->what->name, text);
    src->failing = true;
}

static void worked(struct sampler *s, struct source *src)
{
    if (src->failing)
        s->hooks.trouble(s->hooks.arg, src->what->name, NULL);
    src->failing = false;
    src->failures = 0;
    src->known = true;
}

static void close_source(struct source *src)
{
    if (src->open && src->what->close)
        src->what->close(src->state);
    src->open = false;
}

static int open_source(struct sampler *s, struct source *src, struct rn_err *err)
{
    memset(src->state, 0, src->what->state_size);
    int rc = src->what->open ? src->what->open(src->state, src->conf, &s->env, err) : RN_OK;
    src->open = true;
    if (rc < 0)
        close_source(src);
    return rc;
}

static void run_source(struct sampler *s, struct source *src, int64_t boot_ms)
{
    const struct rn_samples out = {.add = add_point, .arg = s};
    struct rn_err err = {.text = ""};
    if (src->failures > 0 && boot_ms < src->retry_ms)
        return;
    int rc = src->open ? RN_OK : open_source(s, src, &err);
    s->current = src;
    if (rc >= 0)
        rc = src->what->sample(src->state, src->conf, &s->env, boot_ms, &out, &err);
    if (rc < 0)
        failed(s, src, err.text, boot_ms);
    else
        worked(s, src);
}

// ---- ticks --------------------------------------------------------------------------------------

static void take(struct sampler *s, int64_t tick_ms, int64_t boot_ms)
{
    struct rn_err err;
    int64_t t = tick_ms / s->unit_ms;
    if (rn_window_tick(s->window, t, &err) < 0) {
        sampler_cut(s);
        s->refused_before += rn_window_samples(s->window); // of one that could not be cut in time
        rn_window_clear(s->window);
        if (rn_window_tick(s->window, t, &err) < 0) {
            s->hooks.trouble(s->hooks.arg, "window", err.text);
            return;
        }
    }
    for (size_t i = 0; i < s->nsources; i++) {
        struct source *src = &s->sources[i];
        if (src->enabled &&
            rn_tick_due((uint64_t)tick_ms, (uint64_t)s->schedule.step_ms, src->every))
            run_source(s, src, boot_ms);
    }
}

static bool cuts_early(struct sampler *s, int64_t boot_ms)
{
    return s->config->settings.batch_flush_on_change &&
           news_cut(&s->news, boot_ms, s->schedule.batch_ms);
}

int64_t sampler_run(struct sampler *s, int64_t utc_ms, int64_t boot_ms)
{
    struct schedule_tick tick = schedule_at(&s->schedule, utc_ms);
    if (tick.due) {
        if (tick.back)
            sampler_cut(s);
        take(s, tick.time_ms, boot_ms);
        if (schedule_cuts(&s->schedule, tick.time_ms) || cuts_early(s, boot_ms))
            sampler_cut(s);
    }
    return tick.wait_ms;
}

void sampler_once(struct sampler *s, int64_t utc_ms, int64_t boot_ms)
{
    take(s, utc_ms - utc_ms % s->schedule.step_ms, boot_ms);
}

uint64_t sampler_open_samples(const struct sampler *s)
{
    return rn_window_samples(s->window);
}

void sampler_get_stats(const struct sampler *s, struct sampler_stats *out)
{
    *out = s->stats;
    out->ticks = s->schedule.taken;
    out->missed = s->schedule.missed;
    out->early = s->news.cuts;
    out->held = s->news.held;
    out->refused = s->refused_before + rn_window_refused(s->window);
}

// ---- configuration ------------------------------------------------------------------------------

static uint64_t spread_of(const char *device)
{
    struct rn_span name = rn_span_text(device);
    uint8_t hash[RN_SHA256_BYTES];
    rn_sha256(hash, name.data, name.len);
    return (uint64_t)hash[0] << 24 | (uint64_t)hash[1] << 16 | (uint64_t)hash[2] << 8 | hash[3];
}

static void plan(struct sampler *s)
{
    const struct agent_settings *set = &s->config->settings;
    struct schedule old = s->schedule;
    schedule_init(&s->schedule, set->step_ms, pace_interval(set), spread_of(set->device));
    s->schedule.taken = old.taken;
    s->schedule.missed = old.missed;
    s->env.procfs = set->procfs;
    s->env.sysfs = set->sysfs;
    s->env.rootfs = set->rootfs;
}

static int set_source(struct sampler *s, size_t i, struct rn_err *err)
{
    const struct config_collector *c = &s->config->collectors[i];
    struct source *src = &s->sources[i];
    src->what = c->what;
    src->conf = c->conf;
    src->every =
        schedule_every(s->schedule.step_ms, c->period_ms ? c->period_ms : s->schedule.step_ms);
    src->enabled = c->enabled;
    if (!src->enabled)
        close_source(src);
    if (!src->state)
        src->state = calloc(1, c->what->state_size ? c->what->state_size : 1);
    return src->state ? RN_OK : rn_fail(err, RN_ENOMEM, "out of memory");
}

int sampler_reconfigure(struct sampler *s, const struct config *config, struct rn_err *err)
{
    if (s->window)
        sampler_cut(s);
    s->config = config;
    plan(s);
    int rc = RN_OK;
    for (size_t i = 0; rc >= 0 && i < s->nsources; i++)
        rc = set_source(s, i, err);
    return rc < 0 ? rc : make_window(s, err);
}

int sampler_new(struct sampler **out, const struct config *config,
                const struct sampler_hooks *hooks, struct rn_err *err)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    s->hooks = *hooks;
    s->nsources = config->ncollectors;
    s->sources = calloc(s->nsources + 1, sizeof *s->sources);
    rn_buf_init(&s->scratch, COLLECT_SCRATCH_MAX);
    rn_buf_init(&s->object, RN_SCHEMA_MAX_BYTES);
    collect_env_init(&s->env, &s->scratch);
    s->env.left_out = &s->stats.left_out;
    int rc =
        s->sources ? sampler_reconfigure(s, config, err) : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc < 0) {
        sampler_free(s);
        return rc;
    }
    *out = s;
    return RN_OK;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->sources && i < s->nsources; i++) {
        close_source(&s->sources[i]);
        free(s->sources[i].state);
    }
    free(s->sources);
    rn_window_free(s->window);
    rn_buf_release(&s->scratch);
    rn_buf_release(&s->object);
    free(s);
}
