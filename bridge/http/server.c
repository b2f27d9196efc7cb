// See server.h. The only file that includes microhttpd.h.
//
// Each door (TCP, Unix socket) is one MHD daemon without threads, whose epoll descriptor nests in
// the loop. A request that waits for its answer is a suspended connection; resuming it makes MHD
// ask again, and then the response is there.
#include "bridge/http/server.h"

#include <runnel/crypto.h>
#include <runnel/loop.h>
#include <runnel/queue.h>
#include <runnel/text.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_POSTS      1024
#define STREAM_CHUNK   16384
#define IDLE_TIMEOUT_S 60
#define REQUEST_MEMORY 32768

struct door {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    struct rn_fd *watch;
    struct rn_timer *timer;
    bool trusted; // the Unix socket
};

struct http_server {
    struct http_conf conf;
    struct rn_loop *loop;
    struct rn_wake *wake, *stop;
    struct rn_queue *posts;
    struct door tcp, unix_socket;
    uint16_t port;
    bool public_address; // not loopback: everything needs the token
    char listen_host[128];
    struct http_request *requests; // all that are open
    pthread_t thread;
    bool started, stopping;
};

struct http_request {
    struct door *door;
    struct http_request *next, **link;
    struct MHD_Connection *connection;
    struct MHD_Response *response; // ready, not queued yet
    unsigned status;
    struct rn_buf body;
    bool dispatched, kept, suspended, queued;
    struct http_stream stream;
    struct rn_buf chunk; // of a stream: produced, not taken yet
    size_t chunk_at;
    bool stream_ended;
    uint32_t nparams;
    char param[HTTP_MAX_PARAMS][HTTP_PARAM_MAX];
};

struct post {
    void (*fn)(void *arg);
    void *arg;
};

// ---- driving MHD on the loop ------------------------------------------------------------------
static void run_door(struct door *door)
{
    if (!door->daemon)
        return;
    MHD_run(door->daemon);
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    if (MHD_get_timeout(door->daemon, &timeout) == MHD_YES)
        rn_timer_start(door->timer, timeout > 1000 ? 1000 : (int64_t)timeout, 0);
    else
        rn_timer_stop(door->timer);
}

static void on_door_timer(void *arg)
{
    run_door(arg);
}

static void on_door_ready(void *arg, int fd, bool readable, bool writable)
{
    (void)fd;
    (void)readable;
    (void)writable;
    run_door(arg);
}

static void resume(struct http_request *request)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->connection);
    rn_timer_start(request->door->timer, 0, 0); // never re-enter MHD from here
}

static void suspend(struct http_request *request)
{
    request->suspended = true;
    MHD_suspend_connection(request->connection);
}

// ---- requests ---------------------------------------------------------------------------------
static struct http_request *request_new(struct door *door, struct MHD_Connection *connection)
{
    struct http_request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->door = door;
    request->connection = connection;
    rn_buf_init(&request->body, door->server->conf.max_body_bytes);
    rn_buf_init(&request->chunk, 4 * STREAM_CHUNK);
    request->link = &door->server->requests;
    request->next = *request->link;
    if (request->next)
        request->next->link = &request->next;
    *request->link = request;
    return request;
}

static void request_free(struct http_request *request)
{
    *request->link = request->next;
    if (request->next)
        request->next->link = request->link;
    if (request->response)
        MHD_destroy_response(request->response);
    rn_buf_release(&request->body);
    rn_buf_release(&request->chunk);
    free(request);
}

struct rn_loop *http_server_loop(struct http_server *server)
{
    return server->loop;
}

struct http_server *http_request_server(struct http_request *request)
{
    return request->door->server;
}

const char *http_param(const struct http_request *request, uint32_t index)
{
    return index < request->nparams ? request->param[index] : "";
}

const char *http_query(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct rn_span http_body(const struct http_request *request)
{
    return rn_buf_span(&request->body);
}

static void answer(struct http_request *request, unsigned status, const char *content_type,
                   struct MHD_Response *response)
{
    if (!response)
        return; // out of memory: the connection times out
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    request->response = response;
    request->status = status;
    resume(request);
}

void http_reply(struct http_request *request, unsigned status, const char *content_type,
                struct rn_span body)
{
    // MHD copies; the cast is its old interface.
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    answer(request, status, content_type, response);
}

void http_reply_error(struct http_request *request, unsigned status, const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    struct rn_buf out;
    rn_buf_init(&out, 4096);
    rn_buf_text(&out, "{\"error\":");
    rn_text_json_string(&out, rn_span_text(words));
    rn_buf_text(&out, "}\n");
    http_reply(request, status, "application/json", rn_buf_span(&out));
    rn_buf_release(&out);
}

void http_keep(struct http_request *request)
{
    request->kept = true;
}

// ---- streams ----------------------------------------------------------------------------------
static void fill_chunk(struct http_request *request)
{
    rn_buf_clear(&request->chunk);
    request->chunk_at = 0;
    if (request->stream_ended || request->door->server->stopping)
        return;
    if (request->stream.more(request->stream.arg, &request->chunk) < 0 ||
        !rn_buf_ok(&request->chunk))
        request->stream_ended = true;
}

static ssize_t on_stream_read(void *arg, uint64_t position, char *to, size_t max)
{
    (void)position;
    struct http_request *request = arg;
    if (request->chunk_at == request->chunk.len)
        fill_chunk(request);
    size_t left = request->chunk.len - request->chunk_at;
    if (left == 0) {
        if (request->stream_ended || request->door->server->stopping)
            return MHD_CONTENT_READER_END_OF_STREAM;
        suspend(request);
        return 0;
    }
    size_t take = left < max ? left : max;
    memcpy(to, request->chunk.data + request->chunk_at, take);
    request->chunk_at += take;
    return (ssize_t)take;
}

void http_reply_stream(struct http_request *request, const char *content_type,
                       const struct http_stream *stream)
{
    request->stream = *stream;
    answer(request, MHD_HTTP_OK, content_type,
           MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_CHUNK, on_stream_read,
                                             request, NULL));
}

void http_stream_wake(struct http_request *request)
{
    resume(request);
}

// ---- who may ----------------------------------------------------------------------------------
static bool loopback_name(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
           strcmp(host, "[::1]") == 0;
}

static bool listed(const char *names, const char *host)
{
    size_t len = strlen(host);
    for (const char *at = names; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word == len && strncasecmp(at, host, len) == 0)
            return true;
        at += word;
    }
    return false;
}

static bool host_allowed(const struct http_server *server, const char *header)
{
    char host[256];
    if (!header || strlen(header) >= sizeof host)
        return false;
    snprintf(host, sizeof host, "%s", header);
    char *colon = strrchr(host, ':');
    if (colon && (host[0] != '[' || colon > strchr(host, ']')))
        *colon = 0;
    return loopback_name(host) || strcasecmp(host, server->listen_host) == 0 ||
           listed(server->conf.hosts ? server->conf.hosts : "", host);
}

static bool token_given(const struct http_request *request)
{
    const char *header = http_header(request, "Authorization");
    const char *token = request->door->server->conf.token;
    if (!header || !token || strncmp(header, "Bearer ", 7) != 0)
        return false;
    size_t len = strlen(token);
    return strlen(header + 7) == len && rn_secret_equal(header + 7, token, len);
}

// 0 or the status of the refusal, which has been answered.
static unsigned check_access(struct http_request *request, const struct http_route *route,
                             enum http_method method)
{
    const struct http_server *server = request->door->server;
    if (request->door->trusted)
        return 0;
    if (!host_allowed(server, http_header(request, "Host"))) {
        http_reply_error(request, MHD_HTTP_MISDIRECTED_REQUEST,
                         "this Host name is not known here; add it to http.hosts");
        return MHD_HTTP_MISDIRECTED_REQUEST;
    }
    bool needs_token = !route->open && (method != HTTP_GET || server->public_address);
    if (needs_token && !token_given(request)) {
        http_reply_error(request, MHD_HTTP_UNAUTHORIZED,
                         "this needs the token: Authorization: Bearer <token> (http.token of the "
                         "configuration, else the file http.token of the data folder), or the "
                         "Unix socket");
        return MHD_HTTP_UNAUTHORIZED;
    }
    return 0;
}

// ---- routes -----------------------------------------------------------------------------------
static bool match(const char *pattern, const char *path, struct http_request *request)
{
    request->nparams = 0;
    while (*pattern && *path) {
        if (*pattern != '*') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t len = strcspn(path, "/");
        if (len == 0 || len >= HTTP_PARAM_MAX || request->nparams == HTTP_MAX_PARAMS)
            return false;
        snprintf(request->param[request->nparams++], HTTP_PARAM_MAX, "%.*s", (int)len, path);
        path += len;
        pattern++;
    }
    return *pattern == 0 && *path == 0;
}

static enum http_method method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET},
                 {"HEAD", HTTP_GET},
                 {"PUT", HTTP_PUT},
                 {"POST", HTTP_POST},
                 {"DELETE", HTTP_DELETE}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].method;
    return (enum http_method)0;
}

static void dispatch(struct http_request *request, const char *path, const char *method_name)
{
    struct http_server *server = request->door->server;
    enum http_method method = method_of(method_name);
    bool path_known = false;
    if (rn_buf_status(&request->body) == RN_ENOMEM) {
        http_reply_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory: try again later");
        return;
    }
    if (!rn_buf_ok(&request->body)) {
        http_reply_error(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than %u bytes",
                         server->conf.max_body_bytes);
        return;
    }
    for (uint32_t i = 0; i < server->conf.nroutes; i++) {
        const struct http_route *route = &server->conf.routes[i];
        if (!match(route->pattern, path, request))
            continue;
        path_known = true;
        if (!(route->methods & (unsigned)method))
            continue;
        if (check_access(request, route, method) == 0)
            route->handle(server->conf.app, request, method);
        return;
    }
    if (path_known)
        http_reply_error(request, MHD_HTTP_METHOD_NOT_ALLOWED, "%s is not possible here",
                         method_name);
    else
        http_reply_error(request, MHD_HTTP_NOT_FOUND, "there is nothing at %s", path);
}

// ---- MHD's callbacks --------------------------------------------------------------------------
static enum MHD_Result queue_response(struct http_request *request)
{
    request->queued = true;
    enum MHD_Result result =
        MHD_queue_response(request->connection, request->status, request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    return result;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_len, void **slot)
{
    (void)version;
    struct door *door = arg;
    struct http_request *request = *slot;
    if (!request) {
        *slot = request_new(door, connection);
        return *slot ? MHD_YES : MHD_NO;
    }
    if (*upload_len) {
        rn_buf_append(&request->body, upload, *upload_len);
        *upload_len = 0;
        return MHD_YES;
    }
    if (!request->dispatched) {
        request->dispatched = true;
        dispatch(request, url, method);
        if (!request->response && request->kept) {
            suspend(request);
            return MHD_YES;
        }
    }
    if (!request->response && door->server->stopping)
        http_reply_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, "the bridge is stopping");
    return request->response ? queue_response(request) : MHD_NO;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    (void)arg;
    (void)connection;
    (void)code;
    struct http_request *request = *slot;
    if (!request)
        return;
    *slot = NULL;
    if (request->stream.closed)
        request->stream.closed(request->stream.arg);
    request_free(request);
}

static void no_log(void *arg, const char *format, va_list args)
{
    (void)arg;
    (void)format;
    (void)args;
}

// ---- doors ------------------------------------------------------------------------------------
static int open_door(struct door *door, struct http_server *server, int fd, bool trusted,
                     struct rn_err *err)
{
    door->server = server;
    door->trusted = trusted;
    door->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access,
        door, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        server->conf.max_connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_END);
    if (!door->daemon) {
        close(fd);
        return rn_fail(err, RN_EIO, "libmicrohttpd could not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(door->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = rn_timer_new(&door->timer, server->loop, on_door_timer, door, err);
    if (rc == 0)
        rc = rn_fd_new(&door->watch, server->loop, info->epoll_fd, on_door_ready, door, err);
    if (rc == 0)
        rn_fd_want(door->watch, true, false);
    return rc;
}

static void close_door(struct door *door)
{
    rn_fd_free(door->watch);
    rn_timer_free(door->timer);
    if (door->daemon)
        MHD_stop_daemon(door->daemon);
    *door = (struct door){0};
}

static bool loopback_address(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return (ntohl(in.sin_addr.s_addr) >> 24) == 127;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

// Splits "host:port" or "[v6]:port"; host keeps its brackets.
static int split_address(const char *text, char *host, size_t size, const char **port,
                         struct rn_err *err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1] || (size_t)(colon - text) >= size)
        return rn_fail(err, RN_EINVAL,
                       "http.listen: expected host:port such as 127.0.0.1:8650, not '%s'", text);
    snprintf(host, size, "%.*s", (int)(colon - text), text);
    *port = colon + 1;
    return 0;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) < 0)
        return 0;
    struct sockaddr_in in;
    memcpy(&in, &storage, sizeof in); // the port is at the same place for both families
    return ntohs(in.sin_port);
}

static int listen_on(const struct addrinfo *address, const char *text, struct rn_err *err)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return rn_fail_errno(err, "http.listen: socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, 128) < 0) {
        rn_fail_errno(
            err, "http.listen: cannot listen on %s (set another address, or \"\" for none)", text);
        close(fd);
        return RN_EIO;
    }
    return fd;
}

static int open_tcp(struct http_server *server, struct rn_err *err)
{
    const char *port = NULL, *text = server->conf.listen;
    int rc = split_address(text, server->listen_host, sizeof server->listen_host, &port, err);
    if (rc < 0)
        return rc;
    char bare[128];
    snprintf(bare, sizeof bare, "%s", server->listen_host);
    if (bare[0] == '[') {
        memmove(bare, bare + 1, strlen(bare));
        bare[strcspn(bare, "]")] = 0;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = getaddrinfo(bare, port, &hints, &found);
    if (failed)
        return rn_fail(err, RN_EINVAL, "http.listen: %s: %s", text, gai_strerror(failed));
    int fd = listen_on(found, text, err);
    server->public_address = !loopback_address(found->ai_addr);
    freeaddrinfo(found);
    if (fd < 0)
        return fd;
    server->port = bound_port(fd);
    return open_door(&server->tcp, server, fd, false, err);
}

// A socket's path has at most 107 bytes; through its folder's descriptor any path will do.
static int socket_address(const char *path, int folder, struct sockaddr_un *address,
                          struct rn_err *err)
{
    const char *name = strrchr(path, '/');
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int needed = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s",
                          folder, name ? name + 1 : path);
    if (needed >= (int)sizeof address->sun_path)
        return rn_fail(err, RN_EINVAL, "the name of the Unix socket is too long: %s", path);
    return 0;
}

static int open_folder_of(const char *path, struct rn_err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : rn_fail_errno(err, "the Unix socket's folder %s", folder);
}

static int bind_unix(int fd, const char *path, struct rn_err *err)
{
    struct sockaddr_un address;
    int folder = open_folder_of(path, err);
    if (folder < 0)
        return folder;
    int rc = socket_address(path, folder, &address, err);
    if (rc == 0) {
        unlink(path); // left by a predecessor: the folder is ours alone
        mode_t old = umask(0117);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
            rc = rn_fail_errno(err, "cannot listen on the Unix socket %s", path);
        umask(old);
    }
    if (rc == 0 && listen(fd, 128) < 0)
        rc = rn_fail_errno(err, "cannot listen on the Unix socket %s", path);
    close(folder);
    return rc;
}

static int open_unix(struct http_server *server, struct rn_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return rn_fail_errno(err, "socket");
    int rc = bind_unix(fd, server->conf.socket_path, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return open_door(&server->unix_socket, server, fd, true, err);
}

// ---- life -------------------------------------------------------------------------------------
static void on_posts(void *arg)
{
    struct http_server *server = arg;
    struct post *post;
    while ((post = rn_queue_pop(server->posts))) {
        post->fn(post->arg);
        free(post);
    }
}

static void on_stop(void *arg)
{
    struct http_server *server = arg;
    server->stopping = true;
    for (struct http_request *request = server->requests; request; request = request->next)
        resume(request);
    run_door(&server->tcp);
    run_door(&server->unix_socket);
    rn_loop_stop(server->loop);
}

static void *run_thread(void *arg)
{
    struct http_server *server = arg;
    rn_loop_run(server->loop);
    return NULL;
}

static int open_all(struct http_server *server, struct rn_err *err)
{
    int rc = rn_loop_new(&server->loop, err);
    if (rc == 0)
        rc = rn_wake_new(&server->wake, server->loop, on_posts, server, err);
    if (rc == 0)
        rc = rn_wake_new(&server->stop, server->loop, on_stop, server, err);
    if (rc == 0)
        rc = rn_queue_new(&server->posts, MAX_POSTS, SIZE_MAX, server->wake, free, err);
    if (rc == 0 && server->conf.listen && server->conf.listen[0])
        rc = open_tcp(server, err);
    if (rc == 0 && server->conf.socket_path)
        rc = open_unix(server, err);
    if (rc == 0 && pthread_create(&server->thread, NULL, run_thread, server) != 0)
        rc = rn_fail(err, RN_EIO, "cannot start the thread of the HTTP server");
    return rc;
}

int http_server_start(struct http_server **out, const struct http_conf *conf, struct rn_err *err)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    server->conf = *conf;
    int rc = open_all(server, err);
    if (rc < 0) {
        http_server_stop(server);
        return rc;
    }
    server->started = true;
    *out = server;
    return 0;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

void http_server_halt(struct http_server *server)
{
    if (!server || !server->started)
        return;
    rn_wake_send(server->stop);
    pthread_join(server->thread, NULL);
    server->started = false;
}

void http_server_stop(struct http_server *server)
{
    if (!server)
        return;
    http_server_halt(server);
    close_door(&server->tcp);
    close_door(&server->unix_socket);
    if (server->conf.socket_path)
        unlink(server->conf.socket_path);
    rn_queue_free(server->posts);
    rn_wake_free(server->wake);
    rn_wake_free(server->stop);
    rn_loop_free(server->loop);
    free(server);
}

bool http_post(struct http_server *server, void (*fn)(void *arg), void *arg)
{
    struct post *post = malloc(sizeof *post);
    if (!post)
        return false;
    *post = (struct post){fn, arg};
    if (rn_queue_push(server->posts, post, sizeof *post))
        return true;
    free(post);
    return false;
}
