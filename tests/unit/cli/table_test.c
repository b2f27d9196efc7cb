// The commands' table and their options; lines of line protocol from a stream.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/lines.h"

#include <stdlib.h>
#include <string.h>

static void every_command_explains_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_table_count; i++) {
        const struct cli_command *command = cli_table[i];
        assert_ptr_equal(cli_find(command->name), command); // the name is its own
        assert_true(strlen(command->name) <= 10);           // fits the overview
        assert_true(command->help && strlen(command->help) > 10);
        assert_non_null(command->usage);
        assert_non_null(command->run);
    }
    assert_null(cli_find("nonsense"));
}

static void every_option_has_a_good_default_and_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_table_count; i++) {
        const struct cli_command *command = cli_table[i];
        void *conf = calloc(1, command->conf_size + 1);
        struct rn_err err = {.text = ""};
        assert_true(command->nopts <= CLI_OPTIONS_MAX);
        if (rn_opt_defaults(command->opts, command->nopts, conf, &err) < 0)
            fail_msg("%s: %s", command->name, err.text);
        for (size_t o = 0; o < command->nopts; o++) {
            const struct rn_opt *row = &command->opts[o];
            assert_non_null(row->help);
            assert_true(row->offset + row->size <= command->conf_size);
            assert_ptr_equal(rn_opt_find(command->opts, command->nopts, row->key), row);
            if (row->type == RN_OPT_BOOL) // a switch can only be turned on
                assert_string_equal(row->def, "false");
        }
        free(conf);
    }
}

// Reads all lines of text and compares each with its number: "1:first", "2:second", ...
static void expect_lines(const char *text, size_t len, const char *const *expected, size_t count)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, len, "r");
    struct lines in;
    char *line;
    size_t size, seen = 0;
    uint64_t number;
    int rc;
    assert_int_equal(lines_init(&in, file, NULL), RN_OK);
    while ((rc = lines_next(&in, &line, &size, &number, NULL)) == 1) {
        char *got = NULL;
        assert_true(seen < count);
        assert_true(asprintf(&got, "%llu:%.*s", (unsigned long long)number, (int)size, line) > 0);
        assert_string_equal(got, expected[seen++]);
        free(got);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(seen, count);
    lines_release(&in);
    fclose(file);
}

static void a_newline_ends_a_line_unless_it_is_in_a_text(void **state)
{
    (void)state;
    static const char *const expected[] = {"1:a v=1",
                                           "2:b t=\"x\ny\\\"\nz\",w=2",
                                           "5:# it's \"a comment",
                                           "6:",
                                           "7:c\"d v=\\",
                                           "8:f g\\=\"h=1",
                                           "9:e v=1"};
    const char *text = "a v=1\nb t=\"x\ny\\\"\nz\",w=2\n# it's \"a comment\n\nc\"d v=\\\n"
                       "f g\\=\"h=1\ne v=1";
    expect_lines(text, strlen(text), expected, 7);
}

// As the reader of a line has it: outside of texts a backslash means itself but before a separator.
static void a_backslash_before_a_backslash_is_no_escape_in_a_name(void **state)
{
    (void)state;
    static const char *const expected[] = {"1:m\\\\ x,t=\"q v=1", "2:n v=\"x\""};
    const char *text = "m\\\\ x,t=\"q v=1\nn v=\"x\"";
    expect_lines(text, strlen(text), expected, 2);
}

static void a_line_that_is_too_long_is_left_out(void **state)
{
    (void)state;
    size_t len = (size_t)LINES_MAX * 3;
    char *text = malloc(len);
    memset(text, 'x', len);
    memcpy(text, "a v=1\n", 6);
    memcpy(text + len - 7, "\nb v=2\n", 7);
    FILE *file = fmemopen(text, len, "r");
    struct lines in;
    char *line;
    size_t size;
    uint64_t number;
    assert_int_equal(lines_init(&in, file, NULL), RN_OK);
    assert_int_equal(lines_next(&in, &line, &size, &number, NULL), 1);
    assert_int_equal(lines_next(&in, &line, &size, &number, NULL), RN_ELIMIT);
    assert_int_equal(number, 2);
    assert_int_equal(lines_next(&in, &line, &size, &number, NULL), 1);
    assert_int_equal(number, 3);
    assert_memory_equal(line, "b v=2", 5);
    assert_int_equal(lines_next(&in, &line, &size, &number, NULL), 0);
    lines_release(&in);
    fclose(file);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_explains_itself),
        cmocka_unit_test(every_option_has_a_good_default_and_a_sentence),
        cmocka_unit_test(a_newline_ends_a_line_unless_it_is_in_a_text),
        cmocka_unit_test(a_backslash_before_a_backslash_is_no_escape_in_a_name),
        cmocka_unit_test(a_line_that_is_too_long_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
