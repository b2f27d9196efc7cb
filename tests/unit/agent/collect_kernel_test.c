// agent/collect/kernel.h
#include "collect_fixture.h"

#include "agent/collect/kernel.h"

static void what_a_machine_has_is_reported(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_kernel);
    fixture_write(&f, "proc/stat",
                  "cpu 1 2 3 4\nintr 77 1 2 3\nctxt 5\nbtime 1700000000\nprocesses 9");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out, "kernel boot_time=1700000000i,context_switches=5i,interrupts=77i,"
                               "processes_forked=9i\n");
    fixture_clear(&f);
    fixture_write(&f, "proc/vmstat", "pgpgin 6\npgpgout 8\n");
    fixture_write(&f, "proc/sys/kernel/random/entropy_avail", "256\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(fixture_value(&f, "kernel", "disk_pages_in"), "6i");
    assert_string_equal(fixture_value(&f, "kernel", "disk_pages_out"), "8i");
    assert_string_equal(fixture_value(&f, "kernel", "entropy_avail"), "256i");
    subject_close(&s);
    fixture_release(&f);
}

static void garbage_is_an_error_and_no_point(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_kernel);
    static const char *const bad[] = {"", "ctxt", "ctxt -1\nbtime x\n",
                                      "intr 99999999999999999999 1\n"};
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
        cmocka_unit_test(what_a_machine_has_is_reported),
        cmocka_unit_test(garbage_is_an_error_and_no_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
