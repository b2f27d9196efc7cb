// Grid: cells become values exactly, and a double becomes a cell only if it comes back bit for bit.
#include <runnel/grid.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static _Alignas(8) uint8_t storage[4096];

static struct rn_grid grid_of(uint32_t n, uint32_t ncolumns, uint32_t text_cap)
{
    struct rn_grid grid;
    memset(storage, 0xee, sizeof storage);
    assert_int_equal(rn_grid_init(&grid, n, ncolumns, text_cap, storage,
                                  rn_grid_bytes(n, ncolumns, text_cap), NULL),
                     RN_OK);
    return grid;
}

static struct rn_field field_of(enum rn_type type, uint8_t decimals, uint32_t mul)
{
    return (struct rn_field){
        .name = {(const uint8_t *)"f", 1}, .type = type, .decimals = decimals, .mul = mul};
}

static bool read_scaled(int64_t scaled, enum rn_type type, uint8_t decimals, uint32_t mul,
                        struct rn_value *out)
{
    struct rn_grid grid = grid_of(1, 1, 0);
    struct rn_field field = field_of(type, decimals, mul);
    grid.cells[0].i = scaled;
    grid.states[0] = RN_CELL_SCALED;
    return rn_grid_value(&grid, &field, 0, 0, out);
}

static void a_new_grid_is_missing_everywhere(void **state)
{
    (void)state;
    struct rn_grid grid = grid_of(7, 5, 16);
    struct rn_field field = field_of(RN_INT, 0, 1);
    struct rn_value value;
    assert_int_equal(rn_grid_samples(&grid), 0);
    for (uint32_t tick = 0; tick < 7; tick++) {
        assert_int_equal(grid.times[tick], 0);
        for (uint32_t column = 0; column < 5; column++)
            assert_false(rn_grid_value(&grid, &field, column, tick, &value));
    }
}

static void refuses_too_many_cells_and_too_little_storage(void **state)
{
    (void)state;
    struct rn_grid grid;
    struct rn_err err;
    assert_int_equal(rn_grid_init(&grid, 16384, 2, 0, storage, SIZE_MAX, &err), RN_ELIMIT);
    assert_int_equal(rn_grid_init(&grid, 0x10000, 0x10000, 0, storage, SIZE_MAX, &err), RN_ELIMIT);
    size_t need = rn_grid_bytes(4, 4, 10);
    assert_int_equal(rn_grid_init(&grid, 4, 4, 10, storage, need - 1, &err), RN_EINVAL);
    assert_int_equal(rn_grid_init(&grid, 4, 4, 10, storage, need, &err), RN_OK);
}

static void cells_lie_column_by_column_and_are_counted(void **state)
{
    (void)state;
    struct rn_grid grid = grid_of(3, 2, 0);
    struct rn_field field = field_of(RN_INT, 0, 1);
    assert_int_equal(rn_grid_at(&grid, 1, 2), 5);
    grid.cells[rn_grid_at(&grid, 1, 2)].i = -42;
    grid.states[rn_grid_at(&grid, 1, 2)] = RN_CELL_SCALED;
    struct rn_value value;
    assert_true(rn_grid_value(&grid, &field, 1, 2, &value));
    assert_int_equal(value.i, -42);
    assert_int_equal(rn_grid_samples(&grid), 1);
}

static void text_lives_in_the_grid_until_it_is_full(void **state)
{
    (void)state;
    struct rn_grid grid = grid_of(3, 1, 5);
    struct rn_field field = field_of(RN_TEXT, 0, 1);
    struct rn_value value;
    assert_int_equal(rn_grid_set_text(&grid, 0, 0, rn_span_text("abc")), RN_OK);
    assert_int_equal(rn_grid_set_text(&grid, 0, 1, rn_span_text("def")), RN_ELIMIT);
    assert_int_equal(rn_grid_set_text(&grid, 0, 1, rn_span_text("de")), RN_OK);
    assert_int_equal(rn_grid_set_text(&grid, 0, 2, (struct rn_span){NULL, 0}), RN_OK);
    assert_true(rn_grid_value(&grid, &field, 0, 0, &value));
    assert_true(rn_span_eq_text(value.text, "abc"));
    assert_true(rn_grid_value(&grid, &field, 0, 1, &value));
    assert_true(rn_span_eq_text(value.text, "de"));
    assert_true(rn_grid_value(&grid, &field, 0, 2, &value));
    assert_int_equal(value.text.len, 0);
    assert_int_equal(rn_grid_samples(&grid), 3);
}

static void a_cell_of_another_sort_than_its_field_has_no_value(void **state)
{
    (void)state;
    struct rn_grid grid = grid_of(1, 1, 4);
    struct rn_field number = field_of(RN_INT, 0, 1), text = field_of(RN_TEXT, 0, 1);
    struct rn_value value;
    assert_int_equal(rn_grid_set_text(&grid, 0, 0, rn_span_text("x")), RN_OK);
    assert_false(rn_grid_value(&grid, &number, 0, 0, &value));
    grid.states[0] = RN_CELL_DOUBLE;
    assert_false(rn_grid_value(&grid, &number, 0, 0, &value));
    grid.states[0] = RN_CELL_SCALED;
    assert_false(rn_grid_value(&grid, &text, 0, 0, &value));
    grid.states[0] = 77;
    assert_false(rn_grid_value(&grid, &number, 0, 0, &value));
}

static void scaled_integers_become_values(void **state)
{
    (void)state;
    struct rn_value value;
    assert_true(read_scaled(INT64_MIN, RN_INT, 0, 1, &value));
    assert_true(value.i == INT64_MIN);
    assert_true(read_scaled(-3, RN_INT, 0, 1024, &value));
    assert_int_equal(value.i, -3072);
    assert_true(read_scaled(-1, RN_UINT, 0, 1, &value));
    assert_true(value.u == UINT64_MAX);
    assert_true(read_scaled(1234, RN_FLOAT, 2, 1, &value));
    assert_true(value.d == 12.34);
    assert_true(read_scaled(7, RN_FLOAT, 3, 4096, &value));
    assert_true(value.d == 28.672);
    assert_true(read_scaled(1, RN_BOOL, 0, 1, &value));
    assert_true(value.b);
    assert_true(read_scaled(0, RN_BOOL, 0, 1, &value));
    assert_false(value.b);
}

static void a_product_beyond_64_bits_has_no_value(void **state)
{
    (void)state;
    struct rn_value value;
    assert_false(read_scaled(INT64_MAX / 1024 + 1, RN_INT, 0, 1024, &value));
    assert_true(read_scaled(INT64_MAX / 1024, RN_INT, 0, 1024, &value));
    assert_false(read_scaled(INT64_MIN, RN_INT, 0, 2, &value));
    // An unsigned cell is its bit pattern: 2^63 x 2 is too much, (2^63 - 1) x 2 is not.
    assert_false(read_scaled(INT64_MIN, RN_UINT, 0, 2, &value));
    assert_true(read_scaled(INT64_MAX, RN_UINT, 0, 2, &value));
    assert_true(value.u == UINT64_MAX - 1);
    assert_false(read_scaled(INT64_MAX, RN_FLOAT, 2, 2, &value));
}

static void a_double_scales_only_if_it_comes_back_bit_for_bit(void **state)
{
    (void)state;
    int64_t scaled;
    assert_true(rn_scale_double(12.34, 2, 1, &scaled));
    assert_int_equal(scaled, 1234);
    assert_false(rn_scale_double(12.345, 2, 1, &scaled));
    assert_true(rn_scale_double(0.1, 1, 1, &scaled));
    assert_false(rn_scale_double(0.1 + 0.2, 1, 1, &scaled)); // 0.30000000000000004
    assert_true(rn_scale_double(-0.5, 1, 1, &scaled));
    assert_int_equal(scaled, -5);
    assert_true(rn_scale_double(0.0, 0, 1, &scaled));
    assert_int_equal(scaled, 0);
    assert_false(rn_scale_double(-0.0, 0, 1, &scaled)); // its sign would be lost
    assert_true(rn_scale_double(28.672, 3, 4096, &scaled));
    assert_int_equal(scaled, 7);
    assert_false(rn_scale_double(28.673, 3, 4096, &scaled));
}

static void what_is_not_finite_or_too_large_does_not_scale(void **state)
{
    (void)state;
    int64_t scaled = 99;
    const double bad[] = {(double)NAN, (double)INFINITY, (double)-INFINITY, 0x1p63, 1e300, -1e19};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (uint8_t decimals = 0; decimals <= 16; decimals++)
            assert_false(rn_scale_double(bad[i], decimals, 1, &scaled));
    assert_int_equal(scaled, 99);
    assert_true(rn_scale_double(-0x1p63, 0, 1, &scaled));
    assert_true(scaled == INT64_MIN);
    assert_false(rn_scale_double(5e-324, 15, 1, &scaled));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_grid_is_missing_everywhere),
        cmocka_unit_test(refuses_too_many_cells_and_too_little_storage),
        cmocka_unit_test(cells_lie_column_by_column_and_are_counted),
        cmocka_unit_test(text_lives_in_the_grid_until_it_is_full),
        cmocka_unit_test(a_cell_of_another_sort_than_its_field_has_no_value),
        cmocka_unit_test(scaled_integers_become_values),
        cmocka_unit_test(a_product_beyond_64_bits_has_no_value),
        cmocka_unit_test(a_double_scales_only_if_it_comes_back_bit_for_bit),
        cmocka_unit_test(what_is_not_finite_or_too_large_does_not_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
