// The dedupe state against a plain model: an array that remembers everything. Random offers with
// jumping seqs, duplicates, other contents and advancing `low`; saved and loaded now and then.
#include "bridge/dedupe.h"

#include <runnel/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEQS 400

struct model {
    uint32_t crc[SEQS + 1]; // 0: not stored
    uint64_t floor;
};

static enum dedupe_verdict expect(struct model *m, uint64_t seq, uint64_t low, uint32_t crc)
{
    if (seq - low > m->floor)
        m->floor = seq - low;
    if (seq < m->floor)
        return DEDUPE_CONFLICT;
    if (m->crc[seq])
        return m->crc[seq] == crc ? DEDUPE_SAME : DEDUPE_CONFLICT;
    m->crc[seq] = crc;
    return DEDUPE_NEW;
}

static void reload(struct dedupe *all, struct dedupe_device *dev, struct dedupe_install **in)
{
    struct rn_buf buf;
    struct rn_err err;
    uint64_t install = (*in)->install;
    rn_buf_init(&buf, DEDUPE_SAVED_MAX);
    dedupe_save(dev, &buf);
    dedupe_device_release(all, dev);
    assert_int_equal(dedupe_load(all, dev, rn_buf_span(&buf), &err), RN_OK);
    *in = dedupe_find(dev, install);
    assert_non_null(*in);
    rn_buf_release(&buf);
}

static void run(uint64_t seed)
{
    struct dedupe all = {.max_device = 10000, .max_items = 10000};
    struct dedupe_device dev = {0};
    static struct model model;
    struct rn_rand rand;
    uint64_t gone, low_mark = 1;
    memset(&model, 0, sizeof model);
    rn_rand_init(&rand, seed);
    struct dedupe_install *in = dedupe_announce(&all, &dev, 1 + rn_rand_below(&rand, 99), 0, &gone);
    for (int i = 0; i < 3000; i++) {
        if (rn_rand_below(&rand, 20) == 0 && low_mark < SEQS - 10)
            low_mark += rn_rand_below(&rand, 4);
        uint64_t seq = rn_rand_below(&rand, 10) == 0
                           ? 1 + rn_rand_below(&rand, SEQS)
                           : low_mark + rn_rand_below(&rand, SEQS - low_mark + 1);
        uint64_t low = seq >= low_mark ? seq - low_mark : 0;
        if (seq < low_mark)
            low = rn_rand_below(&rand, seq);
        uint32_t crc = 1 + (uint32_t)rn_rand_below(&rand, 2);
        enum dedupe_verdict want = expect(&model, seq, low, crc);
        enum dedupe_verdict got = dedupe_offer(&all, &dev, in, seq, low, crc);
        if (got != want)
            fail_msg("seed %llu step %d seq %llu: got %d, want %d", (unsigned long long)seed, i,
                     (unsigned long long)seq, (int)got, (int)want);
        if (rn_rand_below(&rand, 200) == 0)
            reload(&all, &dev, &in);
    }
    uint32_t kept = 0;
    for (uint64_t seq = model.floor; seq <= SEQS; seq++)
        kept += model.crc[seq] != 0;
    assert_int_equal(in->count, kept);
    assert_int_equal(all.items, kept);
    dedupe_device_release(&all, &dev);
    assert_int_equal(all.items, 0);
}

static void dedupe_agrees_with_a_set_that_remembers_everything(void **state)
{
    (void)state;
    const char *given = getenv("RN_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1;
    printf("seeds %llu..%llu (RN_SEED)\n", (unsigned long long)first,
           (unsigned long long)(first + 199));
    for (uint64_t seed = first; seed < first + 200; seed++)
        run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dedupe_agrees_with_a_set_that_remembers_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
