// The uplink's core, step by step. Its behaviour under loss is in tests/sim/agent.
#include "agent/pace.h"
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
    uint64_t keys;     // key messages
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
    case UPLINK_KEY:
        a->keys++;
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

// A bridge as PROTOCOL.md section 8 has it: it says what it has to say when ack_by less a tenth (at
// most 10 s) is over for the oldest of it, a little late, and the first two soon; a slow sink makes
// rows durable later.
struct bridge {
    int64_t ack_by, sink_ms, due;
    uint64_t got, told_received, durable, told;
    int64_t came[64];
};

static void bridge_time(struct bridge *b, struct agent *a)
{
    int64_t margin = b->ack_by / 10 < 10000 ? b->ack_by / 10 : 10000;
    int64_t wait = b->got < 2 ? 50 : b->ack_by - margin + 70;
    for (; b->got < a->rows; b->got++) {
        b->came[b->got + 1] = a->now;
        b->due = b->due ? b->due : a->now + wait;
    }
    while (b->durable < b->got && a->now >= b->came[b->durable + 1] + b->sink_ms) {
        b->durable++;
        b->due = b->due ? b->due : a->now + wait;
    }
    if (!b->due || a->now < b->due)
        return;
    b->due = 0;
    feed(a, (struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = LOG});
    uint64_t from = b->told_received > b->durable ? b->told_received : b->durable;
    if (b->got > from)
        feed(a,
             (struct uplink_event){
                 .type = UPLINK_GOT_RECEIVED, .tag = INSTALL, .first = from + 1, .last = b->got});
    b->told_received = b->got;
    if (b->durable > b->told)
        feed(a, (struct uplink_event){.type = UPLINK_GOT_DURABLE,
                                      .tag = INSTALL,
                                      .first = b->told + 1,
                                      .last = b->durable});
    b->told = b->durable;
}

// tenths: of ack_by, that the sink takes.
static void on_a_healthy_link(int64_t interval, int64_t tenths)
{
    const struct agent_settings s = {.batch_interval_ms = interval,
                                     .step_ms = interval,
                                     .uplink_window = 16,
                                     .uplink_ack_timeout_min_ms = 5000,
                                     .uplink_ack_timeout_max_ms = 300000,
                                     .uplink_hello_timeout_ms = 5000};
    const struct uplink_conf conf = pace_uplink(&s, false);
    struct bridge b = {.ack_by = conf.ack_by_ms, .sink_ms = conf.ack_by_ms * tenths / 10};
    struct agent a;
    begin(&a, 0);
    uplink_reconf(&a.core, &conf);
    int64_t tick = interval < 200000 ? interval / 200 + 1 : 1000, next = a.now;
    for (; a.rows < 40 || a.now < next; a.now += tick) {
        if (a.now >= next) {
            commit(&a);
            next += interval;
        }
        bridge_time(&b, &a);
        if (a.now >= uplink_wake(&a.core))
            feed(&a, (struct uplink_event){.type = UPLINK_TIME});
        if (a.core.stats.sent != a.rows)
            fail_msg("interval %lld ms, sink %lld ms: %llu sent of %llu", (long long)interval,
                     (long long)b.sink_ms, (unsigned long long)a.core.stats.sent,
                     (unsigned long long)a.rows);
    }
}

static void nothing_is_sent_twice_on_a_healthy_link_at_any_interval(void **state)
{
    static const int64_t intervals[] = {100,    1000,   10000,  60000,   119000,
                                        120000, 240000, 600000, 3600000, 7200000};
    (void)state;
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        on_a_healthy_link(intervals[i], 0);
        on_a_healthy_link(intervals[i], 1);
        on_a_healthy_link(intervals[i], 5);
        on_a_healthy_link(intervals[i], 10);
    }
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

static void need(struct agent *a, uint32_t id, bool object)
{
    feed(a, (struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = LOG});
    feed(a, (struct uplink_event){.type = UPLINK_GOT_NEED,
                                  .tag = INSTALL,
                                  .kind = RN_OBJECT_SCHEMA,
                                  .id = id,
                                  .object = object});
}

// Broken or hostile, it costs the device's traffic: the row and its schema, each time.
static void a_bridge_that_never_has_enough_is_answered_ever_more_slowly(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 0);
    commit(&a);
    int64_t end = a.now + 3600000;
    for (int i = 0; a.now < end; a.now += 100, i++) {
        need(&a, 0, i % 2);
        need(&a, 0, i % 2 == 0);
        feed(&a, (struct uplink_event){.type = UPLINK_TIME});
    }
    assert_in_range(a.keys, 10, 40);
    assert_in_range(a.sent[1], 10, 60);
    answer(&a);
    commit(&a); // one that worked: the next need is answered at once
    uint64_t keys = a.keys;
    need(&a, 0, true);
    assert_int_equal(a.keys, keys + 1);
    assert_int_equal(a.sent[2], 2);
}

static void only_what_a_row_in_flight_names_is_given(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 0);
    commit(&a);
    uint64_t keys = a.keys;
    for (uint32_t id = 1; id < 200; id++)
        need(&a, id, true);
    assert_int_equal(a.keys, keys);
}

static void an_answer_that_waited_for_others_says_nothing_of_the_way(void **state)
{
    struct agent a;
    (void)state;
    begin(&a, 0);
    commit(&a);
    a.now += 170000;
    answer(&a);
    assert_int_equal(a.core.window.srtt_ms, 0);
    commit(&a);
    a.now += 187000; // seven seconds late: that is the way
    answer(&a);
    assert_in_range(a.core.window.srtt_ms, 1, 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_batches_flow_while_answers_wait_for_each_other),
        cmocka_unit_test(nothing_is_sent_twice_on_a_healthy_link_at_any_interval),
        cmocka_unit_test(a_backlog_still_waits_for_the_window),
        cmocka_unit_test(a_bridge_that_never_has_enough_is_answered_ever_more_slowly),
        cmocka_unit_test(only_what_a_row_in_flight_names_is_given),
        cmocka_unit_test(an_answer_that_waited_for_others_says_nothing_of_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
