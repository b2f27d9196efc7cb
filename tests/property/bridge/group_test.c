// Any set of points of any group of runs is shown to a sink as exactly these points: against line
// protocol of the whole grid, which numbers them in its own way.
#include "bridge/group.h"

#include <runnel/rand.h>
#include <runnel/text.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define RUNS       6
#define GROUPS_MAX 5
#define SERIES_MAX 4
#define FIELDS_MAX 3
#define TICKS_MAX  6
#define NAMES      "abcdefghijklmnopqrstuvwxyz"

struct world {
    struct rn_run run[RUNS];
    struct rn_schema schema[RUNS];
    struct rn_group group[RUNS][GROUPS_MAX];
    struct rn_series series[RUNS][GROUPS_MAX][SERIES_MAX];
    struct rn_tag tag[SERIES_MAX];
    struct rn_field field[FIELDS_MAX];
    struct rn_grid grid[RUNS];
    uint64_t storage[RUNS][4096];
    const struct rn_run *runs[RUNS];
};

static struct rn_span letter(uint32_t n)
{
    return (struct rn_span){(const uint8_t *)NAMES + n, 1};
}

static void make_run(struct world *w, uint32_t r, struct rn_rand *rand)
{
    struct rn_schema *schema = &w->schema[r];
    *schema = (struct rn_schema){.unit_ns = 1, .groups = w->group[r]};
    schema->ngroups = 1 + (uint32_t)rn_rand_below(rand, GROUPS_MAX);
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        uint32_t nseries = 1 + (uint32_t)rn_rand_below(rand, SERIES_MAX);
        uint32_t nfields = 1 + (uint32_t)rn_rand_below(rand, FIELDS_MAX);
        for (uint32_t s = 0; s < nseries; s++)
            w->series[r][g][s] = (struct rn_series){&w->tag[s], 1};
        w->group[r][g] =
            (struct rn_group){letter(g), 1, w->field, nfields, w->series[r][g], nseries};
        schema->ncolumns += nseries * nfields;
    }
    uint32_t n = 1 + (uint32_t)rn_rand_below(rand, TICKS_MAX);
    assert_int_equal(rn_grid_init(&w->grid[r], n, schema->ncolumns, 0, w->storage[r],
                                  sizeof w->storage[r], NULL),
                     RN_OK);
    for (uint32_t t = 0; t < n; t++)
        w->grid[r].times[t] = 1000 * (int64_t)t + (int64_t)rn_rand_below(rand, 1000);
    for (uint32_t at = 0; at < n * schema->ncolumns; at++) {
        w->grid[r].cells[at].i = (int64_t)rn_rand_below(rand, 100);
        w->grid[r].states[at] = rn_rand_below(rand, 3) ? RN_CELL_SCALED : RN_CELL_MISSING;
    }
    w->run[r] = (struct rn_run){.dev = "dev", .schema = schema, .grid = &w->grid[r]};
    w->runs[r] = &w->run[r];
}

static void make_world(struct world *w, struct rn_rand *rand)
{
    for (uint32_t i = 0; i < SERIES_MAX; i++)
        w->tag[i] = (struct rn_tag){letter(0), letter(i)};
    for (uint32_t i = 0; i < FIELDS_MAX; i++)
        w->field[i] = (struct rn_field){.name = letter(i), .type = RN_INT, .mul = 1};
    for (uint32_t r = 0; r < RUNS; r++)
        make_run(w, r, rand);
}

// The lines of the runs that are shown, and of the wanted points of the group one by one.
static void lines_shown(const struct group *g, struct rn_buf *out)
{
    struct rn_lp_conf lp = {.uint_form = RN_LP_UINT_AS_U};
    rn_buf_clear(out);
    for (uint32_t i = 0; i < g->nview; i++)
        (void)rn_lp_grid(out, g->view[i]->schema, g->view[i]->grid, &lp);
}

static void lines_wanted(const struct group *g, const struct policy_set *set, struct rn_buf *out)
{
    const struct rn_run *run;
    struct rn_buf line;
    rn_buf_init(&line, 1000);
    rn_buf_clear(out);
    for (uint32_t i = 0; i < g->base[g->n]; i++) {
        if (!policy_set_has(set, i))
            continue;
        rn_buf_clear(&line);
        assert_int_equal(group_line(g, i, &line, &run), 1);
        rn_buf_append(out, line.data, line.len);
        rn_buf_byte(out, '\n');
    }
    rn_buf_release(&line);
}

static void check_numbers(const struct group *g, const struct policy_set *set)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < g->nview; i++) {
        struct sink_walk walk = {.at.run = g->view[i]};
        while (sink_walk_next(&walk)) {
            uint32_t number = group_number(g, (struct sink_point){i, walk.at.index});
            assert_true(number < POLICY_MAX_POINTS && policy_set_has(set, number));
            seen++;
        }
    }
    assert_int_equal(seen, set->count);
}

static void check_one(struct group *g, struct world *w, struct rn_rand *rand)
{
    static struct policy_set set;
    struct rn_buf shown, wanted;
    struct group_window window = {0, rn_rand_below(rand, 2) ? INT64_MAX : 3000};
    rn_buf_init(&shown, 1 << 20);
    rn_buf_init(&wanted, 1 << 20);
    assert_int_equal(group_fill(g, w->runs, RUNS, &window), RUNS);
    memset(&set, 0, sizeof set);
    uint32_t one_in = 1 + (uint32_t)rn_rand_below(rand, 4);
    for (uint32_t i = 0; i < POLICY_MAX_POINTS; i++) {
        assert_false(policy_set_has(&g->all, i) && policy_set_has(&g->outside, i));
        if (policy_set_has(&g->all, i) && rn_rand_below(rand, one_in) == 0)
            policy_set_add(&set, i);
    }
    assert_int_equal(group_show(g, &set), RN_OK);
    lines_shown(g, &shown);
    lines_wanted(g, &set, &wanted);
    assert_string_equal(rn_buf_cstr(&shown), rn_buf_cstr(&wanted));
    check_numbers(g, &set);
    assert_int_equal(group_number(g, (struct sink_point){g->nview, 0}), UINT32_MAX);
    assert_int_equal(group_number(g, (struct sink_point){0, UINT32_MAX}), UINT32_MAX);
    rn_buf_release(&shown);
    rn_buf_release(&wanted);
}

static void a_set_of_points_is_shown_as_exactly_these_points(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    struct group *g = calloc(1, sizeof *g);
    struct world *w = calloc(1, sizeof *w);
    assert_true(g && w);
    for (uint32_t round = 0; round < 300; round++) {
        struct rn_rand rand;
        rn_rand_init(&rand, seed + round);
        make_world(w, &rand);
        check_one(g, w, &rand);
    }
    group_hide(g);
    free(g);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_of_points_is_shown_as_exactly_these_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
