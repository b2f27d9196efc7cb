// See command.h: what the subcommands share, and the small ones.
#include "agent/command.h"

#include "agent/connection.h"
#include "agent/remote_io.h"
#include "agent/sampler.h"
#include "agent/store.h"
#include <runnel/clock.h>
#include <runnel/text.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PRINT_MAX = 1 << 20 };

int command_config(const struct command_args *args, const struct rn_collector *const *table,
                   size_t count, struct config **out, struct rn_err *err)
{
    struct config *config;
    int rc = config_new(&config, table, count, args->origin, err);
    if (rc < 0)
        return rc;
    rc = config_load(config, args->config_path, args->sets, args->nsets, err);
    if (rc >= 0)
        rc = config_finish(config, err);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    *out = config;
    return RN_OK;
}

int command_config_failed(const struct rn_err *err)
{
    fprintf(stderr, "runnel-agent: configuration: %s\n", err->text);
    return COMMAND_CONFIG;
}

static void print(struct rn_buf *out)
{
    fwrite(out->data, 1, out->len, stdout);
    fflush(stdout);
    rn_buf_release(out);
}

// ---- check --------------------------------------------------------------------------------------

struct attempt {
    struct rn_loop *loop;
    bool reached;
    char text[256];
};

static void attempt_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    struct attempt *a = arg;
    (void)receive_maximum;
    a->reached = true;
    snprintf(a->text, sizeof a->text, "connected to %s", address);
    rn_loop_stop(a->loop);
}

static void attempt_failed(void *arg, bool was_connected, const char *address, const char *reason,
                           int64_t retry_ms)
{
    struct attempt *a = arg;
    (void)was_connected;
    (void)retry_ms;
    a->reached = false;
    snprintf(a->text, sizeof a->text, "%s: %s", address, reason);
    rn_loop_stop(a->loop);
}

static bool attempt_will(void *arg, char topic[128], struct rn_buf *payload)
{
    (void)arg;
    (void)topic;
    (void)payload;
    return false;
}

static void attempt_message(void *arg, const struct rn_mqtt_message *message)
{
    (void)arg;
    (void)message;
}

static void attempt_published(void *arg, uint64_t token, int code)
{
    (void)arg;
    (void)token;
    (void)code;
}

// One attempt at the first address.
static int try_connect(const struct config *config, struct attempt *a, struct rn_err *err)
{
    struct rn_mqtt *mqtt;
    struct connection_conf conf;
    const struct rn_mqtt_handler handler = {.arg = a,
                                            .will = attempt_will,
                                            .connected = attempt_connected,
                                            .disconnected = attempt_failed,
                                            .message = attempt_message,
                                            .published = attempt_published};
    int rc = rn_loop_new(&a->loop, err);
    if (rc < 0)
        return rc;
    connection_conf(&conf, &config->settings, 1);
    rc = rn_mqtt_new(&mqtt, a->loop, &conf.conf, &handler, err);
    if (rc >= 0) {
        rn_mqtt_start(mqtt);
        rn_loop_run(a->loop);
        rn_mqtt_free(mqtt);
    }
    rn_loop_free(a->loop);
    return rc;
}

static int check_connect(const struct config *config)
{
    struct attempt a = {.reached = false};
    struct rn_err err;
    if (try_connect(config, &a, &err) < 0)
        snprintf(a.text, sizeof a.text, "%s", err.text);
    printf("%s\n", a.text);
    return a.reached ? COMMAND_OK : COMMAND_NO_LINK;
}

// Where an agent has run here, the document that it runs is part of its configuration.
static void add_remote(struct config **config)
{
    struct remote_seen seen;
    struct rn_err err;
    int rc = remote_io_inspect((*config)->settings.data, &seen, config, &err);
    if (rc < 0 && rc != RN_ENOENT)
        fprintf(stderr, "runnel-agent: without the remote configuration: %s\n", err.text);
}

int command_check(const struct command_args *args)
{
    struct config *config;
    struct rn_err err;
    struct rn_buf out;
    if (command_config(args, collect_table, collect_table_count, &config, &err) < 0)
        return command_config_failed(&err);
    add_remote(&config);
    rn_buf_init(&out, PRINT_MAX);
    config_print(config, args->origin, &out);
    print(&out);
    int status = args->connect ? check_connect(config) : COMMAND_OK;
    config_free(config);
    return status;
}

// ---- collect ------------------------------------------------------------------------------------

struct printer {
    const struct command_args *args;
    const char *device;
    bool second; // the first tick only fills what differences are taken from
};

// As on the wire: the key message that carries the schema, then the batch.
static void print_cbor(struct rn_buf *out, const struct sampler_batch *b)
{
    struct rn_err err;
    struct rn_key_msg key = {
        .install = 1, .kind = RN_OBJECT_SCHEMA, .id = 1, .has_object = true, .object = b->object};
    struct rn_batch_head head = {.tag = 1, .seq = 1};
    memcpy(key.hash, b->hash, RN_HASH_BYTES);
    if (rn_key_encode(&key, out) < 0)
        return;
    rn_batch_put_head(out, &head);
    if (rn_batch_encode_body(b->schema, 1, b->grid, out, &err) < 0)
        fprintf(stderr, "runnel-agent: %s\n", err.text);
}

static int print_batch(void *arg, const struct sampler_batch *b)
{
    struct printer *p = arg;
    struct rn_buf out;
    if (!p->second)
        return RN_OK;
    rn_buf_init(&out, PRINT_MAX);
    if (p->args->format == COMMAND_CBOR) {
        print_cbor(&out, b);
    } else if (p->args->format == COMMAND_JSON) {
        rn_json_grid(&out, b->schema, b->grid, rn_span_text(p->device));
    } else {
        const struct rn_lp_conf lp = {.host_key = rn_span_text("host"),
                                      .host = rn_span_text(p->device)};
        rn_lp_grid(&out, b->schema, b->grid, &lp);
    }
    print(&out);
    return RN_OK;
}

static void print_trouble(void *arg, const char *collector, const char *text)
{
    (void)arg;
    if (text)
        fprintf(stderr, "runnel-agent: %s: %s\n", collector, text);
}

static int collect_twice(struct config *config, struct printer *p, struct rn_err *err)
{
    const struct sampler_hooks hooks = {.arg = p, .batch = print_batch, .trouble = print_trouble};
    struct sampler *sampler;
    int rc = sampler_new(&sampler, config, &hooks, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < 2; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        p->second = i > 0;
        sampler_once(sampler, rn_clock_utc_ms(), rn_clock_boot_ms());
        sampler_cut(sampler);
    }
    sampler_free(sampler);
    return RN_OK;
}

int command_collect(const struct command_args *args)
{
    struct config *config;
    struct rn_err err;
    if (!args->once) {
        fprintf(stderr, "runnel-agent: collect: expected --once\n");
        return COMMAND_USAGE;
    }
    if (command_config(args, collect_table, collect_table_count, &config, &err) < 0)
        return command_config_failed(&err);
    config->settings.step_ms = config->settings.batch_interval_ms = 1000;
    for (size_t i = 0; i < config->ncollectors; i++)
        config->collectors[i].period_ms = 0;
    struct printer p = {.args = args, .device = config->settings.device};
    int rc = collect_twice(config, &p, &err);
    if (rc < 0)
        fprintf(stderr, "runnel-agent: %s\n", err.text);
    config_free(config);
    return rc < 0 ? COMMAND_FAILED : COMMAND_OK;
}

// ---- status -------------------------------------------------------------------------------------

static void print_remote(const struct config *config)
{
    struct remote_seen seen;
    struct rn_err err;
    char hash[2 * RN_HASH_BYTES + 1];
    if (remote_io_inspect(config->settings.data, &seen, NULL, &err) < 0)
        return;
    rn_hex(hash, seen.running.hash, RN_HASH_BYTES);
    printf("config_revision=%llu config_hash=%s config_judged=%llu config_state=%s "
           "config_path=\"%s\" config_reason=\"%s\"\n",
           (unsigned long long)seen.running.revision, hash,
           (unsigned long long)seen.judged.revision, remote_state_name(seen.verdict), seen.path,
           seen.reason);
}

int command_status(const struct command_args *args)
{
    struct config *config;
    struct rn_err err;
    struct store_state s;
    bool running;
    if (command_config(args, collect_table, collect_table_count, &config, &err) < 0)
        return command_config_failed(&err);
    int rc = store_inspect(config->settings.data, &s, &running, &err);
    if (rc < 0)
        fprintf(stderr, "runnel-agent: %s\n", err.text);
    else
        printf("device=%s running=%s install=%016llx batches=%llu oldest=%llu next=%llu "
               "published=%llu produced=%llu delivered=%llu pending=%llu evicted=%llu thinned=%llu "
               "refused=%llu lost=%llu\n",
               config->settings.device, running ? "yes" : "no", (unsigned long long)s.install,
               (unsigned long long)s.rows, (unsigned long long)s.low, (unsigned long long)s.next,
               (unsigned long long)s.published, (unsigned long long)s.ledger.produced,
               (unsigned long long)s.ledger.delivered, (unsigned long long)s.ledger.pending,
               (unsigned long long)s.ledger.evicted, (unsigned long long)s.ledger.thinned,
               (unsigned long long)s.ledger.refused, (unsigned long long)s.ledger.lost);
    if (rc >= 0)
        print_remote(config);
    config_free(config);
    return rc < 0 ? COMMAND_FAILED : COMMAND_OK;
}
