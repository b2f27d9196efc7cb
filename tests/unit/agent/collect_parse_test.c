// agent/collect/parse.h, point.h and read.h: reading hostile text, and files that are too long.
#include "collect_fixture.h"

#include "agent/collect/named.h"
#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

static struct rn_span text(const char *s)
{
    return rn_span_text(s);
}

static void lines_end_with_or_without_a_newline(void **state)
{
    (void)state;
    struct rn_span rest = text("a\n\nb"), line;
    assert_true(parse_line(&rest, &line) && rn_span_eq_text(line, "a"));
    assert_true(parse_line(&rest, &line) && line.len == 0);
    assert_true(parse_line(&rest, &line) && rn_span_eq_text(line, "b"));
    assert_false(parse_line(&rest, &line));
    rest = (struct rn_span){NULL, 0};
    assert_false(parse_line(&rest, &line));
}

static void words_stand_between_blanks(void **state)
{
    (void)state;
    struct rn_span rest = text(" \t one\ttwo  three "), word;
    assert_true(parse_word(&rest, &word) && rn_span_eq_text(word, "one"));
    assert_true(parse_skip(&rest, 1));
    assert_true(parse_word(&rest, &word) && rn_span_eq_text(word, "three"));
    assert_false(parse_word(&rest, &word));
    assert_false(parse_skip(&rest, 1));
}

static void numbers_are_digits_that_fit(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      "1 ",
                                      " 1",
                                      "0x1",
                                      "1e3",
                                      "1.0",
                                      "12a3",
                                      "18446744073709551616",
                                      "99999999999999999999999999"};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        assert_false(parse_u64(text(bad[n]), &u));
        assert_false(parse_i64(text(bad[n]), &i));
    }
    assert_true(u == 7 && i == 7);
    assert_true(parse_u64(text("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_true(parse_u64(text("007"), &u) && u == 7);
    assert_true(parse_i64(text("-9223372036854775807"), &i) && i == -INT64_MAX);
    assert_false(parse_i64(text("9223372036854775808"), &i));
    assert_false(parse_u64((struct rn_span){NULL, 0}, &u));
}

static void decimals_are_scaled_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        unsigned decimals;
        uint64_t out;
    } good[] = {{"0.05", 2, 5},      {"12", 2, 1200},  {"12.3", 2, 1230},
                {"12.999", 2, 1299}, {"12.99", 0, 12}, {"98765432.10", 3, 98765432100},
                {"5.", 1, 50},       {"0.0", 2, 0}};
    static const char *const bad[] = {
        "", ".", ".5", "1.2.3", "-1.0", "1.x", "18446744073709551615.0"};
    uint64_t out;
    for (size_t n = 0; n < sizeof good / sizeof good[0]; n++) {
        assert_true(parse_decimal(text(good[n].in), good[n].decimals, &out));
        assert_int_equal(out, good[n].out);
    }
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_false(parse_decimal(text(bad[n]), 2, &out));
}

static void percentages_round_and_stay_within_a_hundred(void **state)
{
    (void)state;
    assert_int_equal(parse_percent(1, 3), 3333);
    assert_int_equal(parse_percent(2, 3), 6667);
    assert_int_equal(parse_percent(1, 20000), 1);
    assert_int_equal(parse_percent(0, 5), 0);
    assert_int_equal(parse_percent(5, 0), 0);
    assert_int_equal(parse_percent(6, 5), 10000);
    assert_int_equal(parse_percent(UINT64_MAX, UINT64_MAX), 10000);
    assert_int_equal(parse_percent(UINT64_MAX / 2, UINT64_MAX), 5000);
}

static void escapes_of_mount_tables_are_resolved(void **state)
{
    (void)state;
    char out[8];
    assert_true(parse_unescape(out, sizeof out, text("a\\040b")));
    assert_string_equal(out, "a b");
    assert_true(parse_unescape(out, sizeof out, text("\\04")) && strcmp(out, "\\04") == 0);
    assert_true(parse_unescape(out, sizeof out, text("\\999")) && strcmp(out, "\\999") == 0);
    assert_true(parse_unescape(out, sizeof out, text("\\000")) && strcmp(out, "\\000") == 0);
    assert_true(parse_unescape(out, sizeof out, text("\\040\\011\\012")));
    assert_string_equal(out, " \t\n");
    assert_true(parse_unescape(out, sizeof out, text("1234567")));
    assert_false(parse_unescape(out, sizeof out, text("12345678")));
    assert_string_equal(out, "");
    assert_false(parse_unescape(out, sizeof out, (struct rn_span){(const uint8_t *)"a\0b", 3}));
    assert_false(parse_copy(out, sizeof out, (struct rn_span){(const uint8_t *)"a\0b", 3}));
    assert_false(parse_copy(out, sizeof out, text("12345678")));
}

static void tag_values_are_made_clean(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"plain", "plain"},
                                           {"a\nb\x7f", "a_b_"},
                                           {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
                                           {"cut\xc3", "cut_"},
                                           {"\xff\xfe", "__"},
                                           {"\xed\xa0\x80", "___"},
                                           {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"},
                                           {"", ""}};
    for (size_t n = 0; n < sizeof pairs / sizeof pairs[0]; n++) {
        char copy[32];
        strcpy(copy, pairs[n][0]);
        parse_clean(copy);
        assert_string_equal(copy, pairs[n][1]);
    }
}

static void lists_of_patterns_choose_names(void **state)
{
    (void)state;
    struct rn_opt_list list = {.count = 2, .item = {"eth*", "wlan[01]"}};
    assert_true(parse_wanted(&list, "eth0") && parse_wanted(&list, "wlan1"));
    assert_false(parse_wanted(&list, "wlan2") || parse_wanted(&list, "lo"));
    assert_true(parse_in_list(&list, "eth*") && !parse_in_list(&list, "eth0"));
    list.count = 0;
    assert_true(parse_wanted(&list, "anything") && !parse_in_list(&list, "anything"));
    assert_true(parse_listed(text("rw,ro"), "ro") && parse_listed(text("ro"), "ro"));
    assert_false(parse_listed(text("errors=ro,row"), "ro") || parse_listed(text(""), "ro"));
}

static void counters_are_found_by_their_names(void **state)
{
    (void)state;
    struct named_counter c[] = {{.name = "ctxt"}, {.name = "btime"}, {.name = "none"}};
    named_counters(text("ctxt2 5\nctxt 9 10\nbtime\n\n \nxctxt 7"), c, 3);
    assert_true(c[0].found && c[0].value == 9);
    assert_false(c[1].found || c[2].found);
}

static void a_number_too_large_for_its_unit_saturates(void **state)
{
    (void)state;
    struct rn_field_desc field = {.name = "f", .mul = 512};
    struct point p;
    point_clear(&p);
    point_uint(&p, &field, UINT64_MAX);
    point_uint(&p, &field, 3);
    assert_int_equal(p.value[0].scaled, INT64_MAX / 512);
    assert_int_equal(p.value[1].scaled, 3);
}

static void a_file_too_long_is_cut_after_a_whole_line_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct rn_span got;
    fixture_init_tree(&f);
    size_t size = COLLECT_SCRATCH_MAX + 100;
    char *long_text = malloc(size);
    assert_non_null(long_text);
    memset(long_text, 'x', size);
    for (size_t i = 99; i < size; i += 100)
        long_text[i] = '\n';
    fixture_write_bytes(&f, "proc/exact", long_text, COLLECT_SCRATCH_MAX);
    fixture_write_bytes(&f, "proc/long", long_text, size);
    assert_int_equal(collect_read(&f.env, f.env.procfs, "exact", &got, NULL), 0);
    assert_int_equal(got.len, COLLECT_SCRATCH_MAX);
    assert_int_equal(f.left_out, 0);
    assert_int_equal(collect_read(&f.env, f.env.procfs, "long", &got, NULL), 0);
    assert_true(got.len < COLLECT_SCRATCH_MAX && got.len % 100 == 0);
    assert_int_equal(f.left_out, 1);
    free(long_text);
    fixture_release(&f);
}

static void a_line_is_trimmed_and_must_fit(void **state)
{
    (void)state;
    struct fixture f;
    struct rn_err err;
    struct rn_span got;
    char out[8];
    fixture_init_tree(&f);
    fixture_write(&f, "sys/a", "  42 \n\n");
    fixture_write(&f, "sys/b", "12345678\n");
    fixture_write(&f, "sys/c", "");
    assert_int_equal(collect_read_line(f.env.sysfs, "a", out, sizeof out), 0);
    assert_string_equal(out, "42");
    assert_int_equal(collect_read_line(f.env.sysfs, "b", out, sizeof out), RN_ELIMIT);
    assert_int_equal(collect_read_line(f.env.sysfs, "c", out, sizeof out), 0);
    assert_string_equal(out, "");
    assert_int_equal(collect_read_line(f.env.sysfs, "d", out, sizeof out), RN_ENOENT);
    assert_int_equal(collect_read(&f.env, f.env.sysfs, "d", &got, &err), RN_ENOENT);
    assert_non_null(strstr(err.text, "/sys/d"));
    assert_int_equal(collect_read(&f.env, f.env.sysfs, "", &got, &err), RN_EIO); // a folder
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_or_without_a_newline),
        cmocka_unit_test(words_stand_between_blanks),
        cmocka_unit_test(numbers_are_digits_that_fit),
        cmocka_unit_test(decimals_are_scaled_exactly),
        cmocka_unit_test(percentages_round_and_stay_within_a_hundred),
        cmocka_unit_test(escapes_of_mount_tables_are_resolved),
        cmocka_unit_test(tag_values_are_made_clean),
        cmocka_unit_test(lists_of_patterns_choose_names),
        cmocka_unit_test(counters_are_found_by_their_names),
        cmocka_unit_test(a_number_too_large_for_its_unit_saturates),
        cmocka_unit_test(a_file_too_long_is_cut_after_a_whole_line_and_counted),
        cmocka_unit_test(a_line_is_trimmed_and_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
