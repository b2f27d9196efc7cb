// The uplink's core, step by step. Its behaviour under loss is in tests/sim/agent.
#include "agent/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { INSTALL = 7, LOG = 9 };

struct agent {
    struct uplink core;
    int64_t now;
    uint64_t rows, published, settled;
    uint64_t sent[64]; // how often each row
};

static void feed(struct agent *a, struct uplink_event e);

static void execute(struct agent *a, const struct uplink_action *x)
{
    switch (x->type) {
    case UPLINK_FETCH:
        if (x->first > a->settled && x->first <= a->rows)
            feed(a, (struct uplink_event){.type = UPLINK_ROW, .seq = x->first, .install = INSTALL});
        else
            feed(a, (struct uplink_event){.type = UPLINK_NO_ROW});
        break;
    case UPLINK_FREEZE:
        a->published = x->seq;
        feed(a, (struct uplink_event){.type = UPLINK_FROZEN, .up_to = x->seq});
        break;
    case UPLINK_SEND:
        a->sent[x->seq]++;
        break;
    case UPLINK_SETTLE:
        a->settled = x->last;
        feed(a, (struct uplink_event){.type = UPLINK_SETTLED,
                                      .tag = x->tag,
                                      .first = x->first,
                                      .last = x->last,
                                      .low = a->settled + 1,
                                      .ok = true});
        break;
    default:
        break;
    }
}

static void feed(struct agent *a, struct uplink_event e)
{
    struct uplink_actions actions;
    uplink_step(&a->core, &e, a->now, &actions);
    for (uint32_t i = 0; i < actions.n; i++)
        execute(a, &actions.item[i]);
}

static void begin(struct agent *a, uint64_t rows)
{
    const struct uplink_conf conf = {.ack_by_ms = 180000,
                                     .ack_timeout_min_ms = 5000,
                                     .ack_timeout_max_ms = 300000,
                                     .hello_timeout_ms = 5000,
                                     .window = 16,
                                     .live = 5,
                                     .seed = 1};
    const struct uplink_saved saved = {
        .install = INSTALL, .low = 1, .next = rows + 1, .log_id = LOG, .published = rows};
    *a = (struct agent){.rows = rows, .published = rows, .now = 1000};
    uplink_init(&a->core, &conf, &saved);
    feed(a, (struct uplink_event){.type = UPLINK_CONNECTED});
    feed(a, (struct uplink_event){
                .type = UPLINK_GOT_HELLO, .log_id = LOG, .hello = {.install = INSTALL}});
}

static void commit(struct agent *a)
{
    a->published = ++a->rows;
    feed(a, (struct uplink_event){.type = UPLINK_COMMITTED, .seq = a->rows, .up_to = a->published});
}

static void answer(struct agent *a)
{
    feed(a, (struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = LOG});
    feed(a,
         (struct uplink_event){
             .type = UPLINK_GOT_DURABLE, .tag = INSTALL, .first = a->settled + 1, .last = a->rows});
}

static void live_batches_flow_while_answers_wait_for_each_other(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 0);
    int64_t answer_at = 0;
    for (int i = 0; i < 3000; i++, a.now += 1000) {
        if (i % 60 == 0 && a.rows < 50) {
            commit(&a);
            assert_int_equal(a.sent[a.rows], 1); // at once, with whatever window
            answer_at = answer_at ? answer_at : a.now + 170000;
        }
        if (answer_at && a.now >= answer_at) {
            answer(&a);
            answer_at = 0;
        }
        feed(&a, (struct uplink_event){.type = UPLINK_TIME});
    }
    assert_int_equal(a.core.stats.timeouts, 0);
    assert_int_equal(a.core.stats.resent, 0);
    assert_int_equal(a.core.stats.sent, a.rows);
}

static void a_backlog_still_waits_for_the_window(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 40);
    assert_int_equal(uplink_in_flight(&a.core), 1);
    commit(&a); // a live one goes beside it
    assert_int_equal(uplink_in_flight(&a.core), 2);
    assert_int_equal(a.sent[41], 1);
    assert_int_equal(a.sent[1], 0);
}

static void an_answer_that_waited_for_others_says_nothing_of_the_way(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 0);
    commit(&a);
    a.now += 170000;
    answer(&a);
    assert_int_equal(a.core.srtt_ms, 0);
    commit(&a);
    a.now += 187000; // seven seconds late: that is the way
    answer(&a);
    assert_in_range(a.core.srtt_ms, 1, 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_batches_flow_while_answers_wait_for_each_other),
        cmocka_unit_test(a_backlog_still_waits_for_the_window),
        cmocka_unit_test(an_answer_that_waited_for_others_says_nothing_of_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
