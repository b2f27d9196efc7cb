// runnel: command line for the fleet and for the wire format.
#include "cli/cli.h"

#include <string.h>

static int help(int argc, char **argv)
{
    if (argc < 2) {
        cli_overview();
        return CLI_DONE;
    }
    const struct cli_command *command = cli_find(argv[1]);
    if (!command) {
        cli_say("help", "there is no command '%s'; `runnel help` lists them", argv[1]);
        return CLI_USAGE;
    }
    cli_help(command);
    return CLI_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cli_overview();
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct cli_command *command = cli_find(name);
    if (!command) {
        cli_say(NULL, "there is no command '%s'; `runnel help` lists them", name);
        return CLI_USAGE;
    }
    return cli_run(command, argc - 1, argv + 1);
}
