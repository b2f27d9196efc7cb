// A device's liveness on a virtual clock: what is shown, moment by moment, in the situations that
// the protocol names, and under random ones from a seed.
#include "bridge/liveness.h"

#include <runnel/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_DEVICES 100
#define INTERVAL    2000
#define GRACE       3000

struct world {
    struct live_fleet fleet;
    struct live_device dev[MAX_DEVICES];
    uint32_t n;
    int64_t now;
    char shown[MAX_DEVICES][400]; // every state that was shown, in order: "online>late>"
};

static const struct live_conf conf = {.grace_ms = GRACE,
                                      .missed = 3,
                                      .default_interval_ms = 60000,
                                      .reconnect_ms = 1000,
                                      .backoff_max_ms = 5000,
                                      .retry_ms = 20000,
                                      .storm_ms = 30000,
                                      .storm_percent = 10,
                                      .storm_min = 5,
                                      .duplicate_ms = 120000,
                                      .duplicate_clear_ms = 60000};

static struct world *begin(uint32_t n)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.n = n;
    world.now = 1000000;
    live_fleet_init(&world.fleet, &conf);
    for (uint32_t i = 0; i < n; i++)
        live_enter(&world.fleet, &world.dev[i], world.now);
    live_fleet_back(&world.fleet, n, world.now);
    world.now += 10000;
    return &world;
}

static void note(struct world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        char now[40];
        const char *state = live_state_name(w->dev[i].shown);
        snprintf(now, sizeof now, "%s>", state);
        if (w->dev[i].shown == LIVE_NEVER)
            continue;
        size_t used = strlen(w->shown[i]), len = strlen(now);
        if (used >= len && strcmp(w->shown[i] + used - len, now) == 0)
            continue;
        snprintf(w->shown[i] + used, sizeof w->shown[i] - used, "%s", now);
    }
}

// Time passes in ticks of 250 ms.
static void pass(struct world *w, int64_t ms)
{
    for (int64_t end = w->now + ms; w->now < end;) {
        w->now += 250;
        for (uint32_t i = 0; i < w->n; i++)
            live_tick(&w->fleet, &w->dev[i], w->now);
        note(w);
    }
}

static struct live_status status(uint64_t install, uint64_t epoch, uint64_t n)
{
    return (struct live_status){.install = install,
                                .epoch = epoch,
                                .n = n,
                                .fingerprint = install * 10,
                                .interval_ms = INTERVAL};
}

static void birth(struct world *w, uint32_t i, uint64_t install, uint64_t epoch)
{
    struct live_status s = status(install, epoch, 1);
    live_birth(&w->fleet, &w->dev[i], &s, w->now);
    note(w);
}

static void retained(struct world *w, uint32_t i, uint64_t install, uint64_t epoch)
{
    struct live_status s = status(install, epoch, 1);
    s.retained = true;
    live_birth(&w->fleet, &w->dev[i], &s, w->now);
    note(w);
}

static void will(struct world *w, uint32_t i, uint64_t install, uint64_t epoch, bool kept)
{
    struct live_status s = status(install, epoch, 0);
    s.retained = kept;
    live_will(&w->fleet, &w->dev[i], &s, w->now);
    note(w);
}

static void data(struct world *w, uint32_t i, uint64_t install)
{
    live_data(&w->fleet, &w->dev[i], install, w->now);
    note(w);
}

// Batches of everybody for ms.
static void alive(struct world *w, int64_t ms)
{
    for (int64_t end = w->now + ms; w->now < end;) {
        for (uint32_t i = 0; i < w->n; i++)
            data(w, i, w->dev[i].install);
        pass(w, INTERVAL);
    }
}

static void broker_lost(struct world *w)
{
    live_fleet_lost(&w->fleet, w->now);
    for (uint32_t i = 0; i < w->n; i++)
        live_lost(&w->fleet, &w->dev[i], w->now);
    note(w);
}

static void broker_back(struct world *w)
{
    live_fleet_back(&w->fleet, w->n, w->now);
    for (uint32_t i = 0; i < w->n; i++)
        live_back(&w->fleet, &w->dev[i]);
    note(w);
}

static void check_counts(const struct world *w)
{
    uint32_t count[LIVE_STATES] = {0};
    for (uint32_t i = 0; i < w->n; i++)
        count[w->dev[i].shown]++;
    assert_memory_equal(count, w->fleet.count, sizeof count);
}

#define expect_shown(w, i, story) assert_string_equal((w)->shown[i], story)

static void a_killed_agent_is_offline_after_the_grace(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 10000);
    will(w, 0, 7, 1, false);
    pass(w, GRACE - 500);
    assert_int_equal(w->dev[0].shown, LIVE_ONLINE);
    pass(w, 1000);
    expect_shown(w, 0, "online>offline>");
    assert_int_equal(w->dev[0].reason, LIVE_WILL);
    check_counts(w);
}

static void a_return_within_the_grace_is_no_flap(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 4000);
    will(w, 0, 7, 1, false);
    pass(w, GRACE - 500);
    birth(w, 0, 7, 2);
    alive(w, 20000);
    expect_shown(w, 0, "online>");
}

static void a_graceful_stop_is_offline_at_once(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    struct live_status s = status(7, 1, 2);
    assert_true(live_stop(&w->fleet, &w->dev[0], &s, w->now));
    pass(w, 60000);
    expect_shown(w, 0, "online>offline>");
    assert_int_equal(w->dev[0].reason, LIVE_STOPPED);
    data(w, 0, 7); // what was on its way when it stopped
    expect_shown(w, 0, "online>offline>");
    birth(w, 0, 7, 2);
    expect_shown(w, 0, "online>offline>online>");
}

static void a_silent_link_is_late_then_offline_and_data_ends_it(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 20000);
    pass(w, 2 * INTERVAL - INTERVAL);
    assert_int_equal(w->dev[0].shown, LIVE_ONLINE);
    pass(w, INTERVAL);
    assert_int_equal(w->dev[0].shown, LIVE_LATE);
    pass(w, 2 * INTERVAL);
    expect_shown(w, 0, "online>late>offline>");
    assert_int_equal(w->dev[0].reason, LIVE_SILENCE);
    data(w, 0, 7);
    expect_shown(w, 0, "online>late>offline>online>");
}

static void a_will_after_a_takeover_does_not_touch_the_new_connection(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 4000);
    will(w, 0, 7, 1, false); // mosquitto publishes the old will, then the new birth
    birth(w, 0, 7, 2);
    will(w, 0, 7, 1, false); // or the old one comes late
    alive(w, 20000);
    expect_shown(w, 0, "online>");
}

static void offline_by_will_ends_only_with_a_greater_epoch(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 5);
    will(w, 0, 7, 5, false);
    pass(w, GRACE + 500);
    data(w, 0, 7);
    birth(w, 0, 7, 4);
    assert_int_equal(w->dev[0].shown, LIVE_OFFLINE);
    birth(w, 0, 7, 6);
    assert_int_equal(w->dev[0].shown, LIVE_ONLINE);
}

static void a_broker_killed_leaves_the_fleet_blind_and_nobody_offline(void **state)
{
    (void)state;
    struct world *w = begin(20);
    for (uint32_t i = 0; i < w->n; i++)
        birth(w, i, 100 + i, 1);
    alive(w, 10000);
    broker_lost(w);
    assert_true(live_fleet_blind(&w->fleet, w->now));
    pass(w, 60000);
    broker_back(w);
    pass(w, 3000);
    for (uint32_t i = 0; i < w->n - 1; i++)
        birth(w, i, 100 + i, 2);
    for (int k = 0; k < 10; k++) { // the last one died meanwhile
        for (uint32_t i = 0; i < w->n - 1; i++)
            data(w, i, 100 + i);
        pass(w, INTERVAL);
    }
    for (uint32_t i = 0; i < w->n - 1; i++)
        expect_shown(w, i, "online>blind>online>");
    expect_shown(w, 19, "online>blind>offline>");
    check_counts(w);
}

// SIGTERM: mosquitto publishes every will, then goes.
static void a_broker_that_stops_publishes_all_wills_and_nobody_flaps(void **state)
{
    (void)state;
    struct world *w = begin(20);
    for (uint32_t i = 0; i < w->n; i++)
        birth(w, i, 100 + i, 1);
    alive(w, 4000);
    for (uint32_t i = 0; i < w->n; i++)
        will(w, i, 100 + i, 1, false);
    broker_lost(w);
    pass(w, 20000);
    broker_back(w);
    for (uint32_t i = 0; i < w->n; i++)
        will(w, i, 100 + i, 1, true); // the retained ones
    for (uint32_t i = 0; i < w->n; i++) {
        pass(w, 250);
        birth(w, i, 100 + i, 2);
    }
    alive(w, 30000);
    for (uint32_t i = 0; i < w->n; i++)
        expect_shown(w, i, "online>blind>online>");
    assert_false(live_fleet_blind(&w->fleet, w->now));
}

static void a_stale_retained_online_is_unconfirmed_and_ends_offline(void **state)
{
    (void)state;
    struct world *w = begin(2);
    retained(w, 0, 7, 3);
    retained(w, 1, 8, 3);
    pass(w, 1000);
    data(w, 1, 8);
    for (int i = 0; i < 10; i++) {
        pass(w, INTERVAL);
        data(w, 1, 8);
    }
    expect_shown(w, 0, "unconfirmed>offline>");
    expect_shown(w, 1, "unconfirmed>online>");
}

static void a_bridge_that_restarts_shows_blind_then_what_it_hears(void **state)
{
    (void)state;
    struct world *w = begin(0);
    w->n = 3;
    for (uint32_t i = 0; i < 3; i++)
        w->dev[i] = (struct live_device){
            .state = LIVE_ONLINE, .install = 7 + i, .epoch = 2, .interval_ms = INTERVAL};
    w->dev[2].state = LIVE_OFFLINE;
    w->dev[2].reason = LIVE_WILL;
    for (uint32_t i = 0; i < 3; i++)
        live_enter(&w->fleet, &w->dev[i], w->now);
    note(w);
    retained(w, 0, 7, 2);
    will(w, 1, 8, 2, true); // it died while the bridge was away
    retained(w, 2, 9, 2);   // a broker that lost its memory of the will
    for (int i = 0; i < 10; i++) {
        data(w, 0, 7);
        pass(w, INTERVAL);
    }
    expect_shown(w, 0, "blind>unconfirmed>online>");
    expect_shown(w, 1, "blind>offline>");
    expect_shown(w, 2, "offline>");
}

static void many_that_vanish_together_are_blind_not_offline(void **state)
{
    (void)state;
    struct world *w = begin(50);
    for (uint32_t i = 0; i < w->n; i++)
        birth(w, i, 100 + i, 1);
    alive(w, 4000);
    for (uint32_t i = 0; i < 20; i++)
        will(w, i, 100 + i, 1, false);
    assert_true(live_fleet_blind(&w->fleet, w->now));
    for (int64_t end = w->now + 20000; w->now < end;) {
        for (uint32_t i = 20; i < w->n; i++)
            data(w, i, 100 + i);
        pass(w, INTERVAL);
    }
    for (uint32_t i = 0; i < 18; i++)
        birth(w, i, 100 + i, 2);
    assert_false(live_fleet_blind(&w->fleet, w->now));
    assert_int_equal(w->fleet.storms, 1);
    alive(w, 60000);
    for (uint32_t i = 0; i < 18; i++)
        expect_shown(w, i, "online>blind>online>");
    for (uint32_t i = 18; i < 20; i++) // really gone
        expect_shown(w, i, "online>blind>offline>");
    for (uint32_t i = 20; i < w->n; i++)
        expect_shown(w, i, "online>");
}

static void a_device_told_to_hold_is_blind_not_offline(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 4000);
    live_hold(&w->dev[0], w->now + 15000);
    pass(w, 15000 + 19000); // it backs off beyond what it was told
    assert_int_equal(w->dev[0].shown, LIVE_BLIND);
    assert_int_equal(w->dev[0].reason, LIVE_BACKPRESSURE);
    data(w, 0, 7);
    expect_shown(w, 0, "online>blind>online>");
    live_hold(&w->dev[0], w->now + 1000);
    pass(w, 60000); // it never came back
    expect_shown(w, 0, "online>blind>online>blind>offline>");
}

static void a_bridge_that_was_stopped_for_a_minute_blames_nobody(void **state)
{
    (void)state;
    struct world *w = begin(3);
    for (uint32_t i = 0; i < 3; i++)
        birth(w, i, 7 + i, 1);
    alive(w, 4000);
    w->now += 60000;
    live_fleet_stalled(&w->fleet, w->now);
    pass(w, 1000);
    alive(w, 10000);
    for (uint32_t i = 0; i < 3; i++)
        expect_shown(w, i, "online>");
}

static void two_agents_of_one_name_are_shown_as_duplicate(void **state)
{
    (void)state;
    struct world *w = begin(1);
    for (uint64_t round = 1; round <= 3; round++) {
        birth(w, 0, 7, round);
        pass(w, 1000);
        will(w, 0, 7, round, false); // kicked by the other
        birth(w, 0, 8, round);
        pass(w, 1000);
        will(w, 0, 8, round, false);
    }
    birth(w, 0, 7, 4);
    expect_shown(w, 0, "online>duplicate>");
    assert_int_equal(w->dev[0].other_install, 8);
    alive(w, conf.duplicate_clear_ms + 4000); // one was switched off
    expect_shown(w, 0, "online>duplicate>online>");
}

static void two_copies_that_share_install_and_machine_are_found_by_their_epochs(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 10);
    pass(w, 500);
    birth(w, 0, 7, 8); // the copy, restored from before
    pass(w, 500);
    birth(w, 0, 7, 11); // lifted
    pass(w, 500);
    birth(w, 0, 7, 11); // the first one counts on
    assert_int_equal(w->dev[0].shown, LIVE_DUPLICATE);
}

static void a_buffer_begun_anew_is_no_duplicate(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    alive(w, 4000);
    will(w, 0, 7, 1, false);
    birth(w, 0, 8, 2);
    alive(w, 10000);
    will(w, 0, 8, 2, false);
    birth(w, 0, 9, 3);
    alive(w, 10000);
    data(w, 0, 7); // backlog of the old one
    expect_shown(w, 0, "online>");
}

static void a_retired_device_stays_retired(void **state)
{
    (void)state;
    struct world *w = begin(1);
    birth(w, 0, 7, 1);
    live_retire(&w->fleet, &w->dev[0], true, w->now);
    pass(w, 60000);
    assert_int_equal(w->dev[0].shown, LIVE_RETIRED);
    live_retire(&w->fleet, &w->dev[0], false, w->now);
    assert_int_equal(w->dev[0].shown, LIVE_OFFLINE);
    check_counts(w);
}

// Whatever happens: the counts agree, and a device that has talked without a break for long enough
// is shown as present, one that has been quiet for long enough as absent.
static void random_world(uint64_t seed)
{
    struct rn_rand rand;
    struct world *w = begin(12);
    uint64_t epoch[12], install[12];
    rn_rand_init(&rand, seed);
    for (uint32_t i = 0; i < w->n; i++) {
        epoch[i] = 1;
        install[i] = 100 + i;
    }
    for (int step = 0; step < 400; step++) {
        uint32_t i = (uint32_t)rn_rand_below(&rand, w->n);
        switch (rn_rand_below(&rand, 9)) {
        case 0:
            birth(w, i, install[i], ++epoch[i]);
            break;
        case 1:
            will(w, i, install[i], epoch[i] - rn_rand_below(&rand, 2), rn_rand_below(&rand, 2));
            break;
        case 2:
            retained(w, i, install[i], epoch[i]);
            break;
        case 3:
            if (w->fleet.connected)
                broker_lost(w);
            else
                broker_back(w);
            break;
        case 4:
            live_hold(&w->dev[i], w->now + (int64_t)rn_rand_below(&rand, 5000));
            break;
        default:
            data(w, i, install[i]);
        }
        pass(w, (int64_t)rn_rand_below(&rand, 3000));
        check_counts(w);
    }
    if (!w->fleet.connected)
        broker_back(w);
    for (uint32_t i = 0; i < w->n; i += 2)
        birth(w, i, install[i], ++epoch[i]);
    for (int k = 0; k < 60; k++) {
        for (uint32_t i = 0; i < w->n; i += 2)
            data(w, i, install[i]);
        pass(w, INTERVAL);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        enum live_state shown = w->dev[i].shown;
        bool right = i % 2 ? shown == LIVE_OFFLINE || shown == LIVE_NEVER : shown == LIVE_ONLINE;
        if (!right)
            fail_msg("seed %llu device %u: %s", (unsigned long long)seed, i, w->shown[i]);
    }
}

static void the_truth_is_shown_in_the_end_whatever_happened(void **state)
{
    (void)state;
    const char *given = getenv("RN_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1;
    printf("seeds %llu..%llu (RN_SEED)\n", (unsigned long long)first,
           (unsigned long long)(first + 199));
    for (uint64_t seed = first; seed < first + 200; seed++)
        random_world(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_agent_is_offline_after_the_grace),
        cmocka_unit_test(a_return_within_the_grace_is_no_flap),
        cmocka_unit_test(a_graceful_stop_is_offline_at_once),
        cmocka_unit_test(a_silent_link_is_late_then_offline_and_data_ends_it),
        cmocka_unit_test(a_will_after_a_takeover_does_not_touch_the_new_connection),
        cmocka_unit_test(offline_by_will_ends_only_with_a_greater_epoch),
        cmocka_unit_test(a_broker_killed_leaves_the_fleet_blind_and_nobody_offline),
        cmocka_unit_test(a_broker_that_stops_publishes_all_wills_and_nobody_flaps),
        cmocka_unit_test(a_stale_retained_online_is_unconfirmed_and_ends_offline),
        cmocka_unit_test(a_bridge_that_restarts_shows_blind_then_what_it_hears),
        cmocka_unit_test(many_that_vanish_together_are_blind_not_offline),
        cmocka_unit_test(a_device_told_to_hold_is_blind_not_offline),
        cmocka_unit_test(a_bridge_that_was_stopped_for_a_minute_blames_nobody),
        cmocka_unit_test(two_agents_of_one_name_are_shown_as_duplicate),
        cmocka_unit_test(two_copies_that_share_install_and_machine_are_found_by_their_epochs),
        cmocka_unit_test(a_buffer_begun_anew_is_no_duplicate),
        cmocka_unit_test(a_retired_device_stays_retired),
        cmocka_unit_test(the_truth_is_shown_in_the_end_whatever_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
