// All commands, in the order in which help lists them.
#include "cli/cli.h"

extern const struct cli_command cli_demo, cli_devices, cli_device, cli_tail, cli_config, cli_encode,
    cli_decode, cli_version;

const struct cli_command *const cli_table[] = {
    &cli_demo,   &cli_devices, &cli_device, &cli_tail,
    &cli_config, &cli_encode,  &cli_decode, &cli_version,
};
const size_t cli_table_count = sizeof cli_table / sizeof *cli_table;
