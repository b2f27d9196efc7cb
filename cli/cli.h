// What the commands of `runnel` share: their table, their options, their exit codes.
//
// A command is one file and one row of the table in cli/table.c. Its options are ordinary option
// rows (runnel/opt.h) over a plain struct; main parses them (with getopt_long), answers --help, and
// calls run. A switch is an RN_OPT_BOOL row. Results go to standard output, words about them to
// standard error.
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/opt.h>
#include <stddef.h>
#include <stdint.h>

// Exit codes, the same for every command; `runnel help` lists them.
enum cli_exit {
    CLI_DONE = 0,    // all of it
    CLI_FAILED = 1,  // could not be done: the reason is on standard error
    CLI_USAGE = 2,   // wrong options or arguments
    CLI_PARTIAL = 3, // done, but parts of the input were refused: counted on standard error
};

#define CLI_OPTIONS_MAX 32 // of one command

struct cli_command {
    const char *name;
    const char *usage;   // arguments after the options: "DEV", "[FILE]", ""
    const char *help;    // one line for the list
    const char *details; // for --help, ends with a newline; may be NULL
    const struct rn_opt *opts;
    size_t nopts;
    size_t conf_size;                                    // bytes of the struct that opts fill
    int min_args, max_args;                              // max_args < 0: any number
    int (*run)(const void *conf, int argc, char **argv); // arguments only; returns enum cli_exit
};

extern const struct cli_command *const cli_table[];
extern const size_t cli_table_count;

const struct cli_command *cli_find(const char *name); // NULL if there is none
// Parses options and arguments, answers --help, runs. argv[0] is the command's name.
int cli_run(const struct cli_command *command, int argc, char **argv);
void cli_help(const struct cli_command *command); // to standard output
void cli_overview(void);                          // to standard output

// "runnel COMMAND: words" on standard error, with control characters made harmless.
void cli_say(const char *command, const char *format, ...) RN_PRINTF(2, 3);
// Writes all of buf to standard output and clears it. RN_EIO.
RN_MUST_CHECK int cli_flush(struct rn_buf *buf, struct rn_err *err);

#endif
