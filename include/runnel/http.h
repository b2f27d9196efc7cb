// HTTP client on a loop: libcurl behind one file of ours. Keep-alive connections, TLS, Unix
// sockets, bounded answers, or answers handed on as they come. Caller: the loop's thread.
//
// The process ignores SIGPIPE (its main does that).
#ifndef RUNNEL_HTTP_H
#define RUNNEL_HTTP_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rn_http;     // a client: its connections are shared by its requests
struct rn_http_req; // one request under way

struct rn_http_conf {
    size_t max_body;            // bytes of an answer that are kept; 0: 64 kB
    int64_t connect_timeout_ms; // 0: 10 s
    uint32_t max_connections;   // kept open; 0: 2
    const char *ca_file;        // PEM; NULL: the system's
    bool insecure;              // do not check the server's certificate
    const char *unix_socket;    // connect here whatever the URL's host says; NULL: no
    const char *user_agent;     // NULL: "runnel"
};
// The conf's texts are copied.
RN_MUST_CHECK int rn_http_new(struct rn_http **out, struct rn_loop *loop,
                              const struct rn_http_conf *conf, struct rn_err *err);
void rn_http_free(struct rn_http *http); // cancels what is under way, without callbacks

struct rn_http_answer {
    int status;          // 0: there was no answer, see error
    const char *error;   // why there is no (whole) answer: "Connection refused"; NULL: it is whole
    struct rn_span body; // at most max_body bytes; empty if on_data took it
    bool truncated;      // the body was longer
    int64_t retry_after_ms; // of the Retry-After header, in seconds form; 0: none
    bool connected_anew;    // a connection was opened for it
    struct rn_span head;    // header lines, the first 4 kB: see rn_http_header
};

// Copies the value of a header, truncated if need be; false if it is not there.
bool rn_http_header(const struct rn_http_answer *answer, const char *name, char *out, size_t size);

struct rn_http_ask {
    const char *method;              // "GET", "POST", "PUT", "DELETE"
    const char *url;                 // http:// or https://
    const char *const *headers;      // "Name: value", ended by NULL; NULL: none
    const char *username, *password; // basic authentication; NULL: none
    struct rn_span body;             // borrowed until done
    int64_t timeout_ms;              // of the whole exchange; 0: none (streams)
    // Answers with status 2xx are handed on as they come; false ends the request. NULL: collected.
    bool (*on_data)(void *arg, struct rn_span data);
    // Once, unless cancelled; everything in it is borrowed for the call. May start new requests and
    // cancel others, but not free the client.
    void (*done)(void *arg, const struct rn_http_answer *answer);
    void *arg;
};
// *out may be NULL; it is void once done was called.
RN_MUST_CHECK int rn_http_start(struct rn_http *http, const struct rn_http_ask *ask,
                                struct rn_http_req **out, struct rn_err *err);
void rn_http_cancel(struct rn_http_req *req); // no callback any more

// Appends text with everything but unreserved characters (RFC 3986) as %XX.
void rn_url_escape(struct rn_buf *out, const char *text);

#endif
