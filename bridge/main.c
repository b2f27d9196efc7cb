// runnel-bridge: command line of the bridge.
#include "bridge/bridge.h"
#include "bridge/config.h"
#include "bridge/probe.h"

#include <runnel/db.h>
#include <runnel/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Exit codes; docs/OPERATIONS.md lists them.
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_CONFIG = 3,
    EXIT_IN_USE = 4,
    EXIT_UNREACHABLE = 5
};

#define MAX_SETS 64

struct options {
    struct config_sources sources;
    const char *sets[MAX_SETS];
    bool origin, connect, help;
};

struct command {
    const char *name, *help;
    int (*run)(const struct options *options);
};

static int load(const struct options *options, struct config **config)
{
    struct rn_err err;
    if (config_load(config, &options->sources, &err) == RN_OK)
        return EXIT_DONE;
    fprintf(stderr, "runnel-bridge: %s\n", err.text);
    return EXIT_CONFIG;
}

static int cmd_run(const struct options *options)
{
    struct config *config;
    struct bridge *bridge;
    struct rn_err err;
    int rc = load(options, &config);
    if (rc)
        return rc;
    rn_log_level_set((enum rn_log_level)config->settings.log_level);
    rn_db_setup(0);
    rc = bridge_new(&bridge, config, &err);
    if (rc < 0) {
        rn_log(RN_LOG_ERROR, "bridge_cannot_start", "err=%s", RN_Q(err.text));
        config_free(config);
        return rc == RN_EEXIST ? EXIT_IN_USE : EXIT_FAILED;
    }
    bridge_run(bridge);
    bridge_free(bridge);
    config_free(config);
    return EXIT_DONE;
}

static void print(struct rn_buf *text)
{
    fputs(rn_buf_cstr(text), stdout);
    rn_buf_release(text);
}

static int cmd_check(const struct options *options)
{
    struct config *config;
    struct rn_buf text;
    int rc = load(options, &config);
    if (rc)
        return rc;
    rn_buf_init(&text, 1 << 20);
    config_print(config, options->origin, &text);
    print(&text);
    if (options->connect) {
        struct rn_err err;
        bool reached = probe_broker(config, &err) == RN_OK;
        printf("# broker: %s%s\n", reached ? "reached " : "", err.text);
        rc = reached ? EXIT_DONE : EXIT_UNREACHABLE;
    }
    config_free(config);
    return rc;
}

static int cmd_version(const struct options *options)
{
    (void)options;
    printf("runnel-bridge %s\n", RUNNEL_VERSION);
    return EXIT_DONE;
}

static const struct command commands[] = {
    {"run", "run until SIGTERM", cmd_run},
    {"check", "check and print the configuration; --origin: who set it; --connect: try the broker",
     cmd_check},
    {"version", "print the version", cmd_version},
};
#define NCOMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *out)
{
    fputs("usage: runnel-bridge COMMAND [-c FILE] [--set KEY=VALUE]...\n\n", out);
    for (size_t i = 0; i < NCOMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\nThe configuration is /etc/runnel/bridge.yaml and bridge.d/*.yaml beside it, or FILE "
          "and\n"
          "the folder named after it. `runnel-bridge --help` lists the keys.\n",
          out);
}

static int show_help(void)
{
    struct rn_buf text;
    usage(stdout);
    printf("\nKeys [default]:\n");
    rn_buf_init(&text, 1 << 20);
    config_help(&text);
    print(&text);
    return EXIT_DONE;
}

static bool take_option(struct options *options, int argc, char **argv, int *at)
{
    const char *arg = argv[*at], *next = *at + 1 < argc ? argv[*at + 1] : NULL;
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        options->help = true;
    } else if (strcmp(arg, "--origin") == 0) {
        options->origin = true;
    } else if (strcmp(arg, "--connect") == 0) {
        options->connect = true;
    } else if (strcmp(arg, "-c") == 0 && next) {
        options->sources.path = argv[++*at];
    } else if (strcmp(arg, "--set") == 0 && next && options->sources.nsets < MAX_SETS) {
        options->sets[options->sources.nsets++] = argv[++*at];
    } else {
        fprintf(stderr, "runnel-bridge: %s: unknown option, or its value is missing\n", arg);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const struct command *command = NULL;
    signal(SIGPIPE, SIG_IGN);
    options.sources.sets = options.sets;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            if (!take_option(&options, argc, argv, &i))
                return EXIT_USAGE;
            continue;
        }
        for (size_t k = 0; k < NCOMMANDS && !command; k++)
            if (strcmp(argv[i], commands[k].name) == 0)
                command = &commands[k];
        if (!command) {
            fprintf(stderr, "runnel-bridge: %s: no such command\n", argv[i]);
            return EXIT_USAGE;
        }
    }
    if (options.help)
        return show_help();
    if (!command) {
        usage(stderr);
        return EXIT_USAGE;
    }
    return command->run(&options);
}
