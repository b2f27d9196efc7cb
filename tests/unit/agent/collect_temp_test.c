// agent/collect/temp.h
#include "collect_fixture.h"

#include "agent/collect/temp.h"

static void only_inputs_are_sensors(void **state)
{
    (void)state;
    int number = -1;
    assert_true(temp_parse_input("temp12_input", &number) && number == 12);
    static const char *const bad[] = {
        "",           "temp",          "temp_input",  "temp1",
        "temp1_crit", "temp1_input_x", "tempx_input", "temp99999_input",
        "in1_input",  "temp-1_input"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(temp_parse_input(bad[i], &number));
}

static void sensors_are_named_by_driver_and_label(void **state)
{
    (void)state;
    char out[32];
    temp_sensor_name(out, sizeof out, "coretemp", "Package id 0");
    assert_string_equal(out, "coretemp_package_id_0");
    temp_sensor_name(out, sizeof out, "ACPI TZ", "");
    assert_string_equal(out, "ACPI TZ");
    temp_sensor_name(out, sizeof out, "a-driver-with-a-long-name", "And A Label");
    assert_string_equal(out, "a-driver-with-a-long-name_and_a");
    temp_sensor_name(out, sizeof out, "bad\nname", "");
    assert_string_equal(out, "bad_name");
}

static void zones_are_read_where_there_is_no_sensor(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_temp);
    fixture_write(&f, "sys/class/thermal/thermal_zone0/type", "acpitz\n");
    fixture_write(&f, "sys/class/thermal/thermal_zone0/temp", "-1500\n");
    fixture_write(&f, "sys/class/thermal/thermal_zone1/type", "acpitz\n");
    fixture_write(&f, "sys/class/thermal/thermal_zone1/temp", "27800\n");
    fixture_write(&f, "sys/class/thermal/thermal_zone2/type", "x86_pkg_temp\n");
    fixture_write(&f, "sys/class/thermal/thermal_zone2/temp", "99999999999999\n");
    fixture_write(&f, "sys/class/thermal/cooling_device0/type", "Fan\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_string_equal(f.out, "temp,device=thermal_zone0,sensor=acpitz temp=-1.500\n"
                               "temp,device=thermal_zone1,sensor=acpitz temp=27.800\n");
    subject_close(&s);
    fixture_release(&f);
}

static void new_sensors_are_found_after_five_minutes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_temp);
    assert_int_equal(subject_sample(&f, &s, 1000), 0);
    fixture_write(&f, "sys/class/hwmon/hwmon0/name", "chip\n");
    fixture_write(&f, "sys/class/hwmon/hwmon0/temp1_input", "40000\n");
    fixture_write(&f, "sys/class/hwmon/hwmon0/temp2_input", "41000\n");
    assert_int_equal(subject_sample(&f, &s, 300999), 0);
    assert_int_equal(f.points, 0);
    assert_int_equal(subject_sample(&f, &s, 301000), 0);
    assert_string_equal(f.out, "temp,sensor=chip temp=40.000\n"); // the second has the same name
    assert_int_equal(f.left_out, 1);
    subject_close(&s);
    fixture_release(&f);
}

static void a_hundred_sensors_are_bounded_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_temp);
    fixture_write(&f, "sys/class/hwmon/hwmon0/name", "chip\n");
    for (int i = 0; i < 100; i++) {
        char path[80], label[16];
        snprintf(path, sizeof path, "sys/class/hwmon/hwmon0/temp%d_input", i);
        fixture_write(&f, path, "1000\n");
        snprintf(path, sizeof path, "sys/class/hwmon/hwmon0/temp%d_label", i);
        snprintf(label, sizeof label, "L %d", i);
        fixture_write(&f, path, label);
    }
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, TEMP_MAX_SENSORS);
    assert_int_equal(f.left_out, 100 - TEMP_MAX_SENSORS);
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_inputs_are_sensors),
        cmocka_unit_test(sensors_are_named_by_driver_and_label),
        cmocka_unit_test(zones_are_read_where_there_is_no_sensor),
        cmocka_unit_test(new_sensors_are_found_after_five_minutes),
        cmocka_unit_test(a_hundred_sensors_are_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
