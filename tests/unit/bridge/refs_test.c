// What a batch refers to, found and placed; and the judgement of its envelope.
#include "bridge/refs.h"

#include "bridge/envelope.h"
#include "tests/support/log_fixture.h"

#include <runnel/db.h>

#include <cmocka.h>

struct bench {
    struct log_fixture fix;
    struct schemas *schemas;
    struct fleet_install in;
    struct refs refs;
    struct rn_batch_info batch;
};

static int setup(void **state)
{
    struct rn_err err;
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fixture_open(&b->fix);
    fixture_ok(schemas_open(&b->schemas, b->fix.folder, &err), &err);
    b->in.id = 7;
    b->batch = (struct rn_batch_info){.schema_id = 1,
                                      .hints_id = 1,
                                      .base_id = 1,
                                      .has_hints = true,
                                      .has_base = true,
                                      .n = 1,
                                      .enc = RN_ENC_RANGE};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    schemas_close(b->schemas);
    fixture_close_log(&b->fix);
    fixture_remove(&b->fix);
    free(b);
    return 0;
}

static void put(struct bench *b, enum rn_object kind, const struct rn_buf *bytes, bool whole)
{
    struct rn_err err;
    struct schemas_taken taken;
    struct rn_key_msg msg = {
        .install = 7, .kind = kind, .id = 1, .has_object = whole, .object = rn_buf_span(bytes)};
    assert_true(rn_buf_ok(bytes));
    rn_sha256(msg.hash, bytes->data, bytes->len);
    fixture_ok(schemas_take(b->schemas, "dev", &msg, &taken, &err), &err);
    refs_forget(&b->in);
}

static void give(struct bench *b, enum rn_object kind, uint32_t ncolumns, bool whole)
{
    static struct rn_base base;
    static struct rn_hints hints;
    struct rn_err err;
    struct rn_buf bytes;
    rn_buf_init(&bytes, RN_SCHEMA_MAX_BYTES);
    base = (struct rn_base){.ncolumns = ncolumns};
    hints = (struct rn_hints){.ncolumns = ncolumns};
    fixture_ok(kind == RN_OBJECT_SCHEMA  ? rn_schema_encode(&b->fix.schema, &bytes, &err)
               : kind == RN_OBJECT_HINTS ? rn_hints_encode(&hints, &bytes)
                                         : rn_base_encode(&base, &bytes),
               &err);
    put(b, kind, &bytes, whole);
    rn_buf_release(&bytes);
}

static void give_all(struct bench *b)
{
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++)
        give(b, kind, FIXTURE_FIELDS, true);
}

static void find(struct bench *b)
{
    struct rn_err err;
    fixture_ok(refs_find(&b->refs, b->schemas, "dev", &b->in, &b->batch, &err), &err);
}

static int lacking(const struct bench *b)
{
    int bits = 0;
    for (int i = 0; i < NREFS; i++)
        bits |= ref_lacking(&b->refs.ref[i]) << i;
    return bits;
}

static void all_that_is_lacking_is_known_at_once(void **state)
{
    struct bench *b = *state;
    find(b);
    assert_int_equal(lacking(b), 7);
    give(b, RN_OBJECT_SCHEMA, 0, true);
    give(b, RN_OBJECT_BASE, FIXTURE_FIELDS, false);
    find(b);
    assert_int_equal(lacking(b), 1 << REF_HINTS | 1 << REF_BASE);
    assert_int_equal(b->refs.ref[REF_HINTS].info.row, 0);
    assert_true(b->refs.ref[REF_BASE].info.row > 0); // bound, without content
    give_all(b);
    find(b);
    assert_int_equal(lacking(b), 0);
    b->batch.base_id = 2;
    find(b);
    assert_int_equal(lacking(b), 1 << REF_BASE);
    b->batch.has_base = false;
    find(b);
    assert_int_equal(lacking(b), 0);
}

static void looked_up_bindings_are_kept_apart_by_kind_and_number(void **state)
{
    struct bench *b = *state;
    give_all(b);
    for (int i = 0; i < 3; i++) {
        find(b);
        assert_int_equal(b->refs.ref[REF_SCHEMA].info.step, 0);
        assert_int_equal(b->refs.ref[REF_SCHEMA].info.unit_ns, FIXTURE_NS_MS);
        assert_int_equal(b->refs.ref[REF_HINTS].info.unit_ns, 0);
        assert_true(b->refs.ref[REF_HINTS].info.row != b->refs.ref[REF_BASE].info.row);
    }
    struct rn_err err;
    fixture_ok(schemas_forget(b->schemas, "dev", 7, &err), &err);
    find(b);
    assert_int_equal(lacking(b), 0); // known by heart, until it is told to forget
    refs_forget(&b->in);
    find(b);
    assert_int_equal(lacking(b), 7);
}

static void the_log_gets_what_it_has_not_and_numbers_for_the_row(void **state)
{
    struct bench *b = *state;
    struct rn_err err;
    struct log_row row = {0}, again = {0};
    give_all(b);
    find(b);
    fixture_ok(refs_place(&b->refs, b->schemas, b->fix.log, &row, &err), &err);
    assert_true(row.schema && row.hints && row.base);
    assert_true(row.schema != row.hints && row.hints != row.base && row.base != row.schema);
    struct log_row same = {0};
    find(b);
    fixture_ok(refs_place(&b->refs, b->schemas, b->fix.log, &same, &err), &err); // by heart
    assert_memory_equal(&same, &row, sizeof row);
    // What the log has is not looked for in schemas.db again.
    fixture_ok(schemas_forget(b->schemas, "dev", 7, &err), &err);
    b->batch.has_hints = false;
    find(b);
    fixture_ok(refs_place(&b->refs, b->schemas, b->fix.log, &again, &err), &err);
    assert_int_equal(again.schema, row.schema);
    assert_int_equal(again.hints, 0);
    assert_int_equal(again.base, row.base);
    log_rollback(b->fix.log);
    assert_int_equal(refs_place(&b->refs, b->schemas, b->fix.log, &again, &err), RN_ENOENT);
    assert_int_equal(lacking(b), 1 << REF_SCHEMA);
}

// More bases than bindings are kept by heart: a place that is taken over must not lend its number.
static void numbers_never_get_mixed_up_while_bindings_are_looked_up_in_turn(void **state)
{
    struct bench *b = *state;
    static struct rn_base base;
    struct rn_err err;
    uint8_t last[RN_SHA256_BYTES] = {0};
    give_all(b);
    for (uint32_t id = 2; id <= 20; id++) {
        struct rn_buf bytes;
        struct schemas_taken taken;
        base = (struct rn_base){.ncolumns = FIXTURE_FIELDS, .column = {id}};
        rn_buf_init(&bytes, RN_SCHEMA_MAX_BYTES);
        fixture_ok(rn_base_encode(&base, &bytes), &err);
        struct rn_key_msg msg = {.install = 7,
                                 .kind = RN_OBJECT_BASE,
                                 .id = id,
                                 .has_object = true,
                                 .object = rn_buf_span(&bytes)};
        rn_sha256(msg.hash, bytes.data, bytes.len);
        fixture_ok(schemas_take(b->schemas, "dev", &msg, &taken, &err), &err);
        rn_buf_release(&bytes);
    }
    for (uint32_t i = 0; i < 200; i++) {
        struct log_row row = {0};
        b->batch.base_id = 1 + i * 7 % 20;
        find(b);
        fixture_ok(refs_place(&b->refs, b->schemas, b->fix.log, &row, &err), &err);
        const int64_t numbers[NREFS] = {row.schema, row.hints, row.base};
        for (int k = 0; k < NREFS; k++) {
            int64_t number = 0;
            fixture_ok(log_find_object(b->fix.log, b->refs.ref[k].info.hash, &number, &err), &err);
            assert_int_equal(numbers[k], number);
        }
        assert_memory_not_equal(last, b->refs.ref[REF_BASE].info.hash, sizeof last);
        memcpy(last, b->refs.ref[REF_BASE].info.hash, sizeof last);
        if (i % 30 == 29)
            log_rollback(b->fix.log);
    }
}

static void what_was_damaged_before_it_came_into_the_log_is_lacking(void **state)
{
    struct bench *b = *state;
    struct rn_db *db;
    struct rn_err err;
    struct log_row row = {0};
    char path[128];
    give_all(b);
    snprintf(path, sizeof path, "%s/schemas.db", b->fix.folder);
    struct rn_db_conf conf = {.path = path};
    fixture_ok(rn_db_open(&db, &conf, &err), &err);
    fixture_ok(rn_db_exec(db, "UPDATE object SET body = x'00' WHERE kind = 3", &err), &err);
    rn_db_close(db);
    find(b);
    assert_int_equal(lacking(b), 0);
    assert_int_equal(refs_place(&b->refs, b->schemas, b->fix.log, &row, &err), RN_ENOENT);
    assert_int_equal(lacking(b), 1 << REF_BASE);
    give(b, RN_OBJECT_BASE, FIXTURE_FIELDS, true);
    find(b);
    fixture_ok(refs_place(&b->refs, b->schemas, b->fix.log, &row, &err), &err);
}

// ---- the envelope ------------------------------------------------------------------------------

static void the_envelope_is_judged_by_its_encoding_its_columns_and_its_time(void **state)
{
    (void)state;
    struct refs refs = {0};
    struct ref *schema = &refs.ref[REF_SCHEMA], *hints = &refs.ref[REF_HINTS],
               *base = &refs.ref[REF_BASE];
    schema->info = (struct schemas_info){.ncolumns = 10, .unit_ns = 1000000000, .step = 10};
    const struct envelope_window window = {1000000, 2000000};
    struct rn_batch_info batch = {.t0 = 1500, .n = 6, .enc = RN_ENC_RANGE};
    const char *words;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), 0);
    batch.enc = RN_ENC_MAX + 1;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_ENCODING);
    batch.enc = RN_ENC_RANGE;
    hints->named = base->named = true;
    hints->info.ncolumns = base->info.ncolumns = 10;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), 0);
    hints->info.ncolumns = 9;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_SCHEMA);
    assert_non_null(strstr(words, "hints"));
    hints->info.ncolumns = 10;
    base->info.ncolumns = 11;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_SCHEMA);
    assert_non_null(strstr(words, "base"));
    base->named = false;
    batch.n = RN_BATCH_MAX_CELLS / 10 + 1;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_SCHEMA);
    batch.n = 0;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_SCHEMA);
    batch.n = 2;
    batch.t0 = 990; // its second tick is at the edge
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), 0);
    batch.n = 1;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_TIME);
    batch.t0 = 2001;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_TIME);
    batch.t0 = INT64_MAX / 10 * 10;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), RN_REFUSED_TIME);
    schema->info.step = 0; // later ticks are not known here
    batch.t0 = 1;
    assert_int_equal(envelope_check(&batch, &refs, &window, &words), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_lacking_is_known_at_once),
        TEST(looked_up_bindings_are_kept_apart_by_kind_and_number),
        TEST(the_log_gets_what_it_has_not_and_numbers_for_the_row),
        TEST(numbers_never_get_mixed_up_while_bindings_are_looked_up_in_turn),
        TEST(what_was_damaged_before_it_came_into_the_log_is_lacking),
        cmocka_unit_test(the_envelope_is_judged_by_its_encoding_its_columns_and_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
