// Objects in the log: each once a segment, committed and taken back with the rows, checked when
// they are read; rows decode with nothing but their segment, in any order and with any cache.
#include "bridge/log_objects.h"
#include "tests/support/log_fixture.h"

#include <runnel/db.h>

#include <cmocka.h>

struct bench {
    struct log_fixture fix;
    struct log_reader *reader;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    log_reader_close(b->reader);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b);
    return 0;
}

static void reopen_log(struct bench *b, int64_t segment_bytes)
{
    struct rn_err err;
    struct log_conf conf = {.folder = b->fix.folder,
                            .segment_bytes = segment_bytes,
                            .cursor_bytes = 1 << 26,
                            .history_bytes = 1 << 26};
    log_close(b->fix.log);
    fixture_ok(log_open(&b->fix.log, &conf, &err), &err);
}

static void open_reader(struct bench *b, int64_t cache_bytes)
{
    struct rn_err err;
    log_reader_close(b->reader);
    b->reader = NULL;
    fixture_ok(log_reader_open(&b->reader, b->fix.folder, cache_bytes, &err), &err);
}

#define BATCHES 600
#define TICKS   5
#define T0      1700000000000

static void fill(struct bench *b, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        fixture_append(&b->fix, i % 3 ? "dev-a" : "dev-b", T0, TICKS, i * 100);
        if (i % 20 == 19)
            fixture_commit(&b->fix);
    }
    fixture_commit(&b->fix);
}

static void assert_batch(const struct log_run *run)
{
    if (run->error)
        fail_msg("%s", run->error);
    const struct rn_grid *grid = run->run.grid;
    int64_t first = ((int64_t)run->run.seq - 1) * 100;
    assert_int_equal(grid->n, TICKS);
    for (uint32_t t = 0; t < TICKS; t++) {
        char text[16];
        int n = snprintf(text, sizeof text, "t%lld", (long long)(first + t));
        for (uint32_t c = 0; c < 4; c++)
            assert_int_equal(grid->cells[rn_grid_at(grid, c, t)].i,
                             c == 3 ? (first + t) % 2 : first + t);
        struct rn_value value;
        assert_true(rn_grid_value(grid, &run->run.schema->groups[0].fields[4], 4, t, &value));
        assert_true(rn_span_eq(value.text, (struct rn_span){(const uint8_t *)text, (size_t)n}));
    }
}

static uint64_t read_all(struct bench *b, uint32_t chunk)
{
    struct log_run *runs[64];
    struct rn_err err;
    uint64_t after = 0;
    int n;
    while ((n = log_read(b->reader, after, chunk, 1 << 20, runs, &err)) > 0)
        for (int i = 0; i < n; i++) {
            assert_batch(runs[i]);
            after = runs[i]->run.position;
            log_run_free(runs[i]);
        }
    fixture_ok(n, &err);
    return after;
}

static int64_t scalar(const struct bench *b, const char *name, const char *sql)
{
    struct rn_db *db;
    struct rn_err err;
    char path[256];
    snprintf(path, sizeof path, "%s/log/%s", b->fix.folder, name);
    struct rn_db_conf conf = {.path = path, .read_only = true};
    fixture_ok(rn_db_open(&db, &conf, &err), &err);
    int64_t value = rn_db_int(db, sql, -1);
    rn_db_close(db);
    return value;
}

static void run_sql(const struct bench *b, const char *sql)
{
    struct rn_db *db;
    struct rn_err err;
    char path[256];
    snprintf(path, sizeof path, "%s/log/%019d.db", b->fix.folder, 1);
    struct rn_db_conf conf = {.path = path};
    fixture_ok(rn_db_open(&db, &conf, &err), &err);
    fixture_ok(rn_db_exec(db, sql, &err), &err);
    rn_db_close(db);
}

static void every_segment_decodes_by_itself_whatever_the_cache_holds(void **state)
{
    struct bench *b = *state;
    static const int64_t caches[] = {0, 2000, 1 << 20};
    reopen_log(b, 65536);
    fill(b, 0, BATCHES);
    assert_true(log_bytes(b->fix.log) > 3 * 65536);
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++) {
        open_reader(b, caches[i]);
        assert_int_equal(read_all(b, 64), BATCHES);
        assert_int_equal(read_all(b, 1), BATCHES);
    }
}

static void one_device_is_read_with_the_objects_of_each_segment(void **state)
{
    struct bench *b = *state;
    struct log_run *runs[32];
    struct rn_err err;
    uint64_t after = 0, rows = 0;
    int n;
    reopen_log(b, 65536);
    fill(b, 0, BATCHES);
    open_reader(b, 2000);
    int64_t now = rn_clock_utc_ms();
    while ((n = log_read_device(b->reader, "dev-b", T0 - 1, now, after, 32, runs, &err)) > 0)
        for (int i = 0; i < n; i++, rows++) {
            assert_batch(runs[i]);
            assert_string_equal(runs[i]->run.dev, "dev-b");
            after = runs[i]->run.position;
            log_run_free(runs[i]);
        }
    fixture_ok(n, &err);
    assert_int_equal(rows, BATCHES / 3);
}

static void an_object_is_stored_once_a_segment(void **state)
{
    struct bench *b = *state;
    char name[32];
    for (int i = 0; i < 50; i++)
        fixture_append(&b->fix, "dev-a", T0, TICKS, 0);
    fixture_commit(&b->fix);
    snprintf(name, sizeof name, "%019d.db", 1);
    assert_int_equal(scalar(b, name, "SELECT count(*) FROM object"), 3);
    assert_int_equal(scalar(b, name, "SELECT count(*) FROM batch"), 50);
    assert_int_equal(scalar(b, name, "SELECT count(*) FROM batch WHERE base = 0 AND hints = 0"),
                     25);
}

static void objects_are_taken_back_with_the_rows(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    uint8_t hash[RN_SHA256_BYTES];
    static const uint8_t bytes[] = {1, 2, 3};
    int64_t number;
    rn_sha256(hash, bytes, sizeof bytes);
    fill(b, 0, 2);
    assert_int_equal(log_find_object(b->fix.log, hash, &number, &err), RN_ENOENT);
    (void)fixture_object(b->fix.log, (struct rn_span){bytes, sizeof bytes});
    assert_int_equal(log_find_object(b->fix.log, hash, &number, &err), RN_OK);
    log_rollback(b->fix.log);
    assert_int_equal(log_find_object(b->fix.log, hash, &number, &err), RN_ENOENT);
    fill(b, 2, 10); // its number goes to others
    open_reader(b, 1 << 20);
    assert_int_equal(read_all(b, 64), 10);
}

// Every row of segment 1 that names the object of this number.
static void assert_undecodable(struct bench *b, const char *words)
{
    struct log_run *runs[64];
    struct rn_err err;
    open_reader(b, 1 << 20);
    int n = log_read(b->reader, 0, 64, 1 << 20, runs, &err), lost = 0;
    assert_int_equal(n, 20);
    for (int i = 0; i < n; i++) {
        if (runs[i]->error) {
            assert_null(runs[i]->run.grid);
            assert_null(runs[i]->run.schema); // nobody reads values under wrong names
            assert_non_null(strstr(runs[i]->error, words));
            lost++;
        } else {
            assert_batch(runs[i]);
        }
        log_run_free(runs[i]);
    }
    assert_int_equal(lost, 1);
}

static void what_has_vanished_or_is_damaged_or_does_not_fit_is_said(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *sql, *words;
    } harm[] = {
        {"UPDATE batch SET schema = 999 WHERE position = 3", "is not in the log"},
        {"UPDATE batch SET schema = base WHERE position = 2", "its schema cannot be read"},
        {"UPDATE batch SET base = hints WHERE position = 4", "its base does not fit its schema"},
        {"UPDATE batch SET hints = schema WHERE position = 2", "its hints do not fit its schema"},
        {"UPDATE object SET body = x'a1018101'"
         " WHERE number = (SELECT base FROM batch WHERE position = 2)",
         "is damaged in the log"},
    };
    fill(b, 0, 20);
    open_reader(b, 1 << 20);
    assert_int_equal(read_all(b, 64), 20);
    run_sql(b, "CREATE TABLE kept AS SELECT * FROM batch");
    for (size_t i = 0; i < sizeof harm / sizeof harm[0]; i++) {
        run_sql(b, harm[i].sql);
        assert_undecodable(b, harm[i].words);
        run_sql(b, "UPDATE batch SET (schema, hints, base) = (SELECT schema, hints, base FROM kept"
                   " WHERE kept.position = batch.position)");
    }
}

static void a_base_that_a_batch_does_not_name_harms_nothing_and_a_missing_one_is_said(void **state)
{
    struct bench *b = *state;
    struct log_run *run;
    struct rn_err err;
    fill(b, 0, 2);
    run_sql(b, "UPDATE batch SET base = (SELECT base FROM batch WHERE position = 2)");
    run_sql(b, "UPDATE batch SET base = 0 WHERE position = 2");
    open_reader(b, 1 << 20);
    assert_int_equal(log_read(b->reader, 0, 1, 1 << 20, &run, &err), 1);
    assert_batch(run);
    log_run_free(run);
    assert_int_equal(log_read(b->reader, 1, 1, 1 << 20, &run, &err), 1);
    assert_non_null(run->error);
    log_run_free(run);
}

static void a_log_of_another_format_is_named_not_read(void **state)
{
    struct bench *b = *state;
    struct log_run *run;
    struct log *log;
    struct rn_err err;
    struct log_conf conf = {.folder = b->fix.folder, .segment_bytes = 1 << 20};
    fill(b, 0, 2);
    run_sql(b, "PRAGMA user_version = 0");
    open_reader(b, 1 << 20);
    assert_int_equal(log_read(b->reader, 0, 1, 1 << 20, &run, &err), RN_EUNSUPPORTED);
    assert_int_equal(log_open(&log, &conf, &err), RN_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "has format 0, this program reads 1"));
    run_sql(b, "PRAGMA user_version = 1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_segment_decodes_by_itself_whatever_the_cache_holds),
        TEST(one_device_is_read_with_the_objects_of_each_segment),
        TEST(an_object_is_stored_once_a_segment),
        TEST(objects_are_taken_back_with_the_rows),
        TEST(what_has_vanished_or_is_damaged_or_does_not_fit_is_said),
        TEST(a_base_that_a_batch_does_not_name_harms_nothing_and_a_missing_one_is_said),
        TEST(a_log_of_another_format_is_named_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
