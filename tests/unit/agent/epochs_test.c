// Epochs: what a hello may lift them to, and how often the agent connects anew for it.
#include "agent/state.h"

#include <runnel/wire.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int64_t minute = 60000, hour = 60 * 60000;

static struct epochs fresh(void)
{
    struct epochs e;
    epochs_init(&e, NULL, 5000);
    assert_int_equal(e.last, 5);
    return e;
}

static void the_next_epoch_is_above_what_the_bridge_has_seen(void **state)
{
    (void)state;
    struct epochs e = fresh();
    assert_true(epochs_lift(&e, 1000));
    assert_int_equal(epochs_next(&e, NULL), 1001);
    assert_true(epochs_lift(&e, 7)); // lower: nothing to do
    assert_int_equal(epochs_next(&e, NULL), 1002);
}

static void a_jump_that_would_use_up_the_numbers_is_not_believed(void **state)
{
    (void)state;
    static const uint64_t jumps[] = {EPOCH_LIFT_MAX + 1, RN_ID_MAX - 66, RN_ID_MAX - 1, RN_ID_MAX};
    struct epochs e = fresh();
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++)
        assert_false(epochs_lift(&e, jumps[i]));
    assert_int_equal(epochs_next(&e, NULL), 6);
    assert_true(epochs_lift(&e, EPOCH_LIFT_MAX)); // leaves as many again
    assert_int_equal(epochs_next(&e, NULL), EPOCH_LIFT_MAX + 1);
    assert_true(epochs_lift(&e, EPOCH_LIFT_MAX + 1)); // our own
}

static void a_higher_epoch_makes_a_new_connection_at_once(void **state)
{
    (void)state;
    struct epochs e = fresh();
    assert_true(epochs_reconnect(&e, 10));
}

static void a_bridge_that_always_knows_a_higher_one_costs_ever_fewer_connections(void **state)
{
    (void)state;
    struct epochs e = fresh();
    int first = 0, later = 0;
    for (int64_t now = 1; now < 24 * hour; now += 1000) {
        bool yes = epochs_reconnect(&e, now);
        first += now < hour && yes;
        later += now >= 2 * hour && yes;
    }
    assert_int_equal(first, 6); // after 0, 1, 3, 7, 15, 31 minutes
    assert_in_range(later, 21, 22);
}

static void after_a_quiet_time_the_pauses_begin_anew(void **state)
{
    (void)state;
    struct epochs e = fresh();
    assert_true(epochs_reconnect(&e, minute));
    assert_false(epochs_reconnect(&e, 2 * minute - 1));
    assert_true(epochs_reconnect(&e, 2 * minute));
    assert_false(epochs_reconnect(&e, 4 * minute - 1));
    assert_true(epochs_reconnect(&e, 4 * hour));
    assert_true(epochs_reconnect(&e, 4 * hour + minute));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_epoch_is_above_what_the_bridge_has_seen),
        cmocka_unit_test(a_jump_that_would_use_up_the_numbers_is_not_believed),
        cmocka_unit_test(a_higher_epoch_makes_a_new_connection_at_once),
        cmocka_unit_test(a_bridge_that_always_knows_a_higher_one_costs_ever_fewer_connections),
        cmocka_unit_test(after_a_quiet_time_the_pauses_begin_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
