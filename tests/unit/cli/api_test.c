// What the command line makes of texts that come from devices.
#include "cli/api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *text, const char *wanted)
{
    char buf[200];
    snprintf(buf, sizeof buf, "%s", text);
    api_disarm((uint8_t *)buf, strlen(buf));
    assert_string_equal(buf, wanted);
}

static void no_control_character_is_left(void **state)
{
    (void)state;
    expect("{\"a\":\"\\u001b[2J\"}", "{\"a\":\"\\u003f[2J\"}");
    expect("\"\\u007f\\u009b1m\\u0000\"", "\"\\u003f\\u003f1m\\u003f\"");
    expect("\"a\\r\\nb\\tc\"", "\"a????b??c\"");
    expect("\"\x7f\xc2\x9b\"", "\"???\"");
}

static void other_texts_stay_as_they_are(void **state)
{
    (void)state;
    expect("{\"a\": \"\\\"\\\\n\\/ \\u00e9 \xc3\xa9 \xc2\xb5\"}\n",
           "{\"a\": \"\\\"\\\\n\\/ \\u00e9 \xc3\xa9 \xc2\xb5\"}\n");
}

static void a_text_that_ends_anywhere_is_no_harm(void **state)
{
    (void)state;
    uint8_t whole[] = "\"\\u001b\xc2\x9b\\";
    for (size_t len = 0; len < sizeof whole; len++) {
        uint8_t part[sizeof whole];
        memset(part, 'x', sizeof part);
        memcpy(part, whole, len);
        api_disarm(part, len);
        for (size_t i = len; i < sizeof part; i++)
            assert_int_equal(part[i], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_control_character_is_left),
        cmocka_unit_test(other_texts_stay_as_they_are),
        cmocka_unit_test(a_text_that_ends_anywhere_is_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
