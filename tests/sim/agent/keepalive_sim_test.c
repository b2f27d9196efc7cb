// The learned keepalive over weeks: a NAT that forgets idle connections, brokers that restart,
// links that drop, in steps of a second from a seed.
#include "agent/keepalive.h"
#include <runnel/rand.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND INT64_C(1000)
#define DAY    (86400 * SECOND)

struct world {
    struct keepalive core;
    struct rn_rand rand;
    int64_t now;
    int64_t nat_ms;      // 0: there is none
    int64_t interval_ms; // of batches
    int64_t answer_ms;   // after which a batch is answered
    int64_t passed_ms;   // the last packet in either direction that the NAT saw
    int64_t batch_ms, answer_at, asked_ms, ping_at;
    int64_t link_down_until, broker_down_until, reconnect_at;
    bool connected, dead; // dead: the NAT has forgotten the connection, and nobody knows
    uint32_t deaths;      // of that sort
};

static uint64_t dice(struct world *w, uint64_t sides)
{
    return rn_rand_below(&w->rand, sides);
}

static void lose(struct world *w)
{
    w->connected = false;
    keepalive_lost(&w->core, w->now);
    w->reconnect_at = w->now + 1000 + (int64_t)dice(w, 5000);
}

static void attempt(struct world *w)
{
    if (w->now < w->link_down_until || w->now < w->broker_down_until) {
        keepalive_failed(&w->core);
        w->reconnect_at = w->now + 10000 + (int64_t)dice(w, 60000);
        return;
    }
    (void)keepalive_connected(&w->core, w->now);
    w->connected = true;
    w->dead = false;
    w->passed_ms = w->now;
    w->batch_ms = w->now + w->interval_ms;
    w->answer_at = w->asked_ms = w->ping_at = 0;
}

// A packet of the device: does it come through?
static bool passes(struct world *w)
{
    if (w->nat_ms && w->now - w->passed_ms > w->nat_ms && !w->dead) {
        w->dead = true;
        w->deaths++;
    }
    if (w->dead || w->now < w->link_down_until)
        return false;
    w->passed_ms = w->now;
    return true;
}

static void talk(struct world *w)
{
    if (w->now >= w->batch_ms) {
        keepalive_sent(&w->core, w->now);
        if (passes(w) && !w->answer_at)
            w->answer_at = w->now + w->answer_ms;
        if (!w->asked_ms)
            w->asked_ms = w->now;
        w->batch_ms += w->interval_ms;
    }
    if (w->answer_at && w->now >= w->answer_at && w->now >= w->link_down_until) {
        w->answer_at = 0;
        if (!w->nat_ms || w->now - w->passed_ms <= w->nat_ms) {
            w->passed_ms = w->now;
            w->asked_ms = 0;
            keepalive_heard(&w->core, w->now);
        }
    }
    int64_t idle_since = w->core.last_ms > w->ping_at ? w->core.last_ms : w->ping_at;
    if (w->now - idle_since >= w->core.used_ms) {
        if (w->ping_at && !passes(w)) {
            lose(w);
            return;
        }
        w->ping_at = w->now;
        if (!passes(w) && w->now >= w->link_down_until) {
            w->now += w->core.used_ms / 2; // the pong that does not come
            lose(w);
            return;
        }
    }
    if (w->asked_ms && w->now - w->asked_ms > w->answer_ms + 60 * SECOND)
        lose(w); // the agent's own watchdog
}

static void one_second(struct world *w, uint32_t restarts_a_day, uint32_t drops_a_day)
{
    w->now += SECOND;
    if (dice(w, 86400) < restarts_a_day) {
        w->broker_down_until = w->now + (int64_t)dice(w, 2) * (int64_t)dice(w, 120000);
        if (w->connected && w->now >= w->link_down_until && !w->dead)
            lose(w); // FIN
    }
    if (dice(w, 86400) < drops_a_day)
        w->link_down_until = w->now + 10 * SECOND + (int64_t)dice(w, 600000);
    if (!w->connected && w->now >= w->reconnect_at)
        attempt(w);
    else if (w->connected)
        talk(w);
}

static void begin(struct world *w, uint64_t seed, int64_t nat_ms, int64_t interval_ms)
{
    const struct keepalive_conf conf = {.min_ms = 30 * SECOND, .max_ms = 300 * SECOND};
    const struct keepalive_learned none = {0};
    *w = (struct world){.nat_ms = nat_ms, .interval_ms = interval_ms, .now = 1000};
    w->answer_ms = interval_ms < 120000 ? 3 * interval_ms * 9 / 10 : interval_ms * 9 / 10;
    rn_rand_init(&w->rand, seed);
    keepalive_init(&w->core, &conf, &none);
    attempt(w);
}

static void behind_any_nat_connections_stop_dying_idle(void **state)
{
    static const int64_t nats[] = {60, 90, 120, 180, 240, 300, 600, 1800};
    (void)state;
    for (size_t n = 0; n < sizeof nats / sizeof nats[0]; n++)
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct world w;
            begin(&w, seed, nats[n] * SECOND, seed % 2 ? 240 * SECOND : 600 * SECOND);
            while (w.now < 2 * DAY)
                one_second(&w, 2, 2);
            uint32_t learning = w.deaths;
            while (w.now < 16 * DAY)
                one_second(&w, 2, 2);
            uint32_t later = w.deaths - learning;
            if (learning > 12 || later > 20)
                fail_msg("NAT %lld s, seed %llu: %u deaths in two days, %u in the fortnight after,"
                         " keepalive %lld ms",
                         (long long)nats[n], (unsigned long long)seed, learning, later,
                         (long long)keepalive_ms(&w.core));
        }
}

static void without_a_nat_restarts_and_drops_teach_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w;
        int64_t below = 0;
        begin(&w, seed, 0,
              seed % 3 == 0   ? 600 * SECOND
              : seed % 3 == 1 ? 240 * SECOND
                              : 60 * SECOND);
        while (w.now < 14 * DAY) {
            one_second(&w, 6, 6);
            below += keepalive_ms(&w.core) < 240 * SECOND;
        }
        if (below > 14 * 86400 / 10)
            fail_msg("seed %llu: the keepalive was low for %lld s of 14 days", // not a tenth
                     (unsigned long long)seed, (long long)below);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_any_nat_connections_stop_dying_idle),
        cmocka_unit_test(without_a_nat_restarts_and_drops_teach_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
