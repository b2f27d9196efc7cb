// Typed option rows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/opt.h>

#include <stdio.h>
#include <string.h>

struct settings {
    bool on;
    int64_t count, period, room;
    char name[16], token[16];
    int level;
    struct rn_opt_list hosts;
};

#define AT(field) offsetof(struct settings, field)
static const struct rn_opt rows[] = {
    {"on", RN_OPT_BOOL, AT(on), 0, 0, 0, "yes", 0, NULL, "Whether."},
    {"count", RN_OPT_INT, AT(count), 0, -5, 100, "10", 0, NULL, "How many."},
    {"mqtt.period", RN_OPT_DURATION, AT(period), 0, 1000, 3600000, "10s", 0, NULL, "How often."},
    {"room", RN_OPT_SIZE, AT(room), 0, 0, 0, "64M", 0, NULL, "How much."},
    {"name", RN_OPT_TEXT, AT(name), 16, 1, 8, "me", 0, NULL, "Who."},
    {"token", RN_OPT_SECRET, AT(token), 16, 0, 0, NULL, 0, NULL, "The key."},
    {"level", RN_OPT_ENUM, AT(level), 0, 0, 0, "log", 0, "none|log|sink", "How far."},
    {"hosts", RN_OPT_LIST, AT(hosts), 0, 0, 3, "[a, b]", 0, NULL, "Where."},
};
enum { ROWS = RN_OPT_COUNT(rows) };

static const struct rn_opt *row(const char *key)
{
    const struct rn_opt *found = rn_opt_find(rows, ROWS, key);
    assert_non_null(found);
    return found;
}

// Sets and prints again.
static const char *through(const char *key, const char *text)
{
    static char out[200];
    struct settings s = {0};
    struct rn_err err;
    struct rn_buf buf;
    if (rn_opt_set(row(key), &s, text, &err) < 0)
        return "refused";
    rn_buf_init_fixed(&buf, out, sizeof out);
    rn_opt_print(row(key), &s, &buf);
    return rn_buf_cstr(&buf);
}

static void defaults_fill_every_field(void **state)
{
    (void)state;
    struct settings s;
    struct rn_err err;
    memset(&s, 0xee, sizeof s);
    assert_int_equal(rn_opt_defaults(rows, ROWS, &s, &err), RN_OK);
    assert_true(s.on);
    assert_int_equal(s.count, 10);
    assert_int_equal(s.period, 10000);
    assert_int_equal(s.room, 64 << 20);
    assert_string_equal(s.name, "me");
    assert_string_equal(s.token, "");
    assert_int_equal(s.level, 1);
    assert_int_equal(s.hosts.count, 2);
    assert_string_equal(s.hosts.item[1], "b");
    struct rn_opt wrong = rows[1];
    wrong.def = "many";
    assert_int_equal(rn_opt_defaults(&wrong, 1, &s, &err), RN_EINVAL);
    assert_memory_equal(err.text, "default of count: ", 18);
}

static void values_are_read_and_printed_as_they_stand_in_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *printed;
    } example[] = {
        {"on", "off", "false"},
        {"on", "on", "true"},
        {"on", "True", "refused"},
        {"on", "1", "refused"},
        {"count", "-5", "-5"},
        {"count", "100", "100"},
        {"count", "101", "refused"},
        {"count", "-6", "refused"},
        {"count", "18x3", "refused"},
        {"count", " 1", "refused"},
        {"count", "+1", "refused"},
        {"count", "", "refused"},
        {"count", "0x10", "refused"},
        {"count", "99999999999999999999", "refused"},
        {"mqtt.period", "1500ms", "1500ms"},
        {"mqtt.period", "60s", "1m"},
        {"mqtt.period", "90s", "90s"},
        {"mqtt.period", "1h", "1h"},
        {"mqtt.period", "10", "refused"},
        {"mqtt.period", "10 s", "refused"},
        {"mqtt.period", "-10s", "refused"},
        {"mqtt.period", "999ms", "refused"},
        {"mqtt.period", "9223372036854775807d", "refused"},
        {"room", "0", "0"},
        {"room", "1000", "1000"},
        {"room", "2048k", "2M"},
        {"room", "1T", "1T"},
        {"room", "64MB", "refused"},
        {"room", "9223372036854775807k", "refused"},
        {"name", "12345678", "12345678"},
        {"name", "123456789", "refused"},
        {"name", "", "refused"},
        {"name", "a\nb", "refused"},
        {"name", "\xff", "refused"},
        {"token", "s3cret", "(secret)"},
        {"token", "a\nb", "(secret)"},
        {"token", "", ""},
        {"token", "0123456789abcdef", "refused"},
        {"level", "sink", "sink"},
        {"level", "none", "none"},
        {"level", "lo", "refused"},
        {"level", "log|sink", "refused"},
        {"level", "", "refused"},
        {"hosts", "[]", "[]"},
        {"hosts", "", "[]"},
        {"hosts", "one", "[one]"},
        {"hosts", "[ a ,b, c ]", "[a, b, c]"},
        {"hosts", "[a,,b]", "refused"},
        {"hosts", "[a,b,c,d]", "refused"},
    };
    for (size_t i = 0; i < sizeof example / sizeof example[0]; i++) {
        const char *printed = through(example[i].key, example[i].text);
        if (strcmp(printed, example[i].printed) != 0)
            fail_msg("%s: %s became %s", example[i].key, example[i].text, printed);
    }
}

static void a_refusal_leaves_the_value_and_says_what_was_expected(void **state)
{
    (void)state;
    struct settings s = {0};
    struct rn_err err;
    assert_int_equal(rn_opt_defaults(rows, ROWS, &s, &err), RN_OK);
    struct settings before = s;
    static const struct {
        const char *key, *text, *words;
    } example[] = {
        {"mqtt.period", "5", "expected a duration between 1s and 1h, such as 10s, not \"5\""},
        {"count", "x", "expected a whole number between -5 and 100, such as 10, not \"x\""},
        {"room", "x", "expected a size, such as 64M, not \"x\""},
        {"on", "x", "expected true or false, not \"x\""},
        {"level", "x", "expected one of none, log, sink, not \"x\""},
        {"token", "a secret too long", "expected a secret of 0 to 15 bytes"},
        {"hosts", "[a,b,c,d]",
         "expected a list of 0 to 3 texts shorter than 128 bytes, such as "
         "[a, b], not \"[a,b,c,d]\""},
        {"name", "",
         "expected a text without control characters of 1 to 8 bytes, such as me, not "
         "\"\""},
    };
    for (size_t i = 0; i < sizeof example / sizeof example[0]; i++) {
        assert_int_equal(rn_opt_set(row(example[i].key), &s, example[i].text, &err), RN_EINVAL);
        assert_string_equal(err.text, example[i].words);
    }
    assert_memory_equal(&s, &before, sizeof s);
}

static void a_long_enumeration_is_cut_in_the_message_not_lost(void **state)
{
    (void)state;
    char words[400];
    memset(words, 'w', sizeof words - 1);
    words[sizeof words - 1] = 0;
    struct rn_opt long_row = {"l", RN_OPT_ENUM, AT(level), 0, 0, 0, NULL, 0, words, "Long."};
    struct settings s = {0};
    struct rn_err err;
    assert_int_equal(rn_opt_set(&long_row, &s, "x", &err), RN_EINVAL);
    assert_memory_equal(err.text, "expected one of www", 19);
}

static void list_elements_are_appended_up_to_the_maximum(void **state)
{
    (void)state;
    struct settings s = {0};
    struct rn_err err;
    for (int i = 0; i < 3; i++)
        assert_int_equal(rn_opt_append(row("hosts"), &s, "h,1", &err), RN_OK);
    assert_int_equal(rn_opt_append(row("hosts"), &s, "h", &err), RN_EINVAL);
    assert_int_equal(s.hosts.count, 3);
    assert_string_equal(s.hosts.item[2], "h,1");
    char text[RN_OPT_LIST_TEXT + 1];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    s.hosts.count = 0;
    assert_int_equal(rn_opt_append(row("hosts"), &s, text, &err), RN_EINVAL);
    text[RN_OPT_LIST_TEXT - 1] = 0;
    assert_int_equal(rn_opt_append(row("hosts"), &s, text, &err), RN_OK);
    assert_int_equal(rn_opt_append(row("name"), &s, "x", &err), RN_EINVAL);
}

static void the_nearest_key_is_suggested(void **state)
{
    (void)state;
    assert_string_equal(rn_opt_nearest(rows, ROWS, "mqtt.peroid"), "mqtt.period");
    assert_string_equal(rn_opt_nearest(rows, ROWS, "period"), "mqtt.period"); // in the wrong place
    assert_string_equal(rn_opt_nearest(rows, ROWS, "nam"), "name");
    assert_null(rn_opt_nearest(rows, ROWS, "colour"));
    assert_null(rn_opt_nearest(rows, ROWS, "x"));
    char text[500];
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_null(rn_opt_nearest(rows, ROWS, text));
    assert_null(rn_opt_find(rows, ROWS, "mqtt"));
}

static void durations_and_sizes_parse_alone(void **state)
{
    (void)state;
    int64_t value = 0;
    struct rn_err err;
    assert_int_equal(rn_duration_parse("3d", &value, &err), RN_OK);
    assert_int_equal(value, 3 * 86400000);
    assert_int_equal(rn_duration_parse("0s", &value, &err), RN_OK);
    assert_int_equal(value, 0);
    assert_int_equal(rn_duration_parse("0", &value, &err), RN_EINVAL);
    assert_int_equal(rn_size_parse("2G", &value, &err), RN_OK);
    assert_true(value == INT64_C(2) << 30);
    assert_int_equal(rn_size_parse("2g", &value, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "such as"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_every_field),
        cmocka_unit_test(values_are_read_and_printed_as_they_stand_in_the_file),
        cmocka_unit_test(a_refusal_leaves_the_value_and_says_what_was_expected),
        cmocka_unit_test(a_long_enumeration_is_cut_in_the_message_not_lost),
        cmocka_unit_test(list_elements_are_appended_up_to_the_maximum),
        cmocka_unit_test(the_nearest_key_is_suggested),
        cmocka_unit_test(durations_and_sizes_parse_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
