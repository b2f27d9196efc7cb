// HTTP server: libmicrohttpd on a loop of its own thread, a route table, who may do what.
//
// Two doors: a TCP address (loopback by default) and a Unix socket beside the data (mode 0660,
// trusted). Through TCP a change (anything but GET and HEAD) always needs the token, and on an
// address that is not loopback everything but /healthz does. The Host header must name the address,
// a loopback name or one of the configured names, so that no web page can reach the bridge by DNS
// rebinding. Bodies, requests and streams are bounded.
//
// Everything here runs on the server's thread. A handler answers at once with http_reply, or keeps
// the request and answers later from the same thread (http_post brings it back there).
#ifndef BRIDGE_HTTP_SERVER_H
#define BRIDGE_HTTP_SERVER_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct http_server;
struct http_request;

enum http_method { HTTP_GET = 1, HTTP_PUT = 2, HTTP_POST = 4, HTTP_DELETE = 8 };

#define HTTP_MAX_PARAMS 4
#define HTTP_PARAM_MAX  128

// "/api/v1/devices/*/config": a star is one path segment, kept as parameter 0, 1, ...
struct http_route {
    unsigned methods; // enum http_method
    const char *pattern;
    bool open; // needs no token anywhere (health)
    void (*handle)(void *app, struct http_request *request, enum http_method method);
    const char *help;
};

struct http_conf {
    const char *listen;      // "127.0.0.1:8650", "[::1]:8650", port 0: any; "" for none
    const char *socket_path; // Unix socket; NULL: none
    const char *token;       // at least 16 characters
    const char *hosts;       // further Host names, separated by spaces; may be ""
    const struct http_route *routes;
    uint32_t nroutes;
    void *app; // passed to the handlers
    uint32_t max_connections;
    uint32_t max_body_bytes;
};

// Starts the thread and listens. The text of *err says what to do when the address is taken.
RN_MUST_CHECK int http_server_start(struct http_server **out, const struct http_conf *conf,
                                    struct rn_err *err);
uint16_t http_server_port(const struct http_server *server); // that it really listens on
// Answers what waits, ends streams, ends the thread; the server stays so that what its loop owns
// can be freed. Posts are dropped from then on. From another thread than the server's.
void http_server_halt(struct http_server *server); // accepts NULL
// Halts if that was not done, and frees.
void http_server_stop(struct http_server *server); // accepts NULL

// Any thread: runs fn(arg) on the server's thread. False when too many are waiting: fn does not
// run.
bool http_post(struct http_server *server, void (*fn)(void *arg), void *arg);

// ---- requests: the server's thread only ---------------------------------------------------------
struct rn_loop;
struct rn_loop *http_server_loop(struct http_server *server);
struct http_server *http_request_server(struct http_request *request);
const char *http_param(const struct http_request *request, uint32_t index);    // "" beyond
const char *http_query(const struct http_request *request, const char *name);  // NULL if not given
const char *http_header(const struct http_request *request, const char *name); // NULL if not given
struct rn_span http_body(const struct http_request *request);

// Answers; the body is copied. Exactly one of these per request. content_type e.g.
// "application/json".
void http_reply(struct http_request *request, unsigned status, const char *content_type,
                struct rn_span body);
// {"error": "..."} with the words as JSON.
void http_reply_error(struct http_request *request, unsigned status, const char *format, ...)
    RN_PRINTF(3, 4);
// The handler returns without an answer; it will come.
void http_keep(struct http_request *request);

// A stream of unknown length: `more` is called on the server's thread whenever there is room; it
// appends to out (at most about 16 kB) and returns 1 (go on), 0 (nothing now: call http_stream_wake
// later) or -1 (end). `closed` is called once when the stream is over, however it ended.
struct http_stream {
    int (*more)(void *arg, struct rn_buf *out);
    void (*closed)(void *arg);
    void *arg;
};
void http_reply_stream(struct http_request *request, const char *content_type,
                       const struct http_stream *stream);
void http_stream_wake(struct http_request *request); // the server's thread

#endif
