// Every collector on the machine that runs the test, between two looks by a script of its own: what
// stands still must be the same, what only grows must lie between.
#include "collect_fixture.h"

#include <time.h>

#define SCRIPT "/usr/bin/python3 " TEST_SOURCE_DIR "/data/collect/expect.py --live"

static void look(char *out, size_t size)
{
    FILE *script = popen(SCRIPT, "r");
    assert_non_null(script);
    out[fread(out, 1, size - 1, script)] = '\0';
    assert_int_equal(pclose(script), 0);
    assert_true(out[0]);
}

static bool grows(const struct rn_field_desc *field)
{
    return field->kind == RN_COUNTER;
}

static bool stands_still(const struct rn_field_desc *field)
{
    return field->kind == RN_STATE || strcmp(field->name, "total") == 0 ||
           strcmp(field->name, "inodes_total") == 0;
}

static const struct rn_field_desc *find_field(const char *measurement, const char *name, size_t len)
{
    for (size_t i = 0; i < collect_table_count; i++) {
        const struct rn_collector *c = collect_table[i];
        for (size_t j = 0; strcmp(c->name, measurement) == 0 && j < c->nfields; j++)
            if (strlen(c->fields[j].name) == len && memcmp(c->fields[j].name, name, len) == 0)
                return &c->fields[j];
    }
    return NULL;
}

// Compares one field in three texts; returns whether it could be compared.
static bool check_field(const struct fixture *f, const struct fixture *after, const char *start,
                        const char *measurement, const char *name, size_t len, const char *first)
{
    const struct rn_field_desc *field = find_field(measurement, name, len);
    if (!field) {
        fail_msg("%s has no field %.*s", measurement, (int)len, name);
        return false;
    }
    const char *got = fixture_value(f, start, field->name);
    if (!got) {
        fail_msg("%s: no %s", start, field->name);
        return false;
    }
    long long middle = strtoll(got, NULL, 10), low = strtoll(first, NULL, 10);
    const char *last = fixture_value(after, start, field->name);
    if (!last || (!grows(field) && !stands_still(field)))
        return false;
    long long high = strtoll(last, NULL, 10);
    if (low <= high && (middle < low || middle > high))
        fail_msg("%s%s: %lld, %lld, %lld", start, field->name, low, middle, high);
    return true;
}

static int check_line(const struct fixture *f, const struct fixture *after, const char *line)
{
    char start[512], measurement[32];
    size_t len = strcspn(line, "\n"), compared = 0;
    const char *blank = memrchr(line, ' ', len);
    assert_non_null(blank);
    snprintf(start, sizeof start, "%.*s", (int)(blank - line + 1), line);
    snprintf(measurement, sizeof measurement, "%.*s", (int)strcspn(line, ", "), line);
    if (!strstr(after->out, start)) // an interface or a mount that has gone meanwhile
        return 0;
    if (strstr(start, "=loop") || strstr(start, "=veth")) // made and unmade by other tests
        return 0;
    for (const char *at = blank + 1; at < line + len; at += strcspn(at, ",\n") + 1) {
        size_t name_len = strcspn(at, "=");
        compared += check_field(f, after, start, measurement, at, name_len, at + name_len + 1);
    }
    return (int)compared;
}

static void the_machine_is_reported_as_the_script_sees_it(void **state)
{
    (void)state;
    struct fixture f, after;
    static char before[1 << 18];
    fixture_init(&f);
    fixture_init(&after);
    f.env.page_bytes = sysconf(_SC_PAGESIZE);
    look(before, sizeof before);
    for (size_t i = 0; i < collect_table_count; i++) {
        if (strcmp(collect_table[i]->name, "runnel_agent") == 0)
            continue;
        struct subject s = subject_open(&f, collect_table[i]);
        assert_int_equal(subject_sample(&f, &s, 1000), 0);
        subject_close(&s);
    }
    look(after.out, after.size);
    int compared = 0;
    for (const char *line = before; *line; line += strcspn(line, "\n") + 1)
        compared += check_line(&f, &after, line);
    print_message("%d values compared, %d points\n", compared, f.points);
    assert_true(compared >= 20);
    fixture_release(&f);
    fixture_release(&after);
}

static void shares_of_a_core_add_up_to_a_hundred(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < collect_table_count; i++) {
        if (strcmp(collect_table[i]->name, "cpu") != 0)
            continue;
        struct subject s = subject_open(&f, collect_table[i]);
        for (int tick = 0; tick < 200 && f.points == 0; tick++) { // until the kernel's clock ticks
            assert_int_equal(subject_sample(&f, &s, tick), 0);
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        }
        subject_close(&s);
    }
    assert_true(f.points >= 1);
    double sum = 0;
    static const char *const parts[] = {"user", "nice",    "system", "idle",  "iowait",
                                        "irq",  "softirq", "steal",  "guest", "guest_nice"};
    char start[64];
    snprintf(start, sizeof start, "%.*s", (int)strcspn(f.out, " ") + 1, f.out);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "usage_%s", parts[i]);
        sum += strtod(fixture_value(&f, start, name), NULL);
    }
    assert_true(sum > 99.9 && sum < 100.1);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_machine_is_reported_as_the_script_sees_it),
        cmocka_unit_test(shares_of_a_core_add_up_to_a_hundred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
