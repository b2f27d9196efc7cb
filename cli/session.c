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

// Length of the control character at text: 0 if there is none (C0, DEL, and C1 as UTF-8).
static size_t control_len(const char *text)
{
    unsigned char first = (unsigned char)text[0], second = (unsigned char)text[1];
    if (first < 0x20 || first == 0x7f)
        return 1;
    return first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2 : 0;
}

void session_put_text(const char *text)
{
    while (*text) {
        size_t len = control_len(text);
        putchar(len ? '?' : *text);
        text += len ? len : 1;
    }
}

void session_put_value(const struct rn_json *value)
{
    switch (rn_json_type(value)) {
    case RN_JSON_TEXT:
        putchar('"');
        session_put_text(rn_json_text(value));
        putchar('"');
        break;
    case RN_JSON_INT:
        printf("%lld", (long long)rn_json_int(value, 0));
        break;
    case RN_JSON_DOUBLE:
        printf("%.15g", rn_json_double(value, 0.0));
        break;
    case RN_JSON_BOOL:
        fputs(rn_json_bool(value, false) ? "true" : "false", stdout);
        break;
    case RN_JSON_NONE:
    case RN_JSON_NULL:
    case RN_JSON_ARRAY:
    case RN_JSON_OBJECT:
        break;
    }
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
