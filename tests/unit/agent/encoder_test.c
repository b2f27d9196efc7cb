// The encoder: the smallest body wins, a refused encoding is left out, a refused batch comes back
// in encoding 0 with the same cells.
#include "agent/encoder.h"
#include "encoder_fixture.h"

enum { TICKS = 60, COLUMNS = 3, TEXTS = TICKS * 8 };

static uint64_t storage[4096];
static struct rn_grid grid;

// A counter, a gauge with decimals and literals among them, a text.
static int make(void **state)
{
    (void)state;
    static struct rn_field fields[COLUMNS];
    fields[0] = (struct rn_field){.name = rn_span_text("bytes"), .type = RN_UINT, .mul = 1};
    fields[1] =
        (struct rn_field){.name = rn_span_text("load"), .type = RN_FLOAT, .decimals = 2, .mul = 1};
    fields[2] = (struct rn_field){.name = rn_span_text("mode"), .type = RN_TEXT, .mul = 1};
    make_schema(fields, COLUMNS, 1);
    assert_int_equal(rn_grid_init(&grid, TICKS, COLUMNS, TEXTS, storage, sizeof storage, NULL),
                     RN_OK);
    for (uint32_t t = 0; t < TICKS; t++) {
        size_t bytes = rn_grid_at(&grid, 0, t), load = rn_grid_at(&grid, 1, t);
        grid.times[t] = FIXTURE_TIME + t;
        grid.states[bytes] = RN_CELL_SCALED;
        grid.cells[bytes].i = 1000000 + 977 * (int64_t)t;
        if (t % 7 == 3)
            continue; // missing
        grid.states[load] = t % 20 ? RN_CELL_SCALED : RN_CELL_DOUBLE;
        if (t % 20)
            grid.cells[load].i = 100 + t % 5;
        else
            grid.cells[load].d = 1.0 / 3;
        assert_int_equal(rn_grid_set_text(&grid, 2, t, rn_span_text(t < 30 ? "idle" : "busy")),
                         RN_OK);
    }
    return 0;
}

static struct encoder *encoder_of(unsigned allowed)
{
    struct encoder *e = NULL;
    assert_int_equal(encoder_new(&e, allowed, NULL), RN_OK);
    return e;
}

// Bytes of the body, and which encoding it is in.
static size_t cut(struct encoder *e, uint32_t *enc)
{
    struct rn_batch_info info;
    struct rn_span body;
    assert_int_equal(encoder_smallest(e, &schema, 3, &grid, &body, NULL), RN_OK);
    assert_int_equal(rn_batch_open_body(body, &info, NULL), RN_OK);
    *enc = info.enc;
    return body.len;
}

static void the_smallest_of_the_allowed_encodings_is_kept(void **state)
{
    (void)state;
    size_t alone[RN_ENC_MAX + 1], least = SIZE_MAX;
    uint32_t enc, best = 0;
    for (uint32_t i = 0; i <= RN_ENC_MAX; i++) {
        struct encoder *e = encoder_of(1u << i);
        alone[i] = cut(e, &enc);
        assert_int_equal(enc, i);
        if (alone[i] < least) {
            least = alone[i];
            best = i;
        }
        encoder_free(e);
    }
    assert_int_not_equal(best, RN_ENC_PLAIN);
    struct encoder *e = encoder_of(7);
    assert_int_equal(cut(e, &enc), least);
    assert_int_equal(enc, best);
    encoder_free(e);
}

static void a_refused_encoding_is_left_out_until_the_next_connection(void **state)
{
    (void)state;
    struct encoder *e = encoder_of(1u << RN_ENC_RANGE);
    uint32_t enc;
    cut(e, &enc);
    assert_int_equal(enc, RN_ENC_RANGE);
    encoder_refused(e, &(struct rn_batch_info){.enc = RN_ENC_RANGE});
    cut(e, &enc);
    assert_int_equal(enc, RN_ENC_PLAIN);
    encoder_connected(e);
    cut(e, &enc);
    assert_int_equal(enc, RN_ENC_RANGE);
    encoder_free(e);
}

static void other_encodings_can_be_allowed_while_it_runs(void **state)
{
    (void)state;
    struct encoder *e = encoder_of(1u << RN_ENC_PLAIN);
    uint32_t enc;
    for (uint32_t wanted = 0; wanted <= RN_ENC_MAX; wanted++) {
        assert_int_equal(encoder_reconf(e, 1u << wanted, NULL), RN_OK);
        cut(e, &enc);
        assert_int_equal(enc, wanted);
    }
    encoder_free(e);
}

static void a_refused_batch_comes_back_in_encoding_0_with_the_same_cells(void **state)
{
    (void)state;
    for (uint32_t from = 1; from <= RN_ENC_MAX; from++) {
        struct encoder *e = encoder_of(1u << from);
        struct rn_span packed, plain;
        struct rn_batch_info info;
        uint8_t sent[4096];
        assert_int_equal(encoder_smallest(e, &schema, 3, &grid, &packed, NULL), RN_OK);
        packed = keep(packed, sent);
        assert_int_equal(encoder_renew(e, schema_object, packed, &info, &plain, NULL), RN_OK);
        assert_int_equal(info.enc, from);
        assert_plain(plain, &grid);
        encoder_free(e);
    }
}

static void what_cannot_be_encoded_anew_is_said(void **state)
{
    (void)state;
    struct encoder *e = encoder_of(1u << RN_ENC_PLAIN);
    struct rn_span body, out;
    uint8_t sent[4096];
    struct rn_batch_info info;
    assert_int_equal(encoder_smallest(e, &schema, 3, &grid, &body, NULL), RN_OK);
    body = keep(body, sent);
    assert_int_equal(encoder_renew(e, schema_object, body, &info, &out, NULL), RN_EINVAL);
    assert_int_equal(info.enc, RN_ENC_PLAIN);
    body.len--;
    assert_true(encoder_renew(e, schema_object, body, &info, &out, NULL) < 0);
    encoder_free(e);
}

// Two series of one field, the first with a rule: the second finds nothing learned.
static struct rn_schema ruled_schema(void)
{
    static struct rn_field field;
    static struct rn_tag tags[2];
    static struct rn_series series[2];
    static struct rn_group group;
    static const struct rn_term term = {1, 1};
    static const struct rn_rule rule = {.num = {.terms = &term, .nterms = 1},
                                        .den = {.constant = 1}};
    field = (struct rn_field){.name = rn_span_text("used"), .type = RN_UINT, .mul = 1};
    for (int i = 0; i < 2; i++) {
        tags[i] = (struct rn_tag){rn_span_text("of"), rn_span_text(i ? "b" : "a")};
        series[i] = (struct rn_series){&tags[i], 1};
    }
    group = one_group(&field, 1, series, 2);
    return (struct rn_schema){.unit_ns = 1000000000,
                              .step = 1,
                              .groups = &group,
                              .ngroups = 1,
                              .ncolumns = 2,
                              .nrules = 1,
                              .rules = &rule};
}

static void what_was_encoded_before_leaves_no_trace(void **state)
{
    (void)state;
    struct rn_schema ruled = ruled_schema();
    struct encoder *e = encoder_of(1u << RN_ENC_RANGE);
    struct rn_grid two;
    struct rn_span body, first;
    uint8_t once[4096];
    uint32_t enc;
    assert_int_equal(rn_schema_check(&ruled, NULL), RN_OK);
    assert_int_equal(rn_grid_init(&two, TICKS, 2, 0, again_storage, sizeof again_storage, NULL),
                     RN_OK);
    for (uint32_t t = 0; t < TICKS; t++) {
        two.times[t] = FIXTURE_TIME + t;
        for (uint32_t c = 0; c < 2; c++) {
            two.states[rn_grid_at(&two, c, t)] = RN_CELL_SCALED;
            two.cells[rn_grid_at(&two, c, t)].i = 5000 + 31 * (int64_t)t;
        }
    }
    assert_int_equal(encoder_smallest(e, &ruled, 3, &two, &body, NULL), RN_OK);
    first = keep(body, once);
    cut(e, &enc);
    assert_int_equal(encoder_smallest(e, &ruled, 3, &two, &body, NULL), RN_OK);
    assert_int_equal(body.len, first.len);
    assert_memory_equal(body.data, first.data, first.len);
    encoder_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_of_the_allowed_encodings_is_kept),
        cmocka_unit_test(a_refused_encoding_is_left_out_until_the_next_connection),
        cmocka_unit_test(other_encodings_can_be_allowed_while_it_runs),
        cmocka_unit_test(a_refused_batch_comes_back_in_encoding_0_with_the_same_cells),
        cmocka_unit_test(what_cannot_be_encoded_anew_is_said),
        cmocka_unit_test(what_was_encoded_before_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
