// What the bridge knows is read back when it starts. Whatever fails meanwhile - an allocation, an
// opening, a read - the start fails, or all of it is known: nothing begins anew because it could
// not be read.
#include "bridge/cursor_db.h"
#include "bridge/desired.h"
#include "bridge/recall.h"
#include "bridge/schemas.h"
#include "bridge/verify.h"
#include "tests/support/faults.h"
#include "tests/support/log_fixture.h"

#include <errno.h>
#include <runnel/db.h>
#include <runnel/queue.h>

#define DEVICES 5

static const struct {
    unsigned what;
    int error;
} kinds[] = {{FAULT_ALLOC, 0},
             {FAULT_SQL, 0},
             {FAULT_OPEN, EMFILE},
             {FAULT_OPEN, EIO},
             {FAULT_READ, ENOMEM}};

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/runnel-opening-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    return rn_remove_tree(folder, NULL);
}

static bool fired;

// The fault was or was not met: what follows is the test's own.
static void check(bool good, const char *what)
{
    fired |= faults_disarm();
    if (!good)
        fail_msg("%s", what);
}

// Lets each call of each kind fail once. look: negative if it failed, and must not come to another
// result otherwise; it asserts that itself.
static void fail_each(int (*look)(void *arg), void *arg)
{
    assert_true(look(arg) >= 0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fired = true;
        for (long n = 1; fired; n++) {
            fired = false;
            faults_arm(kinds[i].what, n, kinds[i].error);
            int rc = look(arg);
            fired |= faults_disarm();
            assert_true(rc >= 0 || fired);
        }
    }
    assert_true(look(arg) >= 0);
}

// ---- the log ------------------------------------------------------------------------------------

struct known_log {
    uint64_t id, tail;
};

static int look_at_log(void *arg)
{
    const struct known_log *known = arg;
    struct log *log = NULL;
    struct log_conf conf = {.folder = folder, .segment_bytes = 1 << 20};
    int rc = log_open(&log, &conf, NULL);
    if (rc == RN_OK)
        check(log_id(log) == known->id && log_tail(log) == known->tail, "another log");
    log_close(log);
    return rc;
}

static void a_log_keeps_its_identity(void **state)
{
    (void)state;
    struct log *log;
    struct log_conf conf = {.folder = folder, .segment_bytes = 1 << 20};
    assert_int_equal(log_open(&log, &conf, NULL), RN_OK);
    struct known_log known = {log_id(log), log_tail(log)};
    log_close(log);
    fail_each(look_at_log, &known);
}

static int look_at_rows(void *arg)
{
    const struct known_log *known = arg;
    struct log *log = NULL;
    struct log_conf conf = {.folder = folder, .segment_bytes = 1 << 20};
    int rc = log_open(&log, &conf, NULL);
    if (rc == RN_OK)
        check(log_id(log) == known->id && log_tail(log) == known->tail && log_head(log) == 3,
              "positions would be given out again");
    log_close(log);
    return rc;
}

static void a_log_goes_on_behind_its_last_row(void **state)
{
    (void)state;
    struct log_fixture f;
    fixture_open(&f);
    for (int i = 0; i < 3; i++)
        fixture_append(&f, "dev-a", 1700000000000, 2, i);
    assert_int_equal(fixture_commit(&f), 3);
    struct known_log known = {log_id(f.log), log_tail(f.log)};
    fixture_close_log(&f);
    (void)!rn_remove_tree(folder, NULL);
    snprintf(folder, sizeof folder, "%s", f.folder);
    fail_each(look_at_rows, &known);
}

// Only damage puts it aside.
static void a_sealed_segment_stays_in_its_place(void **state)
{
    (void)state;
    struct log_fixture f;
    fixture_open(&f);
    log_close(f.log);
    struct log_conf conf = {.folder = f.folder, .segment_bytes = 4096};
    assert_int_equal(log_open(&f.log, &conf, NULL), RN_OK);
    for (int i = 0; i < 3; i++)
        fixture_append(&f, "dev-a", 1700000000000, 2, i);
    assert_int_equal(fixture_commit(&f), 3);
    struct known_log known = {log_id(f.log), log_tail(f.log)};
    assert_int_equal(known.tail, 1);
    fixture_close_log(&f);
    (void)!rn_remove_tree(folder, NULL);
    snprintf(folder, sizeof folder, "%s", f.folder);
    fail_each(look_at_rows, &known);
}

static void count_head(void *arg, const struct log_head_row *row)
{
    (void)row;
    ++*(int *)arg;
}

static int save_nothing(void *arg,
                        int (*put)(void *to, const char *dev, struct rn_span state,
                                   struct rn_err *err),
                        void *to, struct rn_err *err)
{
    (void)arg, (void)put, (void)to, (void)err;
    return RN_OK;
}

// A segment that was sealed and then not listed would hide its rows from the acknowledgement.
static void a_segment_that_is_sealed_is_listed(void **state)
{
    (void)state;
    for (long n = 1; n == 1 || fired; n++) {
        struct log_fixture f;
        struct log_saver saver = {NULL, save_nothing};
        int seen = 0;
        fixture_open(&f);
        log_close(f.log);
        struct log_conf conf = {.folder = f.folder, .segment_bytes = 4096};
        assert_int_equal(log_open(&f.log, &conf, NULL), RN_OK);
        log_on_seal(f.log, &saver);
        fixture_append(&f, "dev-a", 1700000000000, 4, 0);
        fixture_append(&f, "dev-a", 1700000004000, 4, 4);
        faults_arm(FAULT_ALLOC, n, 0);
        (void)!log_commit(f.log, NULL);
        fired = faults_disarm();
        assert_true(log_heads(f.log, 0, RN_ID_MAX, 100, &seen, count_head, NULL) >= 0);
        if ((uint64_t)seen != log_head(f.log))
            fail_msg("allocation %ld: %d of %llu rows are seen", n, seen,
                     (unsigned long long)log_head(f.log));
        fixture_close_log(&f);
        fixture_remove(&f);
    }
}

// ---- schemas ------------------------------------------------------------------------------------

static int look_at_schemas(void *arg)
{
    (void)arg;
    struct schemas *schemas = NULL;
    struct schemas_counts counts;
    int rc = schemas_open(&schemas, folder, NULL);
    if (rc == RN_OK) {
        fired |= faults_disarm();
        schemas_counts(schemas, &counts);
        check(counts.objects == 1 && counts.bindings == 1 && !*schemas_quarantined(schemas),
              "what devices have given is thrown away");
    }
    schemas_close(schemas);
    return rc;
}

static void schemas_that_devices_gave_stay(void **state)
{
    (void)state;
    struct schemas *schemas;
    struct schemas_taken taken;
    struct rn_key_msg msg = {.install = 7, .kind = RN_OBJECT_SCHEMA, .id = 1};
    assert_int_equal(schemas_open(&schemas, folder, NULL), RN_OK);
    assert_int_equal(schemas_take(schemas, "dev-a", &msg, &taken, NULL), RN_OK);
    schemas_close(schemas);
    fail_each(look_at_schemas, NULL);
}

// ---- the signing key ----------------------------------------------------------------------------

static int look_at_key(void *arg)
{
    struct desired *desired = NULL;
    int rc = desired_open(&desired, folder, NULL);
    if (rc == RN_OK)
        check(strcmp(desired_public_key(desired), arg) == 0, "another key");
    desired_close(desired);
    return rc;
}

static void the_key_that_devices_have_pinned_stays(void **state)
{
    (void)state;
    char key[80];
    struct desired *desired;
    assert_int_equal(desired_open(&desired, folder, NULL), RN_OK);
    snprintf(key, sizeof key, "%s", desired_public_key(desired));
    desired_close(desired);
    fail_each(look_at_key, key);
}

// ---- devices ------------------------------------------------------------------------------------

static int open_fleet(struct fleet **fleet)
{
    struct fleet_conf conf = {.folder = folder,
                              .max_devices = DEVICES,
                              .max_items_device = 100,
                              .max_items = 1000,
                              .silent_ms = 1000};
    return fleet_open(fleet, &conf, 1000, NULL);
}

static int look_at_fleet(void *arg)
{
    (void)arg;
    struct fleet *fleet = NULL;
    int rc = open_fleet(&fleet);
    bool whole = rc < 0 || fleet->count == DEVICES;
    for (uint32_t i = 0; rc == RN_OK && whole && i < DEVICES; i++)
        whole = fleet->device[i]->ninstalls == 2 && fleet->device[i]->live.retired;
    check(whole, "devices or installs are missing");
    fleet_close(fleet);
    return rc;
}

static void devices_and_installs_are_all_known(void **state)
{
    (void)state;
    struct fleet *fleet;
    uint64_t gone;
    assert_int_equal(open_fleet(&fleet), RN_OK);
    for (int i = 0; i < DEVICES; i++) {
        char name[16];
        snprintf(name, sizeof name, "dev-%d", i);
        struct fleet_device *dev = fleet_get(fleet, name, 1000, 1000);
        assert_non_null(dev);
        dev->live.retired = true;
        assert_non_null(fleet_announce(dev, 7, 1000, &gone));
        assert_non_null(fleet_announce(dev, 8, 1000, &gone));
    }
    assert_int_equal(fleet_save(fleet, 100, NULL), DEVICES);
    fleet_close(fleet);
    fail_each(look_at_fleet, NULL);
}

static int look_at_batches(void *arg)
{
    struct log_fixture *f = arg;
    struct fleet *fleet = NULL;
    int rc = open_fleet(&fleet);
    if (rc == RN_OK)
        rc = recall(fleet, f->log, NULL);
    if (rc == RN_OK)
        check(fleet->dedupe.items == 4, "a batch of the log is forgotten");
    fleet_close(fleet);
    return rc;
}

static void batches_of_the_log_are_all_known(void **state)
{
    (void)state;
    struct log_fixture f;
    fixture_open(&f);
    for (int i = 0; i < 4; i++)
        fixture_append(&f, i % 2 ? "dev-a" : "dev-b", 1700000000000, 2, i);
    assert_int_equal(fixture_commit(&f), 4);
    fail_each(look_at_batches, &f);
    fixture_close_log(&f);
    fixture_remove(&f);
}

// An install that made room for a newer one after the segment was sealed is still in what the
// segment has saved: that is no reason not to start.
static void an_install_that_made_room_since_is_left_out(void **state)
{
    (void)state;
    struct log_fixture f;
    struct fleet *fleet;
    uint64_t gone;
    struct rn_err err = {.text = ""};
    fixture_open(&f);
    log_close(f.log);
    struct log_conf conf = {.folder = f.folder, .segment_bytes = 4096};
    assert_int_equal(log_open(&f.log, &conf, NULL), RN_OK);
    assert_int_equal(open_fleet(&fleet), RN_OK);
    assert_int_equal(recall(fleet, f.log, NULL), RN_OK);
    struct fleet_device *dev = fleet_get(fleet, "dev-a", 1000, 1000);
    for (uint64_t install = 1; install <= DEDUPE_MAX_INSTALLS; install++) {
        struct fleet_install *in = fleet_announce(dev, install, 1000 + (int64_t)install, &gone);
        assert_int_equal(dedupe_restore(&fleet->dedupe, &dev->dedupe, in->batches, 5, 6), RN_OK);
    }
    fixture_append(&f, "dev-b", 1700000000000, 4, 0);
    assert_int_equal(fixture_commit(&f), 1); // sealed
    assert_non_null(fleet_announce(dev, 99, 5000, &gone));
    assert_int_equal(gone, 1);
    assert_true(fleet_save(fleet, 100, NULL) > 0);
    fleet_close(fleet);

    assert_int_equal(open_fleet(&fleet), RN_OK);
    fixture_ok(recall(fleet, f.log, &err), &err);
    dev = fleet_find(fleet, "dev-a");
    assert_null(fleet_install_find(dev, 1));
    assert_non_null(fleet_install_find(dev, 99));
    for (uint64_t install = 2; install <= DEDUPE_MAX_INSTALLS; install++)
        assert_non_null(dedupe_item(fleet_install_find(dev, install)->batches, 5));
    fleet_close(fleet);
    fixture_close_log(&f);
    fixture_remove(&f);
}

// ---- cursors ------------------------------------------------------------------------------------

static int look_at_cursor(void *arg)
{
    (void)arg;
    struct cursor_db db;
    int rc = cursor_db_open(&db, folder, "x", 5, 100, NULL);
    if (rc < 0)
        return rc;
    check(db.position == 42 && !db.fresh && !db.quarantined &&
              rn_span_eq_text(rn_buf_span(&db.saved), "file 3"),
          "what the sink has saved is lost");
    cursor_db_close(&db);
    return rc;
}

static void a_cursor_keeps_its_position_and_what_its_sink_saved(void **state)
{
    (void)state;
    struct cursor_db db;
    assert_int_equal(cursor_db_open(&db, folder, "x", 5, 100, NULL), RN_OK);
    rn_buf_text(&db.saved, "file 3");
    assert_int_equal(cursor_db_move(&db, 42, NULL, NULL), RN_OK);
    rn_buf_clear(&db.saved);
    rn_buf_text(&db.saved, "fil");
    db.saved.failed = RN_ENOMEM; // the sink wrote on
    assert_int_equal(cursor_db_move(&db, 43, NULL, NULL), RN_ENOMEM);
    cursor_db_close(&db);
    fail_each(look_at_cursor, NULL);
}

static const char totals_sql[] = "INSERT INTO totals VALUES(1, 11, 12, 13, 14);"
                                 "INSERT INTO device VALUES('dev-a', 1, 2, 3, 4); INSERT INTO "
                                 "device VALUES('dev-b', 1, 2, 3, 4);"
                                 "INSERT INTO refusal VALUES(0, 1, 'dev-a', 7, 1, 1, 1, 'x');"
                                 "INSERT INTO refusal VALUES(1, 2, 'dev-a', 7, 2, 2, 1, 'y');";

// Opens it over `db`, and commits what it knows: as many rows must be there afterwards.
static int look_at_verify(void *arg)
{
    struct rn_db *db = arg;
    struct verify *v = NULL;
    struct rn_queue *refusals = NULL;
    struct cursors_totals totals;
    int rc = rn_queue_new(&refusals, 16, 1 << 16, NULL, free, NULL);
    struct verify_conf conf = {.dead = {folder, 1 << 20, 0}, .refusals = refusals};
    if (rc >= 0)
        rc = verify_new(&v, &conf, NULL);
    if (rc >= 0)
        rc = verify_hooks(v)->opened(verify_hooks(v)->arg, db, NULL);
    if (rc >= 0) {
        int told = 0;
        for (void *r = rn_queue_pop(refusals); r; r = rn_queue_pop(refusals), told++)
            free(r);
        verify_totals(v, &totals);
        check(totals.batches == 11 && totals.samples == 12 && totals.bytes == 13 &&
                  totals.refused == 14 && told == 2,
              "totals or refusals are lost");
        verify_hooks(v)->closing(verify_hooks(v)->arg);
    }
    verify_free(v);
    rn_queue_free(refusals);
    return rc;
}

static void totals_and_refusals_are_read_back(void **state)
{
    (void)state;
    char path[100];
    struct rn_db *db;
    struct rn_err err = {.text = ""};
    snprintf(path, sizeof path, "%s/v.db", folder);
    fixture_ok(rn_db_open(&db, &(struct rn_db_conf){.path = path}, &err), &err);
    struct verify *v;
    struct verify_conf conf = {.dead = {folder, 1 << 20, 0}};
    fixture_ok(verify_new(&v, &conf, &err), &err);
    fixture_ok(verify_hooks(v)->opened(verify_hooks(v)->arg, db, &err), &err);
    verify_hooks(v)->closing(verify_hooks(v)->arg);
    verify_free(v);
    fixture_ok(rn_db_exec(db, totals_sql, &err), &err);
    fail_each(look_at_verify, db);
    rn_db_close(db);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, drop_folder)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_log_keeps_its_identity),
        CASE(a_log_goes_on_behind_its_last_row),
        CASE(a_sealed_segment_stays_in_its_place),
        CASE(a_segment_that_is_sealed_is_listed),
        CASE(schemas_that_devices_gave_stay),
        CASE(the_key_that_devices_have_pinned_stays),
        CASE(devices_and_installs_are_all_known),
        CASE(batches_of_the_log_are_all_known),
        CASE(an_install_that_made_room_since_is_left_out),
        CASE(a_cursor_keeps_its_position_and_what_its_sink_saved),
        CASE(totals_and_refusals_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
