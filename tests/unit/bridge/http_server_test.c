// The HTTP server through real sockets: routes, doors, tokens, late answers, streams, bounds.
#include "bridge/http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TOKEN "0123456789abcdef0123456789abcdef"

static void say_hello(void *app, struct http_request *request, enum http_method method)
{
    (void)app;
    (void)method;
    char text[200];
    const char *who = http_query(request, "who");
    snprintf(text, sizeof text, "hello %s from %s, %zu bytes", who ? who : "nobody",
             http_param(request, 0), http_body(request).len);
    http_reply(request, 200, "text/plain", rn_span_text(text));
}

static void answer_late(void *arg)
{
    http_reply(arg, 200, "text/plain", rn_span_text("late"));
}

static void keep_then_answer(void *app, struct http_request *request, enum http_method method)
{
    (void)app;
    (void)method;
    http_keep(request);
    assert_true(http_post(http_request_server(request), answer_late, request));
}

static void keep_for_ever(void *app, struct http_request *request, enum http_method method)
{
    (void)app;
    (void)method;
    http_keep(request);
}

struct counter {
    struct http_request *request;
    int lines;
    bool woken;
    int *closed;
};

static void wake_stream(void *arg)
{
    http_stream_wake(arg);
}

static int next_line(void *arg, struct rn_buf *out)
{
    struct counter *counter = arg;
    if (counter->lines == 2 && !counter->woken) {
        counter->woken = true; // nothing now: somebody wakes the stream
        assert_true(
            http_post(http_request_server(counter->request), wake_stream, counter->request));
        return 0;
    }
    if (counter->lines == 5)
        return -1;
    rn_buf_printf(out, "line %d\n", counter->lines++);
    return 1;
}

static void end_stream(void *arg)
{
    struct counter *counter = arg;
    __atomic_add_fetch(counter->closed, 1, __ATOMIC_SEQ_CST);
    free(counter);
}

static void stream_lines(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct counter *counter = calloc(1, sizeof *counter);
    counter->request = request;
    counter->closed = app;
    http_reply_stream(
        request, "text/plain",
        &(struct http_stream){.more = next_line, .closed = end_stream, .arg = counter});
}

static const struct http_route routes[] = {
    {HTTP_GET, "/healthz", true, say_hello, ""},
    {HTTP_GET | HTTP_PUT, "/things/*", false, say_hello, ""},
    {HTTP_GET, "/late", false, keep_then_answer, ""},
    {HTTP_GET, "/never", false, keep_for_ever, ""},
    {HTTP_GET, "/stream", false, stream_lines, ""},
};

struct fixture {
    struct http_server *server;
    char folder[64], socket_path[96];
    int closed;
};

static void start_on(struct fixture *fix, const char *address)
{
    struct rn_err err;
    struct http_conf conf = {.listen = address,
                             .socket_path = fix->socket_path,
                             .token = TOKEN,
                             .hosts = "bridge.example other",
                             .routes = routes,
                             .nroutes = sizeof routes / sizeof routes[0],
                             .app = &fix->closed,
                             .max_connections = 50,
                             .max_body_bytes = 1000};
    if (http_server_start(&fix->server, &conf, &err) < 0)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct fixture *fix = calloc(1, sizeof *fix);
    snprintf(fix->folder, sizeof fix->folder, "%s/runnel-http-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(fix->folder));
    snprintf(fix->socket_path, sizeof fix->socket_path, "%s/s", fix->folder);
    start_on(fix, "127.0.0.1:0");
    *state = fix;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fix = *state;
    http_server_stop(fix->server);
    rmdir(fix->folder);
    free(fix);
    return 0;
}

static int dial_tcp(struct fixture *fix)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(fix->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static int dial_unix(struct fixture *fix)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", fix->socket_path);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    return fd;
}

// Sends one request, reads until the server closes; returns the status, the answer in `answer`.
static int talk(int fd, const char *head, const char *body, char *answer, size_t size)
{
    char request[4096];
    snprintf(request, sizeof request, "%sContent-Length: %zu\r\nConnection: close\r\n\r\n%s", head,
             strlen(body), body);
    assert_int_equal(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    size_t len = 0;
    ssize_t got;
    while (len + 1 < size && (got = read(fd, answer + len, size - 1 - len)) > 0)
        len += (size_t)got;
    answer[len] = 0;
    close(fd);
    int status = 0;
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : -1;
}

static void answers_by_route_with_parameters(void **state)
{
    char answer[4096];
    assert_int_equal(talk(dial_tcp(*state),
                          "GET /things/pump-7?who=me%20too HTTP/1.1\r\nHost: localhost\r\n", "",
                          answer, sizeof answer),
                     200);
    assert_non_null(strstr(answer, "hello me too from pump-7, 0 bytes"));
    assert_int_equal(talk(dial_tcp(*state), "GET /nothing HTTP/1.1\r\nHost: localhost\r\n", "",
                          answer, sizeof answer),
                     404);
    assert_int_equal(talk(dial_tcp(*state), "DELETE /late HTTP/1.1\r\nHost: localhost\r\n", "",
                          answer, sizeof answer),
                     405);
}

static void a_change_needs_the_token_or_the_unix_socket(void **state)
{
    char answer[4096];
    assert_int_equal(talk(dial_tcp(*state), "PUT /things/a HTTP/1.1\r\nHost: localhost\r\n", "x",
                          answer, sizeof answer),
                     401);
    assert_int_equal(talk(dial_tcp(*state),
                          "PUT /things/a HTTP/1.1\r\nHost: localhost\r\n"
                          "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n",
                          "x", answer, sizeof answer),
                     401);
    assert_int_equal(talk(dial_tcp(*state),
                          "PUT /things/a HTTP/1.1\r\nHost: localhost\r\n"
                          "Authorization: Bearer " TOKEN "\r\n",
                          "x", answer, sizeof answer),
                     200);
    assert_non_null(strstr(answer, "1 bytes"));
    assert_int_equal(talk(dial_unix(*state), "PUT /things/a HTTP/1.1\r\nHost: whatever\r\n", "x",
                          answer, sizeof answer),
                     200);
}

static void a_foreign_host_name_is_refused(void **state)
{
    char answer[4096];
    assert_int_equal(talk(dial_tcp(*state), "GET /things/a HTTP/1.1\r\nHost: evil.example\r\n", "",
                          answer, sizeof answer),
                     421);
    assert_int_equal(talk(dial_tcp(*state), "GET /things/a HTTP/1.1\r\nHost: Bridge.example:80\r\n",
                          "", answer, sizeof answer),
                     200);
    assert_int_equal(talk(dial_tcp(*state), "GET /things/a HTTP/1.1\r\nHost: [::1]:80\r\n", "",
                          answer, sizeof answer),
                     200);
}

static void an_address_that_is_not_loopback_needs_the_token_for_reading_too(void **state)
{
    struct fixture *fix = *state;
    char answer[4096];
    http_server_stop(fix->server);
    start_on(fix, "0.0.0.0:0");
    assert_int_equal(talk(dial_tcp(fix), "GET /things/a HTTP/1.1\r\nHost: localhost\r\n", "",
                          answer, sizeof answer),
                     401);
    assert_int_equal(talk(dial_tcp(fix), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "", answer,
                          sizeof answer),
                     200);
}

static void a_long_path_is_no_obstacle_for_the_unix_socket(void **state)
{
    struct fixture *fix = *state;
    char folder[256], path[300], answer[4096];
    snprintf(folder, sizeof folder, "%s/%0150d", fix->folder, 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/socket", folder);
    struct http_conf conf = {.socket_path = path,
                             .token = TOKEN,
                             .routes = routes,
                             .nroutes = 1,
                             .max_connections = 5,
                             .max_body_bytes = 10};
    struct http_server *server;
    struct rn_err err;
    assert_int_equal(http_server_start(&server, &conf, &err), 0);
    assert_int_equal(chdir(folder), 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(talk(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n", "", answer, sizeof answer),
                     200);
    assert_int_equal(chdir("/"), 0);
    http_server_stop(server);
    assert_int_equal(rmdir(folder), 0);
}

static void a_kept_request_is_answered_later(void **state)
{
    char answer[4096];
    assert_int_equal(talk(dial_tcp(*state), "GET /late HTTP/1.1\r\nHost: localhost\r\n", "", answer,
                          sizeof answer),
                     200);
    assert_non_null(strstr(answer, "late"));
}

static void a_stream_pauses_and_ends(void **state)
{
    struct fixture *fix = *state;
    char answer[4096];
    assert_int_equal(talk(dial_tcp(fix), "GET /stream HTTP/1.1\r\nHost: localhost\r\n", "", answer,
                          sizeof answer),
                     200);
    assert_non_null(strstr(answer, "line 0"));
    assert_non_null(strstr(answer, "line 4"));
    http_server_stop(fix->server);
    assert_int_equal(fix->closed, 1);
    start_on(fix, "127.0.0.1:0");
}

static void a_body_over_the_maximum_is_refused(void **state)
{
    char answer[4096], body[2001];
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = 0;
    assert_int_equal(talk(dial_unix(*state), "PUT /things/a HTTP/1.1\r\nHost: x\r\n", body, answer,
                          sizeof answer),
                     413);
}

static void stops_while_a_request_waits(void **state)
{
    struct fixture *fix = *state;
    int fd = dial_tcp(fix);
    const char *text = "GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    char answer[4096];
    assert_int_equal(
        talk(dial_tcp(fix), "GET /late HTTP/1.1\r\nHost: localhost\r\n", "", answer, sizeof answer),
        200);
    http_server_stop(fix->server);
    ssize_t got = read(fd, answer, sizeof answer - 1);
    answer[got > 0 ? got : 0] = 0;
    assert_non_null(strstr(answer, "503"));
    close(fd);
    start_on(fix, "127.0.0.1:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_by_route_with_parameters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_needs_the_token_or_the_unix_socket, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_host_name_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_address_that_is_not_loopback_needs_the_token_for_reading_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_path_is_no_obstacle_for_the_unix_socket, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_kept_request_is_answered_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_pauses_and_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_body_over_the_maximum_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_while_a_request_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
