// See demo_world.h.
#include "cli/demo_world.h"

#include <runnel/clock.h>
#include <runnel/file.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS  20000 // agents end within 2 s, but the machine may be busy
#define POLL_US          50000
#define SETTING_MAX      600
#define CUT_NUMBER       7 // of the simulated devices: sim007

// ---- arguments of a program: "run --set key=value ..." -----------------------------------------
struct arguments {
    char *argv[CHILD_MAX_ARGS];
    char text[CHILD_MAX_ARGS][SETTING_MAX];
    int count;
};

static void add(struct arguments *args, const char *text)
{
    if (args->count + 1 >= CHILD_MAX_ARGS)
        return;
    snprintf(args->text[args->count], SETTING_MAX, "%s", text);
    args->argv[args->count] = args->text[args->count];
    args->argv[++args->count] = NULL;
}

static void RN_PRINTF(2, 3) set(struct arguments *args, const char *format, ...)
{
    char text[SETTING_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    add(args, "--set");
    add(args, text);
}

static void begin(struct arguments *args, const char *program, const char *command)
{
    char path[512];
    child_find_program(path, sizeof path, program);
    args->count = 0;
    add(args, path);
    add(args, command);
    add(args, "-c");
    add(args, "/dev/null"); // options alone
}

static int start(struct demo_world *world, struct child *child, const char *name,
                 struct arguments *args, struct rn_err *err)
{
    char log[512];
    snprintf(log, sizeof log, "%s/%s.log", world->folder, name);
    return child_start(child, name, log, args->argv, err);
}

static int died(struct child *child, struct rn_err *err)
{
    char words[160];
    child_last_words(child, words, sizeof words);
    return rn_fail(err, RN_EIO, "the %s ended: ...%s", child->name, words);
}

// ---- setting up -------------------------------------------------------------------------------
// A host name as a device name: lower case, what is not allowed becomes a hyphen.
static void name_of_this_machine(char out[RN_DEV_MAX + 1])
{
    if (gethostname(out, RN_DEV_MAX) != 0)
        out[0] = 0;
    out[RN_DEV_MAX] = 0;
    for (char *at = out; *at; at++) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
        else if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '.'))
            *at = '-';
    }
    if (!rn_dev_valid(rn_span_text(out)) || strncmp(out, "sim", 3) == 0)
        snprintf(out, RN_DEV_MAX + 1, "this-machine");
}

int world_init(struct demo_world *world, int devices, const char *influx, struct rn_err *err)
{
    *world = (struct demo_world){.devices = devices, .influx = influx};
    const char *base = getenv("TMPDIR");
    snprintf(world->folder, sizeof world->folder, "%s/runnel-demo-XXXXXX",
             base && base[0] ? base : P_tmpdir);
    if (!mkdtemp(world->folder)) {
        world->folder[0] = 0;
        return rn_fail_errno(err, "cannot make a temporary folder (TMPDIR names another place)");
    }
    name_of_this_machine(world->device);
    if (devices >= CUT_NUMBER)
        snprintf(world->cut_device, sizeof world->cut_device, "sim%03d", CUT_NUMBER);
    return 0;
}

static int write_broker_conf(const struct demo_world *world, const char *path, struct rn_err *err)
{
    char text[400];
    snprintf(text, sizeof text,
             "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\n"
             "set_tcp_nodelay true\nmax_queued_messages 100000\n%s",
             world->broker_port, geteuid() == 0 ? "user root\n" : "");
    return rn_file_replace(path, rn_span_text(text), 0600, err);
}

static bool accepts(unsigned short port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

int world_start_broker(struct demo_world *world, struct rn_err *err)
{
    char conf[512];
    snprintf(conf, sizeof conf, "%s/mosquitto.conf", world->folder);
    world->broker_port = child_free_port();
    int rc = write_broker_conf(world, conf, err);
    if (rc < 0)
        return rc;
    const char *program =
        access("/usr/sbin/mosquitto", X_OK) == 0 ? "/usr/sbin/mosquitto" : "mosquitto";
    struct arguments args = {0};
    add(&args, program);
    add(&args, "-c");
    add(&args, conf);
    rc = start(world, &world->broker, "broker", &args, err);
    int64_t deadline = rn_clock_mono_ms() + START_TIMEOUT_MS;
    while (rc == 0 && !accepts(world->broker_port)) {
        if (!child_alive(&world->broker) || rn_clock_mono_ms() > deadline)
            return died(&world->broker, err);
        usleep(POLL_US);
    }
    return rc;
}

// Makes the database if the server is an InfluxDB 1.x that lets us; if not, the sink will say what
// is wrong.
static void create_database(const char *base, const char *database)
{
    struct api *server = NULL;
    struct rn_json *answer = NULL;
    struct rn_err ignored;
    char path[300];
    snprintf(path, sizeof path, "/query?q=CREATE%%20DATABASE%%20%%22%s%%22", database);
    if (api_new(&server, base, NULL, &ignored) == 0 &&
        api_call(server, "POST", path, "", &answer, &ignored) == 0)
        rn_json_free(answer);
    api_free(server);
}

// http://host:port[/][?db=name]: the database defaults to "runnel".
static void set_influx(struct arguments *args, const char *url)
{
    char base[300], database[100];
    const char *db = strstr(url, "?db=");
    snprintf(base, sizeof base, "%.*s", (int)strcspn(url, "?"), url);
    snprintf(database, sizeof database, "%s", db ? db + 4 : "runnel");
    create_database(base, database);
    set(args, "sinks.influx.type=influx");
    set(args, "sinks.influx.url=%s", base);
    set(args, "sinks.influx.database=%s", database);
}

int world_start_bridge(struct demo_world *world, struct rn_err *err)
{
    char url[64];
    struct arguments args = {0};
    world->http_port = child_free_port();
    begin(&args, "runnel-bridge", "run");
    set(&args, "data=%s/bridge", world->folder);
    set(&args, "mqtt.addresses=mqtt://127.0.0.1:%u", world->broker_port);
    set(&args, "mqtt.backoff_min=200ms");
    set(&args, "http.listen=127.0.0.1:%u", world->http_port);
    set(&args, "liveness.grace=1s");
    if (world->influx)
        set_influx(&args, world->influx);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", world->http_port);
    int rc = start(world, &world->bridge, "bridge", &args, err);
    if (rc == 0)
        rc = api_new(&world->api, url, NULL, err);
    int64_t deadline = rn_clock_mono_ms() + START_TIMEOUT_MS;
    while (rc == 0) {
        struct rn_json *answer = NULL;
        struct rn_err ignored;
        bool ready = api_call(world->api, "GET", "/readyz", NULL, &answer, &ignored) == 0;
        rn_json_free(answer);
        if (ready)
            break;
        if (!child_alive(&world->bridge) || rn_clock_mono_ms() > deadline)
            return died(&world->bridge, err);
        usleep(POLL_US);
    }
    return rc;
}

// What both kinds of agents have in common: a fast rhythm, all by ordinary options.
static void set_agent_options(struct demo_world *world, struct arguments *args, const char *data)
{
    set(args, "data=%s/%s", world->folder, data);
    set(args, "mqtt.addresses=mqtt://127.0.0.1:%u", world->broker_port);
    set(args, "step=1s");
    set(args, "batch.interval=2s");
    set(args, "status.interval=1s");
    set(args, "mqtt.first_reconnect=500ms");
    set(args, "mqtt.backoff_min=200ms");
    set(args, "mqtt.backoff_max=1s");
    set(args, "uplink.ack_timeout_min=1s");
}

static int start_simulator(struct demo_world *world, struct rn_err *err)
{
    char text[80];
    struct arguments args = {0};
    begin(&args, "runnel-agent", "simulate");
    add(&args, "--devices");
    snprintf(text, sizeof text, "%d", world->devices);
    add(&args, text);
    if (world->cut_device[0]) {
        int rc = relay_start(&world->relay, world->broker_port, err);
        if (rc < 0)
            return rc;
        add(&args, "--via");
        snprintf(text, sizeof text, "%d=mqtt://127.0.0.1:%u", CUT_NUMBER, relay_port(world->relay));
        add(&args, text);
    }
    set_agent_options(world, &args, "simulated");
    return start(world, &world->simulator, "simulator", &args, err);
}

static int start_agent(struct demo_world *world, struct rn_err *err)
{
    struct arguments args = {0};
    begin(&args, "runnel-agent", "run");
    set(&args, "device=%s", world->device);
    set_agent_options(world, &args, "agent");
    return start(world, &world->agent, "agent", &args, err);
}

static size_t devices_known(struct demo_world *world)
{
    struct rn_json *answer = NULL;
    struct rn_err ignored;
    size_t count = 0;
    if (api_call(world->api, "GET", "/api/v1/devices", NULL, &answer, &ignored) == 0)
        count = rn_json_len(rn_json_get(answer, "devices"));
    rn_json_free(answer);
    return count;
}

int world_start_agents(struct demo_world *world, struct rn_err *err)
{
    int rc = start_agent(world, err);
    if (rc == 0 && world->devices > 0)
        rc = start_simulator(world, err);
    int64_t deadline = rn_clock_mono_ms() + START_TIMEOUT_MS;
    while (rc == 0 && devices_known(world) < (size_t)world->devices + 1) {
        rc = world_check(world, err);
        if (rc == 0 && rn_clock_mono_ms() > deadline)
            return rn_fail(err, RN_EAGAIN, "not all devices appeared at the bridge within %d s",
                           START_TIMEOUT_MS / 1000);
        usleep(POLL_US);
    }
    return rc;
}

int world_check(struct demo_world *world, struct rn_err *err)
{
    struct child *all[] = {&world->broker, &world->bridge, &world->agent, &world->simulator};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->pid && !child_alive(all[i]))
            return died(all[i], err);
    return 0;
}

bool world_stop_agents(struct demo_world *world)
{
    bool clean = child_stop(&world->agent, STOP_TIMEOUT_MS);
    if (world->simulator.name)
        clean = child_stop(&world->simulator, STOP_TIMEOUT_MS) && clean;
    return clean;
}

void world_release(struct demo_world *world)
{
    struct rn_err ignored;
    child_stop(&world->agent, 3000);
    child_stop(&world->simulator, 3000);
    child_stop(&world->bridge, 5000);
    child_stop(&world->broker, 3000);
    relay_stop(world->relay);
    api_free(world->api);
    if (world->folder[0] && rn_remove_tree(world->folder, &ignored) < 0)
        fprintf(stderr, "runnel: could not remove %s: %s\n", world->folder, ignored.text);
    *world = (struct demo_world){0};
}
