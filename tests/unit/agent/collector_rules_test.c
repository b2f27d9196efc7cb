// What collectors declare about their fields is about fields that they have, and makes valid rules.
#include "agent/collect/collector.h"

#include <runnel/window.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool has_field(const char *measurement, const char *field)
{
    for (size_t c = 0; c < collect_table_count; c++)
        for (size_t f = 0; f < collect_table[c]->nfields; f++)
            if (strcmp(collect_table[c]->name, measurement) == 0 &&
                strcmp(collect_table[c]->fields[f].name, field) == 0)
                return true;
    return false;
}

static void check_terms(const struct rn_rule_desc *rule, const struct rn_term_desc *terms)
{
    for (size_t i = 0; terms && terms[i].field; i++) {
        const char *of = terms[i].of == RN_OF_ONLY ? terms[i].measurement : rule->measurement;
        if (!has_field(of, terms[i].field))
            fail_msg("%s.%s refers to %s.%s", rule->measurement, rule->field, of, terms[i].field);
    }
}

static void rules_name_fields_that_collectors_have(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t c = 0; c < collect_table_count; c++)
        for (size_t r = 0; r < collect_table[c]->nrules; r++, count++) {
            const struct rn_rule_desc *rule = &collect_table[c]->rules[r];
            assert_string_equal(rule->measurement, collect_table[c]->name);
            assert_true(has_field(rule->measurement, rule->field));
            check_terms(rule, rule->num);
            check_terms(rule, rule->den);
        }
    assert_true(count >= 25);
}

static void report(struct rn_window *window, const struct rn_collector *collector, const char *key,
                   const char *value)
{
    struct rn_point_value values[RN_POINT_MAX_FIELDS];
    struct rn_tag tag = {rn_span_text(key), rn_span_text(value)};
    uint32_t n = 0;
    for (size_t f = 0; f < collector->nfields && n < RN_POINT_MAX_FIELDS; f++)
        if (collector->fields[f].type != RN_TEXT)
            values[n++] = (struct rn_point_value){.field = &collector->fields[f], .scaled = 1};
    struct rn_point point = {collector->name, &tag, 1, values, n};
    rn_window_add(window, &point, 1);
}

static void all_rules_are_valid_together(void **state)
{
    (void)state;
    struct rn_window_conf conf = {.unit_ns = 1000000000,
                                  .step = 10,
                                  .max_columns = RN_SCHEMA_MAX_COLUMNS,
                                  .max_ticks = 6,
                                  .max_text = 1024};
    struct rn_window *window;
    const struct rn_schema *schema;
    const struct rn_grid *grid;
    bool changed;
    size_t descs = 0;
    assert_int_equal(rn_window_new(&window, &conf, NULL), RN_OK);
    assert_int_equal(rn_window_tick(window, 1000, NULL), RN_OK);
    for (size_t c = 0; c < collect_table_count; c++) {
        if (!collect_table[c]->nrules)
            continue;
        descs += collect_table[c]->nrules;
        assert_int_equal(
            rn_window_add_rules(window, collect_table[c]->rules, collect_table[c]->nrules), RN_OK);
        report(window, collect_table[c], "x", "cpu-total");
        if (strcmp(collect_table[c]->name, "cpu") == 0)
            report(window, collect_table[c], "x", "cpu0");
    }
    assert_int_equal(rn_window_cut(window, &schema, &grid, &changed, NULL), RN_OK);
    // One each, and idle for the core too.
    assert_int_equal(schema->nrules, descs + 1);
    assert_int_equal(rn_schema_check(schema, NULL), RN_OK);
    rn_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_name_fields_that_collectors_have),
        cmocka_unit_test(all_rules_are_valid_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
