// See runnel/loop.h. The only file that includes libuv.
//
// Each handle is one allocation with libuv's struct in front. libuv closes asynchronously: after
// uv_close no callback of the handle runs any more, and the memory goes back when the loop has let
// go of it, so a free inside a callback is safe.
#include <runnel/loop.h>

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct rn_loop {
    uv_loop_t uv;
    uv_timer_t keep_alive; // a loop without handles would end its run by itself
};

struct rn_timer {
    uv_timer_t uv;
    rn_loop_cb *cb;
    void *arg;
};

struct rn_wake {
    uv_async_t uv;
    rn_loop_cb *cb;
    void *arg;
};

struct rn_fd {
    uv_poll_t uv;
    int fd;
    rn_fd_cb *cb;
    void *arg;
};

struct rn_signal {
    uv_signal_t uv;
    rn_signal_cb *cb;
    void *arg;
};

static int fail_uv(struct rn_err *err, int code, const char *what)
{
    return rn_fail(err, code == UV_ENOMEM ? RN_ENOMEM : RN_EIO, "%s: %s", what, uv_strerror(code));
}

// --- the loop -------------------------------------------------------------------------------

static void never(uv_timer_t *timer)
{
    (void)timer;
}

int rn_loop_new(struct rn_loop **out, struct rn_err *err)
{
    static const uint64_t day_ms = 24 * 3600 * 1000;
    struct rn_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return rn_fail(err, RN_ENOMEM, "no memory for an event loop");
    int rc = uv_loop_init(&loop->uv);
    if (rc < 0) {
        free(loop);
        return fail_uv(err, rc, "event loop");
    }
    uv_timer_init(&loop->uv, &loop->keep_alive);
    uv_timer_start(&loop->keep_alive, never, day_ms, day_ms);
    *out = loop;
    return RN_OK;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle); // the struct around it begins with it
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, free_handle);
}

static void close_left_over(uv_handle_t *handle, void *arg)
{
    (void)arg;
    close_handle(handle);
}

void rn_loop_free(struct rn_loop *loop)
{
    if (!loop)
        return;
    uv_close((uv_handle_t *)&loop->keep_alive, NULL);
    uv_walk(&loop->uv, close_left_over, NULL);
    // Runs until the closing handles are gone: more than once if a stop is still pending.
    while (uv_loop_close(&loop->uv) == UV_EBUSY)
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    free(loop);
}

void rn_loop_run(struct rn_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void rn_loop_stop(struct rn_loop *loop)
{
    uv_stop(&loop->uv);
}

int64_t rn_loop_now_ms(struct rn_loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

// --- timers ---------------------------------------------------------------------------------

static void on_timer(uv_timer_t *uv)
{
    struct rn_timer *timer = uv->data;
    timer->cb(timer->arg);
}

int rn_timer_new(struct rn_timer **out, struct rn_loop *loop, rn_loop_cb *cb, void *arg,
                 struct rn_err *err)
{
    struct rn_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return rn_fail(err, RN_ENOMEM, "no memory for a timer");
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->cb = cb;
    timer->arg = arg;
    *out = timer;
    return RN_OK;
}

void rn_timer_start(struct rn_timer *timer, int64_t after_ms, int64_t repeat_ms)
{
    // libuv counts from the cached time: after a long callback that would be too early.
    uv_update_time(timer->uv.loop);
    uv_timer_start(&timer->uv, on_timer, after_ms > 0 ? (uint64_t)after_ms : 0,
                   repeat_ms > 0 ? (uint64_t)repeat_ms : 0);
}

void rn_timer_stop(struct rn_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void rn_timer_free(struct rn_timer *timer)
{
    if (timer)
        close_handle((uv_handle_t *)&timer->uv);
}

// --- wake-ups -------------------------------------------------------------------------------

static void on_wake(uv_async_t *uv)
{
    struct rn_wake *wake = uv->data;
    wake->cb(wake->arg);
}

int rn_wake_new(struct rn_wake **out, struct rn_loop *loop, rn_loop_cb *cb, void *arg,
                struct rn_err *err)
{
    struct rn_wake *wake = calloc(1, sizeof *wake);
    if (!wake)
        return rn_fail(err, RN_ENOMEM, "no memory for a wake-up");
    int rc = uv_async_init(&loop->uv, &wake->uv, on_wake);
    if (rc < 0) {
        free(wake);
        return fail_uv(err, rc, "wake-up");
    }
    wake->uv.data = wake;
    wake->cb = cb;
    wake->arg = arg;
    *out = wake;
    return RN_OK;
}

void rn_wake_send(struct rn_wake *wake)
{
    uv_async_send(&wake->uv);
}

void rn_wake_free(struct rn_wake *wake)
{
    if (wake)
        close_handle((uv_handle_t *)&wake->uv);
}

// --- file descriptors -----------------------------------------------------------------------

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct rn_fd *watch = uv->data;
    // An error shows itself to whoever reads or writes next.
    bool readable = status < 0 || (events & (UV_READABLE | UV_DISCONNECT));
    bool writable = status < 0 || (events & UV_WRITABLE);
    watch->cb(watch->arg, watch->fd, readable, writable);
}

int rn_fd_new(struct rn_fd **out, struct rn_loop *loop, int fd, rn_fd_cb *cb, void *arg,
              struct rn_err *err)
{
    struct rn_fd *watch = calloc(1, sizeof *watch);
    if (!watch)
        return rn_fail(err, RN_ENOMEM, "no memory for a watch");
    int rc = uv_poll_init(&loop->uv, &watch->uv, fd);
    if (rc < 0) {
        free(watch);
        return fail_uv(err, rc, "file descriptor cannot be watched");
    }
    watch->uv.data = watch;
    watch->fd = fd;
    watch->cb = cb;
    watch->arg = arg;
    *out = watch;
    return RN_OK;
}

void rn_fd_want(struct rn_fd *watch, bool readable, bool writable)
{
    int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    if (events)
        uv_poll_start(&watch->uv, events, on_poll);
    else
        uv_poll_stop(&watch->uv);
}

void rn_fd_free(struct rn_fd *watch)
{
    if (watch)
        close_handle((uv_handle_t *)&watch->uv);
}

// --- signals --------------------------------------------------------------------------------

static void on_signal(uv_signal_t *uv, int signum)
{
    struct rn_signal *watch = uv->data;
    watch->cb(watch->arg, signum);
}

int rn_signal_new(struct rn_signal **out, struct rn_loop *loop, int signum, rn_signal_cb *cb,
                  void *arg, struct rn_err *err)
{
    struct rn_signal *watch = calloc(1, sizeof *watch);
    if (!watch)
        return rn_fail(err, RN_ENOMEM, "no memory for a signal watch");
    int rc = uv_signal_init(&loop->uv, &watch->uv);
    if (rc < 0) {
        free(watch);
        return fail_uv(err, rc, "signal watch");
    }
    watch->uv.data = watch;
    watch->cb = cb;
    watch->arg = arg;
    rc = uv_signal_start(&watch->uv, on_signal, signum);
    if (rc < 0) {
        rn_signal_free(watch);
        return fail_uv(err, rc, "signal cannot be watched");
    }
    *out = watch;
    return RN_OK;
}

void rn_signal_free(struct rn_signal *watch)
{
    if (!watch)
        return;
    int signum = watch->uv.signum;
    uv_signal_stop(&watch->uv); // libuv restores the default action, which would end the process
    signal(signum, SIG_IGN);
    close_handle((uv_handle_t *)&watch->uv);
}
