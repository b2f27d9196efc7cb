// Configuration of the bridge: option rows, sinks found in the files, routes, what only the whole
// can tell. Everything lives as long as the config.
#ifndef BRIDGE_CONFIG_H
#define BRIDGE_CONFIG_H

#include "bridge/cursors.h"
#include "bridge/sink/sink.h"
#include <runnel/conf.h>
#include <runnel/opt.h>
#include <runnel/wire.h>

#define CONFIG_FILE      "/etc/runnel/bridge.yaml"
#define CONFIG_MAX_SINKS (CURSORS_MAX - 1)

struct bridge_settings {
    char name[RN_DEV_MAX + 1], data[256], topic_prefix[33];
    struct rn_opt_list mqtt_addresses;
    char mqtt_username[128], mqtt_password[256];
    char mqtt_ca_file[256], mqtt_cert_file[256], mqtt_key_file[256];
    bool mqtt_insecure;
    int64_t mqtt_keepalive_ms, mqtt_connect_timeout_ms, mqtt_backoff_min_ms, mqtt_backoff_max_ms,
        mqtt_first_reconnect_ms;
    char http_listen[128], http_token[256], http_hosts[256];
    char ack_after[CURSOR_NAME_MAX + 1];
    int64_t commit_interval_ms, ack_delay_ms, hold_ms;
    int64_t log_segment_bytes, log_cursor_bytes, log_history_bytes, log_max_age_ms;
    int64_t dead_max_bytes, dead_max_age_ms;
    int64_t live_grace_ms, live_missed, live_default_interval_ms, live_reconnect_ms, live_storm_min,
        live_duplicate_clear_ms;
    int64_t time_past_ms, time_future_ms;
    int64_t fleet_max, fleet_pending_max;
    int64_t schema_cache_bytes, last_values_max;
    struct rn_opt_list routes[4]; // m, l, e, i
    int log_level;
};

struct config_sink {
    char name[CURSOR_NAME_MAX + 1];
    char type[32];
    const struct rn_sink *sink;
    struct cursor_opts opts;
    void *conf; // sink->conf_size bytes
};

struct config {
    struct bridge_settings settings;
    struct config_sink sinks[CONFIG_MAX_SINKS];
    uint32_t nsinks;
    struct rn_conf conf;
};

// Everything that says what the configuration is. path NULL: CONFIG_FILE if it is there. Beside a
// file NAME.yaml its folder NAME.d/*.yaml is read. sets: KEY=VALUE.
struct config_sources {
    const char *path;
    const char *const *sets;
    size_t nsets;
};
RN_MUST_CHECK int config_load(struct config **out, const struct config_sources *sources,
                              struct rn_err *err);
void config_free(struct config *config);
// One line a row: "key: value", with "  # source" if origins.
void config_print(const struct config *config, bool origins, struct rn_buf *out);
void config_help(struct rn_buf *out);
// True if retention waits for this sink.
bool config_sink_holds(const struct config *config, const struct config_sink *sink);

#endif
