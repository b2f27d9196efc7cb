// The small parts of base: checksums, generator, map, ring, error texts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/crc.h>
#include <runnel/map.h>
#include <runnel/rand.h>
#include <runnel/ring.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void checksums_match_the_published_check_values(void **state)
{
    (void)state;
    assert_int_equal(rn_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(rn_crc32(0, "123456789", 9), 0xcbf43926);
    uint8_t zeros[32] = {0}; // RFC 3720, appendix B.4
    assert_int_equal(rn_crc32c(0, zeros, 32), 0x8a9136aa);
    uint8_t ascending[32];
    for (uint8_t i = 0; i < 32; i++)
        ascending[i] = i;
    assert_int_equal(rn_crc32c(0, ascending, 32), 0x46dd794e);
    assert_int_equal(rn_crc32c(rn_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    assert_int_equal(rn_crc32(0, NULL, 0), 0);
}

static uint32_t bit_by_bit(const uint8_t *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < 8 * len; i++) {
        crc ^= bytes[i / 8] >> i % 8 & 1;
        crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void a_checksum_is_the_same_wherever_its_bytes_are_divided(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + i / 256); // each value, after many others
    uint32_t whole = bit_by_bit(bytes, sizeof bytes);
    for (size_t at = 0; at <= sizeof bytes; at++) {
        uint32_t first = rn_crc32c(0, bytes, at);
        assert_int_equal(rn_crc32c(first, bytes + at, sizeof bytes - at), whole);
    }
}

static void generator_repeats_from_its_seed(void **state)
{
    (void)state;
    struct rn_rand a, b, c;
    rn_rand_init(&a, 0);
    rn_rand_init(&b, 0);
    rn_rand_init(&c, 1);
    uint64_t first = rn_rand_u64(&a);
    assert_true(first != 0);
    assert_true(first == rn_rand_u64(&b));
    assert_true(first != rn_rand_u64(&c));
}

static void below_stays_below_and_reaches_every_value(void **state)
{
    (void)state;
    struct rn_rand rand;
    rn_rand_init(&rand, 7);
    unsigned seen[6] = {0};
    for (int i = 0; i < 6000; i++)
        seen[rn_rand_below(&rand, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(rn_rand_below(&rand, 0), 0);
    assert_int_equal(rn_rand_below(&rand, 1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(rn_rand_below(&rand, UINT64_MAX) < UINT64_MAX);
}

static struct rn_span key_of(char text[16], int number)
{
    snprintf(text, 16, "k%d", number);
    return rn_span_text(text);
}

static void map_keeps_every_entry_through_growth_and_removal(void **state)
{
    (void)state;
    enum { N = 3000 };
    static int values[N];
    struct rn_map map;
    char text[16];
    rn_map_init(&map, N, 42);
    assert_null(rn_map_get(&map, rn_span_text("k1")));
    assert_null(rn_map_take(&map, rn_span_text("k1")));
    for (int i = 0; i < N; i++)
        assert_int_equal(rn_map_put(&map, key_of(text, i), &values[i]), RN_OK);
    assert_int_equal(rn_map_put(&map, rn_span_text("more"), &values[0]), RN_ELIMIT);
    assert_int_equal(rn_map_put(&map, rn_span_text("k5"), &values[6]), RN_OK); // replaces when full
    assert_ptr_equal(rn_map_get(&map, rn_span_text("k5")), &values[6]);
    for (int i = 0; i < N; i += 3)
        assert_non_null(rn_map_take(&map, key_of(text, i)));
    for (int i = 0; i < N; i++) {
        void *expected = i % 3 == 0 ? NULL : i == 5 ? &values[6] : &values[i];
        assert_ptr_equal(rn_map_get(&map, key_of(text, i)), expected);
    }
    assert_int_equal(map.count, N - N / 3);
    rn_map_release(&map);
    assert_null(rn_map_get(&map, rn_span_text("k1")));
}

static void map_visits_each_entry_once(void **state)
{
    (void)state;
    int values[20], visits[20] = {0};
    char text[16];
    struct rn_map map;
    rn_map_init(&map, 100, 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rn_map_put(&map, key_of(text, i), &values[i]), RN_OK);
    uint32_t at = 0;
    struct rn_span key;
    void *value;
    while (rn_map_next(&map, &at, &key, &value))
        visits[(int *)value - values]++;
    for (int i = 0; i < 20; i++)
        assert_int_equal(visits[i], 1);
    rn_map_release(&map);
}

static void map_takes_the_empty_key(void **state)
{
    (void)state;
    int value;
    struct rn_map map;
    rn_map_init(&map, 4, 9);
    assert_int_equal(rn_map_put(&map, (struct rn_span){0}, &value), RN_OK);
    assert_ptr_equal(rn_map_take(&map, (struct rn_span){0}), &value);
    assert_int_equal(map.count, 0);
    rn_map_release(&map);
}

static void ring_is_first_in_first_out_and_bounded(void **state)
{
    (void)state;
    struct rn_ring ring;
    assert_int_equal(rn_ring_init(&ring, sizeof(int), 3), RN_OK);
    int out = 0, in = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++, in++)
            assert_true(rn_ring_push(&ring, &in));
        assert_false(rn_ring_push(&ring, &in));
        assert_int_equal(*(int *)rn_ring_at(&ring, 2), in - 1);
        assert_null(rn_ring_at(&ring, 3));
        for (int i = 0; i < 3; i++) {
            assert_true(rn_ring_pop(&ring, &out));
            assert_int_equal(out, round * 3 + i);
            int extra = -1;
            assert_true(rn_ring_push(&ring, &extra)); // moves the head through the storage
            assert_true(ring.count == 3);
        }
        for (int i = 0; i < 3; i++)
            assert_true(rn_ring_pop(&ring, &out));
        assert_int_equal(out, -1);
    }
    assert_false(rn_ring_pop(&ring, &out));
    rn_ring_release(&ring);
    assert_int_equal(rn_ring_init(&ring, 0, 3), RN_EINVAL);
    assert_int_equal(rn_ring_init(&ring, SIZE_MAX / 2, 4), RN_EINVAL);
}

static void error_texts_are_cut_never_overrun(void **state)
{
    (void)state;
    struct rn_err err;
    char words[400];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = 0;
    assert_int_equal(rn_fail(&err, RN_ELIMIT, "%s", words), RN_ELIMIT);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    errno = ENOSPC;
    assert_int_equal(rn_fail_errno(&err, "%s", words), RN_ENOSPC);
    assert_int_equal(rn_err_prefix(&err, "in %d", 3), RN_ENOSPC);
    assert_memory_equal(err.text, "in 3: xxx", 9);
    errno = EACCES;
    assert_int_equal(rn_fail_errno(&err, "open"), RN_EACCESS);
    assert_string_equal(err.text, "open: Permission denied");
    assert_int_equal(rn_fail(NULL, RN_EIO, "nobody listens"), RN_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_match_the_published_check_values),
        cmocka_unit_test(a_checksum_is_the_same_wherever_its_bytes_are_divided),
        cmocka_unit_test(generator_repeats_from_its_seed),
        cmocka_unit_test(below_stays_below_and_reaches_every_value),
        cmocka_unit_test(map_keeps_every_entry_through_growth_and_removal),
        cmocka_unit_test(map_visits_each_entry_once),
        cmocka_unit_test(map_takes_the_empty_key),
        cmocka_unit_test(ring_is_first_in_first_out_and_bounded),
        cmocka_unit_test(error_texts_are_cut_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
