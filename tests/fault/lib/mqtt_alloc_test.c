// Every single allocation of the MQTT client fails once: the call says so, what was there stays
// usable, and nothing leaks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/faults.h"
#include <runnel/loop.h>
#include <runnel/mqtt.h>

static const char *const addresses[] = {"mqtt://127.0.0.1:1", "mqtts://localhost"};

static struct rn_mqtt_conf full_conf(void)
{
    return (struct rn_mqtt_conf){
        .addresses = addresses,
        .naddresses = 2,
        .client_id = "4f/dev1",
        .username = "4f/dev1",
        .password = "secret",
        .ca_file = "ca.pem",
        .cert_file = "cert.pem",
        .key_file = "key.pem",
        .proxy = "proxy:3128",
        .keepalive_ms = 60000,
        .connect_timeout_ms = 30000,
        .backoff_min_ms = 1000,
        .backoff_max_ms = 300000,
        .max_inflight = 16,
        .max_queue_items = 100,
        .max_queue_bytes = 100000,
    };
}

static int make_client(struct rn_loop *loop)
{
    struct rn_err err = {0};
    struct rn_mqtt *mqtt = NULL;
    struct rn_mqtt_conf conf = full_conf();
    int rc = rn_mqtt_new(&mqtt, loop, &conf, &(struct rn_mqtt_handler){0}, &err);
    if (!rc)
        rc = rn_mqtt_subscribe(mqtt, "a/b", 1, &err);
    if (!rc)
        rc = rn_mqtt_reconfigure(mqtt, &conf, &err);
    assert_true(rc == RN_OK || err.code == rc);
    rn_mqtt_free(mqtt);
    return rc;
}

static void survives_every_single_allocation_failure(void **state)
{
    (void)state;
    struct rn_err err;
    for (long n = 1;; n++) {
        struct rn_loop *loop;
        assert_int_equal(rn_loop_new(&loop, &err), RN_OK);
        faults_arm(FAULT_ALLOC, n, 0);
        int rc = make_client(loop);
        bool fired = faults_disarm();
        rn_loop_free(loop);
        if (!fired) {
            assert_int_equal(rc, RN_OK);
            assert_true(n > 20);
            return;
        }
        if (rc != RN_ENOMEM)
            fail_msg("allocation %ld failed and the result was %d", n, rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_every_single_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
