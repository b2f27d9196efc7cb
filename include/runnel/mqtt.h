// MQTT 5 connection: a pure state machine decides when to connect where (mqtt_machine), one file
// talks to Paho (mqtt_paho.c), and this interface joins them on a loop. All callbacks run on the
// loop's thread; Paho's threads only post to it through bounded queues.
//
// One rn_mqtt is one client. It reconnects by itself until it is stopped: full-jitter backoff over
// several addresses, a new will for each attempt, TLS and mutual TLS, WebSockets, HTTP proxy. It is
// MQTT 5 with clean start and without a session: what must survive belongs to the caller.
//
// http_proxy and https_proxy are removed from the process's environment unless a proxy is
// configured: Paho would use them, and TLS connects through them never succeed.
#ifndef RUNNEL_MQTT_H
#define RUNNEL_MQTT_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/loop.h>
#include <stdbool.h>
#include <stdint.h>

struct rn_mqtt;

struct rn_mqtt_conf {
    const char *const *addresses; // "mqtt://host:port", "mqtts://", "ws://", "wss://" with a path
    uint32_t naddresses;          // tried in turn
    const char *client_id;
    const char *username, *password;            // NULL: none
    const char *ca_file, *cert_file, *key_file; // PEM; NULL: none
    bool insecure;                          // do not check the server's name (tests, first steps)
    const char *proxy;                      // "host:port" of an HTTP CONNECT proxy, or NULL
    int64_t keepalive_ms;                   // 1 s .. 600 s
    int64_t connect_timeout_ms;             // of one attempt; less than 2 s counts as 2 s
    int64_t backoff_min_ms, backoff_max_ms; // full jitter: U(0, min(max, min * 2^failures))
    int64_t first_reconnect_ms;             // U(0, this) after a healthy session
    uint64_t seed;                          // of the jitter
    uint32_t max_inflight; // QoS 1 of ours; stays below the broker's Receive Maximum
    // Incoming messages not yet taken by the loop, and their bytes: what does not fit is dropped
    // and counted. They also bound what is published and not yet sent (there 64 to 4096 items).
    uint32_t max_queue_items;
    uint32_t max_queue_bytes;
};

struct rn_mqtt_message {
    const char *topic; // terminated
    size_t topic_len;
    struct rn_span payload;
    int qos;
    bool retained;
};

// Callbacks may call everything below except rn_mqtt_free (done() of rn_mqtt_stop may).
struct rn_mqtt_handler {
    void *arg;
    // Called before each attempt: writes the will (topic terminated, payload, at most 16 kB); it is
    // registered with QoS 1, retained. False: no will.
    bool (*will)(void *arg, char topic[128], struct rn_buf *payload);
    // Connected; subscriptions made by rn_mqtt_subscribe are already sent again.
    void (*connected)(void *arg, const char *address, uint32_t receive_maximum);
    // Connection lost or attempt failed; called after published() for all that was open. reason is
    // a sentence for the log. was_connected tells which; retry_ms is when the next attempt is made.
    void (*disconnected)(void *arg, bool was_connected, const char *address, const char *reason,
                         int64_t retry_ms);
    void (*message)(void *arg, const struct rn_mqtt_message *message);
    // A QoS 1 publish was acknowledged (code 0), refused by the broker (code >= 0x80) or lost with
    // its connection (code < 0). For QoS 0: handed to the socket. token as given to publish.
    void (*published)(void *arg, uint64_t token, int code);
    // The broker answered a subscription: code = granted QoS or >= 0x80. May be NULL.
    void (*subscribed)(void *arg, const char *filter, int code);
};

RN_MUST_CHECK int rn_mqtt_new(struct rn_mqtt **out, struct rn_loop *loop,
                              const struct rn_mqtt_conf *conf,
                              const struct rn_mqtt_handler *handler, struct rn_err *err);
// RN_OK if rn_mqtt_new and rn_mqtt_reconfigure would take it; "broker address ..." names a wrong
// one.
RN_MUST_CHECK int rn_mqtt_conf_check(const struct rn_mqtt_conf *conf, struct rn_err *err);
// Copies conf anew (addresses, credentials, keepalive): takes effect with the next connect.
RN_MUST_CHECK int rn_mqtt_reconfigure(struct rn_mqtt *mqtt, const struct rn_mqtt_conf *conf,
                                      struct rn_err *err);
void rn_mqtt_start(struct rn_mqtt *mqtt);
// Drops the connection and connects again (new address, silent link). reason goes to the handler.
void rn_mqtt_reconnect(struct rn_mqtt *mqtt, const char *reason);
// Remembered and sent again on every connect. qos 0 or 1. Retain As Published and No Local are set:
// the retained flag is the publisher's, and what this client publishes does not come back to it.
// With RN_MQTT_STORED_ONLY or-ed to qos the retained flag means that the message was stored by the
// broker before the subscription: what is published now comes without it.
#define RN_MQTT_STORED_ONLY 0x10
RN_MUST_CHECK int rn_mqtt_subscribe(struct rn_mqtt *mqtt, const char *filter, int qos,
                                    struct rn_err *err);
// RN_EAGAIN: the in-flight window or Paho's buffer is full; RN_ESTATE: not connected. The payload
// is copied. published() is called for every publish that returned RN_OK, with this token.
RN_MUST_CHECK int rn_mqtt_publish(struct rn_mqtt *mqtt, const char *topic, struct rn_span payload,
                                  int qos, bool retained, uint64_t token);
bool rn_mqtt_connected(const struct rn_mqtt *mqtt);
// Sends DISCONNECT (the broker drops the will) after what was published has been handed over,
// waits at most timeout_ms, then calls done (may be NULL) on the loop. No reconnect afterwards.
void rn_mqtt_stop(struct rn_mqtt *mqtt, int64_t timeout_ms, rn_loop_cb *done, void *arg);
// Also without stop: closes as it is, which sends DISCONNECT if the connection takes it. The last
// one of a process ends Paho's threads, which may take a second.
void rn_mqtt_free(struct rn_mqtt *mqtt);

struct rn_mqtt_stats {
    uint64_t connects, failures, messages_in, bytes_in, messages_out, bytes_out;
    uint64_t queue_refused; // incoming messages dropped because the loop did not keep up
};
void rn_mqtt_get_stats(const struct rn_mqtt *mqtt, struct rn_mqtt_stats *out);

#endif
