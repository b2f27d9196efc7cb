// An owned, checked copy of struct rn_mqtt_conf, its addresses already in the client library's
// form.
#ifndef RUNNEL_LIB_MQTT_SETTINGS_H
#define RUNNEL_LIB_MQTT_SETTINGS_H

#include "lib/mqtt/address.h"
#include "lib/mqtt/machine.h"

#include <runnel/err.h>
#include <runnel/mqtt.h>

enum { RN_MQTT_ADDRESSES_MAX = 16 };

struct rn_mqtt_settings {
    struct rn_mqtt_address *addresses; // naddresses of them
    char **shown;                      // the same as the user wrote them
    uint32_t naddresses;
    char *client_id, *username, *password, *ca_file, *cert_file, *key_file, *proxy;
    bool insecure;
    int64_t keepalive_ms, connect_timeout_ms;
    int64_t backoff_min_ms, backoff_max_ms, first_reconnect_ms;
    uint64_t seed;
    uint32_t max_inflight, max_queue_items, max_queue_bytes;
};

// On failure *out is empty. Release accepts an empty one.
RN_MUST_CHECK int rn_mqtt_settings_copy(struct rn_mqtt_settings *out,
                                        const struct rn_mqtt_conf *conf, struct rn_err *err);
void rn_mqtt_settings_release(struct rn_mqtt_settings *settings);
struct rn_mqtt_machine_conf rn_mqtt_settings_machine(const struct rn_mqtt_settings *settings);

#endif
