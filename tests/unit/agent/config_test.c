// The agent's configuration: the table itself, names, periods, origins.
#include "agent/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct config *make(void)
{
    struct config *config = NULL;
    struct rn_err err = {.text = ""};
    if (config_new(&config, collect_table, collect_table_count, true, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

// Loads nothing but these sets; returns the code of what failed first.
static int load(struct config *config, const char *const *sets, size_t count, struct rn_err *err)
{
    int rc = config_load(config, "/dev/null", sets, count, err);
    return rc < 0 ? rc : config_finish(config, err);
}

static void all_defaults_are_acceptable(void **state)
{
    (void)state;
    struct config *config = make();
    struct rn_err err = {.text = ""};
    const char *const sets[] = {"device=d"};
    if (load(config, sets, 1, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(config->settings.step_ms, 10000);
    assert_int_equal(config->settings.buffer_max_bytes, 64 << 20);
    assert_string_equal(config->settings.mqtt_addresses.item[0], "mqtt://127.0.0.1:1883");
    for (size_t i = 0; i < config->ncollectors; i++)
        assert_int_equal(config->collectors[i].period_ms, 0);
    config_free(config);
}

static void keys_are_unique_and_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_row_count; i++) {
        assert_true(strlen(config_rows[i].help) > 5);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(config_rows[i].key, config_rows[j].key);
    }
}

static void paths_keys_and_trust_are_not_remote_settable(void **state)
{
    (void)state;
    static const char *const local[] = {"data",          "mqtt.ca_file",  "mqtt.cert_file",
                                        "mqtt.key_file", "mqtt.insecure", "config_key_file",
                                        "procfs",        "sysfs",         "config.allow_unsigned",
                                        "mqtt.password", "device",        "rootfs"};
    struct config *config = make();
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        struct rn_err err;
        assert_int_equal(rn_conf_set(&config->conf, local[i], "x", "remote r1", true, &err),
                         RN_EACCESS);
    }
    assert_int_equal(rn_conf_set(&config->conf, "step", "1s", "remote r1", true, NULL), RN_OK);
    config_free(config);
}

static void encodings_are_a_list_of_0_1_and_2(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        unsigned allowed; // 0: refused
    } cases[] = {
        {"batch.encodings=[0]", 1},       {"batch.encodings=[2]", 4},
        {"batch.encodings=[1, 0, 2]", 7}, {"batch.encodings=[3]", 0},
        {"batch.encodings=[]", 0},        {"batch.encodings=[0, x]", 0},
        {"batch.encodings=[0, 01]", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *config = make();
        struct rn_err err = {.text = ""};
        const char *const sets[] = {"device=d", cases[i].set};
        int rc = load(config, sets, 2, &err);
        assert_int_equal(rc >= 0, cases[i].allowed > 0);
        if (rc >= 0)
            assert_int_equal(config_encodings(&config->settings), cases[i].allowed);
        else
            assert_non_null(strstr(err.text, "batch.encodings"));
        config_free(config);
    }
}

static void a_period_that_is_no_multiple_of_the_step_is_refused_by_name(void **state)
{
    (void)state;
    struct config *config = make();
    struct rn_err err = {.text = ""};
    const char *const sets[] = {"device=d", "collect.cpu.period=15s"};
    assert_true(load(config, sets, 2, &err) < 0);
    assert_non_null(strstr(err.text, "collect.cpu.period"));
    config_free(config);
}

static void a_device_name_outside_the_rules_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"device=Upper", "device=a b", "device=-x", "device=a/b"};
    for (int i = 0; i < 4; i++) {
        struct config *config = make();
        struct rn_err err = {.text = ""};
        assert_true(load(config, &bad[i], 1, &err) < 0);
        assert_non_null(strstr(err.text, "device"));
        config_free(config);
    }
}

static void without_a_name_the_host_gives_a_valid_one(void **state)
{
    (void)state;
    struct config *config = make();
    struct rn_err err = {.text = ""};
    if (load(config, NULL, 0, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(strlen(config->settings.device) > 0);
    config_free(config);
}

static void the_origin_of_a_value_is_told(void **state)
{
    (void)state;
    struct config *config = make();
    struct rn_err err = {.text = ""};
    struct rn_buf out;
    const char *const sets[] = {"device=d", "step=5s"};
    rn_buf_init(&out, 1 << 20);
    assert_int_equal(load(config, sets, 2, &err), RN_OK);
    config_print(config, true, &out);
    assert_non_null(strstr(rn_buf_cstr(&out), "step: 5s  # --set\n"));
    assert_non_null(strstr(rn_buf_cstr(&out), "topic_prefix: rn  # default\n"));
    rn_buf_release(&out);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_defaults_are_acceptable),
        cmocka_unit_test(keys_are_unique_and_explained),
        cmocka_unit_test(paths_keys_and_trust_are_not_remote_settable),
        cmocka_unit_test(encodings_are_a_list_of_0_1_and_2),
        cmocka_unit_test(a_period_that_is_no_multiple_of_the_step_is_refused_by_name),
        cmocka_unit_test(a_device_name_outside_the_rules_is_refused),
        cmocka_unit_test(without_a_name_the_host_gives_a_valid_one),
        cmocka_unit_test(the_origin_of_a_value_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
