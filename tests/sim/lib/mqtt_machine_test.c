// The connection machine on a virtual clock: thousands of seeded runs against a world that fails in
// every way, with the machine's promises checked after each step. A failure prints its seed.
#include "lib/mqtt/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 4000, STEPS = 400 };

struct world {
    struct rn_mqtt_machine machine;
    struct rn_mqtt_machine_conf conf;
    struct rn_rand rand;
    uint64_t seed;
    int64_t now_ms;
    int64_t timer_ms; // -1: none
    bool client;      // one exists
    bool told_up;
    uint32_t opens, ups, downs, stops;
    uint32_t last_address;
    int64_t last_delay_ms;
    uint32_t failures; // the test's own count
    int64_t up_since_ms;
};

#define CHECK(w, condition)                                                                        \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("seed %llu at %lld ms: %s", (unsigned long long)(w)->seed,                    \
                     (long long)(w)->now_ms, #condition);                                          \
    } while (0)

static int64_t backoff_bound(const struct world *w)
{
    int64_t most = w->conf.backoff_min_ms;
    for (uint32_t i = 0; i < w->failures && most < w->conf.backoff_max_ms; i++)
        most *= 2;
    return most < w->conf.backoff_max_ms ? most : w->conf.backoff_max_ms;
}

static void on_down(struct world *w, const struct rn_mqtt_action *a, enum rn_mqtt_event_kind cause)
{
    CHECK(w, !w->client);
    CHECK(w, a->was_connected == w->told_up);
    bool healthy = w->told_up && w->now_ms - w->up_since_ms >= w->conf.healthy_ms;
    bool asked = cause == RN_MQTT_ON_RECONNECT;
    w->failures = healthy || asked ? 0 : w->failures + 1;
    CHECK(w, a->ms >= 0);
    CHECK(w, a->ms <= (healthy || asked ? w->conf.first_reconnect_ms : backoff_bound(w)));
    CHECK(w, a->address == w->last_address);
    w->told_up = false;
    w->last_delay_ms = a->ms;
    w->downs++;
}

static void apply(struct world *w, const struct rn_mqtt_action *a, enum rn_mqtt_event_kind cause)
{
    switch (a->kind) {
    case RN_MQTT_DO_OPEN:
        CHECK(w, !w->client);
        CHECK(w, a->address < w->conf.naddresses);
        w->client = true;
        w->last_address = a->address;
        w->opens++;
        break;
    case RN_MQTT_DO_CLOSE:
        CHECK(w, w->client);
        w->client = false;
        break;
    case RN_MQTT_DO_CHECK:
        CHECK(w, w->told_up);
        break;
    case RN_MQTT_DO_TIMER:
        CHECK(w, a->ms >= 0);
        w->timer_ms = w->now_ms + a->ms;
        break;
    case RN_MQTT_DO_NO_TIMER:
        w->timer_ms = -1;
        break;
    case RN_MQTT_DO_TELL_UP:
        CHECK(w, w->client && !w->told_up);
        w->told_up = true;
        w->up_since_ms = w->now_ms;
        w->ups++;
        break;
    case RN_MQTT_DO_TELL_DOWN:
        on_down(w, a, cause);
        break;
    case RN_MQTT_DO_TELL_STOPPED:
        w->stops++;
        break;
    }
}

static void send(struct world *w, enum rn_mqtt_event_kind kind, int64_t ms)
{
    struct rn_mqtt_actions actions;
    rn_mqtt_machine_step(&w->machine, (struct rn_mqtt_event){kind, ms}, w->now_ms, &actions);
    CHECK(w, actions.count <= RN_MQTT_ACTIONS_MAX);
    for (uint32_t i = 0; i < actions.count; i++)
        apply(w, &actions.list[i], kind);
    if (kind == RN_MQTT_ON_RECONNECT && w->machine.state == RN_MQTT_WAITING)
        w->failures = 0;
    enum rn_mqtt_state state = w->machine.state;
    CHECK(w, w->stops <= 1);
    CHECK(w, w->client ==
                 (state == RN_MQTT_OPENING || state == RN_MQTT_UP || state == RN_MQTT_DRAINING));
    bool running = state != RN_MQTT_IDLE && state != RN_MQTT_STOPPED;
    CHECK(w, (w->timer_ms >= 0) == running);
    CHECK(w, w->timer_ms < 0 || w->timer_ms >= w->now_ms || kind == RN_MQTT_ON_STOP);
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->timer_ms = -1;
    rn_rand_init(&w->rand, seed ^ 0x9e3779b97f4a7c15u);
    w->conf = (struct rn_mqtt_machine_conf){
        .naddresses = 1 + (uint32_t)rn_rand_below(&w->rand, 4),
        .connect_timeout_ms = 1 + (int64_t)rn_rand_below(&w->rand, 30000),
        .backoff_min_ms = 1 + (int64_t)rn_rand_below(&w->rand, 2000),
        .first_reconnect_ms = (int64_t)rn_rand_below(&w->rand, 5000),
        .healthy_ms = (int64_t)rn_rand_below(&w->rand, 10000),
        .check_ms = 1000,
        .seed = seed,
    };
    w->conf.backoff_max_ms = w->conf.backoff_min_ms + (int64_t)rn_rand_below(&w->rand, 300000);
    rn_mqtt_machine_init(&w->machine, &w->conf);
}

// Lets time pass up to the timer, or not quite, and sends what a hostile world might.
static void random_step(struct world *w)
{
    static const enum rn_mqtt_event_kind surprises[] = {
        RN_MQTT_ON_START, RN_MQTT_ON_UP,        RN_MQTT_ON_FAILED,  RN_MQTT_ON_LOST,
        RN_MQTT_ON_TIMER, RN_MQTT_ON_RECONNECT, RN_MQTT_ON_DRAINED,
    };
    if (rn_rand_below(&w->rand, 3) == 0 && w->timer_ms >= 0) {
        w->now_ms = w->timer_ms;
        send(w, RN_MQTT_ON_TIMER, 0);
        return;
    }
    int64_t room = w->timer_ms >= 0 ? w->timer_ms - w->now_ms : 1000;
    w->now_ms += (int64_t)rn_rand_below(&w->rand, (uint64_t)room + 1);
    send(w, surprises[rn_rand_below(&w->rand, sizeof surprises / sizeof *surprises)], 0);
}

static void keeps_its_promises_in_a_hostile_world(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct world w;
        world_init(&w, seed);
        for (int i = 0; i < STEPS; i++)
            random_step(&w);
    }
}

static void stop_always_ends_once_and_within_its_time(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct world w;
        world_init(&w, seed);
        int steps = (int)rn_rand_below(&w.rand, 40);
        for (int i = 0; i < steps; i++)
            random_step(&w);
        int64_t limit_ms = (int64_t)rn_rand_below(&w.rand, 3000);
        int64_t asked_ms = w.now_ms;
        send(&w, RN_MQTT_ON_STOP, limit_ms);
        if (w.timer_ms >= 0) { // draining, and nobody ever says that it is done
            CHECK(&w, w.timer_ms - asked_ms <= limit_ms);
            w.now_ms = w.timer_ms;
            send(&w, RN_MQTT_ON_TIMER, 0);
        }
        CHECK(&w, w.stops == 1);
        CHECK(&w, !w.client);
        for (int i = 0; i < 20; i++)
            random_step(&w);
        CHECK(&w, w.stops == 1);
    }
}

static void connects_by_itself_once_the_broker_answers(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct world w;
        world_init(&w, seed);
        send(&w, RN_MQTT_ON_START, 0);
        uint32_t failing = (uint32_t)rn_rand_below(&w.rand, 30);
        while (w.ups == 0) {
            if (w.machine.state == RN_MQTT_OPENING && w.opens > failing) {
                send(&w, RN_MQTT_ON_UP, 0);
            } else if (w.machine.state == RN_MQTT_OPENING && rn_rand_below(&w.rand, 2)) {
                send(&w, RN_MQTT_ON_FAILED, 0);
            } else {
                w.now_ms = w.timer_ms;
                send(&w, RN_MQTT_ON_TIMER, 0);
            }
        }
        CHECK(&w, w.opens == failing + 1);
        CHECK(&w, w.downs == failing);
    }
}

static void tries_the_addresses_in_turn(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 7);
    w.conf.naddresses = 3;
    rn_mqtt_machine_init(&w.machine, &w.conf);
    send(&w, RN_MQTT_ON_START, 0);
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(w.last_address, i % 3);
        send(&w, RN_MQTT_ON_FAILED, 0);
        w.now_ms = w.timer_ms;
        send(&w, RN_MQTT_ON_TIMER, 0);
    }
}

static void new_settings_begin_with_the_first_address(void **state)
{
    (void)state;
    for (uint32_t naddresses = 1; naddresses <= 4; naddresses++) {
        struct world w;
        world_init(&w, naddresses);
        w.conf.naddresses = 3;
        rn_mqtt_machine_init(&w.machine, &w.conf);
        send(&w, RN_MQTT_ON_START, 0);
        for (int i = 0; i < 2; i++) {
            send(&w, RN_MQTT_ON_FAILED, 0);
            w.now_ms = w.timer_ms;
            send(&w, RN_MQTT_ON_TIMER, 0);
        }
        assert_int_equal(w.last_address, 2);
        w.conf.naddresses = naddresses;
        rn_mqtt_machine_reconfigure(&w.machine, &w.conf);
        assert_true(w.machine.address < naddresses);
        w.last_address = w.machine.address; // what is told meanwhile stays within bounds
        send(&w, RN_MQTT_ON_FAILED, 0);
        w.now_ms = w.timer_ms;
        send(&w, RN_MQTT_ON_TIMER, 0);
        assert_int_equal(w.last_address, 0);
    }
}

static void keeps_the_address_after_a_healthy_session(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 7);
    w.conf.naddresses = 3;
    rn_mqtt_machine_init(&w.machine, &w.conf);
    send(&w, RN_MQTT_ON_START, 0);
    send(&w, RN_MQTT_ON_FAILED, 0);
    w.now_ms = w.timer_ms;
    send(&w, RN_MQTT_ON_TIMER, 0);
    send(&w, RN_MQTT_ON_UP, 0);
    assert_int_equal(w.last_address, 1);
    w.now_ms += w.conf.healthy_ms;
    send(&w, RN_MQTT_ON_LOST, 0);
    w.now_ms = w.timer_ms;
    send(&w, RN_MQTT_ON_TIMER, 0);
    assert_int_equal(w.last_address, 1);
}

static void a_twin_that_throws_it_out_at_once_makes_it_back_off(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 11);
    w.conf.naddresses = 1;
    w.conf.healthy_ms = 10000;
    w.conf.backoff_min_ms = 1000;
    w.conf.backoff_max_ms = 300000;
    rn_mqtt_machine_init(&w.machine, &w.conf);
    send(&w, RN_MQTT_ON_START, 0);
    for (int i = 0; i < 20; i++) {
        send(&w, RN_MQTT_ON_UP, 0);
        w.now_ms += 1;
        send(&w, RN_MQTT_ON_LOST, 0);
        w.now_ms = w.timer_ms;
        send(&w, RN_MQTT_ON_TIMER, 0);
    }
    assert_int_equal(w.failures, 20);
    assert_true(w.now_ms > 300000);
}

static void the_jitter_fills_its_whole_range(void **state)
{
    (void)state;
    int64_t low = INT64_MAX, high = 0, sum = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct world w;
        world_init(&w, seed);
        w.conf.backoff_min_ms = 1000;
        w.conf.backoff_max_ms = 2000;
        rn_mqtt_machine_init(&w.machine, &w.conf);
        send(&w, RN_MQTT_ON_START, 0);
        send(&w, RN_MQTT_ON_FAILED, 0);
        low = w.last_delay_ms < low ? w.last_delay_ms : low;
        high = w.last_delay_ms > high ? w.last_delay_ms : high;
        sum += w.last_delay_ms;
    }
    assert_in_range(low, 0, 20);
    assert_in_range(high, 1980, 2000);
    assert_in_range(sum / 2000, 950, 1050);
}

static void asking_for_a_reconnect_brings_the_next_attempt_forward(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    w.conf.backoff_min_ms = w.conf.backoff_max_ms = 100000;
    w.conf.first_reconnect_ms = 50;
    rn_mqtt_machine_init(&w.machine, &w.conf);
    send(&w, RN_MQTT_ON_START, 0);
    send(&w, RN_MQTT_ON_FAILED, 0);
    assert_true(w.timer_ms - w.now_ms > 50);
    send(&w, RN_MQTT_ON_RECONNECT, 0);
    assert_true(w.timer_ms - w.now_ms <= 50);
    w.now_ms = w.timer_ms;
    send(&w, RN_MQTT_ON_TIMER, 0);
    assert_true(w.client);
}

static void a_silent_attempt_ends_at_its_deadline(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 5);
    send(&w, RN_MQTT_ON_START, 0);
    assert_int_equal(w.timer_ms - w.now_ms, w.conf.connect_timeout_ms);
    w.now_ms = w.timer_ms;
    send(&w, RN_MQTT_ON_TIMER, 0);
    assert_false(w.client);
    assert_int_equal(w.downs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_promises_in_a_hostile_world),
        cmocka_unit_test(stop_always_ends_once_and_within_its_time),
        cmocka_unit_test(connects_by_itself_once_the_broker_answers),
        cmocka_unit_test(tries_the_addresses_in_turn),
        cmocka_unit_test(new_settings_begin_with_the_first_address),
        cmocka_unit_test(keeps_the_address_after_a_healthy_session),
        cmocka_unit_test(a_twin_that_throws_it_out_at_once_makes_it_back_off),
        cmocka_unit_test(the_jitter_fills_its_whole_range),
        cmocka_unit_test(asking_for_a_reconnect_brings_the_next_attempt_forward),
        cmocka_unit_test(a_silent_attempt_ends_at_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
