// dead.db: bounded, without doubles, the oldest first.
#include "bridge/deadletters.h"

#include <runnel/clock.h>
#include <runnel/file.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bench {
    char folder[64];
    struct deadletters *store;
};

static void reopen(struct bench *b, int64_t max_bytes, int64_t max_age_ms)
{
    struct deadletters_conf conf = {b->folder, max_bytes, max_age_ms};
    struct rn_err err;
    deadletters_close(b->store);
    b->store = NULL;
    if (deadletters_open(&b->store, &conf, &err) < 0)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    snprintf(b->folder, sizeof b->folder, "/tmp/runnel-test-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    reopen(b, 0, 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    deadletters_close(b->store);
    assert_int_equal(rn_remove_tree(b->folder, NULL), RN_OK);
    free(b);
    return 0;
}

static void put(struct bench *b, const char *sink, uint64_t seq, const char *line, int64_t time_ms)
{
    struct rn_err err;
    struct dead_letter letter = {.kind = DEAD_POINT,
                                 .sink = sink,
                                 .dev = "dev",
                                 .install = 0x7fffffffffffffff,
                                 .seq = seq,
                                 .type = 'm',
                                 .time_ms = time_ms,
                                 .body = rn_span_text(line),
                                 .reason = "because"};
    if (deadletters_put(b->store, &letter, &err) < 0)
        fail_msg("%s", err.text);
}

static void commit(struct bench *b)
{
    struct rn_err err;
    if (deadletters_commit(b->store, &err) < 0)
        fail_msg("%s", err.text);
}

struct list {
    int n;
    int64_t id[200];
    char line[40];
    struct dead_letter last;
};

static bool note(void *arg, const struct dead_letter *letter)
{
    struct list *list = arg;
    if (list->n == 0)
        snprintf(list->line, sizeof list->line, "%.*s", (int)letter->body.len, letter->body.data);
    list->id[list->n++] = letter->id;
    list->last = *letter;
    return true;
}

static struct list list_of(struct bench *b, const char *sink, int64_t after, uint32_t max)
{
    struct list list = {0};
    struct rn_err err;
    int n = deadletters_list(b->store, sink, after, max, note, &list, &err);
    assert_int_equal(n, list.n);
    return list;
}

static struct deadletters_counts counts(struct bench *b)
{
    struct deadletters_counts counts;
    assert_int_equal(deadletters_counts(b->store, &counts, NULL), RN_OK);
    return counts;
}

static void what_is_put_is_listed_in_pages_by_sink(void **state)
{
    struct bench *b = *state;
    for (uint64_t i = 0; i < 10; i++)
        put(b, i % 2 ? "odd" : "even", i, "m v=1 1", 0);
    commit(b);
    assert_int_equal(list_of(b, "", 0, 100).n, 10);
    assert_int_equal(list_of(b, NULL, 0, 100).n, 10);
    struct list page = list_of(b, "odd", 0, 3);
    assert_int_equal(page.n, 3);
    page = list_of(b, "odd", page.id[2], 3);
    assert_int_equal(page.n, 2);
    assert_true(page.last.install == 0x7fffffffffffffff);
    assert_int_equal(page.last.seq, 9);
    assert_int_equal(page.last.type, 'm');
    assert_true(page.last.time_ms > 1700000000000);
    assert_int_equal(counts(b).letters, 10);
    assert_int_equal(counts(b).bytes, 70);
}

static void the_same_again_makes_no_double_and_nothing_is_kept_without_a_commit(void **state)
{
    struct bench *b = *state;
    put(b, "s", 1, "m v=1 1", 0);
    put(b, "s", 1, "m v=1 1", 0);
    put(b, "s", 1, "m v=1 2", 0);
    commit(b);
    put(b, "s", 2, "m v=1 1", 0);
    reopen(b, 0, 0);
    assert_int_equal(list_of(b, "", 0, 100).n, 2);
    put(b, "s", 1, "m v=1 1", 0);
    commit(b);
    assert_int_equal(counts(b).letters, 2);
}

static void the_oldest_go_first_and_are_counted_when_there_are_too_many_bytes(void **state)
{
    struct bench *b = *state;
    reopen(b, 1000, 0);
    for (uint64_t i = 0; i < 300; i++) {
        char line[40];
        snprintf(line, sizeof line, "m v=%03d 1", (int)i);
        put(b, "s", i, line, 0);
        commit(b);
    }
    struct deadletters_counts c = counts(b);
    assert_true(c.bytes <= 1000);
    assert_int_equal(c.letters + c.dropped, 300);
    struct list list = list_of(b, "", 0, 200);
    assert_int_equal(list.n, c.letters);
    char first[40];
    snprintf(first, sizeof first, "m v=%03d 1", (int)c.dropped);
    assert_string_equal(list.line, first);
}

static void what_is_too_old_goes(void **state)
{
    struct bench *b = *state;
    reopen(b, 0, 3600000);
    put(b, "s", 1, "m v=1 1", rn_clock_utc_ms() - 7200000);
    put(b, "s", 2, "m v=2 1", rn_clock_utc_ms() - 60000);
    commit(b);
    assert_int_equal(list_of(b, "", 0, 10).n, 1);
    assert_int_equal(counts(b).dropped, 1);
}

static void replay_marks_points_and_a_failure_clears_the_mark_and_counts(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    put(b, "a", 1, "m v=1 1", 0);
    put(b, "a", 2, "m v=2 1", 0);
    put(b, "b", 3, "m v=3 1", 0);
    commit(b);
    struct list all = list_of(b, "", 0, 10), waiting = {0};
    assert_int_equal(deadletters_replay(b->store, all.id[0], NULL, &err), 1);
    assert_int_equal(deadletters_waiting(b->store, "a", 10, note, &waiting, &err), 1);
    assert_int_equal(waiting.id[0], all.id[0]);
    assert_int_equal(deadletters_failed(b->store, all.id[0], "again", &err), 1);
    waiting.n = 0;
    assert_int_equal(deadletters_waiting(b->store, "a", 10, note, &waiting, &err), 0);
    assert_int_equal(list_of(b, "a", 0, 1).last.attempts, 1);
    assert_int_equal(deadletters_replay(b->store, 0, "a", &err), 2);
    assert_int_equal(deadletters_replay(b->store, 0, "", &err), 3);
    assert_int_equal(deadletters_replay(b->store, 999, NULL, &err), RN_ENOENT);
}

static void letters_can_be_deleted_by_id_by_sink_and_all(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    for (uint64_t i = 0; i < 6; i++)
        put(b, i % 2 ? "odd" : "even", i, "m v=1 1", 0);
    commit(b);
    assert_int_equal(deadletters_delete(b->store, list_of(b, "", 0, 10).id[0], NULL, &err), 1);
    assert_int_equal(deadletters_delete(b->store, 0, "odd", &err), 3);
    assert_int_equal(deadletters_delete(b->store, 0, NULL, &err), 2);
    assert_int_equal(counts(b).letters, 0);
    assert_int_equal(counts(b).bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_is_listed_in_pages_by_sink),
        TEST(the_same_again_makes_no_double_and_nothing_is_kept_without_a_commit),
        TEST(the_oldest_go_first_and_are_counted_when_there_are_too_many_bytes),
        TEST(what_is_too_old_goes),
        TEST(replay_marks_points_and_a_failure_clears_the_mark_and_counts),
        TEST(letters_can_be_deleted_by_id_by_sink_and_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
