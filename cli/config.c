// `runnel config`: a device's remote configuration: get, set, diff, history, rollback.
#include "cli/cli.h"
#include "cli/session.h"

#include <runnel/text.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char details[] =
    "runnel config get DEVICE\n"
    "runnel config set DEVICE KEY=VALUE... [--comment TEXT]    KEY= takes the key out\n"
    "runnel config diff DEVICE [REVISION [REVISION]]\n"
    "runnel config history DEVICE\n"
    "runnel config rollback DEVICE [REVISION]\n"
    "\n"
    "The keys are those of the device's agent.yaml, written with dots. A change is sent at\n"
    "once, kept by the device only when a report sent under it was acknowledged, and rolled\n"
    "back by the device itself otherwise.\n"
    "\n" SESSION_DETAILS;

struct config_conf {
    struct session_conf session;
    char comment[160];
};

struct setting {
    const char *key, *value; // borrowed; value NULL: take it out
};

struct settings {
    uint32_t count;
    struct setting item[RN_CONFIG_MAX_KEYS];
};

static bool collect_setting(void *arg, const char *key, const struct rn_json *value)
{
    struct settings *settings = arg;
    if (settings->count == RN_CONFIG_MAX_KEYS)
        return false;
    settings->item[settings->count++] = (struct setting){key, rn_json_text_or(value, "")};
    return true;
}

static void read_settings(struct settings *settings, const struct rn_json *object)
{
    settings->count = 0;
    rn_json_each(object, collect_setting, settings);
}

static const char *find_setting(const struct settings *settings, const char *key)
{
    for (uint32_t i = 0; i < settings->count; i++)
        if (strcmp(settings->item[i].key, key) == 0)
            return settings->item[i].value;
    return NULL;
}

// ---- talking to the bridge --------------------------------------------------------------------
static void device_path(char *out, size_t size, const char *device, const char *rest)
{
    snprintf(out, size, "/api/v1/devices/%.32s/config%s", device, rest);
}

static int get_config(struct session *session, struct rn_json **answer, struct rn_err *err)
{
    char path[128];
    device_path(path, sizeof path, session->args[1], "");
    return api_call(session->api, "GET", path, NULL, answer, err);
}

static int get_history(struct session *session, struct rn_json **answer, struct rn_err *err)
{
    char path[128];
    device_path(path, sizeof path, session->args[1], "/history");
    return api_call(session->api, "GET", path, NULL, answer, err);
}

static void put_text(struct rn_buf *out, const char *name, const char *text)
{
    rn_text_json_string(out, rn_span_text(name));
    rn_buf_byte(out, ':');
    rn_text_json_string(out, rn_span_text(text));
}

// Stores the settings as a new revision on top of `base` and says what happened.
static int put_config(struct session *session, const struct settings *settings, int64_t base,
                      const char *comment, struct rn_err *err)
{
    char path[128];
    struct rn_json *answer = NULL;
    struct rn_buf body;
    rn_buf_init(&body, 65536);
    rn_buf_text(&body, "{\"settings\":{");
    for (uint32_t i = 0; i < settings->count; i++) {
        if (i)
            rn_buf_byte(&body, ',');
        put_text(&body, settings->item[i].key, settings->item[i].value);
    }
    rn_buf_printf(&body, "},\"base\":%lld,", (long long)base);
    put_text(&body, "comment", comment ? comment : "");
    rn_buf_text(&body, "}");
    device_path(path, sizeof path, session->args[1], "");
    int rc = rn_buf_ok(&body)
                 ? api_call(session->api, "PUT", path, rn_buf_cstr(&body), &answer, err)
                 : rn_fail(err, RN_ELIMIT, "the configuration is too long");
    long long revision = (long long)rn_json_int(rn_json_get(answer, "revision"), 0);
    if (rc == 0 && session->json)
        printf("{\"device\":\"%s\",\"revision\":%lld}\n", session->args[1], revision);
    else if (rc == 0)
        printf("revision %lld is on its way to %s; `runnel config get %s` shows what it says\n",
               revision, session->args[1], session->args[1]);
    rn_json_free(answer);
    rn_buf_release(&body);
    return rc;
}

// ---- the verbs --------------------------------------------------------------------------------
// ": words", made harmless; nothing for "".
static void put_clause(const char *words)
{
    if (!words[0])
        return;
    fputs(": ", stdout);
    session_put_text(words);
}

static void print_report(const struct rn_json *report)
{
    if (!report || rn_json_type(report) != RN_JSON_OBJECT) {
        printf("# the device has not reported about its configuration yet\n");
        return;
    }
    const char *path = rn_json_text_or(rn_json_get(report, "path"), "");
    const char *reason = rn_json_text_or(rn_json_get(report, "reason"), "");
    printf("# the device runs revision %lld; revision %lld is %s",
           (long long)rn_json_int(rn_json_get(report, "running"), 0),
           (long long)rn_json_int(rn_json_get(report, "offered"), 0),
           rn_json_text_or(rn_json_get(report, "state"), "?"));
    put_clause(path);
    put_clause(reason);
    putchar('\n');
}

// The bridge's answer as it is.
static int print_answer(struct session *session, const char *rest, struct rn_err *err)
{
    char path[128];
    struct rn_buf out;
    rn_buf_init(&out, 1u << 20);
    device_path(path, sizeof path, session->args[1], rest);
    int rc = api_text(session->api, path, &out, err);
    if (rc == 0)
        fwrite(out.data, 1, out.len, stdout);
    rn_buf_release(&out);
    return rc;
}

static int verb_get(struct session *session, const char *comment, struct rn_err *err)
{
    (void)comment;
    if (session->json)
        return print_answer(session, "", err);
    struct rn_json *answer = NULL;
    struct settings settings;
    int rc = get_config(session, &answer, err);
    if (rc < 0)
        return rc;
    printf("# %s, desired revision %lld\n", session->args[1],
           (long long)rn_json_int(rn_json_get(answer, "revision"), 0));
    print_report(rn_json_get(answer, "report"));
    read_settings(&settings, rn_json_get(answer, "settings"));
    for (uint32_t i = 0; i < settings.count; i++)
        printf("%s: %s\n", settings.item[i].key, settings.item[i].value);
    rn_json_free(answer);
    return 0;
}

// Applies one KEY=VALUE; the text is cut in two.
static int apply_change(struct settings *settings, char *text, struct rn_err *err)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return rn_fail(err, RN_EINVAL, "expected KEY=VALUE, not '%s'", text);
    *equals = 0;
    const char *value = equals[1] ? equals + 1 : NULL;
    for (uint32_t i = 0; i < settings->count; i++) {
        if (strcmp(settings->item[i].key, text) != 0)
            continue;
        if (value)
            settings->item[i].value = value;
        else
            settings->item[i] = settings->item[--settings->count];
        return 0;
    }
    if (!value)
        return rn_fail(err, RN_ENOENT, "%s is not set, so it cannot be taken out", text);
    if (settings->count == RN_CONFIG_MAX_KEYS)
        return rn_fail(err, RN_ELIMIT, "at most %d keys", RN_CONFIG_MAX_KEYS);
    settings->item[settings->count++] = (struct setting){text, value};
    return 0;
}

static int verb_set(struct session *session, const char *comment, struct rn_err *err)
{
    struct rn_json *answer = NULL;
    struct settings settings;
    if (session->nargs < 3)
        return rn_fail(err, RN_EINVAL, "expected KEY=VALUE after the device");
    int rc = get_config(session, &answer, err);
    if (rc < 0)
        return rc;
    read_settings(&settings, rn_json_get(answer, "settings"));
    for (int i = 2; rc == 0 && i < session->nargs; i++)
        rc = apply_change(&settings, session->args[i], err);
    if (rc == 0)
        rc = put_config(session, &settings, rn_json_int(rn_json_get(answer, "revision"), 0),
                        comment, err);
    rn_json_free(answer);
    return rc;
}

static int verb_history(struct session *session, const char *comment, struct rn_err *err)
{
    (void)comment;
    if (session->json)
        return print_answer(session, "/history", err);
    struct rn_json *answer = NULL;
    int rc = get_history(session, &answer, err);
    if (rc < 0)
        return rc;
    const struct rn_json *list = rn_json_get(answer, "history");
    for (size_t i = 0; i < rn_json_len(list); i++) {
        const struct rn_json *version = rn_json_at(list, i);
        printf("%6lld  %s  %s  %s\n", (long long)rn_json_int(rn_json_get(version, "revision"), 0),
               rn_json_text_or(rn_json_get(version, "created"), ""),
               rn_json_text_or(rn_json_get(version, "author"), ""),
               rn_json_text_or(rn_json_get(version, "comment"), ""));
    }
    if (rn_json_len(list) == 0)
        printf("# %s was never given a configuration\n", session->args[1]);
    rn_json_free(answer);
    return 0;
}

// The settings of a revision in a history; revision 0: none at all.
static int settings_of(const struct rn_json *history, int64_t revision, struct settings *settings,
                       struct rn_err *err)
{
    const struct rn_json *list = rn_json_get(history, "history");
    settings->count = 0;
    if (revision == 0)
        return 0;
    for (size_t i = 0; i < rn_json_len(list); i++) {
        const struct rn_json *version = rn_json_at(list, i);
        if (rn_json_int(rn_json_get(version, "revision"), 0) == revision) {
            read_settings(settings, rn_json_get(version, "settings"));
            return 0;
        }
    }
    return rn_fail(err, RN_ENOENT, "there is no revision %lld", (long long)revision);
}

// Revision `back` steps behind the newest; 0 if there is none.
static int64_t revision_at(const struct rn_json *history, size_t back)
{
    const struct rn_json *version = rn_json_at(rn_json_get(history, "history"), back);
    return rn_json_int(rn_json_get(version, "revision"), 0);
}

static int64_t revision_argument(const struct session *session, int index, int64_t otherwise)
{
    return session->nargs > index ? strtoll(session->args[index], NULL, 10) : otherwise;
}

// What is in `these` and not, or otherwise, in `those`.
static void print_changes(char sign, const struct settings *these, const struct settings *those)
{
    for (uint32_t i = 0; i < these->count; i++) {
        const char *other = find_setting(those, these->item[i].key);
        if (!other || strcmp(other, these->item[i].value) != 0)
            printf("%c%s: %s\n", sign, these->item[i].key, these->item[i].value);
    }
}

static void put_changes(struct rn_buf *out, const char *name, const struct settings *these,
                        const struct settings *those)
{
    bool first = true;
    rn_buf_printf(out, ",\"%s\":{", name);
    for (uint32_t i = 0; i < these->count; i++) {
        const char *other = find_setting(those, these->item[i].key);
        if (other && strcmp(other, these->item[i].value) == 0)
            continue;
        rn_buf_text(out, first ? "" : ",");
        put_text(out, these->item[i].key, these->item[i].value);
        first = false;
    }
    rn_buf_byte(out, '}');
}

static void print_diff(const struct session *session, int64_t older, const struct settings *from,
                       int64_t newer, const struct settings *to)
{
    struct rn_buf out;
    if (!session->json) {
        printf("--- revision %lld\n+++ revision %lld\n", (long long)older, (long long)newer);
        print_changes('-', from, to);
        print_changes('+', to, from);
        return;
    }
    rn_buf_init(&out, 1u << 20);
    rn_buf_printf(&out, "{\"from\":%lld,\"to\":%lld", (long long)older, (long long)newer);
    put_changes(&out, "removed", from, to);
    put_changes(&out, "added", to, from);
    rn_buf_text(&out, "}\n");
    fputs(rn_buf_cstr(&out), stdout);
    rn_buf_release(&out);
}

static int verb_diff(struct session *session, const char *comment, struct rn_err *err)
{
    (void)comment;
    struct rn_json *answer = NULL;
    struct settings from, to;
    int rc = get_history(session, &answer, err);
    if (rc < 0)
        return rc;
    int64_t newer = revision_argument(session, 3, revision_at(answer, 0));
    int64_t older = revision_argument(session, 2, revision_at(answer, 1));
    rc = settings_of(answer, older, &from, err);
    if (rc == 0)
        rc = settings_of(answer, newer, &to, err);
    if (rc == 0)
        print_diff(session, older, &from, newer, &to);
    rn_json_free(answer);
    return rc;
}

static int verb_rollback(struct session *session, const char *comment, struct rn_err *err)
{
    struct rn_json *answer = NULL;
    struct settings settings;
    char words[80];
    int rc = get_history(session, &answer, err);
    if (rc < 0)
        return rc;
    int64_t to = revision_argument(session, 2, revision_at(answer, 1));
    snprintf(words, sizeof words, "rollback to revision %lld", (long long)to);
    rc = settings_of(answer, to, &settings, err);
    if (rc == 0)
        rc = put_config(session, &settings, revision_at(answer, 0), comment[0] ? comment : words,
                        err);
    rn_json_free(answer);
    return rc;
}

static int run_config(const void *conf, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct session *session, const char *comment, struct rn_err *err);
    } verbs[] = {{"get", verb_get},
                 {"set", verb_set},
                 {"diff", verb_diff},
                 {"history", verb_history},
                 {"rollback", verb_rollback}};
    const struct config_conf *config = conf;
    struct session session;
    struct rn_err err;
    size_t verb = 0, count = sizeof verbs / sizeof verbs[0];
    while (verb < count && strcmp(verbs[verb].name, argv[0]) != 0)
        verb++;
    if (verb == count) {
        cli_say("config", "there is no '%s'; expected get, set, diff, history or rollback",
                argv[0]);
        return CLI_USAGE;
    }
    int rc = session_begin(&session, "config", &config->session, argc, argv);
    if (rc >= 0)
        return rc;
    rc = verbs[verb].run(&session, config->comment, &err);
    rc = rc < 0 ? session_fail(&session, &err) : CLI_DONE;
    session_end(&session);
    return rc;
}

static const struct rn_opt options[] = {
    SESSION_OPTS,
    {.key = "comment",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct config_conf, comment),
     .size = sizeof((struct config_conf *)0)->comment,
     .help = "Why, for the history."},
};

extern const struct cli_command cli_config;
const struct cli_command cli_config = {
    .name = "config",
    .usage = "get|set|diff|history|rollback DEVICE [...]",
    .help = "Read and change a device's configuration",
    .details = details,
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct config_conf),
    .min_args = 2,
    .max_args = -1,
    .run = run_config,
};
