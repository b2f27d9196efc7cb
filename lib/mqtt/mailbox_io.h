// What the threads of the client library tell the loop: notices, each of which has its place from
// the start, so that none is lost nor told twice, and received messages, copied into a bounded
// queue. Any thread posts and never waits; the loop's thread takes out and is woken by the posts.
#ifndef RUNNEL_LIB_MQTT_MAILBOX_IO_H
#define RUNNEL_LIB_MQTT_MAILBOX_IO_H

#include <runnel/err.h>
#include <runnel/queue.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RN_MQTT_REASON_MAX = 200 };

enum rn_mqtt_notice_kind {
    RN_MQTT_NOTICE_UP,
    RN_MQTT_NOTICE_FAILED,
    RN_MQTT_NOTICE_LOST,
    RN_MQTT_NOTICE_PUBLISHED,
    RN_MQTT_NOTICE_SUBSCRIBED,
    RN_MQTT_NOTICES,
};

// It is in the queue at most once. `code` is written by whoever turned `posted` to true, before the
// notice is queued, and read by the loop's thread after it came out.
struct rn_mqtt_notice {
    struct rn_mqtt_mailbox *box;
    enum rn_mqtt_notice_kind kind;
    atomic_bool posted;
    int code;
};

struct rn_mqtt_incoming {
    size_t topic_len, payload_len;
    int qos;
    bool retained;
    char bytes[]; // topic, NUL, payload
};

struct rn_mqtt_mailbox {
    struct rn_queue *notices;  // embedded in whatever they are about
    struct rn_queue *messages; // struct rn_mqtt_incoming, owned
    struct rn_mqtt_notice up, failed, lost;
    uint32_t receive_maximum;                                            // of up
    char failed_text[RN_MQTT_REASON_MAX], lost_text[RN_MQTT_REASON_MAX]; // of failed, lost
    atomic_uint_fast64_t dropped; // messages that did not fit
};

// Room for so many notices beside its own; max_items and max_bytes of messages. Release accepts a
// zeroed one.
RN_MUST_CHECK int rn_mqtt_mailbox_init(struct rn_mqtt_mailbox *box, uint32_t notices,
                                       uint32_t max_items, uint32_t max_bytes, struct rn_wake *wake,
                                       struct rn_err *err);
void rn_mqtt_mailbox_release(struct rn_mqtt_mailbox *box);
void rn_mqtt_notice_init(struct rn_mqtt_notice *notice, struct rn_mqtt_mailbox *box,
                         enum rn_mqtt_notice_kind kind);

// ---- any thread --------------------------------------------------------------------------------
void rn_mqtt_post(struct rn_mqtt_notice *notice, int code);
void rn_mqtt_post_up(struct rn_mqtt_mailbox *box, uint32_t receive_maximum);
void rn_mqtt_post_failed(struct rn_mqtt_mailbox *box, const char *format, ...) RN_PRINTF(2, 3);
void rn_mqtt_post_lost(struct rn_mqtt_mailbox *box, const char *format, ...) RN_PRINTF(2, 3);
// Copies it; without room it is dropped and counted.
void rn_mqtt_post_message(struct rn_mqtt_mailbox *box, const char *topic, size_t topic_len,
                          const void *payload, size_t payload_len, int qos, bool retained);

// ---- the loop's thread; NULL: there is none ----------------------------------------------------
struct rn_mqtt_notice *rn_mqtt_take_notice(struct rn_mqtt_mailbox *box);
struct rn_mqtt_incoming *rn_mqtt_take_message(struct rn_mqtt_mailbox *box); // free() it

#endif
