// What databases answer, word for word as they did (1.6.7, VictoriaMetrics) or as their sources
// say.
#include "bridge/sink/influx_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char lines[] = "m,a=b v=1i 1\nm,a=b s=\"it's 'x': y\" 2\nn v=2 3\n";

static struct influx_answer read_answer(int status, const char *reply)
{
    struct influx_answer a;
    influx_answer_read(&a, status, rn_span_text(reply), rn_span_text(lines));
    return a;
}

static void status_codes_mean_what_the_rules_say(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum sink_outcome outcome;
    } rules[] = {
        {200, SINK_DONE},  {204, SINK_DONE},      {400, SINK_POISON}, {401, SINK_HOLD},
        {403, SINK_HOLD},  {404, SINK_HOLD},      {405, SINK_HOLD},   {301, SINK_HOLD},
        {408, SINK_RETRY}, {413, SINK_TOO_LARGE}, {422, SINK_POISON}, {429, SINK_RETRY},
        {500, SINK_RETRY}, {503, SINK_RETRY},     {599, SINK_RETRY},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        assert_int_equal(read_answer(rules[i].status, "").outcome, rules[i].outcome);
}

static void a_type_conflict_names_measurement_field_and_count(void **state)
{
    (void)state;
    struct influx_answer a = read_answer(
        400,
        "{\"error\":\"partial write: field type conflict: input field \\\"v\\\" on measurement "
        "\\\"m \\\\\\\"x\\\\\\\"\\\" is type float, already exists as type integer dropped=17\"}");
    assert_int_equal(a.outcome, SINK_POISON);
    assert_string_equal(a.field, "v");
    assert_string_equal(a.measurement, "m \"x\"");
    assert_string_equal(a.type, "float");
    assert_int_equal(a.dropped, 17);
    assert_int_equal(a.nlines, 0);
    assert_memory_equal(a.text, "400 partial write: field type conflict", 38);
}

static void points_beyond_retention_are_counted(void **state)
{
    (void)state;
    struct influx_answer a =
        read_answer(400, "{\"error\":\"partial write: points beyond retention policy dropped=3\"}");
    assert_int_equal(a.dropped, 3);
    assert_string_equal(a.measurement, "");
}

static void quoted_lines_are_found_even_when_they_contain_quotes(void **state)
{
    (void)state;
    struct influx_answer a = read_answer(
        400,
        "{\"error\":\"partial write: unable to parse 'n v=2 3': bad timestamp\\nunable to parse "
        "'m,a=b s=\\\"it's 'x': y\\\" 2': invalid\\nunable to parse 'else 1': x dropped=0\"}");
    assert_int_equal(a.nlines, 2);
    assert_int_equal(a.line[0], 2);
    assert_int_equal(a.line[1], 1);
    assert_int_equal(a.dropped, 0);
}

static void line_numbers_of_version_3_are_taken(void **state)
{
    (void)state;
    struct influx_answer a = read_answer(
        400,
        "{\"error\":\"partial write of line protocol occurred\",\"data\":[{\"error_message\":"
        "\"invalid column type\",\"line_number\":2,\"original_line\":\"x\"},"
        "{\"error_message\":\"y\",\"line_number\":3},{\"line_number\":0},{\"line_number\":-4}]}");
    assert_int_equal(a.nlines, 2);
    assert_int_equal(a.line[0], 1);
    assert_int_equal(a.line[1], 2);
    assert_string_equal(a.text, "400 invalid column type");
}

static void words_stay_on_one_line_and_anything_may_come_as_a_reply(void **state)
{
    (void)state;
    assert_string_equal(
        read_answer(404, "{\"error\":\"database not found: \\\"x\\\"\"}").text,
        "404 database not found: \"x\" (check url, version, and that the database exists)");
    assert_string_equal(
        read_answer(401, "{\"code\":\"unauthorized\",\"message\":\"no\\naccess\"}").text,
        "401 no access (check token, username and password)");
    assert_string_equal(read_answer(502, "<html>\r\nBad").text, "502 <html>  Bad");
    assert_string_equal(read_answer(500, "").text, "500 ");
    assert_int_equal(read_answer(400, "{\"error\":7,\"data\":{\"line_number\":1}}").nlines, 0);
    assert_int_equal(read_answer(400, "[[[[").outcome, SINK_POISON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_codes_mean_what_the_rules_say),
        cmocka_unit_test(a_type_conflict_names_measurement_field_and_count),
        cmocka_unit_test(points_beyond_retention_are_counted),
        cmocka_unit_test(quoted_lines_are_found_even_when_they_contain_quotes),
        cmocka_unit_test(line_numbers_of_version_3_are_taken),
        cmocka_unit_test(words_stay_on_one_line_and_anything_may_come_as_a_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
