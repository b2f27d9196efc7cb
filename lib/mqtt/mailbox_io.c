// See mailbox_io.h.
#include "lib/mqtt/mailbox_io.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rn_mqtt_mailbox_init(struct rn_mqtt_mailbox *box, uint32_t notices, uint32_t max_items,
                         uint32_t max_bytes, struct rn_wake *wake, struct rn_err *err)
{
    rn_mqtt_notice_init(&box->up, box, RN_MQTT_NOTICE_UP);
    rn_mqtt_notice_init(&box->failed, box, RN_MQTT_NOTICE_FAILED);
    rn_mqtt_notice_init(&box->lost, box, RN_MQTT_NOTICE_LOST);
    atomic_init(&box->dropped, 0);
    int rc = rn_queue_new(&box->notices, notices + 3, SIZE_MAX, wake, NULL, err);
    return rc ? rc : rn_queue_new(&box->messages, max_items, max_bytes, wake, free, err);
}

void rn_mqtt_mailbox_release(struct rn_mqtt_mailbox *box)
{
    rn_queue_free(box->notices);
    rn_queue_free(box->messages);
}

void rn_mqtt_notice_init(struct rn_mqtt_notice *notice, struct rn_mqtt_mailbox *box,
                         enum rn_mqtt_notice_kind kind)
{
    notice->box = box;
    notice->kind = kind;
    notice->code = 0;
    atomic_init(&notice->posted, false);
}

// ---- any thread --------------------------------------------------------------------------------

// True if the caller may fill the notice in and must then queue it.
static bool claim(struct rn_mqtt_notice *notice)
{
    return !atomic_exchange(&notice->posted, true);
}

static void queue_notice(struct rn_mqtt_notice *notice)
{
    bool fits = rn_queue_push(notice->box->notices, notice, 0);
    assert(fits); // there is room for every notice that exists
    (void)fits;
}

void rn_mqtt_post(struct rn_mqtt_notice *notice, int code)
{
    if (!claim(notice))
        return;
    notice->code = code;
    queue_notice(notice);
}

void rn_mqtt_post_up(struct rn_mqtt_mailbox *box, uint32_t receive_maximum)
{
    if (!claim(&box->up))
        return;
    box->receive_maximum = receive_maximum;
    queue_notice(&box->up);
}

RN_PRINTF(3, 0)
static void post_text(struct rn_mqtt_notice *notice, char text[RN_MQTT_REASON_MAX],
                      const char *format, va_list args)
{
    if (!claim(notice))
        return;
    vsnprintf(text, RN_MQTT_REASON_MAX, format, args);
    queue_notice(notice);
}

void rn_mqtt_post_failed(struct rn_mqtt_mailbox *box, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    post_text(&box->failed, box->failed_text, format, args);
    va_end(args);
}

void rn_mqtt_post_lost(struct rn_mqtt_mailbox *box, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    post_text(&box->lost, box->lost_text, format, args);
    va_end(args);
}

void rn_mqtt_post_message(struct rn_mqtt_mailbox *box, const char *topic, size_t topic_len,
                          const void *payload, size_t payload_len, int qos, bool retained)
{
    size_t bytes = sizeof(struct rn_mqtt_incoming) + topic_len + 1 + payload_len;
    struct rn_mqtt_incoming *in = malloc(bytes);
    if (in) {
        *in = (struct rn_mqtt_incoming){topic_len, payload_len, qos, retained};
        memcpy(in->bytes, topic, topic_len);
        in->bytes[topic_len] = '\0';
        if (payload_len)
            memcpy(in->bytes + topic_len + 1, payload, payload_len);
        if (rn_queue_push(box->messages, in, bytes))
            return;
    }
    free(in);
    atomic_fetch_add(&box->dropped, 1);
}

// ---- the loop's thread -------------------------------------------------------------------------

struct rn_mqtt_notice *rn_mqtt_take_notice(struct rn_mqtt_mailbox *box)
{
    struct rn_mqtt_notice *notice = rn_queue_pop(box->notices);
    if (notice)
        atomic_store(&notice->posted, false);
    return notice;
}

struct rn_mqtt_incoming *rn_mqtt_take_message(struct rn_mqtt_mailbox *box)
{
    return rn_queue_pop(box->messages);
}
