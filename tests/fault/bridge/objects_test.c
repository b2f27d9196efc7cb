// What batches are decoded with, read while memory lacks: "not now" is never taken for "damaged".
#include "bridge/schemas.h"
#include "tests/support/faults.h"
#include "tests/support/log_fixture.h"

#include <errno.h>

#include <cmocka.h>

#define BATCHES  6
#define ATTEMPTS 1000

// Reads all batches, again after each failure; every one must come, and decoded.
static void read_decoded(struct log_reader *reader)
{
    uint64_t after = 0;
    for (int attempt = 0; after < BATCHES; attempt++) {
        struct log_run *runs[BATCHES];
        struct rn_err err;
        int n = log_read(reader, after, BATCHES, 1 << 20, runs, &err);
        assert_true(attempt < ATTEMPTS);
        for (int i = 0; i < n; i++) {
            if (runs[i]->error)
                fail_msg("batch %llu: %s", (unsigned long long)after + 1, runs[i]->error);
            assert_non_null(runs[i]->run.grid);
            after = runs[i]->run.position;
            log_run_free(runs[i]);
        }
    }
}

static void a_log_reader_without_memory_decodes_everything_later(void **state)
{
    (void)state;
    struct log_fixture fix;
    bool met = true;
    fixture_open(&fix);
    for (int i = 0; i < BATCHES; i++)
        fixture_append(&fix, "dev", rn_clock_utc_ms(), 3, i);
    (void)fixture_commit(&fix);
    long n = 0;
    while (met) {
        struct log_reader *reader;
        struct rn_err err;
        fixture_ok(log_reader_open(&reader, fix.folder, 1 << 20, &err), &err);
        faults_arm(FAULT_ALLOC, ++n, ENOMEM);
        read_decoded(reader);
        met = faults_disarm();
        log_reader_close(reader);
    }
    assert_true(n > BATCHES);
    fixture_close_log(&fix);
    fixture_remove(&fix);
}

static void an_object_that_could_not_be_read_for_lack_of_memory_is_kept(void **state)
{
    (void)state;
    struct log_fixture fix;
    struct rn_err err;
    struct schemas *schemas;
    struct rn_buf object, read;
    uint8_t hash[RN_SHA256_BYTES];
    struct schemas_taken taken;
    fixture_open(&fix);
    fixture_ok(schemas_open(&schemas, fix.folder, &err), &err);
    rn_buf_init(&object, RN_SCHEMA_MAX_BYTES);
    fixture_ok(rn_schema_encode(&fix.schema, &object, &err), &err);
    rn_sha256(hash, object.data, object.len);
    struct rn_key_msg msg = {.install = 7,
                             .kind = RN_OBJECT_SCHEMA,
                             .id = 1,
                             .has_object = true,
                             .object = rn_buf_span(&object)};
    memcpy(msg.hash, hash, sizeof msg.hash);
    fixture_ok(schemas_take(schemas, "dev", &msg, &taken, &err), &err);
    rn_buf_init(&read, RN_SCHEMA_MAX_BYTES);
    faults_arm(FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(schemas_content(schemas, &taken.info, &read, &err), RN_ENOMEM);
    assert_true(faults_disarm());
    fixture_ok(schemas_content(schemas, &taken.info, &read, &err), &err);
    assert_true(rn_span_eq(rn_buf_span(&read), rn_buf_span(&object)));
    rn_buf_release(&object);
    rn_buf_release(&read);
    schemas_close(schemas);
    fixture_close_log(&fix);
    fixture_remove(&fix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_reader_without_memory_decodes_everything_later),
        cmocka_unit_test(an_object_that_could_not_be_read_for_lack_of_memory_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
