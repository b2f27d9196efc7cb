// What arrives, decoded, as lines of JSON. Each subscriber has a bounded queue of its own; one that
// is too slow loses batches and is told how many.
#include "bridge/http/api_internal.h"

#include <stdlib.h>

#define MAX_TAILS 32

struct tail_stream {
    struct http_api *api;
    struct http_request *request;
    struct tail *tail; // NULL: ended
    struct rn_wake *wake;
    struct tail_stream *next, **link;
};

static void on_wake(void *arg)
{
    struct tail_stream *stream = arg;
    http_stream_wake(stream->request);
}

static void end_subscription(struct tail_stream *stream)
{
    if (stream->tail)
        tail_unsubscribe(stream->tail);
    stream->tail = NULL;
    rn_wake_free(stream->wake);
    stream->wake = NULL;
}

static int more_lines(void *arg, struct rn_buf *out)
{
    struct tail_stream *stream = arg;
    if (!stream->tail)
        return -1;
    struct cursors_text *text = tail_next(stream->tail);
    if (!text)
        return 0;
    if (text->lost)
        rn_buf_printf(out, "{\"lost_batches\":%llu}\n", (unsigned long long)text->lost);
    rn_buf_append(out, text->data, text->len);
    cursors_text_free(text);
    return 1;
}

static void stream_closed(void *arg)
{
    struct tail_stream *stream = arg;
    end_subscription(stream);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    free(stream);
}

static int tails_open(const struct http_api *api)
{
    int count = 0;
    for (const struct tail_stream *at = api->tails; at; at = at->next)
        count++;
    return count;
}

static struct tail_stream *stream_new(struct http_api *api, struct http_request *request)
{
    struct tail_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    *stream = (struct tail_stream){
        .api = api, .request = request, .next = api->tails, .link = &api->tails};
    if (stream->next)
        stream->next->link = &stream->next;
    api->tails = stream;
    return stream;
}

void api_tail(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct http_api *api = app;
    struct rn_err err;
    const char *types = http_query(request, "type"), *dev = http_query(request, "device");
    if (api->closing || tails_open(api) >= MAX_TAILS) {
        http_reply_error(request, 503, "too many streams are open (at most %d)", MAX_TAILS);
        return;
    }
    struct tail_stream *stream = stream_new(api, request);
    if (!stream) {
        http_reply_error(request, 500, "out of memory");
        return;
    }
    int rc = rn_wake_new(&stream->wake, http_server_loop(api->server), on_wake, stream, &err);
    if (rc == 0)
        rc = tail_subscribe(api->conf.cursors, types ? types : "", dev ? dev : "", stream->wake,
                            &stream->tail, &err);
    if (rc < 0) {
        http_reply_error(request, api_status_of(rc), "%s", err.text);
        stream_closed(stream);
        return;
    }
    http_reply_stream(request, "application/x-ndjson",
                      &(struct http_stream){more_lines, stream_closed, stream});
}

void api_tail_close(struct http_api *api)
{
    for (struct tail_stream *at = api->tails; at; at = at->next) {
        end_subscription(at);
        http_stream_wake(at->request); // it sees the end
    }
}
