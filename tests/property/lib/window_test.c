// Window against a model that keeps every value in a plain list: random points with series and
// fields that come and go, types that clash, doubles of every size, windows cut at random.
// Repeat a failure with SEED=<the number printed>.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/rand.h>
#include <runnel/window.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS     300
#define NAMES      3 // measurements, tag values and field names each
#define MAX_VALUES 20000

static struct rn_rand rng;
static const char *const measurements[NAMES] = {"m0", "m1", "m2"};
static const char *const tag_values[NAMES + 1] = {NULL, "t0", "t1", "t2"};
static const char *const field_names[NAMES + 1] = {"f0", "f1", "f2", "f3"};
static const char *const texts[] = {"", "x", "a longer text"};

struct model_value {
    int64_t time;
    uint32_t measurement, tag, field;
    struct rn_value value;
    bool seen;
};

static struct model_value model[MAX_VALUES];
static uint32_t nmodel;
// The type that a field of a series has had since the series appeared; -1: none.
static int types[NAMES][NAMES + 1][NAMES + 1];
static bool alive[NAMES][NAMES + 1]; // had a value in the open window

static uint64_t seed_of(uint64_t fallback)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : fallback;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t below(uint32_t bound)
{
    return (uint32_t)rn_rand_below(&rng, bound);
}

static double any_double(void)
{
    double value = (double)(int64_t)(rn_rand_u64(&rng) % 2000001) - 1000000;
    switch (below(7)) {
    case 0:
        return value / 1e3;
    case 4:
        return (double)(rn_rand_u64(&rng) >> 11); // up to 2^53
    case 1:
        return value / 7;
    case 2:
        return value * 1e12;
    case 3:
        return -0.0;
    default:
        return value / 4;
    }
}

static struct rn_value any_value(void)
{
    struct rn_value value = {.type = (enum rn_type)below(5)};
    switch (below(8) ? RN_FLOAT : value.type) { // mostly floats
    case RN_INT:
        return (struct rn_value){RN_INT, {.i = (int64_t)rn_rand_u64(&rng)}};
    case RN_UINT:
        return (struct rn_value){RN_UINT, {.u = rn_rand_u64(&rng)}};
    case RN_BOOL:
        return (struct rn_value){RN_BOOL, {.b = below(2)}};
    case RN_TEXT:
        return (struct rn_value){RN_TEXT, {.text = rn_span_text(texts[below(3)])}};
    default:
        return (struct rn_value){RN_FLOAT, {.d = any_double()}};
    }
}

static bool same_value(const struct rn_value *a, const struct rn_value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case RN_INT:
        return a->i == b->i;
    case RN_UINT:
        return a->u == b->u;
    case RN_FLOAT:
        return memcmp(&a->d, &b->d, sizeof a->d) == 0;
    case RN_BOOL:
        return a->b == b->b;
    case RN_TEXT:
        return rn_span_eq(a->text, b->text);
    }
    return false;
}

// ---- the model ---------------------------------------------------------------------------------

static struct model_value *model_find(int64_t time, uint32_t m, uint32_t t, uint32_t f)
{
    for (uint32_t i = nmodel; i > 0; i--) {
        struct model_value *at = &model[i - 1];
        if (at->time == time && at->measurement == m && at->tag == t && at->field == f)
            return at;
    }
    return NULL;
}

// Returns false if the value must be refused.
static bool model_add(int64_t time, uint32_t m, uint32_t t, uint32_t f, struct rn_value value)
{
    if (types[m][t][f] >= 0 && types[m][t][f] != (int)value.type)
        return false;
    types[m][t][f] = (int)value.type;
    alive[m][t] = true;
    struct model_value *at = model_find(time, m, t, f);
    if (!at) {
        assert_true(nmodel < MAX_VALUES);
        at = &model[nmodel++];
    }
    *at = (struct model_value){time, m, t, f, value, false};
    return true;
}

static void model_clear(void)
{
    nmodel = 0;
    for (uint32_t m = 0; m < NAMES; m++)
        for (uint32_t t = 0; t <= NAMES; t++) {
            for (uint32_t f = 0; f <= NAMES && !alive[m][t]; f++)
                types[m][t][f] = -1;
            alive[m][t] = false;
        }
}

// ---- comparison --------------------------------------------------------------------------------

static uint32_t index_of(const char *const *names, uint32_t count, struct rn_span name)
{
    for (uint32_t i = 0; i < count; i++)
        if (names[i] && rn_span_eq_text(name, names[i]))
            return i;
    fail_msg("a name that was never given");
    return 0;
}

static void compare(const struct rn_schema *schema, const struct rn_grid *grid)
{
    struct rn_column_ref ref;
    uint64_t found = 0;
    assert_int_equal(rn_schema_check(schema, NULL), RN_OK);
    for (uint32_t column = 0; rn_schema_column(schema, column, &ref); column++) {
        uint32_t m = index_of(measurements, NAMES, ref.group->measurement);
        uint32_t t =
            ref.series->ntags ? index_of(tag_values, NAMES + 1, ref.series->tags[0].value) : 0;
        uint32_t f = index_of(field_names, NAMES + 1, ref.field->name);
        for (uint32_t tick = 0; tick < grid->n; tick++) {
            struct rn_value value;
            if (!rn_grid_value(grid, ref.field, column, tick, &value))
                continue;
            struct model_value *wanted = model_find(grid->times[tick], m, t, f);
            if (!wanted || wanted->seen) {
                fail_msg("a value that was never given");
                return;
            }
            wanted->seen = true;
            assert_true(same_value(&wanted->value, &value));
            found++;
        }
    }
    assert_int_equal(found, nmodel);
    assert_int_equal(rn_grid_samples(grid), nmodel);
}

// ---- the test ----------------------------------------------------------------------------------

// Adds one random point to both; returns how many values must have been refused.
static uint32_t add_point(struct rn_window *window, int64_t time, uint32_t busy)
{
    uint32_t m = below(NAMES), t = below(busy), n = 1 + below(3), refused = 0;
    struct rn_tag tag = {rn_span_text("k"), rn_span_text(t ? tag_values[t] : "")};
    struct rn_named_value values[3];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t f = below(NAMES + 1);
        values[i] = (struct rn_named_value){rn_span_text(field_names[f]), any_value()};
        refused += !model_add(time, m, t, f, values[i].value);
    }
    int rc = rn_window_add_values(window, rn_span_text(measurements[m]), &tag, t ? 1 : 0, values, n,
                                  NULL);
    assert_int_equal(rc, refused ? RN_EINVAL : RN_OK);
    return refused;
}

static void one_window(struct rn_window *window, int64_t *time, uint64_t *refused)
{
    uint32_t busy = 1 + below(NAMES + 1); // some windows see few series only
    for (uint32_t ticks = 1 + below(12); ticks > 0; ticks--) {
        *time += 1 + below(5);
        assert_int_equal(rn_window_tick(window, *time, NULL), RN_OK);
        for (uint32_t points = below(8); points > 0; points--)
            *refused += add_point(window, *time, busy);
    }
    assert_int_equal(rn_window_samples(window), nmodel);
    assert_int_equal(rn_window_refused(window), *refused);
    const struct rn_schema *schema;
    const struct rn_grid *grid;
    bool changed;
    int rc = rn_window_cut(window, &schema, &grid, &changed, NULL);
    assert_int_equal(rc, nmodel ? RN_OK : RN_ENOENT);
    if (rc == RN_OK)
        compare(schema, grid);
    rn_window_clear(window);
    model_clear();
}

static void the_window_gives_back_what_a_list_would(void **state)
{
    (void)state;
    struct rn_window_conf conf = {
        .unit_ns = 1, .step = 0, .max_columns = 100, .max_ticks = 100, .max_text = 8000};
    struct rn_window *window;
    int64_t time = 0;
    uint64_t refused = 0;
    rn_rand_init(&rng, seed_of(1));
    assert_int_equal(rn_window_new(&window, &conf, NULL), RN_OK);
    memset(alive, 0, sizeof alive);
    model_clear();
    for (int round = 0; round < ROUNDS; round++)
        one_window(window, &time, &refused);
    assert_true(refused > 0); // clashes did occur
    rn_window_free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_gives_back_what_a_list_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
