// What the tests of the encoder share: one schema of one series with its object, and what to do
// with the bodies that come out.
#ifndef TESTS_UNIT_AGENT_ENCODER_FIXTURE_H
#define TESTS_UNIT_AGENT_ENCODER_FIXTURE_H

#include <runnel/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_TIME 1795255200 // of the first tick

static struct rn_schema schema;
static struct rn_span schema_object;
static uint64_t again_storage[8192];

static inline struct rn_group one_group(struct rn_field *fields, uint32_t nfields,
                                        struct rn_series *series, uint32_t nseries)
{
    return (struct rn_group){.measurement = rn_span_text("m"),
                             .every = 1,
                             .fields = fields,
                             .nfields = nfields,
                             .series = series,
                             .nseries = nseries};
}

// Fills schema and schema_object. The fields outlive the test.
static inline void make_schema(struct rn_field *fields, uint32_t nfields, uint64_t step)
{
    static struct rn_series series;
    static struct rn_group group;
    static uint8_t bytes[4096];
    struct rn_buf out;
    group = one_group(fields, nfields, &series, 1);
    schema = (struct rn_schema){
        .unit_ns = 1000000000, .step = step, .groups = &group, .ngroups = 1, .ncolumns = nfields};
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    assert_int_equal(rn_schema_encode(&schema, &out, NULL), RN_OK);
    schema_object = rn_buf_span(&out);
}

// The encoder's own bytes are gone with its next call.
static inline struct rn_span keep(struct rn_span body, uint8_t room[4096])
{
    assert_true(body.len <= 4096);
    memcpy(room, body.data, body.len);
    return (struct rn_span){room, body.len};
}

static inline void assert_same_cells(const struct rn_grid *a, const struct rn_grid *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->ncolumns, b->ncolumns);
    assert_memory_equal(a->times, b->times, a->n * sizeof a->times[0]);
    for (size_t i = 0; i < (size_t)a->n * a->ncolumns; i++) {
        assert_int_equal(a->states[i], b->states[i]);
        if (a->states[i] == RN_CELL_TEXT) {
            struct rn_span one = rn_grid_text(a, i), two = rn_grid_text(b, i);
            assert_int_equal(one.len, two.len);
            assert_memory_equal(one.data, two.data, one.len);
        } else if (a->states[i] != RN_CELL_MISSING) {
            assert_int_equal(a->cells[i].i, b->cells[i].i);
        }
    }
}

// The same batch in encoding 0, with nothing beside, has the same cells.
static inline void assert_plain(struct rn_span plain, const struct rn_grid *grid)
{
    struct rn_batch_info info;
    struct rn_grid again;
    assert_int_equal(rn_batch_open_body(plain, &info, NULL), RN_OK);
    assert_int_equal(info.enc, RN_ENC_PLAIN);
    assert_int_equal(info.schema_id, 3);
    assert_false(info.has_base || info.has_hints);
    assert_int_equal(
        rn_batch_decode(&schema, &info, &again, again_storage, sizeof again_storage, NULL), RN_OK);
    assert_same_cells(grid, &again);
}

#endif
