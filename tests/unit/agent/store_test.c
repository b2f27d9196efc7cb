// The buffer: what it promises while nothing is broken.
#include "agent/store.h"
#include "agent/store_private.h"
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/file.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/store_test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    struct rn_err err;
    return rn_remove_tree(folder, &err);
}

static struct store *reopen(uint64_t fingerprint, int64_t max_bytes, struct store_report *report)
{
    struct store_conf conf = {.folder = folder, .max_bytes = max_bytes, .fingerprint = fingerprint};
    struct rn_err err = {.text = ""};
    struct store *s = NULL;
    if (store_open(&s, &conf, report, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static struct store *open_small(void)
{
    struct store_report report;
    return reopen(7, 1 << 20, &report);
}

static uint32_t schema_of(struct store *s, const char *object)
{
    uint8_t hash[RN_HASH_BYTES];
    uint32_t id = 0;
    rn_sha256(hash, object, strlen(object));
    assert_int_equal(store_schema_id(s, hash, rn_span_text(object), &id, NULL), RN_OK);
    return id;
}

static struct store_row row_of(struct store *s, char *body, size_t len, int number)
{
    memset(body, 'a' + number % 26, len);
    snprintf(body, len, "%d", number);
    return (struct store_row){.schema = schema_of(s, "schema"),
                              .samples = 10,
                              .t_first = 1000,
                              .t_last = 2000 + number,
                              .crc = rn_crc32c(0, body, len),
                              .body = {(const uint8_t *)body, len}};
}

static uint64_t add(struct store *s, int number)
{
    char body[400];
    struct store_row row = row_of(s, body, sizeof body, number);
    struct rn_err err = {.text = ""};
    if (store_append(s, &row, false, 0, &err) < 0)
        fail_msg("%s", err.text);
    return row.seq;
}

static uint32_t crc_over(const uint32_t *crcs, int n)
{
    uint32_t crc = 0;
    for (int i = 0; i < n; i++) {
        const uint8_t b[4] = {(uint8_t)(crcs[i] >> 24), (uint8_t)(crcs[i] >> 16),
                              (uint8_t)(crcs[i] >> 8), (uint8_t)crcs[i]};
        crc = rn_crc32c(crc, b, 4);
    }
    return crc;
}

static uint32_t crc_of(struct store *s, uint64_t seq)
{
    struct store_row row;
    assert_int_equal(store_next(s, seq, seq + 1, &row, NULL), 1);
    return row.crc;
}

static uint32_t tag(struct store *s)
{
    return (uint32_t)store_state(s)->install;
}

static void what_was_appended_is_there_after_reopening(void **state)
{
    (void)state;
    struct store *s = open_small();
    for (int i = 0; i < 5; i++)
        add(s, i);
    struct store_state before = *store_state(s);
    store_close(s);
    s = open_small();
    assert_int_equal(store_state(s)->install, before.install);
    assert_int_equal(store_state(s)->rows, 5);
    assert_int_equal(store_state(s)->next, 6);
    assert_int_equal(store_state(s)->ledger.pending, 50);
    assert_true(ledger_balanced(&store_state(s)->ledger));
    struct store_row row;
    assert_int_equal(store_next(s, 3, 100, &row, NULL), 1);
    assert_int_equal(row.seq, 3);
    assert_memory_equal(row.body.data, "2", 2);
    store_close(s);
}

static void a_seq_is_never_used_twice_not_even_after_the_buffer_drained(void **state)
{
    (void)state;
    struct store *s = open_small();
    add(s, 0);
    uint32_t crc = crc_of(s, 1);
    assert_int_equal(store_settle(s, tag(s), 1, 1, crc_over(&crc, 1), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_state(s)->rows, 0);
    store_close(s);
    s = open_small();
    assert_int_equal(add(s, 1), 2);
    store_close(s);
}

static void only_a_matching_crc_deletes(void **state)
{
    (void)state;
    struct store *s = open_small();
    uint32_t crcs[3];
    for (int i = 0; i < 3; i++) {
        add(s, i);
        crcs[i] = crc_of(s, (uint64_t)i + 1);
    }
    assert_int_equal(store_settle(s, tag(s), 1, 3, 12345, ROW_DURABLE, NULL), 0);
    assert_int_equal(store_settle(s, tag(s) + 1, 1, 3, crc_over(crcs, 3), ROW_DURABLE, NULL), 0);
    assert_int_equal(store_settle(s, tag(s), 1, 4, crc_over(crcs, 3), ROW_DURABLE, NULL), 0);
    assert_int_equal(store_state(s)->rows, 3);
    assert_int_equal(store_settle(s, tag(s), 1, 3, crc_over(crcs, 3), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_state(s)->rows, 0);
    assert_int_equal(store_state(s)->ledger.delivered, 30);
    store_close(s);
}

static void a_range_over_rows_settled_shortly_before_still_matches(void **state)
{
    (void)state;
    struct store *s = open_small();
    uint32_t crcs[3];
    for (int i = 0; i < 3; i++) {
        add(s, i);
        crcs[i] = crc_of(s, (uint64_t)i + 1);
    }
    assert_int_equal(store_settle(s, tag(s), 1, 2, crc_over(crcs, 2), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_settle(s, tag(s), 1, 3, crc_over(crcs, 3), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_state(s)->ledger.delivered, 30);
    store_close(s);
}

static void a_range_that_claims_the_world_is_no_match(void **state)
{
    (void)state;
    struct store *s = open_small();
    add(s, 0);
    assert_int_equal(store_settle(s, tag(s), 1, RN_ID_MAX, 1, ROW_DURABLE, NULL), 0);
    assert_int_equal(store_state(s)->rows, 1);
    store_close(s);
}

static void settle_one(struct store *s, uint64_t seq)
{
    const uint32_t crc = crc_of(s, seq);
    assert_int_equal(store_settle(s, tag(s), seq, seq, crc_over(&crc, 1), ROW_DURABLE, NULL), 1);
}

// What was settled waits for the next commit; the next thing that is done may fail for itself.
static void an_operation_that_fails_undoes_nothing_that_was_settled(void **state)
{
    (void)state;
    struct store *s = open_small();
    for (int i = 0; i < 4; i++)
        add(s, i);
    settle_one(s, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_begin(s, NULL), RN_OK);
        s->now.state.low = 1;
        assert_int_equal(rn_db_exec(s->db, "DELETE FROM batch", NULL), RN_OK);
        assert_int_equal(store_end(s, RN_ELIMIT, NULL), RN_ELIMIT);
        assert_int_equal(store_state(s)->low, 2);
        assert_int_equal(store_state(s)->rows, 3);
        assert_true(store_waits(s));
        assert_int_equal(store_safe_low(s), 1);
    }
    settle_one(s, 2);
    assert_int_equal(store_flush(s, NULL), RN_OK);
    assert_int_equal(store_safe_low(s), 3);
    store_close(s);
    s = open_small();
    assert_int_equal(store_state(s)->rows, 2);
    assert_int_equal(store_state(s)->ledger.delivered, 20);
    assert_int_equal(store_state(s)->low, 3);
    store_close(s);
}

static void not_much_that_was_settled_waits_for_a_commit(void **state)
{
    (void)state;
    struct store *s = open_small();
    for (int i = 0; i < 300; i++)
        add(s, i);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        settle_one(s, seq);
        assert_in_range(store_state(s)->low - store_safe_low(s), 0, STORE_WAITING);
    }
    store_close(s);
}

static void refused_rows_are_counted_as_refused(void **state)
{
    (void)state;
    struct store *s = open_small();
    add(s, 0);
    add(s, 1);
    assert_int_equal(store_settle(s, tag(s), 2, 2, 0, ROW_REFUSED, NULL), 1);
    assert_int_equal(store_state(s)->ledger.refused, 10);
    assert_int_equal(store_state(s)->ledger.pending, 10);
    store_close(s);
}

static void a_replaced_row_has_a_new_name_and_the_same_samples(void **state)
{
    (void)state;
    static const char other[] = "the same samples in other words";
    struct store *s = open_small();
    struct store_row old, row;
    uint64_t seq = 0;
    for (int i = 0; i < 3; i++)
        add(s, i);
    assert_int_equal(store_next(s, 1, 2, &old, NULL), 1);
    assert_int_equal(store_replace(s, &old, rn_span_text(other), &seq, NULL), 1);
    assert_int_equal(seq, 4);
    assert_int_equal(store_state(s)->next, 5);
    assert_int_equal(store_state(s)->low, 2);
    assert_int_equal(store_state(s)->rows, 3);
    assert_int_equal(store_state(s)->ledger.produced, 30);
    assert_int_equal(store_state(s)->ledger.pending, 30);
    store_close(s);
    s = open_small(); // and all of it is on the disk
    assert_int_equal(store_state(s)->ledger.pending, 30);
    assert_int_equal(store_next(s, 1, 2, &row, NULL), 0);
    assert_int_equal(store_next(s, 4, 5, &row, NULL), 1);
    assert_int_equal(row.samples, 10);
    assert_int_equal(row.t_first, old.t_first);
    assert_int_equal(row.t_last, old.t_last);
    assert_int_equal(row.install, store_state(s)->install);
    assert_int_equal(row.body.len, sizeof other - 1);
    assert_memory_equal(row.body.data, other, sizeof other - 1);
    store_close(s);
}

static void a_row_that_is_gone_is_not_replaced(void **state)
{
    (void)state;
    struct store *s = open_small();
    struct store_row old;
    uint64_t seq = 99;
    add(s, 0);
    add(s, 1);
    assert_int_equal(store_next(s, 1, 2, &old, NULL), 1);
    assert_int_equal(store_settle(s, tag(s), 1, 1, 0, ROW_REFUSED, NULL), 1);
    assert_int_equal(store_replace(s, &old, rn_span_text("x"), &seq, NULL), 0);
    assert_int_equal(seq, 99);
    assert_int_equal(store_state(s)->next, 3);
    assert_int_equal(store_state(s)->rows, 1);
    assert_true(ledger_balanced(&store_state(s)->ledger));
    store_close(s);
}

static void the_buffer_stays_within_its_budget_and_counts_what_it_drops(void **state)
{
    (void)state;
    struct store_report report;
    struct store *s = reopen(7, 128 << 10, &report);
    for (int i = 0; i < 1000; i++)
        add(s, i);
    const struct store_state *st = store_state(s);
    assert_true(st->rows > 100 && st->rows < 400);
    assert_int_equal(st->ledger.evicted + st->ledger.pending, 10000);
    assert_int_equal(st->low, 1001 - st->rows);
    assert_true(ledger_balanced(&st->ledger));
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/buffer.db", folder);
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_size <= 128 << 10);
    store_close(s);
}

static struct store *open_tiny(void)
{
    struct store_report report;
    return reopen(7, 96 << 10, &report);
}

// Appends until something was evicted; returns the CRCs of the rows, by seq.
static uint64_t overflow(struct store *s, uint32_t *crcs)
{
    uint64_t last = store_state(s)->next - 1;
    uint64_t evicted = store_state(s)->ledger.evicted;
    while (store_state(s)->ledger.evicted == evicted) {
        last = add(s, (int)store_state(s)->next);
        crcs[last] = crc_of(s, last);
    }
    return last;
}

static void what_arrived_and_was_evicted_before_the_answer_moves_in_the_ledger(void **state)
{
    (void)state;
    static const enum row_state fates[] = {ROW_DURABLE, ROW_REFUSED};
    for (int i = 0; i < 2; i++) {
        uint32_t crcs[1000] = {0};
        struct store *s = open_tiny();
        crcs[1] = (add(s, 1), crc_of(s, 1));
        assert_int_equal(store_publish(s, 1, NULL), RN_OK);
        store_sent(s, 1);
        overflow(s, crcs);
        uint64_t evicted = store_state(s)->ledger.evicted;
        assert_int_equal(store_next(s, 1, 2, &(struct store_row){0}, NULL), 0);
        assert_int_equal(store_state(s)->gone, 1); // the others were never sent
        assert_int_equal(store_state(s)->low, 1);  // so that the bridge keeps the name
        assert_int_equal(store_settle(s, tag(s), 1, 1, 99, ROW_DURABLE, NULL), 0);
        assert_int_equal(store_state(s)->ledger.evicted, evicted);
        uint32_t crc = crc_over(&crcs[1], 1);
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(store_settle(s, tag(s), 1, 1, crc, fates[i], NULL), 1);
            assert_int_equal(store_state(s)->ledger.evicted, evicted - 10);
            assert_int_equal(store_state(s)->ledger.delivered, i == 0 ? 10 : 0);
            assert_int_equal(store_state(s)->ledger.refused, i == 1 ? 10 : 0);
            assert_true(ledger_balanced(&store_state(s)->ledger));
        }
        assert_int_equal(store_state(s)->gone, 0);
        assert_true(store_state(s)->low > 1);
        store_close(s);
        drop_folder(NULL);
        make_folder(NULL);
    }
}

static void what_is_gone_is_known_after_a_restart_beside_what_was_settled(void **state)
{
    (void)state;
    uint32_t crcs[1000] = {0};
    struct store *s = open_tiny();
    for (uint64_t seq = 1; seq <= 6; seq++)
        crcs[seq] = (add(s, (int)seq), crc_of(s, seq));
    assert_int_equal(store_publish(s, 6, NULL), RN_OK);
    for (uint64_t seq = 1; seq <= 6; seq++)
        store_sent(s, seq);
    assert_int_equal(store_settle(s, tag(s), 1, 3, crc_over(crcs + 1, 3), ROW_DURABLE, NULL), 1);
    while (store_state(s)->gone < 2)
        overflow(s, crcs);
    // Row 6 is settled while 4 and 5 are remembered; then nobody remembers but the disk.
    assert_int_equal(store_settle(s, tag(s), 6, 6, crc_over(crcs + 6, 1), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_state(s)->low, 4);
    struct rn_ledger before = store_state(s)->ledger;
    store_close(s);
    s = open_tiny();
    assert_int_equal(store_state(s)->gone, 2);
    assert_int_equal(store_state(s)->low, 4);
    // What the bridge says after a birth: everything of which it was not told that it is settled.
    assert_int_equal(store_settle(s, tag(s), 1, 6, crc_over(crcs + 1, 6), ROW_DURABLE, NULL), 1);
    assert_int_equal(store_state(s)->ledger.delivered, before.delivered + 20);
    assert_int_equal(store_state(s)->ledger.evicted, before.evicted - 20);
    assert_int_equal(store_state(s)->gone, 0);
    assert_true(ledger_balanced(&store_state(s)->ledger));
    store_close(s);
}

static void what_is_gone_is_forgotten_after_a_while_and_under_another_log(void **state)
{
    (void)state;
    uint32_t crcs[2000] = {0};
    struct store *s = open_tiny();
    assert_int_equal(store_adopt(s, 5, NULL), RN_OK);
    for (int i = 0; i < 1500; i++) {
        add(s, i);
        assert_int_equal(store_publish(s, store_state(s)->next - 1, NULL), RN_OK);
        store_sent(s, store_state(s)->next - 1);
    }
    const struct store_state *st = store_state(s);
    assert_int_equal(st->gone, 256);
    assert_true(st->low >= st->next - st->rows - 256);
    assert_true(st->rows > 20);
    uint64_t evicted = st->ledger.evicted;
    assert_int_equal(store_adopt(s, 6, NULL), RN_OK);
    assert_int_equal(st->gone, 0);
    assert_int_equal(st->low, st->next - st->rows);
    assert_int_equal(st->ledger.evicted, evicted);
    // A single one, that never arrived, does not hold `low` back for ever.
    overflow(s, crcs);
    uint64_t low = st->low;
    assert_true(st->gone > 0);
    for (int i = 0; i < 300; i++) {
        uint64_t seq = st->next - st->rows;
        assert_int_equal(store_settle(s, tag(s), seq, seq, 0, ROW_REFUSED, NULL), 1);
        add(s, i);
    }
    assert_true(st->low > low);
    store_close(s);
}

static void rows_older_than_the_limit_go(void **state)
{
    (void)state;
    struct store *s = open_small();
    store_reconf(s, 1 << 20, 5000);
    add(s, 0);
    char body[100];
    struct store_row row = row_of(s, body, sizeof body, 1);
    row.t_last = 100000;
    assert_int_equal(store_append(s, &row, false, 100000, NULL), RN_OK);
    assert_int_equal(store_state(s)->rows, 1);
    assert_int_equal(store_state(s)->ledger.evicted, 10);
    store_close(s);
}

static void the_journal_becomes_a_batch_after_a_crash(void **state)
{
    (void)state;
    struct store *s = open_small();
    char body[100];
    struct store_row row = row_of(s, body, sizeof body, 1);
    row.samples = 4;
    assert_int_equal(store_journal(s, &row, NULL), RN_OK);
    row.samples = 7;
    assert_int_equal(store_journal(s, &row, NULL), RN_OK);
    assert_int_equal(store_state(s)->ledger.produced, 7);
    store_close(s);
    struct store_report report;
    s = reopen(7, 1 << 20, &report);
    assert_int_equal(report.journal_samples, 7);
    assert_int_equal(store_state(s)->rows, 1);
    assert_int_equal(store_state(s)->ledger.pending, 7);
    store_close(s);
}

static void a_cut_takes_the_place_of_the_journal(void **state)
{
    (void)state;
    struct store *s = open_small();
    char body[100];
    struct store_row row = row_of(s, body, sizeof body, 1);
    row.samples = 4;
    assert_int_equal(store_journal(s, &row, NULL), RN_OK);
    row.samples = 10;
    assert_int_equal(store_append(s, &row, false, 0, NULL), RN_OK);
    assert_int_equal(store_state(s)->ledger.produced, 10);
    store_close(s);
    s = open_small();
    assert_int_equal(store_state(s)->rows, 1);
    assert_int_equal(store_state(s)->ledger.pending, 10);
    store_close(s);
}

static int64_t bytes_of(const char *name)
{
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) < 0 ? 0 : info.st_size;
}

// Three rows wait for the bridge's answer, which comes for all three at once: as in practice.
static void run_steadily(struct store *s, int batches)
{
    for (int i = 0; i < batches; i++) {
        uint64_t seq = add(s, i);
        for (uint64_t old = seq - 2; seq % 3 == 0 && old <= seq; old++)
            settle_one(s, old);
    }
}

// Until the first checkpoint of a new file its WAL grows by all that is written.
static void a_batch_that_is_stored_and_settled_writes_few_pages(void **state)
{
    (void)state;
    enum { WARM_UP = 6, BATCHES = 9, MOST = 3800 }; // bytes a batch; its body has 400
    struct store *s = open_small();
    run_steadily(s, WARM_UP);
    int64_t before = bytes_of("buffer.db-wal");
    run_steadily(s, BATCHES);
    int64_t written = bytes_of("buffer.db-wal") - before;
    assert_in_range(written, BATCHES * 400, BATCHES * MOST);
    store_close(s);
}

static void a_file_whose_pages_are_larger_goes_on_with_them(void **state)
{
    (void)state;
    char path[128];
    struct rn_db *db;
    struct rn_err err;
    snprintf(path, sizeof path, "%s/buffer.db", folder);
    const struct rn_db_conf conf = {.path = path, .page_size = 1024};
    assert_int_equal(rn_db_open(&db, &conf, &err), RN_OK);
    assert_int_equal(rn_db_exec(db, "CREATE TABLE t(x); DROP TABLE t", &err), RN_OK);
    rn_db_close(db);
    struct store *s = open_small();
    run_steadily(s, 100); // over more than one checkpoint
    assert_int_equal(store_state(s)->rows, 1);
    store_close(s);
    s = open_small();
    assert_int_equal(rn_db_int(s->db, "PRAGMA page_size", 0), 1024);
    assert_int_equal(store_state(s)->ledger.delivered, 99 * 10);
    assert_int_equal(store_state(s)->next, 101);
    assert_int_equal(add(s, 0), 101);
    store_close(s);
}

static void another_machine_gets_another_install_for_what_was_not_published(void **state)
{
    (void)state;
    struct store_report report;
    struct store *s = open_small();
    add(s, 0);
    add(s, 1);
    uint64_t old = store_state(s)->install;
    assert_int_equal(store_publish(s, 1, NULL), RN_OK);
    store_close(s);
    s = reopen(8, 1 << 20, &report);
    assert_true(report.relabelled);
    assert_int_not_equal(store_state(s)->install, old);
    struct store_row row;
    assert_int_equal(store_next(s, 1, 2, &row, NULL), 1);
    assert_int_equal(row.install, old);
    assert_int_equal(store_next(s, 2, 3, &row, NULL), 1);
    assert_int_equal(row.install, store_state(s)->install);
    store_close(s);
}

static void a_conflict_relabels_its_rows_and_what_was_not_published(void **state)
{
    (void)state;
    struct store *s = open_small();
    for (int i = 0; i < 4; i++)
        add(s, i);
    uint64_t old = store_state(s)->install;
    assert_int_equal(store_publish(s, 3, NULL), RN_OK);
    assert_int_equal(store_relabel(s, (uint32_t)old, 2, 2, NULL), RN_OK);
    static const bool moved[] = {false, true, false, true};
    for (uint64_t seq = 1; seq <= 4; seq++) {
        struct store_row row;
        assert_int_equal(store_next(s, seq, seq + 1, &row, NULL), 1);
        assert_int_equal(row.install != old, moved[seq - 1]);
    }
    // Those of the older one follow: there is an install for them already.
    uint64_t current = store_state(s)->install;
    assert_int_equal(store_relabel(s, (uint32_t)old, 1, 2, NULL), RN_OK);
    assert_int_equal(store_state(s)->install, current);
    for (uint64_t seq = 1; seq <= 4; seq++) {
        struct store_row row;
        assert_int_equal(store_next(s, seq, seq + 1, &row, NULL), 1);
        assert_int_equal(row.install, seq == 3 ? old : current);
    }
    store_close(s);
}

static void another_log_takes_every_row_under_the_current_install(void **state)
{
    (void)state;
    struct store *s = open_small();
    add(s, 0);
    assert_int_equal(store_publish(s, 1, NULL), RN_OK);
    assert_int_equal(store_adopt(s, 5, NULL), RN_OK);
    assert_int_equal(store_relabel(s, 0, 1, 0, NULL), RN_OK);
    struct store_row row;
    assert_int_equal(store_next(s, 1, 2, &row, NULL), 1);
    assert_int_not_equal(row.install, store_state(s)->install);
    assert_int_equal(store_adopt(s, 6, NULL), RN_OK);
    assert_int_equal(store_next(s, 1, 2, &row, NULL), 1);
    assert_int_equal(row.install, store_state(s)->install);
    store_close(s);
}

static void equal_schemas_share_an_id_and_come_back_whole(void **state)
{
    (void)state;
    struct store *s = open_small();
    uint32_t a = schema_of(s, "one"), b = schema_of(s, "two");
    assert_int_not_equal(a, b);
    assert_int_equal(schema_of(s, "one"), a);
    uint8_t hash[RN_HASH_BYTES];
    struct rn_span object;
    assert_int_equal(store_schema(s, b, hash, &object, NULL), RN_OK);
    assert_memory_equal(object.data, "two", 3);
    assert_int_equal(store_schema(s, 999, hash, &object, NULL), RN_ENOENT);
    for (int i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "schema %d", i);
        assert_true(schema_of(s, text) > b);
    }
    store_close(s);
}

// A device whose names keep changing: a schema that nobody refers to goes, its number does not come
// back under the same install.
static void a_start_with_few_schema_numbers_left_numbers_anew_under_a_new_install(void **state)
{
    (void)state;
    struct store_row row;
    uint8_t hash[RN_HASH_BYTES] = {0};
    struct rn_span object;
    uint32_t id = 0;
    struct store *s = open_small();
    uint32_t first = schema_of(s, "schema"), unused = schema_of(s, "unused");
    uint64_t install = store_state(s)->install, seq = add(s, 1);
    assert_int_equal(first, 1);
    s->now.schema_next = 65536;
    assert_int_equal(store_publish(s, seq, NULL), RN_OK); // commits that, too
    assert_int_equal(store_schema_id(s, hash, rn_span_text("one too many"), &id, NULL), RN_ELIMIT);
    store_close(s);
    s = open_small();
    assert_int_not_equal(store_state(s)->install, install);
    assert_int_equal(store_next(s, seq, seq + 1, &row, NULL), 1);
    assert_int_equal(row.install, install);
    assert_int_equal(row.schema, first);
    id = schema_of(s, "another");
    assert_true(id != first && id != unused && id < 10);
    assert_int_equal(schema_of(s, "schema"), first);
    assert_int_equal(store_schema(s, first, hash, &object, NULL), RN_OK);
    assert_memory_equal(object.data, "schema", 6);
    install = store_state(s)->install;
    store_close(s);
    s = open_small();
    assert_int_equal(store_state(s)->install, install); // once
    assert_true(schema_of(s, "the next") > id);
    store_close(s);
}

static int keep(struct store *s, enum rn_object kind, uint32_t schema, const char *object,
                uint32_t *id)
{
    uint8_t hash[RN_HASH_BYTES];
    rn_sha256(hash, object, strlen(object));
    return store_keep_object(s, kind, schema, hash, rn_span_text(object), id, NULL);
}

static void hints_and_bases_come_back_whole_and_their_numbers_are_never_used_twice(void **state)
{
    (void)state;
    struct store *s = open_small();
    uint32_t schema = schema_of(s, "schema"), hints = 0, base = 0, found = 0;
    uint8_t hash[RN_HASH_BYTES];
    struct rn_span object;
    assert_int_equal(store_newest_object(s, RN_OBJECT_BASE, schema, &found, &object, NULL),
                     RN_ENOENT);
    assert_int_equal(keep(s, RN_OBJECT_HINTS, schema, "hints", &hints), RN_OK);
    for (int i = 0; i < 10; i++) // no row refers to those before
        assert_int_equal(keep(s, RN_OBJECT_BASE, schema, i < 9 ? "older" : "base", &base), RN_OK);
    assert_int_equal(base, hints + 10);
    store_close(s);
    s = open_small();
    assert_int_equal(store_state(s)->objects, base);
    assert_int_equal(store_newest_object(s, RN_OBJECT_BASE, schema, &found, &object, NULL), RN_OK);
    assert_int_equal(found, base);
    assert_memory_equal(object.data, "base", 4);
    assert_int_equal(store_object(s, RN_OBJECT_HINTS, hints, hash, &object, NULL), RN_OK);
    assert_memory_equal(object.data, "hints", 5);
    assert_int_equal(store_object(s, RN_OBJECT_BASE, hints, hash, &object, NULL), RN_ENOENT);
    assert_int_equal(store_object(s, RN_OBJECT_BASE, base - 2, hash, &object, NULL), RN_ENOENT);
    assert_int_equal(keep(s, RN_OBJECT_HINTS, schema, "hints again", &found), RN_OK);
    assert_int_equal(found, base + 1);
    store_close(s);
}

// A row each between two bases; the rows stay.
static void a_base_is_kept_for_as_long_as_a_row_may_refer_to_it(void **state)
{
    (void)state;
    struct store *s = open_small();
    uint32_t schema = schema_of(s, "schema"), id = 0, first = 0, more = 0;
    uint8_t hash[RN_HASH_BYTES];
    struct rn_span object;
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, "base", &first), RN_OK);
    for (int i = 1; i < STORE_OBJECTS; i++) {
        add(s, i);
        assert_int_equal(keep(s, RN_OBJECT_BASE, schema, "base", &id), RN_OK);
    }
    assert_int_equal(id, STORE_OBJECTS);
    add(s, 0);
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, "base", &more), RN_ELIMIT);
    // To have no room undoes nothing of what was settled and not committed yet.
    uint64_t last = add(s, 0), rows = store_state(s)->rows;
    struct store_row row;
    assert_int_equal(store_settle(s, tag(s), last, last, 0, ROW_REFUSED, NULL), 1);
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, "base", &more), RN_ELIMIT);
    assert_int_equal(store_state(s)->rows, rows - 1);
    assert_int_equal(store_next(s, last, last + 1, &row, NULL), 0);
    assert_int_equal(keep(s, RN_OBJECT_HINTS, schema, "hints", &more), RN_OK);
    for (uint32_t i = first; i <= id; i++)
        assert_int_equal(store_object(s, RN_OBJECT_BASE, i, hash, &object, NULL), RN_OK);
    assert_int_equal(store_settle(s, tag(s), 1, 1, 0, ROW_REFUSED, NULL), 1);
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, "base", &more), RN_OK);
    assert_int_equal(store_object(s, RN_OBJECT_BASE, first, hash, &object, NULL), RN_ENOENT);
    assert_int_equal(store_object(s, RN_OBJECT_BASE, first + 1, hash, &object, NULL), RN_OK);
    store_close(s);
}

static void hints_and_bases_take_a_small_part_of_the_buffer(void **state)
{
    (void)state;
    struct store_report report;
    struct store *s = reopen(7, 128 << 10, &report);
    static char large[10001];
    uint32_t schema = schema_of(s, "schema"), id = 0;
    memset(large, 'x', sizeof large - 1);
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, large, &id), RN_OK);
    add(s, 0);
    assert_int_equal(keep(s, RN_OBJECT_BASE, schema, large, &id), RN_ELIMIT);
    for (int i = 0; i < 1000; i++)
        add(s, i);
    assert_true(store_state(s)->rows > 100);
    assert_true(ledger_balanced(&store_state(s)->ledger));
    store_close(s);
}

static void a_second_agent_is_kept_out_of_the_folder(void **state)
{
    (void)state;
    struct store *s = open_small(), *other = NULL;
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct store_report report;
    struct rn_err err;
    assert_int_equal(store_open(&other, &conf, &report, &err), RN_EEXIST);
    struct store_state seen;
    bool running;
    assert_int_equal(store_inspect(folder, &seen, &running, &err), RN_OK);
    assert_true(running);
    assert_int_equal(seen.install, store_state(s)->install);
    store_close(s);
}

static void another_process_sees_what_is_committed_while_the_agent_writes(void **state)
{
    (void)state;
    struct store *s = open_small();
    struct store_state seen;
    bool running;
    for (int i = 0; i < 300; i++) { // over more than one checkpoint
        add(s, i);
        if (i % 10 == 0)
            assert_int_equal(store_settle(s, tag(s), store_state(s)->low, store_state(s)->low, 0,
                                          ROW_REFUSED, NULL),
                             1);
        else if (i % 7 == 0) {
            assert_int_equal(store_inspect(folder, &seen, &running, NULL), RN_OK);
            assert_true(running);
            assert_memory_equal(&seen.ledger, &store_state(s)->ledger, sizeof seen.ledger);
            assert_int_equal(seen.rows, store_state(s)->rows);
            assert_int_equal(seen.low, store_state(s)->low);
        }
    }
    uint64_t rows = store_state(s)->rows;
    char path[128];
    snprintf(path, sizeof path, "%s/buffer.db-shm", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    store_close(s);
    assert_int_equal(store_inspect(folder, &seen, &running, NULL), RN_OK);
    assert_false(running);
    assert_int_equal(seen.rows, rows);
    assert_int_equal(store_inspect("/nowhere", &seen, &running, NULL), RN_ENOENT);
}

static void without_a_disk_it_works_in_memory(void **state)
{
    (void)state;
    struct store_conf conf = {.folder = NULL, .max_bytes = 1 << 20};
    struct store_report report;
    struct rn_err err;
    struct store *s;
    assert_int_equal(store_open(&s, &conf, &report, &err), RN_OK);
    assert_true(store_in_memory(s));
    assert_int_equal(add(s, 0), 1);
    store_close(s);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_was_appended_is_there_after_reopening),
        IN_FOLDER(a_seq_is_never_used_twice_not_even_after_the_buffer_drained),
        IN_FOLDER(only_a_matching_crc_deletes),
        IN_FOLDER(a_range_over_rows_settled_shortly_before_still_matches),
        IN_FOLDER(a_range_that_claims_the_world_is_no_match),
        IN_FOLDER(an_operation_that_fails_undoes_nothing_that_was_settled),
        IN_FOLDER(not_much_that_was_settled_waits_for_a_commit),
        IN_FOLDER(refused_rows_are_counted_as_refused),
        IN_FOLDER(a_replaced_row_has_a_new_name_and_the_same_samples),
        IN_FOLDER(a_row_that_is_gone_is_not_replaced),
        IN_FOLDER(the_buffer_stays_within_its_budget_and_counts_what_it_drops),
        IN_FOLDER(what_arrived_and_was_evicted_before_the_answer_moves_in_the_ledger),
        IN_FOLDER(what_is_gone_is_known_after_a_restart_beside_what_was_settled),
        IN_FOLDER(what_is_gone_is_forgotten_after_a_while_and_under_another_log),
        IN_FOLDER(rows_older_than_the_limit_go),
        IN_FOLDER(the_journal_becomes_a_batch_after_a_crash),
        IN_FOLDER(a_cut_takes_the_place_of_the_journal),
        IN_FOLDER(a_batch_that_is_stored_and_settled_writes_few_pages),
        IN_FOLDER(a_file_whose_pages_are_larger_goes_on_with_them),
        IN_FOLDER(another_machine_gets_another_install_for_what_was_not_published),
        IN_FOLDER(a_conflict_relabels_its_rows_and_what_was_not_published),
        IN_FOLDER(another_log_takes_every_row_under_the_current_install),
        IN_FOLDER(equal_schemas_share_an_id_and_come_back_whole),
        IN_FOLDER(a_start_with_few_schema_numbers_left_numbers_anew_under_a_new_install),
        IN_FOLDER(hints_and_bases_come_back_whole_and_their_numbers_are_never_used_twice),
        IN_FOLDER(a_base_is_kept_for_as_long_as_a_row_may_refer_to_it),
        IN_FOLDER(hints_and_bases_take_a_small_part_of_the_buffer),
        IN_FOLDER(another_process_sees_what_is_committed_while_the_agent_writes),
        IN_FOLDER(a_second_agent_is_kept_out_of_the_folder),
        cmocka_unit_test(without_a_disk_it_works_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
