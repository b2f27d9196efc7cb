// The devices' table: what is kept, what is bounded, what survives.
#include "bridge/fleet.h"

#include <runnel/file.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/runnel-fleet-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    struct rn_err err;
    (void)state;
    return rn_remove_tree(folder, &err);
}

static struct fleet *open_fleet(void)
{
    struct fleet *fleet;
    struct rn_err err;
    struct fleet_conf conf = {.folder = folder,
                              .max_devices = 3,
                              .max_items_device = 10,
                              .max_items = 100,
                              .silent_ms = 1000,
                              .live = {.grace_ms = 100, .missed = 3, .storm_ms = 1000}};
    if (fleet_open(&fleet, &conf, 1000, &err) != RN_OK)
        fail_msg("%s", err.text);
    return fleet;
}

static void a_device_survives_a_restart_with_its_installs_and_status(void **state)
{
    (void)state;
    struct rn_err err;
    uint64_t gone;
    struct fleet *fleet = open_fleet();
    struct fleet_device *dev = fleet_get(fleet, "dev1", 1000, 5000);
    struct fleet_install *in = fleet_announce(dev, 77, 5000, &gone);
    in->max_epoch = 9;
    in->fingerprint = 4;
    struct live_status live = {.install = 77, .epoch = 9, .n = 1, .interval_ms = 2000};
    assert_true(live_birth(&fleet->live, &dev->live, &live, 1000));
    struct rn_status status = {.install = 77,
                               .config_revision = 3,
                               .has_ledger = true,
                               .ledger = {.produced = 10, .delivered = 8, .pending = 2},
                               .version = rn_span_text("1.2"),
                               .reason = rn_span_text("start")};
    fleet_note_status(dev, &status, 5000);
    assert_int_equal(fleet_save(fleet, 10, &err), 1);
    assert_int_equal(fleet_save(fleet, 10, &err), 0); // nothing has changed since
    fleet_close(fleet);

    fleet = open_fleet();
    dev = fleet_find(fleet, "dev1");
    assert_non_null(dev);
    assert_int_equal(dev->live.shown, LIVE_BLIND); // until it is heard
    assert_int_equal(dev->live.reason, LIVE_BRIDGE);
    assert_int_equal(dev->live.epoch, 9);
    assert_int_equal(dev->ledger.delivered, 8);
    assert_string_equal(dev->version, "1.2");
    in = fleet_install_by_tag(dev, 77);
    assert_non_null(in);
    assert_int_equal(in->max_epoch, 9);
    assert_int_equal(in->fingerprint, 4);
    assert_null(fleet_install_by_tag(dev, 78));
    fleet_close(fleet);
}

static void there_are_at_most_so_many_devices(void **state)
{
    (void)state;
    struct fleet *fleet = open_fleet();
    assert_non_null(fleet_get(fleet, "a", 0, 0));
    assert_non_null(fleet_get(fleet, "b", 0, 0));
    assert_non_null(fleet_get(fleet, "c", 0, 0));
    assert_null(fleet_get(fleet, "d", 0, 0));
    assert_non_null(fleet_get(fleet, "a", 0, 0));
    assert_int_equal(fleet->refused, 1);
    fleet_close(fleet);
}

static void an_install_that_makes_room_is_gone_everywhere(void **state)
{
    (void)state;
    uint64_t gone;
    struct fleet *fleet = open_fleet();
    struct fleet_device *dev = fleet_get(fleet, "dev1", 0, 0);
    for (uint64_t i = 1; i <= DEDUPE_MAX_INSTALLS; i++)
        assert_non_null(fleet_announce(dev, i, 5000 + (int64_t)i, &gone));
    assert_null(fleet_announce(dev, 100, 5500, &gone)); // all were heard within the last second
    assert_non_null(fleet_announce(dev, 100, 6001, &gone));
    assert_int_equal(gone, 1);
    assert_null(fleet_install_find(dev, 1));
    assert_int_equal(dev->ninstalls, DEDUPE_MAX_INSTALLS);
    fleet_close(fleet);
}

static void a_bucket_lets_a_burst_through_and_then_a_trickle(void **state)
{
    (void)state;
    struct fleet_bucket bucket = {0};
    int passed = 0;
    for (int i = 0; i < 20; i++)
        passed += fleet_bucket_take(&bucket, 1000, 5, 100);
    assert_int_equal(passed, 5);
    assert_false(fleet_bucket_take(&bucket, 1050, 5, 100));
    assert_true(fleet_bucket_take(&bucket, 1100, 5, 100));
    assert_false(fleet_bucket_take(&bucket, 1100, 5, 100));
    passed = 0;
    for (int i = 0; i < 20; i++)
        passed += fleet_bucket_take(&bucket, 100000, 5, 100);
    assert_int_equal(passed, 5);
}

// Bytes over what is at `at`, or cut there.
static void damage(const char *bytes, long at)
{
    char path[100];
    snprintf(path, sizeof path, "%s/fleet.db", folder);
    if (!bytes) {
        assert_int_equal(truncate(path, at), 0);
        return;
    }
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, strlen(bytes), file), strlen(bytes));
    assert_int_equal(fclose(file), 0);
}

static void a_damaged_file_is_put_aside_and_begun_anew(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        long at;
    } harm[] = {{"this is no database any more", 0},
                {"garbage in the second page garbage in the second page", 4096},
                {NULL, 5000},
                {NULL, 100}};
    struct rn_err err;
    for (size_t i = 0; i < sizeof harm / sizeof harm[0]; i++) {
        struct fleet *fleet = open_fleet();
        assert_string_equal(fleet_quarantined(fleet), "");
        assert_non_null(fleet_get(fleet, "dev1", 0, 0));
        assert_true(fleet_save(fleet, 10, &err) >= 0);
        fleet_close(fleet);
        damage(harm[i].bytes, harm[i].at);
        fleet = open_fleet();
        assert_int_equal(fleet->count, 0);
        assert_int_equal(access(fleet_quarantined(fleet), F_OK), 0);
        assert_non_null(fleet_get(fleet, "dev2", 0, 0));
        assert_int_equal(fleet_save(fleet, 10, &err), 1);
        fleet_close(fleet);
        fleet = open_fleet();
        assert_string_equal(fleet_quarantined(fleet), "");
        assert_non_null(fleet_find(fleet, "dev2"));
        fleet_close(fleet);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_survives_a_restart_with_its_installs_and_status),
        TEST(a_damaged_file_is_put_aside_and_begun_anew),
        TEST(there_are_at_most_so_many_devices),
        TEST(an_install_that_makes_room_is_gone_everywhere),
        TEST(a_bucket_lets_a_burst_through_and_then_a_trickle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
