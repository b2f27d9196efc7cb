// The agent's configuration: one option table of its own and one section for each collector.
//
// Sources, a later one wins: defaults, agent.yaml, agent.d/*.yaml, --set, a remote document (rows
// marked RN_OPT_REMOTE only). A configuration is made whole, checked whole and then handed to
// agent_reconfigure; it is never changed in place.
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "agent/collect/collector.h"
#include <runnel/conf.h>
#include <runnel/opt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_FILE     "/etc/runnel/agent.yaml"
#define CONFIG_FOLDER   "/etc/runnel/agent.d"
#define CONFIG_SETS_MAX 64

struct agent_settings {
    char device[64];
    char data[256];
    char topic_prefix[33];
    struct rn_opt_list batch_encodings;
    int profile; // enum pace_profile
    int64_t step_ms;
    int64_t batch_interval_ms; // 0: see pace_interval
    bool batch_flush_on_change;
    int64_t journal_interval_ms, status_interval_ms;
    int64_t buffer_max_bytes, buffer_max_age_ms;
    struct rn_opt_list mqtt_addresses;
    char mqtt_client_id[64], mqtt_username[64], mqtt_password[128];
    char mqtt_ca_file[256], mqtt_cert_file[256], mqtt_key_file[256], mqtt_proxy[128];
    bool mqtt_insecure;
    int64_t mqtt_keepalive_ms; // 0: see pace_keepalive
    int64_t mqtt_keepalive_min_ms;
    int64_t mqtt_connect_timeout_ms, mqtt_backoff_min_ms, mqtt_backoff_max_ms,
        mqtt_first_reconnect_ms;
    int64_t uplink_ack_timeout_min_ms, uplink_ack_timeout_max_ms, uplink_ack_by_ms,
        uplink_hello_timeout_ms, uplink_window;
    char procfs[256], sysfs[256], rootfs[256];
    char config_key_file[256];
    bool config_allow_unsigned, config_allow_paths;
    int64_t config_deadline_connected_ms, config_deadline_unconnected_ms;
    int log_level; // enum rn_log_level
};

struct config_collector {
    const struct rn_collector *what;
    bool enabled;
    int64_t period_ms; // 0: the step
    void *conf;        // what->conf_size bytes
};

struct config {
    struct agent_settings settings;
    struct config_collector *collectors;
    size_t ncollectors;
    struct rn_conf conf; // sections over the above
};

extern const struct rn_opt config_rows[];
extern const size_t config_row_count;

// All defaults over the given collectors (borrowed for ever). origins: keep who set what.
RN_MUST_CHECK int config_new(struct config **out, const struct rn_collector *const *table,
                             size_t count, bool origins, struct rn_err *err);
void config_free(struct config *config);
// The same values over the same collectors.
RN_MUST_CHECK int config_copy(struct config **out, const struct config *from, struct rn_err *err);
// Bit k for each encoding k that may be used; 0: the list is wrong.
unsigned config_encodings(const struct agent_settings *settings);
// Would both make the same connection?
bool config_same_connection(const struct agent_settings *a, const struct agent_settings *b);
// May a running agent go from a to b? The text names the option that cannot change.
RN_MUST_CHECK int config_check_fixed(const struct agent_settings *a, const struct agent_settings *b,
                                     struct rn_err *err);
// Reads path (NULL: CONFIG_FILE and CONFIG_FOLDER, where they are there), then "KEY=VALUE" texts.
RN_MUST_CHECK int config_load(struct config *config, const char *path, const char *const *sets,
                              size_t nsets, struct rn_err *err);
// What no single row can say: the device's name (the host's where none is set), periods that are
// multiples of the step. To be called after loading, and again after further changes.
RN_MUST_CHECK int config_finish(struct config *config, struct rn_err *err);
// One line a row: key, value, and with origins who set it.
void config_print(const struct config *config, bool origins, struct rn_buf *out);
// One line a row: key, default, help.
void config_help(const struct config *config, struct rn_buf *out);

#endif
