// SQLite behind db.h on a disk that is full, damaged, read-only or lying, and without memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/faults.h"
#include <runnel/db.h>
#include <runnel/file.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char folder[64], path[96];
    struct rn_err err;
};

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/runnel-fault-XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/a.db", f->folder);
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    int rc = rn_remove_tree(f->folder, NULL);
    free(f);
    return rc;
}

static struct rn_db *must_open(struct fixture *f, struct rn_db_conf conf)
{
    struct rn_db *db = NULL;
    conf.path = f->path;
    if (rn_db_open(&db, &conf, &f->err) < 0)
        fail_msg("%s", f->err.text);
    return db;
}

static int insert(struct rn_db *db, int number, struct rn_err *err)
{
    char sql[80];
    snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, zeroblob(1000))", number);
    return rn_db_exec(db, sql, err);
}

static void a_file_at_its_limit_refuses_and_takes_again_after_a_deletion(void **state)
{
    struct fixture *f = *state;
    struct rn_db *db =
        must_open(f, (struct rn_db_conf){.max_bytes = 100 * 1024, .page_size = 1024});
    assert_int_equal(rn_db_exec(db, "CREATE TABLE t(a, b)", &f->err), RN_OK);
    int stored = 0, rc;
    while ((rc = insert(db, stored, &f->err)) == RN_OK && stored < 1000)
        stored++;
    assert_int_equal(rc, RN_ENOSPC);
    assert_non_null(strstr(f->err.text, "free space or raise the limit"));
    assert_in_range(stored, 30, 100);
    assert_true(rn_db_bytes(db) <= 100 * 1024);
    assert_int_equal(rn_db_int(db, "SELECT count(*) FROM t", -1), stored);
    assert_int_equal(rn_db_exec(db, "DELETE FROM t WHERE a < 5", &f->err), RN_OK);
    assert_int_equal(insert(db, 1000, &f->err), RN_OK);
    rn_db_close(db);
}

// --- a disk that fails ----------------------------------------------------------------------

// Inserts until one fails; how many were committed.
static int insert_many(struct rn_db *db, int *rc, struct rn_err *err)
{
    for (int i = 0; i < 16; i++) {
        *rc = rn_db_begin(db, err);
        if (*rc == RN_OK)
            *rc = insert(db, i, err);
        if (*rc == RN_OK)
            *rc = rn_db_commit(db, err);
        if (*rc < 0) {
            rn_db_rollback(db);
            return i;
        }
    }
    return 16;
}

// What was committed before the fault is there afterwards; the one that failed may be.
static void check_after(struct fixture *f, int committed)
{
    struct rn_db *db = must_open(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_check(db, &f->err), RN_OK);
    assert_in_range(rn_db_int(db, "SELECT count(*) FROM t", -1), committed, committed + 1);
    assert_int_equal(insert(db, 99, &f->err), RN_OK);
    assert_int_equal(rn_db_exec(db, "DELETE FROM t", &f->err), RN_OK);
    rn_db_close(db);
}

static void fault_each(struct fixture *f, unsigned what, int error, int expected)
{
    struct rn_db *db = must_open(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(db, "CREATE TABLE IF NOT EXISTS t(a, b)", &f->err), RN_OK);
    rn_db_close(db);
    long seen = 0;
    for (long n = 1;; n += 3) {
        db = must_open(f, (struct rn_db_conf){.wal_pages = 6});
        int rc = RN_OK;
        faults_arm(what, n, error);
        int committed = insert_many(db, &rc, &f->err);
        if (!faults_disarm()) {
            assert_int_equal(committed, 16);
            rn_db_close(db);
            break;
        }
        // A fault inside an automatic checkpoint is none of the commit's: all may have succeeded.
        if (rc < 0 && rc != expected)
            fail_msg("call %ld: %d, %s", n, rc, f->err.text);
        seen += rc < 0;
        rn_db_close(db);
        check_after(f, committed);
    }
    assert_true(seen > 5);
}

static void a_disk_that_fills_up_at_any_write_loses_nothing_committed(void **state)
{
    fault_each(*state, FAULT_WRITE | FAULT_STICKY, ENOSPC, RN_ENOSPC);
}

static void a_write_that_fails_once_loses_nothing_committed(void **state)
{
    fault_each(*state, FAULT_WRITE, EIO, RN_EIO);
}

static void a_sync_that_fails_loses_nothing_committed(void **state)
{
    fault_each(*state, FAULT_SYNC, EIO, RN_EIO);
}

static void a_file_is_replaced_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct rn_buf buf;
    rn_buf_init(&buf, 100);
    assert_int_equal(rn_file_replace(f->path, rn_span_text("old"), 0600, &f->err), RN_OK);
    faults_arm(FAULT_WRITE, 1, ENOSPC);
    assert_int_equal(rn_file_replace(f->path, rn_span_text("new"), 0600, &f->err), RN_ENOSPC);
    assert_true(faults_disarm());
    faults_arm(FAULT_SYNC, 1, EIO);
    assert_int_equal(rn_file_replace(f->path, rn_span_text("new"), 0600, &f->err), RN_EIO);
    assert_true(faults_disarm());
    assert_int_equal(rn_file_read(f->path, &buf, &f->err), RN_OK);
    assert_string_equal(rn_buf_cstr(&buf), "old");
    char temporary[128];
    snprintf(temporary, sizeof temporary, "%s.tmp", f->path);
    assert_int_equal(access(temporary, F_OK), -1);
    rn_buf_release(&buf);
}

static void a_folder_that_cannot_be_read_to_its_end_is_not_a_shorter_one(void **state)
{
    struct fixture *f = *state;
    char **names, path[128];
    int count = 0, failures = 0;
    bool fired = true;
    for (char name = 'a'; name < 'e'; name++) {
        snprintf(path, sizeof path, "%s/%c.x", f->folder, name);
        assert_int_equal(rn_file_replace(path, rn_span_text("x"), 0600, &f->err), RN_OK);
    }
    for (long n = 1; fired; n++) {
        faults_arm(FAULT_READ, n, EIO);
        int rc = rn_names_list(f->folder, ".x", 10, &names, &count, &f->err);
        fired = faults_disarm();
        failures += rc == RN_EIO;
        if (rc == RN_OK) {
            rn_names_free(names, count);
            assert_int_equal(count, 4);
        }
    }
    assert_true(failures > 4);
}

// --- damaged files --------------------------------------------------------------------------

static int open_code(struct fixture *f)
{
    struct rn_db *db = NULL;
    struct rn_db_conf conf = {.path = f->path};
    int rc = rn_db_open(&db, &conf, &f->err);
    rn_db_close(db);
    return rc;
}

static void a_file_that_is_no_database_is_told_apart(void **state)
{
    struct fixture *f = *state;
    char text[5000];
    memset(text, 'x', sizeof text);
    struct rn_span content = {(const uint8_t *)text, sizeof text};
    assert_int_equal(rn_file_replace(f->path, content, 0600, &f->err), RN_OK);
    assert_int_equal(open_code(f), RN_ECORRUPT);
    assert_non_null(strstr(f->err.text, "move the file away"));
    assert_int_equal(rn_file_replace(f->path, rn_span_text("short"), 0600, &f->err), RN_OK);
    assert_int_equal(open_code(f), RN_ECORRUPT);
}

static void make_database(struct fixture *f)
{
    struct rn_db *db = must_open(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(db, "CREATE TABLE t(a, b)", &f->err), RN_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(insert(db, i, &f->err), RN_OK);
    rn_db_close(db); // the last one: the WAL goes into the file
}

static void a_page_overwritten_in_the_middle_is_found_by_the_check(void **state)
{
    struct fixture *f = *state;
    make_database(f);
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4096 * 5, SEEK_SET), 0);
    for (int i = 0; i < 4096; i++)
        fputc(0xa5, file);
    fclose(file);
    struct rn_db *db = must_open(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_check(db, &f->err), RN_ECORRUPT);
    assert_int_equal(rn_db_exec(db, "SELECT sum(length(b)) FROM t", &f->err), RN_ECORRUPT);
    rn_db_close(db);
}

static void a_truncated_file_is_found_when_read(void **state)
{
    struct fixture *f = *state;
    make_database(f);
    assert_int_equal(truncate(f->path, 4096 * 3), 0);
    struct rn_db *db = NULL;
    struct rn_db_conf conf = {.path = f->path};
    int rc = rn_db_open(&db, &conf, &f->err);
    if (rc == RN_OK)
        rc = rn_db_check(db, &f->err);
    assert_int_equal(rc, RN_ECORRUPT);
    rn_db_close(db);
}

// --- permissions ----------------------------------------------------------------------------

// In a child that is not root (root may write anywhere). The exit status is -code.
static int open_as_nobody(struct fixture *f, const char *path, bool read_only)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (getuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(100);
        struct rn_db *db = NULL;
        struct rn_db_conf conf = {.path = path, .read_only = read_only};
        int rc = rn_db_open(&db, &conf, &f->err);
        if (rc == RN_OK)
            rc = rn_db_exec(db, "CREATE TABLE other(a)", &f->err);
        bool advice = strstr(f->err.text, "check owner") || strstr(f->err.text, "check that");
        if (rc < 0 && !advice)
            fprintf(stderr, "%s\n", f->err.text);
        _exit(rc < 0 && !advice ? 101 : -rc);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void without_permission_the_message_says_what_to_check(void **state)
{
    struct fixture *f = *state;
    make_database(f);
    assert_int_equal(chmod(f->path, 0644), 0);
    assert_int_equal(chmod(f->folder, 0555), 0);
    assert_int_equal(open_as_nobody(f, f->path, false), RN_EACCESS);
    char fresh[128];
    snprintf(fresh, sizeof fresh, "%s/new.db", f->folder);
    assert_int_equal(open_as_nobody(f, fresh, false), RN_EACCESS);
    assert_int_equal(chmod(f->path, 0000), 0);
    assert_int_equal(open_as_nobody(f, f->path, true), RN_EACCESS);
    assert_int_equal(chmod(f->folder, 0755), 0);
}

static void a_missing_folder_is_told(void **state)
{
    struct fixture *f = *state;
    snprintf(f->path, sizeof f->path, "%s/no/a.db", f->folder);
    assert_int_equal(open_code(f), RN_ENOENT);
    assert_non_null(strstr(f->err.text, "no such file or folder"));
}

static void another_process_holding_the_file_is_told_as_busy(void **state)
{
    struct fixture *f = *state;
    struct rn_db *db = must_open(f, (struct rn_db_conf){.exclusive = true});
    assert_int_equal(rn_db_exec(db, "CREATE TABLE t(a, b)", &f->err), RN_OK);
    assert_int_equal(open_code(f), RN_EAGAIN); // after the busy timeout of 5 s
    rn_db_close(db);
}

// --- what cannot be read now ----------------------------------------------------------------

// Also quick_check, which tells of a page that it cannot read as it tells of a damaged one. (EIO is
// another matter: SQLite takes it for a sector that is gone.)
static void a_read_that_fails_once_is_never_called_damage(void **state)
{
    struct fixture *f = *state;
    bool seen = false;
    make_database(f);
    struct rn_db *with = must_open(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(with, "INSERT INTO t VALUES(0, zeroblob(20000))", &f->err), RN_OK);
    rn_db_close(with);
    for (long n = 1;; n++) {
        struct rn_db *db = NULL;
        struct rn_db_conf conf = {.path = f->path, .cache_kib = 16};
        faults_arm(FAULT_READ, n, ENOMEM);
        int rc = rn_db_open(&db, &conf, &f->err);
        bool opened = rc == RN_OK;
        if (opened)
            rc = rn_db_check(db, &f->err);
        bool fired = faults_disarm();
        rn_db_close(db);
        if (!fired) {
            assert_int_equal(rc, RN_OK);
            break;
        }
        if (rc != RN_OK && rc != RN_EIO)
            fail_msg("read %ld: %d, %s", n, rc, f->err.text);
        seen |= opened && rc == RN_EIO;
    }
    assert_true(seen);
}

// A wrong number that is taken for the right one would be saved.
static void a_number_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;
    int64_t value = 5;
    make_database(f);
    struct rn_db *db = must_open(f, (struct rn_db_conf){0});
    faults_arm(FAULT_READ, 1, ENOMEM);
    assert_int_equal(rn_db_get_int(db, "SELECT count(*) FROM t", 9, &value, &f->err), RN_EIO);
    assert_true(faults_disarm());
    assert_int_equal(rn_db_get_int(db, "SELECT count(*) FROM t", 9, &value, &f->err), RN_OK);
    assert_int_equal(value, 100);
    assert_int_equal(rn_db_get_int(db, "SELECT a FROM t WHERE a < 0", 7, &value, &f->err), RN_OK);
    assert_int_equal(value, 7);
    assert_int_equal(rn_db_get_int(db, "SELECT max(a) FROM t WHERE a < 0", 8, &value, &f->err),
                     RN_OK);
    assert_int_equal(value, 8);
    assert_int_equal(rn_db_get_int(db, "SELECT a FROM nowhere", 9, &value, &f->err), RN_EINVAL);
    rn_db_close(db);
}

// --- SQLite without memory ------------------------------------------------------------------

static int use_it(struct fixture *f)
{
    struct rn_db *db = NULL;
    struct rn_stmt *stmt = NULL;
    struct rn_db_conf conf = {.path = f->path};
    int rc = rn_db_open(&db, &conf, &f->err);
    if (rc == RN_OK)
        rc = rn_db_exec(db, "CREATE TABLE IF NOT EXISTS t(a, b)", &f->err);
    if (rc == RN_OK)
        rc = rn_db_prepare(&stmt, db, "INSERT INTO t VALUES(?, 'x')", &f->err);
    if (rc == RN_OK) {
        rn_bind_text(stmt, 1, "text");
        rc = rn_stmt_run(stmt, &f->err);
    }
    if (rc == RN_OK)
        rc = rn_db_check(db, &f->err);
    rn_stmt_free(stmt);
    rn_db_close(db);
    return rc;
}

static void sqlite_without_memory_fails_cleanly_at_every_allocation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(use_it(f), RN_OK);
    int failures = 0;
    for (long n = 1;; n++) {
        faults_arm(FAULT_SQL, n, 0);
        int rc = use_it(f);
        if (!faults_disarm())
            break;
        // SQLite does without some allocations; what fails must say why.
        if (rc < 0 && rc != RN_ENOMEM)
            fail_msg("allocation %ld: %d, %s", n, rc, f->err.text);
        failures += rc < 0;
    }
    assert_true(failures > 20);
    assert_int_equal(use_it(f), RN_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    rn_db_setup(0);
    const struct CMUnitTest tests[] = {
        CASE(a_file_at_its_limit_refuses_and_takes_again_after_a_deletion),
        CASE(a_disk_that_fills_up_at_any_write_loses_nothing_committed),
        CASE(a_write_that_fails_once_loses_nothing_committed),
        CASE(a_sync_that_fails_loses_nothing_committed),
        CASE(a_file_is_replaced_whole_or_not_at_all),
        CASE(a_read_that_fails_once_is_never_called_damage),
        CASE(a_number_that_cannot_be_read_is_an_error),
        CASE(a_folder_that_cannot_be_read_to_its_end_is_not_a_shorter_one),
        CASE(a_file_that_is_no_database_is_told_apart),
        CASE(a_page_overwritten_in_the_middle_is_found_by_the_check),
        CASE(a_truncated_file_is_found_when_read),
        CASE(without_permission_the_message_says_what_to_check),
        CASE(a_missing_folder_is_told),
        CASE(another_process_holding_the_file_is_told_as_busy),
        CASE(sqlite_without_memory_fails_cleanly_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
