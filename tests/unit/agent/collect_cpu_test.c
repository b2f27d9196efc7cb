// agent/collect/cpu.h
#include "collect_fixture.h"

#include "agent/collect/cpu.h"
#include "agent/collect/parse.h"

static bool parse(const char *line, int64_t *core, struct cpu_ticks *ticks)
{
    return cpu_parse(rn_span_text(line), core, ticks);
}

static void lines_of_old_and_new_kernels_are_read(void **state)
{
    (void)state;
    int64_t core;
    struct cpu_ticks t;
    assert_true(parse("cpu  1 2 3 4 5 6 7 8 9 10", &core, &t));
    assert_true(core == -1 && t.time[CPU_USER] == 1 && t.time[CPU_GUEST_NICE] == 10);
    assert_true(parse("cpu12 1 2 3 4", &core, &t));
    assert_true(core == 12 && t.time[CPU_IDLE] == 4 && t.time[CPU_STEAL] == 0);
    assert_true(parse("cpu0 1 2 3 4 5 6 7 8 9 10 11 12", &core, &t));
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "cpu",
                                      "cpu 1 2 3",
                                      "cp 1 2 3 4",
                                      "cpux 1 2 3 4",
                                      "cpu-1 1 2 3 4",
                                      "cpu0 1 2 x 4",
                                      "cpu0 1 2 3 4 y",
                                      "cpu0 1 2 3 -4",
                                      "cpu99999999999999999999 1 2 3 4",
                                      "cpu0 99999999999999999999 2 3 4"};
    int64_t core;
    struct cpu_ticks t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(bad[i], &core, &t));
}

static void guests_are_not_counted_as_users(void **state)
{
    (void)state;
    struct cpu_ticks before = {{0}}, now = {{60, 20, 0, 20, 0, 0, 0, 0, 45, 5}};
    uint64_t share[CPU_TIMES];
    assert_true(cpu_shares(&before, &now, share));
    assert_int_equal(share[CPU_USER], 1500);
    assert_int_equal(share[CPU_NICE], 1500);
    assert_int_equal(share[CPU_GUEST], 4500);
    assert_int_equal(share[CPU_GUEST_NICE], 500);
    assert_int_equal(share[CPU_IDLE], 2000);
}

static void nothing_is_said_where_no_time_passed_or_it_went_back(void **state)
{
    (void)state;
    struct cpu_ticks a = {{100, 0, 0, 100}}, b = {{110, 0, 0, 50}};
    uint64_t share[CPU_TIMES];
    assert_false(cpu_shares(&a, &a, share));
    assert_false(cpu_shares(&a, &b, share));
    assert_true(cpu_shares(&b, &a, share));
    assert_int_equal(share[CPU_USER], 0);
    assert_int_equal(share[CPU_IDLE], 10000);
}

// xorshift64*, Marsaglia: the seed is printed, so that a failure can be repeated.
static uint64_t next(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * 2685821657736338717u;
}

static void no_share_is_ever_above_a_hundred(void **state)
{
    (void)state;
    uint64_t seed = 0x5eed + (uint64_t)getpid();
    print_message("seed %" PRIu64 "\n", seed);
    for (int round = 0; round < 20000; round++) {
        struct cpu_ticks a, b;
        uint64_t share[CPU_TIMES];
        for (int i = 0; i < CPU_TIMES; i++) {
            unsigned shift = (unsigned)(next(&seed) % 60);
            a.time[i] = next(&seed) >> shift;
            b.time[i] = next(&seed) % 3 ? a.time[i] + next(&seed) % 1000 : next(&seed) >> shift;
        }
        if (!cpu_shares(&a, &b, share))
            continue;
        for (int i = 0; i < CPU_TIMES; i++)
            assert_true(share[i] <= 10000);
    }
}

static void each_core_and_all_together_are_reported_from_the_second_tick_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_cpu);
    fixture_write(&f, "proc/stat", "cpu  0 0 0 0\ncpu0 0 0 0 0\nintr 5\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, 0);
    fixture_write(&f, "proc/stat",
                  "cpu  1 0 0 2\ncpu0 1 0 0 2\ncpu1 5 5 5 5\nintr 5\ncpu2 1 1 1 1\n");
    assert_int_equal(subject_sample(&f, &s, 1000), 0);
    assert_int_equal(f.points, 2);
    assert_string_equal(fixture_value(&f, "cpu,cpu=cpu-total ", "usage_user"), "33.33");
    assert_string_equal(fixture_value(&f, "cpu,cpu=cpu0 ", "usage_idle"), "66.67");
    subject_close(&s);
    fixture_release(&f);
}

static void the_options_choose_cores_or_the_total(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    for (int i = 0; i < 4; i++) {
        struct subject s = subject_open(&f, &collect_cpu);
        struct cpu_conf *conf = s.conf;
        assert_true(conf->per_core && conf->total);
        conf->per_core = i & 1;
        conf->total = i & 2;
        fixture_clear(&f);
        fixture_write(&f, "proc/stat", "cpu  0 0 0 0\ncpu0 0 0 0 0\n");
        assert_int_equal(subject_sample(&f, &s, 0), 0);
        fixture_write(&f, "proc/stat", "cpu  1 0 0 2\ncpu0 1 0 0 2\n");
        assert_int_equal(subject_sample(&f, &s, 1000), 0);
        assert_int_equal(fixture_value(&f, "cpu,cpu=cpu0 ", "usage_idle") != NULL, i & 1);
        assert_int_equal(fixture_value(&f, "cpu,cpu=cpu-total ", "usage_idle") != NULL, i >> 1);
        subject_close(&s);
    }
    fixture_release(&f);
}

static void ten_thousand_cores_are_bounded_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_cpu);
    for (int tick = 1; tick <= 2; tick++) {
        struct rn_buf text;
        rn_buf_init(&text, 1 << 20);
        rn_buf_printf(&text, "cpu  %d 0 0 0\n", tick);
        for (int i = 0; i < 10000; i++)
            rn_buf_printf(&text, "cpu%d %d 0 0 0\n", i, tick);
        assert_true(rn_buf_ok(&text));
        fixture_write_bytes(&f, "proc/stat", text.data, text.len);
        rn_buf_release(&text);
        assert_int_equal(subject_sample(&f, &s, tick * 1000), 0);
    }
    assert_int_equal(f.points, CPU_MAX_CORES + 1);
    assert_int_equal(f.left_out, 2 * (10000 - CPU_MAX_CORES));
    subject_close(&s);
    fixture_release(&f);
}

static void a_file_without_processors_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_cpu);
    assert_int_equal(subject_sample(&f, &s, 0), RN_ENOENT);
    static const char *const bad[] = {"", "\n", "cpu\n", "intr 4\ncpu 1 2 3 4\n", "cpu 1 2 3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fixture_write(&f, "proc/stat", bad[i]);
        assert_int_equal(subject_sample(&f, &s, 0), RN_EFORMAT);
    }
    assert_int_equal(f.points, 0);
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_old_and_new_kernels_are_read),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(guests_are_not_counted_as_users),
        cmocka_unit_test(nothing_is_said_where_no_time_passed_or_it_went_back),
        cmocka_unit_test(no_share_is_ever_above_a_hundred),
        cmocka_unit_test(each_core_and_all_together_are_reported_from_the_second_tick_on),
        cmocka_unit_test(the_options_choose_cores_or_the_total),
        cmocka_unit_test(ten_thousand_cores_are_bounded_and_counted),
        cmocka_unit_test(a_file_without_processors_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
