// See settings.h.
#include "lib/mqtt/settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// A session shorter than this many smallest backoffs (at most HEALTHY_MOST_MS) counts as a failure.
enum { HEALTHY_BACKOFFS = 10, HEALTHY_MOST_MS = 10000 };
// Paho looks at a connection in progress only once a second: below this, attempts would never
// succeed.
enum { CONNECT_TIMEOUT_LEAST_MS = 2000 };
enum { MS_MAX = 24 * 3600 * 1000, INFLIGHT_MAX = 1000, QUEUE_ITEMS_MAX = 1000000 };

// NULL stays NULL; an empty text means "none" as well.
static int copy_text(char **out, const char *text)
{
    if (!text || !*text)
        return RN_OK;
    *out = strdup(text);
    return *out ? RN_OK : RN_ENOMEM;
}

static int copy_texts(struct rn_mqtt_settings *out, const struct rn_mqtt_conf *conf,
                      struct rn_err *err)
{
    int bad = copy_text(&out->client_id, conf->client_id) |
              copy_text(&out->username, conf->username) |
              copy_text(&out->password, conf->password) | copy_text(&out->ca_file, conf->ca_file) |
              copy_text(&out->cert_file, conf->cert_file) |
              copy_text(&out->key_file, conf->key_file) | copy_text(&out->proxy, conf->proxy);
    return bad ? rn_fail(err, RN_ENOMEM, "out of memory") : RN_OK;
}

static int copy_addresses(struct rn_mqtt_settings *out, const struct rn_mqtt_conf *conf,
                          struct rn_err *err)
{
    if (conf->naddresses == 0 || conf->naddresses > RN_MQTT_ADDRESSES_MAX)
        return rn_fail(err, RN_EINVAL, "there must be 1 to %d broker addresses",
                       RN_MQTT_ADDRESSES_MAX);
    out->addresses = calloc(conf->naddresses, sizeof *out->addresses);
    out->shown = calloc(conf->naddresses, sizeof *out->shown);
    if (!out->addresses || !out->shown)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    out->naddresses = conf->naddresses;
    for (uint32_t i = 0; i < conf->naddresses; i++) {
        int rc = rn_mqtt_address_parse(&out->addresses[i], conf->addresses[i], err);
        if (rc)
            return rc;
        out->shown[i] = strdup(conf->addresses[i]);
        if (!out->shown[i])
            return rn_fail(err, RN_ENOMEM, "out of memory");
    }
    return RN_OK;
}

static int check_range(const char *name, int64_t value, int64_t min, int64_t max,
                       struct rn_err *err)
{
    if (value >= min && value <= max)
        return RN_OK;
    return rn_fail(err, RN_EINVAL, "mqtt: %s is %lld, expected %lld..%lld", name, (long long)value,
                   (long long)min, (long long)max);
}

static int check_ranges(const struct rn_mqtt_conf *conf, struct rn_err *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } rows[] = {
        {"keepalive", conf->keepalive_ms, 1000, 600000},
        {"connect_timeout", conf->connect_timeout_ms, 1, MS_MAX},
        {"backoff_min", conf->backoff_min_ms, 1, MS_MAX},
        {"backoff_max", conf->backoff_max_ms, conf->backoff_min_ms, MS_MAX},
        {"first_reconnect", conf->first_reconnect_ms, 0, MS_MAX},
        {"max_inflight", conf->max_inflight, 1, INFLIGHT_MAX},
        {"max_queue_items", conf->max_queue_items, 1, QUEUE_ITEMS_MAX},
        {"max_queue_bytes", conf->max_queue_bytes, 1, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int rc = check_range(rows[i].name, rows[i].value, rows[i].min, rows[i].max, err);
        if (rc)
            return rc;
    }
    return RN_OK;
}

static int check_texts(const struct rn_mqtt_settings *s, struct rn_err *err)
{
    if (!s->client_id)
        return rn_fail(err, RN_EINVAL, "mqtt: there must be a client id");
    if (s->key_file && !s->cert_file)
        return rn_fail(err, RN_EINVAL, "mqtt: key_file needs cert_file");
    if (s->proxy && (strstr(s->proxy, "://") || !strchr(s->proxy, ':')))
        return rn_fail(err, RN_EINVAL, "mqtt: the proxy must be written host:port");
    return RN_OK;
}

static void copy_numbers(struct rn_mqtt_settings *out, const struct rn_mqtt_conf *conf)
{
    out->insecure = conf->insecure;
    out->keepalive_ms = conf->keepalive_ms;
    out->connect_timeout_ms = conf->connect_timeout_ms > CONNECT_TIMEOUT_LEAST_MS
                                  ? conf->connect_timeout_ms
                                  : CONNECT_TIMEOUT_LEAST_MS;
    out->backoff_min_ms = conf->backoff_min_ms;
    out->backoff_max_ms = conf->backoff_max_ms;
    out->first_reconnect_ms = conf->first_reconnect_ms;
    out->seed = conf->seed;
    out->max_inflight = conf->max_inflight;
    out->max_queue_items = conf->max_queue_items;
    out->max_queue_bytes = conf->max_queue_bytes;
}

int rn_mqtt_settings_copy(struct rn_mqtt_settings *out, const struct rn_mqtt_conf *conf,
                          struct rn_err *err)
{
    *out = (struct rn_mqtt_settings){0};
    copy_numbers(out, conf);
    int rc = check_ranges(conf, err);
    if (!rc)
        rc = copy_texts(out, conf, err);
    if (!rc)
        rc = check_texts(out, err);
    if (!rc)
        rc = copy_addresses(out, conf, err);
    if (rc)
        rn_mqtt_settings_release(out);
    return rc;
}

void rn_mqtt_settings_release(struct rn_mqtt_settings *s)
{
    for (uint32_t i = 0; i < s->naddresses; i++)
        free(s->shown[i]);
    char *texts[] = {s->client_id, s->username, s->password, s->ca_file,
                     s->cert_file, s->key_file, s->proxy};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    free(s->shown);
    free(s->addresses);
    *s = (struct rn_mqtt_settings){0};
}

struct rn_mqtt_machine_conf rn_mqtt_settings_machine(const struct rn_mqtt_settings *s)
{
    int64_t healthy_ms = s->backoff_min_ms * HEALTHY_BACKOFFS;
    return (struct rn_mqtt_machine_conf){
        .naddresses = s->naddresses,
        .connect_timeout_ms = s->connect_timeout_ms,
        .backoff_min_ms = s->backoff_min_ms,
        .backoff_max_ms = s->backoff_max_ms,
        .first_reconnect_ms = s->first_reconnect_ms,
        .healthy_ms = healthy_ms < HEALTHY_MOST_MS ? healthy_ms : HEALTHY_MOST_MS,
        .check_ms = s->keepalive_ms,
        .seed = s->seed,
    };
}
