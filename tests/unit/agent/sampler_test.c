// The sampler: ticks, periods, cuts, failing collectors, new configurations.
#include "agent/sampler.h"
#include "agent/simulate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int failures_left, opened, closed;

static const struct rn_field_desc value_field = {.name = "value", .type = RN_INT, .help = "It."};

static int moody_open(void *state, const void *conf, const struct collect_env *env,
                      struct rn_err *err)
{
    (void)state;
    (void)conf;
    (void)env;
    (void)err;
    opened++;
    return RN_OK;
}

static const struct rn_field_desc link_field = {
    .name = "link", .type = RN_INT, .kind = RN_STATE, .news = RN_NEWS_VALUE};
static bool with_link;
static int64_t link_speed;

static int moody_sample(void *state, const void *conf, const struct collect_env *env,
                        int64_t boot_ms, const struct rn_samples *out, struct rn_err *err)
{
    (void)state;
    (void)conf;
    (void)env;
    if (failures_left > 0) {
        failures_left--;
        return rn_fail(err, RN_EIO, "in a bad mood");
    }
    const struct rn_point_value values[] = {{.field = &value_field, .scaled = boot_ms},
                                            {.field = &link_field, .scaled = link_speed}};
    const struct rn_point point = {
        .measurement = "moody", .values = values, .nvalues = with_link ? 2 : 1};
    rn_samples_add(out, &point);
    return RN_OK;
}

static void moody_close(void *state)
{
    (void)state;
    closed++;
}

static const struct rn_collector moody = {.name = "moody",
                                          .help = "fails when told to",
                                          .fields = &value_field,
                                          .nfields = 1,
                                          .tags = "",
                                          .open = moody_open,
                                          .sample = moody_sample,
                                          .close = moody_close};
static const struct rn_collector *const table[] = {&simulate_collector, &moody};

struct seen {
    int batches, troubles, recoveries;
    uint32_t ticks;
    uint64_t samples;
    int64_t t_first_ms, t_last_ms, step_ms;
};

static int on_batch(void *arg, const struct sampler_batch *b)
{
    struct seen *seen = arg;
    seen->batches++;
    seen->ticks = b->grid->n;
    seen->samples += b->samples;
    seen->t_first_ms = b->t_first_ms;
    seen->t_last_ms = b->t_last_ms;
    seen->step_ms = (int64_t)(b->schema->step * b->schema->unit_ns / 1000000);
    return RN_OK;
}

static void on_trouble(void *arg, const char *collector, const char *text)
{
    struct seen *seen = arg;
    (void)collector;
    seen->troubles += text != NULL;
    seen->recoveries += text == NULL;
}

static struct config *configure(const char *const *sets, size_t count)
{
    struct config *config = NULL;
    struct rn_err err = {.text = ""};
    if (config_new(&config, table, 2, false, &err) < 0 ||
        config_load(config, "/dev/null", sets, count, &err) < 0 || config_finish(config, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

static struct sampler *start(struct config *config, struct seen *seen)
{
    const struct sampler_hooks hooks = {.arg = seen, .batch = on_batch, .trouble = on_trouble};
    struct sampler *s = NULL;
    struct rn_err err = {.text = ""};
    failures_left = opened = closed = 0;
    if (sampler_new(&s, config, &hooks, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void run(struct sampler *s, int64_t from_ms, int64_t to_ms, int64_t step_ms)
{
    for (int64_t t = from_ms; t < to_ms; t += step_ms)
        sampler_run(s, t + 3, t);
}

static const char *const fast[] = {"device=d", "step=1s", "batch.interval=5s"};

static void batches_hold_the_ticks_of_their_interval_at_their_own_times(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct config *config = configure(fast, 3);
    struct sampler *s = start(config, &seen);
    run(s, 1000000, 1020000, 1000);
    assert_in_range(seen.batches, 3, 4);
    assert_int_equal(seen.ticks, 5);
    assert_int_equal(seen.t_first_ms % 1000, 0);
    assert_int_equal(seen.t_last_ms - seen.t_first_ms, 4000);
    sampler_free(s);
    config_free(config);
    assert_int_equal(opened, closed);
}

static void a_change_that_matters_is_sent_at_its_tick_and_once_an_interval(void **state)
{
    static const char *const sets[] = {"device=d", "step=1s", "batch.interval=60s",
                                       "batch.flush_on_change=false"};
    (void)state;
    for (size_t count = 3; count <= 4; count++) {
        struct seen seen = {0};
        struct sampler_stats stats;
        struct config *config = configure(sets, count);
        with_link = true;
        link_speed = 1000;
        struct sampler *s = start(config, &seen);
        run(s, 1200000, 1205000, 1000);
        int before = seen.batches;
        link_speed = -1; // the link goes down
        run(s, 1205000, 1206000, 1000);
        assert_int_equal(seen.batches - before, count == 3);
        for (int i = 6; i < 60; i++) { // and flaps
            link_speed = -link_speed;
            run(s, 1200000 + i * 1000, 1201000 + i * 1000, 1000);
        }
        assert_in_range(seen.batches - before, count == 3, count == 3 ? 2 : 1);
        sampler_get_stats(s, &stats);
        assert_int_equal(stats.early, count == 3);
        assert_int_equal(stats.held, count == 3 ? 53 : 0); // one came with a regular cut
        sampler_free(s);
        config_free(config);
    }
    with_link = false;
}

static void a_period_of_its_own_leaves_the_other_ticks_out(void **state)
{
    (void)state;
    struct seen every = {0}, fifth = {0};
    static const char *const slow[] = {"device=d", "step=1s", "batch.interval=5s",
                                       "collect.sim.enabled=false", "collect.moody.period=5s"};
    static const char *const plain[] = {"device=d", "step=1s", "batch.interval=5s",
                                        "collect.sim.enabled=false"};
    struct config *a = configure(plain, 4), *b = configure(slow, 5);
    struct sampler *s = start(a, &every);
    run(s, 1000000, 1050000, 1000);
    sampler_cut(s);
    sampler_free(s);
    s = start(b, &fifth);
    run(s, 1000000, 1050000, 1000);
    sampler_cut(s);
    sampler_free(s);
    // The tick that is under way at the start may have been another process's: it is left out.
    assert_in_range(every.samples, 49, 50);
    assert_in_range(fifth.samples, 9, 10);
    config_free(a);
    config_free(b);
}

static void a_failing_collector_backs_off_tells_once_and_hinders_no_other(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct config *config = configure(fast, 3);
    struct sampler *s = start(config, &seen);
    struct sampler_stats stats;
    failures_left = 3;
    run(s, 1000000, 1060000, 1000);
    sampler_get_stats(s, &stats);
    assert_int_equal(seen.troubles, 1);
    assert_int_equal(seen.recoveries, 1);
    assert_int_equal(stats.collect_errors, 3);
    assert_int_equal(failures_left, 0);
    assert_true(seen.samples > 55 * 8);
    sampler_free(s);
    config_free(config);
}

static void a_new_step_cuts_what_is_open_and_goes_on(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct rn_err err;
    static const char *const slower[] = {"device=d", "step=2s", "batch.interval=4s"};
    struct config *config = configure(fast, 3), *other = configure(slower, 3);
    struct sampler *s = start(config, &seen);
    run(s, 1000000, 1003000, 1000);
    int before = seen.batches;
    assert_int_equal(sampler_reconfigure(s, other, &err), RN_OK);
    assert_int_equal(seen.batches, before + 1);
    run(s, 1004000, 1030000, 1000);
    assert_int_equal(seen.step_ms, 2000);
    assert_int_equal(seen.ticks, 2);
    sampler_free(s);
    config_free(config);
    config_free(other);
}

static void a_clock_that_steps_back_begins_a_new_batch(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct config *config = configure(fast, 3);
    struct sampler *s = start(config, &seen);
    int64_t t = 1000000;
    do // until the window is open, not just cut
        run(s, t, t + 1000, 1000);
    while (t += 1000, sampler_open_samples(s) == 0);
    int before = seen.batches;
    sampler_run(s, 500003, t);
    assert_int_equal(seen.batches, before + 1);
    sampler_cut(s);
    assert_int_equal(seen.t_first_ms, 500000);
    sampler_free(s);
    config_free(config);
}

static void looking_at_the_open_window_does_not_change_it(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct sampler_batch batch;
    struct rn_err err;
    struct config *config = configure(fast, 3);
    struct sampler *s = start(config, &seen);
    assert_int_equal(sampler_peek(s, &batch, &err), RN_ENOENT);
    sampler_once(s, 1000000, 0);
    assert_int_equal(sampler_peek(s, &batch, &err), RN_OK);
    uint64_t first = batch.samples;
    sampler_once(s, 1001000, 1000);
    assert_int_equal(sampler_peek(s, &batch, &err), RN_OK);
    assert_int_equal(batch.samples, 2 * first);
    assert_int_equal(sampler_open_samples(s), batch.samples);
    sampler_cut(s);
    assert_int_equal(seen.samples, 2 * first);
    assert_int_equal(sampler_open_samples(s), 0);
    sampler_free(s);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_hold_the_ticks_of_their_interval_at_their_own_times),
        cmocka_unit_test(a_change_that_matters_is_sent_at_its_tick_and_once_an_interval),
        cmocka_unit_test(a_period_of_its_own_leaves_the_other_ticks_out),
        cmocka_unit_test(a_failing_collector_backs_off_tells_once_and_hinders_no_other),
        cmocka_unit_test(a_new_step_cuts_what_is_open_and_goes_on),
        cmocka_unit_test(a_clock_that_steps_back_begins_a_new_batch),
        cmocka_unit_test(looking_at_the_open_window_does_not_change_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
