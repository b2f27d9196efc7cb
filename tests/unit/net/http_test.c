// The HTTP client against a server of this test that answers word for word as it is told.
#include <runnel/gzip.h>
#include <runnel/http.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define ANSWERS_MAX 8
#define HANG        "(hang)"

// Answers each request on each connection with the next text; NULL closes the connection.
struct server {
    int fd, port;
    pthread_t thread;
    _Atomic(const char *) answer[ANSWERS_MAX];
    uint32_t next;
    _Atomic uint32_t connections;
    pthread_mutex_t lock;
    char request[8192]; // the last one, guarded by the lock
};

static bool read_request(struct server *s, int fd)
{
    char text[sizeof s->request];
    size_t have = 0, want = SIZE_MAX;
    while (have < want && have < sizeof text - 1) {
        ssize_t n = read(fd, text + have, sizeof text - 1 - have);
        if (n <= 0)
            return false;
        have += (size_t)n;
        text[have] = 0;
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        if (end)
            want = (size_t)(end - text) + 4 + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    pthread_mutex_lock(&s->lock);
    memcpy(s->request, text, have + 1);
    pthread_mutex_unlock(&s->lock);
    return true;
}

static void serve(struct server *s, int fd)
{
    while (s->next < ANSWERS_MAX && read_request(s, fd)) {
        const char *answer = s->answer[s->next++];
        if (!answer)
            break;
        if (strcmp(answer, HANG) == 0) {
            char byte;
            (void)!read(fd, &byte, 1); // until the client gives up
            break;
        }
        if (write(fd, answer, strlen(answer)) < 0 || strstr(answer, "Connection: close"))
            break;
    }
    close(fd);
}

static const char *last_request(struct server *s, char out[8192])
{
    pthread_mutex_lock(&s->lock);
    memcpy(out, s->request, sizeof s->request);
    pthread_mutex_unlock(&s->lock);
    return out;
}

static void *run_server(void *arg)
{
    struct server *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&s->connections, 1);
        serve(s, fd);
    }
}

struct got {
    int calls, status;
    char body[256], error[128], header[64];
    size_t len;
    bool truncated, anew;
    int64_t retry_after_ms;
};

struct bench {
    struct server server;
    struct rn_loop *loop;
    struct rn_http *http;
    struct rn_timer *timer;
    char url[64];
    struct got got;
    size_t streamed, stop_after;
};

static int start_server(struct server *s, int family, const struct sockaddr *address, socklen_t len)
{
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, address, len) < 0 || listen(s->fd, 8) < 0)
        return -1;
    return pthread_create(&s->thread, NULL, run_server, s);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_int_equal(start_server(&b->server, AF_INET, (struct sockaddr *)&address, len), 0);
    getsockname(b->server.fd, (struct sockaddr *)&address, &len);
    snprintf(b->url, sizeof b->url, "http://127.0.0.1:%d/path", ntohs(address.sin_port));
    struct rn_http_conf conf = {.max_body = 100};
    assert_int_equal(rn_loop_new(&b->loop, NULL), RN_OK);
    assert_int_equal(rn_http_new(&b->http, b->loop, &conf, NULL), RN_OK);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    rn_http_free(b->http);
    rn_timer_free(b->timer);
    rn_loop_free(b->loop);
    shutdown(b->server.fd, SHUT_RDWR);
    pthread_join(b->server.thread, NULL);
    close(b->server.fd);
    free(b);
    return 0;
}

static void on_done(void *arg, const struct rn_http_answer *answer)
{
    struct bench *b = arg;
    b->got.calls++;
    b->got.status = answer->status;
    b->got.len = answer->body.len;
    snprintf(b->got.body, sizeof b->got.body, "%.*s", (int)answer->body.len,
             answer->body.len ? (const char *)answer->body.data : "");
    snprintf(b->got.error, sizeof b->got.error, "%s", answer->error ? answer->error : "");
    if (!rn_http_header(answer, "x-thing", b->got.header, sizeof b->got.header))
        b->got.header[0] = 0;
    b->got.truncated = answer->truncated;
    b->got.anew = answer->connected_anew;
    b->got.retry_after_ms = answer->retry_after_ms;
    rn_loop_stop(b->loop);
}

static void ask(struct bench *b, struct rn_http_ask ask)
{
    struct rn_err err;
    ask.method = ask.method ? ask.method : "GET";
    ask.url = ask.url ? ask.url : b->url;
    ask.done = on_done;
    ask.arg = b;
    ask.timeout_ms = ask.timeout_ms ? ask.timeout_ms : 10000;
    b->got = (struct got){0};
    if (rn_http_start(b->http, &ask, NULL, &err) < 0)
        fail_msg("%s", err.text);
    rn_loop_run(b->loop);
    assert_int_equal(b->got.calls, 1);
}

static void reads_status_headers_and_body_over_one_kept_connection(void **state)
{
    struct bench *b = *state;
    b->server.answer[0] = "HTTP/1.1 200 OK\r\nX-Other: 1\r\nX-Thing:  some words \r\n"
                          "Content-Length: 5\r\n\r\nhello";
    b->server.answer[1] = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    b->server.answer[2] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    b->server.answer[3] = "HTTP/1.1 204 No Content\r\n\r\n";
    ask(b, (struct rn_http_ask){0});
    assert_int_equal(b->got.status, 200);
    assert_string_equal(b->got.body, "hello");
    assert_string_equal(b->got.header, "some words");
    assert_true(b->got.anew);
    ask(b, (struct rn_http_ask){0});
    assert_int_equal(b->got.status, 503);
    assert_int_equal(b->got.retry_after_ms, 7000);
    assert_string_equal(b->got.header, "");
    assert_false(b->got.anew);
    ask(b, (struct rn_http_ask){0});
    assert_false(b->got.anew);
    ask(b, (struct rn_http_ask){0});
    assert_true(b->got.anew);
    assert_int_equal(atomic_load(&b->server.connections), 2);
}

static void sends_method_headers_credentials_and_body(void **state)
{
    struct bench *b = *state;
    const char *headers[] = {"X-Mine: yes", NULL};
    b->server.answer[0] = b->server.answer[1] = b->server.answer[2] =
        "HTTP/1.1 204 No Content\r\n\r\n";
    ask(b, (struct rn_http_ask){.method = "POST",
                                .headers = headers,
                                .username = "me",
                                .password = "secret",
                                .body = rn_span_text("content")});
    char text[8192];
    const char *request = last_request(&b->server, text);
    assert_memory_equal(request, "POST /path HTTP/1.1\r\n", 21);
    assert_non_null(strstr(request, "\r\nX-Mine: yes\r\n"));
    assert_non_null(strstr(request, "\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"));
    assert_non_null(strstr(request, "\r\nContent-Length: 7\r\n"));
    assert_null(strstr(request, "Expect"));
    assert_string_equal(strstr(request, "\r\n\r\n"), "\r\n\r\ncontent");
    ask(b, (struct rn_http_ask){.method = "PUT", .body = rn_span_text("x")});
    assert_memory_equal(last_request(&b->server, text), "PUT ", 4);
    ask(b, (struct rn_http_ask){.method = "DELETE"});
    assert_memory_equal(last_request(&b->server, text), "DELETE ", 7);
}

static void keeps_no_more_of_a_body_than_it_may(void **state)
{
    struct bench *b = *state;
    static char answer[400]; // outlives the server
    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n%0200d", 0);
    b->server.answer[0] = answer;
    ask(b, (struct rn_http_ask){0});
    assert_true(b->got.truncated);
    assert_int_equal(b->got.len, 100);
    assert_string_equal(b->got.error, "");
}

static void tells_why_there_is_no_answer(void **state)
{
    struct bench *b = *state;
    b->server.answer[0] = NULL; // closes without a word
    b->server.answer[1] = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhalf";
    b->server.answer[2] = HANG;
    ask(b, (struct rn_http_ask){0});
    assert_int_equal(b->got.status, 0);
    assert_true(b->got.error[0]);
    ask(b, (struct rn_http_ask){0});
    assert_int_equal(b->got.status, 200);
    assert_true(b->got.error[0]);
    ask(b, (struct rn_http_ask){.timeout_ms = 50});
    assert_int_equal(b->got.status, 0);
    assert_non_null(strstr(b->got.error, "timed out"));
    ask(b, (struct rn_http_ask){.url = "http://127.0.0.1:1/"});
    assert_non_null(strstr(b->got.error, "connect"));
    ask(b, (struct rn_http_ask){.url = "file:///etc/passwd"});
    assert_int_equal(b->got.status, 0);
    assert_true(b->got.error[0]);
}

static bool on_data(void *arg, struct rn_span data)
{
    struct bench *b = arg;
    b->streamed += data.len;
    return b->streamed < b->stop_after;
}

static void hands_a_stream_on_until_told_to_stop(void **state)
{
    struct bench *b = *state;
    b->stop_after = 5;
    b->server.answer[0] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst";
    ask(b, (struct rn_http_ask){.on_data = on_data});
    assert_int_equal(b->streamed, 5);
    assert_int_equal(b->got.status, 200);
    assert_string_equal(b->got.error, "");
    assert_int_equal(b->got.len, 0);
    b->server.answer[1] = "HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope";
    ask(b, (struct rn_http_ask){.on_data = on_data});
    assert_string_equal(b->got.body, "nope"); // errors are not streamed
}

static void stop_loop(void *arg)
{
    rn_loop_stop(arg);
}

static void a_cancelled_request_says_nothing_more(void **state)
{
    struct bench *b = *state;
    struct rn_http_req *req;
    b->server.answer[0] = HANG;
    struct rn_http_ask hanging = {.method = "GET", .url = b->url, .done = on_done, .arg = b};
    assert_int_equal(rn_http_start(b->http, &hanging, &req, NULL), RN_OK);
    assert_int_equal(rn_timer_new(&b->timer, b->loop, stop_loop, b->loop, NULL), RN_OK);
    rn_timer_start(b->timer, 50, 0);
    rn_loop_run(b->loop);
    rn_http_cancel(req);
    rn_timer_start(b->timer, 20, 0);
    rn_loop_run(b->loop);
    assert_int_equal(b->got.calls, 0);
    // One that is still under way goes with the client, also without a word: see teardown.
    b->server.answer[1] = HANG;
    assert_int_equal(rn_http_start(b->http, &hanging, &req, NULL), RN_OK);
    rn_timer_start(b->timer, 20, 0);
    rn_loop_run(b->loop);
    assert_int_equal(b->got.calls, 0);
}

static void speaks_over_a_unix_socket(void **state)
{
    struct bench *b = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct server local = {0};
    local.answer[0] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/runnel-test-%d.sock", getpid());
    assert_int_equal(start_server(&local, AF_UNIX, (struct sockaddr *)&address, sizeof address), 0);
    rn_http_free(b->http);
    struct rn_http_conf conf = {.unix_socket = address.sun_path};
    assert_int_equal(rn_http_new(&b->http, b->loop, &conf, NULL), RN_OK);
    ask(b, (struct rn_http_ask){.url = "http://bridge/x"});
    assert_string_equal(b->got.body, "ok");
    rn_http_free(b->http);
    b->http = NULL;
    shutdown(local.fd, SHUT_RDWR);
    pthread_join(local.thread, NULL);
    close(local.fd);
    unlink(address.sun_path);
}

static void escapes_what_is_special_in_a_url(void **state)
{
    (void)state;
    struct rn_buf out;
    rn_buf_init(&out, 100);
    rn_url_escape(&out, "aZ09-._~ &=/?\xc3\xbc");
    assert_string_equal(rn_buf_cstr(&out), "aZ09-._~%20%26%3D%2F%3F%C3%BC");
    rn_buf_release(&out);
}

static void gzip_goes_both_ways_within_its_bounds(void **state)
{
    (void)state;
    struct rn_err err;
    struct rn_buf in, packed, out;
    rn_buf_init(&in, 200000);
    rn_buf_init(&packed, 200000);
    rn_buf_init(&out, 200000);
    for (int i = 0; i < 10000; i++)
        rn_buf_printf(&in, "line %d\n", i);
    assert_int_equal(rn_gzip(&packed, rn_buf_span(&in), 1, &err), RN_OK);
    assert_true(packed.len < in.len / 3);
    assert_int_equal(rn_gunzip(&out, rn_buf_span(&packed), &err), RN_OK);
    assert_true(rn_span_eq(rn_buf_span(&in), rn_buf_span(&out)));
    rn_buf_release(&out);
    rn_buf_init(&out, in.len - 1);
    assert_int_equal(rn_gunzip(&out, rn_buf_span(&packed), &err), RN_ELIMIT);
    packed.len /= 2;
    rn_buf_release(&out);
    rn_buf_init(&out, 200000);
    assert_int_equal(rn_gunzip(&out, rn_buf_span(&packed), &err), RN_EFORMAT);
    assert_int_equal(rn_gunzip(&out, rn_span_text("no gzip at all"), &err), RN_EFORMAT);
    rn_buf_release(&in);
    rn_buf_release(&packed);
    rn_buf_release(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(reads_status_headers_and_body_over_one_kept_connection),
        TEST(sends_method_headers_credentials_and_body),
        TEST(keeps_no_more_of_a_body_than_it_may),
        TEST(tells_why_there_is_no_answer),
        TEST(hands_a_stream_on_until_told_to_stop),
        TEST(a_cancelled_request_says_nothing_more),
        TEST(speaks_over_a_unix_socket),
        cmocka_unit_test(escapes_what_is_special_in_a_url),
        cmocka_unit_test(gzip_goes_both_ways_within_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
