// What follows from the settings about time.
#include "agent/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct agent_settings settings_of(int profile, int64_t step_ms)
{
    return (struct agent_settings){.profile = profile, .step_ms = step_ms, .uplink_window = 16};
}

static void a_profile_says_how_much_a_batch_covers(void **state)
{
    (void)state;
    struct agent_settings s = settings_of(PACE_LIVE, 10000);
    assert_int_equal(pace_interval(&s), 60000);
    s.profile = PACE_ECONOMY;
    assert_int_equal(pace_interval(&s), 240000);
    s.profile = PACE_REALTIME;
    assert_int_equal(pace_interval(&s), 10000);
    s.batch_interval_ms = 30000; // explicit: wins
    assert_int_equal(pace_interval(&s), 30000);
}

static void a_profiles_interval_is_a_multiple_of_any_step(void **state)
{
    (void)state;
    struct agent_settings s = settings_of(PACE_LIVE, 7000);
    assert_int_equal(pace_interval(&s), 56000);
    s.step_ms = 3600000;
    assert_int_equal(pace_interval(&s), 3600000);
}

static void batches_of_the_profile_economy_come_before_a_ping_is_due(void **state)
{
    (void)state;
    struct agent_settings s = settings_of(PACE_ECONOMY, 10000);
    assert_true(pace_keepalive(&s) > pace_interval(&s) + 30000);
    assert_true(pace_keepalive(&s) <= 600000); // what our broker's configuration allows
    s.profile = PACE_LIVE;
    assert_int_equal(pace_keepalive(&s), 240000);
    s.batch_interval_ms = 600000; // NATs would forget it: pings are needed
    assert_int_equal(pace_keepalive(&s), 240000);
    s.mqtt_keepalive_ms = 20000;
    assert_int_equal(pace_keepalive(&s), 20000);
}

static void an_answer_never_waits_for_more_batches_than_the_window_holds(void **state)
{
    (void)state;
    struct agent_settings s = settings_of(PACE_LIVE, 10000);
    assert_int_equal(pace_ack_by(&s), 180000);
    assert_int_equal(pace_uplink(&s, false).live, 5);
    s.uplink_window = 2;
    assert_int_equal(pace_ack_by(&s), 60000);
    assert_int_equal(pace_uplink(&s, false).live, 2);
    s.uplink_window = 1;
    assert_int_equal(pace_ack_by(&s), PACE_AT_ONCE_MS);
    assert_int_equal(pace_uplink(&s, true).ack_by_ms, PACE_AT_ONCE_MS);
    s.uplink_window = 16;
    s.profile = PACE_ECONOMY;
    assert_int_equal(pace_ack_by(&s), 240000);
    s.uplink_ack_by_ms = 5000;
    assert_int_equal(pace_ack_by(&s), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_says_how_much_a_batch_covers),
        cmocka_unit_test(a_profiles_interval_is_a_multiple_of_any_step),
        cmocka_unit_test(batches_of_the_profile_economy_come_before_a_ping_is_due),
        cmocka_unit_test(an_answer_never_waits_for_more_batches_than_the_window_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
