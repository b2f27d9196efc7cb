// The bridge's HTTP API as the commands use it: where the bridge is, and one question at a time.
//
// The address comes from --url, else RUNNEL_URL, else `url` of ~/.config/runnel.yaml, else
// http://127.0.0.1:8650; the token from --token, RUNNEL_TOKEN, `token` of the same file. An address
// "unix:/path/to/bridge.sock" goes through the bridge's Unix socket, which needs no token.
#ifndef CLI_API_H
#define CLI_API_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/json.h>
#include <stdbool.h>
#include <stdint.h>

struct api;

// url, token: NULL if not given on the command line.
RN_MUST_CHECK int api_new(struct api **out, const char *url, const char *token, struct rn_err *err);
void api_free(struct api *api); // accepts NULL
const char *api_url(const struct api *api);

// Asks and waits. path begins with a slash; body NULL: none. The answer's JSON is the caller's to
// free. Errors carry the bridge's own words where it gave any, else what to do next; RN_ENOENT for
// 404, RN_EACCESS for 401/403, RN_ECONFLICT for 409, RN_EAGAIN if it cannot be reached.
RN_MUST_CHECK int api_call(struct api *api, const char *method, const char *path, const char *body,
                           struct rn_json **answer, struct rn_err *err);
// The same with the answer as it came, at the end of out.
RN_MUST_CHECK int api_text(struct api *api, const char *path, struct rn_buf *out,
                           struct rn_err *err);
// Follows a stream of lines until it ends, `line` returns false or a signal asks to stop.
RN_MUST_CHECK int api_follow(struct api *api, const char *path,
                             bool (*line)(void *arg, const char *text), void *arg,
                             struct rn_err *err);

#endif
