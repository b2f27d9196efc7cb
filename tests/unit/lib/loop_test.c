// Event loop and the queue between threads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/clock.h>
#include <runnel/loop.h>
#include <runnel/queue.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct rn_loop *loop;
    struct rn_timer *timer, *guard, *other;
    struct rn_wake *wake;
    struct rn_fd *fd;
    struct rn_signal *signal;
    struct rn_queue *queue;
    int calls, pipe[2], seen;
    long sum;
    struct rn_err err;
};

static void give_up(void *arg)
{
    (void)arg;
    abort(); // the test hangs
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    if (rn_loop_new(&f->loop, &f->err) < 0 ||
        rn_timer_new(&f->guard, f->loop, give_up, f, &f->err) < 0)
        return -1;
    rn_timer_start(f->guard, 30000, 0);
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    rn_timer_free(f->guard);
    rn_loop_free(f->loop);
    free(f);
    return 0;
}

static void count_to_three(void *arg)
{
    struct fixture *f = arg;
    if (++f->calls == 3) {
        rn_timer_free(f->timer); // frees itself inside its own callback
        rn_timer_free(f->other);
        rn_loop_stop(f->loop);
    }
}

static void must_not_run(void *arg)
{
    (void)arg;
    abort();
}

static void a_timer_repeats_and_may_free_itself_and_others(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rn_timer_new(&f->timer, f->loop, count_to_three, f, &f->err), RN_OK);
    assert_int_equal(rn_timer_new(&f->other, f->loop, must_not_run, f, &f->err), RN_OK);
    int64_t before = rn_clock_mono_ms();
    rn_timer_start(f->other, 20000, 0);
    rn_timer_start(f->timer, 5, 5);
    rn_loop_run(f->loop);
    assert_int_equal(f->calls, 3);
    assert_true(rn_clock_mono_ms() - before >= 14);
    assert_true(rn_loop_now_ms(f->loop) - before < 20000);
}

static void stop_loop(void *arg)
{
    struct fixture *f = arg;
    f->calls++;
    rn_loop_stop(f->loop);
}

static void *send_wakes(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 100; i++)
        rn_wake_send(f->wake);
    return NULL;
}

static void a_wake_up_from_another_thread_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    assert_int_equal(rn_wake_new(&f->wake, f->loop, stop_loop, f, &f->err), RN_OK);
    assert_int_equal(pthread_create(&thread, NULL, send_wakes, f), 0);
    rn_loop_run(f->loop);
    pthread_join(thread, NULL);
    assert_in_range(f->calls, 1, 100);
    rn_wake_free(f->wake);
}

static void read_one(void *arg, int fd, bool readable, bool writable)
{
    struct fixture *f = arg;
    char byte = 0;
    assert_true(readable);
    assert_false(writable);
    ssize_t got = read(fd, &byte, 1);
    f->calls++;
    if (got == 0) { // the other end was closed
        rn_fd_free(f->fd);
        rn_loop_stop(f->loop);
    } else {
        assert_int_equal(byte, 'x');
        close(f->pipe[1]);
    }
}

static void a_descriptor_tells_of_bytes_and_of_the_end(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pipe(f->pipe), 0);
    assert_int_equal(rn_fd_new(&f->fd, f->loop, f->pipe[0], read_one, f, &f->err), RN_OK);
    rn_fd_want(f->fd, true, false);
    assert_int_equal(write(f->pipe[1], "x", 1), 1);
    rn_loop_run(f->loop);
    assert_int_equal(f->calls, 2);
    close(f->pipe[0]);
}

static void on_signal(void *arg, int signum)
{
    struct fixture *f = arg;
    f->seen = signum;
    rn_signal_free(f->signal);
    rn_loop_stop(f->loop);
}

static void a_signal_arrives_on_the_loop(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rn_signal_new(&f->signal, f->loop, SIGUSR1, on_signal, f, &f->err), RN_OK);
    raise(SIGUSR1);
    rn_loop_run(f->loop);
    assert_int_equal(f->seen, SIGUSR1);
    f->seen = 0;
    raise(SIGUSR1); // not watched any more: ignored, instead of ending the process
    assert_int_equal(f->seen, 0);
    assert_int_equal(rn_signal_new(&f->signal, f->loop, 9999, on_signal, f, &f->err), RN_EIO);
}

static void freeing_a_loop_takes_left_over_handles_along(void **state)
{
    (void)state; // the leak checker is the judge
    struct rn_loop *loop;
    struct rn_timer *timer;
    struct rn_wake *wake;
    assert_int_equal(rn_loop_new(&loop, NULL), RN_OK);
    assert_int_equal(rn_timer_new(&timer, loop, must_not_run, NULL, NULL), RN_OK);
    assert_int_equal(rn_wake_new(&wake, loop, must_not_run, NULL, NULL), RN_OK);
    rn_timer_start(timer, 0, 1);
    rn_loop_stop(loop); // a stop that no run has seen must not keep it from closing
    rn_loop_free(loop);
    rn_loop_free(NULL);
    rn_timer_free(NULL);
}

// --- queue ----------------------------------------------------------------------------------

enum { PRODUCERS = 4, EACH = 5000 };

static void *produce(void *arg)
{
    struct fixture *f = arg;
    for (int i = 1; i <= EACH;) {
        int *item = malloc(sizeof *item);
        *item = i;
        if (rn_queue_push(f->queue, item, sizeof *item)) {
            i++;
        } else {
            free(item);
            sched_yield();
        }
    }
    return NULL;
}

static void consume(void *arg)
{
    struct fixture *f = arg;
    for (int *item = rn_queue_pop(f->queue); item; item = rn_queue_pop(f->queue)) {
        f->sum += *item;
        f->calls++;
        free(item);
    }
    if (f->calls == PRODUCERS * EACH)
        rn_loop_stop(f->loop);
}

static void a_queue_hands_every_item_over_exactly_once(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[PRODUCERS];
    assert_int_equal(rn_wake_new(&f->wake, f->loop, consume, f, &f->err), RN_OK);
    assert_int_equal(rn_queue_new(&f->queue, 64, 1 << 20, f->wake, free, &f->err), RN_OK);
    for (int i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, produce, f), 0);
    rn_loop_run(f->loop);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(f->sum, (long)PRODUCERS * EACH * (EACH + 1) / 2);
    assert_int_equal(rn_queue_count(f->queue), 0);
    rn_queue_free(f->queue);
    rn_wake_free(f->wake);
}

static void a_full_queue_refuses_by_items_and_by_bytes_and_counts_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rn_queue_new(&f->queue, 2, 100, NULL, free, &f->err), RN_OK);
    int *spare = malloc(sizeof *spare);
    assert_true(rn_queue_push(f->queue, malloc(1), 60));
    assert_false(rn_queue_push(f->queue, spare, 41)); // too many bytes
    assert_true(rn_queue_push(f->queue, malloc(1), 40));
    assert_false(rn_queue_push(f->queue, spare, 0)); // too many items
    assert_int_equal(rn_queue_refused(f->queue), 2);
    assert_int_equal(rn_queue_count(f->queue), 2);
    free(rn_queue_pop(f->queue));
    assert_true(rn_queue_push(f->queue, spare, 60)); // the bytes came back
    rn_queue_free(f->queue);                         // frees the two inside
    rn_queue_free(NULL);
    assert_int_equal(rn_queue_new(&f->queue, 0, 100, NULL, free, &f->err), RN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_repeats_and_may_free_itself_and_others, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_wake_up_from_another_thread_ends_the_wait, start, stop),
        cmocka_unit_test_setup_teardown(a_descriptor_tells_of_bytes_and_of_the_end, start, stop),
        cmocka_unit_test_setup_teardown(a_signal_arrives_on_the_loop, start, stop),
        cmocka_unit_test(freeing_a_loop_takes_left_over_handles_along),
        cmocka_unit_test_setup_teardown(a_queue_hands_every_item_over_exactly_once, start, stop),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses_by_items_and_by_bytes_and_counts_it,
                                        start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
