// Broker addresses as users write them: mqtt://host[:port], mqtts://, ws://host[:port][/path],
// wss://. host is a name, an IPv4 address or an IPv6 address in brackets. Pure.
#ifndef RUNNEL_LIB_MQTT_ADDRESS_H
#define RUNNEL_LIB_MQTT_ADDRESS_H

#include <runnel/err.h>
#include <stdbool.h>

enum { RN_MQTT_URI_MAX = 512 };

struct rn_mqtt_address {
    char uri[RN_MQTT_URI_MAX]; // as the client library takes it, the port always given
    bool tls;
};

// Ports left out are 1883, 8883, 80 and 443. RN_EINVAL with words for the user.
RN_MUST_CHECK int rn_mqtt_address_parse(struct rn_mqtt_address *out, const char *text,
                                        struct rn_err *err);

#endif
