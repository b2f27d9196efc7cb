// See relay.h.
#include "cli/relay.h"

#include <runnel/loop.h>

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_PAIRS  16
#define PIPE_BYTES 65536

// One direction: what was read from one side and not yet written to the other.
struct pipe_buffer {
    uint8_t data[PIPE_BYTES];
    size_t at, len;
};

struct pair {
    struct relay *relay;
    int fd[2]; // caller, upstream; -1: free
    struct rn_fd *watch[2];
    struct pipe_buffer from[2]; // read from fd[i], to be written to fd[!i]
};

struct relay {
    struct rn_loop *loop;
    int listener;
    struct rn_fd *watch;
    uint16_t port, upstream_port;
    struct rn_wake *wake; // told by other threads: look at cut and stop
    atomic_bool cut, stop;
    pthread_t thread;
    bool started;
    struct pair *pairs[MAX_PAIRS];
};

static int loopback_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void pair_free(struct pair *pair)
{
    if (!pair)
        return;
    for (int i = 0; i < 2; i++) {
        rn_fd_free(pair->watch[i]);
        if (pair->fd[i] >= 0)
            close(pair->fd[i]);
    }
    free(pair);
}

static void pair_end(struct pair *pair)
{
    for (int i = 0; i < MAX_PAIRS; i++)
        if (pair->relay->pairs[i] == pair)
            pair->relay->pairs[i] = NULL;
    pair_free(pair);
}

static void want(struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        rn_fd_want(pair->watch[i], pair->from[i].len == 0, pair->from[!i].len > 0);
}

// False when the connection is over.
static bool read_side(struct pair *pair, int side)
{
    struct pipe_buffer *from = &pair->from[side];
    if (from->len)
        return true;
    ssize_t got = read(pair->fd[side], from->data, sizeof from->data);
    if (got > 0) {
        from->at = 0;
        from->len = (size_t)got;
    }
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool write_side(struct pair *pair, int side)
{
    struct pipe_buffer *from = &pair->from[!side];
    if (!from->len)
        return true;
    ssize_t put = send(pair->fd[side], from->data + from->at, from->len, MSG_NOSIGNAL);
    if (put > 0) {
        from->at += (size_t)put;
        from->len -= (size_t)put;
    }
    return put > 0 || (put < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN));
}

static void on_ready(void *arg, int fd, bool readable, bool writable)
{
    struct pair *pair = arg;
    int side = fd == pair->fd[0] ? 0 : 1;
    bool good = true;
    if (readable)
        good = read_side(pair, side) && write_side(pair, !side);
    if (good && writable)
        good = write_side(pair, side);
    if (good)
        want(pair);
    else
        pair_end(pair);
}

static int pair_new(struct relay *relay, int caller)
{
    struct rn_err err;
    struct sockaddr_in address = loopback(relay->upstream_port);
    struct pair *pair = calloc(1, sizeof *pair);
    if (!pair)
        return RN_ENOMEM;
    pair->relay = relay;
    pair->fd[0] = caller;
    pair->fd[1] = loopback_socket();
    int rc = pair->fd[1] < 0 ? RN_EIO : 0;
    if (rc == 0 && connect(pair->fd[1], (struct sockaddr *)&address, sizeof address) < 0 &&
        errno != EINPROGRESS)
        rc = RN_EIO;
    for (int i = 0; rc == 0 && i < 2; i++)
        rc = rn_fd_new(&pair->watch[i], relay->loop, pair->fd[i], on_ready, pair, &err);
    for (int i = 0; rc == 0 && i < MAX_PAIRS; i++) {
        if (!relay->pairs[i]) {
            relay->pairs[i] = pair;
            want(pair);
            return 0;
        }
    }
    pair->fd[0] = -1; // stays the caller's to close
    pair_free(pair);
    return rc ? rc : RN_ELIMIT;
}

static void on_caller(void *arg, int fd, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    struct relay *relay = arg;
    int caller = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (caller >= 0 && (relay->cut || pair_new(relay, caller) < 0))
        close(caller);
}

static int listen_on_free_port(struct relay *relay, struct rn_err *err)
{
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    relay->listener = loopback_socket();
    if (relay->listener < 0 ||
        bind(relay->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(relay->listener, 16) < 0 ||
        getsockname(relay->listener, (struct sockaddr *)&address, &len) < 0)
        return rn_fail_errno(err, "cannot open a relay on the loopback interface");
    relay->port = ntohs(address.sin_port);
    return 0;
}

static void end_all(struct relay *relay)
{
    for (int i = 0; i < MAX_PAIRS; i++) {
        pair_free(relay->pairs[i]);
        relay->pairs[i] = NULL;
    }
}

static void on_told(void *arg)
{
    struct relay *relay = arg;
    if (relay->cut || relay->stop)
        end_all(relay);
    if (relay->stop)
        rn_loop_stop(relay->loop);
}

static void *run_thread(void *arg)
{
    struct relay *relay = arg;
    rn_loop_run(relay->loop);
    return NULL;
}

int relay_start(struct relay **out, uint16_t upstream_port, struct rn_err *err)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (!relay)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    relay->listener = -1;
    relay->upstream_port = upstream_port;
    int rc = rn_loop_new(&relay->loop, err);
    if (rc == 0)
        rc = rn_wake_new(&relay->wake, relay->loop, on_told, relay, err);
    if (rc == 0)
        rc = listen_on_free_port(relay, err);
    if (rc == 0)
        rc = rn_fd_new(&relay->watch, relay->loop, relay->listener, on_caller, relay, err);
    if (rc == 0)
        rn_fd_want(relay->watch, true, false);
    if (rc == 0 && pthread_create(&relay->thread, NULL, run_thread, relay) != 0)
        rc = rn_fail(err, RN_EIO, "cannot start the relay's thread");
    if (rc < 0) {
        relay_stop(relay);
        return rc;
    }
    relay->started = true;
    *out = relay;
    return 0;
}

void relay_stop(struct relay *relay)
{
    if (!relay)
        return;
    if (relay->started) {
        relay->stop = true;
        rn_wake_send(relay->wake);
        pthread_join(relay->thread, NULL);
    }
    rn_fd_free(relay->watch);
    rn_wake_free(relay->wake);
    if (relay->loop)
        rn_loop_free(relay->loop);
    if (relay->listener >= 0)
        close(relay->listener);
    free(relay);
}

uint16_t relay_port(const struct relay *relay)
{
    return relay->port;
}

void relay_cut(struct relay *relay, bool cut)
{
    relay->cut = cut;
    rn_wake_send(relay->wake);
}
