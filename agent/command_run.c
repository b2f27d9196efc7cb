// `run` and `simulate`: one agent or many on one loop, until SIGTERM or SIGINT; SIGHUP reads the
// configuration again; systemd is told about readiness and life.
#include "agent/command.h"

#include "agent/remote_io.h"
#include "agent/simulate.h"
#include <runnel/clock.h>
#include <runnel/db.h>
#include <runnel/log.h>
#include <runnel/loop.h>
#include <runnel/notify.h>

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STOP_MS = 1800, DEVICES_MAX = 1000, REMOTE_TICK_MS = 1000 };
static const int64_t plausible_utc_ms =
    INT64_C(1735689600000); // 2025: a clock before that was never set

// One agent and its remote configuration.
struct device {
    struct runner *runner;
    struct agent *agent;
    struct remote_io *remote;
};

struct runner {
    const struct command_args *args;
    const struct rn_collector *const *table;
    size_t ntable;
    struct rn_loop *loop;
    struct device *devices;
    int nagents, running; // running: not stopped yet
    bool stopping, failed;
    struct rn_timer *watchdog, *remote_tick;
    struct tee *tee;
    struct rn_signal *term, *interrupt, *hangup;
};

// Sets that make device `number` of a simulation out of the common configuration.
struct device_sets {
    char device[80], data[320], seed[64], address[160];
};

static int load(const struct runner *r, int number, struct config **out, struct rn_err *err)
{
    struct command_args args = *r->args;
    if (number < 0)
        return command_config(&args, r->table, r->ntable, out, err);
    struct config *common;
    struct device_sets own;
    int rc = command_config(&args, r->table, r->ntable, &common, err);
    if (rc < 0)
        return rc;
    snprintf(own.device, sizeof own.device, "device=%s%03d", args.prefix, number);
    snprintf(own.data, sizeof own.data, "data=%s/%s%03d", common->settings.data, args.prefix,
             number);
    snprintf(own.seed, sizeof own.seed, "collect.sim.seed=%d", number);
    config_free(common);
    snprintf(own.address, sizeof own.address, "mqtt.addresses=%s",
             args.via_address ? args.via_address : "");
    const char *const more[] = {own.device, own.data, own.address};
    size_t count = args.via_address && number == args.via_number ? 3 : 2;
    if (args.nsets + count + 1 > CONFIG_SETS_MAX)
        return rn_fail(err, RN_ELIMIT, "too many --set");
    memmove(&args.sets[1], &args.sets[0], args.nsets * sizeof args.sets[0]);
    args.sets[0] = own.seed; // the user's own comes later and wins
    args.nsets++;
    for (size_t i = 0; i < count; i++)
        args.sets[args.nsets++] = more[i];
    return command_config(&args, r->table, r->ntable, out, err);
}

// ---- stopping -----------------------------------------------------------------------------------

static void stopped(void *arg)
{
    struct runner *r = ((struct device *)arg)->runner;
    if (--r->running <= 0)
        rn_loop_stop(r->loop);
}

static void stop(struct runner *r, const char *reason)
{
    if (r->stopping)
        return;
    r->stopping = true;
    rn_notify_send("STOPPING=1");
    for (int i = 0; i < r->nagents; i++)
        agent_stop(r->devices[i].agent, reason, STOP_MS);
}

static void fatal(void *arg, const struct rn_err *err)
{
    struct runner *r = ((struct device *)arg)->runner;
    rn_log(RN_LOG_ERROR, "no_buffer", "err=%s", RN_Q(err->text));
    r->failed = true;
    rn_loop_stop(r->loop);
}

static void on_stop_signal(void *arg, int signum)
{
    stop(arg, signum == SIGTERM ? "SIGTERM" : "SIGINT");
}

// ---- reloading ----------------------------------------------------------------------------------

static void reload(struct runner *r, int i)
{
    struct device *device = &r->devices[i];
    struct config *local;
    struct rn_err err;
    int rc = load(r, r->args->devices > 0 ? r->args->first + i : -1, &local, &err);
    if (rc >= 0 && (rc = remote_io_reload(device->remote, local, rn_clock_mono_ms(), &err)) < 0)
        config_free(local);
    if (rc < 0)
        rn_log(RN_LOG_ERROR, "config_rejected", "err=%s advice=\"the old configuration goes on\"",
               RN_Q(err.text));
    else
        rn_log(RN_LOG_INFO, "config_reloaded", "device=%s",
               agent_config(device->agent)->settings.device);
}

static void on_hangup(void *arg, int signum)
{
    struct runner *r = arg;
    (void)signum;
    rn_notify_send("RELOADING=1");
    for (int i = 0; i < r->nagents && !r->stopping; i++)
        reload(r, i);
    rn_notify_send("READY=1");
}

static void on_watchdog(void *arg)
{
    (void)arg;
    rn_notify_send("WATCHDOG=1");
}

// ---- remote configuration: the agent tells it, it moves the agent ------------------------------

static void on_config(void *arg, struct rn_span message)
{
    struct device *device = arg;
    int64_t utc = rn_clock_utc_ms();
    remote_io_offer(device->remote, message, utc > plausible_utc_ms ? utc : 0, rn_clock_mono_ms());
}

static void on_ack(void *arg, const struct rn_ack *ack, bool fresh)
{
    struct device *device = arg;
    if (ack->has_report)
        remote_io_report_seen(device->remote, ack->report_n, rn_clock_mono_ms());
    if (fresh)
        remote_io_received(device->remote, rn_clock_mono_ms());
}

static void on_connection(void *arg, bool connected)
{
    struct device *device = arg;
    remote_io_connection(device->remote, connected, rn_clock_mono_ms());
}

static void on_remote_tick(void *arg)
{
    struct runner *r = arg;
    for (int i = 0; i < r->nagents && !r->stopping; i++)
        remote_io_tick(r->devices[i].remote, rn_clock_mono_ms());
}

static int ask_check(void *arg, const struct config *config, struct rn_err *err)
{
    return agent_check(((struct device *)arg)->agent, config, err);
}

static int put_in_force(void *arg, struct config *config, struct rn_err *err)
{
    struct device *device = arg;
    int rc = agent_reconfigure(device->agent, config, err);
    if (rc >= 0 && device == device->runner->devices)
        rn_log_level_set((enum rn_log_level)config->settings.log_level);
    return rc;
}

static void tell_running(void *arg, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    agent_set_running(((struct device *)arg)->agent, revision, hash);
}

static int send_report(void *arg, struct rn_span payload)
{
    return agent_publish_report(((struct device *)arg)->agent, payload);
}

static void flush(void *arg)
{
    agent_flush(((struct device *)arg)->agent);
}

static void hurry(void *arg, bool on)
{
    agent_set_hurry(((struct device *)arg)->agent, on);
}

static uint64_t install_of(void *arg)
{
    return agent_install(((struct device *)arg)->agent);
}

static void ask_config(void *arg)
{
    agent_ask_config(((struct device *)arg)->agent);
}

static int add_remote(struct device *device, struct rn_err *err)
{
    const struct remote_io_hooks hooks = {.arg = device,
                                          .check = ask_check,
                                          .apply = put_in_force,
                                          .running = tell_running,
                                          .report = send_report,
                                          .flush = flush,
                                          .hurry = hurry,
                                          .install = install_of,
                                          .again = ask_config};
    return remote_io_new(&device->remote, agent_config(device->agent), agent_state(device->agent),
                         &hooks, rn_clock_utc_ms(), err);
}

// ---- starting -----------------------------------------------------------------------------------

static int add_agent(struct runner *r, int number, struct rn_err *err)
{
    struct device *device = &r->devices[r->nagents];
    const struct agent_hooks hooks = {.arg = device,
                                      .config = on_config,
                                      .ack = on_ack,
                                      .connection = on_connection,
                                      .stopped = stopped,
                                      .tee = r->tee,
                                      .fatal = fatal};
    struct config *config;
    device->runner = r;
    int rc = load(r, number, &config, err);
    if (rc < 0)
        return rc == RN_EEXIST ? RN_EINVAL : rc;
    if (r->nagents == 0)
        rn_log_level_set((enum rn_log_level)config->settings.log_level);
    rc = agent_new(&device->agent, r->loop, config, &hooks, err);
    if (rc < 0) {
        config_free(config);
        return rc == RN_EEXIST ? RN_EEXIST : RN_EIO;
    }
    r->nagents++;
    r->running++;
    return add_remote(device, err) < 0 ? RN_EIO : RN_OK;
}

static int add_signals(struct runner *r, struct rn_err *err)
{
    int rc = rn_signal_new(&r->term, r->loop, SIGTERM, on_stop_signal, r, err);
    if (rc >= 0)
        rc = rn_signal_new(&r->interrupt, r->loop, SIGINT, on_stop_signal, r, err);
    if (rc >= 0)
        rc = rn_signal_new(&r->hangup, r->loop, SIGHUP, on_hangup, r, err);
    if (rc >= 0)
        rc = rn_timer_new(&r->watchdog, r->loop, on_watchdog, r, err);
    if (rc >= 0)
        rc = rn_timer_new(&r->remote_tick, r->loop, on_remote_tick, r, err);
    return rc;
}

static int set_up(struct runner *r, struct rn_err *err)
{
    int count = r->args->devices > 0 ? r->args->devices : 1;
    r->devices = calloc((size_t)count, sizeof *r->devices);
    if (!r->devices)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = rn_loop_new(&r->loop, err);
    if (rc >= 0 && r->args->tee)
        rc = tee_open(&r->tee, r->args->tee, err);
    if (rc >= 0)
        rc = add_signals(r, err);
    for (int i = 0; rc >= 0 && i < count; i++)
        rc = add_agent(r, r->args->devices > 0 ? r->args->first + i : -1, err);
    return rc;
}

static void tear_down(struct runner *r)
{
    for (int i = 0; i < r->nagents; i++) {
        agent_free(r->devices[i].agent);
        remote_io_free(r->devices[i].remote);
    }
    free(r->devices);
    rn_signal_free(r->term);
    rn_signal_free(r->interrupt);
    rn_signal_free(r->hangup);
    rn_timer_free(r->watchdog);
    rn_timer_free(r->remote_tick);
    tee_close(r->tee);
    if (r->loop)
        rn_loop_free(r->loop);
}

// One arena, and what is freed goes back: the agent is meant to be small.
static void keep_memory_small(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    rn_db_setup(0);
}

static int exit_of(int rc, const struct rn_err *err)
{
    if (rc == RN_EEXIST || rc == RN_EIO) {
        fprintf(stderr, "runnel-agent: %s\n", err->text);
        return rc == RN_EEXIST ? COMMAND_IN_USE : COMMAND_FAILED;
    }
    return command_config_failed(err);
}

static int run(struct runner *r)
{
    struct rn_err err;
    keep_memory_small();
    signal(SIGPIPE, SIG_IGN);
    int rc = set_up(r, &err);
    if (rc < 0) {
        tear_down(r);
        return exit_of(rc, &err);
    }
    for (int i = 0; i < r->nagents; i++) {
        remote_io_start(r->devices[i].remote, rn_clock_mono_ms());
        agent_start(r->devices[i].agent);
    }
    rn_timer_start(r->remote_tick, REMOTE_TICK_MS, REMOTE_TICK_MS);
    if (rn_notify_watchdog_ms() > 0)
        rn_timer_start(r->watchdog, rn_notify_watchdog_ms(), rn_notify_watchdog_ms());
    rn_notify_send("READY=1");
    rn_loop_run(r->loop);
    tear_down(r);
    return r->failed ? COMMAND_FAILED : COMMAND_OK;
}

int command_run(const struct command_args *args)
{
    struct command_args own = *args;
    own.devices = 0;
    struct runner r = {.args = &own};
    r.table = collect_table;
    r.ntable = collect_table_count;
    return run(&r);
}

int command_simulate(const struct command_args *args)
{
    static const struct rn_collector *const table[] = {&simulate_collector};
    struct runner r = {.args = args, .table = table, .ntable = 1};
    if (args->devices < 1 || args->devices > DEVICES_MAX) {
        fprintf(stderr, "runnel-agent: simulate: expected --devices between 1 and %d\n",
                DEVICES_MAX);
        return COMMAND_USAGE;
    }
    return run(&r);
}
