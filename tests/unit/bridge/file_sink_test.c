// The file sink: what is not covered by its saved state is undone; numbered files, rotated.
#include "bridge/sink/sink.h"

#include <runnel/file.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    char folder[64], path[100];
    const struct rn_sink *sink;
    void *conf, *state;
    struct sink_host host;
    struct rn_buf saved;
    enum sink_outcome outcome;
    uint32_t completed;
    struct rn_tag tag[1];
    struct rn_field field[1];
    struct rn_series series[1];
    struct rn_group group[1];
    struct rn_schema schema;
    struct rn_grid grid;
    uint64_t storage[64];
};

static void on_complete(void *arg, const struct sink_result *result)
{
    struct bench *b = arg;
    b->outcome = result->outcome;
    b->completed++;
}

static void set(struct bench *b, const char *key, const char *value)
{
    struct rn_err err;
    const struct rn_opt *row = rn_opt_find(b->sink->opts, b->sink->nopts, key);
    assert_non_null(row);
    if (rn_opt_set(row, b->conf, value, &err) < 0)
        fail_msg("%s", err.text);
}

static void make_schema(struct bench *b)
{
    b->tag[0] = (struct rn_tag){rn_span_text("a"), rn_span_text("b")};
    b->field[0] = (struct rn_field){.name = rn_span_text("v"), .type = RN_INT, .mul = 1};
    b->series[0] = (struct rn_series){b->tag, 1};
    b->group[0] = (struct rn_group){rn_span_text("m"), 1, b->field, 1, b->series, 1};
    b->schema = (struct rn_schema){.unit_ns = 1, .groups = b->group, .ngroups = 1, .ncolumns = 1};
    assert_int_equal(rn_grid_init(&b->grid, 1, 1, 0, b->storage, sizeof b->storage, NULL), RN_OK);
}

static int setup(void **state)
{
    struct rn_err err;
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    snprintf(b->folder, sizeof b->folder, "/tmp/runnel-test-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->path, sizeof b->path, "%s/sub/out.lp", b->folder);
    b->sink = sink_find("file");
    b->conf = calloc(1, b->sink->conf_size);
    b->state = calloc(1, b->sink->state_size);
    b->host = (struct sink_host){.arg = b, .complete = on_complete, .name = "f"};
    rn_buf_init(&b->saved, SINK_SAVED_MAX);
    assert_int_equal(rn_opt_defaults(b->sink->opts, b->sink->nopts, b->conf, &err), RN_OK);
    set(b, "path", b->path);
    make_schema(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    b->sink->close(b->state);
    assert_int_equal(rn_remove_tree(b->folder, NULL), RN_OK);
    rn_buf_release(&b->saved);
    free(b->conf);
    free(b->state);
    free(b);
    return 0;
}

// What a crash leaves: nothing in memory, the files as they are, the state as last committed.
static void reopen(struct bench *b)
{
    struct rn_err err;
    b->sink->close(b->state);
    memset(b->state, 0, b->sink->state_size);
    b->host.saved = rn_buf_span(&b->saved);
    if (b->sink->open(b->state, b->conf, NULL, &b->host, &err) < 0)
        fail_msg("%s", err.text);
}

static void write_value(struct bench *b, int64_t value)
{
    b->grid.times[0] = value;
    b->grid.cells[0].i = value;
    b->grid.states[0] = RN_CELL_SCALED;
    struct rn_run run = {.dev = "dev", .schema = &b->schema, .grid = &b->grid};
    const struct rn_run *runs[] = {&run};
    uint32_t before = b->completed;
    b->sink->write(b->state, runs, 1);
    assert_int_equal(b->completed, before + 1);
    assert_int_equal(b->outcome, SINK_DONE);
}

static void flush_and_save(struct bench *b)
{
    b->sink->flush(b->state);
    assert_int_equal(b->outcome, SINK_DONE);
    rn_buf_clear(&b->saved);
    b->sink->save(b->state, &b->saved);
}

static void check_file(struct bench *b, int number, const char *content)
{
    char path[120];
    struct rn_buf got;
    snprintf(path, sizeof path, "%s.%06d", b->path, number);
    rn_buf_init(&got, 65536);
    if (!content) {
        assert_int_equal(access(path, F_OK), -1);
        return;
    }
    struct rn_err err;
    if (rn_file_read(path, &got, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(rn_buf_cstr(&got), content);
    rn_buf_release(&got);
}

static void what_was_written_after_the_last_commit_is_undone(void **state)
{
    struct bench *b = *state;
    reopen(b);
    write_value(b, 1);
    flush_and_save(b);
    write_value(b, 2);
    check_file(b, 1, "m,a=b,host=dev v=1i 1\nm,a=b,host=dev v=2i 2\n");
    reopen(b);
    check_file(b, 1, "m,a=b,host=dev v=1i 1\n");
    write_value(b, 2);
    write_value(b, 3);
    flush_and_save(b);
    reopen(b);
    check_file(b, 1, "m,a=b,host=dev v=1i 1\nm,a=b,host=dev v=2i 2\nm,a=b,host=dev v=3i 3\n");
}

static void a_rotation_that_was_not_committed_is_undone_too(void **state)
{
    struct bench *b = *state;
    set(b, "max_bytes", "30");
    reopen(b);
    write_value(b, 1);
    write_value(b, 2);
    flush_and_save(b);
    write_value(b, 3);
    check_file(b, 2, "m,a=b,host=dev v=3i 3\n");
    reopen(b);
    check_file(b, 2, NULL);
    write_value(b, 3);
    flush_and_save(b);
    reopen(b);
    check_file(b, 1, "m,a=b,host=dev v=1i 1\nm,a=b,host=dev v=2i 2\n");
    check_file(b, 2, "m,a=b,host=dev v=3i 3\n");
}

static void only_so_many_files_are_kept(void **state)
{
    struct bench *b = *state;
    set(b, "max_bytes", "1");
    set(b, "keep", "2");
    reopen(b);
    for (int i = 1; i <= 5; i++)
        write_value(b, i);
    check_file(b, 3, NULL);
    check_file(b, 4, "m,a=b,host=dev v=4i 4\n");
    check_file(b, 5, "m,a=b,host=dev v=5i 5\n");
}

static void without_a_saved_state_a_new_file_begins_and_old_ones_stay(void **state)
{
    struct bench *b = *state;
    reopen(b);
    write_value(b, 1);
    rn_buf_clear(&b->saved);
    reopen(b);
    write_value(b, 2);
    check_file(b, 1, "m,a=b,host=dev v=1i 1\n");
    check_file(b, 2, "m,a=b,host=dev v=2i 2\n");
}

static void writes_json_lines_and_a_host_tag_of_any_name_or_none(void **state)
{
    struct bench *b = *state;
    set(b, "format", "ndjson");
    reopen(b);
    write_value(b, 1);
    check_file(b, 1,
               "{\"device\":\"dev\",\"measurement\":\"m\",\"tags\":{\"a\":\"b\"},"
               "\"fields\":{\"v\":1},\"time_ns\":1}\n");
    set(b, "format", "line");
    set(b, "host_tag", "");
    reopen(b);
    write_value(b, 2);
    check_file(b, 2, "m,a=b v=2i 2\n");
}

static void says_why_it_cannot_write(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    set(b, "path", "/proc/nowhere/out");
    assert_true(b->sink->open(b->state, b->conf, NULL, &b->host, &err) < 0);
    assert_non_null(strstr(err.text, "/proc/nowhere"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_after_the_last_commit_is_undone),
        TEST(a_rotation_that_was_not_committed_is_undone_too),
        TEST(only_so_many_files_are_kept),
        TEST(without_a_saved_state_a_new_file_begins_and_old_ones_stay),
        TEST(writes_json_lines_and_a_host_tag_of_any_name_or_none),
        TEST(says_why_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
