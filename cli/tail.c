// `runnel tail`: what arrives, decoded, as it arrives.
#include "cli/cli.h"
#include "cli/session.h"

#include <stdio.h>

struct printer {
    bool json;
};

static bool print_tag(void *arg, const char *key, const struct rn_json *value)
{
    (void)arg;
    putchar(',');
    session_put_text(key);
    putchar('=');
    session_put_text(rn_json_text_or(value, ""));
    return true;
}

static bool print_field(void *arg, const char *key, const struct rn_json *value)
{
    (void)arg;
    putchar(' ');
    session_put_text(key);
    putchar('=');
    session_put_value(value);
    return true;
}

static void print_point(const struct rn_json *point)
{
    int64_t time_ns = rn_json_int(rn_json_get(point, "time_ns"), 0);
    printf("%lld.%03lld ", (long long)(time_ns / 1000000000),
           (long long)(time_ns / 1000000 % 1000));
    session_put_text(rn_json_text_or(rn_json_get(point, "device"), "-"));
    putchar(' ');
    session_put_text(rn_json_text_or(rn_json_get(point, "measurement"), "?"));
    rn_json_each(rn_json_get(point, "tags"), print_tag, NULL);
    rn_json_each(rn_json_get(point, "fields"), print_field, NULL);
    putchar('\n');
}

static bool print_line(void *arg, const char *text)
{
    const struct printer *printer = arg;
    struct rn_json *point = NULL;
    struct rn_err err;
    if (printer->json) {
        printf("%s\n", text);
    } else if (rn_json_parse(&point, rn_span_text(text), 1u << 20, &err) == 0) {
        print_point(point);
    } else {
        session_put_text(text);
        putchar('\n');
    }
    rn_json_free(point);
    return fflush(stdout) == 0; // the reader went away
}

static int run_tail(const void *conf, int argc, char **argv)
{
    struct session session;
    struct rn_err err;
    char path[128];
    int rc = session_begin(&session, "tail", conf, argc, argv);
    if (rc >= 0)
        return rc;
    snprintf(path, sizeof path, "/api/v1/tail%s%.32s", session.nargs ? "?device=" : "",
             session.nargs ? session.args[0] : "");
    struct printer printer = {.json = session.json};
    rc = api_follow(session.api, path, print_line, &printer, &err);
    rc = rc < 0 ? session_fail(&session, &err) : CLI_DONE;
    session_end(&session);
    return rc;
}

static const struct rn_opt options[] = {SESSION_OPTS};

extern const struct cli_command cli_tail;
const struct cli_command cli_tail = {
    .name = "tail",
    .usage = "[DEVICE]",
    .help = "Print what arrives at the bridge, decoded, until Ctrl-C",
    .details = SESSION_DETAILS,
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct session_conf),
    .max_args = 1,
    .run = run_tail,
};
