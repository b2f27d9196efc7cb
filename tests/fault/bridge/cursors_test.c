// The cursors with one allocation, write or sync failing anywhere: nothing is lost, nothing is
// there twice, everything goes on by itself.
#include "bridge/cursors.h"
#include "bridge/deadletters.h"
#include "tests/support/faults.h"
#include "tests/support/log_fixture.h"

#include <errno.h>
#include <runnel/rand.h>
#include <time.h>

#include <cmocka.h>

#define BATCHES 12
#define TICKS   8
#define OLD     3 // ticks of the first batch that are outside the time window
#define WAIT_MS 30000

struct bench {
    struct log_fixture fix;
    struct rn_loop *loop;
    struct rn_timer *poll;
    struct cursors *cursors;
    struct cursor_conf conf;
    struct cursor_opts opts;
    void *file_conf;
    int64_t give_up_ms;
};

static void on_moved(void *arg, uint32_t cursor, uint64_t position)
{
    (void)arg;
    (void)cursor;
    (void)position;
}

static void on_refused(void *arg, const struct cursor_refusal *refusal)
{
    (void)arg;
    (void)refusal;
}

static bool all_at_head(struct bench *b)
{
    for (uint32_t i = 0; i < cursors_count(b->cursors); i++)
        if (cursors_position(b->cursors, i) < log_head(b->fix.log))
            return false;
    return true;
}

static void on_poll(void *arg)
{
    struct bench *b = arg;
    if (all_at_head(b) || rn_clock_mono_ms() > b->give_up_ms)
        rn_loop_stop(b->loop);
}

static int start(struct bench *b, struct rn_err *err)
{
    struct cursors_conf conf = {.folder = b->fix.folder,
                                .log_id = log_id(b->fix.log),
                                .log_head = log_head(b->fix.log),
                                .time_past_ms = 86400000,
                                .time_future_ms = 3600000,
                                .schema_cache_bytes = 1 << 20,
                                .dead_max_bytes = 1 << 20,
                                .max_last_values = 100,
                                .cursor = &b->conf,
                                .ncursors = 1};
    struct cursors_callbacks callbacks = {b, on_moved, on_refused};
    return cursors_new(&b->cursors, &conf, b->loop, &callbacks, err);
}

static void set(struct bench *b, const struct rn_sink *sink, const char *key, const char *value)
{
    struct rn_err err;
    const struct rn_opt *row = rn_opt_find(sink->opts, sink->nopts, key);
    assert_non_null(row);
    fixture_ok(rn_opt_set(row, b->file_conf, value, &err), &err);
}

static struct bench *new_bench(void)
{
    struct rn_err err;
    char path[100];
    const struct rn_sink *sink = sink_find("file");
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    b->file_conf = calloc(1, sink->conf_size);
    fixture_ok(rn_opt_defaults(sink->opts, sink->nopts, b->file_conf, &err), &err);
    fixture_ok(rn_opt_defaults(cursor_opt_rows, cursor_opt_count, &b->opts, &err), &err);
    snprintf(path, sizeof path, "%s/out/f", b->fix.folder);
    set(b, sink, "path", path);
    set(b, sink, "max_bytes", "1000");
    b->opts.gather_ms = 0;
    b->opts.max_batches = 3;
    b->opts.retry_min_ms = b->opts.retry_max_ms = 10;
    b->conf = (struct cursor_conf){"file", sink, b->file_conf, &b->opts, true};
    fixture_ok(rn_loop_new(&b->loop, &err), &err);
    fixture_ok(rn_timer_new(&b->poll, b->loop, on_poll, b, &err), &err);
    int64_t now = rn_clock_utc_ms();
    fixture_append(&b->fix, "dev-a", now - 2 * 86400000LL, OLD, 100000);
    for (int i = 0; i < BATCHES; i++)
        fixture_append(&b->fix, "dev-a", now - 100000, TICKS, (int64_t)i * TICKS);
    (void)fixture_commit(&b->fix);
    return b;
}

static void free_bench(struct bench *b)
{
    cursors_free(b->cursors);
    rn_timer_free(b->poll);
    rn_loop_free(b->loop);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b->file_conf);
    free(b);
}

static bool count_letter(void *arg, const struct dead_letter *letter)
{
    (void)letter;
    ++*(int *)arg;
    return true;
}

// Every value of "i" in the files, once.
static void check_files(struct bench *b)
{
    int seen[BATCHES * TICKS] = {0};
    char folder[100], **names;
    int count;
    struct rn_err err;
    snprintf(folder, sizeof folder, "%s/out", b->fix.folder);
    fixture_ok(rn_names_list(folder, "", 1000, &names, &count, &err), &err);
    for (int i = 0; i < count; i++) {
        char path[400];
        struct rn_buf text;
        rn_buf_init(&text, 1 << 20);
        fixture_ok(rn_path_join(path, sizeof path, folder, names[i], &err), &err);
        fixture_ok(rn_file_read(path, &text, &err), &err);
        for (const char *at = strstr(rn_buf_cstr(&text), " i="); at; at = strstr(at + 1, " i=")) {
            long value = strtol(at + 3, NULL, 10);
            assert_in_range(value, 0, BATCHES * TICKS - 1);
            seen[value]++;
        }
        rn_buf_release(&text);
    }
    rn_names_free(names, count);
    for (int i = 0; i < BATCHES * TICKS; i++)
        if (seen[i] != 1)
            fail_msg("point %d is there %d times", i, seen[i]);
}

static void check_dead(struct bench *b)
{
    struct rn_err err;
    struct deadletters *dead;
    struct deadletters_conf conf = {b->fix.folder, 1 << 20, 0};
    int letters = 0;
    fixture_ok(deadletters_open(&dead, &conf, &err), &err);
    fixture_ok(deadletters_list(dead, "file", 0, 1000, count_letter, &letters, &err), &err);
    assert_int_equal(letters, OLD);
    deadletters_close(dead);
}

// Returns false if the fault was never met.
static bool play(unsigned what, long nth, int error)
{
    struct rn_err err;
    struct bench *b = new_bench();
    faults_arm(what, nth, error);
    int rc = start(b, &err);
    if (rc < 0) {
        faults_disarm();
        fixture_ok(start(b, &err), &err);
    }
    b->give_up_ms = rn_clock_mono_ms() + WAIT_MS;
    rn_timer_start(b->poll, 1, 2);
    rn_loop_run(b->loop);
    rn_timer_stop(b->poll);
    bool met = rc < 0 || faults_disarm();
    if (!all_at_head(b)) {
        struct cursor_status s;
        for (uint32_t i = 0; i < cursors_count(b->cursors); i++) {
            cursors_status(b->cursors, i, &s);
            print_message("%s at %llu: %s\n", cursors_name(b->cursors, i),
                          (unsigned long long)s.position, s.text);
        }
        fail_msg("stands still after fault %u number %ld", what, nth);
    }
    cursors_free(b->cursors);
    b->cursors = NULL;
    check_files(b);
    check_dead(b);
    free_bench(b);
    return met;
}

// The threads interleave as they like, so the n-th call is not the same one each time: a sample of
// all n, from a seed, until n is beyond the last one.
static void play_sample(unsigned what, int error, uint32_t largest_step)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    struct rn_rand rand;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    rn_rand_init(&rand, seed);
    long met = 0;
    for (long n = 1 + (long)rn_rand_below(&rand, 4); play(what, n, error) && met < 12; met++)
        n += 1 + (long)rn_rand_below(&rand, largest_step);
    assert_true(met > 3);
}

static void survives_a_failed_allocation_anywhere(void **state)
{
    (void)state;
    play_sample(FAULT_ALLOC, ENOMEM, 25);
}

static void survives_a_failed_write_anywhere(void **state)
{
    (void)state;
    play_sample(FAULT_WRITE, ENOSPC, 15);
}

static void survives_a_failed_sync_anywhere(void **state)
{
    (void)state;
    play_sample(FAULT_SYNC, EIO, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_a_failed_allocation_anywhere),
        cmocka_unit_test(survives_a_failed_write_anywhere),
        cmocka_unit_test(survives_a_failed_sync_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
