// runnel version
#include "cli/cli.h"

#include <stdio.h>

struct version_conf {
    bool json;
};

static const struct rn_opt options[] = {
    {.key = "json",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct version_conf, json),
     .size = sizeof(bool),
     .def = "false",
     .help = "Print one JSON object."},
};

static int run(const void *conf, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (((const struct version_conf *)conf)->json)
        puts("{\"version\":\"" RUNNEL_VERSION "\",\"protocol\":1,\"encodings\":[0]}");
    else
        puts("runnel " RUNNEL_VERSION);
    return CLI_DONE;
}

extern const struct cli_command cli_version;
const struct cli_command cli_version = {
    .name = "version",
    .usage = "",
    .help = "Print the version of this program.",
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct version_conf),
    .run = run,
};
