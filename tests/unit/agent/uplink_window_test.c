// The window of the uplink: how it grows, shrinks and is bounded, and how long answers may take.
#include "agent/uplink_window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void it_grows_by_one_an_answer_up_to_the_most(void **state)
{
    (void)state;
    struct uplink_window w = {.rows = 1};
    for (int i = 0; i < 10; i++)
        uplink_window_answered(&w, 4);
    assert_int_equal(w.rows, 4);
}

static void one_loss_halves_it_once_however_many_rows_it_took(void **state)
{
    (void)state;
    struct uplink_window w = {.rows = 16};
    uplink_window_timeout(&w, 100, 200);
    uplink_window_timeout(&w, 150, 210); // was sent before the window was halved
    assert_int_equal(w.rows, 8);
    assert_int_equal(w.timeouts_in_row, 1);
    uplink_window_timeout(&w, 200, 300);
    assert_int_equal(w.rows, 4);
    assert_int_equal(w.timeouts_in_row, 2);
    uplink_window_answered(&w, 16);
    assert_int_equal(w.timeouts_in_row, 0);
}

static void it_never_closes(void **state)
{
    (void)state;
    struct uplink_window w = {.rows = 2};
    for (int i = 1; i < 9; i++)
        uplink_window_timeout(&w, i, i);
    assert_int_equal(w.rows, 1);
}

static void live_rows_have_room_beyond_it_but_not_beyond_the_bridges_bound(void **state)
{
    (void)state;
    struct uplink_window w = {.rows = 1};
    assert_int_equal(uplink_window_now(&w, 0), 1);
    assert_int_equal(uplink_window_now(&w, 5), 5);
    w.peer = 3;
    assert_int_equal(uplink_window_now(&w, 5), 3);
    w.rows = 8;
    assert_int_equal(uplink_window_now(&w, 0), 3);
    uplink_window_restart(&w);
    assert_int_equal(uplink_window_now(&w, 0), 1);
    assert_int_equal(uplink_window_now(&w, 5), 5);
}

static void patience_follows_the_round_trips_and_doubles_within_bounds(void **state)
{
    (void)state;
    struct uplink_window w = {.rows = 1};
    assert_int_equal(uplink_window_patience(&w, 0, 5000, 300000), 5000);
    assert_int_equal(uplink_window_patience(&w, 3, 5000, 300000), 40000);
    assert_int_equal(uplink_window_patience(&w, 1000, 5000, 300000), 300000);
    uplink_window_measure(&w, 8000);
    assert_int_equal(w.srtt_ms, 8000);
    assert_int_equal(uplink_window_patience(&w, 0, 5000, 300000), 16000);
    uplink_window_measure(&w, -5); // sooner than the bridge need: no time at all
    assert_int_equal(w.srtt_ms, 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_by_one_an_answer_up_to_the_most),
        cmocka_unit_test(one_loss_halves_it_once_however_many_rows_it_took),
        cmocka_unit_test(it_never_closes),
        cmocka_unit_test(live_rows_have_room_beyond_it_but_not_beyond_the_bridges_bound),
        cmocka_unit_test(patience_follows_the_round_trips_and_doubles_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
