// Schema: where a column lies, and what a checked schema may not be.
#include <runnel/schema.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static struct rn_span span(const char *text)
{
    return (struct rn_span){(const uint8_t *)text, strlen(text)};
}

// Two groups: cpu with 2 fields x 2 series, mem with 1 field x 1 series without tags.
struct sample {
    struct rn_field cpu[2], mem[1];
    struct rn_tag tag0[2], tag1[1];
    struct rn_series cores[2], host[1];
    struct rn_group groups[2];
    struct rn_schema schema;
};

static void sample_init(struct sample *s)
{
    memset(s, 0, sizeof *s);
    s->cpu[0] = (struct rn_field){.name = span("usage"), .type = RN_FLOAT, .decimals = 2, .mul = 1};
    s->cpu[1] = (struct rn_field){.name = span("ticks"), .type = RN_UINT, .mul = 1};
    s->mem[0] = (struct rn_field){.name = span("used"), .type = RN_INT, .mul = 1024};
    s->tag0[0] = (struct rn_tag){span("cpu"), span("cpu0")};
    s->tag0[1] = (struct rn_tag){span("rack"), span("r 1")};
    s->tag1[0] = (struct rn_tag){span("cpu"), span("cpu1")};
    s->cores[0] = (struct rn_series){s->tag0, 2};
    s->cores[1] = (struct rn_series){s->tag1, 1};
    s->groups[0] = (struct rn_group){span("cpu"), 1, s->cpu, 2, s->cores, 2};
    s->groups[1] = (struct rn_group){span("mem"), 6, s->mem, 1, s->host, 1};
    s->schema = (struct rn_schema){
        .unit_ns = 1000000000, .step = 10, .groups = s->groups, .ngroups = 2, .ncolumns = 5};
}

static int check(const struct sample *s)
{
    struct rn_err err = {.text = ""};
    int rc = rn_schema_check(&s->schema, &err);
    if (rc < 0) {
        assert_int_equal(err.code, rc);
        assert_true(err.text[0] != 0);
    }
    return rc;
}

static void columns_are_series_major_within_their_group(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    struct rn_column_ref ref;
    const struct rn_field *fields[] = {&s.cpu[0], &s.cpu[1], &s.cpu[0], &s.cpu[1], &s.mem[0]};
    const struct rn_series *series[] = {&s.cores[0], &s.cores[0], &s.cores[1], &s.cores[1],
                                        &s.host[0]};
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(rn_schema_column(&s.schema, i, &ref));
        assert_ptr_equal(ref.field, fields[i]);
        assert_ptr_equal(ref.series, series[i]);
        assert_ptr_equal(ref.group, &s.groups[i / 4]);
        assert_int_equal(ref.group_index, i / 4);
    }
    assert_false(rn_schema_column(&s.schema, 5, &ref));
    assert_false(rn_schema_column(&s.schema, UINT32_MAX, &ref));
}

static void accepts_a_good_schema(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    assert_int_equal(check(&s), RN_OK);
}

static void a_name_is_1_to_255_bytes_of_clean_utf8(void **state)
{
    (void)state;
    char longest[257];
    memset(longest, 'x', sizeof longest);
    longest[255] = 0;
    assert_true(rn_name_valid(span(longest)));
    longest[255] = 'x';
    longest[256] = 0;
    assert_false(rn_name_valid(span(longest)));
    const char *good[] = {"a", "a b,c=d", "\"q\"", "back\\", "Grad \xc2\xb0\x43", "\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(rn_name_valid(span(good[i])));
    const char *bad[] = {"",     "a\nb",     "a\rb", "\t",       "\x7f",
                         "\xff", "\xc0\x80", "\xc2", "\xc2\x85", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(rn_name_valid(span(bad[i])));
    assert_false(rn_name_valid((struct rn_span){(const uint8_t *)"a\0b", 3}));
}

static void refuses_bad_names_wherever_they_stand(void **state)
{
    (void)state;
    struct sample s;
    struct rn_span bad = span("x\ny");
    sample_init(&s);
    s.groups[1].measurement = bad;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.cpu[1].name = bad;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.tag0[1].value = bad;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.tag1[0].key = span("");
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.mem[0].unit = bad;
    assert_int_equal(check(&s), RN_EFORMAT);
}

static void refuses_tags_out_of_order_or_twice(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.tag0[0].key = span("zone");
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.tag0[1].key = span("cpu");
    assert_int_equal(check(&s), RN_EFORMAT);
    struct rn_tag many[RN_SCHEMA_MAX_TAGS + 1] = {{{0}, {0}}};
    assert_int_equal(rn_tags_check(many, RN_SCHEMA_MAX_TAGS + 1, NULL), RN_ELIMIT);
}

static void refuses_equal_fields_and_equal_series_in_a_group(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.cpu[1].name = span("usage");
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.cores[1] = s.cores[0];
    assert_int_equal(check(&s), RN_EFORMAT);
}

static void decimals_belong_to_floats_and_multipliers_to_numbers(void **state)
{
    (void)state;
    for (int type = RN_INT; type <= RN_TEXT; type++) {
        struct rn_field field = {.name = span("f"), .type = (enum rn_type)type, .mul = 1};
        assert_int_equal(rn_field_check(&field, NULL), RN_OK);
        field.decimals = 3;
        assert_int_equal(rn_field_check(&field, NULL), type == RN_FLOAT ? RN_OK : RN_EFORMAT);
        field.decimals = 16;
        assert_int_equal(rn_field_check(&field, NULL), RN_EFORMAT);
        field.decimals = 0;
        field.mul = 1024;
        assert_int_equal(rn_field_check(&field, NULL), type <= RN_FLOAT ? RN_OK : RN_EFORMAT);
        field.mul = 0;
        assert_int_equal(rn_field_check(&field, NULL), RN_EFORMAT);
    }
    struct rn_field field = {.name = span("f"), .type = (enum rn_type)5, .mul = 1};
    assert_int_equal(rn_field_check(&field, NULL), RN_EFORMAT);
    field = (struct rn_field){.name = span("f"), .kind = (enum rn_kind)3, .mul = 1};
    assert_int_equal(rn_field_check(&field, NULL), RN_EFORMAT);
}

static void refuses_sizes_that_do_not_add_up(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.schema.ncolumns = 6;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.schema.ngroups = 0;
    assert_int_equal(check(&s), RN_ELIMIT);
    sample_init(&s);
    s.groups[0].nseries = 0;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.groups[1].every = 0;
    assert_int_equal(check(&s), RN_EFORMAT);
    sample_init(&s);
    s.groups[0].nseries = 1025; // 2050 columns: refused before any of them is looked at
    s.schema.ncolumns = 2051;
    assert_int_equal(check(&s), RN_ELIMIT);
    sample_init(&s);
    s.groups[0].nseries = 0x80000000; // x 2 fields is 0 in 32 bits
    s.schema.ncolumns = 1;
    assert_int_equal(check(&s), RN_ELIMIT);
}

static void knows_four_time_units_and_bounds_the_step(void **state)
{
    (void)state;
    struct sample s;
    for (uint64_t unit = 1; unit <= 1000000000; unit *= 10) {
        sample_init(&s);
        s.schema.unit_ns = unit;
        bool known = unit == 1 || unit == 1000 || unit == 1000000 || unit == 1000000000;
        assert_int_equal(check(&s), known ? RN_OK : RN_EFORMAT);
    }
    sample_init(&s);
    s.schema.step = INT64_MAX / 1000000000;
    assert_int_equal(check(&s), RN_OK);
    s.schema.step++;
    assert_int_equal(check(&s), RN_ELIMIT);
}

static void a_group_is_due_at_multiples_of_its_period(void **state)
{
    (void)state;
    assert_true(rn_tick_due(60, 10, 6));
    assert_false(rn_tick_due(70, 10, 6));
    assert_true(rn_tick_due(70, 10, 1));
    assert_true(rn_tick_due(71, 0, 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_series_major_within_their_group),
        cmocka_unit_test(accepts_a_good_schema),
        cmocka_unit_test(a_name_is_1_to_255_bytes_of_clean_utf8),
        cmocka_unit_test(refuses_bad_names_wherever_they_stand),
        cmocka_unit_test(refuses_tags_out_of_order_or_twice),
        cmocka_unit_test(refuses_equal_fields_and_equal_series_in_a_group),
        cmocka_unit_test(decimals_belong_to_floats_and_multipliers_to_numbers),
        cmocka_unit_test(refuses_sizes_that_do_not_add_up),
        cmocka_unit_test(knows_four_time_units_and_bounds_the_step),
        cmocka_unit_test(a_group_is_due_at_multiples_of_its_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
