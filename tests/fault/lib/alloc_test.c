// Every single allocation of base and sys fails once: the call says so, what was there stays
// usable, and nothing leaks (the leak checker of the sanitizer build is the judge).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/faults.h"
#include <runnel/conf.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <runnel/map.h>
#include <runnel/queue.h>
#include <runnel/ring.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Runs the scenario with the first, second, ... allocation failing until it makes no more.
static void fail_each(int (*scenario)(void *arg), void *arg, long at_least)
{
    for (long n = 1;; n++) {
        faults_arm(FAULT_ALLOC, n, 0);
        int rc = scenario(arg);
        if (!faults_disarm()) {
            assert_int_equal(rc, RN_OK);
            assert_true(n > at_least);
            return;
        }
        if (rc != RN_ENOMEM)
            fail_msg("allocation %ld failed and the result was %d", n, rc);
    }
}

static int fill_a_buffer(void *arg)
{
    (void)arg;
    struct rn_buf buf;
    rn_buf_init(&buf, 10000);
    size_t written = 0;
    while (rn_buf_ok(&buf) && written < 9000) {
        size_t before = buf.len;
        rn_buf_printf(&buf, "%0100d", 7);
        written += 100;
        assert_int_equal(buf.len, rn_buf_ok(&buf) ? before + 100 : before);
    }
    int rc = rn_buf_status(&buf);
    rn_buf_release(&buf);
    return rc;
}

static int put_all(struct rn_map *map, int *values, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        int rc = rn_map_put(map, rn_span_text(key), &values[i]);
        if (rc < 0) { // the entries before are all still there, this one is not
            assert_int_equal(map->count, i);
            assert_null(rn_map_get(map, rn_span_text(key)));
            if (i > 0)
                assert_ptr_equal(rn_map_get(map, rn_span_text("0")), &values[0]);
            return rc;
        }
    }
    return RN_OK;
}

static int fill_a_map(void *arg)
{
    (void)arg;
    int values[40];
    struct rn_map map;
    rn_map_init(&map, 40, 3);
    int rc = put_all(&map, values, 40);
    rn_map_release(&map);
    return rc;
}

static int make_a_ring(void *arg)
{
    (void)arg;
    struct rn_ring ring;
    int rc = rn_ring_init(&ring, 8, 100);
    rn_ring_release(&ring);
    return rc;
}

static void nothing(void *arg)
{
    (void)arg;
}

static int make_a_loop_with_a_queue(void *arg)
{
    (void)arg;
    struct rn_err err;
    struct rn_loop *loop = NULL;
    struct rn_timer *timer = NULL;
    struct rn_wake *wake = NULL;
    struct rn_queue *queue = NULL;
    int rc = rn_loop_new(&loop, &err);
    if (rc == RN_OK)
        rc = rn_timer_new(&timer, loop, nothing, NULL, &err);
    if (rc == RN_OK)
        rc = rn_wake_new(&wake, loop, nothing, NULL, &err);
    if (rc == RN_OK)
        rc = rn_queue_new(&queue, 10, 10, wake, free, &err);
    assert_true(rc == RN_OK || err.code == rc);
    rn_queue_free(queue);
    rn_wake_free(wake);
    rn_timer_free(timer);
    rn_loop_free(loop);
    return rc;
}

static void base_objects_survive_every_single_allocation_failure(void **state)
{
    (void)state;
    fail_each(fill_a_buffer, NULL, 5);
    fail_each(fill_a_map, NULL, 40);
    fail_each(make_a_ring, NULL, 1);
}

static void loop_and_queue_survive_every_single_allocation_failure(void **state)
{
    (void)state;
    fail_each(make_a_loop_with_a_queue, NULL, 5);
}

// --- with a folder --------------------------------------------------------------------------

static int start(void **state)
{
    char *folder = strdup("/tmp/runnel-alloc-XXXXXX");
    *state = folder;
    return folder && mkdtemp(folder) ? 0 : -1;
}

static int stop(void **state)
{
    int rc = rn_remove_tree(*state, NULL);
    free(*state);
    return rc;
}

static const char *in(const char *folder, const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int list_names(void *arg)
{
    char **names = NULL;
    int count = 0;
    int rc = rn_names_list(arg, ".yaml", 10, &names, &count, NULL);
    if (rc == RN_OK)
        rn_names_free(names, count);
    return rc;
}

struct settings {
    char name[32];
    int64_t period;
};
static const struct rn_opt rows[] = {
    {"name", RN_OPT_TEXT, offsetof(struct settings, name), 32, 0, 0, NULL, 0, NULL, "Who."},
    {"a.period", RN_OPT_DURATION, offsetof(struct settings, period), 0, 0, 0, "1s", 0, NULL,
     "When."},
};

static int load_folder(void *arg)
{
    struct settings settings;
    struct rn_conf_section section = {"", rows, RN_OPT_COUNT(rows), &settings, NULL};
    struct rn_conf conf = {.sections = &section, .nsections = 1};
    int rc = rn_conf_init(&conf, NULL);
    return rc < 0 ? rc : rn_conf_folder(&conf, arg, NULL);
}

static int use_a_database(void *arg)
{
    struct rn_db *db = NULL;
    struct rn_stmt *stmt = NULL;
    struct rn_db_conf conf = {.path = in(arg, "a.db")};
    int rc = rn_db_open(&db, &conf, NULL);
    if (rc == RN_OK)
        rc = rn_db_prepare(&stmt, db, "SELECT 1", NULL);
    rn_stmt_free(stmt);
    rn_db_close(db);
    return rc;
}

static void folders_files_and_configuration_survive_every_single_allocation_failure(void **state)
{
    assert_int_equal(rn_file_replace(in(*state, "1.yaml"),
                                     rn_span_text("name: x\na: {period: 2s}\n"), 0600, NULL),
                     0);
    assert_int_equal(rn_file_replace(in(*state, "2.yaml"), rn_span_text("name: y\n"), 0600, NULL),
                     RN_OK);
    fail_each(list_names, *state, 3);
    fail_each(load_folder, *state, 8);
    fail_each(use_a_database, *state, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_objects_survive_every_single_allocation_failure),
        cmocka_unit_test(loop_and_queue_survive_every_single_allocation_failure),
        cmocka_unit_test_setup_teardown(
            folders_files_and_configuration_survive_every_single_allocation_failure, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
