// See session.h.
#include "cli/session.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int session_begin(struct session *session, const char *name, const struct session_conf *conf,
                  int argc, char **argv)
{
    const char *no_colour = getenv("NO_COLOR");
    struct rn_err err;
    *session = (struct session){
        .name = name,
        .json = conf->json,
        .colour = isatty(STDOUT_FILENO) && !(no_colour && no_colour[0]),
        .nargs = argc,
        .args = argv,
    };
    if (api_new(&session->api, conf->url, conf->token, &err) < 0)
        return session_fail(session, &err);
    return -1;
}

void session_end(struct session *session)
{
    api_free(session->api);
    session->api = NULL;
}

int session_fail(const struct session *session, const struct rn_err *err)
{
    cli_say(session->name, "%s", err->text);
    return CLI_FAILED;
}

const char *session_age(char text[32], int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ms >= 2 * units[i].ms || i == 3) {
            snprintf(text, 32, "%lld %s", (long long)(ms / units[i].ms), units[i].unit);
            break;
        }
    }
    return text;
}
