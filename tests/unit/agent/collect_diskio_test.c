// agent/collect/diskio.h
#include "collect_fixture.h"

#include "agent/collect/diskio.h"

static bool parse(const char *line, struct diskio_counters *counters)
{
    return diskio_parse(rn_span_text(line), counters);
}

static void lines_of_old_and_new_kernels_are_read(void **state)
{
    (void)state;
    struct diskio_counters c;
    assert_true(parse("   8       0 sda 1 2 3 4 5 6 7 8 9 10 11", &c) && c.used);
    assert_string_equal(c.name, "sda");
    assert_int_equal(c.value[DISKIO_WEIGHTED_IO_TIME], 11);
    assert_true(parse("8 0 sda 0 0 0 0 0 0 0 0 0 0 0 12 13 14 15 16 17", &c) && !c.used);
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "8",
                                      "8 0",
                                      "8 0 sda",
                                      "8 0 sda 1 2 3 4 5 6 7 8 9 10",
                                      "8 0 sda 1 2 3 x 5 6 7 8 9 10 11",
                                      "8 0 sda 1 2 3 99999999999999999999 5 6 7 8 9 10 11"};
    struct diskio_counters c;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(bad[i], &c));
    char line[200];
    snprintf(line, sizeof line, "8 0 %0*d 1 2 3 4 5 6 7 8 9 10 11", DISKIO_NAME_MAX, 0);
    assert_false(parse(line, &c));
    snprintf(line, sizeof line, "8 0 %0*d 1 2 3 4 5 6 7 8 9 10 11", DISKIO_NAME_MAX - 1, 0);
    assert_true(parse(line, &c));
}

static void the_option_chooses_devices(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_diskio);
    struct diskio_conf *conf = s.conf;
    fixture_write(&f, "proc/diskstats",
                  "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n"
                  "7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, 2);
    assert_string_equal(fixture_value(&f, "diskio,name=sda ", "read_bytes"), "1536i");
    strcpy(conf->devices.item[0], "*1");
    conf->devices.count = 1;
    fixture_clear(&f);
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, 1);
    assert_non_null(fixture_value(&f, "diskio,name=sda1 ", "reads"));
    subject_close(&s);
    fixture_release(&f);
}

static void averages_are_over_the_time_between_two_ticks(void **state)
{
    (void)state;
    struct diskio_counters a = {.value = {10, 0, 0, 100, 20, 0, 0, 200, 0, 1000}};
    struct diskio_counters b = {.value = {12, 0, 0, 105, 21, 0, 0, 205, 0, 1500}};
    struct diskio_averages v;
    assert_true(diskio_average(&a, &b, 1000, &v) && v.has_requests);
    assert_int_equal(v.await, 333);   // 10 ms of 3 requests
    assert_int_equal(v.svctm, 16667); // 500 ms of 3 requests
    assert_int_equal(v.util, 5000);
    assert_true(diskio_average(&a, &b, 400, &v) && v.util == 10000);
    assert_true(diskio_average(&a, &a, 1000, &v) && !v.has_requests && v.util == 0);
    assert_false(diskio_average(&b, &a, 1000, &v));
    assert_false(diskio_average(&a, &b, 0, &v));
    b.value[DISKIO_READ_TIME] = UINT64_MAX;
    assert_true(diskio_average(&a, &b, 1000, &v));
    b.value[DISKIO_WRITE_TIME] = UINT64_MAX;
    assert_false(diskio_average(&a, &b, 1000, &v));
}

static void averages_are_reported_on_demand_for_devices_seen_before(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_diskio);
    struct diskio_conf *conf = s.conf;
    assert_false(conf->averages);
    conf->averages = true;
    fixture_write(&f, "proc/diskstats",
                  "8 0 sda 1 0 0 4 0 0 0 0 0 10 11\n8 1 sdb 9 2 3 4 5 6 7 8 9 10 11\n");
    assert_int_equal(subject_sample(&f, &s, 1000), 0);
    assert_null(fixture_value(&f, "diskio,name=sda ", "io_util"));
    fixture_write(&f, "proc/diskstats",
                  "8 2 sdc 1 2 3 4 5 6 7 8 9 10 11\n8 1 sdb 9 2 3 4 5 6 7 8 9 10 11\n"
                  "8 0 sda 5 0 0 8 0 0 0 0 0 110 11\n");
    fixture_clear(&f);
    assert_int_equal(subject_sample(&f, &s, 11000), 0);
    assert_string_equal(fixture_value(&f, "diskio,name=sda ", "io_await"), "1.00");
    assert_string_equal(fixture_value(&f, "diskio,name=sda ", "io_svctm"), "25.00");
    assert_string_equal(fixture_value(&f, "diskio,name=sda ", "io_util"), "1.00");
    assert_string_equal(fixture_value(&f, "diskio,name=sdb ", "io_util"), "0.00");
    assert_null(fixture_value(&f, "diskio,name=sdb ", "io_await"));
    assert_null(fixture_value(&f, "diskio,name=sdc ", "io_util"));
    subject_close(&s);
    fixture_release(&f);
}

static void a_thousand_devices_are_bounded_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct rn_buf text;
    fixture_init_tree(&f);
    rn_buf_init(&text, 1 << 20);
    for (int i = 0; i < 1000; i++)
        rn_buf_printf(&text,
                      "8 %d d%d 18446744073709551615 2 18446744073709551615 4 5 6 7 8 9 10 11\n", i,
                      i);
    fixture_write_bytes(&f, "proc/diskstats", text.data, text.len);
    rn_buf_release(&text);
    struct subject s = subject_open(&f, &collect_diskio);
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, DISKIO_MAX_DEVICES);
    assert_int_equal(f.left_out, 1000 - DISKIO_MAX_DEVICES);
    assert_string_equal(fixture_value(&f, "diskio,name=d0 ", "reads"), "9223372036854775807i");
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_old_and_new_kernels_are_read),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(the_option_chooses_devices),
        cmocka_unit_test(averages_are_over_the_time_between_two_ticks),
        cmocka_unit_test(averages_are_reported_on_demand_for_devices_seen_before),
        cmocka_unit_test(a_thousand_devices_are_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
