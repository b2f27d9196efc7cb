// See api.h: the table of routes, and how a question travels to the intake and back.
#include "bridge/http/api_internal.h"

#include <runnel/crypto.h>
#include <runnel/file.h>

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONNECTIONS 256
#define MAX_BODY        65536
#define MAX_REPLIES     256
#define MAX_REPLY_BYTES (128u << 20)

static const struct http_route routes[] = {
    {HTTP_GET, "/healthz", true, api_healthz, "200 while the process works"},
    {HTTP_GET, "/readyz", true, api_readyz, "200 when broker and log are there, else 503"},
    {HTTP_GET, "/metrics", false, api_prometheus, "Prometheus text"},
    {HTTP_GET, "/api/v1/summary", false, api_summary, "the fleet and the log in numbers"},
    {HTTP_GET, "/api/v1/devices", false, api_devices, "all devices"},
    {HTTP_GET, "/api/v1/devices/*", false, api_device, "one device with its last values"},
    {HTTP_GET | HTTP_PUT, "/api/v1/devices/*/config", false, api_config, "desired configuration"},
    {HTTP_GET, "/api/v1/devices/*/config/history", false, api_config_history, "its revisions"},
    {HTTP_GET, "/api/v1/metrics", false, api_metrics, "samples of a device from the log"},
    {HTTP_GET, "/api/v1/tail", false, api_tail, "what arrives, as it arrives (NDJSON)"},
    {HTTP_GET, "/api/v1/deadletters", false, api_dead_list, "what could not be placed"},
    {HTTP_POST, "/api/v1/deadletters/replay", false, api_dead_replay, "try again"},
    {HTTP_DELETE, "/api/v1/deadletters/*", false, api_dead_delete, "forget one"},
};

// ---- answers ----------------------------------------------------------------------------------
unsigned api_status_of(int code)
{
    switch (code) {
    case RN_ENOENT:
        return 404;
    case RN_ECONFLICT:
    case RN_EEXIST:
        return 409;
    case RN_EINVAL:
    case RN_EFORMAT:
    case RN_EUNSUPPORTED:
        return 400;
    case RN_ELIMIT:
        return 413;
    case RN_EAGAIN:
    case RN_ESTATE:
        return 503;
    case RN_ENOSPC:
        return 507;
    default:
        return 500;
    }
}

void api_reply_json(struct http_request *request, unsigned status, struct rn_buf *body)
{
    rn_buf_byte(body, '\n');
    if (rn_buf_ok(body))
        http_reply(request, status, "application/json", rn_buf_span(body));
    else
        http_reply_error(request, 500, "the answer is too long");
}

bool api_answer(struct ask *ask)
{
    if (ask->status >= 400)
        http_reply_error(ask->request, ask->status, "%s", ask->err.text);
    else
        api_reply_json(ask->request, ask->status, &ask->body);
    return false;
}

// ---- questions --------------------------------------------------------------------------------
static void ask_free(struct ask *ask)
{
    rn_buf_release(&ask->body);
    free(ask->extra);
    free(ask);
}

static void finish_ask(void *arg)
{
    struct ask *ask = arg;
    if (!ask->finish(ask))
        ask_free(ask);
}

static void run_on_intake(struct bridge *bridge, void *arg)
{
    struct ask *ask = arg;
    ask->intake(bridge, ask);
    // There are more places for posts than for calls, so this fails only when memory is out; the
    // connection then times out.
    if (!http_post(ask->api->server, finish_ask, ask))
        ask_free(ask);
}

void api_ask(struct http_api *api, struct http_request *request,
             void (*intake)(struct bridge *bridge, struct ask *ask),
             bool (*finish)(struct ask *ask), void *extra)
{
    struct ask *ask = calloc(1, sizeof *ask);
    if (!ask || api->closing) {
        free(ask);
        free(extra);
        http_reply_error(request, 503, "the bridge is stopping or out of memory");
        return;
    }
    *ask = (struct ask){.api = api,
                        .request = request,
                        .intake = intake,
                        .finish = finish,
                        .status = 200,
                        .extra = extra};
    rn_buf_init(&ask->body, API_ANSWER_MAX);
    memcpy(ask->dev, http_param(request, 0), strlen(http_param(request, 0)) + 1);
    if (calls_push(api->conf.calls, run_on_intake, ask) < 0) {
        http_reply_error(request, 503, "the bridge is busy: try again");
        ask_free(ask);
        return;
    }
    http_keep(request);
}

bool api_ask_verify(struct ask *ask, const char *dev,
                    void (*verified)(struct ask *ask, const char *text))
{
    ask->verified = verified;
    if (ask->api->closing ||
        cursors_ask(ask->api->conf.cursors, dev, ask->api->replies, ask, &ask->err) < 0) {
        http_reply_error(ask->request, 503, "the bridge is busy: try again");
        return false;
    }
    return true;
}

static void on_replies(void *arg)
{
    struct http_api *api = arg;
    struct cursors_text *text;
    while ((text = rn_queue_pop(api->replies))) {
        struct ask *ask = text->token;
        ask->verified(ask, text->data);
        ask_free(ask);
        cursors_text_free(text);
    }
}

// ---- life -------------------------------------------------------------------------------------
// Something that is done on the server's thread while the intake waits for it.
struct errand {
    struct http_api *api;
    int rc;
    struct rn_err err;
    sem_t done;
};

static bool run_errand(struct http_api *api, void (*fn)(void *arg), struct errand *errand)
{
    errand->api = api;
    sem_init(&errand->done, 0, 0);
    bool sent = http_post(api->server, fn, errand);
    while (sent && sem_wait(&errand->done) != 0) // interrupted by a signal
        ;
    sem_destroy(&errand->done);
    return sent;
}

static void set_up(void *arg)
{
    struct errand *errand = arg;
    struct http_api *api = errand->api;
    errand->rc =
        rn_wake_new(&api->reply_wake, http_server_loop(api->server), on_replies, api, &errand->err);
    if (errand->rc == 0)
        errand->rc = rn_queue_new(&api->replies, MAX_REPLIES, MAX_REPLY_BYTES, api->reply_wake,
                                  cursors_text_free, &errand->err);
    sem_post(&errand->done);
}

static void close_up(void *arg)
{
    struct errand *errand = arg;
    errand->api->closing = true;
    api_tail_close(errand->api);
    sem_post(&errand->done);
}

int http_api_start(struct http_api **out, const struct http_api_conf *conf, struct rn_err *err)
{
    struct http_api *api = calloc(1, sizeof *api);
    if (!api)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    api->conf = *conf;
    snprintf(api->token, sizeof api->token, "%s", conf->token);
    snprintf(api->socket_path, sizeof api->socket_path, "%s",
             conf->socket_path ? conf->socket_path : "");
    struct http_conf server = {.listen = conf->listen,
                               .socket_path = conf->socket_path ? api->socket_path : NULL,
                               .token = api->token,
                               .hosts = conf->hosts,
                               .routes = routes,
                               .nroutes = sizeof routes / sizeof routes[0],
                               .app = api,
                               .max_connections = MAX_CONNECTIONS,
                               .max_body_bytes = MAX_BODY};
    int rc = http_server_start(&api->server, &server, err);
    struct errand errand = {.rc = RN_ENOMEM};
    if (rc == 0 && (!run_errand(api, set_up, &errand) || errand.rc < 0))
        rc = rn_fail(err, errand.rc, "the HTTP server cannot start: %s", errand.err.text);
    if (rc < 0) {
        http_api_free(api);
        return rc;
    }
    *out = api;
    return 0;
}

uint16_t http_api_port(const struct http_api *api)
{
    return http_server_port(api->server);
}

void http_api_close(struct http_api *api)
{
    struct errand errand = {0};
    if (api)
        (void)run_errand(api, close_up, &errand);
}

// Questions that verify has not answered when everything ends.
static void drop_replies(struct http_api *api)
{
    struct cursors_text *text;
    while (api->replies && (text = rn_queue_pop(api->replies))) {
        ask_free(text->token);
        cursors_text_free(text);
    }
}

void http_api_free(struct http_api *api)
{
    if (!api)
        return;
    http_server_halt(api->server);
    drop_replies(api);
    rn_queue_free(api->replies);
    rn_wake_free(api->reply_wake);
    http_server_stop(api->server);
    log_reader_close(api->reader);
    deadletters_close(api->dead);
    free(api);
}

int http_api_token(char token[65], const char *path, struct rn_err *err)
{
    uint8_t random[32];
    if (access(path, F_OK) == 0) {
        struct rn_buf text;
        rn_buf_init(&text, 256);
        int rc = rn_file_read(path, &text, err);
        const char *content = rn_buf_cstr(&text);
        size_t len = strcspn(content, " \t\r\n");
        if (rc == 0 && (len < 16 || len > 64))
            rc = rn_fail(err, RN_EINVAL, "%s: expected a token of 16 to 64 characters", path);
        if (rc == 0) {
            memcpy(token, content, len);
            token[len] = 0;
        }
        rn_buf_release(&text);
        return rc;
    }
    if (errno != ENOENT) // a new one would lock everybody out
        return rn_fail_errno(err, "%s", path);
    int rc = rn_random(random, sizeof random, err);
    if (rc < 0)
        return rc;
    rn_hex(token, random, sizeof random);
    return rn_file_replace(path, rn_span_text(token), 0600, err);
}
