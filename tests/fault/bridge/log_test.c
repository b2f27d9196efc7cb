// The log on disk: what was committed survives kill -9 at any moment, torn files are put aside,
// full budgets refuse, and readers see every row once and in order whatever the writer does
// meanwhile.
#include "bridge/log.h"
#include "tests/support/faults.h"

#include <errno.h>
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/rand.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    char folder[64];
    struct log_conf conf;
    uint8_t body[256], schema[256];
    size_t body_len, schema_len;
    uint8_t hash[RN_SHA256_BYTES]; // of the schema
};

// One schema of two integer columns, one tick; the first value is the caller's.
static struct rn_span make_body(struct bench *b, int64_t value)
{
    static const struct rn_field fields[] = {{.name = {(const uint8_t *)"a", 1}, .mul = 1},
                                             {.name = {(const uint8_t *)"b", 1}, .mul = 1}};
    static const struct rn_series series[] = {{0}};
    static const struct rn_group groups[] = {{.measurement = {(const uint8_t *)"m", 1},
                                              .every = 1,
                                              .fields = fields,
                                              .nfields = 2,
                                              .series = series,
                                              .nseries = 1}};
    static const struct rn_schema schema = {
        .unit_ns = 1000000000, .step = 10, .groups = groups, .ngroups = 1, .ncolumns = 2};
    static uint64_t storage[512];
    struct rn_grid grid;
    struct rn_err err;
    struct rn_buf buf;
    assert_int_equal(rn_grid_init(&grid, 1, 2, 0, storage, sizeof storage, &err), RN_OK);
    grid.times[0] = 1700000000;
    for (uint32_t c = 0; c < 2; c++) {
        grid.cells[c].i = c ? -5 : value;
        grid.states[c] = RN_CELL_SCALED;
    }
    rn_buf_init_fixed(&buf, b->body, sizeof b->body);
    assert_int_equal(rn_batch_encode_body(&schema, 1, &grid, &buf, &err), RN_OK);
    b->body_len = buf.len;
    struct rn_buf object;
    rn_buf_init_fixed(&object, b->schema, sizeof b->schema);
    assert_int_equal(rn_schema_encode(&schema, &object, &err), RN_OK);
    b->schema_len = object.len;
    rn_sha256(b->hash, object.data, object.len);
    return rn_buf_span(&buf);
}

static int setup(void **state)
{
    static struct bench bench;
    bench = (struct bench){.folder = "/tmp/runnel-log-XXXXXX"};
    if (!mkdtemp(bench.folder))
        return -1;
    bench.conf = (struct log_conf){.folder = bench.folder,
                                   .segment_bytes = 65536,
                                   .cursor_bytes = 64 << 20,
                                   .history_bytes = 64 << 20};
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    return rn_remove_tree(b->folder, &err);
}

static struct log *open_log(struct bench *b)
{
    struct log *log;
    struct rn_err err;
    if (log_open(&log, &b->conf, &err) != RN_OK)
        fail_msg("%s", err.text);
    return log;
}

static int append(struct bench *b, struct log *log, uint64_t seq, const char *dev)
{
    struct rn_err err;
    uint64_t position;
    int64_t schema = 0;
    struct rn_span body = make_body(b, (int64_t)seq);
    int rc =
        log_put_object(log, b->hash, (struct rn_span){b->schema, b->schema_len}, &schema, &err);
    if (rc)
        return rc;
    struct log_row row = {.dev = dev,
                          .install = 9,
                          .seq = seq,
                          .type = 'm',
                          .received_ms = 1700000000000 + (int64_t)seq,
                          .schema = schema,
                          .crc = rn_crc32c(0, body.data, body.len),
                          .body = body};
    return log_append(log, &row, &position, &err);
}

static void fill(struct bench *b, struct log *log, uint64_t from, uint64_t to, uint32_t group)
{
    struct rn_err err;
    for (uint64_t seq = from; seq <= to; seq++) {
        assert_int_equal(append(b, log, seq, seq % 2 ? "odd" : "even"), RN_OK);
        if (seq % group == 0 || seq == to)
            assert_int_equal(log_commit(log, &err), RN_OK);
    }
}

// Reads everything after `after`: rows must be gapless from `next` on and decode to their seq.
static uint64_t read_all(struct log_reader *reader, uint64_t after)
{
    struct log_run *runs[100];
    struct rn_err err;
    int n;
    while ((n = log_read(reader, after, 100, 1 << 20, runs, &err)) > 0) {
        for (int i = 0; i < n; i++) {
            const struct rn_run *run = &runs[i]->run;
            assert_int_equal(run->position, after + 1);
            assert_int_equal(run->seq, run->position);
            assert_null(runs[i]->error);
            assert_int_equal(run->grid->cells[0].i, (int64_t)run->seq);
            assert_int_equal(run->schema->ncolumns, 2);
            assert_int_equal(runs[i]->crc, rn_crc32c(0, run->body.data, run->body.len));
            after = run->position;
            log_run_free(runs[i]);
        }
    }
    if (n < 0)
        fail_msg("%s", err.text);
    return after;
}

static void a_reader_follows_the_writer_through_many_segments(void **state)
{
    struct bench *b = *state;
    struct log *log = open_log(b);
    struct log_reader *reader;
    struct rn_err err;
    uint64_t after = 0;
    assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
    assert_int_equal(read_all(reader, 0), 0);
    for (uint64_t seq = 0; seq < 5000; seq += 250) {
        fill(b, log, seq + 1, seq + 250, 50);
        after = read_all(reader, after);
        assert_int_equal(after, seq + 250);
    }
    assert_int_equal(log_head(log), 5000);
    assert_true(log_bytes(log) > 3 * 65536);
    log_close(log);
    assert_int_equal(read_all(reader, 0), 5000); // and again from the beginning
    log_reader_close(reader);
}

static void what_is_not_committed_is_not_seen_and_can_be_taken_back(void **state)
{
    struct bench *b = *state;
    struct log *log = open_log(b);
    struct log_reader *reader;
    struct rn_err err;
    fill(b, log, 1, 10, 10);
    assert_int_equal(append(b, log, 999, "odd"), RN_OK);
    assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
    assert_int_equal(read_all(reader, 0), 10);
    log_rollback(log);
    fill(b, log, 11, 20, 10);
    assert_int_equal(read_all(reader, 10), 20);
    log_reader_close(reader);
    log_close(log);
}

// The child commits and then says so through a pipe; it is killed at a random moment.
static void a_writer_killed_at_any_moment_loses_nothing_committed(void **state)
{
    struct bench *b = *state;
    struct rn_rand rand;
    const char *given = getenv("RN_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 7;
    uint64_t head = 0, id = 0;
    printf("seed %llu (RN_SEED)\n", (unsigned long long)seed);
    rn_rand_init(&rand, seed);
    for (int round = 0; round < 12; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0) {
            struct log *log = open_log(b);
            struct rn_err err;
            for (uint64_t seq = log_head(log) + 1;; seq++) {
                if (append(b, log, seq, "odd") < 0 || (seq % 7 == 0 && log_commit(log, &err) < 0))
                    _exit(1);
                uint64_t committed = log_head(log);
                if (seq % 7 == 0 && write(pipes[1], &committed, sizeof committed) < 0)
                    _exit(1);
            }
        }
        close(pipes[1]);
        uint64_t last = head, told;
        int64_t limit = 50 + (int64_t)rn_rand_below(&rand, 400);
        for (int64_t i = 0; i < limit && read(pipes[0], &told, sizeof told) == sizeof told; i++)
            last = told;
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(pipes[0], &told, sizeof told) == sizeof told)
            last = told;
        close(pipes[0]);
        struct log *log = open_log(b);
        struct log_reader *reader;
        struct rn_err err;
        assert_true(log_head(log) >= last);
        assert_string_equal(log_quarantined(log), "");
        assert_true(!id || id == log_id(log));
        id = log_id(log);
        head = log_head(log);
        log_close(log);
        assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
        assert_int_equal(read_all(reader, 0), head);
        log_reader_close(reader);
    }
    assert_true(head > 1000);
}

static void damage(const struct bench *b, const char *name, long at, const char *bytes, long cut)
{
    char path[160];
    snprintf(path, sizeof path, "%s/log/%s", b->folder, name);
    if (cut >= 0)
        assert_int_equal(truncate(path, cut), 0);
    FILE *file = bytes ? fopen(path, "r+b") : NULL;
    if (!file)
        return;
    fseek(file, at, SEEK_SET);
    fwrite(bytes, 1, strlen(bytes), file);
    fclose(file);
}

static void a_damaged_newest_segment_is_put_aside_and_positions_go_on(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *bytes;
        long at, cut;
    } harm[] = {{"this is no database any more", 0, -1},
                {"garbage in the second page garbage in the second page", 4096, -1},
                {NULL, 0, 5000},
                {NULL, 0, 100}};
    for (size_t i = 0; i < sizeof harm / sizeof harm[0]; i++) {
        struct log *log = open_log(b);
        uint64_t id = log_id(log), before = log_head(log);
        char name[64];
        fill(b, log, before + 1, before + 200, 20);
        uint64_t first = log_tail(log), head = log_head(log);
        log_close(log);
        snprintf(name, sizeof name, "%019llu.db", (unsigned long long)first);
        damage(b, name, harm[i].at, harm[i].bytes, harm[i].cut);
        log = open_log(b);
        assert_true(log_quarantined(log)[0]);
        assert_true(log_id(log) != id);
        assert_true(log_head(log) >= head);
        fill(b, log, log_head(log) + 1, log_head(log) + 5, 5);
        log_close(log);
        struct rn_err err;
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
        b = *state;
        (void)err;
    }
}

struct seen {
    uint64_t saved, rows, last;
};

static int see_saved(void *arg, const char *dev, struct rn_span state)
{
    struct seen *seen = arg;
    assert_string_equal(dev, "dev");
    assert_int_equal(state.len, 8);
    memcpy(&seen->saved, state.data, 8);
    return RN_OK;
}

static int see_row(void *arg, const struct log_head_row *row)
{
    struct seen *seen = arg;
    assert_true(row->position > seen->last);
    seen->last = row->position;
    seen->rows++;
    return RN_OK;
}

static void see_head(void *arg, const struct log_head_row *row)
{
    assert_int_equal(see_row(arg, row), RN_OK);
}

// Gaps are allowed where rows were destroyed; order and content are not to suffer.
static void a_damaged_page_of_an_old_segment_costs_its_rows_only(void **state)
{
    struct bench *b = *state;
    struct log *log = open_log(b);
    struct log_reader *reader;
    struct log_run *runs[100];
    struct rn_err err;
    struct seen heads = {0};
    uint64_t after = 0, rows = 0;
    int n;
    char name[64], junk[2049];
    memset(junk, 0xff, sizeof junk - 1);
    junk[sizeof junk - 1] = 0;
    fill(b, log, 1, 3000, 10);
    snprintf(name, sizeof name, "%019llu.db", 1ull);
    damage(b, name, 8 * 4096, junk, -1);
    assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
    while ((n = log_read(reader, after, 100, 1 << 20, runs, &err)) > 0)
        for (int i = 0; i < n; i++) {
            assert_true(runs[i]->run.position > after);
            assert_int_equal(runs[i]->run.seq, runs[i]->run.position);
            after = runs[i]->run.position;
            rows++;
            log_run_free(runs[i]);
        }
    assert_int_equal(n, 0);
    assert_int_equal(after, 3000);
    assert_in_range(rows, 2500, 2999);
    while (log_heads(log, heads.last, 3000, 64, &heads, see_head, &err) > 0)
        ;
    assert_int_equal(heads.last, 3000);
    assert_in_range(heads.rows, 2500, 2999);
    log_reader_close(reader);
    log_close(log);
}

static void a_full_budget_refuses_until_cursors_have_moved(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    b->conf.cursor_bytes = 200000;
    b->conf.history_bytes = 0;
    struct log *log = open_log(b);
    uint64_t seq = 0;
    while (!log_full(log)) {
        fill(b, log, seq + 1, seq + 100, 100);
        seq += 100;
        assert_true(log_retain(log, 0, 0, &err) == 0);
        assert_true(seq < 100000);
    }
    assert_int_equal(append(b, log, seq + 1, "odd"), RN_ENOSPC);
    int64_t bytes = log_bytes(log);
    assert_true(log_retain(log, seq, 0, &err) > 0); // everything has been read
    assert_false(log_full(log));
    assert_true(log_bytes(log) < bytes);
    assert_true(log_tail(log) > 1);
    fill(b, log, seq + 1, seq + 10, 10);
    log_close(log);
}

static void retention_keeps_what_a_cursor_needs_and_what_history_allows(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    struct log *log = open_log(b);
    fill(b, log, 1, 6000, 100);
    b->conf.history_bytes = 0;
    log_close(log);
    log = open_log(b);
    assert_int_equal(log_retain(log, 0, 0, &err), 0);
    assert_true(log_retain(log, 3000, 0, &err) > 0);
    assert_true(log_tail(log) <= 3001);
    assert_true(log_tail(log) > 1);
    struct log_reader *reader;
    assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
    assert_int_equal(read_all(reader, log_tail(log) - 1), 6000);
    struct log_run *run;
    assert_int_equal(log_read(reader, 0, 1, 1000, &run, &err), 1); // a gap shows in the position
    assert_int_equal(run->run.position, log_tail(log));
    log_run_free(run);
    log_reader_close(reader);
    log_close(log);
}

struct saver {
    struct log *log;
    bool fails;
};

static int save(void *arg,
                int (*put)(void *to, const char *dev, struct rn_span state, struct rn_err *err),
                void *to, struct rn_err *err)
{
    const struct saver *saver = arg;
    uint64_t head = log_head(saver->log);
    if (saver->fails)
        return rn_fail(err, RN_ENOSPC, "no room");
    return put(to, "dev", (struct rn_span){(const uint8_t *)&head, sizeof head}, err);
}

static void replay_gives_the_saved_state_and_the_rows_after_it(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    struct log *log = open_log(b);
    struct saver saver = {.log = log};
    log_on_seal(log, &(struct log_saver){&saver, save});
    fill(b, log, 1, 3000, 10);
    log_close(log);
    log = open_log(b);
    struct seen seen = {0};
    assert_int_equal(log_replay(log, &seen, see_saved, see_row, &err), RN_OK);
    assert_true(seen.saved > 0);
    assert_int_equal(seen.saved + seen.rows, 3000);
    struct seen heads = {0};
    uint64_t at = 100;
    heads.last = at;
    while (log_heads(log, at, 2900, 64, &heads, see_head, &err) > 0)
        at = heads.last;
    assert_int_equal(heads.rows, 2800);
    assert_int_equal(at, 2900);
    log_close(log);
}

static void segment_name(const struct bench *b, uint64_t first, char out[128])
{
    snprintf(out, 128, "%s/log/%019llu.db", b->folder, (unsigned long long)first);
}

// Killed while there is no room for the next segment: the last rows are in no saved state.
static void rows_that_a_sealed_segment_took_since_are_replayed(void **state)
{
    struct bench *b = *state;
    char name[128];
    struct log *log = open_log(b);
    struct saver saver = {.log = log};
    log_on_seal(log, &(struct log_saver){&saver, save});
    uint64_t seq = 0;
    for (; log_bytes(log) < b->conf.segment_bytes + 8192; seq++) {
        segment_name(b, seq + 2, name); // no file can be made in its place
        assert_int_equal(mkdir(name, 0700), 0);
        fill(b, log, seq + 1, seq + 1, 1);
        assert_int_equal(rmdir(name), 0);
    }
    saver.fails = true;
    fill(b, log, seq + 1, seq + 3, 1);
    log_close(log);
    log = open_log(b);
    struct seen seen = {0};
    assert_int_equal(log_replay(log, &seen, see_saved, see_row, NULL), RN_OK);
    assert_int_equal(seen.saved, seq);
    assert_int_equal(seen.rows, 3);
    assert_int_equal(seen.last, seq + 3);
    log_close(log);
}

// ---- a group that an error undoes --------------------------------------------------------------

struct grouped {
    uint64_t seq[8]; // of what is in the log, by position
    uint64_t n, committed;
};

// Bodies of several pages: their appending needs memory and reads the file.
static bool append_large(struct bench *b, struct log *log, struct grouped *g, uint64_t seq)
{
    static uint8_t body[20000];
    uint64_t position;
    int64_t schema;
    if (log_find_object(log, b->hash, &schema, NULL) != RN_OK &&
        log_put_object(log, b->hash, (struct rn_span){b->schema, b->schema_len}, &schema, NULL) < 0)
        return false;
    struct log_row row = {.dev = "dev",
                          .install = 9,
                          .seq = seq,
                          .type = 'm',
                          .schema = schema,
                          .body = {body, sizeof body}};
    if (log_append(log, &row, &position, NULL) < 0)
        return false;
    assert_int_equal(position, g->n + 1);
    g->seq[g->n++] = seq;
    return true;
}

static void commit_group(struct log *log, struct grouped *g)
{
    if (log_commit(log, NULL) == RN_OK)
        g->committed = g->n;
    g->n = g->committed;
    assert_int_equal(log_head(log), g->committed);
}

static void see_grouped(void *arg, const struct log_head_row *row)
{
    const struct grouped *g = arg;
    assert_in_range(row->position, 1, g->committed);
    assert_int_equal(row->seq, g->seq[row->position - 1]);
}

// The nth call fails while the second of three is appended; nothing may come of a group but all of
// it, or the whole group is refused.
static bool lose_a_group(struct bench *b, unsigned what, long nth, int error, uint64_t before)
{
    struct grouped g = {0};
    struct log *log = open_log(b);
    (void)make_body(b, 1);
    if (before) {
        assert_true(append_large(b, log, &g, 1));
        commit_group(log, &g);
        assert_int_equal(g.committed, 1);
    }
    if (before == 2)
        assert_true(append_large(b, log, &g, 2));
    faults_arm(what, nth, error);
    (void)append_large(b, log, &g, 3);
    bool met = faults_disarm();
    (void)append_large(b, log, &g, 4);
    commit_group(log, &g);
    assert_true(append_large(b, log, &g, 5)); // and it goes on
    commit_group(log, &g);
    assert_int_equal(g.committed, g.n);
    assert_int_equal(g.seq[g.n - 1], 5);
    log_close(log);
    log = open_log(b);
    assert_string_equal(log_quarantined(log), "");
    assert_int_equal(log_head(log), g.committed);
    assert_int_equal(log_heads(log, 0, RN_ID_MAX, 10, &g, see_grouped, NULL), g.committed);
    log_close(log);
    return met;
}

static void a_group_that_an_error_undoes_is_refused_whole(void **state)
{
    struct bench *b = *state;
    static const struct {
        unsigned what;
        int error;
    } kinds[] = {{FAULT_SQL, 0}, {FAULT_READ, EIO}, {FAULT_WRITE, ENOSPC}, {FAULT_ALLOC, 0}};
    b->conf.segment_bytes = 1 << 20;
    long faults = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (uint64_t before = 0; before < 3; before++) {
            bool met = true;
            for (long n = 1; met; n++) {
                met = lose_a_group(b, kinds[i].what, n, kinds[i].error, before);
                faults += met;
                assert_int_equal(teardown(state), 0);
                struct log_conf conf = b->conf;
                assert_int_equal(setup(state), 0);
                conf.folder = b->conf.folder;
                b->conf = conf;
            }
        }
    assert_true(faults > 10);
}

// The last leaf of the rows' tree: what is behind it are the pages of the index.
static void damage_last_rows(const char *path)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    long last = 0;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    for (long at = 4096; at < size; at += 4096) {
        fseek(file, at, SEEK_SET);
        if (fgetc(file) == 0x0d) // fileformat2.html, 1.6: a leaf of a table
            last = at;
    }
    assert_true(last > 4 * 4096);
    fseek(file, last, SEEK_SET);
    for (int i = 0; i < 4096; i++)
        fputc(0xff, file);
    fclose(file);
}

// Its rows are in the saved state: they need not be read at all.
static void a_damaged_end_of_a_sealed_segment_keeps_no_bridge_from_starting(void **state)
{
    struct bench *b = *state;
    char name[128];
    struct log *log = open_log(b);
    struct saver saver = {.log = log};
    struct rn_err err;
    log_on_seal(log, &(struct log_saver){&saver, save});
    uint64_t seq = 0;
    while (log_bytes(log) < b->conf.segment_bytes + 8192) {
        fill(b, log, seq + 1, seq + 10, 10);
        seq += 10;
    }
    log_close(log);
    segment_name(b, 1, name);
    damage_last_rows(name);
    log = open_log(b);
    struct seen seen = {0};
    if (log_replay(log, &seen, see_saved, see_row, &err) != RN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(seen.saved + seen.rows, seq);
    log_close(log);
}

// Whatever fails while the next segment is made, its rows come later, and are found.
static void a_segment_that_could_not_be_made_hides_no_rows(void **state)
{
    struct bench *b = *state;
    static const unsigned kinds[] = {FAULT_WRITE, FAULT_OPEN};
    b->conf.segment_bytes = 4096; // every commit seals
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool met = true;
        for (long n = 1; met; n++) {
            struct log *log = open_log(b);
            struct log_reader *reader;
            struct seen heads = {0};
            assert_int_equal(append(b, log, 1, "odd"), RN_OK);
            faults_arm(kinds[i], n, ENOSPC);
            bool stored = log_commit(log, NULL) == RN_OK;
            met = faults_disarm();
            if (stored) {
                fill(b, log, 2, 3, 2);
                assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, NULL), RN_OK);
                assert_int_equal(read_all(reader, 0), 3);
                log_reader_close(reader);
                log_close(log);
                log = open_log(b);
                assert_int_equal(log_head(log), 3);
                while (log_heads(log, heads.last, 3, 64, &heads, see_head, NULL) > 0)
                    ;
                assert_int_equal(heads.rows, 3);
            }
            log_close(log);
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
            b->conf.segment_bytes = 4096;
        }
    }
}

// Two segments; the first is sealed and holds positions 1 to *upto.
static void two_segments(struct bench *b, uint64_t *upto, uint64_t *head)
{
    struct log *log = open_log(b);
    struct saver saver = {.log = log};
    log_on_seal(log, &(struct log_saver){&saver, save});
    for (*head = *upto = 0; *head < *upto + 50 || !*upto; *head += 10) {
        int64_t bytes = log_bytes(log);
        fill(b, log, *head + 1, *head + 10, 10);
        if (!*upto && log_bytes(log) > bytes + 16384) // the index, the next file
            *upto = *head + 10;
    }
    log_close(log);
}

static void a_sealed_segment_that_cannot_be_opened_is_put_aside(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *bytes;
        long at, cut;
    } harm[] = {{"this is no database any more", 0, -1},
                {"garbage in the schema garbage in the schema garbage", 100, -1},
                {NULL, 0, 0},
                {NULL, 0, 100}};
    for (size_t i = 0; i < sizeof harm / sizeof harm[0]; i++) {
        uint64_t upto, head;
        struct seen seen = {0}, heads = {0};
        two_segments(b, &upto, &head);
        damage(b, "0000000000000000001.db", harm[i].at, harm[i].bytes, harm[i].cut);
        struct log *log = open_log(b);
        assert_int_equal(access(log_quarantined(log), F_OK), 0);
        assert_int_equal(log_head(log), head); // no position is given out again
        assert_int_equal(log_tail(log), upto + 1);
        assert_int_equal(log_replay(log, &seen, see_saved, see_row, NULL), RN_OK);
        assert_int_equal(seen.saved, 0);
        assert_int_equal(seen.rows, head - upto);
        assert_true(log_heads(log, 0, RN_ID_MAX, UINT32_MAX, &heads, see_head, NULL) > 0);
        assert_int_equal(heads.rows, head - upto);
        log_close(log);
        log = open_log(b);
        assert_string_equal(log_quarantined(log), "");
        log_close(log);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

static void one_device_is_read_through_all_segments(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    struct log *log = open_log(b);
    struct log_reader *reader;
    struct log_run *runs[64];
    fill(b, log, 1, 3000, 100);
    assert_int_equal(log_reader_open(&reader, b->folder, 1 << 20, &err), RN_OK);
    uint64_t after = 0, rows = 0;
    int n;
    while ((n = log_read_device(reader, "odd", 1699999999000, 1700000001000, after, 64, runs,
                                &err)) > 0) {
        for (int i = 0; i < n; i++) {
            assert_string_equal(runs[i]->run.dev, "odd");
            assert_true(runs[i]->run.position > after);
            after = runs[i]->run.position;
            log_run_free(runs[i]);
            rows++;
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(rows, 1500);
    // Ticks outside the range are not given.
    assert_int_equal(
        log_read_device(reader, "odd", 1700000001000, 1700000002000, 0, 64, runs, &err), 0);
    log_reader_close(reader);
    log_close(log);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_follows_the_writer_through_many_segments),
        TEST(what_is_not_committed_is_not_seen_and_can_be_taken_back),
        TEST(a_writer_killed_at_any_moment_loses_nothing_committed),
        TEST(a_damaged_newest_segment_is_put_aside_and_positions_go_on),
        TEST(a_damaged_page_of_an_old_segment_costs_its_rows_only),
        TEST(a_full_budget_refuses_until_cursors_have_moved),
        TEST(retention_keeps_what_a_cursor_needs_and_what_history_allows),
        TEST(replay_gives_the_saved_state_and_the_rows_after_it),
        TEST(rows_that_a_sealed_segment_took_since_are_replayed),
        TEST(a_group_that_an_error_undoes_is_refused_whole),
        TEST(a_damaged_end_of_a_sealed_segment_keeps_no_bridge_from_starting),
        TEST(a_segment_that_could_not_be_made_hides_no_rows),
        TEST(a_sealed_segment_that_cannot_be_opened_is_put_aside),
        TEST(one_device_is_read_through_all_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
