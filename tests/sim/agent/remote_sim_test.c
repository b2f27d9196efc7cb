// The remote configuration core on a virtual clock: a device, a bridge that comes and goes, kills
// at any moment. What the core decided must hold whatever happens in between.
#include "agent/remote.h"
#include <runnel/rand.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct remote_conf conf = {.deadline_connected_ms = 120000,
                                        .deadline_unconnected_ms = 300000,
                                        .persist_every_ms = 5000,
                                        .report_every_ms = 5000};

// A device around the core: executes actions, survives kills through `disk`.
struct device {
    struct remote core;
    struct remote_saved disk;
    struct remote_name applied;
    uint64_t report_sent; // number of the last report that left, 0: none
    enum rn_config_state reported;
    bool refuse_apply;
    int64_t now;
};

static struct remote_name doc(uint64_t revision)
{
    struct remote_name name = {.revision = revision};
    memset(name.hash, (int)(revision & 0xff), sizeof name.hash);
    return name;
}

static void feed(struct device *dev, struct remote_event event)
{
    struct remote_actions out;
    remote_step(&dev->core, &event, dev->now, &out);
    bool refused = false;
    for (uint32_t i = 0; i < out.count; i++) {
        switch (out.item[i].type) {
        case REMOTE_PERSIST:
            dev->disk = dev->core.saved;
            break;
        case REMOTE_APPLY:
            if (dev->refuse_apply && out.item[i].name.revision)
                refused = true;
            else
                dev->applied = out.item[i].name;
            break;
        case REMOTE_REPORT:
            dev->report_sent = dev->core.saved.report_n;
            dev->reported = dev->core.saved.verdict;
            break;
        case REMOTE_KEEP_CANDIDATE:
        case REMOTE_KEEP_GOOD:
        case REMOTE_FLUSH:
            break;
        }
    }
    if (refused)
        feed(dev, (struct remote_event){.type = REMOTE_APPLY_FAILED, .reason = "no"});
}

static void simple(struct device *dev, enum remote_event_type type)
{
    feed(dev, (struct remote_event){.type = type});
}

static void offer(struct device *dev, uint64_t revision)
{
    feed(dev, (struct remote_event){
                  .type = REMOTE_OFFER, .name = doc(revision), .acceptable = true, .moves = true});
}

static void seen(struct device *dev)
{
    feed(dev, (struct remote_event){.type = REMOTE_REPORT_SEEN, .n = dev->report_sent});
}

static void pass(struct device *dev, int64_t ms)
{
    for (int64_t end = dev->now + ms; dev->now < end;) {
        dev->now += 1000;
        simple(dev, REMOTE_TICK);
    }
}

static void start(struct device *dev)
{
    struct remote_saved disk = dev->disk;
    remote_init(&dev->core, &conf, &disk);
    dev->applied = (struct remote_name){0};
    simple(dev, REMOTE_START);
}

static void start_online(struct device *dev)
{
    start(dev);
    simple(dev, REMOTE_CONNECTED);
    simple(dev, REMOTE_RECEIVED);
}

static void confirms_a_document_once_its_report_was_stored(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 3);
    assert_int_equal(dev.applied.revision, 3);
    assert_int_equal(dev.reported, RN_CONFIG_PROBATION);
    simple(&dev, REMOTE_RECEIVED); // of older data: does not confirm
    assert_int_equal(dev.core.saved.phase, REMOTE_PROBATION);
    seen(&dev);
    assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
    assert_int_equal(dev.disk.good.revision, 3);
}

// The machine was suspended, or had no time for the agent: the bridge had no chance to answer.
static void counts_no_time_in_which_it_did_not_run(void **state)
{
    (void)state;
    for (int connected = 0; connected < 2; connected++) {
        struct device dev = {0};
        start_online(&dev);
        offer(&dev, 3);
        if (!connected)
            simple(&dev, REMOTE_DISCONNECTED);
        dev.now += 3600000;
        simple(&dev, REMOTE_TICK); // before the answer that waits in the socket
        simple(&dev, REMOTE_TICK);
        assert_int_equal(dev.applied.revision, 3);
        if (!connected)
            simple(&dev, REMOTE_CONNECTED);
        seen(&dev);
        assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
    }
}

static void waits_until_something_got_through_under_the_old_one(void **state)
{
    (void)state;
    struct device dev = {0};
    start(&dev);
    simple(&dev, REMOTE_CONNECTED);
    offer(&dev, 1);
    assert_int_equal(dev.applied.revision, 0);
    pass(&dev, 1000000);
    assert_int_equal(dev.applied.revision, 0);
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.applied.revision, 1);
}

static void rolls_back_a_document_that_cuts_the_device_off(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    simple(&dev, REMOTE_DISCONNECTED);
    pass(&dev, 299000);
    assert_int_equal(dev.applied.revision, 1);
    pass(&dev, 2000);
    assert_int_equal(dev.applied.revision, 0);
    simple(&dev, REMOTE_CONNECTED);
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    offer(&dev, 1); // again: the same answer, not applied
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
}

static void counts_the_deadline_across_kills(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    simple(&dev, REMOTE_DISCONNECTED);
    pass(&dev, 200000);
    start(&dev); // killed once: it goes on
    assert_int_equal(dev.applied.revision, 1);
    pass(&dev, 106000);
    assert_int_equal(dev.applied.revision, 0);
}

static void two_restarts_in_probation_roll_back(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    start(&dev);
    assert_int_equal(dev.applied.revision, 1);
    start(&dev);
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.disk.phase, REMOTE_SETTLING);
}

static void an_outage_during_probation_does_not_condemn_a_good_document(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    pass(&dev, 121000); // the bridge is away: nothing is acknowledged
    assert_int_equal(dev.applied.revision, 0);
    pass(&dev, 3600000);
    assert_int_equal(dev.reported, RN_CONFIG_UNDETERMINED);
    simple(&dev, REMOTE_RECEIVED); // the bridge is back
    assert_int_equal(dev.applied.revision, 1);
    seen(&dev);
    assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
}

static void refuses_what_is_invalid_outdated_or_in_conflict(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    feed(&dev, (struct remote_event){.type = REMOTE_OFFER,
                                     .name = doc(1),
                                     .path = "step",
                                     .reason = "expected a duration"});
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    assert_string_equal(dev.core.saved.path, "step");
    offer(&dev, 5);
    seen(&dev);
    offer(&dev, 4);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    struct remote_name other = doc(5);
    other.hash[0] ^= 1;
    feed(&dev, (struct remote_event){.type = REMOTE_OFFER, .name = other, .acceptable = true});
    assert_int_equal(dev.reported, RN_CONFIG_CONFLICT);
    assert_int_equal(dev.applied.revision, 5);
}

static void a_document_that_cannot_be_applied_is_rejected(void **state)
{
    (void)state;
    struct device dev = {.refuse_apply = true};
    start_online(&dev);
    offer(&dev, 1);
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    assert_int_equal(dev.disk.phase, REMOTE_IDLE);
}

static void a_newer_document_replaces_the_one_on_probation(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    offer(&dev, 2);
    assert_int_equal(dev.applied.revision, 0); // first back to what is known to work
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.applied.revision, 2);
    seen(&dev);
    assert_int_equal(dev.disk.good.revision, 2);
}

// ---- whose fault it is --------------------------------------------------------------------------

static void offer_harmless(struct device *dev, uint64_t revision)
{
    feed(dev,
         (struct remote_event){.type = REMOTE_OFFER, .name = doc(revision), .acceptable = true});
}

static void an_outage_that_ends_just_after_the_rollback_condemns_nothing_harmless(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer_harmless(&dev, 1);
    pass(&dev, 120000); // the bridge is away
    assert_int_equal(dev.applied.revision, 0);
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.applied.revision, 1);
    seen(&dev);
    assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
}

static void nor_one_that_moves_if_the_way_back_took_long(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    simple(&dev, REMOTE_DISCONNECTED);
    pass(&dev, 300000);
    assert_int_equal(dev.applied.revision, 0);
    pass(&dev, 100000); // over a quarter: the broker itself was away
    simple(&dev, REMOTE_CONNECTED);
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.applied.revision, 1);
}

static void but_after_three_failures_it_is_rejected_all_the_same(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer_harmless(&dev, 1);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(dev.applied.revision, 1);
        pass(&dev, 120000);
        assert_int_equal(dev.applied.revision, 0);
        simple(&dev, REMOTE_RECEIVED);
    }
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
}

static void two_restarts_reject_a_harmless_one_too(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer_harmless(&dev, 1);
    start(&dev);
    start(&dev);
    simple(&dev, REMOTE_CONNECTED);
    simple(&dev, REMOTE_RECEIVED);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    assert_int_equal(dev.applied.revision, 0);
}

static void what_was_tried_and_rejected_stays_so_whatever_came_between(void **state)
{
    (void)state;
    struct device dev = {.refuse_apply = true};
    start_online(&dev);
    offer(&dev, 7);
    dev.refuse_apply = false;
    feed(&dev, (struct remote_event){
                   .type = REMOTE_OFFER, .name = doc(9), .path = "signature", .reason = "forged"});
    assert_string_equal(dev.core.saved.path, "signature");
    offer(&dev, 7);
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.core.saved.judged.revision, 7);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
}

static void what_the_local_files_made_unacceptable_is_looked_at_again(void **state)
{
    (void)state;
    struct device dev = {0};
    const struct remote_event refused = {
        .type = REMOTE_OFFER, .name = doc(1), .path = "signature", .reason = "no key"};
    start_online(&dev);
    feed(&dev, refused);
    uint64_t n = dev.core.saved.report_n;
    feed(&dev, refused); // the same answer costs no write
    assert_int_equal(dev.core.saved.report_n, n);
    offer(&dev, 1);
    assert_int_equal(dev.applied.revision, 1);
}

// ---- reports ------------------------------------------------------------------------------------

static void a_report_is_repeated_until_the_bridge_has_it(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    feed(&dev, (struct remote_event){
                   .type = REMOTE_OFFER, .name = doc(1), .path = "step", .reason = "no"});
    int times = 0;
    for (int i = 0; i < 600; i++) {
        dev.report_sent = 0;
        pass(&dev, 1000);
        times += dev.report_sent != 0;
    }
    assert_in_range(times, 4, 10); // ever more slowly
    dev.report_sent = dev.core.saved.report_n;
    seen(&dev);
    dev.report_sent = 0;
    pass(&dev, 1000000);
    assert_int_equal(dev.report_sent, 0);
}

static void a_lost_report_of_probation_does_not_cost_the_document(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    dev.report_sent = 0; // lost: the bridge was just being restarted
    pass(&dev, 30000);
    assert_int_not_equal(dev.report_sent, 0);
    seen(&dev);
    assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
}

static void a_good_one_that_no_longer_fits_the_local_files_is_told(void **state)
{
    (void)state;
    struct device dev = {0};
    start_online(&dev);
    offer(&dev, 1);
    seen(&dev);
    dev.refuse_apply = true;
    start_online(&dev);
    assert_int_equal(dev.applied.revision, 0);
    assert_int_equal(dev.reported, RN_CONFIG_REJECTED);
    assert_int_equal(remote_running(&dev.core).revision, 0);
    dev.refuse_apply = false;
    simple(&dev, REMOTE_RELOADED);
    assert_int_equal(dev.reported, RN_CONFIG_CONFIRMED);
    assert_int_equal(remote_running(&dev.core).revision, 1);
}

// A world in which document 1 is good or cuts the device off, the bridge and the network come and
// go until `calm`, and the device is killed now and then.
static void run_world(uint64_t seed)
{
    struct rn_rand rand;
    rn_rand_init(&rand, seed);
    struct device dev = {0};
    bool good = rn_rand_below(&rand, 2);
    int64_t calm = (int64_t)rn_rand_below(&rand, 2000) * 1000;
    bool bridge = true, net = true, connected = false;
    start_online(&dev);
    connected = true;
    offer(&dev, 1);
    for (int64_t t = 0; t < calm + 3600000; t += 1000) {
        bool stormy = t < calm;
        if (stormy && rn_rand_below(&rand, 60) == 0)
            bridge = !bridge;
        if (stormy && rn_rand_below(&rand, 90) == 0)
            net = !net;
        if (!stormy)
            bridge = net = true;
        if (stormy && rn_rand_below(&rand, 200) == 0) {
            start(&dev);
            connected = false;
        }
        bool link = net && (good || dev.applied.revision == 0);
        if (link != connected)
            simple(&dev, link ? REMOTE_CONNECTED : REMOTE_DISCONNECTED);
        connected = link;
        if (connected && bridge && rn_rand_below(&rand, 5) == 0) {
            simple(&dev, REMOTE_RECEIVED);
            if (good || dev.applied.revision == 0) // a bad one just applied has cut the link
                seen(&dev);
            offer(&dev, 1); // the bridge repeats it after a birth
        }
        dev.now += 1000;
        simple(&dev, REMOTE_TICK);
        if (dev.reported == RN_CONFIG_REJECTED && dev.applied.revision != 0)
            fail_msg("seed %llu: runs a rejected document", (unsigned long long)seed);
    }
    if (good && dev.applied.revision != 1 && dev.reported != RN_CONFIG_REJECTED)
        fail_msg("seed %llu: a good document was left in the air", (unsigned long long)seed);
    if (!good && (dev.applied.revision != 0 || dev.reported != RN_CONFIG_REJECTED))
        fail_msg("seed %llu: a bad document was not rejected (phase %d, verdict %d, good %d)",
                 (unsigned long long)seed, (int)dev.core.saved.phase, (int)dev.reported,
                 (int)dev.disk.good.revision);
}

static void ends_well_in_every_seeded_world(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    if (one) {
        run_world(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 3000; seed++)
        run_world(seed);
    print_message("seeds 1..3000; repeat one with SEED=n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(confirms_a_document_once_its_report_was_stored),
        cmocka_unit_test(waits_until_something_got_through_under_the_old_one),
        cmocka_unit_test(rolls_back_a_document_that_cuts_the_device_off),
        cmocka_unit_test(counts_the_deadline_across_kills),
        cmocka_unit_test(counts_no_time_in_which_it_did_not_run),
        cmocka_unit_test(two_restarts_in_probation_roll_back),
        cmocka_unit_test(an_outage_during_probation_does_not_condemn_a_good_document),
        cmocka_unit_test(refuses_what_is_invalid_outdated_or_in_conflict),
        cmocka_unit_test(a_document_that_cannot_be_applied_is_rejected),
        cmocka_unit_test(a_newer_document_replaces_the_one_on_probation),
        cmocka_unit_test(an_outage_that_ends_just_after_the_rollback_condemns_nothing_harmless),
        cmocka_unit_test(nor_one_that_moves_if_the_way_back_took_long),
        cmocka_unit_test(but_after_three_failures_it_is_rejected_all_the_same),
        cmocka_unit_test(two_restarts_reject_a_harmless_one_too),
        cmocka_unit_test(what_was_tried_and_rejected_stays_so_whatever_came_between),
        cmocka_unit_test(what_the_local_files_made_unacceptable_is_looked_at_again),
        cmocka_unit_test(a_report_is_repeated_until_the_bridge_has_it),
        cmocka_unit_test(a_lost_report_of_probation_does_not_cost_the_document),
        cmocka_unit_test(a_good_one_that_no_longer_fits_the_local_files_is_told),
        cmocka_unit_test(ends_well_in_every_seeded_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
