// JSON in: bounded, strict, forgiving to read.
#include <runnel/json.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct rn_json *parse(const char *text, struct rn_err *err)
{
    struct rn_json *json = NULL;
    err->code = rn_json_parse(&json, rn_span_text(text), 4096, err);
    return err->code == RN_OK ? json : NULL;
}

static void reads_every_type_and_missing_things_by_their_default(void **state)
{
    (void)state;
    struct rn_err err;
    struct rn_json *j =
        parse("{\"a\":[1,-9223372036854775808,2.5,\"x\",true,null],\"b\":{}}", &err);
    assert_non_null(j);
    const struct rn_json *a = rn_json_get(j, "a");
    assert_int_equal(rn_json_len(a), 6);
    assert_int_equal(rn_json_int(rn_json_at(a, 0), 7), 1);
    assert_true(rn_json_int(rn_json_at(a, 1), 7) == INT64_MIN);
    assert_true(rn_json_double(rn_json_at(a, 2), 0) == 2.5);
    assert_true(rn_json_double(rn_json_at(a, 0), 0) == 1);
    assert_int_equal(rn_json_int(rn_json_at(a, 2), 7), 7);
    assert_string_equal(rn_json_text(rn_json_at(a, 3)), "x");
    assert_true(rn_json_bool(rn_json_at(a, 4), false));
    assert_int_equal(rn_json_type(rn_json_at(a, 5)), RN_JSON_NULL);
    assert_int_equal(rn_json_type(rn_json_at(a, 6)), RN_JSON_NONE);
    assert_int_equal(rn_json_type(rn_json_get(rn_json_get(j, "nothing"), "at all")), RN_JSON_NONE);
    assert_null(rn_json_text(NULL));
    assert_string_equal(rn_json_text_or(NULL, "else"), "else");
    rn_json_free(j);
}

static void refuses_what_is_not_exactly_one_json_value(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "{",   "{\"a\":1}x",  "{\"a\":1,\"a\":2}",
                                      "[1,]",    "nul", "\"\\u0000\"", "\"\xff\"",
                                      "[1e999]", "'a'", "{a:1}",       "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rn_err err;
        struct rn_json *j = parse(bad[i], &err);
        if (j)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.code, RN_EFORMAT);
    }
}

static void refuses_deep_and_long_input_before_parsing_it(void **state)
{
    (void)state;
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    struct rn_err err;
    assert_null(parse(deep, &err));
    assert_int_equal(err.code, RN_ELIMIT);
    struct rn_json *j = NULL;
    assert_int_equal(rn_json_parse(&j, rn_span_text("[1,2,3]"), 6, &err), RN_ELIMIT);
    assert_non_null(j = parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"", &err));
    rn_json_free(j);
}

static bool count_two(void *arg, const char *key, const struct rn_json *value)
{
    int *n = arg;
    assert_int_equal(rn_json_int(value, -1), *n);
    assert_int_equal(key[0], 'z' - *n);
    return ++*n < 2;
}

static void visits_members_in_order_until_told_to_stop(void **state)
{
    (void)state;
    struct rn_err err;
    struct rn_json *j = parse("{\"z\":0,\"y\":1,\"x\":2}", &err);
    int n = 0;
    rn_json_each(j, count_two, &n);
    assert_int_equal(n, 2);
    rn_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type_and_missing_things_by_their_default),
        cmocka_unit_test(refuses_what_is_not_exactly_one_json_value),
        cmocka_unit_test(refuses_deep_and_long_input_before_parsing_it),
        cmocka_unit_test(visits_members_in_order_until_told_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
