// runnel-agent: collects on a device and sends to the bridge. This file reads the command line.
#include "agent/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *name, *help;
    int (*run)(const struct command_args *args);
};

static const struct command commands[] = {
    {"run", "collect and send until SIGTERM", command_run},
    {"check",
     "read the configuration and print it; --origin: who set what; --connect: try the "
     "broker",
     command_check},
    {"collect", "--once [--line-protocol|--json|--cbor]: print what the collectors report",
     command_collect},
    {"status", "print what the buffer holds, also while an agent runs", command_status},
    {"simulate", "--devices N [--first K] [--prefix P] [--via K=ADDRESS]: synthetic devices",
     command_simulate},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: runnel-agent COMMAND [-c FILE] [--set KEY=VALUE]...\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(to,
            "\n  -c FILE          instead of %s and %s/*.yaml\n"
            "  --set KEY=VALUE  overrides the files; any number\n"
            "  --procfs DIR, --sysfs DIR, --data DIR, --device NAME  short for --set\n"
            "  --tee FILE       run, simulate: appends what was committed, for tests\n"
            "  --help           with options and defaults\n"
            "  --version\n\n"
            "exit status: 0 done, 1 failed, 2 wrong arguments, 3 wrong configuration,\n"
            "             4 data folder in use, 5 broker not reached (check --connect)\n",
            CONFIG_FILE, CONFIG_FOLDER);
    return status;
}

static int help(void)
{
    struct config *config;
    struct rn_err err;
    struct rn_buf out;
    usage(stdout, 0);
    if (config_new(&config, collect_table, collect_table_count, false, &err) < 0)
        return command_config_failed(&err);
    rn_buf_init(&out, 1 << 20);
    config_help(config, &out);
    printf("\noptions:\n%s", rn_buf_cstr(&out));
    rn_buf_release(&out);
    config_free(config);
    return COMMAND_OK;
}

struct flag {
    const char *name;
    enum { SETS_CONNECT, SETS_ORIGIN, SETS_ONCE, SETS_LP, SETS_JSON, SETS_CBOR } what;
};

static const struct flag flags[] = {
    {"--connect", SETS_CONNECT},  {"--origin", SETS_ORIGIN}, {"--once", SETS_ONCE},
    {"--line-protocol", SETS_LP}, {"--json", SETS_JSON},     {"--cbor", SETS_CBOR},
};

static bool take_flag(struct command_args *args, const char *text)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(flags[i].name, text) != 0)
            continue;
        args->connect |= flags[i].what == SETS_CONNECT;
        args->origin |= flags[i].what == SETS_ORIGIN;
        args->once |= flags[i].what == SETS_ONCE;
        if (flags[i].what == SETS_JSON)
            args->format = COMMAND_JSON;
        else if (flags[i].what == SETS_CBOR)
            args->format = COMMAND_CBOR;
        return true;
    }
    return false;
}

static bool add_set(struct command_args *args, const char *text)
{
    if (args->nsets == CONFIG_SETS_MAX)
        return false;
    args->sets[args->nsets++] = text;
    return true;
}

// "--procfs DIR" is "--set procfs=DIR".
static bool add_short(struct command_args *args, const char *name, const char *value)
{
    static const char *const names[] = {"--procfs", "--sysfs", "--rootfs", "--data", "--device"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        if (args->nshorts == COMMAND_SHORTS_MAX)
            return false;
        char *text = args->shorts[args->nshorts++];
        int len = snprintf(text, COMMAND_SHORT_TEXT, "%s=%s", name + 2, value);
        return len < COMMAND_SHORT_TEXT && add_set(args, text);
    }
    return false;
}

// "7=mqtt://127.0.0.1:1884": device 7 goes another way.
static bool take_via(struct command_args *args, const char *value)
{
    const char *equals = strchr(value, '=');
    args->via_number = atoi(value);
    args->via_address = equals ? equals + 1 : NULL;
    return equals != NULL;
}

static bool take_value(struct command_args *args, const char *name, const char *value)
{
    if (strcmp(name, "-c") == 0 || strcmp(name, "--config") == 0)
        args->config_path = value;
    else if (strcmp(name, "--set") == 0)
        return add_set(args, value);
    else if (strcmp(name, "--devices") == 0)
        args->devices = atoi(value);
    else if (strcmp(name, "--first") == 0)
        args->first = atoi(value);
    else if (strcmp(name, "--prefix") == 0)
        args->prefix = value;
    else if (strcmp(name, "--tee") == 0)
        args->tee = value;
    else if (strcmp(name, "--via") == 0)
        return take_via(args, value);
    else
        return add_short(args, name, value);
    return true;
}

static bool parse(struct command_args *args, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (take_flag(args, argv[i]))
            continue;
        if (i + 1 >= argc || !take_value(args, argv[i], argv[i + 1])) {
            fprintf(stderr, "runnel-agent: %s: not known, or its value is missing\n\n", argv[i]);
            return false;
        }
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct command_args args = {.prefix = "sim", .first = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return help();
        if (strcmp(argv[i], "--version") == 0)
            return printf("runnel-agent %s\n", RUNNEL_VERSION) < 0;
    }
    for (int i = 0; argc > 1 && i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return parse(&args, argc, argv) ? commands[i].run(&args) : usage(stderr, COMMAND_USAGE);
    return usage(stderr, COMMAND_USAGE);
}
