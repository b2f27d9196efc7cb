// Broker addresses and the checked copy of the settings.
#include "lib/mqtt/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void accepts(const char *text, const char *uri, bool tls)
{
    struct rn_mqtt_address address;
    struct rn_err err;
    if (rn_mqtt_address_parse(&address, text, &err))
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(address.uri, uri);
    assert_int_equal(address.tls, tls);
}

static void refuses(const char *text)
{
    struct rn_mqtt_address address;
    struct rn_err err;
    assert_int_equal(rn_mqtt_address_parse(&address, text, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "address"));
}

static void takes_every_scheme_and_fills_in_the_port(void **state)
{
    (void)state;
    accepts("mqtt://broker", "tcp://broker:1883", false);
    accepts("mqtt://127.0.0.1:2000", "tcp://127.0.0.1:2000", false);
    accepts("mqtt://127.0.0.1:2000/", "tcp://127.0.0.1:2000", false);
    accepts("mqtts://a-b.example", "ssl://a-b.example:8883", true);
    accepts("ws://broker", "ws://broker:80", false);
    accepts("ws://broker:8080/mqtt", "ws://broker:8080/mqtt", false);
    accepts("wss://broker/a/b?c=d", "wss://broker:443/a/b?c=d", true);
    accepts("mqtts://[::1]:65535", "ssl://[::1]:65535", true);
    accepts("mqtt://[fe80::1%eth0]", "tcp://[fe80::1%eth0]:1883", false);
}

static void refuses_what_is_not_an_address(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "broker",
        "tcp://broker",
        "mqtt://",
        "mqtt://:1",
        "mqtt://b:",
        "mqtt://b:0",
        "mqtt://b:65536",
        "mqtt://b:1x",
        "mqtt://b:99999999999999",
        "mqtt://b/path",
        "mqtt://b c",
        "mqtt://[]",
        "mqtt://[::1",
        "ws://b/a:b",
        "ws://b/a b",
        "ws://b/\r\n",
        "mqtt://u@b",
        "MQTT://b",
        "mqtt://b:1:2",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(bad[i]);
    char lengthy[2000] = "mqtt://";
    memset(lengthy + 7, 'a', sizeof lengthy - 8);
    lengthy[sizeof lengthy - 1] = '\0';
    refuses(lengthy);
}

static struct rn_mqtt_conf good_conf(void)
{
    static const char *const addresses[] = {"mqtt://a", "mqtts://b"};
    return (struct rn_mqtt_conf){
        .addresses = addresses,
        .naddresses = 2,
        .client_id = "c",
        .username = "",
        .keepalive_ms = 60000,
        .connect_timeout_ms = 30000,
        .backoff_min_ms = 1000,
        .backoff_max_ms = 300000,
        .first_reconnect_ms = 5000,
        .max_inflight = 16,
        .max_queue_items = 100,
        .max_queue_bytes = 1000000,
    };
}

static void copies_settings_and_leaves_empty_texts_out(void **state)
{
    (void)state;
    struct rn_mqtt_conf conf = good_conf();
    struct rn_mqtt_settings settings;
    struct rn_err err;
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_OK);
    assert_string_equal(settings.shown[1], "mqtts://b");
    assert_string_equal(settings.addresses[1].uri, "ssl://b:8883");
    assert_null(settings.username);
    assert_int_equal(rn_mqtt_settings_machine(&settings).healthy_ms, 10000);
    rn_mqtt_settings_release(&settings);
    rn_mqtt_settings_release(&settings);
}

static void refuses_settings_out_of_range_with_their_name(void **state)
{
    (void)state;
    struct rn_mqtt_settings settings;
    struct rn_err err;
    struct rn_mqtt_conf conf = good_conf();
    conf.keepalive_ms = 999;
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "keepalive"));
    conf = good_conf();
    conf.backoff_max_ms = 10;
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "backoff_max"));
    conf = good_conf();
    conf.naddresses = 0;
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_EINVAL);
    conf = good_conf();
    conf.client_id = NULL;
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_EINVAL);
    conf = good_conf();
    conf.proxy = "http://proxy:3128";
    assert_int_equal(rn_mqtt_settings_copy(&settings, &conf, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "host:port"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_scheme_and_fills_in_the_port),
        cmocka_unit_test(refuses_what_is_not_an_address),
        cmocka_unit_test(copies_settings_and_leaves_empty_texts_out),
        cmocka_unit_test(refuses_settings_out_of_range_with_their_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
