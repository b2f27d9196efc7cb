// SQLite behind db.h: pragmas, statements, limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/db.h>
#include <runnel/file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
    char folder[64], path[96];
    struct rn_db *db;
    struct rn_err err;
};

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/runnel-db-XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/a.db", f->folder);
    *state = f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    rn_db_close(f->db);
    int rc = rn_remove_tree(f->folder, NULL);
    free(f);
    return rc;
}

static void open_db(struct fixture *f, struct rn_db_conf conf)
{
    conf.path = f->path;
    if (rn_db_open(&f->db, &conf, &f->err) < 0)
        fail_msg("%s", f->err.text);
}

static void opens_with_wal_full_sync_and_the_given_bounds(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){.page_size = 1024,
                                   .max_bytes = 100 * 1024,
                                   .cache_kib = 64,
                                   .wal_pages = 32,
                                   .exclusive = true});
    assert_int_equal(rn_db_int(f->db, "PRAGMA synchronous", -1), 2);
    assert_int_equal(rn_db_int(f->db, "PRAGMA page_size", -1), 1024);
    assert_int_equal(rn_db_int(f->db, "PRAGMA max_page_count", -1), 100);
    assert_int_equal(rn_db_int(f->db, "PRAGMA cache_size", -1), -64);
    assert_int_equal(rn_db_int(f->db, "PRAGMA wal_autocheckpoint", -1), 32);
    assert_int_equal(rn_db_int(f->db, "PRAGMA journal_size_limit", -1), 32 * 1024);
    assert_int_equal(rn_db_int(f->db, "PRAGMA temp_store", -1), 2);
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a)", &f->err), RN_OK);
    char side[128];
    struct stat st;
    snprintf(side, sizeof side, "%s-wal", f->path);
    assert_int_equal(stat(side, &st), 0);
    assert_int_equal(st.st_mode & 0007, 0); // nobody else reads it
    snprintf(side, sizeof side, "%s-shm", f->path);
    assert_int_equal(stat(side, &st), -1); // exclusive: no shared memory
}

static void values_come_back_as_they_were_bound(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(i, d, b, e, s, n)", &f->err), RN_OK);
    struct rn_stmt *put, *get;
    assert_int_equal(rn_db_prepare(&put, f->db, "INSERT INTO t VALUES(?,?,?,?,?,?)", &f->err), 0);
    uint8_t blob[] = {0, 1, 255};
    for (int round = 0; round < 2; round++) {
        rn_bind_int(put, 1, INT64_MIN + round);
        rn_bind_double(put, 2, 0.1);
        rn_bind_blob(put, 3, (struct rn_span){blob, sizeof blob});
        rn_bind_blob(put, 4, (struct rn_span){0});
        rn_bind_text(put, 5, "it's");
        rn_bind_null(put, 6);
        assert_int_equal(rn_stmt_run(put, &f->err), RN_OK);
    }
    assert_int_equal(rn_db_last_rowid(f->db), 2);
    assert_int_equal(rn_db_changes(f->db), 1);
    assert_int_equal(rn_db_prepare(&get, f->db, "SELECT * FROM t ORDER BY i", &f->err), 0);
    assert_int_equal(rn_stmt_step(get, &f->err), 1);
    assert_true(rn_column_int(get, 0) == INT64_MIN);
    assert_true(rn_column_double(get, 1) == 0.1);
    struct rn_span back = rn_column_blob(get, 2);
    assert_int_equal(back.len, 3);
    assert_memory_equal(back.data, blob, 3);
    assert_int_equal(rn_column_blob(get, 3).len, 0);
    assert_false(rn_column_null(get, 3));
    assert_string_equal(rn_column_text(get, 4), "it's");
    assert_true(rn_column_null(get, 5));
    assert_string_equal(rn_column_text(get, 5), "");
    assert_int_equal(rn_stmt_step(get, &f->err), 1);
    assert_int_equal(rn_stmt_step(get, &f->err), 0);
    rn_stmt_free(get);
    rn_stmt_free(put);
    assert_int_equal(rn_db_check(f->db, &f->err), RN_OK);
}

static void a_wrong_binding_is_reported_by_the_step(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    struct rn_stmt *stmt;
    assert_int_equal(rn_db_prepare(&stmt, f->db, "SELECT ?", &f->err), RN_OK);
    rn_bind_int(stmt, 2, 1);
    assert_int_equal(rn_stmt_step(stmt, &f->err), RN_EINVAL);
    rn_bind_int(stmt, 1, 5); // usable again
    assert_int_equal(rn_stmt_step(stmt, &f->err), 1);
    assert_int_equal(rn_column_int(stmt, 0), 5);
    rn_stmt_free(stmt);
    assert_int_equal(rn_db_prepare(&stmt, f->db, "SELEKT", &f->err), RN_EINVAL);
    assert_non_null(strstr(f->err.text, "SELEKT"));
}

static void a_rollback_undoes_and_is_harmless_outside_a_transaction(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    rn_db_rollback(f->db);
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a)", &f->err), RN_OK);
    assert_int_equal(rn_db_begin(f->db, &f->err), RN_OK);
    assert_int_equal(rn_db_exec(f->db, "INSERT INTO t VALUES(1)", &f->err), RN_OK);
    rn_db_rollback(f->db);
    assert_int_equal(rn_db_int(f->db, "SELECT count(*) FROM t", -1), 0);
    assert_int_equal(rn_db_begin(f->db, &f->err), RN_OK);
    assert_int_equal(rn_db_exec(f->db, "INSERT INTO t VALUES(1)", &f->err), RN_OK);
    assert_int_equal(rn_db_commit(f->db, &f->err), RN_OK);
    assert_int_equal(rn_db_int(f->db, "SELECT count(*) FROM t", -1), 1);
    assert_int_equal(rn_db_int(f->db, "SELECT a FROM nowhere", -7), -7);
}

static void a_unique_key_gives_eexist(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a UNIQUE)", &f->err), RN_OK);
    assert_int_equal(rn_db_exec(f->db, "INSERT INTO t VALUES(1)", &f->err), RN_OK);
    assert_int_equal(rn_db_exec(f->db, "INSERT INTO t VALUES(1)", &f->err), RN_EEXIST);
}

static void freed_pages_are_not_counted_as_used(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a)", &f->err), RN_OK);
    int64_t empty = rn_db_bytes(f->db);
    assert_int_equal(rn_db_exec(f->db, "INSERT INTO t VALUES(zeroblob(100000))", &f->err), RN_OK);
    assert_true(rn_db_bytes(f->db) > empty + 90000);
    assert_int_equal(rn_db_exec(f->db, "DELETE FROM t", &f->err), RN_OK);
    assert_int_equal(rn_db_bytes(f->db), empty);
}

static void a_checkpoint_empties_the_wal(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a)", &f->err), RN_OK);
    char side[128];
    struct stat st;
    snprintf(side, sizeof side, "%s-wal", f->path);
    assert_int_equal(stat(side, &st), 0);
    assert_true(st.st_size > 0);
    assert_int_equal(rn_db_checkpoint(f->db, &f->err), RN_OK);
    assert_int_equal(stat(side, &st), 0);
    assert_int_equal(st.st_size, 0);
}

static void a_reader_beside_the_writer_sees_what_is_committed_and_cannot_write(void **state)
{
    struct fixture *f = *state;
    open_db(f, (struct rn_db_conf){0});
    assert_int_equal(rn_db_exec(f->db, "CREATE TABLE t(a); INSERT INTO t VALUES(3)", &f->err), 0);
    struct rn_db *reader;
    struct rn_db_conf conf = {.path = f->path, .read_only = true};
    assert_int_equal(rn_db_open(&reader, &conf, &f->err), RN_OK);
    assert_int_equal(rn_db_int(reader, "SELECT a FROM t", -1), 3);
    assert_int_equal(rn_db_exec(reader, "DELETE FROM t", &f->err), RN_EACCESS);
    rn_db_close(reader);
}

int main(void)
{
    rn_db_setup(4 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_with_wal_full_sync_and_the_given_bounds, start, stop),
        cmocka_unit_test_setup_teardown(values_come_back_as_they_were_bound, start, stop),
        cmocka_unit_test_setup_teardown(a_wrong_binding_is_reported_by_the_step, start, stop),
        cmocka_unit_test_setup_teardown(a_rollback_undoes_and_is_harmless_outside_a_transaction,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_unique_key_gives_eexist, start, stop),
        cmocka_unit_test_setup_teardown(freed_pages_are_not_counted_as_used, start, stop),
        cmocka_unit_test_setup_teardown(a_checkpoint_empties_the_wal, start, stop),
        cmocka_unit_test_setup_teardown(
            a_reader_beside_the_writer_sees_what_is_committed_and_cannot_write, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
