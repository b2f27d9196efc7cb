// What a device is told, and when.
#include "bridge/acker.h"

#include <runnel/crc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct bench {
    struct dedupe all;
    struct dedupe_device dev;
    struct dedupe_install *in;
    struct acker_words words;
    struct rn_ack ack;
};

static int setup(void **state)
{
    static struct bench bench;
    uint64_t gone;
    bench = (struct bench){.all = {.max_device = 1000, .max_items = 1000}};
    bench.in = dedupe_announce(&bench.all, &bench.dev, 0x1234567890abcdef, 0, &gone);
    *state = &bench;
    return bench.in ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    dedupe_device_release(&bench->all, &bench->dev);
    return 0;
}

static void store(struct bench *b, uint64_t seq, enum dedupe_state as)
{
    uint64_t low = seq - (b->in->floor ? b->in->floor : 1);
    assert_int_equal(dedupe_offer(&b->all, &b->dev, b->in, seq, low, (uint32_t)seq * 1000),
                     DEDUPE_NEW);
    assert_true(dedupe_settle(b->in, seq, as, as == DEDUPE_REFUSED ? 3 : 0));
}

static void neighbours_become_one_range(void **state)
{
    struct bench *b = *state;
    for (uint64_t seq = 3; seq <= 6; seq++)
        store(b, seq, DEDUPE_RECEIVED);
    store(b, 9, DEDUPE_RECEIVED);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.tag, 0x90abcdef);
    assert_int_equal(b->ack.nreceived, 2);
    assert_int_equal(b->ack.received[0].first, 3);
    assert_int_equal(b->ack.received[0].last, 6);
    assert_int_equal(b->ack.received[1].first, 9);
}

static void nothing_is_said_twice_unless_asked(void **state)
{
    struct bench *b = *state;
    store(b, 1, DEDUPE_RECEIVED);
    store(b, 2, DEDUPE_DURABLE);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    acker_said(b->in, &b->words, &b->ack);
    assert_false(acker_compose(b->in, &b->words, &b->ack));
    dedupe_say_all(b->in);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.nreceived, 1);
    assert_int_equal(b->ack.ndurable, 1);
}

static void a_durable_range_carries_the_checksum_of_its_checksums(void **state)
{
    struct bench *b = *state;
    store(b, 1, DEDUPE_DURABLE);
    store(b, 2, DEDUPE_DURABLE);
    const uint8_t bytes[8] = {0, 0, 0x03, 0xe8, 0, 0, 0x07, 0xd0};
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.ndurable, 1);
    assert_int_equal(b->ack.durable[0].first, 1);
    assert_int_equal(b->ack.durable[0].last, 2);
    assert_int_equal(b->ack.durable[0].crc, rn_crc32c(0, bytes, sizeof bytes));
}

static void what_came_again_is_a_durable_range_of_its_own(void **state)
{
    struct bench *b = *state;
    for (uint64_t seq = 1; seq <= 5; seq++)
        store(b, seq, DEDUPE_DURABLE);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    acker_said(b->in, &b->words, &b->ack);
    dedupe_say_all(b->in);
    dedupe_say_alone(b->in, dedupe_item(b->in, 3));
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    const uint64_t first[] = {1, 3, 4}, last[] = {2, 3, 5};
    const uint8_t bytes[4] = {0, 0, 0x0b, 0xb8};
    assert_int_equal(b->ack.ndurable, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b->ack.durable[i].first, first[i]);
        assert_int_equal(b->ack.durable[i].last, last[i]);
    }
    assert_int_equal(b->ack.durable[1].crc, rn_crc32c(0, bytes, sizeof bytes));
    acker_said(b->in, &b->words, &b->ack);
    assert_false(acker_pending(b->in, &b->words));
    dedupe_say_all(b->in); // once said it is one of many again
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.ndurable, 1);
}

static void what_is_not_committed_is_not_said(void **state)
{
    struct bench *b = *state;
    assert_int_equal(dedupe_offer(&b->all, &b->dev, b->in, 1, 0, 5), DEDUPE_NEW);
    dedupe_say_all(b->in);
    assert_false(acker_compose(b->in, &b->words, &b->ack));
}

static void more_ranges_than_fit_come_in_the_next_message(void **state)
{
    struct bench *b = *state;
    for (uint64_t seq = 1; seq < 2 * 100; seq += 2)
        store(b, seq, DEDUPE_RECEIVED);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.nreceived, RN_ACK_MAX);
    acker_said(b->in, &b->words, &b->ack);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.nreceived, 100 - RN_ACK_MAX);
    assert_int_equal(b->ack.received[0].first, 2 * RN_ACK_MAX + 1);
    acker_said(b->in, &b->words, &b->ack);
    assert_false(acker_pending(b->in, &b->words));
}

static void refusals_needs_and_conflicts_travel_together(void **state)
{
    struct bench *b = *state;
    store(b, 1, DEDUPE_REFUSED);
    store(b, 2, DEDUPE_REFUSED);
    acker_need(&b->words, RN_OBJECT_SCHEMA, 7, false);
    acker_need(&b->words, RN_OBJECT_SCHEMA, 7, true);
    acker_conflict(&b->words, 12);
    acker_conflict(&b->words, 11);
    acker_conflict(&b->words, 12);
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.nrefused, 1);
    assert_int_equal(b->ack.refused[0].last, 2);
    assert_int_equal(b->ack.refused[0].reason, 3);
    assert_int_equal(b->ack.nneed, 1);
    assert_true(b->ack.need[0].object);
    assert_int_equal(b->ack.nconflict, 1);
    assert_int_equal(b->ack.conflict[0].first, 11);
    assert_int_equal(b->ack.conflict[0].last, 12);
}

static void a_hold_is_said_also_when_there_is_nothing_else_to_say(void **state)
{
    struct bench *b = *state;
    b->words.hold_ms = 200;
    assert_true(acker_compose(b->in, &b->words, &b->ack));
    assert_int_equal(b->ack.hold_ms, 200);
    acker_said(b->in, &b->words, &b->ack);
    assert_false(acker_compose(b->in, &b->words, &b->ack));
}

static void an_answer_waits_until_ack_by_is_nearly_over_unless_it_is_urgent(void **state)
{
    (void)state;
    assert_int_equal(acker_delay(50, 180000, true), 50);
    assert_int_equal(acker_delay(50, 180000, false), 170000); // 10 s for the way back
    assert_int_equal(acker_delay(50, 3000, false), 2700);
    assert_int_equal(acker_delay(50, 1, false), 50); // at once is wanted
    assert_int_equal(acker_delay(50, 0, false), 50);
}

static void only_more_batches_than_an_answer_may_wait_for_are_a_backlog(void **state)
{
    (void)state;
    assert_false(acker_backlog(4, 60000, 180000));
    assert_true(acker_backlog(5, 60000, 180000));
    assert_false(acker_backlog(2, 240000, 240000));
    assert_true(acker_backlog(3, 240000, 240000));
    assert_true(acker_backlog(2, 60000, 1));
    assert_false(acker_backlog(1, 0, 0)); // nothing is known of its interval
    assert_true(acker_backlog(2, 0, 0));
}

static void the_wheel_keeps_what_is_due_long_after_its_end(void **state)
{
    (void)state;
    static struct acker_wheel wheel;
    struct acker_node a = {0}, b = {0};
    assert_int_equal(acker_wait(&wheel, 1000), -1);
    acker_schedule(&wheel, &a, 1000, 171000);
    acker_schedule(&wheel, &b, 1000, 1040);
    int64_t now = 1000;
    uint32_t turns = 0;
    for (; now < 1040; now += acker_wait(&wheel, now))
        assert_null(acker_take(&wheel, now));
    assert_ptr_equal(acker_take(&wheel, now), &b);
    for (; now < 171000; now += acker_wait(&wheel, now), turns++)
        assert_null(acker_take(&wheel, now));
    assert_true(now < 171020);
    assert_ptr_equal(acker_take(&wheel, now), &a);
    assert_true(turns < 100); // it is looked at once a turn of the wheel
    acker_schedule(&wheel, &a, now, now + 60000);
    assert_null(acker_take(&wheel, now + 59000)); // also if nobody looked meanwhile
    assert_ptr_equal(acker_take(&wheel, now + 60000), &a);
    acker_schedule(&wheel, &a, now, now + 9); // later in the slot of now: that is due
    assert_ptr_equal(acker_take(&wheel, now + 8), &a);
}

static void the_wheel_gives_each_node_once_at_its_time(void **state)
{
    (void)state;
    static struct acker_wheel wheel;
    struct acker_node a = {0}, b = {0};
    acker_schedule(&wheel, &a, 100000, 100500);
    acker_schedule(&wheel, &b, 100000, 100100);
    acker_schedule(&wheel, &a, 100000, 100900); // later: the earlier stands
    assert_null(acker_take(&wheel, 100050));
    assert_ptr_equal(acker_take(&wheel, 100120), &b);
    assert_null(acker_take(&wheel, 100120));
    acker_schedule(&wheel, &a, 100130, 100200); // earlier: brought forward
    assert_ptr_equal(acker_take(&wheel, 100200), &a);
    assert_int_equal(wheel.count, 0);
    acker_schedule(&wheel, &a, 950000, 940000); // overdue: at once
    acker_cancel(&wheel, &b);
    assert_ptr_equal(acker_take(&wheel, 950000), &a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(neighbours_become_one_range),
        TEST(nothing_is_said_twice_unless_asked),
        TEST(a_durable_range_carries_the_checksum_of_its_checksums),
        TEST(what_came_again_is_a_durable_range_of_its_own),
        TEST(what_is_not_committed_is_not_said),
        TEST(more_ranges_than_fit_come_in_the_next_message),
        TEST(refusals_needs_and_conflicts_travel_together),
        TEST(a_hold_is_said_also_when_there_is_nothing_else_to_say),
        TEST(an_answer_waits_until_ack_by_is_nearly_over_unless_it_is_urgent),
        TEST(only_more_batches_than_an_answer_may_wait_for_are_a_backlog),
        TEST(the_wheel_keeps_what_is_due_long_after_its_end),
        TEST(the_wheel_gives_each_node_once_at_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
