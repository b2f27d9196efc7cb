// See runnel/http.h: libcurl's multi interface driven by the loop's descriptors and one timer.
// The only file that includes curl.h.
#include <runnel/http.h>

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX       4096
#define RETRY_AFTER_MAX_S 86400

struct rn_http {
    CURLM *multi;
    struct rn_loop *loop;
    struct rn_timer *timer;
    struct rn_http_req *first; // under way
    size_t max_body;
    int64_t connect_timeout_ms;
    bool insecure;
    bool global; // curl_global_init succeeded
    char *ca_file, *unix_socket, *user_agent;
};

struct rn_http_req {
    struct rn_http *http;
    struct rn_http_req *next, *prev;
    CURL *easy;
    struct curl_slist *headers;
    bool (*on_data)(void *arg, struct rn_span data);
    void (*done)(void *arg, const struct rn_http_answer *answer);
    void *arg;
    struct rn_buf body;
    struct rn_buf head; // header lines of the last answer, each "name: value\n"
    bool truncated, stopped;
    char error[CURL_ERROR_SIZE];
};

static void collect_done(struct rn_http *http);

// ---- curl drives descriptors and the timer ----------------------------------------------------

static void on_fd(void *arg, int fd, bool readable, bool writable)
{
    struct rn_http *http = arg;
    int running = 0;
    int mask = (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0);
    (void)curl_multi_socket_action(http->multi, fd, mask, &running);
    collect_done(http);
}

static void on_timer(void *arg)
{
    struct rn_http *http = arg;
    int running = 0;
    (void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect_done(http);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    (void)easy;
    struct rn_http *http = arg;
    struct rn_fd *watch = assigned;
    if (what == CURL_POLL_REMOVE) {
        rn_fd_free(watch);
        (void)curl_multi_assign(http->multi, fd, NULL);
        return 0;
    }
    if (!watch) {
        if (rn_fd_new(&watch, http->loop, fd, on_fd, http, NULL) < 0)
            return -1;
        (void)curl_multi_assign(http->multi, fd, watch);
    }
    rn_fd_want(watch, what & CURL_POLL_IN, what & CURL_POLL_OUT);
    return 0;
}

static int timer_wanted(CURLM *multi, long after_ms, void *arg)
{
    (void)multi;
    struct rn_http *http = arg;
    if (after_ms < 0)
        rn_timer_stop(http->timer);
    else
        rn_timer_start(http->timer, after_ms, 0);
    return 0;
}

// ---- the client -------------------------------------------------------------------------------

static int copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? RN_ENOMEM : RN_OK;
}

static int setup_multi(struct rn_http *http, const struct rn_http_conf *conf)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return RN_ENOMEM;
    http->global = true;
    http->multi = curl_multi_init();
    if (!http->multi)
        return RN_ENOMEM;
    long connections = conf->max_connections ? (long)conf->max_connections : 2;
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, connections);
    return RN_OK;
}

int rn_http_new(struct rn_http **out, struct rn_loop *loop, const struct rn_http_conf *conf,
                struct rn_err *err)
{
    struct rn_http *http = calloc(1, sizeof *http);
    if (!http)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    http->loop = loop;
    http->max_body = conf->max_body ? conf->max_body : 65536;
    http->connect_timeout_ms = conf->connect_timeout_ms ? conf->connect_timeout_ms : 10000;
    http->insecure = conf->insecure;
    int rc = rn_timer_new(&http->timer, loop, on_timer, http, err);
    if (rc == RN_OK &&
        (copy_text(&http->ca_file, conf->ca_file) < 0 ||
         copy_text(&http->unix_socket, conf->unix_socket) < 0 ||
         copy_text(&http->user_agent, conf->user_agent ? conf->user_agent : "runnel") < 0 ||
         setup_multi(http, conf) < 0))
        rc = rn_fail(err, RN_ENOMEM, "out of memory for the HTTP client");
    if (rc < 0) {
        rn_http_free(http);
        return rc;
    }
    *out = http;
    return RN_OK;
}

void rn_http_free(struct rn_http *http)
{
    if (!http)
        return;
    while (http->first)
        rn_http_cancel(http->first);
    if (http->multi)
        (void)curl_multi_cleanup(http->multi); // removes the watches of idle connections
    rn_timer_free(http->timer);
    if (http->global)
        curl_global_cleanup();
    free(http->ca_file);
    free(http->unix_socket);
    free(http->user_agent);
    free(http);
}

// ---- one request ------------------------------------------------------------------------------

static void unlink_req(struct rn_http_req *req)
{
    if (req->prev)
        req->prev->next = req->next;
    else if (req->http->first == req)
        req->http->first = req->next;
    if (req->next)
        req->next->prev = req->prev;
}

static void free_req(struct rn_http_req *req)
{
    if (req->easy) {
        (void)curl_multi_remove_handle(req->http->multi, req->easy);
        curl_easy_cleanup(req->easy);
    }
    unlink_req(req);
    curl_slist_free_all(req->headers);
    rn_buf_release(&req->body);
    rn_buf_release(&req->head);
    free(req);
}

void rn_http_cancel(struct rn_http_req *req)
{
    if (req)
        free_req(req);
}

static long status_of(CURL *easy)
{
    long status = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t got_body(char *data, size_t size, size_t count, void *arg)
{
    struct rn_http_req *req = arg;
    size_t len = size * count;
    if (req->on_data && status_of(req->easy) / 100 == 2) {
        req->stopped = !req->on_data(req->arg, (struct rn_span){(uint8_t *)data, len});
        return req->stopped ? 0 : len;
    }
    size_t room = req->body.max - req->body.len;
    req->truncated |= len > room;
    rn_buf_append(&req->body, data, len < room ? len : room);
    return len;
}

static size_t got_header(char *data, size_t size, size_t count, void *arg)
{
    struct rn_http_req *req = arg;
    size_t len = size * count;
    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
        rn_buf_clear(&req->head); // a new answer begins (after 100 Continue)
    else if (len < req->head.max - req->head.len)
        rn_buf_append(&req->head, data, len);
    return len;
}

bool rn_http_header(const struct rn_http_answer *answer, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    const char *at = (const char *)answer->head.data;
    const char *stop = at ? at + answer->head.len : at;
    while (at < stop) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        if (!end)
            return false;
        if ((size_t)(end - at) > len && strncasecmp(at, name, len) == 0 && at[len] == ':') {
            const char *value = at + len + 1;
            while (value < end && (*value == ' ' || *value == '\t'))
                value++;
            while (end > value && (end[-1] == '\r' || end[-1] == ' '))
                end--;
            snprintf(out, size, "%.*s", (int)(end - value), value);
            return true;
        }
        at = end + 1;
    }
    return false;
}

static void fill_answer(struct rn_http_req *req, CURLcode code, struct rn_http_answer *answer)
{
    long connects = 0;
    curl_off_t wait_s = 0;
    (void)curl_easy_getinfo(req->easy, CURLINFO_NUM_CONNECTS, &connects);
    (void)curl_easy_getinfo(req->easy, CURLINFO_RETRY_AFTER, &wait_s);
    *answer = (struct rn_http_answer){
        .status = (int)status_of(req->easy),
        .body = rn_buf_span(&req->body),
        .head = rn_buf_span(&req->head),
        .truncated = req->truncated,
        .connected_anew = connects > 0,
    };
    if (wait_s > 0)
        answer->retry_after_ms = (wait_s < RETRY_AFTER_MAX_S ? wait_s : RETRY_AFTER_MAX_S) * 1000;
    if (code != CURLE_OK && !req->stopped)
        answer->error = req->error[0] ? req->error : curl_easy_strerror(code);
}

static void collect_done(struct rn_http *http)
{
    int left = 0;
    for (CURLMsg *msg = curl_multi_info_read(http->multi, &left); msg;
         msg = curl_multi_info_read(http->multi, &left)) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        char *priv = NULL;
        CURLcode code = msg->data.result;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &priv);
        struct rn_http_req *req = (struct rn_http_req *)(void *)priv;
        struct rn_http_answer answer;
        fill_answer(req, code, &answer);
        unlink_req(req); // it can no longer be cancelled
        req->next = req->prev = NULL;
        req->done(req->arg, &answer);
        free_req(req);
    }
}

static int set_method(CURL *easy, const struct rn_http_ask *ask)
{
    bool sends = ask->body.len || strcmp(ask->method, "POST") == 0;
    if (strcmp(ask->method, "GET") == 0 && !sends)
        return (int)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (sends) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         ask->body.len ? (const char *)ask->body.data : "");
    }
    return (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, ask->method);
}

static int set_headers(struct rn_http_req *req, const struct rn_http_ask *ask)
{
    // No "Expect: 100-continue": it costs a round trip and some servers never answer it.
    static const char *const none[] = {NULL};
    const char *const *header = ask->headers ? ask->headers : none;
    const char *line = "Expect:";
    while (line) {
        struct curl_slist *longer = curl_slist_append(req->headers, line);
        if (!longer)
            return RN_ENOMEM;
        req->headers = longer;
        line = *header ? *header++ : NULL;
    }
    return RN_OK;
}

static void set_transport(struct rn_http_req *req, const struct rn_http_ask *ask)
{
    const struct rn_http *http = req->http;
    CURL *easy = req->easy;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (http->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (http->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
    if (http->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->unix_socket);
    if (ask->username) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, ask->username);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, ask->password ? ask->password : "");
    }
}

static int set_all(struct rn_http_req *req, const struct rn_http_ask *ask, struct rn_err *err)
{
    CURL *easy = req->easy;
    if (curl_easy_setopt(easy, CURLOPT_URL, ask->url) != CURLE_OK ||
        set_method(easy, ask) != CURLE_OK || set_headers(req, ask) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory for an HTTP request");
    set_transport(req, ask);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, req->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, req->http->user_agent);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, got_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, req);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, got_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, req);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, req->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, req);
    return RN_OK;
}

int rn_http_start(struct rn_http *http, const struct rn_http_ask *ask, struct rn_http_req **out,
                  struct rn_err *err)
{
    struct rn_http_req *req = calloc(1, sizeof *req);
    if (!req)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    req->http = http;
    req->on_data = ask->on_data;
    req->done = ask->done;
    req->arg = ask->arg;
    rn_buf_init(&req->body, http->max_body);
    rn_buf_init(&req->head, HEADERS_MAX);
    req->easy = curl_easy_init();
    int rc = req->easy ? set_all(req, ask, err) : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc == RN_OK && curl_multi_add_handle(http->multi, req->easy) != CURLM_OK)
        rc = rn_fail(err, RN_ESTATE, "the HTTP client takes no request now");
    if (rc < 0) {
        free_req(req);
        return rc;
    }
    req->next = http->first;
    if (req->next)
        req->next->prev = req;
    http->first = req;
    if (out)
        *out = req;
    return RN_OK;
}

void rn_url_escape(struct rn_buf *out, const char *text)
{
    static const char plain[] =
        "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (; *text; text++) {
        if (strchr(plain, *text))
            rn_buf_byte(out, (uint8_t)*text);
        else
            rn_buf_printf(out, "%%%02X", (unsigned)(uint8_t)*text);
    }
}
