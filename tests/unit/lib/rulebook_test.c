// Rules that a window makes of what collectors declare.
#include <runnel/window.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct rn_field_desc part = {.name = "part", .type = RN_INT, .kind = RN_GAUGE};
static const struct rn_field_desc rest = {.name = "rest", .type = RN_INT, .kind = RN_GAUGE};

static struct rn_window *open_window(uint64_t unit_ns)
{
    struct rn_window_conf conf = {
        .unit_ns = unit_ns, .step = 1, .max_columns = 64, .max_ticks = 10, .max_text = 64};
    struct rn_window *window;
    assert_int_equal(rn_window_new(&window, &conf, NULL), RN_OK);
    assert_int_equal(rn_window_tick(window, 100, NULL), RN_OK);
    return window;
}

// A point of both fields, of the series "n" = name (NULL: without tags).
static void add(struct rn_window *window, const char *measurement, const char *name)
{
    struct rn_tag tag = {rn_span_text("n"), rn_span_text(name ? name : "")};
    struct rn_point_value values[] = {{.field = &part, .scaled = 1}, {.field = &rest, .scaled = 2}};
    struct rn_point point = {measurement, &tag, name ? 1 : 0, values, 2};
    rn_window_add(window, &point, 1);
}

static const struct rn_schema *cut(struct rn_window *window)
{
    const struct rn_schema *schema;
    const struct rn_grid *grid;
    bool changed;
    assert_int_equal(rn_window_cut(window, &schema, &grid, &changed, NULL), RN_OK);
    assert_int_equal(rn_schema_check(schema, NULL), RN_OK);
    return schema;
}

static const struct rn_rule_desc own_fields[] = {
    {.measurement = "m",
     .field = "rest",
     .constant = 7,
     .num = RN_TERMS({.field = "part", .coefficient = -3}),
     .den = RN_TERMS({.field = "part", .coefficient = 2})},
    {.measurement = "m", .field = "part", .num = RN_TERMS({.field = "none", .coefficient = 1})},
    {.measurement = "other", .field = "part"},
};

static void a_rule_is_made_for_every_series_that_has_the_fields(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, own_fields, RN_RULE_COUNT(own_fields)), RN_OK);
    add(window, "m", "a");
    add(window, "m", "b");
    const struct rn_schema *schema = cut(window);
    assert_int_equal(schema->nrules, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(schema->rules[i].column, 2 * i + 1);
        assert_int_equal(schema->rules[i].num.constant, 7);
        assert_int_equal(schema->rules[i].num.nterms, 1);
        assert_int_equal(schema->rules[i].num.terms[0].column, 2 * i);
        assert_int_equal(schema->rules[i].num.terms[0].coefficient, -3);
        assert_int_equal(schema->rules[i].den.constant, 0);
        assert_int_equal(schema->rules[i].den.terms[0].coefficient, 2);
    }
    rn_window_free(window);
}

static const struct rn_rule_desc mean[] = {
    {.measurement = "m",
     .field = "part",
     .tag_value = "all",
     .num = RN_TERMS({.field = "part", .coefficient = 1, .of = RN_OF_OTHERS}),
     .per_others = true},
};

static void a_mean_is_taken_over_the_other_series(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, mean, 1), RN_OK);
    add(window, "m", "a");
    add(window, "m", "all");
    add(window, "m", "b");
    add(window, "x", "all");
    add(window, "m", "c");
    const struct rn_schema *schema = cut(window);
    assert_int_equal(schema->nrules, 1);
    assert_int_equal(schema->rules[0].column, 2);
    assert_int_equal(schema->rules[0].num.nterms, 3);
    assert_int_equal(schema->rules[0].den.constant, 3);
    rn_window_free(window);
}

static void there_is_no_mean_of_nothing(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, mean, 1), RN_OK);
    add(window, "m", "all");
    assert_int_equal(cut(window)->nrules, 0);
    rn_window_free(window);
}

static const struct rn_rule_desc of_another[] = {
    {.measurement = "m",
     .field = "part",
     .num = RN_TERMS({.field = "part", .coefficient = 1, .of = RN_OF_ONLY, .measurement = "x"}),
     .per = 2},
};

static void another_measurement_must_have_one_series(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, of_another, 1), RN_OK);
    add(window, "m", NULL);
    add(window, "x", "a");
    const struct rn_schema *schema = cut(window);
    assert_int_equal(schema->nrules, 1);
    assert_int_equal(schema->rules[0].num.terms[0].column, 2);
    assert_int_equal(schema->rules[0].den.constant, 2);
    add(window, "x", "b");
    assert_int_equal(cut(window)->nrules, 0);
    rn_window_free(window);
}

static const struct rn_rule_desc of_time[] = {{.measurement = "m", .field = "part", .time = 1}};

static void time_is_counted_in_seconds(void **state)
{
    (void)state;
    for (uint64_t unit_ns = 1000000; unit_ns <= 1000000000; unit_ns *= 1000) {
        struct rn_window *window = open_window(unit_ns);
        assert_int_equal(rn_window_add_rules(window, of_time, 1), RN_OK);
        add(window, "m", NULL);
        assert_int_equal(cut(window)->nrules, unit_ns == 1000000000);
        rn_window_free(window);
    }
}

static const struct rn_rule_desc twice[] = {
    {.measurement = "m", .field = "part", .constant = 1},
    {.measurement = "m", .field = "part", .constant = 2},
};

static const struct rn_rule_desc cycle[] = {
    {.measurement = "m", .field = "part", .num = RN_TERMS({.field = "rest", .coefficient = 1})},
    {.measurement = "m", .field = "rest", .num = RN_TERMS({.field = "part", .coefficient = 1})},
};

static void a_column_has_one_rule_and_cycles_have_none(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, twice, 2), RN_OK);
    add(window, "m", NULL);
    const struct rn_schema *schema = cut(window);
    assert_int_equal(schema->nrules, 1);
    assert_int_equal(schema->rules[0].num.constant, 1);
    rn_window_free(window);
    window = open_window(1000000000);
    assert_int_equal(rn_window_add_rules(window, cycle, 2), RN_OK);
    add(window, "m", NULL);
    assert_int_equal(cut(window)->nrules, 0);
    rn_window_free(window);
}

static void tables_are_limited(void **state)
{
    (void)state;
    struct rn_window *window = open_window(1000000000);
    for (int i = 0; i < RN_WINDOW_RULE_TABLES; i++)
        assert_int_equal(rn_window_add_rules(window, mean, 1), RN_OK);
    assert_int_equal(rn_window_add_rules(window, mean, 1), RN_ELIMIT);
    rn_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_is_made_for_every_series_that_has_the_fields),
        cmocka_unit_test(a_mean_is_taken_over_the_other_series),
        cmocka_unit_test(there_is_no_mean_of_nothing),
        cmocka_unit_test(another_measurement_must_have_one_series),
        cmocka_unit_test(time_is_counted_in_seconds),
        cmocka_unit_test(a_column_has_one_rule_and_cycles_have_none),
        cmocka_unit_test(tables_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
