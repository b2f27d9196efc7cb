// `runnel demo`: the whole main job on this machine, with every sample accounted for at the end.
#include "cli/cli.h"
#include "cli/demo_account.h"
#include "cli/demo_world.h"

#include <runnel/clock.h>

#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CUT_AT_S    15
#define MEND_AT_S   30
#define SETTLE_MS   8000
#define QUIET_MS    500 // nothing new for so long: the log is at rest
#define MAX_DEVICES 500

// The one global of the program: a signal can reach nothing else.
static volatile sig_atomic_t stop_asked;

static void on_signal(int signum)
{
    (void)signum;
    stop_asked = 1;
}

struct demo {
    struct demo_world world;
    int seconds; // 0: until Ctrl-C
    int devices;
    bool json;
    const char *influx;
    int64_t started_ms;
    char cut_state[32]; // last known state of the device that is cut
    bool cut, mended, drained;
};

// ---- output -----------------------------------------------------------------------------------
static void tick(const char *what, const char *words)
{
    printf("  \u2713  %-7s %s\n", what, words);
    fflush(stdout);
}

static void RN_PRINTF(1, 2) tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("  --  ", stdout);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

static void print_live(struct demo *demo, const struct demo_account *account)
{
    long second = (long)((rn_clock_mono_ms() - demo->started_ms + 500) / 1000);
    printf(
        "%4ld s  online %lld/%lld  stored %lld samples  %.2f B/sample  pending %lld  lost %lld\n",
        second, (long long)account->online, (long long)account->devices, (long long)account->stored,
        demo_account_bytes_per_sample(account), (long long)account->pending,
        (long long)account->lost);
    fflush(stdout);
}

static void print_summary(const struct demo_account *account, double seconds)
{
    printf("\n%lld devices, %.0f s\n", (long long)account->devices, seconds);
    printf("  produced  %10lld samples\n", (long long)account->produced);
    printf("  stored    %10lld\n", (long long)account->stored);
    printf("  pending   %10lld\n", (long long)account->pending);
    printf("  dropped   %10lld (evicted %lld, thinned %lld, refused %lld)\n",
           (long long)(account->evicted + account->thinned + account->refused),
           (long long)account->evicted, (long long)account->thinned, (long long)account->refused);
    printf("  lost      %10lld\n", (long long)account->lost);
    printf("  %.3f bytes a sample (payload of batches and schemas)\n",
           demo_account_bytes_per_sample(account));
}

static void print_json(const struct demo_account *account, double seconds)
{
    printf("{\"devices\":%lld,\"produced\":%lld,\"stored\":%lld,\"pending\":%lld,"
           "\"dropped\":{\"evicted\":%lld,\"thinned\":%lld,\"refused\":%lld},\"lost\":%lld,"
           "\"bytes_per_sample\":%.4f,\"seconds\":%.1f}\n",
           (long long)account->devices, (long long)account->produced, (long long)account->stored,
           (long long)account->pending, (long long)account->evicted, (long long)account->thinned,
           (long long)account->refused, (long long)account->lost,
           demo_account_bytes_per_sample(account), seconds);
}

// ---- what the bridge says ---------------------------------------------------------------------
static const struct rn_json *find_device(const struct rn_json *devices, const char *name)
{
    const struct rn_json *list = rn_json_get(devices, "devices");
    for (size_t i = 0; i < rn_json_len(list); i++) {
        const struct rn_json *device = rn_json_at(list, i);
        if (strcmp(rn_json_text_or(rn_json_get(device, "device"), ""), name) == 0)
            return device;
    }
    return NULL;
}

// Tells how the device that is cut off fares.
static void watch_cut_device(struct demo *demo, const struct rn_json *devices)
{
    const struct rn_json *device = find_device(devices, demo->world.cut_device);
    const char *state = rn_json_text_or(rn_json_get(device, "state"), "");
    int64_t pending = rn_json_int(rn_json_get(rn_json_get(device, "ledger"), "pending"), 0);
    if (demo->cut && strcmp(state, demo->cut_state) != 0) {
        const char *reason = rn_json_text_or(rn_json_get(device, "reason"), "");
        tell("%s is %s%s%s%s", demo->world.cut_device, state, reason[0] ? " (" : "", reason,
             reason[0] ? ")" : "");
        if (demo->mended && strcmp(state, "online") == 0)
            tell("%s has %lld samples to catch up on", demo->world.cut_device, (long long)pending);
    }
    if (demo->mended && !demo->drained && strcmp(state, "online") == 0 &&
        strcmp(demo->cut_state, "online") == 0 && pending < 200) {
        demo->drained = true;
        tell("%s has caught up", demo->world.cut_device);
    }
    snprintf(demo->cut_state, sizeof demo->cut_state, "%s", state);
}

static int look(struct demo *demo, struct demo_account *account, struct rn_err *err)
{
    struct rn_json *devices = NULL, *summary = NULL;
    int rc = api_call(demo->world.api, "GET", "/api/v1/devices", NULL, &devices, err);
    if (rc == 0)
        rc = api_call(demo->world.api, "GET", "/api/v1/summary", NULL, &summary, err);
    if (rc == 0) {
        demo_account_read(account, devices, summary);
        watch_cut_device(demo, devices);
    }
    rn_json_free(devices);
    rn_json_free(summary);
    return rc;
}

// ---- the run ----------------------------------------------------------------------------------
static int start_all(struct demo *demo, struct rn_err *err)
{
    char words[400];
    int rc = world_start_broker(&demo->world, err);
    if (rc < 0)
        return rc;
    snprintf(words, sizeof words, "mosquitto on 127.0.0.1:%u", demo->world.broker_port);
    tick("broker", words);
    rc = world_start_bridge(&demo->world, err);
    if (rc < 0)
        return rc;
    snprintf(words, sizeof words, "log in %s/bridge", demo->world.folder);
    tick("bridge", words);
    rc = world_start_agents(&demo->world, err);
    if (rc < 0)
        return rc;
    snprintf(words, sizeof words, "this machine as %s, and %d simulated devices",
             demo->world.device, demo->devices);
    tick("agent", words);
    tell("in another terminal: build/bin/runnel devices --url %s", api_url(demo->world.api));
    return 0;
}

static void cut_and_mend(struct demo *demo, int64_t passed_ms)
{
    if (!demo->world.relay)
        return;
    if (!demo->cut && passed_ms >= CUT_AT_S * 1000) {
        demo->cut = true;
        tell("%s loses its network now", demo->world.cut_device);
        relay_cut(demo->world.relay, true);
    }
    if (!demo->mended && passed_ms >= MEND_AT_S * 1000) {
        demo->mended = true;
        tell("%s gets its network back", demo->world.cut_device);
        relay_cut(demo->world.relay, false);
    }
}

static void sleep_ms(int64_t ms)
{
    if (ms <= 0)
        return;
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static int run_live(struct demo *demo, struct rn_err *err)
{
    struct demo_account account;
    int rc = 0;
    demo->started_ms = rn_clock_mono_ms();
    for (int64_t second = 1; rc == 0 && !stop_asked; second++) {
        sleep_ms(demo->started_ms + second * 1000 - rn_clock_mono_ms());
        int64_t passed = rn_clock_mono_ms() - demo->started_ms;
        if (stop_asked || (demo->seconds && passed >= demo->seconds * 1000LL))
            break;
        cut_and_mend(demo, passed);
        rc = world_check(&demo->world, err);
        if (rc == 0)
            rc = look(demo, &account, err);
        if (rc == 0)
            print_live(demo, &account);
    }
    return rc;
}

// The agents have gone: waits until the bridge has their last words and its log stays as it is.
static int settle_books(struct demo *demo, struct demo_account *account, struct rn_err *err)
{
    int64_t deadline = rn_clock_mono_ms() + SETTLE_MS;
    int64_t stored = -1;
    int rc = look(demo, account, err);
    while (rc == 0 && rn_clock_mono_ms() < deadline &&
           (account->online > 0 || account->stored != stored)) {
        stored = account->stored;
        sleep_ms(QUIET_MS);
        rc = look(demo, account, err);
    }
    return rc;
}

// Lets a device that is still cut off return, then stops the agents and waits until the bridge has
// what they sent last.
static int settle(struct demo *demo, struct demo_account *account, struct rn_err *err)
{
    int64_t deadline = rn_clock_mono_ms() + SETTLE_MS;
    int rc = 0;
    if (demo->cut && !demo->mended) {
        demo->mended = true;
        relay_cut(demo->world.relay, false);
        tell("%s gets its network back", demo->world.cut_device);
    }
    while (rc == 0 && demo->cut && !demo->drained && rn_clock_mono_ms() < deadline) {
        rc = look(demo, account, err);
        sleep_ms(200);
    }
    tell("stopping the agents; what is in flight is still counted");
    if (rc == 0 && !world_stop_agents(&demo->world))
        rc = rn_fail(err, RN_EIO, "an agent did not stop cleanly; see its log");
    return rc == 0 ? settle_books(demo, account, err) : rc;
}

static int run_demo(struct demo *demo, struct rn_err *err)
{
    struct demo_account account = {0};
    int rc = world_init(&demo->world, demo->devices, demo->influx, err);
    if (rc == 0)
        rc = start_all(demo, err);
    if (rc == 0)
        rc = run_live(demo, err);
    double seconds = (double)(rn_clock_mono_ms() - demo->started_ms) / 1000.0;
    if (rc == 0)
        rc = settle(demo, &account, err);
    world_release(&demo->world);
    if (rc < 0)
        return rc;
    print_summary(&account, seconds);
    if (demo->json)
        print_json(&account, seconds);
    return account.lost == 0 && account.stored > 0 ? CLI_DONE : CLI_FAILED;
}

struct demo_conf {
    int64_t seconds, devices;
    bool json;
    char influx[256];
};

static int run(const void *conf, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct demo_conf *options = conf;
    struct demo demo = {.devices = (int)options->devices,
                        .seconds = (int)options->seconds,
                        .json = options->json,
                        .influx = options->influx[0] ? options->influx : NULL};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct rn_err err;
    int rc = run_demo(&demo, &err);
    if (rc >= 0)
        return rc;
    cli_say("demo", "%s", err.text);
    return CLI_FAILED;
}

static const char details[] =
    "Needs no configuration, no root and no other server: a private mosquitto, a bridge, this\n"
    "machine's agent and simulated devices, in a temporary folder and on free loopback ports.\n"
    "After 15 s one device loses its network, after 30 s it gets it back. Exit code 0 only when\n"
    "no sample was lost.\n";

static const struct rn_opt options[] = {
    {.key = "seconds",
     .type = RN_OPT_INT,
     .offset = offsetof(struct demo_conf, seconds),
     .max = 86400,
     .def = "0",
     .help = "Stop after so many seconds; 0: on Ctrl-C."},
    {.key = "devices",
     .type = RN_OPT_INT,
     .offset = offsetof(struct demo_conf, devices),
     .max = MAX_DEVICES,
     .def = "20",
     .help = "Simulated devices."},
    {.key = "json",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct demo_conf, json),
     .def = "false",
     .help = "Print the summary as one JSON object on the last line."},
    {.key = "influx",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct demo_conf, influx),
     .size = sizeof((struct demo_conf *)0)->influx,
     .help = "Also write to this InfluxDB 1.x: http://host:8086?db=NAME (default runnel)."},
};

extern const struct cli_command cli_demo;
const struct cli_command cli_demo = {
    .name = "demo",
    .usage = "",
    .help = "Run the main job on this machine: broker, bridge, agent, simulated devices",
    .details = details,
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct demo_conf),
    .run = run,
};
