// Window: points become columns; the schema stays as long as the series do; a full window says so.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/window.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- counting allocations ----------------------------------------------------------------------

static unsigned long allocations;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif

#ifdef UNDER_SANITIZER
void __sanitizer_malloc_hook(const volatile void *ptr, size_t size); // called by the sanitizer
void __sanitizer_malloc_hook(const volatile void *ptr, size_t size)
{
    (void)ptr;
    (void)size;
    allocations++;
}
#else
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size)
{
    allocations++;
    return __libc_realloc(old, size);
}
#endif

// ---- helpers -----------------------------------------------------------------------------------

static const struct rn_field_desc usage = {"usage",      RN_FLOAT, RN_GAUGE, 2,
                                           RN_NEWS_NONE, 1,        "%",      ""};
static const struct rn_field_desc ticks = {"ticks",      RN_UINT, RN_COUNTER, 0,
                                           RN_NEWS_NONE, 1,       NULL,       ""};
static const struct rn_field_desc used = {"used",       RN_INT, RN_GAUGE, 0,
                                          RN_NEWS_NONE, 1024,   "By",     ""};
static const struct rn_field_desc ticks_int = {"ticks",      RN_INT, RN_COUNTER, 0,
                                               RN_NEWS_NONE, 1,      NULL,       ""};
static const struct rn_field_desc name = {"name", RN_TEXT, RN_STATE, 0, RN_NEWS_NONE, 1, NULL, ""};

static struct rn_window *window_of(uint64_t step, uint32_t max_columns, uint32_t max_ticks)
{
    struct rn_window_conf conf = {.unit_ns = 1000000000,
                                  .step = step,
                                  .max_columns = max_columns,
                                  .max_ticks = max_ticks,
                                  .max_text = 1000};
    struct rn_window *window = NULL;
    assert_int_equal(rn_window_new(&window, &conf, NULL), RN_OK);
    return window;
}

static void tick(struct rn_window *window, int64_t t)
{
    struct rn_err err = {.text = ""};
    if (rn_window_tick(window, t, &err) < 0)
        fail_msg("tick %lld: %s", (long long)t, err.text);
}

// A point with at most one tag.
static void add(struct rn_window *window, const char *measurement, const char *key,
                const char *value, const struct rn_point_value *values, uint32_t n, uint32_t every)
{
    struct rn_tag tag = {rn_span_text(key ? key : ""), rn_span_text(value ? value : "")};
    struct rn_point point = {measurement, &tag, key ? 1 : 0, values, n};
    rn_window_add(window, &point, every);
}

static void add_cpu(struct rn_window *window, const char *cpu, int64_t a, int64_t b)
{
    struct rn_point_value values[] = {{&usage, a, {0}}, {&ticks, b, {0}}};
    add(window, "cpu", "cpu", cpu, values, 2, 1);
}

static void add_one(struct rn_window *window, const char *measurement,
                    const struct rn_field_desc *field, int64_t scaled)
{
    struct rn_point_value value = {field, scaled, {0}};
    add(window, measurement, NULL, NULL, &value, 1, 1);
}

struct cut {
    const struct rn_schema *schema;
    const struct rn_grid *grid;
    bool changed;
};

static struct cut cut(struct rn_window *window)
{
    struct cut c;
    struct rn_err err = {.text = ""};
    if (rn_window_cut(window, &c.schema, &c.grid, &c.changed, &err) < 0)
        fail_msg("cut: %s", err.text);
    assert_int_equal(rn_schema_check(c.schema, NULL), RN_OK);
    assert_int_equal(c.grid->ncolumns, c.schema->ncolumns);
    assert_int_equal(rn_grid_samples(c.grid), rn_window_samples(window));
    return c;
}

// The column of a field in a series named by its only tag value (NULL: no tags); fails if absent.
static uint32_t column_of(const struct rn_schema *schema, const char *measurement,
                          const char *tag_value, const char *field)
{
    struct rn_column_ref ref;
    for (uint32_t i = 0; rn_schema_column(schema, i, &ref); i++)
        if (rn_span_eq_text(ref.group->measurement, measurement) &&
            rn_span_eq_text(ref.field->name, field) &&
            (tag_value
                 ? ref.series->ntags == 1 && rn_span_eq_text(ref.series->tags[0].value, tag_value)
                 : ref.series->ntags == 0))
            return i;
    fail_msg("no column %s %s %s", measurement, tag_value ? tag_value : "", field);
    return 0;
}

static bool value_at(struct cut c, uint32_t column, uint32_t at, struct rn_value *value)
{
    struct rn_column_ref ref;
    assert_true(rn_schema_column(c.schema, column, &ref));
    return rn_grid_value(c.grid, ref.field, column, at, value);
}

// ---- the form of the schema --------------------------------------------------------------------

static void points_become_columns_of_shared_groups(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    for (int64_t t = 0; t < 3; t++) {
        tick(window, 100 + 10 * t);
        add_cpu(window, "cpu0", 100 + t, 7000 + t);
        add_cpu(window, "cpu1", 200 + t, 8000 + t);
        add_one(window, "mem", &used, 5 + t);
    }
    struct cut c = cut(window);
    assert_true(c.changed);
    assert_int_equal(c.schema->ngroups, 2);
    assert_int_equal(c.schema->groups[0].nfields, 2);
    assert_int_equal(c.schema->groups[0].nseries, 2);
    assert_int_equal(c.schema->ncolumns, 5);
    assert_int_equal(c.grid->n, 3);
    assert_int_equal(c.grid->times[2], 120);
    struct rn_value value;
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu1", "usage"), 2, &value));
    assert_true(value.d == 2.02);
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu0", "ticks"), 1, &value));
    assert_int_equal(value.u, 7001);
    assert_true(value_at(c, column_of(c.schema, "mem", NULL, "used"), 2, &value));
    assert_int_equal(value.i, 7 * 1024);
    assert_int_equal(rn_window_refused(window), 0);
    rn_window_free(window);
}

static void the_schema_stays_while_the_series_stay(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    const struct rn_schema *first = NULL;
    for (int64_t round = 0; round < 5; round++) {
        tick(window, 100 + 10 * round);
        add_cpu(window, round % 2 ? "cpu1" : "cpu0", 1, 1); // also in another order
        add_cpu(window, round % 2 ? "cpu0" : "cpu1", 1, 1);
        struct cut c = cut(window);
        assert_int_equal(c.changed, round == 0);
        if (round == 0)
            first = c.schema;
        assert_ptr_equal(c.schema, first);
        assert_int_equal(column_of(c.schema, "cpu", "cpu0", "usage"), 0);
        rn_window_clear(window);
    }
    rn_window_free(window);
}

static void a_series_without_values_leaves_and_a_new_one_goes_last(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_cpu(window, "cpu0", 1, 1);
    add_cpu(window, "cpu1", 2, 2);
    (void)cut(window);
    rn_window_clear(window);
    tick(window, 20);
    add_cpu(window, "cpu1", 3, 3);
    struct cut c = cut(window);
    assert_false(c.changed); // cpu0 may just be slow
    struct rn_value value;
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu1", "ticks"), 0, &value));
    assert_int_equal(value.u, 3);
    assert_false(value_at(c, column_of(c.schema, "cpu", "cpu0", "ticks"), 0, &value));
    rn_window_clear(window);
    tick(window, 30);
    add_cpu(window, "cpu1", 4, 4);
    c = cut(window);
    assert_true(c.changed);
    assert_int_equal(c.schema->ncolumns, 2);
    add_cpu(window, "cpu0", 5, 5);
    c = cut(window);
    assert_true(c.changed);
    assert_int_equal(column_of(c.schema, "cpu", "cpu1", "usage"), 0);
    assert_int_equal(column_of(c.schema, "cpu", "cpu0", "usage"), 2);
    rn_window_free(window);
}

static void a_cut_amid_a_window_changes_nothing(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    for (int64_t round = 0; round < 3; round++) {
        tick(window, 100 * round + 10);
        add_one(window, "fast", &ticks, round);
        assert_int_equal(cut(window).changed, round == 0); // the slow one is not there yet
        tick(window, 100 * round + 20);
        add_one(window, "slow", &ticks, round);
        struct cut c = cut(window);
        assert_int_equal(c.changed, round == 0);
        assert_int_equal(c.schema->ncolumns, 2);
        assert_int_equal(rn_grid_samples(c.grid), 2);
        rn_window_clear(window);
    }
    rn_window_free(window);
}

static void fields_missing_from_a_point_are_missing_cells(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_cpu(window, "cpu0", 1, 1);
    tick(window, 20);
    struct rn_point_value only = {&ticks, 9, {0}};
    add(window, "cpu", "cpu", "cpu0", &only, 1, 1);
    struct cut c = cut(window);
    assert_int_equal(c.schema->ncolumns, 2);
    struct rn_value value;
    assert_false(value_at(c, column_of(c.schema, "cpu", "cpu0", "usage"), 1, &value));
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu0", "ticks"), 1, &value));
    assert_int_equal(value.u, 9);
    assert_int_equal(rn_window_samples(window), 3);
    rn_window_free(window);
}

static void a_series_with_new_fields_moves_to_its_group_with_its_values(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_cpu(window, "cpu0", 11, 12);
    struct rn_point_value one = {&ticks, 21, {0}}, other = {&usage, 31, {0}};
    add(window, "cpu", "cpu", "cpu1", &one, 1, 1);
    tick(window, 20);
    add(window, "cpu", "cpu", "cpu1", &other, 1, 1); // fields in another order than cpu0's
    struct cut c = cut(window);
    assert_int_equal(c.schema->ngroups, 1);
    assert_int_equal(c.schema->ncolumns, 4);
    struct rn_value value;
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu1", "ticks"), 0, &value));
    assert_int_equal(value.u, 21);
    assert_true(value_at(c, column_of(c.schema, "cpu", "cpu1", "usage"), 1, &value));
    assert_true(value.d == 0.31);
    assert_false(value_at(c, column_of(c.schema, "cpu", "cpu1", "usage"), 0, &value));
    rn_window_free(window);
}

static void periods_keep_groups_apart_and_are_observed(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    struct rn_point_value value = {&ticks, 1, {0}};
    tick(window, 60);
    add(window, "disk", NULL, NULL, &value, 1, 6);
    add(window, "disk", "path", "/", &value, 1, 1);
    tick(window, 70);
    add(window, "disk", NULL, NULL, &value, 1, 6); // not due
    struct cut c = cut(window);
    assert_int_equal(c.schema->ngroups, 2);
    assert_int_equal(c.schema->groups[0].every, 6);
    assert_int_equal(rn_window_refused(window), 1);
    assert_int_equal(rn_window_samples(window), 2);
    rn_window_free(window);
}

static void a_field_keeps_its_type_unit_and_scale(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_one(window, "m", &ticks, 1);
    add_one(window, "m", &ticks_int, 2);
    struct rn_field_desc gauge = ticks;
    gauge.kind = RN_GAUGE;
    add_one(window, "m", &gauge, 3);
    struct rn_field_desc scaled = ticks;
    scaled.mul = 2;
    add_one(window, "m", &scaled, 4);
    rn_window_add_double(window, "m", NULL, 0, "ticks", 5.5);
    assert_int_equal(rn_window_refused(window), 4);
    struct cut c = cut(window);
    struct rn_value value;
    assert_true(value_at(c, 0, 0, &value));
    assert_int_equal(value.u, 1);
    rn_window_free(window);
}

static void the_same_value_again_replaces_the_first(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_one(window, "m", &ticks, 1);
    add_one(window, "m", &ticks, 2);
    assert_int_equal(rn_window_samples(window), 1);
    struct cut c = cut(window);
    struct rn_value value;
    assert_true(value_at(c, 0, 0, &value));
    assert_int_equal(value.u, 2);
    rn_window_free(window);
}

// ---- ticks -------------------------------------------------------------------------------------

static void ticks_left_out_are_filled_in_as_missing(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 10);
    tick(window, 10);
    add_one(window, "m", &ticks, 1);
    tick(window, 40);
    add_one(window, "m", &ticks, 4);
    struct cut c = cut(window);
    assert_int_equal(c.grid->n, 4);
    struct rn_value value;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(c.grid->times[i], 10 + 10 * i);
        assert_int_equal(value_at(c, 0, i, &value), i == 0 || i == 3);
    }
    rn_window_free(window);
}

static void a_tick_has_a_time_on_the_step_after_the_last(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 5);
    assert_int_equal(rn_window_tick(window, 15, NULL), RN_EINVAL);
    assert_int_equal(rn_window_tick(window, -10, NULL), RN_EINVAL);
    assert_int_equal(rn_window_tick(window, INT64_MAX - 7, NULL), RN_EINVAL);
    tick(window, 20);
    assert_int_equal(rn_window_tick(window, 20, NULL), RN_EINVAL);
    assert_int_equal(rn_window_tick(window, 10, NULL), RN_EINVAL);
    assert_int_equal(rn_window_tick(window, 70, NULL), RN_ELIMIT); // the gap does not fit
    assert_int_equal(rn_window_tick(window, 9223372030, NULL), RN_ELIMIT);
    tick(window, 60);
    assert_int_equal(rn_window_tick(window, 70, NULL), RN_ELIMIT);
    assert_int_equal(rn_window_ticks(window), 5);
    rn_window_clear(window);
    tick(window, 10); // a new window may begin anywhere
    rn_window_free(window);
}

static void there_is_nothing_to_cut_without_a_value(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 5);
    struct cut c;
    assert_int_equal(rn_window_cut(window, &c.schema, &c.grid, &c.changed, NULL), RN_ENOENT);
    tick(window, 10);
    assert_int_equal(rn_window_cut(window, &c.schema, &c.grid, &c.changed, NULL), RN_ENOENT);
    rn_window_free(window);
}

static void a_point_before_the_first_tick_is_refused(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 5);
    add_cpu(window, "cpu0", 1, 1);
    assert_int_equal(rn_window_refused(window), 2);
    rn_window_free(window);
}

static void refuses_bounds_out_of_range(void **state)
{
    (void)state;
    struct rn_window *window = NULL;
    struct rn_window_conf good = {1, 0, 1, 1, 0}, bad = good;
    bad.max_columns = RN_SCHEMA_MAX_COLUMNS + 1;
    assert_int_equal(rn_window_new(&window, &bad, NULL), RN_EINVAL);
    bad = good;
    bad.max_ticks = 0;
    assert_int_equal(rn_window_new(&window, &bad, NULL), RN_EINVAL);
    bad = good;
    bad.unit_ns = 0;
    assert_int_equal(rn_window_new(&window, &bad, NULL), RN_EINVAL);
    rn_window_free(NULL);
}

// ---- room --------------------------------------------------------------------------------------

static void a_batch_never_has_more_cells_than_it_may(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 2000, 16384);
    char cpu[16];
    int64_t t = 0;
    while (rn_window_tick(window, ++t, NULL) == RN_OK)
        for (int i = 0; i < 100; i++) {
            snprintf(cpu, sizeof cpu, "cpu%d", i);
            add_cpu(window, cpu, t, t);
        }
    assert_int_equal(rn_window_refused(window), 0); // a tick that was begun has room
    struct cut c = cut(window);
    assert_true(c.grid->n * c.grid->ncolumns <= RN_BATCH_MAX_CELLS);
    assert_true(c.grid->n * c.grid->ncolumns > RN_BATCH_MAX_CELLS / 2);
    assert_int_equal(c.grid->n, t - 1);
    rn_window_free(window);
}

static void a_series_without_room_is_counted_and_asks_for_a_cut(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 2000, 16384);
    for (int64_t t = 1; t <= 8192; t++) {
        tick(window, t);
        if (t == 1)
            add_one(window, "a", &ticks, 1);
    }
    add_cpu(window, "cpu0", 1, 1); // 3 columns x 8192 ticks are too many
    assert_int_equal(rn_window_refused(window), 2);
    assert_int_equal(rn_window_tick(window, 8193, NULL), RN_ELIMIT);
    (void)cut(window);
    rn_window_clear(window);
    tick(window, 8193);
    add_cpu(window, "cpu0", 1, 1);
    assert_int_equal(rn_window_refused(window), 2);
    assert_int_equal(cut(window).schema->ncolumns, 3);
    rn_window_free(window);
}

static void columns_are_bounded(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 5, 10);
    tick(window, 1);
    add_cpu(window, "cpu0", 1, 1);
    add_cpu(window, "cpu1", 1, 1);
    add_cpu(window, "cpu2", 1, 1);
    assert_int_equal(rn_window_refused(window), 2);
    assert_int_equal(cut(window).schema->ncolumns, 4);
    rn_window_free(window);
}

static void names_stay_below_what_a_schema_may_take(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 2000, 10);
    char text[201];
    memset(text, 'x', sizeof text);
    text[200] = 0;
    tick(window, 1);
    for (int i = 0; i < 200; i++) {
        text[0] = (char)('a' + i / 20);
        text[1] = (char)('a' + i % 20);
        add_cpu(window, text, 1, 1);
    }
    size_t names = 0;
    struct cut c = cut(window);
    for (uint32_t i = 0; i < c.schema->groups[0].nseries; i++)
        names += c.schema->groups[0].series[i].tags[0].value.len;
    assert_true(rn_window_refused(window) > 0);
    assert_true(names < RN_SCHEMA_MAX_BYTES);
    assert_true(names > RN_SCHEMA_MAX_BYTES / 2);
    rn_window_free(window);
}

static void text_is_kept_within_its_space(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    static char long_text[RN_TEXT_MAX + 2];
    memset(long_text, 'y', RN_TEXT_MAX + 1);
    struct rn_point_value value = {&name, 0, rn_span_text("one\ntwo")};
    tick(window, 1);
    add(window, "m", NULL, NULL, &value, 1, 1);
    value.text = rn_span_text(long_text);
    add(window, "n", NULL, NULL, &value, 1, 1); // over RN_TEXT_MAX
    value.text = rn_span_text("\xff");
    add(window, "n", NULL, NULL, &value, 1, 1); // not UTF-8
    assert_int_equal(rn_window_refused(window), 2);
    value.text = (struct rn_span){(const uint8_t *)long_text, 200};
    int64_t t = 2;
    while (rn_window_tick(window, t, NULL) == RN_OK) {
        add(window, "m", NULL, NULL, &value, 1, 1);
        t++;
    }
    assert_int_equal(rn_window_refused(window), 2);
    assert_int_equal(t, 6); // 7 + 4 x 200 of 1000 bytes: another 200 would go beyond
    struct cut c = cut(window);
    struct rn_value read;
    assert_true(value_at(c, 0, 0, &read));
    assert_true(rn_span_eq_text(read.text, "one\ntwo"));
    assert_true(value_at(c, 0, 4, &read));
    assert_true(rn_span_eq(read.text, value.text));
    rn_window_free(window);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    tick(window, 1);
    add_one(window, "a\nb", &ticks, 1);
    add_one(window, "", &ticks, 1);
    struct rn_point_value value = {&ticks, 1, {0}};
    add(window, "m", "host", "", &value, 1, 1);
    add(window, "m", "ho\x01st", "x", &value, 1, 1);
    struct rn_field_desc bad = ticks;
    bad.name = "x\r";
    add_one(window, "m", &bad, 1);
    struct rn_tag unsorted[] = {{rn_span_text("b"), rn_span_text("1")},
                                {rn_span_text("a"), rn_span_text("1")}};
    struct rn_point point = {"m", unsorted, 2, &value, 1};
    rn_window_add(window, &point, 1);
    assert_int_equal(rn_window_refused(window), 6);
    assert_int_equal(rn_window_samples(window), 0);
    rn_window_free(window);
}

static void numbers_that_overflow_their_multiplier_are_refused(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    tick(window, 1);
    add_one(window, "m", &used, INT64_MAX / 1024 + 1);
    assert_int_equal(rn_window_refused(window), 1);
    add_one(window, "m", &used, INT64_MAX / 1024);
    assert_int_equal(rn_window_refused(window), 1);
    rn_window_free(window);
}

// ---- values from outside -----------------------------------------------------------------------

static void doubles_from_outside_are_scaled_with_the_decimals_they_need(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    const double values[] = {1, 2.5, -3.25, 1e15, 0.125};
    for (int i = 0; i < 5; i++) {
        tick(window, 1 + i);
        rn_window_add_double(window, "m", NULL, 0, "v", values[i]);
    }
    struct cut c = cut(window);
    assert_int_equal(c.schema->groups[0].fields[0].decimals, 3);
    struct rn_value value;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(value_at(c, 0, i, &value));
        assert_true(value.d == values[i]);
    }
    assert_int_equal(c.grid->states[0], RN_CELL_SCALED);
    assert_int_equal(c.grid->cells[0].i, 1000);
    rn_window_clear(window);
    tick(window, 6);
    rn_window_add_double(window, "m", NULL, 0, "v", 4);
    assert_false(cut(window).changed); // decimals once needed stay
    rn_window_free(window);
}

static void doubles_that_do_not_scale_are_literal(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    const double values[] = {0.1 + 0.2, -0.0, 1e300, 5e-324, 1.0 / 3};
    for (int i = 0; i < 5; i++) {
        tick(window, 1 + i);
        rn_window_add_double(window, "m", NULL, 0, "v", values[i]);
    }
    struct cut c = cut(window);
    struct rn_value value;
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(c.grid->states[i], RN_CELL_DOUBLE);
        assert_true(value_at(c, 0, i, &value));
        assert_memory_equal(&value.d, &values[i], sizeof value.d);
    }
    rn_window_free(window);
}

static void a_value_that_others_cannot_follow_is_literal(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    tick(window, 1);
    rn_window_add_double(window, "m", NULL, 0, "v", 9e17);
    tick(window, 2);
    rn_window_add_double(window, "m", NULL, 0, "v", 0.001); // 9e17 x 1000 does not fit in 64 bits
    struct cut c = cut(window);
    assert_int_equal(c.grid->states[0], RN_CELL_SCALED);
    assert_int_equal(c.grid->states[1], RN_CELL_DOUBLE);
    assert_int_equal(c.schema->groups[0].fields[0].decimals, 0);
    rn_window_free(window);
}

static void no_value_changes_when_another_needs_decimals(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    const double values[] = {7789111514589919, 0.5}; // ten times the first is no double
    for (int i = 0; i < 2; i++) {
        tick(window, 1 + i);
        rn_window_add_double(window, "m", NULL, 0, "v", values[i]);
    }
    struct cut c = cut(window);
    struct rn_value value;
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(value_at(c, 0, i, &value));
        assert_true(value.d == values[i]);
    }
    rn_window_free(window);
}

static void not_finite_is_refused(void **state)
{
    (void)state;
    struct rn_window *window = window_of(1, 10, 100);
    tick(window, 1);
    rn_window_add_double(window, "m", NULL, 0, "v", (double)NAN);
    rn_window_add_double(window, "m", NULL, 0, "v", (double)INFINITY);
    assert_int_equal(rn_window_refused(window), 2);
    assert_int_equal(rn_window_samples(window), 0);
    rn_window_free(window);
}

static void a_point_from_outside_is_taken_whole_or_told_to_wait(void **state)
{
    (void)state;
    struct rn_window *window = window_of(0, 4, 100);
    struct rn_named_value values[] = {
        {rn_span_text("i"), {.type = RN_INT, .i = -1}},
        {rn_span_text("u"), {.type = RN_UINT, .u = UINT64_MAX}},
        {rn_span_text("b"), {.type = RN_BOOL, .b = true}},
        {rn_span_text("t"), {.type = RN_TEXT, .text = rn_span_text("x")}},
    };
    tick(window, 5);
    assert_int_equal(rn_window_add_values(window, rn_span_text("a"), NULL, 0, values, 2, NULL),
                     RN_OK);
    assert_int_equal(rn_window_add_values(window, rn_span_text("b"), NULL, 0, values, 4, NULL),
                     RN_ELIMIT);
    assert_int_equal(rn_window_samples(window), 2);
    assert_int_equal(rn_window_refused(window), 0);
    assert_int_equal(cut(window).schema->ncolumns, 2);
    rn_window_clear(window);
    rn_window_clear(window); // a second time changes nothing
    tick(window, 5);
    rn_window_clear(window); // series a had nothing in this window: its columns are free
    tick(window, 5);
    assert_int_equal(rn_window_add_values(window, rn_span_text("b"), NULL, 0, values, 4, NULL),
                     RN_OK);
    struct cut c = cut(window);
    struct rn_value value;
    assert_true(value_at(c, 1, 0, &value));
    assert_true(value.u == UINT64_MAX);
    rn_window_free(window);
}

static void a_bad_value_does_not_take_its_point_along(void **state)
{
    (void)state;
    struct rn_window *window = window_of(0, 4, 100);
    struct rn_named_value values[] = {
        {rn_span_text("v"), {.type = RN_INT, .i = 1}},
        {rn_span_text("v"), {.type = RN_FLOAT, .d = 2.5}}, // the same name, another type
        {rn_span_text("w"), {.type = RN_INT, .i = 3}},
        {rn_span_text("x"), {.type = RN_FLOAT, .d = (double)NAN}},
    };
    struct rn_err err;
    tick(window, 5);
    assert_int_equal(rn_window_add_values(window, rn_span_text("m"), NULL, 0, values, 4, &err),
                     RN_EINVAL);
    assert_int_equal(rn_window_samples(window), 2);
    assert_int_equal(rn_window_refused(window), 2);
    rn_window_free(window);
}

// ---- allocation --------------------------------------------------------------------------------

static void one_window(struct rn_window *window, int64_t from)
{
    struct rn_point_value text = {&name, 0, rn_span_text("steady")};
    for (int64_t t = from; t < from + 24; t++) {
        tick(window, 10 * t);
        for (int cpu = 0; cpu < 16; cpu++) {
            const char label[] = {'c', (char)('a' + cpu), 0};
            add_cpu(window, label, t, t);
        }
        add_one(window, "mem", &used, t);
        add(window, "os", NULL, NULL, &text, 1, 1);
        if (t % 6 == 0) {
            struct rn_point_value value = {&ticks, t, {0}};
            add(window, "disk", "path", "/", &value, 1, 6);
        }
        rn_window_add_double(window, "temp", NULL, 0, "celsius", 0.25 * (double)t);
    }
    (void)cut(window);
    rn_window_clear(window);
}

static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    struct rn_window *window = window_of(10, 100, 30);
    unsigned long before = allocations;
    for (int64_t round = 0; round < 2; round++)
        one_window(window, round * 24);
    assert_true(allocations > before); // the counter counts
    before = allocations;
    for (int64_t round = 2; round < 50; round++)
        one_window(window, round * 24);
    unsigned long after = allocations;
    assert_int_equal(after - before, 0);
    assert_int_equal(rn_window_refused(window), 0);
    rn_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_become_columns_of_shared_groups),
        cmocka_unit_test(the_schema_stays_while_the_series_stay),
        cmocka_unit_test(a_series_without_values_leaves_and_a_new_one_goes_last),
        cmocka_unit_test(a_cut_amid_a_window_changes_nothing),
        cmocka_unit_test(fields_missing_from_a_point_are_missing_cells),
        cmocka_unit_test(a_series_with_new_fields_moves_to_its_group_with_its_values),
        cmocka_unit_test(periods_keep_groups_apart_and_are_observed),
        cmocka_unit_test(a_field_keeps_its_type_unit_and_scale),
        cmocka_unit_test(the_same_value_again_replaces_the_first),
        cmocka_unit_test(ticks_left_out_are_filled_in_as_missing),
        cmocka_unit_test(a_tick_has_a_time_on_the_step_after_the_last),
        cmocka_unit_test(there_is_nothing_to_cut_without_a_value),
        cmocka_unit_test(a_point_before_the_first_tick_is_refused),
        cmocka_unit_test(refuses_bounds_out_of_range),
        cmocka_unit_test(a_batch_never_has_more_cells_than_it_may),
        cmocka_unit_test(a_series_without_room_is_counted_and_asks_for_a_cut),
        cmocka_unit_test(columns_are_bounded),
        cmocka_unit_test(names_stay_below_what_a_schema_may_take),
        cmocka_unit_test(text_is_kept_within_its_space),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(numbers_that_overflow_their_multiplier_are_refused),
        cmocka_unit_test(doubles_from_outside_are_scaled_with_the_decimals_they_need),
        cmocka_unit_test(doubles_that_do_not_scale_are_literal),
        cmocka_unit_test(a_value_that_others_cannot_follow_is_literal),
        cmocka_unit_test(no_value_changes_when_another_needs_decimals),
        cmocka_unit_test(not_finite_is_refused),
        cmocka_unit_test(a_point_from_outside_is_taken_whole_or_told_to_wait),
        cmocka_unit_test(a_bad_value_does_not_take_its_point_along),
        cmocka_unit_test(steady_state_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
