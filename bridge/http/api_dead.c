// Dead letters: list, replay, delete. dead.db is opened here too, by the server's thread.
#include "bridge/http/api_internal.h"

#include <runnel/json.h>

#include <stdlib.h>

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000
#define RAW_MAX      512 // bytes of a batch that are shown, as hex

static bool open_dead(struct http_api *api, struct http_request *request)
{
    struct rn_err err;
    struct deadletters_conf conf = {.folder = api->conf.folder,
                                    .max_bytes = api->conf.dead_max_bytes,
                                    .max_age_ms = api->conf.dead_max_age_ms};
    if (api->dead)
        return true;
    int rc = deadletters_open(&api->dead, &conf, &err);
    if (rc == 0)
        return true;
    api->dead = NULL;
    http_reply_error(request, api_status_of(rc), "%s", err.text);
    return false;
}

struct page {
    struct json_out out;
    int64_t last_id;
};

static bool put_letter(void *arg, const struct dead_letter *letter)
{
    struct page *page = arg;
    char type[2] = {letter->type, 0};
    json_begin(&page->out, NULL, '{');
    json_int(&page->out, "id", letter->id);
    json_text(&page->out, "kind", letter->kind == DEAD_POINT ? "point" : "batch");
    json_text(&page->out, "sink", letter->sink);
    json_text(&page->out, "device", letter->dev);
    json_name(&page->out, "install", letter->install);
    json_count(&page->out, "seq", letter->seq);
    json_text(&page->out, "type", type);
    json_time(&page->out, "time", letter->time_ms);
    json_text(&page->out, "reason", letter->reason);
    json_count(&page->out, "attempts", letter->attempts);
    json_bool(&page->out, "replay", letter->replay);
    if (letter->kind == DEAD_POINT)
        json_span(&page->out, "line", letter->body);
    else
        json_bytes(&page->out, "batch", letter->body.data,
                   letter->body.len < RAW_MAX ? letter->body.len : RAW_MAX);
    json_end(&page->out, '}');
    page->last_id = letter->id;
    return true;
}

static int64_t number(const char *text, int64_t otherwise)
{
    return text ? strtoll(text, NULL, 10) : otherwise;
}

void api_dead_list(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct http_api *api = app;
    struct rn_err err;
    struct rn_buf body;
    struct deadletters_counts counts = {0};
    if (!open_dead(api, request))
        return;
    int64_t max = number(http_query(request, "limit"), PAGE_DEFAULT);
    if (max < 1 || max > PAGE_MAX) {
        http_reply_error(request, 400, "expected limit between 1 and %d", PAGE_MAX);
        return;
    }
    rn_buf_init(&body, API_ANSWER_MAX);
    struct page page = {.out = {.buf = &body}};
    json_begin(&page.out, NULL, '{');
    json_begin(&page.out, "letters", '[');
    int rc = deadletters_list(api->dead, http_query(request, "sink"),
                              number(http_query(request, "after"), 0), (uint32_t)max, put_letter,
                              &page, &err);
    json_end(&page.out, ']');
    if (rc >= 0)
        rc = deadletters_counts(api->dead, &counts, &err);
    json_int(&page.out, "last_id", page.last_id);
    json_int(&page.out, "total", counts.letters);
    json_int(&page.out, "dropped", counts.dropped);
    json_end(&page.out, '}');
    if (rc < 0)
        http_reply_error(request, api_status_of(rc), "%s", err.text);
    else
        api_reply_json(request, 200, &body);
    rn_buf_release(&body);
}

static void reply_count(struct http_request *request, const char *what, int rc,
                        const struct rn_err *err)
{
    if (rc < 0) {
        http_reply_error(request, api_status_of(rc), "%s", err->text);
        return;
    }
    struct rn_buf body;
    rn_buf_init(&body, 256);
    struct json_out out = {.buf = &body};
    json_begin(&out, NULL, '{');
    json_int(&out, what, rc);
    json_end(&out, '}');
    api_reply_json(request, 200, &body);
    rn_buf_release(&body);
}

// {"id": 7} or {"sink": "main"} or {} for everything.
void api_dead_replay(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct http_api *api = app;
    struct rn_err err;
    struct rn_json *json = NULL;
    struct rn_span body = http_body(request);
    if (!open_dead(api, request))
        return;
    if (rn_json_parse(&json, body.len ? body : rn_span_text("{}"), 4096, &err) < 0) {
        http_reply_error(request, 400, "%s", err.text);
        return;
    }
    int rc = deadletters_replay(api->dead, rn_json_int(rn_json_get(json, "id"), 0),
                                rn_json_text(rn_json_get(json, "sink")), &err);
    rn_json_free(json);
    if (rc >= 0 && !api->closing)
        cursors_replay(api->conf.cursors);
    reply_count(request, "marked", rc, &err);
}

void api_dead_delete(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct http_api *api = app;
    struct rn_err err;
    if (!open_dead(api, request))
        return;
    int64_t id = number(http_param(request, 0), 0);
    if (id <= 0) {
        http_reply_error(request, 400, "expected the id of a dead letter");
        return;
    }
    reply_count(request, "deleted", deadletters_delete(api->dead, id, NULL, &err), &err);
}
