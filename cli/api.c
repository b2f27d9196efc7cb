// See api.h.
#include "cli/api.h"

#include <runnel/conf.h>
#include <runnel/http.h>
#include <runnel/loop.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_URL  "http://127.0.0.1:8650"
#define ANSWER_MAX   (64u << 20)
#define LINE_MAX_LEN (4u << 20)
#define TIMEOUT_MS   30000

struct api {
    struct rn_loop *loop;
    struct rn_http *http;
    char url[512];    // as the user knows it
    char base[512];   // what goes in front of a path
    char bearer[300]; // whole header line; "": none
    // The exchange under way.
    int status;
    char error[200];
    struct rn_buf answer;
    bool (*line)(void *arg, const char *text);
    void *line_arg;
};

// ---- where the bridge is ----------------------------------------------------------------------
struct settings {
    char url[512], token[256];
};

static int take_setting(void *arg, const char *key, const char *text)
{
    struct settings *settings = arg;
    if (strcmp(key, "url") == 0)
        snprintf(settings->url, sizeof settings->url, "%s", text);
    else if (strcmp(key, "token") == 0)
        snprintf(settings->token, sizeof settings->token, "%s", text);
    return 0;
}

static int read_settings(struct settings *settings, struct rn_err *err)
{
    char path[512];
    const char *home = getenv("HOME");
    if (!home || snprintf(path, sizeof path, "%s/.config/runnel.yaml", home) >= (int)sizeof path ||
        access(path, R_OK) != 0)
        return 0;
    return rn_conf_visit(path, take_setting, settings, err);
}

static const char *first_of(const char *a, const char *b, const char *c, const char *d)
{
    const char *choices[] = {a, b, c, d};
    for (size_t i = 0; i < 4; i++)
        if (choices[i] && choices[i][0])
            return choices[i];
    return "";
}

static int open_client(struct api *api, struct rn_err *err)
{
    struct rn_http_conf conf = {.max_body = ANSWER_MAX, .user_agent = "runnel"};
    if (strncmp(api->url, "unix:", 5) == 0) {
        conf.unix_socket = api->url + 5;
        snprintf(api->base, sizeof api->base, "http://localhost");
    } else {
        snprintf(api->base, sizeof api->base, "%s", api->url);
        size_t len = strlen(api->base);
        if (len && api->base[len - 1] == '/')
            api->base[len - 1] = 0;
    }
    int rc = rn_loop_new(&api->loop, err);
    return rc < 0 ? rc : rn_http_new(&api->http, api->loop, &conf, err);
}

int api_new(struct api **out, const char *url, const char *token, struct rn_err *err)
{
    struct settings settings = {0};
    int rc = read_settings(&settings, err);
    if (rc < 0)
        return rc;
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rn_buf_init(&api->answer, ANSWER_MAX);
    signal(SIGPIPE, SIG_IGN);
    snprintf(api->url, sizeof api->url, "%s",
             first_of(url, getenv("RUNNEL_URL"), settings.url, DEFAULT_URL));
    token = first_of(token, getenv("RUNNEL_TOKEN"), settings.token, NULL);
    if (token[0])
        snprintf(api->bearer, sizeof api->bearer, "Authorization: Bearer %s", token);
    rc = open_client(api, err);
    if (rc < 0) {
        api_free(api);
        return rc;
    }
    *out = api;
    return 0;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    rn_http_free(api->http);
    rn_loop_free(api->loop);
    rn_buf_release(&api->answer);
    free(api);
}

const char *api_url(const struct api *api)
{
    return api->url;
}

// ---- one exchange -----------------------------------------------------------------------------
static void on_done(void *arg, const struct rn_http_answer *answer)
{
    struct api *api = arg;
    api->status = answer->status;
    snprintf(api->error, sizeof api->error, "%s",
             answer->error       ? answer->error
             : answer->truncated ? "the answer is too long"
                                 : "");
    if (!api->line)
        rn_buf_append(&api->answer, answer->body.data, answer->body.len);
    rn_loop_stop(api->loop);
}

static bool on_data(void *arg, struct rn_span data)
{
    struct api *api = arg;
    const uint8_t *at = data.data, *end = data.data + data.len;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        rn_buf_append(&api->answer, at, (size_t)((newline ? newline : end) - at));
        if (!newline)
            return rn_buf_ok(&api->answer) && api->answer.len < LINE_MAX_LEN;
        bool go_on = api->line(api->line_arg, rn_buf_cstr(&api->answer));
        rn_buf_clear(&api->answer);
        if (!go_on)
            return false;
        at = newline + 1;
    }
    return true;
}

static void on_signal(void *arg, int signum)
{
    (void)signum;
    struct api *api = arg;
    rn_loop_stop(api->loop);
}

// The bridge's own words for a refusal, or the status.
static int refusal(struct api *api, struct rn_err *err)
{
    struct rn_json *json = NULL;
    struct rn_err ignored;
    const char *words = NULL;
    if (rn_json_parse(&json, rn_buf_span(&api->answer), ANSWER_MAX, &ignored) == 0)
        words = rn_json_text(rn_json_get(json, "error"));
    int code = api->status == 404                         ? RN_ENOENT
               : api->status == 401 || api->status == 403 ? RN_EACCESS
               : api->status == 409                       ? RN_ECONFLICT
               : api->status == 503                       ? RN_EAGAIN
                                                          : RN_EINVAL;
    if (words)
        rn_fail(err, code, "%s", words);
    else
        rn_fail(err, code, "%s answered with status %d", api->url, api->status);
    rn_json_free(json);
    return code;
}

static int exchange(struct api *api, const char *method, const char *path, const char *body,
                    struct rn_err *err)
{
    char url[2048];
    if (snprintf(url, sizeof url, "%s%s", api->base, path) >= (int)sizeof url)
        return rn_fail(err, RN_EINVAL, "the address is too long");
    const char *headers[] = {"Content-Type: application/json", api->bearer[0] ? api->bearer : NULL,
                             NULL};
    struct rn_http_ask ask = {.method = method,
                              .url = url,
                              .headers = headers,
                              .timeout_ms = api->line ? 0 : TIMEOUT_MS,
                              .on_data = api->line ? on_data : NULL,
                              .done = on_done,
                              .arg = api};
    if (body)
        ask.body = rn_span_text(body);
    rn_buf_clear(&api->answer);
    api->status = 0;
    api->error[0] = 0;
    struct rn_http_req *request = NULL;
    int rc = rn_http_start(api->http, &ask, &request, err);
    if (rc < 0)
        return rc;
    rn_loop_run(api->loop);
    return 0;
}

static int check_answer(struct api *api, struct rn_err *err)
{
    if (api->status == 0)
        return rn_fail(err, RN_EAGAIN,
                       "no bridge answers at %s (%s): is it running? --url or RUNNEL_URL name "
                       "another",
                       api->url, api->error[0] ? api->error : "no answer");
    if (api->status >= 300)
        return refusal(api, err);
    if (api->error[0])
        return rn_fail(err, RN_EIO, "%s: %s", api->url, api->error);
    return 0;
}

int api_call(struct api *api, const char *method, const char *path, const char *body,
             struct rn_json **answer, struct rn_err *err)
{
    int rc = exchange(api, method, path, body, err);
    if (rc == 0)
        rc = check_answer(api, err);
    if (rc == 0)
        rc = rn_json_parse(answer, rn_buf_span(&api->answer), ANSWER_MAX, err);
    return rc;
}

int api_text(struct api *api, const char *path, struct rn_buf *out, struct rn_err *err)
{
    int rc = exchange(api, "GET", path, NULL, err);
    if (rc == 0)
        rc = check_answer(api, err);
    if (rc == 0)
        rn_buf_append(out, api->answer.data, api->answer.len);
    return rc;
}

int api_follow(struct api *api, const char *path, bool (*line)(void *arg, const char *text),
               void *arg, struct rn_err *err)
{
    struct rn_signal *interrupt = NULL, *terminate = NULL;
    int rc = rn_signal_new(&interrupt, api->loop, SIGINT, on_signal, api, err);
    if (rc == 0)
        rc = rn_signal_new(&terminate, api->loop, SIGTERM, on_signal, api, err);
    api->line = line;
    api->line_arg = arg;
    if (rc == 0)
        rc = exchange(api, "GET", path, NULL, err);
    api->line = NULL;
    rn_signal_free(interrupt);
    rn_signal_free(terminate);
    if (rc == 0 && api->status >= 300)
        rc = refusal(api, err);
    else if (rc == 0 && api->status == 0 && api->error[0])
        rc = check_answer(api, err);
    return rc;
}
