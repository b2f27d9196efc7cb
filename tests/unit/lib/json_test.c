// Numbers that come back bit for bit, and JSON lines.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/text.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rn_buf out;

static int setup(void **state)
{
    (void)state;
    rn_buf_init(&out, 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rn_buf_release(&out);
    return 0;
}

static const char *double_text(double value)
{
    rn_buf_clear(&out);
    rn_text_double(&out, value);
    return rn_buf_cstr(&out);
}

static const char *json_of(struct rn_value value)
{
    rn_buf_clear(&out);
    rn_text_json_value(&out, &value);
    return rn_buf_cstr(&out);
}

static void doubles_are_as_short_as_their_bits_allow(void **state)
{
    (void)state;
    assert_string_equal(double_text(0.1), "0.1");
    assert_string_equal(double_text(1), "1");
    assert_string_equal(double_text(-0.0), "-0");
    assert_string_equal(double_text(1e300), "1e+300");
    assert_string_equal(double_text(0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(double_text(100.0 / 3), "33.333333333333336");
    assert_string_equal(double_text(12.34), "12.34");
}

static void doubles_at_the_edges_come_back(void **state)
{
    (void)state;
    const double values[] = {DBL_MAX,
                             -DBL_MAX,
                             DBL_MIN,
                             DBL_TRUE_MIN,
                             DBL_EPSILON,
                             0x1p53 + 2,
                             0x1.fffffffffffffp-2,
                             -0.0,
                             5e-324,
                             2.2250738585072011e-308};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double back = strtod(double_text(values[i]), NULL);
        assert_memory_equal(&back, &values[i], sizeof back);
    }
}

static void json_tells_floats_from_integers(void **state)
{
    (void)state;
    assert_string_equal(json_of((struct rn_value){RN_INT, {.i = INT64_MIN}}),
                        "-9223372036854775808");
    assert_string_equal(json_of((struct rn_value){RN_UINT, {.u = UINT64_MAX}}),
                        "18446744073709551615");
    assert_string_equal(json_of((struct rn_value){RN_FLOAT, {.d = 3}}), "3.0");
    assert_string_equal(json_of((struct rn_value){RN_FLOAT, {.d = -0.0}}), "-0.0");
    assert_string_equal(json_of((struct rn_value){RN_FLOAT, {.d = 1e22}}), "1e+22");
    assert_string_equal(json_of((struct rn_value){RN_FLOAT, {.d = (double)NAN}}), "null");
    assert_string_equal(json_of((struct rn_value){RN_FLOAT, {.d = (double)INFINITY}}), "null");
    assert_string_equal(json_of((struct rn_value){RN_BOOL, {.b = true}}), "true");
    assert_string_equal(json_of((struct rn_value){RN_BOOL, {.b = false}}), "false");
    assert_string_equal(json_of((struct rn_value){RN_TEXT, {.text = rn_span_text("a\"b")}}),
                        "\"a\\\"b\"");
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    rn_text_json_string(&out, (struct rn_span){(const uint8_t *)"\\\"/\b\f\n\r\t\0\x1f\x7f", 11});
    assert_string_equal(rn_buf_cstr(&out), "\"\\\\\\\"/\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\"");
    rn_buf_clear(&out);
    rn_text_json_string(&out, rn_span_text("\xc3\xa9\xf0\x9f\x98\x80|\xff|\xe2\x82|\xed\xa0\x80"));
    assert_string_equal(rn_buf_cstr(&out), "\"\xc3\xa9\xf0\x9f\x98\x80|\xef\xbf\xbd|"
                                           "\xef\xbf\xbd\xef\xbf\xbd|"
                                           "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    rn_buf_clear(&out);
    rn_text_json_string(&out, (struct rn_span){NULL, 0});
    assert_string_equal(rn_buf_cstr(&out), "\"\"");
}

static void a_grid_is_one_line_a_point(void **state)
{
    (void)state;
    struct rn_field fields[] = {
        {.name = rn_span_text("f"), .type = RN_FLOAT, .decimals = 1, .mul = 1},
        {.name = rn_span_text("t"), .type = RN_TEXT, .mul = 1}};
    struct rn_tag tag = {rn_span_text("k"), rn_span_text("a\nb")};
    struct rn_series series = {&tag, 1};
    struct rn_group group = {rn_span_text("m"), 1, fields, 2, &series, 1};
    struct rn_schema schema = {.unit_ns = 1000, .groups = &group, .ngroups = 1, .ncolumns = 2};
    _Alignas(8) uint8_t storage[256];
    struct rn_grid grid;
    assert_int_equal(rn_grid_init(&grid, 3, 2, 10, storage, sizeof storage, NULL), RN_OK);
    grid.times[0] = 1;
    grid.times[1] = 2;
    grid.times[2] = INT64_MAX / 1000 + 1; // does not fit in nanoseconds
    grid.cells[0].i = 15;
    grid.states[0] = grid.states[2] = RN_CELL_SCALED;
    assert_int_equal(rn_grid_set_text(&grid, 1, 0, rn_span_text("x\ny")), RN_OK);
    assert_int_equal(rn_json_grid(&out, &schema, &grid, rn_span_text("d1")), 2);
    assert_string_equal(rn_buf_cstr(&out),
                        "{\"device\":\"d1\",\"measurement\":\"m\",\"tags\":{\"k\":\"a\\nb\"},"
                        "\"fields\":{\"f\":1.5,\"t\":\"x\\ny\"},\"time_ns\":1000}\n");
    rn_buf_clear(&out);
    grid.states[1] = RN_CELL_MISSING;
    assert_int_equal(rn_json_grid(&out, &schema, &grid, (struct rn_span){NULL, 0}), 2);
    assert_non_null(strstr(rn_buf_cstr(&out), "{\"measurement\":\"m\""));
    struct rn_buf small;
    char bytes[20];
    rn_buf_init_fixed(&small, bytes, sizeof bytes);
    assert_int_equal(rn_json_grid(&small, &schema, &grid, (struct rn_span){NULL, 0}), 0);
    assert_int_equal(small.len, 0);
    assert_false(rn_buf_ok(&small));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(doubles_are_as_short_as_their_bits_allow, setup, teardown),
        cmocka_unit_test_setup_teardown(doubles_at_the_edges_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(json_tells_floats_from_integers, setup, teardown),
        cmocka_unit_test_setup_teardown(json_strings_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grid_is_one_line_a_point, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
