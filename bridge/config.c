// See config.h.
#include "bridge/config.h"

#include <errno.h>
#include <runnel/clock.h>
#include <runnel/file.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND  INT64_C(1000)
#define MINUTE  (60 * SECOND)
#define HOUR    (60 * MINUTE)
#define DAY     (24 * HOUR)
#define GB      (INT64_C(1) << 30)
#define AT(f)   offsetof(struct bridge_settings, f)
#define TEXT(f) AT(f), sizeof(((struct bridge_settings *)0)->f)

#define MAX_SECTIONS (1 + 3 * CONFIG_MAX_SINKS)
#define MAX_FILES    64
#define SINKS_PREFIX "sinks."
#define SECTION_MAX  (sizeof SINKS_PREFIX + CURSOR_NAME_MAX + 2)

// clang-format off
static const struct rn_opt rows[] = {
    {.key = "name", .type = RN_OPT_TEXT, TEXT(name), .min = 1, .max = RN_DEV_MAX, .def = "Bridge",
     .help = "name of this bridge, beginning with a capital letter"},
    {.key = "data", .type = RN_OPT_TEXT, TEXT(data), .min = 1, .max = 255, .def = "/var/lib/runnel-bridge",
     .flags = RN_OPT_PATH, .help = "folder of the log and of everything that is kept"},
    {.key = "topic_prefix", .type = RN_OPT_TEXT, TEXT(topic_prefix), .min = 1, .max = 32,
     .def = "rn", .help = "first level of all topics"},
    {.key = "mqtt.addresses", .type = RN_OPT_LIST, AT(mqtt_addresses), .min = 1, .max = 16,
     .def = "mqtt://127.0.0.1:1883",
     .help = "brokers, tried in turn: mqtt://, mqtts://, ws://, wss://"},
    {.key = "mqtt.username", .type = RN_OPT_TEXT, TEXT(mqtt_username), .help = "user name"},
    {.key = "mqtt.password", .type = RN_OPT_SECRET, TEXT(mqtt_password), .help = "password"},
    {.key = "mqtt.ca_file", .type = RN_OPT_TEXT, TEXT(mqtt_ca_file), .flags = RN_OPT_PATH,
     .help = "certificates that may sign the broker's (PEM)"},
    {.key = "mqtt.cert_file", .type = RN_OPT_TEXT, TEXT(mqtt_cert_file), .flags = RN_OPT_PATH,
     .help = "certificate of this bridge (PEM)"},
    {.key = "mqtt.key_file", .type = RN_OPT_TEXT, TEXT(mqtt_key_file), .flags = RN_OPT_PATH,
     .help = "private key of this bridge (PEM)"},
    {.key = "mqtt.insecure", .type = RN_OPT_BOOL, AT(mqtt_insecure), .def = "false",
     .help = "do not check the broker's name: for tests"},
    {.key = "mqtt.keepalive", .type = RN_OPT_DURATION, AT(mqtt_keepalive_ms), .min = SECOND,
     .max = 600 * SECOND, .def = "30s", .help = "longest silence on the connection"},
    {.key = "mqtt.connect_timeout", .type = RN_OPT_DURATION, AT(mqtt_connect_timeout_ms),
     .min = SECOND, .max = 10 * MINUTE, .def = "30s", .help = "longest wait for a connection"},
    {.key = "mqtt.backoff_min", .type = RN_OPT_DURATION, AT(mqtt_backoff_min_ms), .min = 10,
     .max = HOUR, .def = "500ms", .help = "first wait after a failed attempt"},
    {.key = "mqtt.backoff_max", .type = RN_OPT_DURATION, AT(mqtt_backoff_max_ms), .min = 10,
     .max = DAY, .def = "30s", .help = "longest wait between attempts"},
    {.key = "mqtt.first_reconnect", .type = RN_OPT_DURATION, AT(mqtt_first_reconnect_ms),
     .min = 10, .max = HOUR, .def = "500ms",
     .help = "the first attempt after a lost connection comes within this time"},
    {.key = "http.listen", .type = RN_OPT_TEXT, TEXT(http_listen), .def = "127.0.0.1:8650",
     .help = "address of the HTTP server; empty: none"},
    {.key = "http.token", .type = RN_OPT_SECRET, TEXT(http_token), .max = 255,
     .help = "token for changes; empty: made at first start in data/http.token"},
    {.key = "http.hosts", .type = RN_OPT_TEXT, TEXT(http_hosts),
     .help = "further Host names that are answered, separated by spaces"},
    {.key = "ack_after", .type = RN_OPT_TEXT, TEXT(ack_after), .min = 1, .max = CURSOR_NAME_MAX, .def = "auto",
     .help = "what makes a batch durable: log, or the name of a sink; auto: the first database of the metrics, else log"},
    {.key = "commit_interval", .type = RN_OPT_DURATION, AT(commit_interval_ms), .min = 1,
     .max = 10 * SECOND, .def = "20ms", .help = "batches are committed together within this time"},
    {.key = "ack.delay", .type = RN_OPT_DURATION, AT(ack_delay_ms), .min = 0, .max = SECOND,
     .def = "50ms", .help = "an acknowledgement waits so long for company, at least"},
    {.key = "hold", .type = RN_OPT_DURATION, AT(hold_ms), .min = 100, .max = HOUR,
     .def = "10s", .help = "a device is told to wait so long when there is no room for its data"},
    {.key = "log.segment_bytes", .type = RN_OPT_SIZE, AT(log_segment_bytes), .min = 65536,
     .max = 4 * GB, .def = "256M", .help = "a file of the log is sealed at this size"},
    {.key = "log.cursor_bytes", .type = RN_OPT_SIZE, AT(log_cursor_bytes), .min = 65536,
     .max = 1024 * GB, .def = "8G",
     .help = "space for data that sinks have not taken yet; then devices keep theirs"},
    {.key = "log.history_bytes", .type = RN_OPT_SIZE, AT(log_history_bytes), .min = 0,
     .max = 1024 * GB, .def = "4G", .help = "space for data that everybody has taken"},
    {.key = "log.max_age", .type = RN_OPT_DURATION, AT(log_max_age_ms), .min = 0,
     .max = 3650 * DAY, .def = "0s", .help = "data that everybody has taken is dropped after this; 0s: never"},
    {.key = "dead.max_bytes", .type = RN_OPT_SIZE, AT(dead_max_bytes), .min = 65536,
     .max = 64 * GB, .def = "64M", .help = "space for dead letters"},
    {.key = "dead.max_age", .type = RN_OPT_DURATION, AT(dead_max_age_ms), .min = 0,
     .max = 3650 * DAY, .def = "0s", .help = "dead letters are dropped after this; 0s: never"},
    {.key = "liveness.grace", .type = RN_OPT_DURATION, AT(live_grace_ms), .min = 10,
     .max = HOUR, .def = "10s", .help = "a device whose connection broke is offline after this"},
    {.key = "liveness.missed", .type = RN_OPT_INT, AT(live_missed), .min = 3, .max = 1000,
     .def = "3", .help = "a device is offline after so many intervals of silence"},
    {.key = "liveness.default_interval", .type = RN_OPT_DURATION, AT(live_default_interval_ms),
     .min = 100, .max = DAY, .def = "60s", .help = "interval of a device that does not say its own"},
    {.key = "liveness.reconnect", .type = RN_OPT_DURATION, AT(live_reconnect_ms), .min = 0,
     .max = HOUR, .def = "5s",
     .help = "devices are given at least this to come back after the broker's return"},
    {.key = "liveness.storm_min", .type = RN_OPT_INT, AT(live_storm_min), .min = 2,
     .max = 1000000, .def = "10",
     .help = "so many devices, and a tenth of all, that vanish together are the network's fault"},
    {.key = "liveness.duplicate_clear", .type = RN_OPT_DURATION, AT(live_duplicate_clear_ms),
     .min = SECOND, .max = DAY, .def = "10m",
     .help = "a name is no longer shown as used twice after so long without a sign of it"},
    {.key = "time.past", .type = RN_OPT_DURATION, AT(time_past_ms), .min = MINUTE,
     .max = 36500 * DAY, .def = "365d", .help = "data older than this is refused"},
    {.key = "time.future", .type = RN_OPT_DURATION, AT(time_future_ms), .min = SECOND,
     .max = 3650 * DAY, .def = "1h", .help = "data further ahead than this is refused"},
    {.key = "fleet.max", .type = RN_OPT_INT, AT(fleet_max), .min = 1, .max = 1000000,
     .def = "20000", .help = "most devices"},
    {.key = "fleet.pending_max", .type = RN_OPT_INT, AT(fleet_pending_max), .min = 64,
     .max = 1000000, .def = "32768",
     .help = "most batches of a device that wait for being durable; then it keeps the others"},
    {.key = "schema_cache_bytes", .type = RN_OPT_SIZE, AT(schema_cache_bytes), .min = 65536,
     .max = 4 * GB, .def = "16M", .help = "parsed schemas that each sink keeps"},
    {.key = "last_values_max", .type = RN_OPT_INT, AT(last_values_max), .min = 0,
     .max = 100000000, .def = "1000000", .help = "series whose last value is kept"},
    {.key = "routes.m", .type = RN_OPT_LIST, AT(routes[0]),
     .help = "sinks of metrics; none given: all"},
    {.key = "routes.l", .type = RN_OPT_LIST, AT(routes[1]), .help = "sinks of logs"},
    {.key = "routes.e", .type = RN_OPT_LIST, AT(routes[2]), .help = "sinks of events"},
    {.key = "routes.i", .type = RN_OPT_LIST, AT(routes[3]), .help = "sinks of inventories"},
    {.key = "log.level", .type = RN_OPT_ENUM, AT(log_level), .def = "info",
     .words = "error|warn|info|debug", .help = "what is logged"},
};
// clang-format on

static const struct rn_opt type_row[] = {
    {.key = "type",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct config_sink, type),
     .size = sizeof(((struct config_sink *)0)->type),
     .min = 1,
     .max = 31,
     .flags = RN_OPT_REQUIRED,
     .help = "what kind of sink it is"},
};

// ---- finding the sinks -------------------------------------------------------------------------

static struct config_sink *sink_named(struct config *config, const char *name, size_t len)
{
    for (uint32_t i = 0; i < config->nsinks; i++)
        if (strlen(config->sinks[i].name) == len && strncmp(config->sinks[i].name, name, len) == 0)
            return &config->sinks[i];
    return NULL;
}

// "sinks.<name>.type": the sink is made; the last type that is said counts.
static int see_key(void *arg, const char *key, const char *text)
{
    struct config *config = arg;
    size_t prefix = strlen(SINKS_PREFIX);
    if (strncmp(key, SINKS_PREFIX, prefix) != 0)
        return RN_OK;
    const char *name = key + prefix, *dot = strchr(name, '.');
    if (!dot || strcmp(dot, ".type") != 0)
        return RN_OK;
    size_t len = (size_t)(dot - name);
    struct config_sink *sink = sink_named(config, name, len);
    if (!sink) {
        if (config->nsinks == CONFIG_MAX_SINKS || !len || len > CURSOR_NAME_MAX)
            return RN_ELIMIT;
        sink = &config->sinks[config->nsinks++];
        memcpy(sink->name, name, len);
    }
    snprintf(sink->type, sizeof sink->type, "%s", text);
    return RN_OK;
}

static int see_file(struct config *config, const char *path, struct rn_err *err)
{
    if (access(path, F_OK) != 0)
        return RN_OK; // rn_conf_file says it better
    int rc = rn_conf_visit(path, see_key, config, err);
    if (rc == RN_ELIMIT)
        return rn_fail(err, rc, "%s: at most %d sinks, names of at most %d characters", path,
                       CONFIG_MAX_SINKS, CURSOR_NAME_MAX);
    return rc;
}

static int see_folder(struct config *config, const char *folder, struct rn_err *err)
{
    char **names, path[512];
    int count, rc = RN_OK;
    if (access(folder, F_OK) != 0 && errno == ENOENT)
        return RN_OK;
    rc = rn_names_list(folder, ".yaml", MAX_FILES, &names, &count, err);
    if (rc)
        return rc;
    for (int i = 0; rc == RN_OK && i < count; i++) {
        rc = rn_path_join(path, sizeof path, folder, names[i], err);
        if (rc == RN_OK)
            rc = see_file(config, path, err);
    }
    rn_names_free(names, count);
    return rc;
}

// "<dir>/bridge.yaml" has "<dir>/bridge.d" beside it.
static int folder_of(const char *path, char *out, size_t size, struct rn_err *err)
{
    size_t len = strlen(path);
    if (len > 5 && strcmp(path + len - 5, ".yaml") == 0)
        len -= 5;
    if ((size_t)snprintf(out, size, "%.*s.d", (int)len, path) >= size)
        return rn_fail(err, RN_ELIMIT, "%s: the path is too long", path);
    return RN_OK;
}

static int see_set(struct config *config, const char *text, struct rn_err *err)
{
    char key[256];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof key)
        return rn_fail(err, RN_EINVAL, "--set %s: expected KEY=VALUE", text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    int rc = see_key(config, key, equals + 1);
    return rc < 0 ? rn_fail(err, rc, "--set %s: too many sinks or a bad name", text) : RN_OK;
}

// ---- sections ----------------------------------------------------------------------------------

static int add_section(struct config *config, const char *sink, const struct rn_opt *table,
                       size_t count, void *base, struct rn_err *err)
{
    struct rn_conf_section *section = &config->conf.sections[config->conf.nsections++];
    char *prefix = calloc(1, SECTION_MAX);
    *section = (struct rn_conf_section){.prefix = prefix,
                                        .rows = table,
                                        .count = count,
                                        .base = base,
                                        .origins = calloc(count + 1, sizeof *section->origins)};
    if (!prefix || !section->origins)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    if (sink)
        snprintf(prefix, SECTION_MAX, SINKS_PREFIX "%s.", sink);
    return RN_OK;
}

static int add_sink(struct config *config, struct config_sink *sink, struct rn_err *err)
{
    sink->sink = sink_find(sink->type);
    if (!sink->sink) {
        char known[128] = "";
        for (size_t i = 0; i < sink_table_count; i++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", sink_table[i]->type);
        }
        return rn_fail(err, RN_EINVAL, "sinks.%s.type: expected one of %s, got \"%s\"", sink->name,
                       known, sink->type);
    }
    sink->conf = calloc(1, sink->sink->conf_size + 1);
    if (!sink->conf)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = add_section(config, sink->name, type_row, RN_OPT_COUNT(type_row), sink, err);
    if (rc == RN_OK)
        rc = add_section(config, sink->name, cursor_opt_rows, cursor_opt_count, &sink->opts, err);
    if (rc == RN_OK && sink->sink->nopts)
        rc = add_section(config, sink->name, sink->sink->opts, sink->sink->nopts, sink->conf, err);
    return rc;
}

static int add_sections(struct config *config, struct rn_err *err)
{
    config->conf.sections = calloc(MAX_SECTIONS, sizeof *config->conf.sections);
    if (!config->conf.sections)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = add_section(config, NULL, rows, RN_OPT_COUNT(rows), &config->settings, err);
    for (uint32_t i = 0; rc == RN_OK && i < config->nsinks; i++)
        rc = add_sink(config, &config->sinks[i], err);
    return rc == RN_OK ? rn_conf_init(&config->conf, err) : rc;
}

// ---- what only the whole can tell --------------------------------------------------------------

static int apply_route(struct config *config, uint32_t type, struct rn_err *err)
{
    static const char letters[] = "mlei";
    const struct rn_opt_list *list = &config->settings.routes[type];
    if (!list->count)
        return RN_OK;
    for (uint32_t i = 0; i < config->nsinks; i++) {
        char *types = config->sinks[i].opts.types, *at = strchr(types, letters[type]);
        if (at)
            memmove(at, at + 1, strlen(at));
    }
    for (int i = 0; i < list->count; i++) {
        struct config_sink *sink = sink_named(config, list->item[i], strlen(list->item[i]));
        if (!sink)
            return rn_fail(err, RN_EINVAL, "routes.%c: there is no sink %s", letters[type],
                           list->item[i]);
        size_t used = strlen(sink->opts.types);
        if (used + 1 < sizeof sink->opts.types)
            sink->opts.types[used] = letters[type];
    }
    return RN_OK;
}

// auto: the first database that takes metrics, so that a device keeps its data until it can be
// queried there; without one the log.
static void resolve_ack_after(struct config *config)
{
    struct bridge_settings *s = &config->settings;
    if (strcmp(s->ack_after, "auto") != 0)
        return;
    snprintf(s->ack_after, sizeof s->ack_after, "log");
    for (uint32_t i = 0; i < config->nsinks; i++) {
        const struct config_sink *sink = &config->sinks[i];
        if (!sink->sink->database || !strchr(sink->opts.types, 'm'))
            continue;
        snprintf(s->ack_after, sizeof s->ack_after, "%s", sink->name);
        return;
    }
}

static int finish(struct config *config, struct rn_err *err)
{
    const struct bridge_settings *s = &config->settings;
    int rc = rn_conf_check(&config->conf, err);
    for (uint32_t type = 0; rc == RN_OK && type < 4; type++)
        rc = apply_route(config, type, err);
    if (rc)
        return rc;
    if (!rn_bridge_valid(rn_span_text(s->name)))
        return rn_fail(err, RN_EINVAL, "name: expected [A-Z][A-Za-z0-9._-]{0,31}, got \"%s\"",
                       s->name);
    if (s->mqtt_backoff_max_ms < s->mqtt_backoff_min_ms)
        return rn_fail(err, RN_EINVAL, "mqtt.backoff_max: expected at least mqtt.backoff_min");
    resolve_ack_after(config);
    if (strcmp(s->ack_after, "log") != 0 && !sink_named(config, s->ack_after, strlen(s->ack_after)))
        return rn_fail(err, RN_EINVAL,
                       "ack_after: expected auto, log or the name of a sink, got \"%s\"",
                       s->ack_after);
    for (uint32_t i = 0; i < config->nsinks; i++) {
        const struct config_sink *sink = &config->sinks[i];
        rc = sink->sink->check ? sink->sink->check(sink->conf, err) : RN_OK;
        if (rc) {
            struct rn_err why = *err;
            const char *colon = why.text[0] == '.' ? "" : ": ";
            return rn_fail(err, rc, "sinks.%s%s%s", sink->name, colon, why.text);
        }
    }
    return RN_OK;
}

bool config_sink_holds(const struct config *config, const struct config_sink *sink)
{
    if (sink->opts.when_log_full != CURSOR_FULL_AUTO)
        return sink->opts.when_log_full == CURSOR_FULL_HOLD;
    return strcmp(config->settings.ack_after, sink->name) == 0;
}

// ---- loading -----------------------------------------------------------------------------------

static int read_all(struct config *config, const struct config_sources *sources, const char *path,
                    const char *folder, struct rn_err *err)
{
    int rc = RN_OK;
    if (path)
        rc = see_file(config, path, err);
    if (rc == RN_OK && path)
        rc = see_folder(config, folder, err);
    for (size_t i = 0; rc == RN_OK && i < sources->nsets; i++)
        rc = see_set(config, sources->sets[i], err);
    if (rc == RN_OK)
        rc = add_sections(config, err);
    if (rc == RN_OK && path)
        rc = rn_conf_file(&config->conf, path, err);
    if (rc == RN_OK && path)
        rc = rn_conf_folder(&config->conf, folder, err);
    for (size_t i = 0; rc == RN_OK && i < sources->nsets; i++) {
        char key[256];
        const char *equals = strchr(sources->sets[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - sources->sets[i]), sources->sets[i]);
        rc = rn_conf_set(&config->conf, key, equals + 1, "--set", false, err);
        if (rc)
            rn_err_prefix(err, "--set %s", key);
    }
    return rc == RN_OK ? finish(config, err) : rc;
}

int config_load(struct config **out, const struct config_sources *sources, struct rn_err *err)
{
    char folder[512] = "";
    const char *path = sources->path;
    if (!path && (access(CONFIG_FILE, F_OK) == 0 || errno != ENOENT)) // reading it tells
        path = CONFIG_FILE;
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = path ? folder_of(path, folder, sizeof folder, err) : RN_OK;
    if (rc == RN_OK)
        rc = read_all(config, sources, path, folder, err);
    if (rc) {
        config_free(config);
        return rc;
    }
    *out = config;
    return RN_OK;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->conf.nsections; i++) {
        union { // made by add_section; the section only promises not to write
            const char *shown;
            char *owned;
        } prefix = {.shown = config->conf.sections[i].prefix};
        free(prefix.owned);
        free(config->conf.sections[i].origins);
    }
    for (uint32_t i = 0; i < config->nsinks; i++)
        free(config->sinks[i].conf);
    free(config->conf.sections);
    free(config);
}

// ---- showing -----------------------------------------------------------------------------------

void config_print(const struct config *config, bool origins, struct rn_buf *out)
{
    for (size_t i = 0; i < config->conf.nsections; i++) {
        const struct rn_conf_section *section = &config->conf.sections[i];
        for (size_t k = 0; k < section->count; k++) {
            rn_buf_printf(out, "%s%s: ", section->prefix, section->rows[k].key);
            rn_opt_print(&section->rows[k], section->base, out);
            if (origins)
                rn_buf_printf(out, "  # %s", section->origins[k].source);
            rn_buf_byte(out, '\n');
        }
    }
}

static void help_rows(struct rn_buf *out, const char *prefix, const struct rn_opt *table,
                      size_t count)
{
    for (size_t i = 0; i < count; i++)
        rn_buf_printf(out, "  %s%s [%s]\n      %s\n", prefix, table[i].key,
                      table[i].def ? table[i].def : "", table[i].help);
}

void config_help(struct rn_buf *out)
{
    help_rows(out, "", rows, RN_OPT_COUNT(rows));
    help_rows(out, SINKS_PREFIX "<name>.", type_row, RN_OPT_COUNT(type_row));
    help_rows(out, SINKS_PREFIX "<name>.", cursor_opt_rows, cursor_opt_count);
    for (size_t i = 0; i < sink_table_count; i++) {
        rn_buf_printf(out, "  with type %s: %s\n", sink_table[i]->type, sink_table[i]->help);
        help_rows(out, SINKS_PREFIX "<name>.", sink_table[i]->opts, sink_table[i]->nopts);
    }
}
