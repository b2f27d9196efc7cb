// What the files of the API share. Everything runs on the server's thread except ask->intake.
#ifndef BRIDGE_HTTP_API_INTERNAL_H
#define BRIDGE_HTTP_API_INTERNAL_H

#include "bridge/deadletters.h"
#include "bridge/http/api.h"
#include "bridge/http/json_out.h"
#include "bridge/http/server.h"
#include "bridge/log.h"
#include "bridge/view.h"
#include <runnel/loop.h>
#include <runnel/queue.h>
#include <stdbool.h>

#define API_ANSWER_MAX (64u << 20)

struct http_api {
    struct http_api_conf conf;
    char token[256], socket_path[512]; // copies of conf's
    struct http_server *server;
    bool closing;
    // What `verify` answers arrives here, on the server's loop.
    struct rn_wake *reply_wake;
    struct rn_queue *replies;
    struct log_reader *reader; // opened at first use
    struct deadletters *dead;  // opened at first use
    struct tail_stream *tails; // all that are open
};

// A question to the intake: `intake` runs on its thread and may only touch the ask and the bridge;
// then `finish` runs on the server's thread and answers the request. The ask is freed after finish
// unless that returns true (it asked on).
struct ask {
    struct http_api *api;
    struct http_request *request;
    void (*intake)(struct bridge *bridge, struct ask *ask);
    bool (*finish)(struct ask *ask);
    void (*verified)(struct ask *ask, const char *text); // answer of cursors_ask
    struct rn_buf body;                                  // for the parts to build their answer in
    unsigned status;                                     // of the answer
    char dev[HTTP_PARAM_MAX];                            // parameter 0
    void *extra;                                         // the part's own; freed with free()
    struct rn_err err;
};

// Makes the ask, keeps the request and sends the question; answers 503 itself when it cannot.
// extra becomes the ask's in any case.
void api_ask(struct http_api *api, struct http_request *request,
             void (*intake)(struct bridge *bridge, struct ask *ask),
             bool (*finish)(struct ask *ask), void *extra);
// Goes on with a question to verify about dev ("": all); answers 503 itself when it cannot, and
// returns what finish has to return.
bool api_ask_verify(struct ask *ask, const char *dev,
                    void (*verified)(struct ask *ask, const char *text));
// Replies with ask->body (or the error of ask->err when status is 4xx or 5xx).
bool api_answer(struct ask *ask);
void api_reply_json(struct http_request *request, unsigned status, struct rn_buf *body);
unsigned api_status_of(int code); // HTTP status for an enum rn_code
const char *api_config_state(enum rn_config_state state);

// One file a part.
void api_healthz(void *app, struct http_request *request, enum http_method method);
void api_readyz(void *app, struct http_request *request, enum http_method method);
void api_prometheus(void *app, struct http_request *request, enum http_method method);
void api_summary(void *app, struct http_request *request, enum http_method method);
void api_devices(void *app, struct http_request *request, enum http_method method);
void api_device(void *app, struct http_request *request, enum http_method method);
void api_config(void *app, struct http_request *request, enum http_method method);
void api_config_history(void *app, struct http_request *request, enum http_method method);
void api_metrics(void *app, struct http_request *request, enum http_method method);
void api_tail(void *app, struct http_request *request, enum http_method method);
void api_tail_close(struct http_api *api); // ends all streams
void api_dead_list(void *app, struct http_request *request, enum http_method method);
void api_dead_replay(void *app, struct http_request *request, enum http_method method);
void api_dead_delete(void *app, struct http_request *request, enum http_method method);

#endif
