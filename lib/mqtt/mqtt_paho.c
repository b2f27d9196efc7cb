// See mqtt_paho.h. MQTTAsync; the only file that includes Paho's headers.
//
// Threads. Everything below runs on the loop's thread, except the functions under "Paho's threads",
// which only post into the mailbox and return (0 is never returned from on_message: Paho would
// acknowledge the message all the same and get stuck behind it). They run under Paho's process-wide
// lock; we hold no lock of our own while calling Paho.
//
// One Paho client per attempt. MQTTAsync_destroy takes Paho's lock and forgets the client's
// commands, so after it no callback of that client can run: the notices still queued can then be
// taken out, and nothing stale can be mistaken for news of the next session. It also guarantees
// that publishes queued in a lost session are never sent in the next one, as Paho would do on a
// reconnect. A second client that is never connected, the anchor, outlives us: with its last client
// Paho ends its threads, which would block the loop at every reconnect, and frees what they use
// after a second, also when they have not ended yet: on a busy machine a stopping process died of
// that. Paho keeps hold of the anchor, so it is no leak, but for every rn_paho_new one stays.
//
// Limits: Paho resolves names and talks to a proxy under its lock, so calls of this file may wait
// for a resolver that does not answer. One address of a name is tried.
#include "lib/mqtt/mqtt_paho.h"

#include <MQTTAsync.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WILL_MAX = 1 << 14,
    WILL_QOS = 1,
    PAHO_GRACE_S = 30, // Paho's own connect timeout comes after ours
};

struct rn_paho {
    struct rn_mqtt_mailbox *box;
    uint32_t max_publishes;
    MQTTAsync client, anchor;
    char tls_error[RN_MQTT_REASON_MAX]; // Paho's threads only, while a client exists
};

// ---- Paho's threads -------------------------------------------------------------------------

static const char *reason_name(int code)
{
    const char *name = MQTTReasonCode_toString((enum MQTTReasonCodes)code);
    return name ? name : "unknown reason";
}

static void on_connected(void *context, MQTTAsync_successData5 *data)
{
    struct rn_paho *paho = context;
    int most = MQTTProperties_getNumericValue(&data->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM);
    rn_mqtt_post_up(paho->box, most > 0 ? (uint32_t)most : 65535); // MQTT 5, 3.2.2.3.3
}

// Paho tells little: a code above 0 is the broker's answer, else there was none.
static void on_connect_failed(void *context, MQTTAsync_failureData5 *data)
{
    struct rn_paho *paho = context;
    const char *said = data->message ? data->message : "";
    if (data->code > 0)
        rn_mqtt_post_failed(paho->box, "the broker refused: %s (0x%02x)", reason_name(data->code),
                            (unsigned)data->code);
    else if (paho->tls_error[0])
        rn_mqtt_post_failed(paho->box, "TLS: %s", paho->tls_error);
    else if (strstr(said, "completion") || strstr(said, "socket error"))
        rn_mqtt_post_failed(
            paho->box,
            "closed by the other side before it accepted us (is it an MQTT 5 broker, and are "
            "the credentials right?)");
    else
        rn_mqtt_post_failed(
            paho->box,
            "no connection: name unknown, refused, unreachable, or with TLS a certificate "
            "that is not for this name");
}

static void on_connection_lost(void *context, char *cause)
{
    struct rn_paho *paho = context;
    rn_mqtt_post_lost(paho->box, "connection lost%s%s", cause ? ": " : "", cause ? cause : "");
}

// The broker said DISCONNECT; Paho does not call on_connection_lost then.
static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code)
{
    struct rn_paho *paho = context;
    (void)properties;
    rn_mqtt_post_lost(paho->box, "the broker ended the session: %s (0x%02x)",
                      reason_name((int)code), (unsigned)code);
}

// "thread:error:code:library:function:reason:file:line:data": the reason is what helps.
static int on_tls_error(const char *line, size_t len, void *context)
{
    struct rn_paho *paho = context;
    if (paho->tls_error[0])
        return 1; // the first is the cause
    size_t begin = 0, fields = 0;
    for (size_t i = 0; i < len && fields < 5; i++)
        if (line[i] == ':') {
            fields++;
            begin = i + 1;
        }
    const char *text = fields == 5 ? line + begin : line;
    size_t text_len = strcspn(text, fields == 5 ? ":\n" : "\n");
    snprintf(paho->tls_error, sizeof paho->tls_error, "%.*s", (int)text_len, text);
    return 1;
}

static void on_published(void *context, MQTTAsync_successData5 *data)
{
    (void)data;
    rn_mqtt_post(context, 0);
}

static void on_not_sent(void *context, MQTTAsync_failureData5 *data)
{
    (void)data; // without a PUBACK its reason code is not even set
    rn_mqtt_post(context, -1);
}

// With QoS 1: only a PUBACK carries a reason code.
static void on_not_acknowledged(void *context, MQTTAsync_failureData5 *data)
{
    bool refused = data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR;
    rn_mqtt_post(context, refused ? (int)data->reasonCode : -1);
}

static void on_subscribed(void *context, MQTTAsync_successData5 *data)
{
    rn_mqtt_post(context, (int)data->reasonCode);
}

static void on_subscribe_failed(void *context, MQTTAsync_failureData5 *data)
{
    if (data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR) // else the connection was lost
        rn_mqtt_post(context, (int)data->reasonCode);
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct rn_paho *paho = context;
    size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);
    size_t payload_len = message->payloadlen > 0 ? (size_t)message->payloadlen : 0;
    rn_mqtt_post_message(paho->box, topic, len, message->payload, payload_len, message->qos,
                         message->retained != 0);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

// ---- The loop's thread: from here to the end ---------------------------------------------------

static int create_client(const struct rn_paho *paho, const struct rn_mqtt_settings *settings,
                         const char *uri, MQTTAsync *client)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
    options.maxBufferedMessages = (int)paho->max_publishes + 1;
    options.restoreMessages = 0;
    options.persistQoS0 = 0;
    return MQTTAsync_createWithOptions(client, uri, settings->client_id,
                                       MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
}

static bool readable(struct rn_paho *paho, const char *name, const char *path)
{
    if (!path || access(path, R_OK) == 0)
        return true;
    rn_mqtt_post_failed(paho->box, "%s %s cannot be read: %s", name, path, strerror(errno));
    return false;
}

static bool tls_files_readable(struct rn_paho *paho, const struct rn_mqtt_settings *s)
{
    return readable(paho, "ca_file", s->ca_file) && readable(paho, "cert_file", s->cert_file) &&
           readable(paho, "key_file", s->key_file);
}

static MQTTAsync_SSLOptions tls_options(struct rn_paho *paho, const struct rn_mqtt_settings *s)
{
    MQTTAsync_SSLOptions options = MQTTAsync_SSLOptions_initializer;
    options.trustStore = s->ca_file;
    options.disableDefaultTrustStore = s->ca_file != NULL;
    options.keyStore = s->cert_file;
    options.privateKey = s->key_file;
    options.enableServerCertAuth = 1;
    options.verify = !s->insecure;
    options.ssl_error_cb = on_tls_error;
    options.ssl_error_context = paho;
    return options;
}

static MQTTAsync_connectOptions connect_options(struct rn_paho *paho,
                                                const struct rn_mqtt_settings *s)
{
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer5;
    options.keepAliveInterval = (int)((s->keepalive_ms + 999) / 1000);
    options.cleanstart = 1;
    options.connectTimeout = (int)(s->connect_timeout_ms / 1000) + PAHO_GRACE_S;
    options.username = s->username;
    options.password = s->password;
    options.httpProxy = options.httpsProxy = s->proxy;
    options.context = paho;
    options.onSuccess5 = on_connected;
    options.onFailure5 = on_connect_failed;
    return options;
}

// Fills *will from the handler; false: there is none. topic and payload are the storage.
static bool make_will(const struct rn_mqtt_handler *handler, MQTTAsync_willOptions *will,
                      char topic[128], struct rn_buf *payload)
{
    if (!handler->will || !handler->will(handler->arg, topic, payload) || !rn_buf_ok(payload))
        return false;
    will->topicName = topic;
    will->payload.data = payload->len ? (const void *)payload->data : "";
    will->payload.len = (int)payload->len;
    will->qos = WILL_QOS;
    will->retained = 1;
    return true;
}

static int connect_client(struct rn_paho *paho, const struct rn_mqtt_settings *settings, bool tls,
                          const struct rn_mqtt_handler *handler)
{
    char topic[128] = "";
    struct rn_buf payload;
    rn_buf_init(&payload, WILL_MAX);
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    MQTTAsync_SSLOptions ssl = tls_options(paho, settings);
    MQTTAsync_connectOptions options = connect_options(paho, settings);
    if (make_will(handler, &will, topic, &payload))
        options.will = &will;
    if (tls)
        options.ssl = &ssl;
    int rc = MQTTAsync_connect(paho->client, &options); // copies all of it
    rn_buf_release(&payload);
    return rc;
}

// What fails here is reported as a failed attempt, by the way of the mailbox like any other.
void rn_paho_open(struct rn_paho *paho, const struct rn_mqtt_settings *settings, uint32_t address,
                  const struct rn_mqtt_handler *handler)
{
    const struct rn_mqtt_address *to = &settings->addresses[address];
    paho->tls_error[0] = '\0';
    if (to->tls && !tls_files_readable(paho, settings))
        return;
    int rc = create_client(paho, settings, to->uri, &paho->client);
    if (!rc)
        rc = MQTTAsync_setCallbacks(paho->client, paho, on_connection_lost, on_message, NULL);
    if (!rc)
        rc = MQTTAsync_setDisconnected(paho->client, paho, on_disconnected);
    if (!rc)
        rc = connect_client(paho, settings, to->tls, handler);
    if (rc)
        rn_mqtt_post_failed(paho->box, "the MQTT library refuses to connect: %s",
                            MQTTAsync_strerror(rc));
}

void rn_paho_close(struct rn_paho *paho)
{
    if (paho->client)
        MQTTAsync_destroy(&paho->client);
}

int rn_paho_new(struct rn_paho **out, const struct rn_mqtt_settings *settings,
                uint32_t max_publishes, struct rn_mqtt_mailbox *box, struct rn_err *err)
{
    struct rn_paho *paho = calloc(1, sizeof *paho);
    if (!paho)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    paho->box = box;
    paho->max_publishes = max_publishes;
    if (create_client(paho, settings, settings->addresses[0].uri, &paho->anchor)) {
        free(paho);
        return rn_fail(err, RN_EINVAL, "the MQTT library refuses the client id \"%s\"",
                       settings->client_id);
    }
    *out = paho;
    return RN_OK;
}

void rn_paho_free(struct rn_paho *paho)
{
    if (!paho)
        return;
    rn_paho_close(paho);
    free(paho);
}

bool rn_paho_connected(const struct rn_paho *paho)
{
    return MQTTAsync_isConnected(paho->client);
}

static int publish_code(int paho)
{
    switch (paho) {
    case MQTTASYNC_SUCCESS:
        return RN_OK;
    case MQTTASYNC_DISCONNECTED:
        return RN_ESTATE;
    case MQTTASYNC_MAX_BUFFERED_MESSAGES:
    case MQTTASYNC_NO_MORE_MSGIDS:
        return RN_EAGAIN;
    default:
        return RN_EINVAL;
    }
}

int rn_paho_publish(struct rn_paho *paho, const char *topic, struct rn_span payload, int qos,
                    bool retained, struct rn_mqtt_notice *notice)
{
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = notice;
    options.onSuccess5 = on_published;
    options.onFailure5 = qos ? on_not_acknowledged : on_not_sent;
    return publish_code(MQTTAsync_send(paho->client, topic, (int)payload.len,
                                       payload.len ? payload.data : (const void *)"", qos, retained,
                                       &options));
}

bool rn_paho_subscribe(struct rn_paho *paho, const char *filter, int qos, bool stored_only,
                       struct rn_mqtt_notice *notice)
{
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = notice;
    options.onSuccess5 = on_subscribed;
    options.onFailure5 = on_subscribe_failed;
    options.subscribeOptions.retainAsPublished = !stored_only;
    options.subscribeOptions.noLocal = 1;
    return MQTTAsync_subscribe(paho->client, filter, qos, &options) != MQTTASYNC_BAD_UTF8_STRING;
}
