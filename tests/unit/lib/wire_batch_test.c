// Schema and batch: what a caller may ask for, bounds, and what each field comes out as.
#include <runnel/cbor.h>
#include <runnel/wire.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEP 10
#define T0   1795255200 // a multiple of 60

// One measurement with the five types, and one that is due every sixth tick.
static struct rn_field all_types[5], slow_field;
static const struct rn_series plain = {NULL, 0};
static struct rn_group groups[2];

static struct rn_schema make_schema(void)
{
    static const char *const names[] = {"i", "u", "f", "b", "t"};
    for (unsigned i = 0; i < 5; i++)
        all_types[i] = (struct rn_field){.name = rn_span_text(names[i]), .type = i, .mul = 1};
    slow_field = (struct rn_field){.name = rn_span_text("slow"), .type = RN_UINT, .mul = 1024};
    groups[0] = (struct rn_group){rn_span_text("all"), 1, all_types, 5, &plain, 1};
    groups[1] = (struct rn_group){rn_span_text("disk"), 6, &slow_field, 1, &plain, 1};
    return (struct rn_schema){
        .unit_ns = 1000000000, .step = STEP, .groups = groups, .ngroups = 2, .ncolumns = 6};
}

#define MAX_TICKS 16
static uint64_t arena[4096];
static uint8_t out_bytes[4096];
static struct rn_err err;

static struct rn_grid make_grid(uint32_t n)
{
    struct rn_grid grid;
    assert_int_equal(rn_grid_init(&grid, n, 6, 256, arena, sizeof arena, &err), RN_OK);
    for (uint32_t i = 0; i < n; i++)
        grid.times[i] = T0 + (int64_t)i * STEP;
    return grid;
}

static void set(struct rn_grid *grid, uint32_t column, uint32_t tick, int64_t value)
{
    size_t at = rn_grid_at(grid, column, tick);
    grid->cells[at].i = value;
    grid->states[at] = RN_CELL_SCALED;
}

static void set_double(struct rn_grid *grid, uint32_t column, uint32_t tick, double value)
{
    size_t at = rn_grid_at(grid, column, tick);
    grid->cells[at].d = value;
    grid->states[at] = RN_CELL_DOUBLE;
}

static int encode(const struct rn_schema *schema, const struct rn_grid *grid, struct rn_buf *out)
{
    rn_buf_init_fixed(out, out_bytes, sizeof out_bytes);
    return rn_batch_encode_body(schema, 3, grid, out, &err);
}

static void a_cell_that_does_not_fit_its_field_is_not_encoded(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_buf out;
    static const struct {
        uint32_t column, tick;
        double literal; // or, if zero:
        int64_t integer;
    } cases[] = {
        {0, 0, 1.5, 0}, {2, 0, (double)NAN, 0}, {2, 0, (double)INFINITY, 0}, {3, 0, 0, 2},
        {3, 0, 0, -1},  {4, 0, 0, 1},           {5, 1, 0, 1 /* not due */},  {5, 0, 0, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rn_grid grid = make_grid(2);
        assert_int_equal(encode(&schema, &grid, &out), RN_OK);
        if (cases[i].literal != 0)
            set_double(&grid, cases[i].column, cases[i].tick, cases[i].literal);
        else
            set(&grid, cases[i].column, cases[i].tick, cases[i].integer);
        assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
        assert_int_equal(out.len, 0);
    }
    struct rn_grid grid = make_grid(1);
    assert_int_equal(rn_grid_set_text(&grid, 4, 0, rn_span_text("\xff")), RN_OK);
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
}

static void times_must_be_those_of_the_step(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_buf out;
    struct rn_grid grid = make_grid(3);
    grid.times[2]++;
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
    grid = make_grid(1);
    grid.times[0]++;
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
    grid.times[0] = -STEP;
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
    grid.times[0] = INT64_MAX / STEP * STEP; // does not fit nanoseconds
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
    schema.step = 0;
    grid = make_grid(3);
    grid.times[1] = T0 - 1;
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
    grid.times[1] = T0;
    assert_int_equal(encode(&schema, &grid, &out), RN_OK);
}

static void ticks_and_cells_are_bounded(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_buf out;
    struct rn_grid grid = make_grid(1);
    grid.n = 0;
    assert_int_equal(encode(&schema, &grid, &out), RN_ELIMIT);
    grid.n = RN_BATCH_MAX_CELLS / 6 + 1;
    assert_int_equal(encode(&schema, &grid, &out), RN_ELIMIT);
    struct rn_batch_info info = {.n = RN_BATCH_MAX_CELLS / 6 + 1};
    assert_int_equal(rn_batch_grid_bytes(&schema, &info), 0);
    assert_int_equal(rn_batch_decode(&schema, &info, &grid, arena, sizeof arena, &err), RN_ELIMIT);
    info.n = 1;
    assert_int_equal(rn_batch_decode(&schema, &info, &grid, arena, 8, &err), RN_EINVAL);
    grid = make_grid(1);
    grid.ncolumns = 5;
    assert_int_equal(encode(&schema, &grid, &out), RN_EINVAL);
}

static void a_buffer_that_is_too_small_gets_an_error_not_half_a_batch(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_grid grid = make_grid(6);
    for (uint32_t tick = 0; tick < 6; tick++)
        set(&grid, 0, tick, tick * 1000);
    struct rn_buf out;
    assert_int_equal(encode(&schema, &grid, &out), RN_OK);
    size_t len = out.len;
    for (size_t size = 0; size < len; size++) {
        rn_buf_init_fixed(&out, out_bytes, size);
        assert_int_equal(rn_batch_encode_body(&schema, 3, &grid, &out, &err), RN_ELIMIT);
        assert_int_equal(out.len, 0);
    }
}

static void open_takes_the_envelope_apart(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_grid grid = make_grid(2);
    set(&grid, 1, 0, -1); // 2^64 - 1
    set(&grid, 1, 1, 5);
    struct rn_buf out;
    rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
    struct rn_batch_head head = {0xfedcba98, RN_ID_MAX, RN_ID_MAX - 1}, got;
    rn_batch_put_head(&out, &head);
    size_t head_len = out.len;
    assert_int_equal(rn_batch_encode_body(&schema, 3, &grid, &out, &err), RN_OK);
    struct rn_batch_info info;
    struct rn_span body;
    assert_int_equal(rn_batch_open(rn_buf_span(&out), &got, &info, &body, &err), RN_OK);
    assert_true(got.tag == head.tag && got.seq == head.seq && got.low == head.low);
    assert_ptr_equal(body.data, out_bytes + head_len);
    assert_int_equal(body.len, out.len - head_len);
    assert_true(info.schema_id == 3 && info.t0 == T0 && info.n == 2 && info.enc == 0);
    struct rn_grid back;
    size_t size = rn_batch_grid_bytes(&schema, &info);
    void *storage = malloc(size);
    assert_int_equal(rn_batch_decode(&schema, &info, &back, storage, size, &err), RN_OK);
    struct rn_value value;
    assert_true(rn_grid_value(&back, &all_types[1], 1, 0, &value));
    assert_true(value.u == UINT64_MAX);
    assert_true(rn_grid_value(&back, &all_types[1], 1, 1, &value));
    assert_true(value.u == 5);
    assert_false(rn_grid_value(&back, &all_types[0], 0, 0, &value));
    assert_int_equal(back.times[1], T0 + STEP);
    free(storage);
}

static void a_flat_minute_costs_little(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_grid grid = make_grid(6);
    for (uint32_t column = 0; column < 4; column++)
        for (uint32_t tick = 0; tick < 6; tick++)
            set(&grid, column, tick, 1);
    for (uint32_t tick = 0; tick < 6; tick++)
        assert_int_equal(rn_grid_set_text(&grid, 4, tick, rn_span_text("idle")), RN_OK);
    set(&grid, 5, 0, 7);
    struct rn_buf out;
    assert_int_equal(encode(&schema, &grid, &out), RN_OK);
    // id 1, t0 5, n 1, enc 1, parts 1, valid 1, varying 2, values 1 + 4 + 5 + 1, ext 1
    assert_int_equal(out.len, 24);
}

static void a_schema_keeps_every_member(void **state)
{
    (void)state;
    static const struct rn_tag tags[] = {
        {{(const uint8_t *)"cpu", 3}, {(const uint8_t *)"cpu0", 4}},
        {{(const uint8_t *)"host", 4}, {(const uint8_t *)"h", 1}}};
    struct rn_series series[2] = {{NULL, 0}, {tags, 2}};
    struct rn_schema schema = make_schema(), back;
    all_types[2] = (struct rn_field){rn_span_text("f"), RN_FLOAT,         RN_STATE, 15,
                                     4000000000U,       rn_span_text("%")};
    groups[0].series = series;
    groups[0].nseries = 2;
    schema.ncolumns = 11;
    struct rn_buf out;
    rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
    assert_int_equal(rn_schema_encode(&schema, &out, &err), RN_OK);
    assert_true(32 * out.len <= sizeof arena); // what the header promises to suffice
    assert_int_equal(rn_schema_decode(rn_buf_span(&out), &back, arena, 32 * out.len, &err), RN_OK);
    assert_int_equal(back.ncolumns, 11);
    assert_int_equal(back.step, STEP);
    assert_int_equal(back.groups[1].every, 6);
    assert_int_equal(back.groups[0].every, 1);
    const struct rn_field *field = &back.groups[0].fields[2];
    assert_true(field->decimals == 15 && field->mul == 4000000000U && field->kind == RN_STATE);
    assert_true(rn_span_eq_text(field->unit, "%"));
    assert_int_equal(back.groups[0].fields[0].mul, 1);
    assert_true(rn_span_eq_text(back.groups[0].series[1].tags[1].key, "host"));
    for (size_t size = 0; size < 64; size += 8)
        assert_int_equal(rn_schema_decode(rn_buf_span(&out), &back, arena, size, &err), RN_ELIMIT);
}

static void a_schema_that_breaks_the_rules_is_not_encoded(void **state)
{
    (void)state;
    struct rn_schema schema = make_schema();
    struct rn_buf out;
    rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
    schema.unit_ns = 5;
    assert_int_equal(rn_schema_encode(&schema, &out, &err), RN_EFORMAT);
    schema = make_schema();
    all_types[0].mul = 0;
    assert_int_equal(rn_schema_encode(&schema, &out, &err), RN_EFORMAT);
    assert_int_equal(out.len, 0);
    schema = make_schema();
    rn_buf_init_fixed(&out, out_bytes, 20);
    assert_int_equal(rn_schema_encode(&schema, &out, &err), RN_ELIMIT);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_that_does_not_fit_its_field_is_not_encoded),
        cmocka_unit_test(times_must_be_those_of_the_step),
        cmocka_unit_test(ticks_and_cells_are_bounded),
        cmocka_unit_test(a_buffer_that_is_too_small_gets_an_error_not_half_a_batch),
        cmocka_unit_test(open_takes_the_envelope_apart),
        cmocka_unit_test(a_flat_minute_costs_little),
        cmocka_unit_test(a_schema_keeps_every_member),
        cmocka_unit_test(a_schema_that_breaks_the_rules_is_not_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
