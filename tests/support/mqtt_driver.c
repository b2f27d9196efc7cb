// Drives one rn_mqtt from standard input and prints what it reports, a line each: the hands and
// eyes of tests/e2e/test_mqtt.py.
//
//   mqtt_driver key=value ...    addresses (comma), id, username, password, ca, cert, key,
//   insecure,
//                                proxy, keepalive, timeout, min, max, first, inflight, items,
//                                bytes, seed, will (its topic; payload "will-N" with N = attempt)
// Commands:
//   sub FILTER QOS | pub TOPIC QOS RETAIN TOKEN PAYLOAD | flood TOPIC QOS COUNT SIZE
//   reconnect REASON | addresses LIST | stall MS | stats | stop MS | quit
#include <runnel/loop.h>
#include <runnel/mqtt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ADDRESSES_MAX = 8, CLIENTS_MAX = 64, LINE_MAX_BYTES = 8192, FLOOD_SIZE_MAX = 4096 };

struct driver {
    struct rn_loop *loop;
    struct rn_mqtt *mqtt, *more[CLIENTS_MAX];
    uint32_t clients;
    struct rn_fd *input;
    struct rn_mqtt_conf conf;
    const char *addresses[ADDRESSES_MAX];
    const char *will;
    unsigned attempts;
    char line[LINE_MAX_BYTES];
    size_t line_len;
    struct {
        char topic[128];
        int qos;
        unsigned count, size, sent, done, failed;
        int64_t begin_ms;
    } flood;
};

// ---- what rn_mqtt reports ----------------------------------------------------------------------

static bool on_will(void *arg, char topic[128], struct rn_buf *payload)
{
    struct driver *d = arg;
    d->attempts++;
    if (!d->will)
        return false;
    snprintf(topic, 128, "%s", d->will);
    rn_buf_printf(payload, "will-%u", d->attempts);
    return true;
}

static void on_connected(void *arg, const char *address, uint32_t receive_maximum)
{
    (void)arg;
    printf("up %s %u\n", address, receive_maximum);
}

static void on_disconnected(void *arg, bool was_connected, const char *address, const char *reason,
                            int64_t retry_ms)
{
    (void)arg;
    printf("down %d %lld %s %s\n", was_connected, (long long)retry_ms, address, reason);
}

static void on_message(void *arg, const struct rn_mqtt_message *message)
{
    (void)arg;
    printf("msg %s %d %d %.*s\n", message->topic, message->qos, message->retained,
           (int)message->payload.len, (const char *)message->payload.data);
}

static int64_t real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void go_on_flooding(struct driver *d)
{
    static const uint8_t bytes[FLOOD_SIZE_MAX];
    while (d->flood.sent < d->flood.count &&
           rn_mqtt_publish(d->mqtt, d->flood.topic, (struct rn_span){bytes, d->flood.size},
                           d->flood.qos, false, UINT64_MAX) == RN_OK)
        d->flood.sent++;
}

static void on_flooded(struct driver *d, int code)
{
    d->flood.done++;
    d->flood.failed += code != 0;
    go_on_flooding(d);
    if (d->flood.done == d->flood.count)
        printf("flooded %u %u %lld\n", d->flood.done, d->flood.failed,
               (long long)(real_ms() - d->flood.begin_ms));
}

static void on_published(void *arg, uint64_t token, int code)
{
    if (token == UINT64_MAX)
        on_flooded(arg, code);
    else
        printf("pub %llu %d\n", (unsigned long long)token, code);
}

static void on_subscribed(void *arg, const char *filter, int code)
{
    (void)arg;
    printf("sub %s %d\n", filter, code);
}

static void on_stopped(void *arg)
{
    struct driver *d = arg;
    printf("stopped\n");
    rn_mqtt_free(d->mqtt);
    d->mqtt = NULL;
    rn_loop_stop(d->loop);
}

// ---- commands ----------------------------------------------------------------------------------

static uint32_t split_addresses(struct driver *d, char *list)
{
    uint32_t count = 0;
    for (char *save, *at = strtok_r(list, ",", &save); at && count < ADDRESSES_MAX;
         at = strtok_r(NULL, ",", &save))
        d->addresses[count++] = at;
    return count;
}

static void do_sub(struct driver *d, char *args)
{
    char filter[256];
    int qos;
    struct rn_err err;
    if (sscanf(args, "%255s %d", filter, &qos) == 2 &&
        rn_mqtt_subscribe(d->mqtt, filter, qos, &err))
        printf("refused %s\n", err.text);
}

static void do_pub(struct driver *d, char *args)
{
    char topic[256];
    int qos, retain, at = 0;
    unsigned long long token;
    if (sscanf(args, "%255s %d %d %llu %n", topic, &qos, &retain, &token, &at) != 4)
        return;
    struct rn_span payload = {(const uint8_t *)args + at, strlen(args + at)};
    int rc = rn_mqtt_publish(d->mqtt, topic, payload, qos, retain != 0, token);
    if (rc)
        printf("refused %llu %d\n", token, rc);
}

static void do_flood(struct driver *d, char *args)
{
    memset(&d->flood, 0, sizeof d->flood);
    if (sscanf(args, "%127s %d %u %u", d->flood.topic, &d->flood.qos, &d->flood.count,
               &d->flood.size) != 4 ||
        d->flood.size > FLOOD_SIZE_MAX)
        return;
    d->flood.begin_ms = real_ms();
    go_on_flooding(d);
}

static void do_reconnect(struct driver *d, char *args)
{
    rn_mqtt_reconnect(d->mqtt, args);
}

static void do_addresses(struct driver *d, char *args)
{
    struct rn_err err;
    d->conf.naddresses = split_addresses(d, args);
    if (rn_mqtt_reconfigure(d->mqtt, &d->conf, &err))
        printf("refused %s\n", err.text);
}

// A loop that does not keep up: until something was refused for it, for so many ms at the most.
static void do_stall(struct driver *d, char *args)
{
    struct rn_mqtt_stats s = {0};
    printf("stalled\n");
    for (int ms = atoi(args); ms > 0 && !s.queue_refused; ms--) {
        usleep(1000);
        rn_mqtt_get_stats(d->mqtt, &s);
    }
}

static void do_stats(struct driver *d, char *args)
{
    (void)args;
    struct rn_mqtt_stats s;
    rn_mqtt_get_stats(d->mqtt, &s);
    printf("stats connects=%llu failures=%llu messages_in=%llu bytes_in=%llu messages_out=%llu "
           "bytes_out=%llu queue_refused=%llu connected=%d\n",
           (unsigned long long)s.connects, (unsigned long long)s.failures,
           (unsigned long long)s.messages_in, (unsigned long long)s.bytes_in,
           (unsigned long long)s.messages_out, (unsigned long long)s.bytes_out,
           (unsigned long long)s.queue_refused, rn_mqtt_connected(d->mqtt));
}

static void do_stop(struct driver *d, char *args)
{
    rn_mqtt_stop(d->mqtt, atoll(args), on_stopped, d);
}

static void do_quit(struct driver *d, char *args)
{
    (void)args;
    rn_loop_stop(d->loop);
}

static const struct command {
    const char *name;
    void (*run)(struct driver *d, char *args);
} commands[] = {
    {"sub ", do_sub},
    {"pub ", do_pub},
    {"flood ", do_flood},
    {"reconnect ", do_reconnect},
    {"addresses ", do_addresses},
    {"stall ", do_stall},
    {"stats", do_stats},
    {"stop ", do_stop},
    {"quit", do_quit},
};

static void run_command(struct driver *d, char *line)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        size_t len = strlen(commands[i].name);
        if (d->mqtt && strncmp(line, commands[i].name, len) == 0) {
            commands[i].run(d, line + len);
            return;
        }
    }
    printf("unknown %s\n", line);
}

static void on_input(void *arg, int fd, bool readable, bool writable)
{
    struct driver *d = arg;
    (void)writable;
    ssize_t n = readable ? read(fd, d->line + d->line_len, sizeof d->line - d->line_len - 1) : 0;
    if (n <= 0) {
        rn_loop_stop(d->loop);
        return;
    }
    d->line_len += (size_t)n;
    d->line[d->line_len] = '\0';
    char *at = d->line, *end;
    for (; (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        run_command(d, at);
    }
    d->line_len = strlen(at);
    memmove(d->line, at, d->line_len + 1);
}

// ---- start -------------------------------------------------------------------------------------

static void set_option(struct driver *d, const char *key, char *value)
{
    struct rn_mqtt_conf *c = &d->conf;
    const struct {
        const char *key;
        const char **text;
        int64_t *ms;
        uint32_t *number;
    } rows[] = {
        {"id", &c->client_id, NULL, NULL},
        {"username", &c->username, NULL, NULL},
        {"password", &c->password, NULL, NULL},
        {"ca", &c->ca_file, NULL, NULL},
        {"cert", &c->cert_file, NULL, NULL},
        {"key", &c->key_file, NULL, NULL},
        {"proxy", &c->proxy, NULL, NULL},
        {"will", &d->will, NULL, NULL},
        {"keepalive", NULL, &c->keepalive_ms, NULL},
        {"timeout", NULL, &c->connect_timeout_ms, NULL},
        {"min", NULL, &c->backoff_min_ms, NULL},
        {"max", NULL, &c->backoff_max_ms, NULL},
        {"first", NULL, &c->first_reconnect_ms, NULL},
        {"inflight", NULL, NULL, &c->max_inflight},
        {"clients", NULL, NULL, &d->clients},
        {"items", NULL, NULL, &c->max_queue_items},
        {"bytes", NULL, NULL, &c->max_queue_bytes},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].key, key) != 0)
            continue;
        if (rows[i].text)
            *rows[i].text = value;
        else if (rows[i].ms)
            *rows[i].ms = atoll(value);
        else
            *rows[i].number = (uint32_t)atoll(value);
        return;
    }
    if (strcmp(key, "addresses") == 0)
        c->naddresses = split_addresses(d, value);
    else if (strcmp(key, "insecure") == 0)
        c->insecure = *value == '1';
    else if (strcmp(key, "seed") == 0)
        c->seed = strtoull(value, NULL, 10);
    else
        printf("unknown option %s\n", key);
}

static int start_more(struct driver *d, const struct rn_mqtt_handler *handler, struct rn_err *err)
{
    struct rn_mqtt_conf conf = d->conf;
    for (uint32_t i = 0; i < d->clients && i < CLIENTS_MAX; i++) {
        char id[64];
        snprintf(id, sizeof id, "%s-%u", d->conf.client_id, i);
        conf.client_id = id;
        conf.seed++;
        if (rn_mqtt_new(&d->more[i], d->loop, &conf, handler, err))
            return 1;
        rn_mqtt_start(d->more[i]);
    }
    return 0;
}

static int start(struct driver *d)
{
    struct rn_err err = {0};
    struct rn_mqtt_handler handler = {
        .arg = d,
        .will = on_will,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .message = on_message,
        .published = on_published,
        .subscribed = on_subscribed,
    };
    if (rn_loop_new(&d->loop, &err) || rn_mqtt_new(&d->mqtt, d->loop, &d->conf, &handler, &err) ||
        start_more(d, &handler, &err) ||
        rn_fd_new(&d->input, d->loop, STDIN_FILENO, on_input, d, &err)) {
        printf("error %s\n", err.text);
        return 1;
    }
    rn_fd_want(d->input, true, false);
    rn_mqtt_start(d->mqtt);
    return 0;
}

int main(int argc, char **argv)
{
    static struct driver driver;
    struct driver *d = &driver;
    d->conf = (struct rn_mqtt_conf){
        .addresses = d->addresses,
        .client_id = "driver",
        .keepalive_ms = 60000,
        .connect_timeout_ms = 5000,
        .backoff_min_ms = 50,
        .backoff_max_ms = 500,
        .first_reconnect_ms = 50,
        .seed = 1,
        .max_inflight = 16,
        .max_queue_items = 10000,
        .max_queue_bytes = 16 << 20,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return 2;
        *value++ = '\0';
        set_option(d, argv[i], value);
    }
    int rc = start(d);
    if (rc == 0)
        rn_loop_run(d->loop);
    rn_mqtt_free(d->mqtt);
    for (uint32_t i = 0; i < CLIENTS_MAX; i++)
        rn_mqtt_free(d->more[i]);
    rn_fd_free(d->input);
    rn_loop_free(d->loop);
    return rc;
}
