// What is learned from which sequence of events.
#include "agent/keepalive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND INT64_C(1000)
#define HOUR   (3600 * SECOND)

static const struct keepalive_conf conf = {.min_ms = 30 * SECOND, .max_ms = 240 * SECOND};

static void begin(struct keepalive *x)
{
    const struct keepalive_learned none = {0};
    keepalive_init(x, &conf, &none);
    (void)keepalive_connected(x, 0);
}

// A batch is sent after a gap and never answered.
static void die(struct keepalive *x, int64_t *now, int64_t gap)
{
    *now += gap;
    keepalive_sent(x, *now);
    *now += 60 * SECOND;
    keepalive_lost(x, *now);
}

static void survive(struct keepalive *x, int64_t *now, int64_t gap)
{
    *now += gap;
    keepalive_sent(x, *now);
    *now += SECOND;
    keepalive_heard(x, *now);
}

static void three_deaths_after_a_gap_in_a_row_lower_it_below_the_gap(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    die(&x, &now, 200 * SECOND);
    assert_true(keepalive_connected(&x, now)); // to be saved: two more and it is sure
    die(&x, &now, 220 * SECOND);
    assert_true(keepalive_connected(&x, now));
    assert_int_equal(keepalive_ms(&x), conf.max_ms);
    die(&x, &now, 180 * SECOND);
    assert_true(keepalive_connected(&x, now));
    assert_in_range(keepalive_ms(&x), 90 * SECOND, 135 * SECOND);
}

static void a_gap_that_was_survived_in_between_takes_the_suspicion_away(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    for (int i = 0; i < 20; i++) {
        die(&x, &now, 200 * SECOND);
        (void)keepalive_connected(&x, now);
        survive(&x, &now, 210 * SECOND);
    }
    assert_int_equal(keepalive_ms(&x), conf.max_ms);
}

static void what_is_followed_by_failing_attempts_is_an_outage(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    for (int i = 0; i < 20; i++) {
        die(&x, &now, 200 * SECOND);
        keepalive_failed(&x);
        assert_false(keepalive_connected(&x, now));
    }
    assert_int_equal(keepalive_ms(&x), conf.max_ms);
}

static void a_busy_connection_that_is_lost_says_nothing(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    for (int i = 0; i < 20; i++) {
        die(&x, &now, 20 * SECOND);
        (void)keepalive_connected(&x, now);
    }
    assert_int_equal(keepalive_ms(&x), conf.max_ms);
}

static void it_never_goes_below_the_minimum(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    for (int i = 0; i < 20; i++) {
        die(&x, &now, 240 * SECOND);
        (void)keepalive_connected(&x, now);
    }
    assert_int_equal(keepalive_ms(&x), conf.min_ms);
}

static void a_ping_that_is_not_answered_counts_like_a_batch(void **state)
{
    struct keepalive x;
    int64_t now = 0;
    (void)state;
    begin(&x);
    for (int i = 0; i < 3; i++) {
        now += 400 * SECOND; // nothing was sent but the ping after 240 s
        keepalive_lost(&x, now);
        (void)keepalive_connected(&x, now);
    }
    assert_in_range(keepalive_ms(&x), 120 * SECOND, 180 * SECOND);
}

static void a_long_life_at_a_learned_value_makes_the_next_try_a_longer_one(void **state)
{
    const struct keepalive_learned saved = {
        .value_ms = 100 * SECOND, .hold_ms = 6 * HOUR, .step_ms = 12 * SECOND};
    struct keepalive x;
    int64_t now = 0, last = 100 * SECOND;
    (void)state;
    keepalive_init(&x, &conf, &saved);
    assert_int_equal(keepalive_ms(&x), 100 * SECOND);
    for (int i = 0; i < 4; i++) {
        (void)keepalive_connected(&x, now);
        int64_t end = now + 7 * HOUR;
        while (now < end)
            survive(&x, &now, 300 * SECOND); // with pings between
        keepalive_lost(&x, now);             // a broker that restarts
        assert_true(keepalive_ms(&x) > last || keepalive_ms(&x) == conf.max_ms);
        last = keepalive_ms(&x);
    }
    assert_int_equal(last, conf.max_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_deaths_after_a_gap_in_a_row_lower_it_below_the_gap),
        cmocka_unit_test(a_gap_that_was_survived_in_between_takes_the_suspicion_away),
        cmocka_unit_test(what_is_followed_by_failing_attempts_is_an_outage),
        cmocka_unit_test(a_busy_connection_that_is_lost_says_nothing),
        cmocka_unit_test(it_never_goes_below_the_minimum),
        cmocka_unit_test(a_ping_that_is_not_answered_counts_like_a_batch),
        cmocka_unit_test(a_long_life_at_a_learned_value_makes_the_next_try_a_longer_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
