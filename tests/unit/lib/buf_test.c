// Byte buffer, spans, UTF-8 and hex.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/buf.h>

#include <string.h>

static void grows_up_to_its_maximum_and_not_beyond(void **state)
{
    (void)state;
    struct rn_buf buf;
    rn_buf_init(&buf, 1000);
    for (int i = 0; i < 1000; i++)
        rn_buf_byte(&buf, (uint8_t)i);
    assert_true(rn_buf_ok(&buf));
    assert_int_equal(buf.len, 1000);
    assert_int_equal(buf.data[999], 999 & 255);
    rn_buf_byte(&buf, 1);
    assert_false(rn_buf_ok(&buf));
    assert_int_equal(buf.len, 1000);
    rn_buf_clear(&buf);
    assert_true(rn_buf_ok(&buf));
    assert_int_equal(buf.len, 0);
    rn_buf_release(&buf);
}

static void after_a_failure_nothing_more_is_appended(void **state)
{
    (void)state;
    uint8_t storage[4];
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, storage, sizeof storage);
    rn_buf_text(&buf, "ab");
    rn_buf_text(&buf, "cde");
    assert_int_equal(rn_buf_status(&buf), RN_ELIMIT);
    rn_buf_byte(&buf, 'f'); // would fit, but would leave a hole in what was written
    assert_int_equal(buf.len, 2);
    assert_memory_equal(buf.data, "ab", 2);
    assert_string_equal(rn_buf_cstr(&buf), "");
    rn_buf_release(&buf); // does not free the caller's storage
}

static void prints_and_terminates(void **state)
{
    (void)state;
    struct rn_buf buf;
    rn_buf_init(&buf, 11);
    rn_buf_printf(&buf, "%s-%d", "abcde", 12345);
    assert_string_equal(rn_buf_cstr(&buf), "abcde-12345"); // full, and the terminator still fits
    assert_int_equal(buf.len, 11);
    rn_buf_printf(&buf, "%d", 1);
    assert_false(rn_buf_ok(&buf));
    rn_buf_release(&buf);

    struct rn_buf empty;
    rn_buf_init(&empty, 10);
    assert_string_equal(rn_buf_cstr(&empty), "");
    assert_true(rn_buf_ok(&empty));
    rn_buf_release(&empty);
}

static void an_absurd_length_is_refused_without_allocating(void **state)
{
    (void)state;
    struct rn_buf buf;
    rn_buf_init(&buf, SIZE_MAX);
    rn_buf_byte(&buf, 1);
    assert_null(rn_buf_reserve(&buf, SIZE_MAX));
    assert_false(rn_buf_ok(&buf));
    assert_true(buf.cap <= 64);
    rn_buf_release(&buf);
}

static void spans_compare_bytewise(void **state)
{
    (void)state;
    assert_true(rn_span_cmp(rn_span_text("ab"), rn_span_text("abc")) < 0);
    assert_true(rn_span_cmp(rn_span_text("b"), rn_span_text("abc")) > 0);
    assert_int_equal(rn_span_cmp((struct rn_span){0}, rn_span_text("")), 0);
    assert_true(rn_span_eq_text(rn_span_text("x"), "x"));
    assert_false(rn_span_eq_text(rn_span_text("x"), "xy"));
    assert_true(rn_span_eq((struct rn_span){0}, rn_span_text("")));
}

static void utf8_is_judged_as_rfc_3629_says(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool valid;
    } row[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"\xc3\xa4", 2, true},          // a umlaut
        {"\xe2\x82\xac", 3, true},      // euro
        {"\xf0\x9f\x98\x80", 4, true},  // beyond the first plane
        {"\xf4\x8f\xbf\xbf", 4, true},  // the last code point
        {"\xf4\x90\x80\x80", 4, false}, // one further
        {"\xc0\x80", 2, false},         // overlong
        {"\xe0\x9f\xbf", 3, false},     // overlong
        {"\xf0\x8f\xbf\xbf", 4, false}, // overlong
        {"\xed\xa0\x80", 3, false},     // surrogate
        {"\x80", 1, false},             // continuation alone
        {"\xe2\x82", 2, false},         // cut
        {"\xe2\x82\x28", 3, false},     // bad third byte
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff", 1, false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (rn_utf8_valid((const uint8_t *)row[i].bytes, row[i].len) != row[i].valid)
            fail_msg("row %zu", i);
}

static void hex_goes_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[3] = {0x00, 0xAF, 0x7e}, back[3];
    char text[7];
    rn_hex(text, bytes, 3);
    assert_string_equal(text, "00af7e");
    assert_int_equal(rn_unhex(back, 3, "00AF7e"), RN_OK);
    assert_memory_equal(back, bytes, 3);
    assert_int_equal(rn_unhex(back, 3, "00af7"), RN_EFORMAT);
    assert_int_equal(rn_unhex(back, 3, "00af7e0"), RN_EFORMAT);
    assert_int_equal(rn_unhex(back, 3, "00ag7e"), RN_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_up_to_its_maximum_and_not_beyond),
        cmocka_unit_test(after_a_failure_nothing_more_is_appended),
        cmocka_unit_test(prints_and_terminates),
        cmocka_unit_test(an_absurd_length_is_refused_without_allocating),
        cmocka_unit_test(spans_compare_bytewise),
        cmocka_unit_test(utf8_is_judged_as_rfc_3629_says),
        cmocka_unit_test(hex_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
