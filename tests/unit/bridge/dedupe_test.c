// The dedupe state: names, checksums, bounds, the saved form.
#include "bridge/dedupe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct bench {
    struct dedupe all;
    struct dedupe_device dev;
    struct dedupe_install *in;
};

static int setup(void **state)
{
    static struct bench bench;
    uint64_t gone;
    bench = (struct bench){.all = {.max_device = 100, .max_items = 1000, .silent_ms = 1000}};
    bench.in = dedupe_announce(&bench.all, &bench.dev, 77, 0, &gone);
    *state = &bench;
    return bench.in ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    dedupe_device_release(&bench->all, &bench->dev);
    return bench->all.items == 0 ? 0 : -1;
}

static enum dedupe_verdict offer(struct bench *b, uint64_t seq, uint64_t low, uint32_t crc)
{
    return dedupe_offer(&b->all, &b->dev, b->in, seq, low, crc);
}

static void a_batch_is_new_once_and_then_the_same(void **state)
{
    struct bench *b = *state;
    assert_int_equal(offer(b, 5, 0, 0xabc), DEDUPE_NEW);
    assert_int_equal(offer(b, 5, 0, 0xabc), DEDUPE_SAME);
    assert_int_equal(b->in->max_seq, 5);
}

static void the_same_name_with_other_content_is_a_conflict(void **state)
{
    struct bench *b = *state;
    assert_int_equal(offer(b, 5, 0, 1), DEDUPE_NEW);
    assert_int_equal(offer(b, 5, 0, 2), DEDUPE_CONFLICT);
    assert_int_equal(dedupe_item(b->in, 5)->crc, 1);
}

static void what_was_settled_is_forgotten_and_cannot_come_again(void **state)
{
    struct bench *b = *state;
    for (uint64_t seq = 1; seq <= 10; seq++)
        assert_int_equal(offer(b, seq, seq - 1, 9), DEDUPE_NEW);
    assert_int_equal(b->in->count, 10);
    assert_int_equal(offer(b, 11, 1, 9), DEDUPE_NEW);
    assert_int_equal(b->in->count, 2);
    assert_int_equal(offer(b, 4, 0, 9), DEDUPE_CONFLICT);
    assert_int_equal(b->in->floor, 10);
}

static void a_full_device_puts_batches_off_and_counts_them(void **state)
{
    struct bench *b = *state;
    b->all.max_device = 3;
    for (uint64_t seq = 1; seq <= 3; seq++)
        assert_int_equal(offer(b, seq, seq - 1, 9), DEDUPE_NEW);
    assert_int_equal(offer(b, 4, 3, 9), DEDUPE_FULL);
    assert_int_equal(offer(b, 2, 1, 9), DEDUPE_SAME);
    assert_int_equal(b->all.full, 1);
    assert_int_equal(offer(b, 4, 0, 9), DEDUPE_NEW); // everything below was settled
}

// Else the batch that all the others wait for could never come, and nothing would be forgotten.
static void a_full_device_takes_the_lowest_batch_all_the_same(void **state)
{
    struct bench *b = *state;
    b->all.max_device = 3;
    assert_int_equal(offer(b, 1, 0, 9), DEDUPE_NEW);
    dedupe_drop(&b->all, &b->dev, b->in, 1); // it could not be stored then
    for (uint64_t seq = 2; seq <= 4; seq++)
        assert_int_equal(offer(b, seq, seq - 1, 9), DEDUPE_NEW);
    assert_int_equal(offer(b, 5, 4, 9), DEDUPE_FULL);
    assert_int_equal(offer(b, 1, 0, 9), DEDUPE_NEW);
    assert_int_equal(offer(b, 5, 4, 9), DEDUPE_FULL);
    assert_int_equal(b->dev.items, 4);
    assert_int_equal(offer(b, 5, 0, 9), DEDUPE_NEW); // it was settled, and with it the others
    assert_int_equal(b->dev.items, 1);
}

static void only_a_silent_install_makes_room(void **state)
{
    struct bench *b = *state;
    uint64_t gone;
    for (uint64_t i = 0; i < DEDUPE_MAX_INSTALLS - 1; i++)
        assert_non_null(dedupe_announce(&b->all, &b->dev, 100 + i, 500, &gone));
    assert_null(dedupe_announce(&b->all, &b->dev, 1, 900, &gone));
    assert_int_equal(b->all.installs_refused, 1);
    assert_non_null(dedupe_announce(&b->all, &b->dev, 1, 1000, &gone));
    assert_int_equal(gone, 77);
    assert_null(dedupe_find(&b->dev, 77));
    assert_int_equal(b->all.installs_forgotten, 1);
}

static void a_dropped_item_is_new_again(void **state)
{
    struct bench *b = *state;
    assert_int_equal(offer(b, 1, 0, 9), DEDUPE_NEW);
    dedupe_drop(&b->all, &b->dev, b->in, 1);
    assert_int_equal(b->all.items, 0);
    assert_int_equal(offer(b, 1, 0, 8), DEDUPE_NEW);
}

static void a_refused_batch_does_not_become_durable(void **state)
{
    struct bench *b = *state;
    assert_int_equal(offer(b, 1, 0, 9), DEDUPE_NEW);
    assert_true(dedupe_settle(b->in, 1, DEDUPE_REFUSED, 2));
    assert_true(dedupe_settle(b->in, 1, DEDUPE_DURABLE, 0));
    assert_int_equal(dedupe_item(b->in, 1)->state, DEDUPE_REFUSED);
    assert_int_equal(dedupe_item(b->in, 1)->reason, 2);
    assert_false(dedupe_settle(b->in, 2, DEDUPE_DURABLE, 0));
}

static void the_saved_form_brings_everything_back(void **state)
{
    struct bench *b = *state;
    struct dedupe_device copy = {0};
    struct rn_buf buf;
    struct rn_err err;
    uint64_t gone;
    for (uint64_t seq = 10; seq <= 20; seq += 2)
        assert_int_equal(offer(b, seq, seq - 10, (uint32_t)seq), DEDUPE_NEW);
    assert_non_null(dedupe_announce(&b->all, &b->dev, 78, 5, &gone));
    rn_buf_init(&buf, 4096);
    dedupe_save(&b->dev, &buf);
    assert_true(rn_buf_ok(&buf));
    assert_int_equal(dedupe_load(&b->all, &copy, rn_buf_span(&buf), &err), RN_OK);
    struct dedupe_install *in = dedupe_find(&copy, 77);
    assert_non_null(in);
    assert_int_equal(in->floor, 10);
    assert_int_equal(in->max_seq, 20);
    assert_int_equal(in->count, 6);
    assert_int_equal(dedupe_item(in, 14)->crc, 14);
    assert_int_equal(dedupe_item(in, 14)->state, DEDUPE_DURABLE);
    assert_non_null(dedupe_find(&copy, 78));
    dedupe_device_release(&b->all, &copy);
    rn_buf_release(&buf);
}

// Otherwise a device that did not hear of it would be told after a restart that it is durable.
// Else its segment could never be sealed.
static void the_saved_form_of_the_fullest_device_fits(void **state)
{
    struct bench *b = *state;
    struct rn_buf buf;
    b->all.max_device = 1000000; // the most that fleet.pending_max may be
    b->all.max_items = 1000000;
    for (uint64_t seq = 1; seq <= b->all.max_device; seq++)
        assert_int_equal(dedupe_restore(&b->all, &b->dev, b->in, seq, 7), RN_OK);
    rn_buf_init(&buf, DEDUPE_SAVED_MAX);
    dedupe_save(&b->dev, &buf);
    assert_true(rn_buf_ok(&buf));
    rn_buf_release(&buf);
}

static void what_was_refused_is_so_also_after_a_restart(void **state)
{
    struct bench *b = *state;
    struct dedupe_device copy = {0};
    struct rn_buf buf;
    for (uint64_t seq = 1; seq <= 3; seq++)
        assert_int_equal(offer(b, seq, seq - 1, (uint32_t)seq), DEDUPE_NEW);
    assert_true(dedupe_settle(b->in, 2, DEDUPE_REFUSED, 5));
    rn_buf_init(&buf, 4096);
    dedupe_save(&b->dev, &buf);
    assert_int_equal(dedupe_load(&b->all, &copy, rn_buf_span(&buf), NULL), RN_OK);
    const struct dedupe_install *in = dedupe_find(&copy, 77);
    assert_int_equal(in->count, 3);
    assert_int_equal(dedupe_item(in, 1)->state, DEDUPE_DURABLE);
    assert_int_equal(dedupe_item(in, 2)->state, DEDUPE_REFUSED);
    assert_int_equal(dedupe_item(in, 2)->reason, 5);
    assert_int_equal(dedupe_item(in, 2)->crc, 2);
    dedupe_device_release(&b->all, &copy);
    rn_buf_release(&buf);
}

static void a_saved_form_without_reasons_is_still_read(void **state)
{
    static const uint8_t one[] = {1, 78, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
                                  9, 0,  0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2,
                                  0, 0,  0, 4, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, // an item
                                  9, 0,  0, 0, 0, 0, 0, 0, 7, 0, 0, 0};
    struct bench *b = *state;
    assert_int_equal(dedupe_load(&b->all, &b->dev, (struct rn_span){one, sizeof one}, NULL), RN_OK);
    const struct dedupe_install *in = dedupe_find(&b->dev, 78);
    assert_non_null(in);
    assert_int_equal(in->count, 2);
    assert_int_equal(in->floor, 4);
    assert_int_equal(dedupe_item(in, 4)->crc, 6);
    assert_int_equal(dedupe_item(in, 9)->crc, 7);
}

// Whoever goes, the fleet has to know: a loaded state makes nobody go.
static void what_is_loaded_takes_nobodys_place(void **state)
{
    struct bench *b = *state;
    struct dedupe_device full = {0};
    struct rn_buf buf;
    struct rn_err err;
    uint64_t gone;
    assert_int_equal(offer(b, 5, 0, 6), DEDUPE_NEW);
    assert_non_null(dedupe_announce(&b->all, &b->dev, 3, 90000, &gone));
    for (uint64_t install = 1; install <= DEDUPE_MAX_INSTALLS; install++)
        assert_non_null(dedupe_announce(&b->all, &full, install, 0, &gone));
    b->in->heard_ms = 90000;
    rn_buf_init(&buf, 4096);
    dedupe_save(&b->dev, &buf);
    assert_int_equal(dedupe_load(&b->all, &full, rn_buf_span(&buf), &err), RN_OK);
    assert_null(dedupe_find(&full, 77));
    for (uint64_t install = 1; install <= DEDUPE_MAX_INSTALLS; install++)
        assert_non_null(dedupe_find(&full, install));
    assert_int_equal(dedupe_find(&full, 3)->heard_ms, 90000);
    dedupe_device_release(&b->all, &full);
    rn_buf_release(&buf);
}

static void every_truncation_of_the_saved_form_is_refused_or_shorter(void **state)
{
    struct bench *b = *state;
    struct rn_buf buf;
    struct rn_err err;
    for (uint64_t seq = 1; seq <= 5; seq++)
        assert_int_equal(offer(b, seq, seq - 1, 1), DEDUPE_NEW);
    rn_buf_init(&buf, 4096);
    dedupe_save(&b->dev, &buf);
    for (size_t len = 0; len < buf.len; len++) {
        struct dedupe_device copy = {0};
        int rc = dedupe_load(&b->all, &copy, (struct rn_span){buf.data, len}, &err);
        assert_true(len == 1 ? rc == RN_OK : rc < 0);
        dedupe_device_release(&b->all, &copy);
    }
    rn_buf_release(&buf);
}

static void a_rebuild_at_the_bound_forgets_the_oldest(void **state)
{
    struct bench *b = *state;
    b->all.max_device = 4;
    for (uint64_t seq = 1; seq <= 9; seq++)
        assert_int_equal(dedupe_restore(&b->all, &b->dev, b->in, seq, 7), RN_OK);
    assert_int_equal(b->in->count, 4);
    assert_int_equal(b->in->floor, 6);
    assert_int_equal(b->all.items_forgotten, 5);
    dedupe_reopen(b->in, 8);
    assert_int_equal(dedupe_item(b->in, 8)->state, DEDUPE_RECEIVED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_new_once_and_then_the_same),
        TEST(the_same_name_with_other_content_is_a_conflict),
        TEST(what_was_settled_is_forgotten_and_cannot_come_again),
        TEST(a_full_device_puts_batches_off_and_counts_them),
        TEST(a_full_device_takes_the_lowest_batch_all_the_same),
        TEST(only_a_silent_install_makes_room),
        TEST(a_dropped_item_is_new_again),
        TEST(a_refused_batch_does_not_become_durable),
        TEST(the_saved_form_brings_everything_back),
        TEST(the_saved_form_of_the_fullest_device_fits),
        TEST(what_was_refused_is_so_also_after_a_restart),
        TEST(a_saved_form_without_reasons_is_still_read),
        TEST(what_is_loaded_takes_nobodys_place),
        TEST(every_truncation_of_the_saved_form_is_refused_or_shorter),
        TEST(a_rebuild_at_the_bound_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
