// Window when memory runs out: at every single allocation what was taken stays, what was not is
// counted, and the window goes on working.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/faults.h"
#include <runnel/window.h>

#include <stdio.h>
#include <string.h>

static uint64_t given; // values that were to be taken

static void add(struct rn_window *window, const char *measurement, const char *tag_value,
                uint32_t nvalues, int64_t base)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct rn_tag tag = {rn_span_text("k"), rn_span_text(tag_value)};
    struct rn_named_value values[4];
    for (uint32_t i = 0; i < nvalues; i++)
        values[i] = (struct rn_named_value){rn_span_text(names[i]),
                                            {.type = RN_INT, .i = base + (int64_t)i}};
    values[0].value = (struct rn_value){RN_TEXT, {.text = rn_span_text("some text")}};
    given += nvalues;
    int rc =
        rn_window_add_values(window, rn_span_text(measurement), &tag, 1, values, nvalues, NULL);
    assert_true(rc == RN_OK || rc == RN_EINVAL || rc == RN_ENOMEM);
}

// Series come, grow and go over several windows. Returns how many values came out.
static uint64_t live(struct rn_window *window)
{
    uint64_t kept = 0;
    char tag[16];
    for (int64_t round = 0; round < 4; round++) {
        for (int64_t t = 0; t < 20; t++) {
            if (rn_window_tick(window, round * 20 + t, NULL) < 0)
                continue; // there is no memory for this tick: nothing is given
            for (int series = 0; series < 4 + round * 3; series++) {
                snprintf(tag, sizeof tag, "s%d", series + (int)round);
                add(window, series % 2 ? "m" : "n", tag, 1 + (uint32_t)(t > 5) * 3, t);
            }
        }
        const struct rn_schema *schema;
        const struct rn_grid *grid;
        bool changed;
        int rc = rn_window_cut(window, &schema, &grid, &changed, NULL);
        if (rc == RN_ENOMEM) // the values are still there
            rc = rn_window_cut(window, &schema, &grid, &changed, NULL);
        assert_int_equal(rc, RN_OK);
        assert_int_equal(rn_schema_check(schema, NULL), RN_OK);
        assert_int_equal(rn_grid_samples(grid), rn_window_samples(window));
        kept += rn_grid_samples(grid);
        rn_window_clear(window);
    }
    return kept;
}

static void every_value_is_kept_or_counted_whatever_allocation_fails(void **state)
{
    (void)state;
    struct rn_window_conf conf = {
        .unit_ns = 1, .step = 1, .max_columns = 500, .max_ticks = 100, .max_text = 20000};
    for (long n = 1;; n++) {
        struct rn_window *window = NULL;
        given = 0;
        faults_arm(FAULT_ALLOC, n, 0);
        int rc = rn_window_new(&window, &conf, NULL);
        uint64_t kept = 0, refused = 0;
        if (rc == RN_OK) {
            kept = live(window);
            refused = rn_window_refused(window);
            rn_window_free(window);
        }
        bool fired = faults_disarm();
        assert_int_equal(kept + refused, given);
        if (!fired) {
            assert_int_equal(rc, RN_OK);
            assert_int_equal(refused, 0);
            assert_true(n > 50); // there were allocations to fail
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_kept_or_counted_whatever_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
