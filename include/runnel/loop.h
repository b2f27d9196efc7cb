// Event loop: timers, wake-ups from other threads, file descriptors, signals. A thin shell over
// libuv; its thread pool is never used. Everything but rn_wake_send belongs to the loop's thread.
// Callbacks may start, stop and free any handle, their own too.
#ifndef RUNNEL_LOOP_H
#define RUNNEL_LOOP_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct rn_loop;
struct rn_timer;
struct rn_wake;
struct rn_fd;
struct rn_signal;

RN_MUST_CHECK int rn_loop_new(struct rn_loop **out, struct rn_err *err);
void rn_loop_free(struct rn_loop *loop); // closes what is left; the handles must be freed before
void rn_loop_run(struct rn_loop *loop);  // until rn_loop_stop
void rn_loop_stop(struct rn_loop *loop); // from the loop's thread
int64_t rn_loop_now_ms(struct rn_loop *loop); // monotonic, cached per iteration

// The only typedefs of the project: function types, so that slots and parameters read alike.
typedef void rn_loop_cb(void *arg);
typedef void rn_fd_cb(void *arg, int fd, bool readable, bool writable);
typedef void rn_signal_cb(void *arg, int signum);

RN_MUST_CHECK int rn_timer_new(struct rn_timer **out, struct rn_loop *loop, rn_loop_cb *cb,
                               void *arg, struct rn_err *err);
void rn_timer_start(struct rn_timer *timer, int64_t after_ms, int64_t repeat_ms); // 0: once
void rn_timer_stop(struct rn_timer *timer);
void rn_timer_free(struct rn_timer *timer);

// Wake-up: rn_wake_send may be called from any thread and from signal handlers; calls coalesce.
RN_MUST_CHECK int rn_wake_new(struct rn_wake **out, struct rn_loop *loop, rn_loop_cb *cb, void *arg,
                              struct rn_err *err);
void rn_wake_send(struct rn_wake *wake);
void rn_wake_free(struct rn_wake *wake);

RN_MUST_CHECK int rn_fd_new(struct rn_fd **out, struct rn_loop *loop, int fd, rn_fd_cb *cb,
                            void *arg, struct rn_err *err);
void rn_fd_want(struct rn_fd *watch, bool readable, bool writable);
void rn_fd_free(struct rn_fd *watch); // does not close fd

RN_MUST_CHECK int rn_signal_new(struct rn_signal **out, struct rn_loop *loop, int signum,
                                rn_signal_cb *cb, void *arg, struct rn_err *err);
// The signal is ignored from then on: a second SIGTERM must not kill a process that is ending
// cleanly.
void rn_signal_free(struct rn_signal *watch);

#endif
