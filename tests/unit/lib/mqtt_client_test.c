// The MQTT client without a broker: what it refuses, and that it always ends. With a broker:
// tests/e2e/test_mqtt.py.
#include <runnel/loop.h>
#include <runnel/mqtt.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct rn_loop *loop;
    struct rn_mqtt *mqtt;
    int downs, stops;
    char reason[240];
};

static const char *const nobody[] = {"mqtt://127.0.0.1:1"}; // tcpmux: nobody listens there

static struct rn_mqtt_conf conf_for_tests(void)
{
    return (struct rn_mqtt_conf){
        .addresses = nobody,
        .naddresses = 1,
        .client_id = "test",
        .keepalive_ms = 1000,
        .connect_timeout_ms = 5000,
        .backoff_min_ms = 1,
        .backoff_max_ms = 1,
        .max_inflight = 4,
        .max_queue_items = 10,
        .max_queue_bytes = 10000,
    };
}

static void on_stopped(void *arg)
{
    struct fixture *f = arg;
    f->stops++;
    rn_mqtt_free(f->mqtt);
    f->mqtt = NULL;
    rn_loop_stop(f->loop);
}

static void on_down(void *arg, bool was_connected, const char *address, const char *reason,
                    int64_t retry_ms)
{
    struct fixture *f = arg;
    assert_false(was_connected);
    assert_string_equal(address, nobody[0]);
    assert_in_range(retry_ms, 0, 1);
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    if (++f->downs == 3)
        rn_mqtt_stop(f->mqtt, 1000, on_stopped, f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct rn_err err;
    struct rn_mqtt_conf conf = conf_for_tests();
    struct rn_mqtt_handler handler = {.arg = f, .disconnected = on_down};
    if (!f || rn_loop_new(&f->loop, &err) || rn_mqtt_new(&f->mqtt, f->loop, &conf, &handler, &err))
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rn_mqtt_free(f->mqtt);
    rn_loop_free(f->loop);
    free(f);
    return 0;
}

static void publishes_nothing_while_it_is_not_connected(void **state)
{
    struct fixture *f = *state;
    assert_false(rn_mqtt_connected(f->mqtt));
    assert_int_equal(rn_mqtt_publish(f->mqtt, "a", rn_span_text("x"), 1, false, 1), RN_ESTATE);
}

static void refuses_what_cannot_be_subscribed_to(void **state)
{
    struct fixture *f = *state;
    struct rn_err err;
    assert_int_equal(rn_mqtt_subscribe(f->mqtt, "", 0, &err), RN_EINVAL);
    assert_int_equal(rn_mqtt_subscribe(f->mqtt, "a", 2, &err), RN_EINVAL);
}

static void has_a_limit_of_subscriptions_and_knows_those_it_has(void **state)
{
    struct fixture *f = *state;
    struct rn_err err;
    for (int i = 0; i < 1024; i++) {
        char filter[32];
        snprintf(filter, sizeof filter, "a/%d", i);
        assert_int_equal(rn_mqtt_subscribe(f->mqtt, filter, 0, &err), RN_OK);
    }
    assert_int_equal(rn_mqtt_subscribe(f->mqtt, "one/more", 0, &err), RN_ELIMIT);
    assert_int_equal(rn_mqtt_subscribe(f->mqtt, "a/7", 1, &err), RN_OK);
}

static void keeps_its_settings_when_new_ones_are_refused(void **state)
{
    struct fixture *f = *state;
    struct rn_err err;
    struct rn_mqtt_conf conf = conf_for_tests();
    conf.keepalive_ms = 0;
    assert_int_equal(rn_mqtt_reconfigure(f->mqtt, &conf, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "keepalive"));
    rn_mqtt_start(f->mqtt);
    rn_loop_run(f->loop);
    assert_int_equal(f->stops, 1);
}

static void stops_without_ever_having_started(void **state)
{
    struct fixture *f = *state;
    rn_mqtt_stop(f->mqtt, 1000, on_stopped, f);
    rn_loop_run(f->loop);
    assert_int_equal(f->stops, 1);
    assert_int_equal(f->downs, 0);
}

static void tries_again_until_it_is_stopped_from_its_own_callback(void **state)
{
    struct fixture *f = *state;
    rn_mqtt_start(f->mqtt);
    rn_loop_run(f->loop);
    assert_int_equal(f->downs, 3);
    assert_int_equal(f->stops, 1);
    assert_non_null(strstr(f->reason, "no connection"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(publishes_nothing_while_it_is_not_connected, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(refuses_what_cannot_be_subscribed_to, setup, teardown),
        cmocka_unit_test_setup_teardown(has_a_limit_of_subscriptions_and_knows_those_it_has, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(keeps_its_settings_when_new_ones_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stops_without_ever_having_started, setup, teardown),
        cmocka_unit_test_setup_teardown(tries_again_until_it_is_stopped_from_its_own_callback,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
