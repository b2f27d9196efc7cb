// What only fails now is not taken for what is not there: each with one allocation, opening or read
// failing anywhere.
#include "agent/encoder.h"
#include "agent/fingerprint.h"
#include "agent/sampler.h"
#include "agent/state.h"
#include "agent/storage.h"
#include "tests/support/faults.h"
#include <runnel/file.h>
#include <runnel/wire.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TICKS = 300 };

// A batch that the bridge refused is settled as refused if it cannot be encoded anew.
static void a_batch_is_never_beyond_encoding_for_lack_of_memory(void **state)
{
    (void)state;
    static uint64_t storage[4096], work[RN_ENCODE_WORK / sizeof(uint64_t)];
    struct rn_field field = {.name = rn_span_text("f"), .type = RN_INT, .mul = 1};
    struct rn_series series = {0};
    struct rn_group group = {.measurement = rn_span_text("m"),
                             .every = 1,
                             .fields = &field,
                             .nfields = 1,
                             .series = &series,
                             .nseries = 1};
    const struct rn_schema schema = {
        .unit_ns = 1000000000, .step = 1, .groups = &group, .ngroups = 1, .ncolumns = 1};
    struct rn_grid grid;
    struct rn_buf object, body;
    rn_buf_init(&object, RN_SCHEMA_MAX_BYTES);
    rn_buf_init(&body, RN_BATCH_MAX_BYTES);
    assert_int_equal(rn_schema_encode(&schema, &object, NULL), RN_OK);
    assert_int_equal(rn_grid_init(&grid, TICKS, 1, 0, storage, sizeof storage, NULL), RN_OK);
    for (uint32_t i = 0; i < TICKS; i++) {
        grid.times[i] = 1700000000 + i;
        grid.states[i] = RN_CELL_SCALED;
        grid.cells[i].i = (int64_t)i * i * 1000;
    }
    assert_int_equal(
        rn_batch_encode_as(RN_ENC_RANGE, &schema, 3, NULL, &grid, work, sizeof work, &body, NULL),
        RN_OK);
    int failures = 0;
    bool fired = true;
    for (long n = 1; fired; n++) {
        struct encoder *e;
        struct rn_batch_info info;
        struct rn_span out;
        assert_int_equal(encoder_new(&e, 7, NULL), RN_OK);
        faults_arm(FAULT_ALLOC, n, 0);
        int rc = encoder_renew(e, rn_buf_span(&object), rn_buf_span(&body), &info, &out, NULL);
        fired = faults_disarm();
        assert_int_equal(rc, fired ? RN_ENOMEM : RN_OK);
        failures += fired;
        encoder_free(e);
    }
    assert_true(failures > 3);
    rn_buf_release(&object);
    rn_buf_release(&body);
}

// With half of what it is made of the fingerprint would be that of another machine, and the buffer
// would get a new install.
static void the_machine_stays_the_same_or_is_unknown(void **state)
{
    (void)state;
    static const struct {
        unsigned what;
        int error;
    } kinds[] = {{FAULT_ALLOC, 0}, {FAULT_OPEN, EMFILE}, {FAULT_OPEN, ENOMEM}, {FAULT_READ, EIO}};
    uint64_t known = fingerprint_read("dev-1");
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool fired = true;
        for (long n = 1; fired; n++) {
            faults_arm(kinds[k].what, n, kinds[k].error);
            uint64_t now = fingerprint_read("dev-1");
            fired = faults_disarm();
            if (now != 0 && now != known)
                fail_msg("kind %zu, call %ld: another machine", k, n);
        }
    }
    assert_int_equal(fingerprint_read("dev-1"), known);
}

// Among the folders of the cards there may be a file (bonding_masters).
static void an_entry_that_is_no_folder_is_no_card(void **state)
{
    (void)state;
    char **names, path[256];
    int count, no_cards = 0, same = 0;
    assert_int_equal(rn_names_list("/sys/class/net", "", 1024, &names, &count, NULL), RN_OK);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/sys/class/net/%.64s/device", names[i]);
        no_cards += access(path, F_OK) < 0;
    }
    rn_names_free(names, count);
    uint64_t known = fingerprint_read("dev-1");
    bool fired = true;
    for (long n = 1; fired; n++) {
        faults_arm(FAULT_OPEN, n, ENOTDIR);
        bool is_same = fingerprint_read("dev-1") == known;
        fired = faults_disarm();
        same += fired && is_same;
    }
    assert_true(no_cards > 0); // lo
    assert_true(same >= no_cards);
}

static void epochs_that_cannot_be_read_are_not_begun_anew(void **state)
{
    (void)state;
    char folder[64] = "/tmp/runnel-absence-XXXXXX";
    struct state *file;
    struct rn_err err = {.text = ""};
    bool renewed, fired = true;
    assert_non_null(mkdtemp(folder));
    for (long n = 1; fired; n++) {
        struct epochs e;
        if (state_open(&file, folder, &renewed, &err) < 0)
            fail_msg("%s", err.text);
        epochs_init(&e, file, 5000);
        assert_true(epochs_lift(&e, 100000));
        uint64_t last = epochs_next(&e, file);
        faults_arm(FAULT_SQL, n, 0);
        epochs_init(&e, file, 5000);
        (void)epochs_next(&e, file);
        fired = faults_disarm();
        (void)epochs_next(&e, file);
        state_close(file);
        if (state_open(&file, folder, &renewed, &err) < 0)
            fail_msg("%s", err.text);
        epochs_init(&e, file, 5000);
        if (epochs_next(&e, file) <= last)
            fail_msg("allocation %ld: an epoch comes again", n);
        state_close(file);
    }
    assert_int_equal(rn_remove_tree(folder, NULL), RN_OK);
}

// ---- a batch and its schema ---------------------------------------------------------------------

static const struct rn_field_desc fields[] = {{.name = "a", .type = RN_INT, .help = "A."},
                                              {.name = "b", .type = RN_INT, .help = "B."}};
static uint32_t nfields; // that are reported
static int batches;
static uint64_t batched; // samples of those
static int refusal;      // RN_OK: batches are taken

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)conf, (void)env, (void)err;
    const struct rn_point_value values[] = {{.field = &fields[0], .scaled = boot_ms},
                                            {.field = &fields[1], .scaled = boot_ms}};
    const struct rn_point point = {.measurement = "m", .values = values, .nvalues = nfields};
    rn_samples_add(out, &point);
    return RN_OK;
}

static int on_batch(void *arg, const struct sampler_batch *b)
{
    static uint64_t storage[RN_SCHEMA_STORAGE / sizeof(uint64_t)];
    struct rn_schema named;
    (void)arg;
    if (refusal < 0)
        return refusal;
    batches++;
    batched += b->samples;
    assert_int_equal(rn_schema_decode(b->object, &named, storage, sizeof storage, NULL), RN_OK);
    assert_int_equal(named.ncolumns, b->schema->ncolumns);
    return RN_OK;
}

static void on_trouble(void *arg, const char *collector, const char *text)
{
    (void)arg, (void)collector, (void)text;
}

static const struct rn_collector grows = {.name = "grows",
                                          .help = "reports ever more",
                                          .fields = fields,
                                          .nfields = 2,
                                          .tags = "",
                                          .sample = sample};

// The schema changed with a batch that there was no memory for: the next one must not be sent under
// the schema from before.
static void a_batch_is_sent_under_its_own_schema(void **state)
{
    (void)state;
    static const struct rn_collector *const table[] = {&grows};
    const struct sampler_hooks hooks = {.batch = on_batch, .trouble = on_trouble};
    struct config *config = NULL;
    bool fired = true;
    assert_int_equal(config_new(&config, table, 1, false, NULL), RN_OK);
    assert_int_equal(config_finish(config, NULL), RN_OK);
    for (long n = 1; fired; n++) {
        struct sampler *s;
        batches = 0;
        batched = 0;
        assert_int_equal(sampler_new(&s, config, &hooks, NULL), RN_OK);
        for (int64_t tick = 1; tick < 4; tick++) {
            nfields = tick == 1 ? 1 : 2;
            sampler_once(s, tick * 10000, tick * 10000);
            if (tick == 2)
                faults_arm(FAULT_ALLOC, n, 0);
            sampler_cut(s);
            if (tick == 2)
                fired = faults_disarm();
        }
        assert_true(batches >= 2);
        assert_int_equal(batched, 1 + 2 + 2); // what was not cut with one came with the next
        sampler_free(s);
    }
    config_free(config);
}

// A window is kept while there is no memory to cut it, until it is full: then it is counted.
static void a_window_that_is_never_cut_is_counted(void **state)
{
    (void)state;
    static const struct rn_collector *const table[] = {&grows};
    const struct sampler_hooks hooks = {.batch = on_batch, .trouble = on_trouble};
    struct config *config = NULL;
    struct sampler *s;
    struct sampler_stats stats;
    nfields = 1;
    batched = 0;
    assert_int_equal(config_new(&config, table, 1, false, NULL), RN_OK);
    assert_int_equal(config_finish(config, NULL), RN_OK);
    uint64_t full = (uint64_t)(60000 / config->settings.step_ms);
    assert_int_equal(sampler_new(&s, config, &hooks, NULL), RN_OK);
    for (uint64_t tick = 1; tick <= full + 1; tick++) {
        sampler_once(s, (int64_t)tick * config->settings.step_ms, 0);
        if (tick == full)
            faults_arm(FAULT_ALLOC | FAULT_STICKY, 1, 0);
    }
    assert_true(faults_disarm());
    sampler_cut(s);
    sampler_get_stats(s, &stats);
    assert_int_equal(batched, 1);
    assert_int_equal(stats.refused, full);
    sampler_free(s);
    config_free(config);
}

static uint64_t refused_by(const struct sampler *s)
{
    struct sampler_stats stats;
    sampler_get_stats(s, &stats);
    return stats.refused;
}

// Its owner could not take a batch: it comes again only if there was no memory, and is counted if
// it does not.
static void a_batch_that_is_not_taken_comes_again_or_is_counted(void **state)
{
    (void)state;
    static const struct rn_collector *const table[] = {&grows};
    const struct sampler_hooks hooks = {.batch = on_batch, .trouble = on_trouble};
    struct config *config = NULL;
    struct sampler *s;
    nfields = 1;
    batched = 0;
    assert_int_equal(config_new(&config, table, 1, false, NULL), RN_OK);
    assert_int_equal(config_finish(config, NULL), RN_OK);
    int64_t step = config->settings.step_ms, full = 60000 / step;
    assert_int_equal(sampler_new(&s, config, &hooks, NULL), RN_OK);
    sampler_once(s, step, 0);
    refusal = RN_ENOMEM;
    sampler_cut(s);
    sampler_once(s, 2 * step, 0);
    refusal = RN_OK;
    sampler_cut(s);
    assert_int_equal(batched, 2);
    assert_int_equal(refused_by(s), 0);
    sampler_once(s, 3 * step, 0);
    refusal = RN_EINVAL;
    sampler_cut(s);
    assert_int_equal(refused_by(s), 1);
    refusal = RN_ENOMEM;
    for (int64_t tick = 4; tick <= 4 + full; tick++)
        sampler_once(s, tick * step, 0);
    assert_int_equal(refused_by(s), 1 + full); // it was full before the last one
    refusal = RN_OK;
    sampler_cut(s);
    assert_int_equal(batched, 3);
    sampler_free(s);
    config_free(config);
}

// ---- a batch on its way into the buffer ---------------------------------------------------------

static int keep_batch(void *arg, const struct sampler_batch *b)
{
    struct store_row row;
    return storage_append(arg, b, &row, NULL);
}

static void on_changed(void *arg)
{
    (void)arg;
}

static bool sends(void *arg)
{
    (void)arg;
    return false;
}

static void on_fatal(void *arg, const struct rn_err *err)
{
    (void)arg;
    fail_msg("%s", err->text);
}

struct failing {
    unsigned what;
    int64_t tick; // while this one's batch is cut
    long n;
};

// Three ticks, each cut, the second one from the journal on. True if the allocation failed.
static bool fill_buffer(struct sampler *s, struct storage *x, const struct failing *f)
{
    bool fired = false;
    for (int64_t tick = 1; tick < 4; tick++) {
        nfields = tick == 1 ? 1 : 2;
        sampler_once(s, tick * 10000, tick * 10000);
        if (tick == 2)
            storage_journal(x, s);
        if (tick == f->tick)
            faults_arm(f->what, f->n, 0);
        sampler_cut(s);
        if (tick == f->tick)
            fired = faults_disarm();
    }
    return fired;
}

static bool buffered_once(const struct config *config, struct rn_loop *loop,
                          const struct failing *f)
{
    char folder[64] = "/tmp/runnel-absence-XXXXXX";
    const struct storage_hooks hooks = {.changed = on_changed, .sends = sends, .fatal = on_fatal};
    struct agent_settings settings = config->settings;
    struct encoder *encoder;
    struct storage *x;
    struct sampler *s;
    assert_non_null(mkdtemp(folder));
    snprintf(settings.data, sizeof settings.data, "%s", folder);
    settings.buffer_max_age_ms = 0; // the ticks are from 1970
    assert_int_equal(encoder_new(&encoder, config_encodings(&settings), NULL), RN_OK);
    assert_int_equal(storage_new(&x, loop, &settings, encoder, 0, &hooks, NULL), RN_OK);
    const struct sampler_hooks sampling = {.arg = x, .batch = keep_batch, .trouble = on_trouble};
    assert_int_equal(sampler_new(&s, config, &sampling, NULL), RN_OK);
    bool fired = fill_buffer(s, x, f);
    const struct rn_ledger *ledger = &store_state(storage_store(x))->ledger;
    if (ledger->produced != 1 + 2 + 2 || ledger->pending != 1 + 2 + 2 || refused_by(s) != 0)
        fail_msg("kind %u, tick %d, allocation %ld: %llu produced, %llu pending, %llu refused",
                 f->what, (int)f->tick, f->n, (unsigned long long)ledger->produced,
                 (unsigned long long)ledger->pending, (unsigned long long)refused_by(s));
    sampler_free(s);
    storage_free(x);
    encoder_free(encoder);
    assert_int_equal(rn_remove_tree(folder, NULL), RN_OK);
    return fired;
}

static void every_sample_is_buffered_once_whatever_allocation_fails(void **state)
{
    (void)state;
    static const struct rn_collector *const table[] = {&grows};
    static const struct failing cases[] = {
        {FAULT_ALLOC, 1, 1}, {FAULT_ALLOC, 2, 1}, {FAULT_SQL, 1, 1}, {FAULT_SQL, 2, 1}};
    struct config *config = NULL;
    struct rn_loop *loop;
    int failures = 0;
    assert_int_equal(config_new(&config, table, 1, false, NULL), RN_OK);
    assert_int_equal(config_finish(config, NULL), RN_OK);
    assert_int_equal(rn_loop_new(&loop, NULL), RN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (struct failing f = cases[i]; buffered_once(config, loop, &f); f.n++)
            failures++;
    assert_true(failures > 10);
    rn_loop_free(loop);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_never_beyond_encoding_for_lack_of_memory),
        cmocka_unit_test(the_machine_stays_the_same_or_is_unknown),
        cmocka_unit_test(an_entry_that_is_no_folder_is_no_card),
        cmocka_unit_test(epochs_that_cannot_be_read_are_not_begun_anew),
        cmocka_unit_test(a_batch_is_sent_under_its_own_schema),
        cmocka_unit_test(a_window_that_is_never_cut_is_counted),
        cmocka_unit_test(a_batch_that_is_not_taken_comes_again_or_is_counted),
        cmocka_unit_test(every_sample_is_buffered_once_whatever_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
