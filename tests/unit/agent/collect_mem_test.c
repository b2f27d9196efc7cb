// agent/collect/mem.h
#include "collect_fixture.h"

#include "agent/collect/mem.h"

static struct mem_values parsed(const char *text, bool good)
{
    struct mem_values mem;
    assert_int_equal(mem_parse(rn_span_text(text), &mem), good);
    return mem;
}

static void used_is_what_is_not_available(void **state)
{
    (void)state;
    struct mem_values mem = parsed("MemTotal: 3000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n"
                                   "Cached: 7 kB\nSReclaimable: 5 kB",
                                   true);
    assert_int_equal(mem.value[MEM_USED], 2000);
    assert_int_equal(mem.value[MEM_USED_PERCENT], 6667);
    assert_int_equal(mem.value[MEM_AVAILABLE_PERCENT], 3333);
    assert_int_equal(mem.value[MEM_CACHED], 12);
    assert_int_equal(mem.value[MEM_HIGH_TOTAL], 0);
}

static void an_old_kernel_has_free_and_cached_available(void **state)
{
    (void)state;
    struct mem_values mem = parsed("MemTotal: 3000 kB\nMemFree: 10 kB\nCached: 7 kB\n", true);
    assert_int_equal(mem.value[MEM_AVAILABLE], 17);
    assert_int_equal(mem.value[MEM_USED], 2983);
}

static void absurd_numbers_never_make_used_negative(void **state)
{
    (void)state;
    struct mem_values mem = parsed("MemTotal: 100 kB\nMemAvailable: 18446744073709551615 kB\n"
                                   "Cached: 18446744073709551615 kB\n"
                                   "SReclaimable: 18446744073709551615 kB\n",
                                   true);
    assert_int_equal(mem.value[MEM_AVAILABLE], 100);
    assert_int_equal(mem.value[MEM_USED], 0);
    mem = parsed("MemTotal: 99999999999999999999 kB\n", false);
    assert_int_equal(mem.value[MEM_USED_PERCENT], 0);
}

static void malformed_lines_are_passed_over(void **state)
{
    (void)state;
    (void)parsed("", false);
    (void)parsed("MemTotal", false);
    (void)parsed("MemTotal:", false);
    (void)parsed("MemTotal: kB", false);
    (void)parsed("MemTotal: 0 kB", false);
    (void)parsed("MemTotal: -5 kB", false);
    (void)parsed(": 5 kB\n:::\nMemTotalX: 5 kB\nMem: 5", false);
    (void)parsed("garbage\n\n\nMemTotal:5", true);
}

static void bytes_are_reported(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_mem);
    fixture_write(&f, "proc/meminfo",
                  "MemTotal: 4 kB\nHugePages_Total: 4\nHugepagesize: 2048 kB\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(fixture_value(&f, "mem ", "total"), "4096i");
    assert_string_equal(fixture_value(&f, "mem ", "huge_pages_total"), "4i");
    assert_string_equal(fixture_value(&f, "mem ", "huge_page_size"), "2097152i");
    assert_string_equal(fixture_value(&f, "mem ", "used_percent"), "100.00");
    fixture_write(&f, "proc/meminfo", "nothing\n");
    assert_int_equal(subject_sample(&f, &s, 0), RN_EFORMAT);
    assert_int_equal(f.points, 1);
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(used_is_what_is_not_available),
        cmocka_unit_test(an_old_kernel_has_free_and_cached_available),
        cmocka_unit_test(absurd_numbers_never_make_used_negative),
        cmocka_unit_test(malformed_lines_are_passed_over),
        cmocka_unit_test(bytes_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
