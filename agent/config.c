// See config.h.
#include "agent/config.h"

#include "agent/pace.h"
#include <runnel/clock.h>
#include <runnel/wire.h>

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND  INT64_C(1000)
#define MINUTE  (60 * SECOND)
#define HOUR    (60 * MINUTE)
#define DAY     (24 * HOUR)
#define AT(f)   offsetof(struct agent_settings, f)
#define TEXT(f) AT(f), sizeof(((struct agent_settings *)0)->f)

// clang-format off
const struct rn_opt config_rows[] = {
    {.key = "device", .type = RN_OPT_TEXT, TEXT(device),
     .help = "name of this device: [a-z0-9][a-z0-9._-]{0,31}; empty: the host's name"},
    {.key = "data", .type = RN_OPT_TEXT, TEXT(data), .def = "/var/lib/runnel-agent",
     .flags = RN_OPT_PATH, .help = "folder of the buffer and the state"},
    {.key = "topic_prefix", .type = RN_OPT_TEXT, TEXT(topic_prefix), .min = 1, .max = 32,
     .def = "rn", .help = "first level of all topics"},
    {.key = "step", .type = RN_OPT_DURATION, AT(step_ms), .min = 100, .max = DAY, .def = "10s",
     .flags = RN_OPT_REMOTE, .help = "time between two samples of a series"},
    {.key = "profile", .type = RN_OPT_ENUM, AT(profile), 0, .def = "live", .flags = RN_OPT_REMOTE,
     .words = "live|economy|realtime",
     .help = "batches of 60 s; of 240 s on a connection that needs no pings; of each step"},
    {.key = "batch.interval", .type = RN_OPT_DURATION, AT(batch_interval_ms), .min = 0,
     .max = DAY, .def = "0s", .flags = RN_OPT_REMOTE,
     .help = "how much time one batch covers; 0s: as the profile says"},
    {.key = "batch.flush_on_change", .type = RN_OPT_BOOL, AT(batch_flush_on_change), 0,
     .def = "true", .flags = RN_OPT_REMOTE,
     .help = "send at once what collectors hold important, one such batch an interval at most"},
    {.key = "batch.encodings", .type = RN_OPT_LIST, AT(batch_encodings), .min = 1, .max = 3,
     .def = "[0, 1, 2]", .flags = RN_OPT_REMOTE,
     .help = "encodings that are tried, the smallest result is kept; 0 serves where none can be"},
    {.key = "journal.interval", .type = RN_OPT_DURATION, AT(journal_interval_ms), .min = 100,
     .max = DAY, .def = "60s", .flags = RN_OPT_REMOTE,
     .help = "how often the open batch is saved: a crash loses at most this much"},
    {.key = "buffer.max_bytes", .type = RN_OPT_SIZE, AT(buffer_max_bytes), .min = 65536,
     .max = INT64_C(1) << 40, .def = "64M", .flags = RN_OPT_REMOTE,
     .help = "largest buffer; the oldest batches are dropped and counted"},
    {.key = "buffer.max_age", .type = RN_OPT_DURATION, AT(buffer_max_age_ms), .min = SECOND,
     .max = 3650 * DAY, .def = "30d", .flags = RN_OPT_REMOTE,
     .help = "batches older than this are dropped and counted"},
    {.key = "status.interval", .type = RN_OPT_DURATION, AT(status_interval_ms), .min = SECOND,
     .max = 7 * DAY, .def = "1h", .flags = RN_OPT_REMOTE,
     .help = "how often the status with its ledger is repeated"},
    {.key = "mqtt.addresses", .type = RN_OPT_LIST, AT(mqtt_addresses), 0,
     .def = "mqtt://127.0.0.1:1883", .flags = RN_OPT_REMOTE,
     .help = "brokers, tried in turn: mqtt://, mqtts://, ws://, wss://"},
    {.key = "mqtt.client_id", .type = RN_OPT_TEXT, TEXT(mqtt_client_id),
     .help = "empty: <shard>/<device>, which the broker's rules expect"},
    {.key = "mqtt.username", .type = RN_OPT_TEXT, TEXT(mqtt_username),
     .help = "empty: <shard>/<device>"},
    {.key = "mqtt.password", .type = RN_OPT_SECRET, TEXT(mqtt_password), .help = "password"},
    {.key = "mqtt.ca_file", .type = RN_OPT_TEXT, TEXT(mqtt_ca_file),
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "certificates that may sign the broker's (PEM)"},
    {.key = "mqtt.cert_file", .type = RN_OPT_TEXT, TEXT(mqtt_cert_file),
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "certificate of this device (PEM)"},
    {.key = "mqtt.key_file", .type = RN_OPT_TEXT, TEXT(mqtt_key_file),
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "private key of this device (PEM)"},
    {.key = "mqtt.insecure", .type = RN_OPT_BOOL, AT(mqtt_insecure), 0, .def = "false",
     .help = "do not check the broker's name: for tests"},
    {.key = "mqtt.proxy", .type = RN_OPT_TEXT, TEXT(mqtt_proxy), .flags = RN_OPT_REMOTE,
     .help = "host:port of an HTTP CONNECT proxy"},
    {.key = "mqtt.keepalive", .type = RN_OPT_DURATION, AT(mqtt_keepalive_ms), .min = 0,
     .max = 600 * SECOND, .def = "0s", .flags = RN_OPT_REMOTE,
     .help = "longest silence on the connection; 0s: 240s, or 300s in the profile economy"},
    {.key = "mqtt.keepalive_min", .type = RN_OPT_DURATION, AT(mqtt_keepalive_min_ms),
     .min = SECOND, .max = 600 * SECOND, .def = "30s", .flags = RN_OPT_REMOTE,
     .help = "how low the keepalive may be learned where idle connections die"},
    {.key = "mqtt.connect_timeout", .type = RN_OPT_DURATION, AT(mqtt_connect_timeout_ms),
     .min = SECOND, .max = 10 * MINUTE, .def = "30s", .flags = RN_OPT_REMOTE,
     .help = "longest wait for a connection"},
    {.key = "mqtt.backoff_min", .type = RN_OPT_DURATION, AT(mqtt_backoff_min_ms), .min = 10,
     .max = HOUR, .def = "1s", .flags = RN_OPT_REMOTE, .help = "first wait after a failed attempt"},
    {.key = "mqtt.backoff_max", .type = RN_OPT_DURATION, AT(mqtt_backoff_max_ms), .min = 10,
     .max = DAY, .def = "5m", .flags = RN_OPT_REMOTE, .help = "longest wait between attempts"},
    {.key = "mqtt.first_reconnect", .type = RN_OPT_DURATION, AT(mqtt_first_reconnect_ms), .min = 10,
     .max = HOUR, .def = "5s", .flags = RN_OPT_REMOTE,
     .help = "the first attempt after a lost connection comes within this time"},
    {.key = "uplink.ack_timeout_min", .type = RN_OPT_DURATION, AT(uplink_ack_timeout_min_ms),
     .min = 50, .max = HOUR, .def = "5s", .flags = RN_OPT_REMOTE,
     .help = "a batch is sent again this long after its answer was due, at the earliest"},
    {.key = "uplink.ack_timeout_max", .type = RN_OPT_DURATION, AT(uplink_ack_timeout_max_ms),
     .min = 50, .max = DAY, .def = "5m", .flags = RN_OPT_REMOTE,
     .help = "a batch is sent again this long after its answer was due, at the latest"},
    {.key = "uplink.ack_by", .type = RN_OPT_DURATION, AT(uplink_ack_by_ms), .min = 0, .max = HOUR,
     .def = "0s", .flags = RN_OPT_REMOTE,
     .help = "how long the bridge may take to answer; 0s: three batch intervals below two minutes, "
             "else one"},
    {.key = "uplink.hello_timeout", .type = RN_OPT_DURATION, AT(uplink_hello_timeout_ms), .min = 50,
     .max = HOUR, .def = "5s", .flags = RN_OPT_REMOTE,
     .help = "a birth that no bridge answers is repeated after this time, then ever more slowly"},
    {.key = "uplink.window", .type = RN_OPT_INT, AT(uplink_window), .min = 1, .max = 16,
     .def = "16", .flags = RN_OPT_REMOTE, .help = "most batches that wait for an answer"},
    {.key = "procfs", .type = RN_OPT_TEXT, TEXT(procfs), .def = "/proc",
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "where the kernel's /proc is"},
    {.key = "sysfs", .type = RN_OPT_TEXT, TEXT(sysfs), .def = "/sys",
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "where the kernel's /sys is"},
    {.key = "rootfs", .type = RN_OPT_TEXT, TEXT(rootfs),
     .flags = RN_OPT_PATH | RN_OPT_REMOTE,
     .help = "prefix of mount points, for an agent in a container"},
    {.key = "config_key_file", .type = RN_OPT_TEXT, TEXT(config_key_file), .flags = RN_OPT_PATH,
     .help = "public key that remote configurations must be signed with"},
    {.key = "config.allow_unsigned", .type = RN_OPT_BOOL, AT(config_allow_unsigned), 0,
     .def = "false", .help = "take remote configurations without a signature"},
    {.key = "config.allow_paths", .type = RN_OPT_BOOL, AT(config_allow_paths), 0, .def = "false",
     .help = "remote configurations may also set options that are paths"},
    {.key = "config.deadline_connected", .type = RN_OPT_DURATION,
     AT(config_deadline_connected_ms), .min = 100, .max = DAY, .def = "120s",
     .help = "a new configuration is rolled back after so much connected time without success"},
    {.key = "config.deadline_unconnected", .type = RN_OPT_DURATION,
     AT(config_deadline_unconnected_ms), .min = 100, .max = DAY, .def = "300s",
     .help = "and after so much time without a connection"},
    {.key = "log.level", .type = RN_OPT_ENUM, AT(log_level), 0, .def = "info",
     .flags = RN_OPT_REMOTE, .words = "error|warn|info|debug", .help = "what is logged"},
};
// clang-format on
const size_t config_row_count = RN_OPT_COUNT(config_rows);

static const struct rn_opt collector_rows[] = {
    {.key = "enabled",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct config_collector, enabled),
     .def = "true",
     .flags = RN_OPT_REMOTE,
     .help = "whether this collector runs"},
    {.key = "period",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct config_collector, period_ms),
     .max = DAY,
     .def = "0s",
     .flags = RN_OPT_REMOTE,
     .help = "a multiple of the step; 0s: the step"},
};

// ---- making -------------------------------------------------------------------------------------

static int add_section(struct config *config, const char *prefix, const struct rn_opt *rows,
                       size_t count, void *base, bool origins, struct rn_err *err)
{
    struct rn_conf_section *s = &config->conf.sections[config->conf.nsections++];
    *s = (struct rn_conf_section){.rows = rows, .count = count, .base = base};
    s->prefix = strdup(prefix);
    if (origins && count > 0)
        s->origins = calloc(count, sizeof *s->origins);
    if (!s->prefix || (origins && count > 0 && !s->origins))
        return rn_fail(err, RN_ENOMEM, "out of memory");
    return RN_OK;
}

static int add_collector(struct config *config, const struct rn_collector *what, bool origins,
                         struct rn_err *err)
{
    struct config_collector *c = &config->collectors[config->ncollectors++];
    char prefix[80];
    c->what = what;
    snprintf(prefix, sizeof prefix, "collect.%s.", what->name);
    c->conf = calloc(1, what->conf_size ? what->conf_size : 1);
    if (!c->conf)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc =
        add_section(config, prefix, collector_rows, RN_OPT_COUNT(collector_rows), c, origins, err);
    if (rc >= 0 && what->nopts > 0)
        rc = add_section(config, prefix, what->opts, what->nopts, c->conf, origins, err);
    return rc;
}

int config_new(struct config **out, const struct rn_collector *const *table, size_t count,
               bool origins, struct rn_err *err)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    config->collectors = calloc(count + 1, sizeof *config->collectors);
    config->conf.sections = calloc(2 * count + 1, sizeof *config->conf.sections);
    int rc = config->collectors && config->conf.sections
                 ? add_section(config, "", config_rows, config_row_count, &config->settings,
                               origins, err)
                 : rn_fail(err, RN_ENOMEM, "out of memory");
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = add_collector(config, table[i], origins, err);
    if (rc >= 0)
        rc = rn_conf_init(&config->conf, err);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    *out = config;
    return RN_OK;
}

// The prefix is ours although the section only promises to read it.
static void free_prefix(const char *prefix)
{
    union {
        const char *borrowed;
        char *owned;
    } p = {.borrowed = prefix};
    free(p.owned);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->conf.nsections; i++) {
        free_prefix(config->conf.sections[i].prefix);
        free(config->conf.sections[i].origins);
    }
    for (size_t i = 0; i < config->ncollectors; i++)
        free(config->collectors[i].conf);
    free(config->collectors);
    free(config->conf.sections);
    free(config);
}

int config_copy(struct config **out, const struct config *from, struct rn_err *err)
{
    const struct rn_collector **table = calloc(from->ncollectors + 1, sizeof(*table));
    if (!table)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    for (size_t i = 0; i < from->ncollectors; i++)
        table[i] = from->collectors[i].what;
    struct config *to;
    bool origins = from->conf.sections[0].origins;
    int rc = config_new(&to, table, from->ncollectors, origins, err);
    free(table);
    if (rc < 0)
        return rc;
    to->settings = from->settings;
    to->conf.remote_paths = from->conf.remote_paths;
    for (size_t i = 0; i < from->ncollectors; i++) {
        to->collectors[i].enabled = from->collectors[i].enabled;
        to->collectors[i].period_ms = from->collectors[i].period_ms;
        memcpy(to->collectors[i].conf, from->collectors[i].conf,
               from->collectors[i].what->conf_size);
    }
    for (size_t i = 0; origins && i < from->conf.nsections; i++)
        memcpy(to->conf.sections[i].origins, from->conf.sections[i].origins,
               from->conf.sections[i].count * sizeof(struct rn_conf_origin));
    *out = to;
    return RN_OK;
}

static bool same_list(const struct rn_opt_list *a, const struct rn_opt_list *b)
{
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = strcmp(a->item[i], b->item[i]) == 0;
    return same;
}

unsigned config_encodings(const struct agent_settings *settings)
{
    const struct rn_opt_list *list = &settings->batch_encodings;
    unsigned allowed = 0;
    for (int i = 0; i < list->count; i++) {
        const char *text = list->item[i];
        if (text[0] < '0' || text[0] > '0' + RN_ENC_MAX || text[1])
            return 0;
        allowed |= 1u << (text[0] - '0');
    }
    return allowed;
}

bool config_same_connection(const struct agent_settings *a, const struct agent_settings *b)
{
    return same_list(&a->mqtt_addresses, &b->mqtt_addresses) &&
           strcmp(a->mqtt_client_id, b->mqtt_client_id) == 0 &&
           strcmp(a->mqtt_username, b->mqtt_username) == 0 &&
           strcmp(a->mqtt_password, b->mqtt_password) == 0 &&
           strcmp(a->mqtt_ca_file, b->mqtt_ca_file) == 0 &&
           strcmp(a->mqtt_cert_file, b->mqtt_cert_file) == 0 &&
           strcmp(a->mqtt_key_file, b->mqtt_key_file) == 0 &&
           strcmp(a->mqtt_proxy, b->mqtt_proxy) == 0 && a->mqtt_insecure == b->mqtt_insecure &&
           pace_keepalive(a) == pace_keepalive(b);
}

int config_check_fixed(const struct agent_settings *a, const struct agent_settings *b,
                       struct rn_err *err)
{
    const char *key = strcmp(a->device, b->device) != 0               ? "device"
                      : strcmp(a->data, b->data) != 0                 ? "data"
                      : strcmp(a->topic_prefix, b->topic_prefix) != 0 ? "topic_prefix"
                                                                      : NULL;
    if (key)
        return rn_fail(err, RN_EINVAL, "%s: cannot change while running: restart the agent", key);
    return RN_OK;
}

// ---- loading ------------------------------------------------------------------------------------

static int apply_set(struct config *config, const char *text, struct rn_err *err)
{
    char key[128];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof key)
        return rn_fail(err, RN_EINVAL, "--set %s: expected KEY=VALUE", text);
    memcpy(key, text, (size_t)(equals - text));
    key[equals - text] = 0;
    return rn_conf_set(&config->conf, key, equals + 1, "--set", false, err);
}

int config_load(struct config *config, const char *path, const char *const *sets, size_t nsets,
                struct rn_err *err)
{
    int rc = RN_OK;
    if (path)
        rc = rn_conf_file(&config->conf, path, err);
    else if (access(CONFIG_FILE, F_OK) == 0 || errno != ENOENT) // it may be there: reading tells
        rc = rn_conf_file(&config->conf, CONFIG_FILE, err);
    if (rc >= 0 && !path)
        rc = rn_conf_folder(&config->conf, CONFIG_FOLDER, err);
    for (size_t i = 0; rc >= 0 && i < nsets; i++)
        rc = apply_set(config, sets[i], err);
    return rc;
}

// ---- what no single row can say -----------------------------------------------------------------

// A host name as a device name: lower case, anything else that is not allowed as '-'.
static void device_from_host(char *out, size_t size)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) < 0 || !host[0])
        snprintf(host, sizeof host, "device");
    size_t n = 0;
    for (const char *p = host; *p && n < RN_DEV_MAX && n + 1 < size; p++) {
        char c = (char)tolower((unsigned char)*p);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && n == 0)
            continue;
        out[n++] = plain || c == '.' || c == '_' ? c : '-';
    }
    out[n] = 0;
    if (n == 0)
        snprintf(out, size, "device");
}

static int check_period(const struct config *config, const struct config_collector *c,
                        struct rn_err *err)
{
    int64_t step = config->settings.step_ms;
    if (c->period_ms % step != 0)
        return rn_fail(err, RN_EINVAL,
                       "collect.%s.period: expected a multiple of the step of %lld ms",
                       c->what->name, (long long)step);
    return RN_OK;
}

int config_finish(struct config *config, struct rn_err *err)
{
    struct agent_settings *s = &config->settings;
    int rc = rn_conf_check(&config->conf, err);
    if (rc < 0)
        return rc;
    config->conf.remote_paths = s->config_allow_paths;
    if (!s->device[0])
        device_from_host(s->device, sizeof s->device);
    if (!rn_dev_valid(rn_span_text(s->device)))
        return rn_fail(err, RN_EINVAL, "device: expected [a-z0-9][a-z0-9._-]{0,31}, got \"%s\"",
                       s->device);
    if (s->batch_interval_ms % s->step_ms != 0)
        return rn_fail(err, RN_EINVAL, "batch.interval: expected a multiple of the step");
    if (s->mqtt_keepalive_ms != 0 && s->mqtt_keepalive_ms < SECOND)
        return rn_fail(err, RN_EINVAL, "mqtt.keepalive: expected 0s or between 1s and 10m");
    if (!config_encodings(s))
        return rn_fail(err, RN_EINVAL, "batch.encodings: expected a list of 0, 1 and 2");
    if (s->mqtt_addresses.count == 0)
        return rn_fail(err, RN_EINVAL, "mqtt.addresses: expected at least one address");
    for (size_t i = 0; i < config->ncollectors; i++)
        if ((rc = check_period(config, &config->collectors[i], err)) < 0)
            return rc;
    return RN_OK;
}

// ---- printing -----------------------------------------------------------------------------------

void config_print(const struct config *config, bool origins, struct rn_buf *out)
{
    for (size_t i = 0; i < config->conf.nsections; i++) {
        const struct rn_conf_section *s = &config->conf.sections[i];
        for (size_t r = 0; r < s->count; r++) {
            rn_buf_printf(out, "%s%s: ", s->prefix, s->rows[r].key);
            rn_opt_print(&s->rows[r], s->base, out);
            if (origins && s->origins)
                rn_buf_printf(out, "  # %s", s->origins[r].source);
            rn_buf_text(out, "\n");
        }
    }
}

static const char *remote_words(const struct rn_opt *row)
{
    if (!(row->flags & RN_OPT_REMOTE))
        return "";
    return row->flags & RN_OPT_PATH ? " (remote with config.allow_paths)" : " (remote)";
}

void config_help(const struct config *config, struct rn_buf *out)
{
    for (size_t i = 0; i < config->conf.nsections; i++) {
        const struct rn_conf_section *s = &config->conf.sections[i];
        for (size_t r = 0; r < s->count; r++)
            rn_buf_printf(out, "  %s%s [%s]\n      %s%s\n", s->prefix, s->rows[r].key,
                          s->rows[r].def ? s->rows[r].def : "", s->rows[r].help,
                          remote_words(&s->rows[r]));
    }
}
