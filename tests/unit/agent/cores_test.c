// Ledger, eviction and schedule.
#include "agent/evict.h"
#include "agent/ledger.h"
#include "agent/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_sample_is_in_exactly_one_fate(void **state)
{
    (void)state;
    struct rn_ledger l = {0};
    ledger_produce(&l, 100);
    assert_int_equal(ledger_settle(&l, LEDGER_DELIVERED, 40), 40);
    assert_int_equal(ledger_settle(&l, LEDGER_EVICTED, 30), 30);
    assert_int_equal(ledger_settle(&l, LEDGER_REFUSED, 10), 10);
    assert_int_equal(ledger_settle(&l, LEDGER_THINNED, 5), 5);
    assert_int_equal(ledger_settle(&l, LEDGER_LOST, 5), 5);
    assert_int_equal(l.pending, 10);
    assert_true(ledger_balanced(&l));
}

static void more_than_is_pending_cannot_be_settled(void **state)
{
    (void)state;
    struct rn_ledger l = {0};
    ledger_produce(&l, 3);
    assert_int_equal(ledger_settle(&l, LEDGER_DELIVERED, 5), 3);
    assert_true(ledger_balanced(&l));
}

static void rows(struct evict_row *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        r[i] = (struct evict_row){.seq = i + 1, .bytes = 100, .t_last = 1000 + i};
}

static void the_oldest_rows_go_first(void **state)
{
    (void)state;
    struct evict_row r[5];
    rows(r, 5);
    struct evict_need need = {.excess_bytes = 150};
    assert_int_equal(evict_choose(&need, r, 5), 2);
    assert_true(r[0].drop && r[1].drop);
    assert_false(r[2].drop || r[3].drop || r[4].drop);
}

static void rows_that_the_bridge_has_go_before_the_others(void **state)
{
    (void)state;
    struct evict_row r[5];
    rows(r, 5);
    r[3].received = true;
    struct evict_need need = {.excess_bytes = 150};
    assert_int_equal(evict_choose(&need, r, 5), 2);
    assert_true(r[3].drop && r[0].drop);
    assert_false(r[1].drop);
}

static void what_is_too_old_goes_without_need_for_space(void **state)
{
    (void)state;
    struct evict_row r[5];
    rows(r, 5);
    r[1].t_last = 0; // not known: stays
    struct evict_need need = {.oldest_ms = 1003};
    assert_int_equal(evict_choose(&need, r, 5), 2);
    assert_true(r[0].drop && r[2].drop);
    assert_false(r[1].drop || r[3].drop);
}

// A schedule that has looked at the clock once.
static void begin(struct schedule *s, int64_t utc_ms)
{
    schedule_init(s, 1000, 5000, 0);
    assert_false(schedule_at(s, utc_ms).due);
}

static void the_tick_of_the_first_look_is_left_out(void **state)
{
    (void)state;
    struct schedule s;
    begin(&s, 10000);
    assert_false(schedule_at(&s, 10200).due);
    assert_true(schedule_at(&s, 11000).due);
    assert_int_equal(s.missed, 0);
}

static void a_tick_is_taken_once_and_bears_its_own_time(void **state)
{
    (void)state;
    struct schedule s;
    begin(&s, 9200);
    struct schedule_tick t = schedule_at(&s, 10200);
    assert_true(t.due);
    assert_int_equal(t.time_ms, 10000);
    assert_int_equal(t.wait_ms, 800);
    assert_false(schedule_at(&s, 10300).due);
    assert_true(schedule_at(&s, 11000).due);
}

static void a_tick_not_read_within_half_a_step_is_missing_and_counted(void **state)
{
    (void)state;
    struct schedule s;
    begin(&s, 9000);
    assert_true(schedule_at(&s, 10000).due);
    assert_false(schedule_at(&s, 11501).due);
    assert_true(schedule_at(&s, 14000).due);
    assert_int_equal(s.missed, 3);
}

static void a_clock_that_steps_back_goes_on_and_says_so(void **state)
{
    (void)state;
    struct schedule s;
    begin(&s, 49000);
    assert_true(schedule_at(&s, 50000).due);
    struct schedule_tick t = schedule_at(&s, 20000);
    assert_true(t.due && t.back);
    assert_false(schedule_at(&s, 21000).back);
    assert_int_equal(s.missed, 0);
}

static void batches_are_cut_once_an_interval_at_a_phase_of_the_device(void **state)
{
    (void)state;
    for (uint64_t spread = 0; spread < 7; spread++) {
        struct schedule s;
        schedule_init(&s, 1000, 5000, spread);
        int cuts = 0;
        for (int64_t t = 100000; t < 120000; t += 1000)
            cuts += schedule_cuts(&s, t);
        assert_int_equal(cuts, 4);
    }
}

static void periods_become_multiples_of_the_step(void **state)
{
    (void)state;
    assert_int_equal(schedule_every(1000, 10000), 10);
    assert_int_equal(schedule_every(1000, 100), 1);
    assert_int_equal(schedule_every(10000, 60000), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_in_exactly_one_fate),
        cmocka_unit_test(more_than_is_pending_cannot_be_settled),
        cmocka_unit_test(the_oldest_rows_go_first),
        cmocka_unit_test(rows_that_the_bridge_has_go_before_the_others),
        cmocka_unit_test(what_is_too_old_goes_without_need_for_space),
        cmocka_unit_test(the_tick_of_the_first_look_is_left_out),
        cmocka_unit_test(a_tick_is_taken_once_and_bears_its_own_time),
        cmocka_unit_test(a_tick_not_read_within_half_a_step_is_missing_and_counted),
        cmocka_unit_test(a_clock_that_steps_back_goes_on_and_says_so),
        cmocka_unit_test(batches_are_cut_once_an_interval_at_a_phase_of_the_device),
        cmocka_unit_test(periods_become_multiples_of_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
