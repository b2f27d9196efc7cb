// Whom the bridge asks for a schema that many devices have, on a virtual clock.
#include "bridge/keys.h"
#include "tests/support/log_fixture.h"

#include <cmocka.h>

enum { DEVICES = 2000, EVERY_MS = 10000, OBJECT = 5 };

struct bench {
    struct log_fixture fix;
    struct fleet *fleet;
    struct answers *answers;
    struct counters counters;
    struct intake_parts parts;
    struct keys keys;
    int64_t now_ms;
};

static int setup(void **state)
{
    struct rn_err err;
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    struct fleet_conf conf = {.folder = b->fix.folder,
                              .max_devices = DEVICES,
                              .max_items_device = 100,
                              .max_items = 1000,
                              .live = {.grace_ms = 100, .missed = 3, .storm_ms = 1000}};
    fixture_ok(fleet_open(&b->fleet, &conf, 0, &err), &err);
    struct answers_conf answers = {.prefix = "rn", .delay_ms = 10, .cursors = 1};
    fixture_ok(answers_new(&b->answers, &answers, b->fix.log, b->fleet, &b->counters, 0, &err),
               &err);
    b->parts =
        (struct intake_parts){.fleet = b->fleet, .answers = b->answers, .counters = &b->counters};
    b->now_ms = 100000;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    answers_free(b->answers);
    fleet_close(b->fleet);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b);
    return 0;
}

// The device sends a batch whose schema is bound, but not there. True: it is asked for it.
static bool sends(struct bench *b, int number)
{
    char name[16];
    uint64_t gone, before = b->counters.needs;
    snprintf(name, sizeof name, "dev%d", number);
    struct arrival a = {.parts = &b->parts,
                        .dev = fleet_get(b->fleet, name, b->now_ms, b->now_ms),
                        .name = name,
                        .now = {b->now_ms, b->now_ms}};
    assert_non_null(a.dev);
    struct fleet_install *in = fleet_announce(a.dev, 7, b->now_ms, &gone);
    assert_non_null(in);
    struct refs refs = {.ref = {[REF_SCHEMA] = {.kind = RN_OBJECT_SCHEMA, .id = 1, .named = true}}};
    refs.ref[REF_SCHEMA].info.row = OBJECT;
    assert_true(keys_lacking(&b->keys, &a, in, &refs));
    return b->counters.needs > before;
}

static void a_fleet_that_waits_for_one_schema_is_not_asked_all_at_once(void **state)
{
    struct bench *b = *state;
    uint32_t asked = 0;
    for (int64_t end = b->now_ms + 60000; b->now_ms < end; b->now_ms += EVERY_MS / DEVICES)
        asked += sends(b, (int)(b->now_ms / (EVERY_MS / DEVICES) % DEVICES));
    assert_in_range(asked, 12, 160);
}

static void some_that_never_give_it_keep_nobody_from_being_asked(void **state)
{
    struct bench *b = *state;
    int64_t asked_ms = 0;
    for (int64_t began = b->now_ms; !asked_ms && b->now_ms < began + 60000; b->now_ms += 100) {
        for (int i = 1; i <= 4; i++)
            (void)sends(b, i);
        if (b->now_ms % 2000 == 0 && sends(b, 0))
            asked_ms = b->now_ms - began;
    }
    assert_in_range(asked_ms, 1, 8000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fleet_that_waits_for_one_schema_is_not_asked_all_at_once),
        TEST(some_that_never_give_it_keep_nobody_from_being_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
