// The cursor runner on a real log, with sinks whose answers the test decides.
#include "bridge/cursors.h"
#include "bridge/deadletters.h"
#include "tests/support/log_fixture.h"

#include <runnel/text.h>
#include <stdatomic.h>
#include <time.h>

#include <cmocka.h>

#define WAIT_MS 20000

// ---- a sink that the test steers ---------------------------------------------------------------

// Shared with the worker: the mode is set before it runs, the counters are atomic.
struct steered {
    _Atomic int mode;         // enum mode
    _Atomic uint32_t answers; // RETRY that are left to give
    _Atomic uint32_t writes, flushes;
    _Atomic uint64_t points, sum; // values of field "i" taken
    _Atomic bool rewind_next;
    _Atomic uint32_t restarts; // that the next flushes notice, one each
    _Atomic int64_t settle_ms;
    _Atomic uint32_t settle_asked; // after each write: from then on a change is for the next one
    int64_t poison;                // value of "i" that it never takes
    size_t saved;                  // length of the state that it was opened with
};

enum mode { TAKE, RETRY_SOME, HOLD_ALL, POISONED, NEVER_ANSWER };

struct steered_state {
    struct steered *conf;
    const struct sink_host *host;
};

static int steered_open(void *state, const void *conf, struct rn_loop *loop,
                        const struct sink_host *host, struct rn_err *err)
{
    (void)loop;
    (void)err;
    struct steered_state *s = state;
    s->conf = *(struct steered *const *)conf;
    s->host = host;
    s->conf->saved = host->saved.len;
    return RN_OK;
}

static void steered_save(void *state, struct rn_buf *out)
{
    (void)state;
    rn_buf_text(out, "state");
}

static bool holds(const struct rn_run *const *runs, uint32_t n, int64_t value)
{
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t t = 0; t < runs[r]->grid->n; t++)
            if (runs[r]->grid->states[t] && runs[r]->grid->cells[t].i == value)
                return true;
    return false;
}

static void take(struct steered *c, const struct rn_run *const *runs, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t t = 0; t < runs[r]->grid->n; t++)
            if (runs[r]->grid->states[t]) {
                atomic_fetch_add(&c->points, 1);
                atomic_fetch_add(&c->sum, (uint64_t)runs[r]->grid->cells[t].i);
            }
}

static void steered_write(void *state, const struct rn_run *const *runs, uint32_t n)
{
    struct steered_state *s = state;
    struct steered *c = s->conf;
    struct sink_result result = {.outcome = SINK_DONE, .text = "steered"};
    atomic_fetch_add(&c->writes, 1);
    switch ((enum mode)atomic_load(&c->mode)) {
    case TAKE:
        break;
    case RETRY_SOME:
        if (atomic_load(&c->answers)) {
            atomic_fetch_sub(&c->answers, 1);
            result.outcome = SINK_RETRY;
        }
        break;
    case HOLD_ALL:
        result.outcome = SINK_HOLD;
        break;
    case POISONED:
        if (holds(runs, n, c->poison))
            result.outcome = SINK_POISON;
        break;
    case NEVER_ANSWER:
        return;
    }
    if (result.outcome == SINK_DONE)
        take(c, runs, n);
    result.rewind = atomic_exchange(&c->rewind_next, false);
    s->host->complete(s->host->arg, &result);
}

static void steered_flush(void *state)
{
    struct steered_state *s = state;
    uint32_t restarts = atomic_load(&s->conf->restarts);
    atomic_store(&s->conf->restarts, restarts ? restarts - 1 : 0);
    atomic_fetch_add(&s->conf->flushes, 1);
    s->host->complete(s->host->arg,
                      &(struct sink_result){.outcome = SINK_DONE, .rewind = restarts > 0});
}

static int64_t steered_settle(const void *state)
{
    struct steered *c = ((const struct steered_state *)state)->conf;
    int64_t settle_ms = atomic_load(&c->settle_ms);
    atomic_fetch_add(&c->settle_asked, 1);
    return settle_ms;
}

static void steered_close(void *state)
{
    (void)state;
}

static const struct rn_sink steered_sink = {
    .type = "steered",
    .state_size = sizeof(struct steered_state),
    .conf_size = sizeof(struct steered *),
    .promise = SINK_IDEMPOTENT,
    .open = steered_open,
    .write = steered_write,
    .flush = steered_flush,
    .save = steered_save,
    .settle_ms = steered_settle,
    .close = steered_close,
};

// ---- a bridge that has nothing but a log and cursors -------------------------------------------

struct bench {
    struct log_fixture fix;
    struct rn_loop *loop;
    struct rn_timer *poll;
    struct cursors *cursors;
    struct steered sink[2], *sink_ptr[2];
    struct cursor_conf conf[2];
    struct cursor_opts opts;
    uint32_t ncursors;
    uint32_t moved, refused;
    struct cursor_refusal refusal;
    bool (*until)(struct bench *b);
    int64_t give_up_ms;
    int64_t past_ms;
};

static void on_moved(void *arg, uint32_t cursor, uint64_t position)
{
    struct bench *b = arg;
    assert_true(cursor < cursors_count(b->cursors));
    assert_true(position <= log_head(b->fix.log));
    b->moved++;
}

static void on_refused(void *arg, const struct cursor_refusal *refusal)
{
    struct bench *b = arg;
    b->refused++;
    b->refusal = *refusal;
}

static void on_poll(void *arg)
{
    struct bench *b = arg;
    if (b->until(b) || rn_clock_mono_ms() > b->give_up_ms)
        rn_loop_stop(b->loop);
}

static void wait_for(struct bench *b, bool (*until)(struct bench *b), const char *what)
{
    b->until = until;
    b->give_up_ms = rn_clock_mono_ms() + WAIT_MS;
    rn_timer_start(b->poll, 1, 5);
    rn_loop_run(b->loop);
    rn_timer_stop(b->poll);
    if (!until(b)) {
        struct cursor_status s;
        for (uint32_t i = 0; i < cursors_count(b->cursors); i++) {
            cursors_status(b->cursors, i, &s);
            print_message("%s: state %d at %llu of %llu: %s\n", cursors_name(b->cursors, i),
                          s.state, (unsigned long long)s.position, (unsigned long long)s.head,
                          s.text);
        }
        fail_msg("did not happen: %s", what);
    }
}

static void start(struct bench *b)
{
    struct rn_err err;
    struct cursors_conf conf = {
        .folder = b->fix.folder,
        .log_id = log_id(b->fix.log),
        .log_head = log_head(b->fix.log),
        .time_past_ms = b->past_ms,
        .time_future_ms = 3600000,
        .schema_cache_bytes = 1 << 20,
        .dead_max_bytes = 16 << 20,
        .max_last_values = 100,
        .cursor = b->conf,
        .ncursors = b->ncursors,
    };
    struct cursors_callbacks callbacks = {b, on_moved, on_refused};
    fixture_ok(cursors_new(&b->cursors, &conf, b->loop, &callbacks, &err), &err);
}

static void restart(struct bench *b)
{
    cursors_free(b->cursors);
    start(b);
}

static int setup(void **state)
{
    struct rn_err err;
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    fixture_ok(rn_loop_new(&b->loop, &err), &err);
    fixture_ok(rn_timer_new(&b->poll, b->loop, on_poll, b, &err), &err);
    fixture_ok(rn_opt_defaults(cursor_opt_rows, cursor_opt_count, &b->opts, &err), &err);
    b->opts.gather_ms = 0;
    b->opts.retry_min_ms = 10;
    b->opts.retry_max_ms = 20;
    b->opts.hold_retry_ms = 30;
    b->past_ms = 86400000;
    b->ncursors = 2;
    for (int i = 0; i < 2; i++) {
        b->sink_ptr[i] = &b->sink[i];
        b->conf[i] = (struct cursor_conf){.name = i ? "second" : "first",
                                          .sink = &steered_sink,
                                          .sink_conf = &b->sink_ptr[i],
                                          .opts = &b->opts,
                                          .hold = i == 0};
    }
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    cursors_free(b->cursors);
    rn_timer_free(b->poll);
    rn_loop_free(b->loop);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b);
    return 0;
}

static int64_t now(void)
{
    return rn_clock_utc_ms() / 1000 * 1000;
}

static void fill(struct bench *b, uint32_t batches, uint32_t ticks, int64_t first)
{
    for (uint32_t i = 0; i < batches; i++)
        fixture_append(&b->fix, i % 2 ? "dev-b" : "dev-a", now() - 100000, ticks,
                       first + (int64_t)(i * ticks));
    uint64_t head = fixture_commit(&b->fix);
    if (b->cursors)
        cursors_wake(b->cursors, head);
}

static bool all_at_head(struct bench *b)
{
    for (uint32_t i = 0; i < cursors_count(b->cursors); i++)
        if (cursors_position(b->cursors, i) < log_head(b->fix.log))
            return false;
    return true;
}

static bool first_at_head(struct bench *b)
{
    return cursors_position(b->cursors, 1) == log_head(b->fix.log);
}

static bool verify_at_head(struct bench *b)
{
    return cursors_position(b->cursors, 0) == log_head(b->fix.log);
}

// ---- tests ------------------------------------------------------------------------------------

static void every_sink_gets_every_point_once_and_its_cursor_follows(void **state)
{
    struct bench *b = *state;
    fill(b, 300, 10, 0);
    start(b);
    fill(b, 300, 10, 3000);
    wait_for(b, all_at_head, "all at the head");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(atomic_load(&b->sink[i].points), 6000);
        assert_int_equal(atomic_load(&b->sink[i].sum), 6000 * 5999 / 2);
    }
    restart(b);
    fill(b, 1, 10, 6000);
    wait_for(b, all_at_head, "the new batch after a restart");
    assert_int_equal(atomic_load(&b->sink[0].points), 6010);
    struct cursors_totals totals;
    cursors_totals(b->cursors, &totals);
    assert_int_equal(totals.batches, 601);
    assert_int_equal(totals.samples, 6010 * FIXTURE_FIELDS);
    assert_int_equal(totals.refused, 0);
    assert_true(totals.bytes > 6010);
}

static bool second_is_held(struct bench *b)
{
    if (cursors_position(b->cursors, 0) < log_head(b->fix.log))
        return false;
    struct cursor_status s;
    cursors_status(b->cursors, 2, &s);
    return s.state == CURSOR_HELD && first_at_head(b);
}

static void a_sink_that_fails_holds_up_nobody_and_goes_on_where_it_was(void **state)
{
    struct bench *b = *state;
    atomic_store(&b->sink[1].mode, HOLD_ALL);
    start(b);
    fill(b, 10, 5, 0);
    wait_for(b, second_is_held, "the second is held, the first is done");
    struct cursor_status s;
    cursors_status(b->cursors, 2, &s);
    assert_string_equal(s.text, "steered");
    assert_int_equal(cursors_position(b->cursors, 2), 0);
    assert_int_equal(cursors_needed(b->cursors), log_head(b->fix.log));
    atomic_store(&b->sink[1].answers, 4);
    atomic_store(&b->sink[1].mode, RETRY_SOME);
    wait_for(b, all_at_head, "recovery");
    assert_int_equal(atomic_load(&b->sink[1].points), 50);
    cursors_status(b->cursors, 2, &s);
    assert_int_equal(s.state, CURSOR_OK);
    assert_string_equal(s.text, "");
}

static bool asked_to_write(struct bench *b)
{
    return atomic_load(&b->sink[0].writes) > 0;
}

static void stops_within_a_second_while_a_sink_does_not_answer(void **state)
{
    struct bench *b = *state;
    atomic_store(&b->sink[0].mode, NEVER_ANSWER);
    start(b);
    fill(b, 10, 5, 0);
    wait_for(b, verify_at_head, "verify is done");
    wait_for(b, asked_to_write, "a write that is never answered");
    int64_t began = rn_clock_mono_ms();
    cursors_free(b->cursors);
    assert_true(rn_clock_mono_ms() - began < 10000); // a busy machine's second
    atomic_store(&b->sink[0].mode, TAKE);
    start(b);
    wait_for(b, all_at_head, "what was out is written again");
    assert_int_equal(atomic_load(&b->sink[0].points), 50);
}

struct seen {
    int n;
    char line[200], reason[200], sink[40];
    enum dead_kind kind;
    size_t len;
    int64_t id;
};

static bool see(void *arg, const struct dead_letter *letter)
{
    struct seen *seen = arg;
    seen->n++;
    seen->kind = letter->kind;
    seen->len = letter->body.len;
    seen->id = letter->id;
    snprintf(seen->line, sizeof seen->line, "%.*s", (int)letter->body.len, letter->body.data);
    snprintf(seen->reason, sizeof seen->reason, "%s", letter->reason);
    snprintf(seen->sink, sizeof seen->sink, "%s", letter->sink);
    return true;
}

static struct deadletters *open_dead(struct bench *b)
{
    struct rn_err err;
    struct deadletters *dead;
    struct deadletters_conf conf = {b->fix.folder, 1 << 20, 0};
    fixture_ok(deadletters_open(&dead, &conf, &err), &err);
    return dead;
}

static bool letters_gone(struct bench *b)
{
    struct deadletters_counts counts = {0};
    struct deadletters *dead = open_dead(b);
    assert_int_equal(deadletters_counts(dead, &counts, NULL), RN_OK);
    deadletters_close(dead);
    return counts.letters == 0;
}

static bool see_attempts(void *arg, const struct dead_letter *letter)
{
    *(uint32_t *)arg += letter->attempts;
    return true;
}

static bool replay_failed(struct bench *b)
{
    uint32_t attempts = 0;
    struct rn_err err;
    struct deadletters *dead = open_dead(b);
    assert_int_equal(deadletters_list(dead, "", 0, 10, see_attempts, &attempts, &err), 1);
    deadletters_close(dead);
    return attempts == 1;
}

static void a_poison_point_is_dead_lettered_alone_and_can_be_replayed(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    b->sink[0].poison = 123;
    atomic_store(&b->sink[0].mode, POISONED);
    start(b);
    fill(b, 40, 10, 0);
    wait_for(b, all_at_head, "all but one are written");
    assert_int_equal(atomic_load(&b->sink[0].points), 399);
    assert_int_equal(atomic_load(&b->sink[0].sum), 399 * 400 / 2 - 123);
    struct deadletters *dead = open_dead(b);
    struct seen seen = {0};
    struct rn_err err;
    assert_int_equal(deadletters_list(dead, "first", 0, 10, see, &seen, &err), 1);
    char wanted[200];
    snprintf(wanted, sizeof wanted,
             "m,where=a\\ b\\,c\\=d i=123i,u=123u,f=123,b=true,t=\"t123\" %lld", 0LL);
    assert_memory_equal(seen.line, wanted, strlen(wanted) - 1);
    assert_string_equal(seen.reason, "steered");
    assert_int_equal(deadletters_list(dead, "second", 0, 10, see, &seen, &err), 0);

    // It fails again: it stays, with the attempt counted.
    assert_int_equal(deadletters_replay(dead, seen.id, NULL, &err), 1);
    cursors_replay(b->cursors);
    wait_for(b, replay_failed, "the replay fails");
    atomic_store(&b->sink[0].mode, TAKE);
    fill(b, 1, 1, 1000);
    wait_for(b, all_at_head, "the batch behind it");
    assert_int_equal(deadletters_list(dead, "", 0, 10, see, &seen, &err), 1);
    // Now it is taken.
    assert_int_equal(deadletters_replay(dead, 0, "first", &err), 1);
    cursors_replay(b->cursors);
    wait_for(b, letters_gone, "the letter is gone");
    assert_int_equal(atomic_load(&b->sink[0].points), 401);
    assert_int_equal(atomic_load(&b->sink[0].sum), 399 * 400 / 2 + 1000);
    deadletters_close(dead);
}

static void points_outside_the_time_window_are_dead_lettered_not_written(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    start(b);
    fixture_append(&b->fix, "dev-a", now() - 86400000 - 200000, 400, 0); // half are too old
    fixture_append(&b->fix, "dev-a", now() + 7200000, 3, 100);           // all are of the future
    cursors_wake(b->cursors, fixture_commit(&b->fix));
    wait_for(b, all_at_head, "all that may be written");
    uint64_t points = atomic_load(&b->sink[0].points);
    assert_in_range(points, 180, 200); // the window moves on while we test
    struct deadletters *dead = open_dead(b);
    struct seen seen = {0};
    struct rn_err err;
    assert_int_equal(deadletters_list(dead, "first", 0, 1000, see, &seen, &err), 403 - points);
    assert_string_equal(seen.reason, "its time is outside the window that is accepted");
    deadletters_close(dead);
}

// 64 fields of one tick, out of the time window, each a text of 65,535 quotes: 65 kB of batch,
// since all are the same, and more than 8 MB of line protocol.
static void append_longest_point(struct bench *b)
{
    enum { LONG = 8192, FIELDS = RN_BATCH_MAX_TEXT / LONG };
    static uint64_t work[RN_ENCODE_WORK / sizeof(uint64_t)];
    static struct rn_field fields[FIELDS];
    static char names[FIELDS][12];
    static uint8_t text[LONG];
    const struct rn_coding with = {0};
    struct rn_group group = fixture_group[0];
    struct rn_err err;
    struct rn_grid grid;
    struct rn_buf body;
    memset(text, '"', sizeof text);
    size_t size = rn_grid_bytes(1, FIELDS, FIELDS * LONG);
    void *storage = malloc(size);
    assert_non_null(storage);
    fixture_ok(rn_grid_init(&grid, 1, FIELDS, FIELDS * LONG, storage, size, &err), &err);
    grid.times[0] = now() - 2 * 86400000;
    for (uint32_t i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "t%u", i);
        fields[i] = (struct rn_field){.name = rn_span_text(names[i]), .type = RN_TEXT, .mul = 1};
        fixture_ok(rn_grid_set_text(&grid, i, 0, (struct rn_span){text, sizeof text}), &err);
    }
    group.fields = fields;
    group.nfields = FIELDS;
    struct rn_schema schema = b->fix.schema, before = schema;
    schema.groups = &group;
    schema.ncolumns = FIELDS;
    b->fix.schema = schema;
    rn_buf_init(&body, RN_BATCH_MAX_BYTES);
    fixture_ok(
        rn_batch_encode_as(RN_ENC_RANGE, &schema, 1, &with, &grid, work, sizeof work, &body, &err),
        &err);
    fixture_append_body(&b->fix, "dev-a", rn_buf_span(&body));
    b->fix.schema = before;
    rn_buf_release(&body);
    free(storage);
}

static void the_longest_point_that_there_can_be_is_dead_lettered_too(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    append_longest_point(b);
    fill(b, 1, 10, 0);
    start(b);
    wait_for(b, all_at_head, "it holds up nobody");
    assert_int_equal(atomic_load(&b->sink[0].points), 10);
    struct deadletters *dead = open_dead(b);
    struct seen seen = {0};
    struct rn_err err;
    assert_int_equal(deadletters_list(dead, "first", 0, 10, see, &seen, &err), 1);
    assert_in_range(seen.len, 2 * RN_BATCH_MAX_TEXT, 3 * RN_BATCH_MAX_TEXT);
    deadletters_close(dead);
}

static void a_batch_that_does_not_decode_is_refused_kept_and_told_again_after_a_restart(
    void **state)
{
    struct bench *b = *state;
    static const uint8_t nonsense[] = {0x01, 0x00, 0x01, 0x00, 0x41, 0xff, 0xf6};
    start(b);
    fill(b, 3, 5, 0);
    fixture_append_body(&b->fix, "dev-x", (struct rn_span){nonsense, sizeof nonsense});
    fill(b, 3, 5, 15);
    wait_for(b, all_at_head, "the others pass");
    assert_int_equal(b->refused, 1);
    assert_string_equal(b->refusal.dev, "dev-x");
    assert_int_equal(b->refusal.seq, 4);
    assert_int_equal(b->refusal.position, 4);
    assert_int_equal(atomic_load(&b->sink[0].points), 30);
    struct deadletters *dead = open_dead(b);
    struct seen seen = {0};
    struct rn_err err;
    assert_int_equal(deadletters_list(dead, "verify", 0, 10, see, &seen, &err), 1);
    assert_int_equal(seen.kind, DEAD_BATCH);
    assert_int_equal(seen.len, sizeof nonsense);
    assert_int_equal(deadletters_replay(dead, seen.id, NULL, &err), RN_EUNSUPPORTED);
    deadletters_close(dead);
    restart(b);
    wait_for(b, all_at_head, "told again");
    assert_int_equal(b->refused, 2);
    // Whoever asks for the positions before the loop's turn hears of the refusals below them.
    restart(b);
    struct cursor_status status = {0};
    for (int i = 0; i < 30000 && status.state == CURSOR_STARTING; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        cursors_status(b->cursors, 0, &status);
    }
    assert_int_equal(status.position, 7);
    assert_int_equal(b->refused, 2);
    cursors_hear(b->cursors);
    assert_int_equal(b->refused, 3);
}

static bool both_flushed(struct bench *b)
{
    return all_at_head(b) && atomic_load(&b->sink[0].flushes) > 0;
}

// Else a file that was begun and written to would be taken for somebody else's after a crash.
static void the_state_of_a_sink_is_committed_before_it_first_writes(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    atomic_store(&b->sink[0].mode, NEVER_ANSWER);
    fill(b, 1, 10, 0);
    start(b);
    wait_for(b, asked_to_write, "a write that is never answered");
    assert_int_equal(b->sink[0].saved, 0);
    cursors_free(b->cursors);
    b->cursors = NULL;
    atomic_store(&b->sink[0].mode, TAKE);
    start(b);
    wait_for(b, all_at_head, "all at the head");
    assert_int_equal(b->sink[0].saved, 5);
    assert_int_equal(atomic_load(&b->sink[0].points), 10);
}

static bool twenty_written(struct bench *b)
{
    return atomic_load(&b->sink[0].points) >= 20 && atomic_load(&b->sink[0].settle_asked);
}

static void a_database_that_may_have_lost_what_it_took_is_written_again(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    atomic_store(&b->sink[0].settle_ms, 3600000);
    b->opts.max_batches = 4;
    start(b);
    fill(b, 4, 5, 0);
    wait_for(b, twenty_written, "the first four");
    assert_int_equal(cursors_position(b->cursors, 1), 0);
    atomic_store(&b->sink[0].settle_ms, 50);
    atomic_store(&b->sink[0].rewind_next, true);
    fill(b, 4, 5, 20);
    wait_for(b, both_flushed, "settled");
    // 20 points, 20 with the rewind, then all 40 again.
    assert_int_equal(atomic_load(&b->sink[0].points), 80);
    struct cursor_status s;
    cursors_status(b->cursors, 1, &s);
    assert_int_equal(s.rewinds, 1);
}

// Restarts one after the other are waited out; something that looks like one for ever, such as a
// proxy that closes each connection, does not keep the cursor from moving.
static void restarts_in_a_row_are_waited_out_but_not_for_ever(void **state)
{
    struct bench *b = *state;
    struct cursor_status s;
    b->ncursors = 1;
    atomic_store(&b->sink[0].settle_ms, 0);
    atomic_store(&b->sink[0].restarts, 6);
    start(b);
    fill(b, 2, 5, 0);
    wait_for(b, all_at_head, "six restarts");
    cursors_status(b->cursors, 1, &s);
    assert_int_equal(s.rewinds, 6);
    assert_int_equal(atomic_load(&b->sink[0].points), 70); // each time all of them
    atomic_store(&b->sink[0].restarts, 1000000);
    fill(b, 2, 5, 10);
    wait_for(b, all_at_head, "restarts without end");
    cursors_status(b->cursors, 1, &s);
    assert_in_range(s.rewinds, 6 + 8, 6 + 8 * 2); // the two batches may come one after the other
}

static void a_cursor_of_another_log_begins_again_and_a_gap_is_counted(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    start(b);
    fill(b, 5, 2, 0);
    wait_for(b, all_at_head, "the first log");
    cursors_free(b->cursors);
    b->cursors = NULL;
    fixture_close_log(&b->fix);
    char path[128];
    struct rn_err err;
    snprintf(path, sizeof path, "%s/log", b->fix.folder);
    fixture_ok(rn_remove_tree(path, &err), &err);
    fixture_open_log(&b->fix);
    fill(b, 2, 2, 100);
    start(b);
    wait_for(b, all_at_head, "the second log");
    assert_int_equal(atomic_load(&b->sink[0].points), 14);
    struct cursor_status s;
    cursors_status(b->cursors, 1, &s);
    assert_int_equal(s.gap_rows, 0);
}

static void tail_shows_batches_and_a_slow_subscriber_is_told_what_it_lost(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    struct tail *all, *one;
    b->ncursors = 0;
    start(b);
    fixture_ok(tail_subscribe(b->cursors, "", "", NULL, &all, &err), &err);
    fixture_ok(tail_subscribe(b->cursors, "m", "dev-b", NULL, &one, &err), &err);
    fill(b, 600, 1, 0);
    wait_for(b, all_at_head, "verify is through");
    uint32_t texts = 0;
    for (struct cursors_text *t = tail_next(all); t; t = tail_next(all)) {
        if (texts++ == 0)
            assert_memory_equal(t->data, "{\"", 2);
        assert_int_equal(t->data[t->len - 1], '\n');
        cursors_text_free(t);
    }
    assert_int_equal(texts, 256);
    fill(b, 1, 1, 600);
    wait_for(b, all_at_head, "one more");
    struct cursors_text *t = tail_next(all);
    assert_non_null(t);
    assert_int_equal(t->lost, 600 - 256);
    cursors_text_free(t);
    t = tail_next(one);
    assert_non_null(t);
    assert_non_null(strstr(t->data, "dev-b"));
    cursors_text_free(t);
    tail_unsubscribe(one);
    tail_unsubscribe(all);
}

static struct rn_queue *replies;

static bool answered(struct bench *b)
{
    (void)b;
    return rn_queue_count(replies) > 0;
}

static void verify_knows_the_last_values_of_each_device(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    b->ncursors = 0;
    start(b);
    fixture_ok(rn_queue_new(&replies, 10, 1 << 20, NULL, cursors_text_free, &err), &err);
    fill(b, 4, 10, 0);
    wait_for(b, all_at_head, "verify is through");
    fixture_ok(cursors_ask(b->cursors, "dev-b", replies, b, &err), &err);
    wait_for(b, answered, "an answer");
    struct cursors_text *t = rn_queue_pop(replies);
    assert_ptr_equal(t->token, b);
    assert_non_null(strstr(t->data, "\"device\":\"dev-b\",\"batches\":2,\"samples\":100"));
    assert_non_null(strstr(t->data, "\"fields\":{\"i\":39,\"u\":39,\"f\":39"));
    cursors_text_free(t);
    fixture_ok(cursors_ask(b->cursors, "nobody", replies, NULL, &err), &err);
    wait_for(b, answered, "an answer");
    t = rn_queue_pop(replies);
    assert_string_equal(t->data, "null");
    cursors_text_free(t);
    cursors_free(b->cursors);
    b->cursors = NULL;
    rn_queue_free(replies);
}

static void a_damaged_cursor_file_is_put_aside_and_the_cursor_begins_again(void **state)
{
    struct bench *b = *state;
    b->ncursors = 1;
    start(b);
    fill(b, 3, 2, 0);
    wait_for(b, all_at_head, "first time");
    cursors_free(b->cursors);
    char path[128];
    snprintf(path, sizeof path, "%s/cursor/first.db", b->fix.folder);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++)
        fputc('x', file);
    fclose(file);
    start(b);
    wait_for(b, all_at_head, "second time");
    assert_int_equal(atomic_load(&b->sink[0].points), 12);
}

static void refuses_names_that_are_no_file_names(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    static const char *const bad[] = {"", "../x", "verify", "A", "-a", "second", "a/b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b->conf[0].name = bad[i];
        struct cursors_conf conf = {.folder = b->fix.folder, .cursor = b->conf, .ncursors = 2};
        struct cursors_callbacks callbacks = {b, on_moved, on_refused};
        assert_int_equal(cursors_new(&b->cursors, &conf, b->loop, &callbacks, &err), RN_EINVAL);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_sink_gets_every_point_once_and_its_cursor_follows),
        TEST(a_sink_that_fails_holds_up_nobody_and_goes_on_where_it_was),
        TEST(stops_within_a_second_while_a_sink_does_not_answer),
        TEST(a_poison_point_is_dead_lettered_alone_and_can_be_replayed),
        TEST(points_outside_the_time_window_are_dead_lettered_not_written),
        TEST(the_longest_point_that_there_can_be_is_dead_lettered_too),
        TEST(a_batch_that_does_not_decode_is_refused_kept_and_told_again_after_a_restart),
        TEST(the_state_of_a_sink_is_committed_before_it_first_writes),
        TEST(a_database_that_may_have_lost_what_it_took_is_written_again),
        TEST(restarts_in_a_row_are_waited_out_but_not_for_ever),
        TEST(a_cursor_of_another_log_begins_again_and_a_gap_is_counted),
        TEST(tail_shows_batches_and_a_slow_subscriber_is_told_what_it_lost),
        TEST(verify_knows_the_last_values_of_each_device),
        TEST(a_damaged_cursor_file_is_put_aside_and_the_cursor_begins_again),
        TEST(refuses_names_that_are_no_file_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
