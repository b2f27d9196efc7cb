// Publishes on their way: how many may be, and when a slot is used again. Nothing is sent here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lib/mqtt/outbox.h"

#define WINDOW 3
#define BYTES  1000

struct fixture {
    struct rn_mqtt_mailbox box;
    struct rn_mqtt_outbox out;
};

static int setup(void **state)
{
    static struct fixture f;
    struct rn_err err;
    f = (struct fixture){0};
    assert_int_equal(rn_mqtt_mailbox_init(&f.box, 4 + 64, 4, 4096, NULL, &err), 0);
    assert_int_equal(rn_mqtt_outbox_init(&f.out, &f.box, 4, 1, &err), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rn_mqtt_mailbox_release(&f->box);
    rn_mqtt_outbox_release(&f->out);
    return 0;
}

static struct rn_mqtt_slot *take(struct fixture *f, int qos, size_t bytes)
{
    return rn_mqtt_outbox_take(&f->out, qos, bytes, WINDOW, BYTES, 7);
}

static void no_more_of_qos_1_than_the_window(void **state)
{
    struct fixture *f = *state;
    struct rn_mqtt_slot *slot = NULL;
    for (int i = 0; i < WINDOW; i++)
        assert_non_null(slot = take(f, 1, 10));
    assert_null(take(f, 1, 10));
    assert_non_null(take(f, 0, 10)); // has slots of its own
    rn_mqtt_outbox_give_back(&f->out, slot);
    assert_non_null(take(f, 1, 10));
}

static void no_more_of_qos_0_than_it_has_slots(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 64; i++)
        assert_non_null(take(f, 0, 1));
    assert_null(take(f, 0, 1));
    assert_non_null(take(f, 1, 1));
}

static void bytes_are_bounded_but_one_publish_may_always_go(void **state)
{
    struct fixture *f = *state;
    struct rn_mqtt_slot *large = take(f, 0, BYTES + 1);
    assert_non_null(large);
    assert_null(take(f, 0, 1));
    rn_mqtt_outbox_give_back(&f->out, large);
    assert_true(rn_mqtt_outbox_empty(&f->out));
    assert_non_null(take(f, 0, BYTES - 1));
    assert_non_null(take(f, 0, 1));
    assert_null(take(f, 0, 1));
}

static void a_slot_with_news_in_the_mailbox_is_not_used_again(void **state)
{
    struct fixture *f = *state;
    struct rn_mqtt_slot *first = take(f, 0, 1);
    assert_non_null(first);
    rn_mqtt_post(&first->notice, 0);
    rn_mqtt_outbox_give_back(&f->out, first);
    for (uint32_t i = 0; i < 2 * f->out.nslots; i++) {
        struct rn_mqtt_slot *slot = take(f, 0, 1);
        assert_non_null(slot);
        assert_ptr_not_equal(slot, first);
        rn_mqtt_outbox_give_back(&f->out, slot);
    }
    assert_ptr_equal(rn_mqtt_take_notice(&f->box), &first->notice);
    bool used = false;
    for (uint32_t i = 0; i < f->out.nslots; i++) {
        struct rn_mqtt_slot *slot = take(f, 0, 1);
        used |= slot == first;
        rn_mqtt_outbox_give_back(&f->out, slot);
    }
    assert_true(used);
}

static void a_notice_is_in_the_mailbox_at_most_once(void **state)
{
    struct fixture *f = *state;
    struct rn_mqtt_slot *slot = take(f, 1, 1);
    assert_non_null(slot);
    rn_mqtt_post(&slot->notice, 5);
    rn_mqtt_post(&slot->notice, 6);
    struct rn_mqtt_notice *notice = rn_mqtt_take_notice(&f->box);
    assert_ptr_equal(notice, &slot->notice);
    assert_int_equal(notice->code, 5);
    assert_null(rn_mqtt_take_notice(&f->box));
    rn_mqtt_post(&slot->notice, 6);
    assert_ptr_equal(rn_mqtt_take_notice(&f->box), &slot->notice);
}

static void a_message_without_room_is_dropped_and_counted(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        rn_mqtt_post_message(&f->box, "topic", 5, "abc", 3, 1, false);
    assert_int_equal(atomic_load(&f->box.dropped), 1);
    struct rn_mqtt_incoming *in = rn_mqtt_take_message(&f->box);
    assert_non_null(in);
    assert_string_equal(in->bytes, "topic");
    assert_int_equal(in->payload_len, 3);
    assert_memory_equal(in->bytes + in->topic_len + 1, "abc", 3);
    free(in);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_more_of_qos_1_than_the_window),
        TEST(no_more_of_qos_0_than_it_has_slots),
        TEST(bytes_are_bounded_but_one_publish_may_always_go),
        TEST(a_slot_with_news_in_the_mailbox_is_not_used_again),
        TEST(a_notice_is_in_the_mailbox_at_most_once),
        TEST(a_message_without_room_is_dropped_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
