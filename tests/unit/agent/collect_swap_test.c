// agent/collect/swap.h
#include "collect_fixture.h"

#include "agent/collect/swap.h"

static void areas_and_traffic_are_one_point(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_swap);
    fixture_write(&f, "proc/meminfo", "MemTotal: 9 kB\nSwapTotal: 300 kB\nSwapFree: 200 kB\n");
    fixture_write(&f, "proc/vmstat", "pswpin 5\npswpout 7\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out, "swap total=307200i,used=102400i,free=204800i,used_percent=33.33,"
                               "in=20480i,out=28672i\n");
    fixture_clear(&f);
    f.env.page_bytes = 65536;
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(fixture_value(&f, "swap", "in"), "327680i");
    subject_close(&s);
    fixture_release(&f);
}

static void what_is_missing_is_not_made_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_swap);
    assert_int_equal(subject_sample(&f, &s, 0), RN_ENOENT);
    assert_int_equal(f.points, 0);
    fixture_write(&f, "proc/meminfo", "SwapTotal: 0 kB\nSwapFree: 9 kB\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out, "swap total=0i,used=0i,free=9216i,used_percent=0.00\n");
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(areas_and_traffic_are_one_point),
        cmocka_unit_test(what_is_missing_is_not_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
