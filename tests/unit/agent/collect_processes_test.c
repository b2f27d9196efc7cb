// agent/collect/processes.h
#include "collect_fixture.h"

#include "agent/collect/processes.h"

#define REST " 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 "

static bool parse(const char *line, char *letter, uint64_t *threads)
{
    return processes_parse(rn_span_text(line), letter, threads);
}

static void a_name_may_contain_anything(void **state)
{
    (void)state;
    char letter;
    uint64_t threads;
    assert_true(parse("1 (a) R (b) c) S" REST "7 0", &letter, &threads));
    assert_true(letter == 'S' && threads == 7);
    assert_true(parse("1 () Z" REST "1", &letter, &threads));
    assert_true(letter == 'Z' && threads == 1);
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ")",
                                      "1 (a",
                                      "1 (a)",
                                      "1 (a) S",
                                      "1 (a) SS" REST "1",
                                      "1 (a) S" REST,
                                      "1 (a) S" REST "x",
                                      "1 (a) S 1 2 3"};
    char letter;
    uint64_t threads;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(bad[i], &letter, &threads));
}

static void every_process_is_in_one_state(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_processes);
    static const char letters[] = "DXIWPRSTtZ?q";
    for (int i = 0; letters[i]; i++) {
        char path[64], line[128];
        snprintf(path, sizeof path, "proc/%d/stat", 100 + i);
        snprintf(line, sizeof line, "%d (x) %c" REST "2 0\n", 100 + i, letters[i]);
        fixture_write(&f, path, line);
    }
    fixture_write(&f, "proc/self/stat", "1 (x) R" REST "1\n");
    fixture_write(&f, "proc/7/status", "gone\n");
    fixture_write(&f, "proc/8/stat", "");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out,
                        "processes blocked=1i,dead=1i,idle=1i,paging=1i,parked=1i,running=1i,"
                        "sleeping=1i,stopped=2i,zombies=1i,unknown=2i,total=12i,"
                        "total_threads=24i\n");
    f.env.procfs = "/nowhere";
    assert_int_equal(subject_sample(&f, &s, 0), RN_ENOENT);
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_may_contain_anything),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(every_process_is_in_one_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
