// `check --connect`: one attempt to reach the broker and to subscribe, with words for the user.
#ifndef BRIDGE_PROBE_H
#define BRIDGE_PROBE_H

#include "bridge/config.h"

// Waits at most the configured connect timeout. RN_OK: *err holds the address that answered.
RN_MUST_CHECK int probe_broker(const struct config *config, struct rn_err *err);
// The client configuration of the settings; addresses holds RN_OPT_LIST_MAX entries. The seed and
// the client id are the caller's.
struct rn_mqtt_conf;
void probe_mqtt_conf(const struct bridge_settings *settings, const char **addresses,
                     struct rn_mqtt_conf *out);

#endif
