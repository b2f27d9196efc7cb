// Line protocol, out and in.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/text.h>

#include <stdio.h>
#include <string.h>

#define PICTURE_NEWLINE "\xe2\x90\x8a"
#define FW_BACKSLASH    "\xef\xbc\xbc"
#define FW_HASH         "\xef\xbc\x83"
#define REPLACEMENT     "\xef\xbf\xbd"

// ---- out ---------------------------------------------------------------------------------------

// One series with up to four fields at one tick.
struct sheet {
    struct rn_tag tags[4];
    struct rn_field fields[4];
    struct rn_series series;
    struct rn_group group;
    struct rn_schema schema;
    struct rn_grid grid;
    struct rn_lp_conf conf;
    uint64_t skipped;
    _Alignas(8) uint8_t storage[512];
    char bytes[1024];
    struct rn_buf out;
};

static void sheet_init(struct sheet *s, uint32_t ntags, uint32_t nfields)
{
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < nfields; i++)
        s->fields[i] = (struct rn_field){.name = rn_span_text("v"), .type = RN_INT, .mul = 1};
    s->series = (struct rn_series){s->tags, ntags};
    s->group = (struct rn_group){rn_span_text("m"), 1, s->fields, nfields, &s->series, 1};
    s->schema = (struct rn_schema){
        .unit_ns = 1000000000, .groups = &s->group, .ngroups = 1, .ncolumns = nfields};
    assert_int_equal(rn_grid_init(&s->grid, 1, nfields, 100, s->storage, sizeof s->storage, NULL),
                     RN_OK);
    s->grid.times[0] = 7;
    for (uint32_t i = 0; i < nfields; i++) {
        s->grid.cells[i].i = i + 1;
        s->grid.states[i] = RN_CELL_SCALED;
    }
    s->conf.skipped = &s->skipped;
    rn_buf_init_fixed(&s->out, s->bytes, sizeof s->bytes - 1);
}

static const char *write_point(struct sheet *s)
{
    rn_buf_clear(&s->out);
    (void)rn_lp_point(&s->out, &s->schema, &s->grid, 0, 0, 0, &s->conf);
    s->bytes[s->out.len] = 0;
    return s->bytes;
}

static void writes_every_type(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 4);
    const char *names[] = {"i", "u", "b", "t"};
    for (int i = 0; i < 4; i++)
        s.fields[i].name = rn_span_text(names[i]);
    s.grid.cells[0].i = INT64_MIN;
    s.fields[1].type = RN_UINT;
    s.fields[2].type = RN_BOOL;
    s.fields[3].type = RN_TEXT;
    assert_int_equal(rn_grid_set_text(&s.grid, 3, 0, rn_span_text("a \"b\" \\ c,d=e")), RN_OK);
    assert_string_equal(write_point(&s), "m i=-9223372036854775808i,u=2i,b=true,"
                                         "t=\"a \\\"b\\\" \\\\ c,d=e\" 7000000000\n");
    s.fields[0].type = RN_FLOAT;
    s.fields[0].decimals = 2;
    s.grid.cells[0].i = -1250;
    s.conf.uint_form = RN_LP_UINT_AS_U;
    s.grid.states[2] = s.grid.states[3] = RN_CELL_MISSING;
    assert_string_equal(write_point(&s), "m i=-12.5,u=2u 7000000000\n");
}

static void large_unsigned_numbers_are_left_out_where_there_is_no_type_for_them(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 2);
    s.fields[1].type = RN_UINT;
    s.grid.cells[1].i = INT64_MIN; // 2^63
    assert_string_equal(write_point(&s), "m v=1i 7000000000\n");
    assert_int_equal(s.skipped, 1);
    s.conf.uint_form = RN_LP_UINT_AS_U;
    assert_string_equal(write_point(&s), "m v=1i,v=9223372036854775808u 7000000000\n");
    s.conf.uint_form = RN_LP_UINT_AS_INT;
    s.grid.states[0] = RN_CELL_MISSING;
    assert_string_equal(write_point(&s), ""); // a line without fields would be an error
    assert_int_equal(s.skipped, 2);
}

static void separators_are_escaped(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 1, 1);
    s.group.measurement = rn_span_text("a b,c=d");
    s.tags[0] = (struct rn_tag){rn_span_text("k k,k=k"), rn_span_text("v v,v=v\"'")};
    s.fields[0].name = rn_span_text("f f,f=f");
    assert_string_equal(write_point(&s), "a\\ b\\,c=d,k\\ k\\,k\\=k=v\\ v\\,v\\=v\"'"
                                         " f\\ f\\,f\\=f=1i 7000000000\n");
}

static void nothing_breaks_a_line(void **state)
{
    (void)state;
    const char *hostile = "x\nm,host=other v=1 1";
    struct sheet s;
    sheet_init(&s, 1, 2);
    s.group.measurement = rn_span_text(hostile);
    s.tags[0] = (struct rn_tag){rn_span_text(hostile), rn_span_text(hostile)};
    s.fields[0].name = rn_span_text(hostile);
    s.fields[1].type = RN_TEXT;
    assert_int_equal(rn_grid_set_text(&s.grid, 1, 0, rn_span_text(hostile)), RN_OK);
    const char *line = write_point(&s);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_ptr_equal(strstr(line, " m,"), NULL);
    assert_non_null(strstr(line, "v=\"x" PICTURE_NEWLINE "m,host=other v=1 1\""));
}

static void what_has_no_safe_form_is_shown_by_a_look_alike(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"C:\\", "C:" FW_BACKSLASH},
        {"C:\\x", "C:\\x"},
        {"\\\\", "\\" FW_BACKSLASH},
        {"a\\,b", "a" FW_BACKSLASH "\\,b"},
        {"a\\\\ b", "a\\" FW_BACKSLASH "\\ b"},
        {"a\\=", "a" FW_BACKSLASH "\\="},
        {"a\r\nb", "a\xe2\x90\x8d" PICTURE_NEWLINE "b"},
        {"a\tb\x01\x7f", "a\xe2\x90\x89"
                         "b\xe2\x90\x81\xe2\x90\xa1"},
        {"\xff\xc0\x80", REPLACEMENT REPLACEMENT REPLACEMENT},
        {"a\xe2\x82", "a" REPLACEMENT REPLACEMENT},
        {"\xc2\x85", REPLACEMENT},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"#x", "#x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sheet s;
        char expected[128];
        sheet_init(&s, 1, 1);
        s.tags[0] = (struct rn_tag){rn_span_text("k"), rn_span_text(cases[i][0])};
        snprintf(expected, sizeof expected, "m,k=%s v=1i 7000000000\n", cases[i][1]);
        assert_string_equal(write_point(&s), expected);
    }
}

static void exact_lines_keep_what_the_grammar_can_carry(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"C:\\x", "C:\\x"},
        {"a\\,b", "a\\\\,b"},
        {"a\"b\t\r\x01\xc2\x85", "a\"b\t\r\x01\xc2\x85"},
        {"C:\\", "C:" FW_BACKSLASH},
        {"a\nb", "a" PICTURE_NEWLINE "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sheet s;
        char expected[128];
        sheet_init(&s, 1, 2);
        s.conf.exact = true;
        s.tags[0] = (struct rn_tag){rn_span_text("k"), rn_span_text(cases[i][0])};
        s.fields[0].name = rn_span_text(cases[i][0]);
        s.fields[1].type = RN_TEXT;
        assert_int_equal(rn_grid_set_text(&s.grid, 1, 0, rn_span_text("x\n\"\r")), RN_OK);
        snprintf(expected, sizeof expected, "m,k=%s %s=1i,v=\"x\n\\\"\r\" 7000000000\n",
                 cases[i][1], cases[i][1]);
        assert_string_equal(write_point(&s), expected);
    }
}

static void a_measurement_never_makes_a_comment(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 1);
    s.group.measurement = rn_span_text("#a#");
    assert_string_equal(write_point(&s), FW_HASH "a# v=1i 7000000000\n");
}

static void a_field_name_never_opens_a_text(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 2);
    s.fields[0].name = rn_span_text("a\"b\"");
    s.fields[1].name = rn_span_text("c\\\"");
    assert_string_equal(write_point(&s),
                        "m a\xef\xbc\x82"
                        "b\xef\xbc\x82=1i,c" FW_BACKSLASH "\xef\xbc\x82=2i 7000000000\n");
}

static void empty_names_are_left_out(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 2, 2);
    s.tags[0] = (struct rn_tag){rn_span_text(""), rn_span_text("x")};
    s.tags[1] = (struct rn_tag){rn_span_text("k"), rn_span_text("")};
    s.fields[0].name = rn_span_text("");
    assert_string_equal(write_point(&s), "m v=2i 7000000000\n");
    assert_int_equal(s.skipped, 1);
    s.group.measurement = rn_span_text("");
    assert_string_equal(write_point(&s), "");
    assert_int_equal(s.skipped, 3);
}

static void the_host_stands_in_order_and_wins(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 3, 1);
    s.tags[0] = (struct rn_tag){rn_span_text("a"), rn_span_text("1")};
    s.tags[1] = (struct rn_tag){rn_span_text("host"), rn_span_text("forged")};
    s.tags[2] = (struct rn_tag){rn_span_text("z"), rn_span_text("3")};
    s.conf.host_key = rn_span_text("host");
    s.conf.host = rn_span_text("dev1");
    assert_string_equal(write_point(&s), "m,a=1,host=dev1,z=3 v=1i 7000000000\n");
    s.conf.host_key = rn_span_text("zz");
    assert_string_equal(write_point(&s), "m,a=1,host=forged,z=3,zz=dev1 v=1i 7000000000\n");
    s.conf.host_key = rn_span_text("A");
    assert_string_equal(write_point(&s), "m,A=dev1,a=1,host=forged,z=3 v=1i 7000000000\n");
}

static void a_time_beyond_64_bits_of_nanoseconds_is_left_out(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 2);
    s.grid.times[0] = INT64_MAX / 1000000000 + 1;
    assert_string_equal(write_point(&s), "");
    assert_int_equal(s.skipped, 2);
    s.grid.times[0] = INT64_MAX / 1000000000;
    assert_string_equal(write_point(&s), "m v=1i,v=2i 9223372036000000000\n");
}

static void a_line_that_does_not_fit_is_left_out_whole(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s, 0, 1);
    rn_buf_init_fixed(&s.out, s.bytes, 30);
    assert_int_equal(rn_lp_point(&s.out, &s.schema, &s.grid, 0, 0, 0, &s.conf), 1);
    size_t one = s.out.len;
    assert_int_equal(rn_lp_point(&s.out, &s.schema, &s.grid, 0, 0, 0, &s.conf), 0);
    assert_int_equal(s.out.len, one);
    assert_false(rn_buf_ok(&s.out));
}

static void a_grid_is_written_tick_by_tick(void **state)
{
    (void)state;
    struct rn_field field = {.name = rn_span_text("v"), .type = RN_INT, .mul = 1};
    struct rn_tag tags[] = {{rn_span_text("c"), rn_span_text("0")},
                            {rn_span_text("c"), rn_span_text("1")}};
    struct rn_series series[] = {{&tags[0], 1}, {&tags[1], 1}}, none = {NULL, 0};
    struct rn_group groups[] = {{rn_span_text("a"), 1, &field, 1, series, 2},
                                {rn_span_text("b"), 1, &field, 1, &none, 1}};
    struct rn_schema schema = {.unit_ns = 1, .groups = groups, .ngroups = 2, .ncolumns = 3};
    _Alignas(8) uint8_t storage[256];
    struct rn_grid grid;
    assert_int_equal(rn_grid_init(&grid, 2, 3, 0, storage, sizeof storage, NULL), RN_OK);
    grid.times[1] = 5;
    for (uint32_t i = 0; i < 6; i++) {
        grid.cells[i].i = i;
        grid.states[i] = i == 2 ? RN_CELL_MISSING : RN_CELL_SCALED;
    }
    struct rn_buf out;
    struct rn_lp_conf conf = {.uint_form = RN_LP_UINT_AS_INT};
    rn_buf_init(&out, 1000);
    assert_int_equal(rn_lp_grid(&out, &schema, &grid, &conf), 5);
    assert_string_equal(rn_buf_cstr(&out),
                        "a,c=0 v=0i 0\nb v=4i 0\na,c=0 v=1i 5\na,c=1 v=3i 5\nb v=5i 5\n");
    rn_buf_clear(&out);
    assert_int_equal(rn_lp_point(&out, &schema, &grid, 1, 0, 1, &conf), 1);
    assert_string_equal(rn_buf_cstr(&out), "b v=5i 5\n");
    rn_buf_release(&out);
}

// ---- in ----------------------------------------------------------------------------------------

static char line_copy[70000];
static struct rn_lp_line parsed;

static int parse_n(const char *line, size_t len)
{
    struct rn_err err = {.code = 0, .text = ""};
    memcpy(line_copy, line, len);
    int rc = rn_lp_parse(line_copy, len, &parsed, &err);
    if (rc < 0) {
        assert_int_equal(err.code, rc);
        assert_true(err.text[0] != 0);
    }
    return rc;
}

static int parse(const char *line)
{
    return parse_n(line, strlen(line));
}

static void reads_a_whole_line(void **state)
{
    (void)state;
    assert_int_equal(parse("cpu,host=a,core=b i=-3i,u=18446744073709551615u,f=1.5,g=2,b=t,s=\"x y\""
                           " 1600000000000000001"),
                     RN_OK);
    assert_true(rn_span_eq_text(parsed.measurement, "cpu"));
    assert_int_equal(parsed.ntags, 2);
    assert_true(rn_span_eq_text(parsed.tags[0].key, "core")); // sorted
    assert_true(rn_span_eq_text(parsed.tags[1].value, "a"));
    assert_int_equal(parsed.nfields, 6);
    assert_int_equal(parsed.fields[0].value.type, RN_INT);
    assert_int_equal(parsed.fields[0].value.i, -3);
    assert_int_equal(parsed.fields[1].value.type, RN_UINT);
    assert_true(parsed.fields[1].value.u == UINT64_MAX);
    assert_int_equal(parsed.fields[2].value.type, RN_FLOAT);
    assert_true(parsed.fields[2].value.d == 1.5);
    assert_int_equal(parsed.fields[3].value.type, RN_FLOAT);
    assert_int_equal(parsed.fields[4].value.type, RN_BOOL);
    assert_true(parsed.fields[4].value.b);
    assert_true(rn_span_eq_text(parsed.fields[5].value.text, "x y"));
    assert_true(parsed.has_time);
    assert_true(parsed.time_ns == 1600000000000000001);
}

static void reads_escapes_as_influxdb_does(void **state)
{
    (void)state;
    assert_int_equal(parse("a\\ b\\,c\\=d,k\\ k\\,k\\=k=v\\ v\\,v\\=v\\x f\\ f\\,f\\=f=1"), RN_OK);
    assert_true(rn_span_eq_text(parsed.measurement, "a b,c\\=d"));
    assert_true(rn_span_eq_text(parsed.tags[0].key, "k k,k=k"));
    assert_true(rn_span_eq_text(parsed.tags[0].value, "v v,v=v\\x"));
    assert_true(rn_span_eq_text(parsed.fields[0].name, "f f,f=f"));
    assert_int_equal(parse("m,k=a\\\\,b v=1"), RN_OK); // two backslashes and a comma
    assert_true(rn_span_eq_text(parsed.tags[0].value, "a\\,b"));
    assert_int_equal(parse("m s=\"a\\\"b\\\\c\\nd,e=f g\",n=1i"), RN_OK);
    assert_true(rn_span_eq_text(parsed.fields[0].value.text, "a\"b\\c\\nd,e=f g"));
    assert_int_equal(parsed.nfields, 2);
    assert_int_equal(parse("m s=\"a\nb\" 5"), RN_OK);
    assert_true(rn_span_eq_text(parsed.fields[0].value.text, "a\nb"));
    assert_int_equal(parse("m s=\"\""), RN_OK);
    assert_int_equal(parsed.fields[0].value.text.len, 0);
}

static void blanks_comments_and_carriage_returns_do_no_harm(void **state)
{
    (void)state;
    assert_int_equal(parse(""), RN_ENOENT);
    assert_int_equal(parse(" \t"), RN_ENOENT);
    assert_int_equal(parse("\r"), RN_ENOENT);
    assert_int_equal(parse("# m v=1"), RN_ENOENT);
    assert_int_equal(parse("  m   v=1   7  \r"), RN_OK);
    assert_int_equal(parsed.time_ns, 7);
    assert_int_equal(parse("m v=1 "), RN_OK);
    assert_false(parsed.has_time);
    assert_int_equal(parse("m v=1 -7"), RN_OK);
    assert_int_equal(parsed.time_ns, -7);
}

static void numbers_have_exactly_the_forms_of_the_protocol(void **state)
{
    (void)state;
    static const char *const good[] = {"0",
                                       "-0",
                                       "1.",
                                       ".5",
                                       "-.5",
                                       "1e5",
                                       "1E+5",
                                       "1.5e-300",
                                       "9223372036854775807i",
                                       "-1i",
                                       "1u",
                                       "0i",
                                       "-9223372036854775808i",
                                       "1e-400",
                                       "007",
                                       "123456789012345678901"};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      ".",
                                      "e5",
                                      "1e",
                                      "1e+",
                                      "0x10",
                                      "inf",
                                      "NaN",
                                      "nan",
                                      "1e400",
                                      "1.5i",
                                      "1.0u",
                                      "-1u",
                                      "1i2",
                                      "--1",
                                      "1 i",
                                      "9223372036854775808i",
                                      "i",
                                      "u",
                                      "18446744073709551616u",
                                      "tr",
                                      "tRUE",
                                      "1u1",
                                      "-9223372036854775809i",
                                      "1,",
                                      "\"a",
                                      "\"a\"b",
                                      "a\"b\""};
    char line[128];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(line, sizeof line, "m v=%s 5", good[i]);
        if (parse(line) != RN_OK || parsed.time_ns != 5)
            fail_msg("%s", line);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "m v=%s 5", bad[i]);
        if (parse(line) != RN_EFORMAT)
            fail_msg("%s", line);
    }
    char digits[300];
    memset(digits, '1', sizeof digits);
    memcpy(digits, "m v=", 4);
    assert_int_equal(parse_n(digits, sizeof digits), RN_EFORMAT);
    assert_int_equal(parse_n("m v=1\0002", 7), RN_EFORMAT);
}

static void ten_words_are_truth_values(void **state)
{
    (void)state;
    static const char *const words[] = {"t", "T", "true",  "True",  "TRUE",
                                        "f", "F", "false", "False", "FALSE"};
    char line[64];
    for (size_t i = 0; i < 10; i++) {
        snprintf(line, sizeof line, "m v=%s", words[i]);
        assert_int_equal(parse(line), RN_OK);
        assert_int_equal(parsed.fields[0].value.type, RN_BOOL);
        assert_int_equal(parsed.fields[0].value.b, i < 5);
    }
}

static void broken_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"m",
                                      "m ",
                                      "m,",
                                      "m,a",
                                      "m,a=",
                                      "m,a= v=1",
                                      "m,=b v=1",
                                      ",a=b v=1",
                                      " ,a=b v=1",
                                      "m,a=b",
                                      "m,a=b ",
                                      "m,a=b=c v=1",
                                      "m,a v=1",
                                      "m v",
                                      "m v=",
                                      "m =1",
                                      "m v=1,",
                                      "m v=1,,w=2",
                                      "m v=1 x",
                                      "m v=1 1.5",
                                      "m v=1 1 1",
                                      "m v=1 -",
                                      "m v=1 9223372036854775808",
                                      "m,a=1,a=2 v=1",
                                      "m,b=1,a=2,b=3 v=1",
                                      "m a b=1",
                                      "m,a=1,b v=1",
                                      "m v=1\tw=2",
                                      "m\\ v=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i]) != RN_EFORMAT)
            fail_msg("%s", bad[i]);
}

static void tags_and_fields_are_bounded(void **state)
{
    (void)state;
    static char line[16 * RN_LP_MAX_FIELDS];
    int len = snprintf(line, sizeof line, "m");
    for (int i = 0; i < RN_SCHEMA_MAX_TAGS; i++)
        len += snprintf(line + len, sizeof line - (size_t)len, ",t%d=x", i);
    snprintf(line + len, sizeof line - (size_t)len, " v=1");
    assert_int_equal(parse(line), RN_OK);
    snprintf(line + len, sizeof line - (size_t)len, ",t=x v=1");
    assert_int_equal(parse(line), RN_ELIMIT);
    len = snprintf(line, sizeof line, "m f=1");
    for (int i = 1; i < RN_LP_MAX_FIELDS; i++)
        len += snprintf(line + len, sizeof line - (size_t)len, ",f%d=1", i);
    assert_int_equal(parse(line), RN_OK);
    assert_int_equal(parsed.nfields, RN_LP_MAX_FIELDS);
    snprintf(line + len, sizeof line - (size_t)len, ",g=1");
    assert_int_equal(parse(line), RN_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_every_type),
        cmocka_unit_test(large_unsigned_numbers_are_left_out_where_there_is_no_type_for_them),
        cmocka_unit_test(separators_are_escaped),
        cmocka_unit_test(nothing_breaks_a_line),
        cmocka_unit_test(what_has_no_safe_form_is_shown_by_a_look_alike),
        cmocka_unit_test(exact_lines_keep_what_the_grammar_can_carry),
        cmocka_unit_test(a_measurement_never_makes_a_comment),
        cmocka_unit_test(a_field_name_never_opens_a_text),
        cmocka_unit_test(empty_names_are_left_out),
        cmocka_unit_test(the_host_stands_in_order_and_wins),
        cmocka_unit_test(a_time_beyond_64_bits_of_nanoseconds_is_left_out),
        cmocka_unit_test(a_line_that_does_not_fit_is_left_out_whole),
        cmocka_unit_test(a_grid_is_written_tick_by_tick),
        cmocka_unit_test(reads_a_whole_line),
        cmocka_unit_test(reads_escapes_as_influxdb_does),
        cmocka_unit_test(blanks_comments_and_carriage_returns_do_no_harm),
        cmocka_unit_test(numbers_have_exactly_the_forms_of_the_protocol),
        cmocka_unit_test(ten_words_are_truth_values),
        cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(tags_and_fields_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
