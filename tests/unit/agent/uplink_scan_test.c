// The order in which waiting rows are looked at: live ones first, the backlog between them.
#include "agent/uplink_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct buffer { // rows low..next-1 wait
    struct uplink_scan scan;
    struct rn_range storage[8];
    struct rn_ranges received;
    uint64_t low, next;
};

static void fill(struct buffer *b, uint64_t low, uint64_t next)
{
    *b = (struct buffer){.low = low, .next = next};
    rn_ranges_init(&b->received, b->storage, 8);
    uplink_scan_restart(&b->scan, low, next);
}

// The row that is looked at next, 0: none.
static uint64_t look(struct buffer *b, bool backlog)
{
    bool probe;
    if (!uplink_scan_next(&b->scan, b->low, b->next, backlog, &b->received))
        return 0;
    uint64_t seq = b->scan.first;
    assert_true(seq < b->scan.end);
    assert_true(uplink_scan_found(&b->scan, seq, &probe));
    assert_false(probe);
    return seq;
}

static void the_newest_goes_first_then_the_backlog_from_its_oldest(void **state)
{
    (void)state;
    struct buffer b;
    fill(&b, 1, 5);
    const uint64_t expected[] = {4, 1, 2, 3, 0};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(look(&b, true), expected[i]);
}

static void new_rows_and_the_backlog_take_turns(void **state)
{
    (void)state;
    struct buffer b;
    fill(&b, 1, 5);
    assert_int_equal(look(&b, true), 4);
    b.next = 7; // two more have come
    const uint64_t expected[] = {1, 5, 2, 6, 3, 0};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(look(&b, true), expected[i]);
}

static void without_room_for_the_backlog_only_live_rows_go(void **state)
{
    (void)state;
    struct buffer b;
    fill(&b, 1, 5);
    assert_int_equal(look(&b, false), 4);
    assert_int_equal(look(&b, false), 0);
    b.next = 6;
    assert_int_equal(look(&b, false), 5);
    assert_int_equal(look(&b, true), 1);
}

static void received_rows_are_passed_over_but_probed(void **state)
{
    (void)state;
    struct buffer b;
    bool probe;
    fill(&b, 1, 5);
    assert_int_equal(rn_ranges_add(&b.received, 1, 4), 0);
    assert_int_equal(look(&b, true), 0);
    uplink_scan_probe(&b.scan, b.low, b.next, 2);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        assert_true(uplink_scan_next(&b.scan, b.low, b.next, true, &b.received));
        assert_int_equal(b.scan.first, seq);
        assert_true(uplink_scan_found(&b.scan, seq, &probe));
        assert_true(probe);
    }
    assert_int_equal(look(&b, true), 0);
}

static void one_range_is_looked_at_at_a_time_and_an_empty_one_is_done_with(void **state)
{
    (void)state;
    struct buffer b;
    bool probe;
    fill(&b, 1, 5);
    assert_true(uplink_scan_next(&b.scan, b.low, b.next, true, &b.received));
    assert_false(uplink_scan_next(&b.scan, b.low, b.next, true, &b.received));
    uplink_scan_nothing(&b.scan); // the newest is gone
    assert_false(uplink_scan_found(&b.scan, 4, &probe));
    assert_int_equal(look(&b, true), 1);
    assert_true(uplink_scan_next(&b.scan, b.low, b.next, true, &b.received));
    assert_int_equal(b.scan.first, 2);
    uplink_scan_nothing(&b.scan);
    assert_int_equal(look(&b, true), 0);
}

static void an_answer_that_comes_after_the_end_of_the_connection_is_none(void **state)
{
    (void)state;
    struct buffer b;
    bool probe;
    fill(&b, 1, 5);
    assert_true(uplink_scan_next(&b.scan, b.low, b.next, true, &b.received));
    uplink_scan_stop(&b.scan);
    assert_false(uplink_scan_found(&b.scan, 4, &probe));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_goes_first_then_the_backlog_from_its_oldest),
        cmocka_unit_test(new_rows_and_the_backlog_take_turns),
        cmocka_unit_test(without_room_for_the_backlog_only_live_rows_go),
        cmocka_unit_test(received_rows_are_passed_over_but_probed),
        cmocka_unit_test(one_range_is_looked_at_at_a_time_and_an_empty_one_is_done_with),
        cmocka_unit_test(an_answer_that_comes_after_the_end_of_the_connection_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
