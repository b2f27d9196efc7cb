// The set of intervals against a bitmap, from a seed: RUNNEL_SEED repeats a failure.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/rand.h>
#include <runnel/ranges.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNIVERSE = 96, MAX = 12, ROUNDS = 400, STEPS = 200 };

static uint64_t seed;

static int choose_seed(void **state)
{
    (void)state;
    const char *given = getenv("RUNNEL_SEED");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("RUNNEL_SEED=%" PRIu64 "\n", seed);
    return 0;
}

static uint32_t runs(const bool *bit)
{
    uint32_t count = 0;
    for (int i = 0; i < UNIVERSE; i++)
        count += bit[i] && (i == 0 || !bit[i - 1]);
    return count;
}

static void fill(bool *bit, uint64_t first, uint64_t last, bool value)
{
    for (uint64_t i = first; i <= last; i++)
        bit[i] = value;
}

static void compare(const struct rn_ranges *set, const bool *bit)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < UNIVERSE; i++) {
        total += bit[i];
        if (rn_ranges_has(set, i) != bit[i])
            fail_msg("value %" PRIu64 ", RUNNEL_SEED=%" PRIu64, i, seed);
    }
    assert_int_equal(rn_ranges_total(set), total);
    assert_int_equal(set->count, runs(bit)); // sorted, disjoint and nowhere adjacent
    for (uint32_t i = 1; i < set->count; i++)
        assert_true(set->item[i].first > set->item[i - 1].last + 1);
}

// One random operation on both; where the set refuses, the model must say that it had to.
static void step(struct rn_rand *rand, struct rn_ranges *set, bool *bit)
{
    bool wanted[UNIVERSE];
    memcpy(wanted, bit, sizeof wanted);
    uint64_t first = rn_rand_below(rand, UNIVERSE);
    uint64_t last = first + rn_rand_below(rand, 1 + rn_rand_below(rand, UNIVERSE - first));
    uint64_t action = rn_rand_below(rand, 20);
    if (action == 0) {
        rn_ranges_forget_below(set, first);
        if (first)
            fill(bit, 0, first - 1, false);
        return;
    }
    bool add = action < 12;
    fill(wanted, first, last, add);
    int rc = add ? rn_ranges_add(set, first, last) : rn_ranges_remove(set, first, last);
    if (rc == RN_OK)
        memcpy(bit, wanted, sizeof wanted);
    else if (rc != RN_ELIMIT || runs(wanted) <= set->max)
        fail_msg("refused with %d, RUNNEL_SEED=%" PRIu64, rc, seed);
    // A refusal changes nothing: compared by the caller.
}

static void behaves_like_a_bitmap_with_a_bound_on_its_runs(void **state)
{
    (void)state;
    struct rn_rand rand;
    rn_rand_init(&rand, seed);
    for (int round = 0; round < ROUNDS; round++) {
        struct rn_range storage[MAX];
        struct rn_ranges set;
        bool bit[UNIVERSE] = {false};
        rn_ranges_init(&set, storage, 1 + (uint32_t)rn_rand_below(&rand, MAX));
        for (int i = 0; i < STEPS; i++) {
            step(&rand, &set, bit);
            compare(&set, bit);
        }
    }
}

static void the_ends_of_the_63_bit_space_hold(void **state)
{
    (void)state;
    struct rn_range storage[3];
    struct rn_ranges set;
    rn_ranges_init(&set, storage, 3);
    assert_int_equal(rn_ranges_add(&set, 0, INT64_MAX), RN_OK);
    assert_true(rn_ranges_total(&set) == UINT64_C(1) << 63);
    assert_int_equal(rn_ranges_remove(&set, 0, 0), RN_OK);
    assert_int_equal(rn_ranges_remove(&set, INT64_MAX, INT64_MAX), RN_OK);
    assert_false(rn_ranges_has(&set, 0));
    assert_true(rn_ranges_has(&set, 1));
    assert_false(rn_ranges_has(&set, INT64_MAX));
    assert_false(rn_ranges_has(&set, UINT64_MAX));
    assert_int_equal(rn_ranges_add(&set, 5, 4), RN_EINVAL);
    assert_int_equal(rn_ranges_add(&set, 0, (uint64_t)INT64_MAX + 1), RN_EINVAL);
    assert_int_equal(rn_ranges_remove(&set, 5, 4), RN_EINVAL);
    rn_ranges_forget_below(&set, UINT64_MAX);
    assert_int_equal(set.count, 0);
    assert_int_equal(rn_ranges_add(&set, INT64_MAX, INT64_MAX), RN_OK);
    rn_ranges_clear(&set);
    assert_int_equal(rn_ranges_total(&set), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_a_bitmap_with_a_bound_on_its_runs),
        cmocka_unit_test(the_ends_of_the_63_bit_space_hold),
    };
    return cmocka_run_group_tests(tests, choose_seed, NULL);
}
