// What the commands that speak to a bridge have in common: their options (--url, --token, --json),
// the connection, errors in one form, and whether colour is wanted.
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/api.h"
#include <runnel/opt.h>
#include <stdbool.h>
#include <stddef.h>

// The options: rows for a command's table, over a configuration struct that begins with this.
struct session_conf {
    char url[512], token[256];
    bool json;
};
// clang-format off
#define SESSION_OPTS \
    {.key = "url", .type = RN_OPT_TEXT, .offset = offsetof(struct session_conf, url), \
     .size = sizeof((struct session_conf *)0)->url, .help = "The bridge's address, or unix:/path/to/bridge.sock."}, \
    {.key = "token", .type = RN_OPT_TEXT, .offset = offsetof(struct session_conf, token), \
     .size = sizeof((struct session_conf *)0)->token, .help = "For changes, and for a bridge that is not local."}, \
    {.key = "json", .type = RN_OPT_BOOL, .offset = offsetof(struct session_conf, json), \
     .def = "false", .help = "Machine-readable output."}
// clang-format on
// What every such command's details end with.
#define SESSION_DETAILS                                                                            \
    "The bridge is the one that --url names, else RUNNEL_URL, else `url` in\n"                     \
    "~/.config/runnel.yaml, else http://127.0.0.1:8650. The token likewise: --token,\n"            \
    "RUNNEL_TOKEN, `token`.\n"

struct session {
    const char *name; // of the command, for messages
    struct api *api;
    bool json;
    bool colour; // standard output is a terminal and NO_COLOR is not set
    int nargs;
    char **args;
};

// Makes the client. Returns -1 to go on, else the exit code.
int session_begin(struct session *session, const char *name, const struct session_conf *conf,
                  int argc, char **argv);
void session_end(struct session *session);
// Says "runnel NAME: words" and returns the exit code for it.
int session_fail(const struct session *session, const struct rn_err *err);

// Prints text that came from a device: control characters become '?', so that no device can write
// escape sequences to the operator's terminal.
void session_put_text(const char *text);
// The same for any scalar of a field: texts, integers, numbers, booleans.
void session_put_value(const struct rn_json *value);

// "3 s", "12 min", "5 h", "9 d" into text, which is returned.
const char *session_age(char text[32], int64_t ms);

#endif
