// See cursor.h. pump() takes steps of the machine until one of them has to wait; complete() of the
// sink, timers and wake-ups change the phase and pump again. Everything below runs on the worker's
// thread but for the functions at the end.
#include "bridge/cursor_private.h"

#include <assert.h>
#include <runnel/clock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_RETRY_MS 1000

// ---- start ------------------------------------------------------------------------------------

static int open_files(struct cursor *c, struct rn_err *err)
{
    const struct cursors_conf *conf = c->env->conf;
    int rc = RN_OK;
    if (!c->db.db) {
        rc = cursor_db_open(&c->db, conf->folder, c->conf->name, conf->log_id, conf->log_head, err);
        if (rc == RN_OK && c->hooks)
            rc = c->hooks->opened(c->hooks->arg, c->db.db, err);
        if (rc < 0) {
            cursor_db_close(&c->db);
            return rc;
        }
    }
    if (!c->reader)
        rc = log_reader_open(&c->reader, conf->folder, conf->schema_cache_bytes, err);
    struct deadletters_conf dead = {conf->folder, conf->dead_max_bytes, conf->dead_max_age_ms};
    if (rc == RN_OK && !c->dead)
        rc = deadletters_open(&c->dead, &dead, err);
    return rc;
}

static void start(struct cursor *c)
{
    struct rn_err err;
    if (open_files(c, &err) < 0) {
        cursor_own_trouble(c, &err, START_RETRY_MS);
        return;
    }
    if (c->db.quarantined)
        rn_log(RN_LOG_ERROR, "cursor_quarantined", "cursor=%s", c->conf->name);
    cursor_own_recovery(c);
    c->read_upto = c->db.position;
    c->host.saved = rn_buf_span(&c->db.saved);
    c->phase = PHASE_OPEN;
    cursor_publish_position(c);
}

// A sink's state is committed before it first writes, so that it knows what a crash leaves behind
// for its own.
static int commit_first_state(struct cursor *c, struct rn_err *err)
{
    if (!c->conf->sink->save || c->db.saved.len)
        return RN_OK;
    c->conf->sink->save(c->sink, &c->db.saved);
    int rc = cursor_db_move(&c->db, c->db.position, c->hooks, err);
    if (rc < 0)
        rn_buf_clear(&c->db.saved);
    return rc;
}

static void open_sink(struct cursor *c)
{
    struct rn_err err;
    const struct rn_sink *sink = c->conf->sink;
    memset(c->sink, 0, sink->state_size);
    c->host.saved = rn_buf_span(&c->db.saved);
    if (sink->open(c->sink, c->conf->sink_conf, c->loop, &c->host, &err) < 0) {
        struct policy_action action = {0};
        sink->close(c->sink);
        policy_trouble(c->policy, SINK_RETRY, 0, rn_clock_mono_ms(), &action);
        cursor_say(c, action.say, err.text);
        cursor_wait_until(c, action.until_ms, PHASE_OPEN);
        return;
    }
    if (commit_first_state(c, &err) < 0) {
        sink->close(c->sink);
        cursor_own_trouble(c, &err, CURSOR_STORE_RETRY_MS);
        return;
    }
    cursor_own_recovery(c);
    c->sink_open = true;
    cursor_set_state(c, CURSOR_OK, "");
    cursor_say(c, policy_success(c->policy), "");
    c->phase = PHASE_READY;
}

// ---- the machine ------------------------------------------------------------------------------

static void start_gathering(struct cursor *c)
{
    if (c->hungry || c->gathering)
        return;
    c->gathering = true;
    rn_timer_start(c->gather, c->conf->opts->gather_ms, 0);
}

// Looks for something to do; false if there is nothing.
static bool look(struct cursor *c)
{
    int64_t now_ms = rn_clock_mono_ms();
    uint32_t due = cursor_due(c, now_ms);
    if (c->rewind) {
        cursor_rewind(c);
        return true;
    }
    if (due) {
        cursor_begin_flush(c, due);
        return true;
    }
    if (c->next < c->nruns) {
        cursor_begin_group(c);
        return true;
    }
    if (!c->nreplay && (atomic_exchange(&c->replay_asked, false) || c->letters_waiting) &&
        cursor_load_letters(c))
        return true;
    if (c->hungry) {
        if (cursor_read_chunk(c)) {
            c->hungry = c->nowned >= (uint32_t)c->conf->opts->max_batches ||
                        c->conf->opts->gather_ms == 0 || c->phase == PHASE_WAIT;
            return true;
        }
        c->hungry = false; // whatever comes is announced
    } else if (atomic_load(c->env->head) > c->read_upto) {
        start_gathering(c);
    }
    if (c->npending)
        rn_timer_start(c->settle, c->pending[0].due_ms - now_ms, 0);
    return false;
}

// One step; false if the worker has to wait for something.
static bool step(struct cursor *c)
{
    switch (c->phase) {
    case PHASE_START:
        start(c);
        return true;
    case PHASE_OPEN:
        open_sink(c);
        return true;
    case PHASE_READY:
        return look(c);
    case PHASE_BURY:
        cursor_bury(c);
        return true;
    case PHASE_WRITE:
        cursor_write_set(c);
        return true;
    case PHASE_FLUSH:
        c->phase = PHASE_FLUSH_OUT;
        c->conf->sink->flush(c->sink);
        return true;
    case PHASE_COMMIT:
        cursor_commit(c);
        return true;
    case PHASE_OUT:
    case PHASE_FLUSH_OUT:
    case PHASE_WAIT:
        break;
    }
    return false;
}

static void pump(struct cursor *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    while (!atomic_load(&c->stop) && step(c))
        ;
    c->pumping = false;
}

static void on_complete(void *arg, const struct sink_result *result)
{
    struct cursor *c = arg;
    assert(c->phase == PHASE_OUT || c->phase == PHASE_FLUSH_OUT);
    if (c->phase == PHASE_OUT)
        cursor_written(c, result);
    else
        cursor_flushed(c, result);
    pump(c);
}

static void on_wait(void *arg)
{
    struct cursor *c = arg;
    if (c->phase == PHASE_WAIT)
        c->phase = c->after_wait;
    pump(c);
}

static void on_gathered(void *arg)
{
    struct cursor *c = arg;
    c->gathering = false;
    c->hungry = true;
    pump(c);
}

static void on_settled(void *arg)
{
    pump(arg);
}

static void on_tick(void *arg)
{
    struct cursor *c = arg;
    if (c->sink_open && c->conf->sink->tick)
        c->conf->sink->tick(c->sink, rn_clock_mono_ms());
    if (atomic_load(c->env->head) > c->read_upto) // should an announcement ever come too early
        start_gathering(c);
    pump(c);
}

static void on_wake(void *arg)
{
    struct cursor *c = arg;
    if (atomic_load(&c->stop)) {
        rn_loop_stop(c->loop);
        return;
    }
    if (atomic_load(c->env->head) > c->read_upto)
        start_gathering(c);
    pump(c);
}

// ---- the thread -------------------------------------------------------------------------------

static void close_all(struct cursor *c)
{
    if (c->sink_open)
        c->conf->sink->close(c->sink);
    cursor_drop_chunk(c);
    cursor_drop_replay(c);
    if (c->hooks)
        c->hooks->closing(c->hooks->arg);
    log_reader_close(c->reader);
    deadletters_close(c->dead);
    cursor_db_close(&c->db);
    cursor_set_state(c, CURSOR_STOPPED, "");
}

static void *worker(void *arg)
{
    struct cursor *c = arg;
    char name[16];
    snprintf(name, sizeof name, "cur-%.11s", c->conf->name);
    (void)pthread_setname_np(pthread_self(), name);
    c->hungry = true;
    atomic_store(&c->replay_asked, true); // marks from before the start
    rn_timer_start(c->tick, CURSOR_TICK_MS, CURSOR_TICK_MS);
    pump(c);
    if (!atomic_load(&c->stop))
        rn_loop_run(c->loop);
    close_all(c);
    return NULL;
}

static int make_loop(struct cursor *c, struct rn_err *err)
{
    int rc = rn_loop_new(&c->loop, err);
    if (rc == RN_OK)
        rc = rn_wake_new(&c->wake, c->loop, on_wake, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->wait, c->loop, on_wait, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->gather, c->loop, on_gathered, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->settle, c->loop, on_settled, c, err);
    if (rc == RN_OK)
        rc = rn_timer_new(&c->tick, c->loop, on_tick, c, err);
    if (rc == RN_OK && c->hooks)
        rc = c->hooks->prepare(c->hooks->arg, c->loop, err);
    return rc;
}

static void release(struct cursor *c)
{
    if (c->hooks)
        c->hooks->closing(c->hooks->arg);
    rn_timer_free(c->wait);
    rn_timer_free(c->gather);
    rn_timer_free(c->settle);
    rn_timer_free(c->tick);
    rn_wake_free(c->wake);
    rn_loop_free(c->loop);
    free(c->group);
    free(c->policy);
    free(c->sink);
    free(c);
}

int cursor_start(struct cursor *c, struct rn_err *err)
{
    sigset_t all, old;
    sigfillset(&all); // signals are for the main thread
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&c->thread, NULL, worker, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    c->started = rc == 0;
    return rc ? rn_fail(err, RN_ELIMIT, "cannot start the thread of cursor %s", c->conf->name)
              : RN_OK;
}

int cursor_new(struct cursor **out, const struct cursor_conf *conf, const struct cursor_env *env,
               const struct cursor_hooks *hooks, struct rn_err *err)
{
    assert(conf->opts->max_batches <= GROUP_RUNS);
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    c->conf = conf;
    c->env = env;
    c->hooks = hooks;
    c->host = (struct sink_host){.arg = c, .complete = on_complete, .name = conf->name};
    c->group = calloc(1, sizeof *c->group);
    c->policy = calloc(1, sizeof *c->policy);
    c->sink = calloc(1, conf->sink->state_size);
    int rc = c->group && c->policy && c->sink ? make_loop(c, err)
                                              : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc == RN_OK) {
        struct policy_conf policy = {conf->opts->retry_min_ms, conf->opts->retry_max_ms,
                                     conf->opts->hold_retry_ms, (uint64_t)rn_clock_utc_ns()};
        policy_init(c->policy, &policy);
    }
    if (rc < 0) {
        release(c);
        return rc;
    }
    *out = c;
    return RN_OK;
}

void cursor_wake(struct cursor *c)
{
    rn_wake_send(c->wake);
}

void cursor_replay(struct cursor *c)
{
    atomic_store(&c->replay_asked, true);
    rn_wake_send(c->wake);
}

void cursor_stop(struct cursor *c)
{
    atomic_store(&c->stop, true);
    rn_wake_send(c->wake);
}

void cursor_join(struct cursor *c)
{
    if (c->started)
        pthread_join(c->thread, NULL);
    c->started = false;
}

void cursor_free(struct cursor *c)
{
    if (c)
        release(c);
}

struct cursor_shared *cursor_shared(struct cursor *c)
{
    return &c->shared;
}
