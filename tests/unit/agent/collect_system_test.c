// agent/collect/system.h
#include "collect_fixture.h"

#include "agent/collect/system.h"

#include <utmp.h>

static void loads_are_hundredths(void **state)
{
    (void)state;
    uint64_t load[3];
    assert_true(system_parse_load(rn_span_text("0.01 2.50 100.00 1/2 3"), load));
    assert_true(load[0] == 1 && load[1] == 250 && load[2] == 10000);
    assert_false(system_parse_load(rn_span_text("0.01 2.50"), load));
    assert_false(system_parse_load(rn_span_text("a b c"), load));
    assert_false(system_parse_load(rn_span_text(""), load));
    assert_false(system_parse_load(rn_span_text("-1.0 1 1"), load));
}

static struct utmp record(short type, const char *user)
{
    struct utmp r;
    memset(&r, 0, sizeof r);
    r.ut_type = type;
    memcpy(r.ut_user, user, strnlen(user, sizeof r.ut_user));
    return r;
}

static void users_are_counted_once_and_sessions_each(void **state)
{
    (void)state;
    struct utmp records[] = {
        record(BOOT_TIME, "reboot"), record(USER_PROCESS, "ann"),
        record(USER_PROCESS, "bob"), record(DEAD_PROCESS, "eve"),
        record(USER_PROCESS, "ann"), record(USER_PROCESS, "a-name-of-thirty-two-characters!")};
    struct system_users users;
    struct rn_span all = {(const uint8_t *)records, sizeof records};
    system_parse_users(all, &users);
    assert_int_equal(users.sessions, 4);
    assert_int_equal(users.unique, 3);
    for (size_t len = 0; len < sizeof records; len += 37) { // cut anywhere
        system_parse_users((struct rn_span){all.data, len}, &users);
        assert_true(users.sessions <= len / sizeof records[0]);
    }
}

static void a_flood_of_users_is_bounded_and_counted(void **state)
{
    (void)state;
    enum { MANY = 600 };
    struct utmp *records = calloc(MANY, sizeof *records);
    assert_non_null(records);
    for (int i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "user%d", i);
        records[i] = record(USER_PROCESS, name);
    }
    struct system_users users;
    system_parse_users((struct rn_span){(const uint8_t *)records, MANY * sizeof *records}, &users);
    assert_int_equal(users.sessions, MANY);
    assert_int_equal(users.unique, SYSTEM_MAX_USERS);
    assert_int_equal(users.left_out, MANY - SYSTEM_MAX_USERS);
    free(records);
}

static void what_a_machine_has_is_reported(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_system);
    assert_true(subject_sample(&f, &s, 0) < 0);
    fixture_write(&f, "proc/loadavg", "0.10 0.20 0.30 1/100 5\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out, "system load1=0.10,load5=0.20,load15=0.30\n");
    struct utmp one = record(USER_PROCESS, "ann");
    fixture_write_bytes(&f, "var/run/utmp", &one, sizeof one);
    fixture_write(&f, "proc/uptime", "3600.99 1.00\n");
    fixture_write(&f, "proc/stat",
                  "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 9\ncpu2 1 2 3 4\n");
    fixture_write(&f, "sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0-1\n");
    fixture_write(&f, "sys/devices/system/cpu/cpu1/topology/core_cpus_list", "0-1\n");
    fixture_clear(&f);
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out,
                        "system load1=0.10,load5=0.20,load15=0.30,n_cpus=2i,n_physical_cpus=1i,"
                        "n_users=1i,n_unique_users=1i,uptime=3600i\n");
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_are_hundredths),
        cmocka_unit_test(users_are_counted_once_and_sessions_each),
        cmocka_unit_test(a_flood_of_users_is_bounded_and_counted),
        cmocka_unit_test(what_a_machine_has_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
