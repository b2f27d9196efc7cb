// When a batch is told durable: a sink that passed it does not suffice, it must have been decoded.
#include "bridge/answers.h"
#include "tests/support/log_fixture.h"

#include <cmocka.h>

enum { VERIFY, SINK };
#define DEV     "dev-a"
#define INSTALL 7
#define ROWS    10

struct bench {
    struct log_fixture fix;
    struct fleet *fleet;
    struct fleet_install *in;
    struct counters counters;
    struct answers *answers;
    struct rn_ack ack; // the last that was published
    int64_t now_ms;
    uint64_t durable; // highest seq told so
    uint64_t refused; // last seq told so
};

static int on_publish(void *arg, const char *topic, struct rn_span payload)
{
    struct bench *b = arg;
    struct rn_err err;
    (void)topic;
    fixture_ok(rn_ack_decode(payload, &b->ack, &err), &err);
    for (uint32_t i = 0; i < b->ack.ndurable; i++)
        if (b->ack.durable[i].last > b->durable)
            b->durable = b->ack.durable[i].last;
    if (b->ack.nrefused)
        b->refused = b->ack.refused[0].first;
    return RN_OK;
}

static void open_fleet(struct bench *b)
{
    struct rn_err err;
    uint64_t gone;
    struct fleet_conf conf = {.folder = b->fix.folder,
                              .max_devices = 3,
                              .max_items_device = 100,
                              .max_items = 1000,
                              .silent_ms = 1000,
                              .live = {.grace_ms = 100, .missed = 3, .storm_ms = 1000}};
    fixture_ok(fleet_open(&b->fleet, &conf, 0, &err), &err);
    b->in = fleet_announce(fleet_get(b->fleet, DEV, 0, 0), INSTALL, 0, &gone);
    assert_non_null(b->in);
}

struct rows {
    struct bench *b;
    enum dedupe_state state;
};

// What the intake knows of a row in the log.
static void know(void *arg, const struct log_head_row *row)
{
    const struct rows *rows = arg;
    struct fleet *fleet = rows->b->fleet;
    struct fleet_device *dev = fleet_find(fleet, DEV);
    if (rows->state == DEDUPE_DURABLE) { // as after a restart
        assert_int_equal(
            dedupe_restore(&fleet->dedupe, &dev->dedupe, rows->b->in->batches, row->seq, row->crc),
            RN_OK);
        return;
    }
    assert_int_equal(dedupe_offer(&fleet->dedupe, &dev->dedupe, rows->b->in->batches, row->seq,
                                  row->seq - 1, row->crc),
                     DEDUPE_NEW);
    assert_true(dedupe_settle(rows->b->in->batches, row->seq, rows->state, 0));
}

static void fill(struct bench *b, enum dedupe_state state)
{
    struct rn_err err;
    struct rows rows = {b, state};
    for (int i = 0; i < ROWS; i++)
        fixture_append(&b->fix, DEV, 1700000000000, 1, i);
    uint64_t head = fixture_commit(&b->fix);
    assert_int_equal(log_heads(b->fix.log, 0, head, ROWS, &rows, know, &err), ROWS);
}

static void begin(struct bench *b)
{
    struct rn_err err;
    struct answers_conf conf = {.prefix = "rn",
                                .delay_ms = 10,
                                .patience_ms = 1000,
                                .cursors = 2,
                                .cursor_of = {SINK, VERIFY, VERIFY, VERIFY},
                                .publish = on_publish,
                                .publish_arg = b};
    fixture_ok(answers_new(&b->answers, &conf, b->fix.log, b->fleet, &b->counters, b->now_ms, &err),
               &err);
}

static void run(struct bench *b)
{
    for (int i = 0; i < 300; i++) {
        b->now_ms += ACKER_SLOT_MS;
        (void)answers_step(b->answers, b->now_ms, 1700000000000);
    }
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    open_fleet(b);
    b->now_ms = 1000;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    answers_free(b->answers);
    fleet_close(b->fleet);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b);
    return 0;
}

static void a_sink_ahead_of_the_decoding_makes_nothing_durable(void **state)
{
    struct bench *b = *state;
    begin(b);
    fill(b, DEDUPE_RECEIVED);
    answers_moved(b->answers, SINK, ROWS);
    answers_moved(b->answers, VERIFY, 0);
    run(b);
    assert_int_equal(b->durable, 0);
    answers_refused(b->answers, DEV, INSTALL, 5, RN_REFUSED_SCHEMA, b->now_ms);
    answers_moved(b->answers, VERIFY, 7);
    run(b);
    assert_int_equal(b->durable, 7);
    assert_int_equal(b->refused, 5);
    assert_int_equal(dedupe_item(b->in->batches, 5)->state, DEDUPE_REFUSED);
    answers_moved(b->answers, VERIFY, ROWS);
    run(b);
    assert_int_equal(b->durable, ROWS);
    assert_int_equal(b->counters.durable, ROWS - 1);
}

static void decoding_ahead_of_the_sink_makes_nothing_durable(void **state)
{
    struct bench *b = *state;
    begin(b);
    fill(b, DEDUPE_RECEIVED);
    answers_moved(b->answers, VERIFY, ROWS);
    answers_moved(b->answers, SINK, 3);
    run(b);
    assert_int_equal(b->durable, 3);
}

static void after_a_restart_what_was_not_decoded_is_not_durable(void **state)
{
    struct bench *b = *state;
    fill(b, DEDUPE_DURABLE);
    begin(b);
    dedupe_say_all(b->in->batches);
    answers_moved(b->answers, SINK, ROWS);
    answers_schedule(b->answers, fleet_find(b->fleet, DEV), true, b->now_ms);
    assert_true(answers_step(b->answers, b->now_ms, 0) > 0); // the other has not told yet
    assert_int_equal(b->durable, 0);
    answers_moved(b->answers, VERIFY, 4);
    run(b);
    assert_int_equal(b->durable, 4);
    answers_moved(b->answers, VERIFY, ROWS);
    run(b);
    assert_int_equal(b->durable, ROWS);
}

static void a_cursor_that_never_tells_counts_as_at_the_beginning(void **state)
{
    struct bench *b = *state;
    fill(b, DEDUPE_DURABLE);
    begin(b);
    dedupe_say_all(b->in->batches);
    answers_moved(b->answers, SINK, ROWS);
    run(b); // longer than its patience
    assert_int_equal(b->durable, 0);
    answers_moved(b->answers, VERIFY, ROWS);
    run(b);
    assert_int_equal(b->durable, ROWS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sink_ahead_of_the_decoding_makes_nothing_durable),
        TEST(decoding_ahead_of_the_sink_makes_nothing_durable),
        TEST(after_a_restart_what_was_not_decoded_is_not_durable),
        TEST(a_cursor_that_never_tells_counts_as_at_the_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
