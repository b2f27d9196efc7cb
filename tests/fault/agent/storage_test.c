// What keeps the samples when the disk fails: how it comes back, and how often it tries.
#include "agent/storage.h"
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/file.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    ROWS = 400,
    BODY = 300,
    NO_ROOM = 64 << 10, // for what is in memory, not for what is salvaged
    LOOKS = 250,
};

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/storage_test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    return rn_remove_tree(folder, NULL);
}

static void path_of(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", folder, name);
}

// ---- a buffer with a page that is none any more -------------------------------------------------

static void fill(void)
{
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct store_report report;
    struct store *s;
    uint8_t hash[RN_HASH_BYTES], body[BODY] = {1};
    struct store_row row = {
        .samples = 10, .crc = rn_crc32c(0, body, sizeof body), .body = {body, sizeof body}};
    rn_sha256(hash, "s", 1);
    assert_int_equal(store_open(&s, &conf, &report, NULL), RN_OK);
    assert_int_equal(store_schema_id(s, hash, rn_span_text("s"), &row.schema, NULL), RN_OK);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(store_append(s, &row, false, 0, NULL), RN_OK);
    store_close(s);
}

static void damage(void)
{
    char path[128];
    path_of(path, "buffer.db");
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "no page", 7, 20 * 1024), 7);
    close(fd);
}

// A limit on the size of files stands for a disk without room.
static void set_room(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

// ---- storage ------------------------------------------------------------------------------------

static void on_changed(void *arg)
{
    ++*(int *)arg;
}

static bool sends(void *arg)
{
    (void)arg;
    return false;
}

static void on_fatal(void *arg, const struct rn_err *err)
{
    (void)arg;
    fail_msg("%s", err->text);
}

// Which of so many looks tried: each try removes what lies in its way.
static int count_tries(struct storage *x, int looks, int at[LOOKS])
{
    char mark[128];
    int tries = 0;
    path_of(mark, "buffer.db-shm");
    for (int look = 1; look <= looks && store_in_memory(storage_store(x)); look++) {
        assert_int_equal(rn_file_replace(mark, rn_span_text("mark"), 0600, NULL), RN_OK);
        storage_look(x);
        if (access(mark, F_OK) < 0)
            at[tries++] = look;
    }
    return tries;
}

// Each try reads the damaged file and writes what it holds until there is no room.
static void a_salvage_without_room_is_tried_ever_more_rarely_and_in_the_end_done(void **state)
{
    (void)state;
    static const int due[] = {1, 3, 7, 15, 31, 63, 123, 183, 243};
    struct agent_settings settings = {.buffer_max_bytes = 1 << 20};
    struct rn_loop *loop;
    struct storage *x;
    int changed = 0, at[LOOKS];
    struct storage_hooks hooks = {
        .arg = &changed, .changed = on_changed, .sends = sends, .fatal = on_fatal};
    snprintf(settings.data, sizeof settings.data, "%s", folder);
    fill();
    damage();
    set_room(NO_ROOM);
    assert_int_equal(rn_loop_new(&loop, NULL), RN_OK);
    assert_int_equal(storage_new(&x, loop, &settings, NULL, 0, &hooks, NULL), RN_OK);
    assert_true(store_in_memory(storage_store(x)));
    assert_int_equal(count_tries(x, LOOKS, at), sizeof due / sizeof due[0]);
    assert_memory_equal(at, due, sizeof due);
    set_room(RLIM_INFINITY);
    assert_int_equal(count_tries(x, LOOKS, at), 1);
    assert_true(at[0] <= 60);
    assert_int_equal(changed, 1);
    assert_in_range(store_state(storage_store(x))->rows, ROWS - 10, ROWS - 1);

    const struct rn_err damaged = {.code = RN_ECORRUPT, .text = "a page is damaged"};
    damage(); // again: it begins anew
    set_room(NO_ROOM);
    storage_failed(x, &damaged);
    assert_true(store_in_memory(storage_store(x)));
    assert_int_equal(count_tries(x, 10, at), 3);
    assert_memory_equal(at, due, 3 * sizeof at[0]);
    set_room(RLIM_INFINITY);
    storage_free(x);
    rn_loop_free(loop);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_salvage_without_room_is_tried_ever_more_rarely_and_in_the_end_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
