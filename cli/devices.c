// `runnel devices` and `runnel device`: who is there and how they fare.
#include "cli/cli.h"
#include "cli/session.h"

#include <runnel/clock.h>

#include <stdio.h>
#include <string.h>

static const char *text_of(const struct rn_json *object, const char *key)
{
    return rn_json_text_or(rn_json_get(object, key), "");
}

static long long number_of(const struct rn_json *object, const char *key)
{
    return (long long)rn_json_int(rn_json_get(object, key), 0);
}

// The escape sequence for a state; "" where no colour is wanted.
static const char *colour_of(const struct session *session, const char *state)
{
    static const struct {
        const char *state, *sequence;
    } colours[] = {{"online", "\033[32m"}, {"offline", "\033[31m"},   {"late", "\033[33m"},
                   {"blind", "\033[35m"},  {"duplicate", "\033[31m"}, {"unconfirmed", "\033[33m"}};
    for (size_t i = 0; session->colour && i < sizeof colours / sizeof colours[0]; i++)
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].sequence;
    return "";
}

static const char *end_of(const struct session *session)
{
    return session->colour ? "\033[0m" : "";
}

static void print_row(const struct session *session, const struct rn_json *device)
{
    char age[32] = "-", state[64];
    int64_t heard = rn_json_int(rn_json_get(device, "heard_ms"), 0);
    if (heard)
        session_age(age, rn_clock_utc_ms() - heard);
    const char *reason = text_of(device, "reason");
    snprintf(state, sizeof state, "%s%s%s%s", text_of(device, "state"), reason[0] ? " (" : "",
             reason, reason[0] ? ")" : "");
    printf("%-32s %s%-24s%s %8s %12lld %10lld  ", text_of(device, "device"),
           colour_of(session, text_of(device, "state")), state, end_of(session), age,
           number_of(device, "stored"), number_of(rn_json_get(device, "ledger"), "pending"));
    session_put_text(text_of(device, "version"));
    putchar('\n');
}

// The answer as it came: what --json prints.
static int print_raw(struct session *session, const char *path)
{
    struct rn_err err;
    struct rn_buf out;
    rn_buf_init(&out, 64u << 20);
    int rc = api_text(session->api, path, &out, &err);
    if (rc == 0)
        fwrite(out.data, 1, out.len, stdout);
    rn_buf_release(&out);
    return rc < 0 ? session_fail(session, &err) : CLI_DONE;
}

static int list_devices(struct session *session)
{
    struct rn_err err;
    struct rn_json *answer = NULL;
    if (api_call(session->api, "GET", "/api/v1/devices", NULL, &answer, &err) < 0)
        return session_fail(session, &err);
    const struct rn_json *list = rn_json_get(answer, "devices");
    if (rn_json_len(list) == 0)
        printf("no device has been heard yet\n");
    else
        printf("%-32s %-24s %8s %12s %10s  %s\n", "DEVICE", "STATE", "HEARD", "STORED", "PENDING",
               "VERSION");
    for (size_t i = 0; i < rn_json_len(list); i++)
        print_row(session, rn_json_at(list, i));
    rn_json_free(answer);
    return CLI_DONE;
}

static int run_devices(const void *conf, int argc, char **argv)
{
    struct session session;
    int rc = session_begin(&session, "devices", conf, argc, argv);
    if (rc >= 0)
        return rc;
    rc = session.json ? print_raw(&session, "/api/v1/devices") : list_devices(&session);
    session_end(&session);
    return rc;
}

static const struct rn_opt options[] = {SESSION_OPTS};

extern const struct cli_command cli_devices;
const struct cli_command cli_devices = {
    .name = "devices",
    .usage = "",
    .help = "List the devices that the bridge knows, with their state",
    .details = SESSION_DETAILS,
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct session_conf),
    .run = run_devices,
};

// ---- one device -------------------------------------------------------------------------------
static bool print_field(void *arg, const char *key, const struct rn_json *value)
{
    (void)arg;
    fputs("    ", stdout);
    session_put_text(key);
    fputs(" = ", stdout);
    session_put_value(value);
    putchar('\n');
    return true;
}

static bool print_tag(void *arg, const char *key, const struct rn_json *value)
{
    (void)arg;
    putchar(' ');
    session_put_text(key);
    putchar('=');
    session_put_text(rn_json_text_or(value, ""));
    return true;
}

static void print_last(const struct rn_json *points)
{
    for (size_t i = 0; i < rn_json_len(points); i++) {
        const struct rn_json *point = rn_json_at(points, i);
        fputs("  ", stdout);
        session_put_text(text_of(point, "measurement"));
        rn_json_each(rn_json_get(point, "tags"), print_tag, NULL);
        putchar('\n');
        rn_json_each(rn_json_get(point, "fields"), print_field, NULL);
    }
}

static void print_device(const struct session *session, const struct rn_json *device)
{
    const struct rn_json *ledger = rn_json_get(device, "ledger");
    const char *reason = text_of(device, "reason");
    char age[32];
    printf("%s: %s%s%s", text_of(device, "device"), colour_of(session, text_of(device, "state")),
           text_of(device, "state"), end_of(session));
    printf("%s%s%s for %s\n", reason[0] ? " (" : "", reason, reason[0] ? ")" : "",
           session_age(age, rn_clock_utc_ms() - rn_json_int(rn_json_get(device, "since_ms"), 0)));
    fputs("  version ", stdout);
    session_put_text(text_of(device, "version"));
    printf(", install %s, epoch %lld, said \"", text_of(device, "install"),
           number_of(device, "epoch"));
    session_put_text(text_of(device, "said"));
    fputs("\"\n", stdout);
    printf(
        "  samples: stored here %lld; of the device: produced %lld, delivered %lld, pending %lld,"
        " evicted %lld, refused %lld, lost %lld\n",
        number_of(device, "stored"), number_of(ledger, "produced"), number_of(ledger, "delivered"),
        number_of(ledger, "pending"), number_of(ledger, "evicted"), number_of(ledger, "refused"),
        number_of(ledger, "lost"));
    const struct rn_json *config = rn_json_get(device, "config");
    printf("  configuration: desired revision %lld, running %lld%s%s\n",
           number_of(config, "desired"), number_of(config, "running"),
           text_of(config, "state")[0] ? ", last verdict " : "", text_of(config, "state"));
    printf("last values:\n");
    print_last(rn_json_get(device, "last"));
}

static int run_device(const void *conf, int argc, char **argv)
{
    struct session session;
    struct rn_err err;
    char path[256];
    int rc = session_begin(&session, "device", conf, argc, argv);
    if (rc >= 0)
        return rc;
    snprintf(path, sizeof path, "/api/v1/devices/%.32s", session.args[0]);
    if (session.json) {
        rc = print_raw(&session, path);
    } else {
        struct rn_json *answer = NULL;
        rc = api_call(session.api, "GET", path, NULL, &answer, &err);
        if (rc == 0)
            print_device(&session, answer);
        rc = rc < 0 ? session_fail(&session, &err) : CLI_DONE;
        rn_json_free(answer);
    }
    session_end(&session);
    return rc;
}

extern const struct cli_command cli_device;
const struct cli_command cli_device = {
    .name = "device",
    .usage = "DEVICE",
    .help = "Show what the bridge knows of one device, with its last values",
    .details = SESSION_DETAILS,
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct session_conf),
    .min_args = 1,
    .max_args = 1,
    .run = run_device,
};
