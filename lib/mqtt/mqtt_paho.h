// One MQTT connection by Eclipse Paho, the transport under mqtt_io.c: opens and closes it, sends,
// and tells what comes of it through the mailbox. The loop's thread.
#ifndef RUNNEL_LIB_MQTT_MQTT_PAHO_H
#define RUNNEL_LIB_MQTT_MQTT_PAHO_H

#include "lib/mqtt/mailbox_io.h"
#include "lib/mqtt/settings.h"

struct rn_paho;
// max_publishes: so many may be on their way. The box outlives it.
RN_MUST_CHECK int rn_paho_new(struct rn_paho **out, const struct rn_mqtt_settings *settings,
                              uint32_t max_publishes, struct rn_mqtt_mailbox *box,
                              struct rn_err *err);
void rn_paho_free(struct rn_paho *paho); // closes; accepts NULL

// Begins an attempt with the address of that index: up or failed will be posted. The will is asked
// of the handler. Only after rn_paho_close, or at first.
void rn_paho_open(struct rn_paho *paho, const struct rn_mqtt_settings *settings, uint32_t address,
                  const struct rn_mqtt_handler *handler);
// Nothing is posted about this attempt any more.
void rn_paho_close(struct rn_paho *paho);
bool rn_paho_connected(const struct rn_paho *paho);

// While it is up. The notice is posted with 0, with a reason code from 0x80 on, or with -1: not
// sent. Publish: RN_ESTATE not connected, RN_EAGAIN full, RN_EINVAL refused.
RN_MUST_CHECK int rn_paho_publish(struct rn_paho *paho, const char *topic, struct rn_span payload,
                                  int qos, bool retained, struct rn_mqtt_notice *notice);
// stored_only: see RN_MQTT_STORED_ONLY. False: not a valid filter. A lost connection is told as
// such only.
bool rn_paho_subscribe(struct rn_paho *paho, const char *filter, int qos, bool stored_only,
                       struct rn_mqtt_notice *notice);

#endif
