// The agent program's subcommands, and what they share: arguments, loading the configuration, and
// running agents until a signal comes.
#ifndef AGENT_COMMAND_H
#define AGENT_COMMAND_H

#include "agent/agent.h"
#include "agent/config.h"
#include <stdbool.h>
#include <stddef.h>

// Exit status; docs/OPERATIONS.md lists them.
enum command_exit {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1,  // something went wrong while running
    COMMAND_USAGE = 2,   // wrong arguments
    COMMAND_CONFIG = 3,  // the configuration is not acceptable
    COMMAND_IN_USE = 4,  // the data folder is used by another agent
    COMMAND_NO_LINK = 5, // check --connect: no broker could be reached, or it refused us
};

enum { COMMAND_SHORTS_MAX = 8, COMMAND_SHORT_TEXT = 320 };

struct command_args {
    const char *config_path; // NULL: the usual places
    const char *sets[CONFIG_SETS_MAX];
    size_t nsets;
    char shorts[COMMAND_SHORTS_MAX][COMMAND_SHORT_TEXT]; // texts of sets that were made here
    size_t nshorts;
    bool connect, origin, once;
    enum { COMMAND_LP, COMMAND_JSON, COMMAND_CBOR } format;
    int devices, first;
    const char *prefix;
    const char *tee; // file that committed batches are written to; NULL: none
    int via_number;  // this device of a simulation has another broker address
    const char *via_address;
};

// Loads and checks.
RN_MUST_CHECK int command_config(const struct command_args *args,
                                 const struct rn_collector *const *table, size_t count,
                                 struct config **out, struct rn_err *err);
int command_config_failed(const struct rn_err *err); // says so; returns COMMAND_CONFIG

int command_run(const struct command_args *args);
int command_simulate(const struct command_args *args);
int command_check(const struct command_args *args);
int command_collect(const struct command_args *args);
int command_status(const struct command_args *args);

#endif
