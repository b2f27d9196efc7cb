// The bridge's HTTP API: what docs/API.md lists. Runs on the HTTP server's thread; what belongs to
// the intake is asked for through calls, what `verify` knows through the cursors, and samples are
// read from the log's files directly.
//
// End in this order, from the intake's thread: http_api_close (no handler uses calls, cursors or
// the log from then on), then the cursors and the calls are freed (what was asked is still
// answered), then http_api_free.
#ifndef BRIDGE_HTTP_API_H
#define BRIDGE_HTTP_API_H

#include "bridge/call.h"
#include "bridge/cursors.h"
#include <runnel/err.h>
#include <stdint.h>

struct http_api;

struct http_api_conf {
    const char *listen;      // as in server.h; outlives the API, hosts and folder too
    const char *socket_path; // or NULL
    const char *hosts;       // further Host names
    const char *token;
    const char *folder; // the bridge's data
    int64_t dead_max_bytes, dead_max_age_ms;
    struct calls *calls;
    struct cursors *cursors;
};

RN_MUST_CHECK int http_api_start(struct http_api **out, const struct http_api_conf *conf,
                                 struct rn_err *err);
uint16_t http_api_port(const struct http_api *api);
void http_api_close(struct http_api *api); // accepts NULL
void http_api_free(struct http_api *api);  // accepts NULL

// Reads the token from path; makes one (64 hex digits, mode 0600) if there is none.
RN_MUST_CHECK int http_api_token(char token[65], const char *path, struct rn_err *err);

#endif
