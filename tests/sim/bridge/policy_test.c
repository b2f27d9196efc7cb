// The retry policy against models of databases on a virtual clock: whatever they refuse, every good
// point is written, every bad one is given up, and nothing else happens.
#include "bridge/sink/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum style { STYLE_NAMES, STYLE_COUNTS, STYLE_SILENT, STYLE_SUSPECTS };

// A database: knows which points it will not take, how many it takes at once, when it is down.
struct model {
    struct rn_rand rand;
    enum style style;
    bool all_or_nothing; // one bad point: nothing of the write is stored
    uint32_t largest;
    uint32_t down_one_in; // chance of RETRY; 0: never
    struct policy_set bad, suspects, stored, dead;
    uint32_t writes;
    int64_t now_ms;
    uint32_t names[SINK_RESULT_POINTS];
};

static uint32_t count_common(const struct policy_set *a, const struct policy_set *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < POLICY_SET_BYTES; i++)
        n += (uint32_t)__builtin_popcount(a->bits[i] & b->bits[i]);
    return n;
}

static void store(struct model *m, const struct policy_set *set)
{
    for (uint32_t i = 0; i < POLICY_MAX_POINTS; i++)
        if (policy_set_has(set, i) && !policy_set_has(&m->bad, i))
            policy_set_add(&m->stored, i);
}

static struct policy_result answer(struct model *m, const struct policy_set *set)
{
    struct policy_result r = {.outcome = SINK_DONE};
    m->writes++;
    if (m->down_one_in && rn_rand_below(&m->rand, m->down_one_in) == 0) {
        r.outcome = SINK_RETRY;
        r.retry_after_ms = (int64_t)rn_rand_below(&m->rand, 2) * 3000;
        return r;
    }
    if (set->count > m->largest) {
        r.outcome = SINK_TOO_LARGE;
        return r;
    }
    uint32_t bad = count_common(set, &m->bad);
    if (!bad || !m->all_or_nothing)
        store(m, set);
    if (!bad)
        return r;
    r.outcome = SINK_POISON;
    if (m->style == STYLE_COUNTS)
        r.dropped = bad;
    if (m->style == STYLE_SUSPECTS)
        r.suspects = m->suspects.bits;
    if (m->style == STYLE_NAMES) {
        for (uint32_t i = 0; i < POLICY_MAX_POINTS && r.nbad < SINK_RESULT_POINTS; i++)
            if (policy_set_has(set, i) && policy_set_has(&m->bad, i))
                m->names[r.nbad++] = i;
        r.bad = m->names;
    }
    return r;
}

static void bury(struct model *m, const struct policy_action *action)
{
    for (uint32_t i = 0; action->dead && i < POLICY_MAX_POINTS; i++)
        if (policy_set_has(action->dead, i)) {
            assert_false(policy_set_has(&m->dead, i));
            policy_set_add(&m->dead, i);
        }
}

static void play(struct policy *p, struct model *m, const struct policy_set *all)
{
    struct policy_action a;
    policy_begin(p, all, &a);
    for (uint32_t steps = 0; a.what != POLICY_DONE; steps++) {
        assert_true(steps < 2000000);
        if (a.what == POLICY_WAIT) {
            assert_true(a.until_ms > m->now_ms);
            m->now_ms = a.until_ms;
            policy_again(p, &a);
        } else {
            assert_true(a.set->count > 0);
            assert_int_equal(count_common(a.set, &m->dead), 0);
            struct policy_result r = answer(m, a.set);
            m->now_ms += 3;
            policy_result(p, &r, m->now_ms, &a);
            bury(m, &a);
        }
    }
}

static void check_every_point_has_its_fate(const struct model *m, const struct policy_set *all)
{
    for (uint32_t i = 0; i < POLICY_MAX_POINTS; i++) {
        bool in = policy_set_has(all, i), bad = policy_set_has(&m->bad, i);
        if (policy_set_has(&m->stored, i) != (in && !bad) ||
            policy_set_has(&m->dead, i) != (in && bad))
            fail_msg("point %u: in %d bad %d stored %d dead %d", i, in, bad,
                     policy_set_has(&m->stored, i), policy_set_has(&m->dead, i));
    }
}

static const struct policy_conf conf = {
    .retry_min_ms = 200, .retry_max_ms = 30000, .hold_ms = 60000, .seed = 1};

static struct policy *new_policy(void)
{
    struct policy *p = malloc(sizeof *p);
    assert_non_null(p);
    policy_init(p, &conf);
    return p;
}

static void some_of(struct model *m, struct policy_set *out, uint32_t below, uint32_t one_in)
{
    for (uint32_t i = 0; i < below; i++)
        if (rn_rand_below(&m->rand, one_in) == 0)
            policy_set_add(out, i);
}

static void every_point_is_stored_or_dead_whatever_the_database_refuses(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    struct policy *p = new_policy();
    struct model *m = malloc(sizeof *m);
    assert_non_null(m);
    for (uint32_t round = 0; round < 150; round++) {
        memset(m, 0, sizeof *m);
        rn_rand_init(&m->rand, seed + round);
        m->style = (enum style)rn_rand_below(&m->rand, 4);
        m->all_or_nothing = rn_rand_below(&m->rand, 2);
        m->largest = 1 + (uint32_t)rn_rand_below(&m->rand, 3000);
        m->down_one_in = rn_rand_below(&m->rand, 2) ? 7 : 0;
        uint32_t below = 1 + (uint32_t)rn_rand_below(&m->rand, 2000);
        struct policy_set all = {0};
        some_of(m, &all, below, 1 + (uint32_t)rn_rand_below(&m->rand, 4));
        some_of(m, &m->bad, below, 2 + (uint32_t)rn_rand_below(&m->rand, 300));
        some_of(m, &m->suspects, below, 3);
        play(p, m, &all);
        check_every_point_has_its_fate(m, &all);
    }
    free(m);
    free(p);
}

static void one_bad_point_of_many_costs_few_writes(void **state)
{
    (void)state;
    struct policy *p = new_policy();
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->style = STYLE_SILENT;
    m->all_or_nothing = true;
    m->largest = POLICY_MAX_POINTS;
    struct policy_set all = {0};
    for (uint32_t i = 0; i < POLICY_MAX_POINTS; i++)
        policy_set_add(&all, i);
    policy_set_add(&m->bad, 12345);
    play(p, m, &all);
    check_every_point_has_its_fate(m, &all);
    assert_true(m->writes <= 31);

    memset(&m->stored, 0, sizeof m->stored);
    memset(&m->dead, 0, sizeof m->dead);
    m->writes = 0;
    m->style = STYLE_NAMES;
    play(p, m, &all);
    check_every_point_has_its_fate(m, &all);
    assert_int_equal(m->writes, 2);
    free(m);
    free(p);
}

static void the_size_that_was_refused_is_remembered_and_rises_again(void **state)
{
    (void)state;
    struct policy *p = new_policy();
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->largest = 100;
    struct policy_set all = {0};
    for (uint32_t i = 0; i < 200; i++)
        policy_set_add(&all, i);
    play(p, m, &all);
    assert_int_equal(m->writes, 3); // 200 refused, 100, 100
    m->writes = 0;
    play(p, m, &all);
    assert_int_equal(m->writes, 2);
    m->largest = POLICY_MAX_POINTS;
    for (int i = 0; i < 40; i++)
        play(p, m, &all);
    m->writes = 0;
    play(p, m, &all);
    assert_int_equal(m->writes, 1);
    free(m);
    free(p);
}

static struct policy_action result_of(struct policy *p, enum sink_outcome outcome,
                                      int64_t retry_after_ms, int64_t now_ms)
{
    struct policy_action a;
    policy_result(p, &(struct policy_result){.outcome = outcome, .retry_after_ms = retry_after_ms},
                  now_ms, &a);
    return a;
}

static void backoff_grows_with_full_jitter_and_obeys_retry_after(void **state)
{
    (void)state;
    struct policy *p = new_policy();
    struct policy_set all = {0};
    policy_set_add(&all, 0);
    struct policy_action a;
    policy_begin(p, &all, &a);
    int64_t longest = 0, shortest = INT64_MAX;
    for (int i = 0; i < 200; i++) {
        a = result_of(p, SINK_RETRY, 0, 1000);
        assert_int_equal(a.what, POLICY_WAIT);
        int64_t wait = a.until_ms - 1000;
        int64_t most = i < 8 ? conf.retry_min_ms << i : conf.retry_max_ms;
        assert_true(wait >= 1 && wait <= (most < conf.retry_max_ms ? most : conf.retry_max_ms));
        assert_int_equal(a.say, i == 0 ? POLICY_SAY_TROUBLE : POLICY_SAY_NOTHING);
        longest = wait > longest ? wait : longest;
        shortest = wait < shortest ? wait : shortest;
    }
    assert_true(longest > conf.retry_max_ms * 9 / 10 && shortest < conf.retry_max_ms / 10);
    a = result_of(p, SINK_RETRY, 7000, 1000);
    assert_true(a.until_ms >= 8000 && a.until_ms <= 8000 + conf.retry_min_ms);
    a = result_of(p, SINK_DONE, 0, 1000);
    assert_int_equal(a.what, POLICY_DONE);
    assert_int_equal(a.say, POLICY_SAY_RECOVERED);
    policy_begin(p, &all, &a);
    a = result_of(p, SINK_RETRY, 0, 1000);
    assert_true(a.until_ms <= 1000 + conf.retry_min_ms);
    free(p);
}

static void what_nobody_can_mend_by_retrying_is_held_said_once_and_recovers(void **state)
{
    (void)state;
    struct policy *p = new_policy();
    struct policy_set all = {0};
    policy_set_add(&all, 3);
    struct policy_action a;
    policy_begin(p, &all, &a);
    a = result_of(p, SINK_HOLD, 0, 0);
    assert_int_equal(a.say, POLICY_SAY_HELD);
    assert_int_equal(a.until_ms, conf.hold_ms);
    a = result_of(p, SINK_HOLD, 0, a.until_ms);
    assert_int_equal(a.say, POLICY_SAY_NOTHING);
    a = result_of(p, SINK_DONE, 0, a.until_ms);
    assert_int_equal(a.say, POLICY_SAY_RECOVERED);
    free(p);
}

static void a_server_that_refuses_everything_does_not_empty_the_log_into_dead_letters(void **state)
{
    (void)state;
    struct policy *p = new_policy();
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    struct policy_set all = {0};
    for (uint32_t i = 0; i < 4000; i++)
        policy_set_add(&all, i);
    struct policy_action a;
    policy_begin(p, &all, &a);
    uint32_t dead = 0;
    bool held = false;
    while (a.what == POLICY_WRITE) {
        a = result_of(p, SINK_POISON, 0, 0);
        dead += a.dead ? a.dead->count : 0;
        held |= a.say == POLICY_SAY_HELD;
    }
    assert_int_equal(a.what, POLICY_WAIT);
    assert_true(held);
    assert_true(dead <= 40);
    free(m);
    free(p);
}

static void restarts_in_a_row_wait_longer_each_time(void **state)
{
    (void)state;
    static const int64_t expected[] = {0, 0, 0, 15000, 30000, 60000, 120000, 240000};
    for (uint32_t nth = 1; nth <= POLICY_REWINDS_MAX; nth++)
        assert_int_equal(policy_rewind_pause_ms(nth, 15000), expected[nth - 1]);
    assert_int_equal(policy_rewind_pause_ms(POLICY_REWINDS_MAX, 3600000),
                     POLICY_REWIND_PAUSE_MAX_MS);
    assert_int_equal(policy_rewind_pause_ms(POLICY_REWINDS_MAX, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_is_stored_or_dead_whatever_the_database_refuses),
        cmocka_unit_test(one_bad_point_of_many_costs_few_writes),
        cmocka_unit_test(the_size_that_was_refused_is_remembered_and_rises_again),
        cmocka_unit_test(backoff_grows_with_full_jitter_and_obeys_retry_after),
        cmocka_unit_test(restarts_in_a_row_wait_longer_each_time),
        cmocka_unit_test(what_nobody_can_mend_by_retrying_is_held_said_once_and_recovers),
        cmocka_unit_test(a_server_that_refuses_everything_does_not_empty_the_log_into_dead_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
