// Options and help, from the commands' tables. See cli.h.
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_HELP = 1, OPTION_FIRST = 256 };

const struct cli_command *cli_find(const char *name)
{
    for (size_t i = 0; i < cli_table_count; i++)
        if (strcmp(cli_table[i]->name, name) == 0)
            return cli_table[i];
    return NULL;
}

void cli_say(const char *command, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    fprintf(stderr, "runnel%s%s: %s\n", command ? " " : "", command ? command : "", text);
}

int cli_flush(struct rn_buf *buf, struct rn_err *err)
{
    if (!rn_buf_ok(buf))
        return rn_fail(err, RN_ELIMIT, "output is larger than its buffer");
    if (buf->len && fwrite(buf->data, 1, buf->len, stdout) != buf->len)
        return rn_fail_errno(err, "standard output");
    rn_buf_clear(buf);
    return fflush(stdout) == 0 ? RN_OK : rn_fail_errno(err, "standard output");
}

// ---- help --------------------------------------------------------------------------------------

// What stands behind the option: nothing for a switch.
static const char *value_word(const struct rn_opt *row)
{
    static const char *const words[] = {
        [RN_OPT_BOOL] = "",      [RN_OPT_INT] = " N",      [RN_OPT_DURATION] = " DURATION",
        [RN_OPT_SIZE] = " SIZE", [RN_OPT_TEXT] = " TEXT",  [RN_OPT_ENUM] = " WORD",
        [RN_OPT_LIST] = " TEXT", [RN_OPT_SECRET] = " TEXT"};
    return row->flags & RN_OPT_PATH ? " FILE" : words[row->type];
}

static void print_option(const char *name, const char *word, const char *text, const char *def)
{
    char left[64];
    snprintf(left, sizeof left, "--%s%s", name, word);
    printf("  %-22s %s", left, text);
    if (def && *def && strcmp(def, "false") != 0)
        printf(" (default %s)", def);
    putchar('\n');
}

void cli_help(const struct cli_command *command)
{
    printf("usage: runnel %s [options]%s%s\n\n%s\n", command->name, *command->usage ? " " : "",
           command->usage, command->help);
    if (command->details)
        printf("\n%s", command->details);
    printf("\noptions:\n");
    for (size_t i = 0; i < command->nopts; i++) {
        const struct rn_opt *row = &command->opts[i];
        print_option(row->key, value_word(row), row->help, row->def);
    }
    print_option("help", "", "Show this help.", NULL);
}

void cli_overview(void)
{
    printf("usage: runnel COMMAND [options] [arguments]\n\ncommands:\n");
    for (size_t i = 0; i < cli_table_count; i++)
        printf("  %-10s %s\n", cli_table[i]->name, cli_table[i]->help);
    printf("  %-10s %s\n", "help", "Explain a command: runnel help COMMAND");
    printf("\nexit codes: %d done, %d failed, %d wrong usage, %d done but parts of the input were "
           "refused\n",
           CLI_DONE, CLI_FAILED, CLI_USAGE, CLI_PARTIAL);
}

// ---- options -----------------------------------------------------------------------------------

static void option_table(const struct cli_command *command, struct option out[CLI_OPTIONS_MAX + 2])
{
    size_t n = command->nopts < CLI_OPTIONS_MAX ? command->nopts : CLI_OPTIONS_MAX;
    for (size_t i = 0; i < n; i++) {
        bool is_switch = command->opts[i].type == RN_OPT_BOOL;
        out[i] = (struct option){command->opts[i].key, is_switch ? no_argument : required_argument,
                                 NULL, OPTION_FIRST + (int)i};
    }
    out[n] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    out[n + 1] = (struct option){0};
}

static int set_option(const struct cli_command *command, int index, void *conf)
{
    struct rn_err err;
    const struct rn_opt *row = &command->opts[index];
    int rc = row->type == RN_OPT_LIST
                 ? rn_opt_append(row, conf, optarg, &err)
                 : rn_opt_set(row, conf, row->type == RN_OPT_BOOL ? "true" : optarg, &err);
    if (rc == RN_OK)
        return CLI_DONE;
    cli_say(command->name, "--%s: %s", row->key, err.text);
    return CLI_USAGE;
}

static int usage_error(const struct cli_command *command)
{
    cli_say(command->name, "`runnel %s --help` explains", command->name);
    return CLI_USAGE;
}

// Fills conf; *first is where the arguments begin. A negative result: --help was answered.
static int parse(const struct cli_command *command, int argc, char **argv, void *conf, int *first)
{
    struct option options[CLI_OPTIONS_MAX + 2];
    struct rn_err err;
    option_table(command, options);
    if (rn_opt_defaults(command->opts, command->nopts, conf, &err) < 0) {
        cli_say(command->name, "%s", err.text);
        return CLI_FAILED;
    }
    optind = 1;
    opterr = 0;
    for (;;) {
        int at = optind, found = getopt_long(argc, argv, ":h", options, NULL);
        if (found == -1)
            break;
        if (found == OPTION_HELP || found == 'h') {
            cli_help(command);
            return -1;
        }
        if (found == ':' || found == '?') {
            cli_say(command->name, "%s: %s", argv[at],
                    found == ':' ? "a value is missing" : "there is no such option");
            return usage_error(command);
        }
        if (set_option(command, found - OPTION_FIRST, conf) != CLI_DONE)
            return CLI_USAGE;
    }
    *first = optind;
    return CLI_DONE;
}

int cli_run(const struct cli_command *command, int argc, char **argv)
{
    void *conf = calloc(1, command->conf_size + 1);
    if (!conf) {
        cli_say(command->name, "out of memory");
        return CLI_FAILED;
    }
    int first = 0;
    int result = parse(command, argc, argv, conf, &first);
    if (result == CLI_DONE) {
        int given = argc - first;
        if (given < command->min_args || (command->max_args >= 0 && given > command->max_args)) {
            cli_say(command->name, "wrong number of arguments");
            result = usage_error(command);
        } else {
            result = command->run(conf, given, argv + first);
        }
    }
    free(conf);
    return result < 0 ? CLI_DONE : result;
}
