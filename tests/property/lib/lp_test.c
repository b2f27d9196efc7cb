// Line protocol out and in again, with names and texts that mean harm and numbers of every size.
// Repeat a failure with SEED=<the number printed>.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/rand.h>
#include <runnel/text.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 400
#define TAGS   3
#define FIELDS 4
#define SERIES 3
#define TICKS  3

static struct rn_rand rng;

static uint64_t seed_of(uint64_t fallback)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : fallback;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

// ---- hostile names -----------------------------------------------------------------------------

static char pool[1 << 16];
static size_t pool_used;

static const char *const parts[] = {"a",
                                    "b",
                                    ",",
                                    "=",
                                    " ",
                                    "\\",
                                    "\\\\",
                                    "\"",
                                    "\n",
                                    "\r",
                                    "\t",
                                    "\x01",
                                    "\x7f",
                                    "#",
                                    "\xff",
                                    "\xc3",
                                    "\xe2\x82",
                                    "\xe2\x82\xac",
                                    "\xc2\x85",
                                    "m,host=evil v=1 1",
                                    "\nm v=1\n",
                                    "\\\n",
                                    "host",
                                    "i",
                                    "\xed\xa0\x80",
                                    "'",
                                    "{}"};

static struct rn_span hostile(uint32_t max_parts)
{
    char *at = pool + pool_used;
    size_t len = 0;
    for (uint64_t n = rn_rand_below(&rng, max_parts + 1); n > 0; n--) {
        const char *part = parts[rn_rand_below(&rng, sizeof parts / sizeof *parts)];
        memcpy(at + len, part, strlen(part));
        len += strlen(part);
    }
    pool_used += len;
    return (struct rn_span){(const uint8_t *)at, len};
}

// Names that line protocol carries as they are.
static bool plain(struct rn_span name)
{
    if (!rn_name_valid(name) || name.data[0] == '#')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == '\\' && (i + 1 == name.len || strchr(",= ", name.data[i + 1])))
            return false;
    return true;
}

static bool plain_text(struct rn_span text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((text.data[i] < 0x20 && text.data[i] != '\t') || text.data[i] == 0x7f)
            return false;
    return rn_utf8_valid(text.data, text.len);
}

// ---- a random sheet ----------------------------------------------------------------------------

struct sheet {
    struct rn_tag tags[SERIES][TAGS];
    struct rn_series series[SERIES];
    struct rn_field fields[FIELDS];
    struct rn_group group;
    struct rn_schema schema;
    struct rn_grid grid;
    _Alignas(8) uint8_t storage[16384];
};

static double any_double(void)
{
    for (;;) {
        uint64_t bits = rn_rand_u64(&rng);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            return value;
    }
}

static void fill_cell(struct sheet *s, uint32_t column, uint32_t tick)
{
    const struct rn_field *field = &s->fields[column % FIELDS];
    size_t at = rn_grid_at(&s->grid, column, tick);
    if (rn_rand_below(&rng, 5) == 0)
        return;
    s->grid.states[at] = RN_CELL_SCALED;
    s->grid.cells[at].i = (int64_t)rn_rand_u64(&rng) >> rn_rand_below(&rng, 64);
    if (field->type == RN_BOOL)
        s->grid.cells[at].i &= 1;
    if (field->type == RN_TEXT)
        assert_int_equal(rn_grid_set_text(&s->grid, column, tick, hostile(5)), RN_OK);
    if (field->type == RN_FLOAT && rn_rand_below(&rng, 2)) {
        s->grid.states[at] = RN_CELL_DOUBLE;
        s->grid.cells[at].d = any_double();
    }
}

static void fill(struct sheet *s)
{
    pool_used = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        s->series[i] = (struct rn_series){s->tags[i], (uint32_t)rn_rand_below(&rng, TAGS + 1)};
        for (uint32_t t = 0; t < TAGS; t++) {
            char *key = pool + pool_used; // different keys, hostile after the first two letters
            pool_used += 2;
            key[0] = 'k';
            key[1] = (char)('0' + t);
            struct rn_span rest = hostile(3);
            s->tags[i][t].key = (struct rn_span){(const uint8_t *)key, 2 + rest.len};
            s->tags[i][t].value = hostile(4);
        }
    }
    for (uint32_t f = 0; f < FIELDS; f++) {
        enum rn_type type = (enum rn_type)rn_rand_below(&rng, 5);
        s->fields[f] = (struct rn_field){.name = hostile(4), .type = type, .mul = 1};
        if (type == RN_FLOAT)
            s->fields[f].decimals = (uint8_t)rn_rand_below(&rng, 16);
    }
    s->group = (struct rn_group){hostile(4), 1, s->fields, FIELDS, s->series, SERIES};
    s->schema = (struct rn_schema){
        .unit_ns = 1, .groups = &s->group, .ngroups = 1, .ncolumns = FIELDS * SERIES};
    assert_int_equal(
        rn_grid_init(&s->grid, TICKS, FIELDS * SERIES, 8192, s->storage, sizeof s->storage, NULL),
        RN_OK);
    for (uint32_t tick = 0; tick < TICKS; tick++) {
        s->grid.times[tick] = (int64_t)rn_rand_u64(&rng);
        for (uint32_t column = 0; column < FIELDS * SERIES; column++)
            fill_cell(s, column, tick);
    }
}

// ---- checks ------------------------------------------------------------------------------------

// No database may read a separator where another reads an escaped one: one backslash, never two.
static void one_backslash_before_a_separator(const char *line, size_t len)
{
    bool quoted = false;
    for (size_t i = 1; i < len; i++) {
        if (line[i] == '"' && line[i - 1] == '=')
            quoted = true; // texts follow: they have rules of their own
        if (!quoted && strchr(",= ", line[i]) && line[i - 1] == '\\')
            assert_true(i < 2 || line[i - 2] != '\\');
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
        return !plain_text(a->text) || rn_span_eq(a->text, b->text);
    }
    return false;
}

static void check_name(struct rn_span wanted, struct rn_span found)
{
    assert_true(rn_utf8_valid(found.data, found.len));
    for (size_t i = 0; i < found.len; i++)
        assert_true(found.data[i] >= 0x20 && found.data[i] != 0x7f);
    if (plain(wanted))
        assert_true(rn_span_eq(wanted, found));
}

static void check_tags(const struct rn_series *series, const struct rn_lp_line *line)
{
    uint32_t at = 0;
    bool host = false;
    for (uint32_t i = 0; i < line->ntags; i++) {
        if (rn_span_eq_text(line->tags[i].key, "host")) {
            assert_true(rn_span_eq_text(line->tags[i].value, "dev1"));
            host = true;
            continue;
        }
        while (at < series->ntags && !series->tags[at].value.len)
            at++;
        assert_true(at < series->ntags);
        check_name(series->tags[at].key, line->tags[i].key);
        check_name(series->tags[at].value, line->tags[i].value);
        at++;
    }
    for (; at < series->ntags; at++)
        assert_int_equal(series->tags[at].value.len, 0);
    assert_true(host);
}

// The fields of one series at one tick that a line must have.
static uint32_t wanted_fields(const struct sheet *s, uint32_t series, uint32_t tick,
                              struct rn_named_value out[FIELDS])
{
    uint32_t n = 0;
    for (uint32_t f = 0; f < FIELDS && s->group.measurement.len; f++) {
        out[n].name = s->fields[f].name;
        if (s->fields[f].name.len &&
            rn_grid_value(&s->grid, &s->fields[f], series * FIELDS + f, tick, &out[n].value))
            n++;
    }
    return n;
}

static void check_line(const struct sheet *s, uint32_t series, const struct rn_lp_line *line,
                       const struct rn_named_value *wanted, uint32_t nwanted, int64_t time_ns)
{
    check_name(s->group.measurement, line->measurement);
    check_tags(&s->series[series], line);
    assert_int_equal(line->nfields, nwanted);
    assert_true(line->has_time && line->time_ns == time_ns);
    for (uint32_t f = 0; f < nwanted; f++) {
        if (!memchr(wanted[f].name.data, '"', wanted[f].name.len))
            check_name(wanted[f].name, line->fields[f].name);
        assert_null(memchr(line->fields[f].name.data, '"', line->fields[f].name.len));
        assert_true(same_value(&wanted[f].value, &line->fields[f].value));
    }
}

static void what_is_written_reads_back_and_forges_nothing(void **state)
{
    (void)state;
    static struct sheet s;
    static struct rn_lp_line line;
    struct rn_lp_conf conf = {.host_key = rn_span_text("host"),
                              .host = rn_span_text("dev1"),
                              .uint_form = RN_LP_UINT_AS_U};
    struct rn_buf out;
    struct rn_err err = {.text = ""};
    rn_rand_init(&rng, seed_of(1));
    rn_buf_init(&out, 1 << 20);
    for (int round = 0; round < ROUNDS; round++) {
        fill(&s);
        rn_buf_clear(&out);
        uint64_t values = rn_lp_grid(&out, &s.schema, &s.grid, &conf);
        assert_true(rn_buf_ok(&out));
        char *at = (char *)out.data, *end = at + out.len;
        for (uint32_t tick = 0; tick < TICKS; tick++)
            for (uint32_t series = 0; series < SERIES; series++) {
                struct rn_named_value wanted[FIELDS];
                uint32_t n = wanted_fields(&s, series, tick, wanted);
                if (!n)
                    continue;
                assert_true(at < end);
                char *newline = memchr(at, '\n', (size_t)(end - at));
                assert_non_null(newline);
                one_backslash_before_a_separator(at, (size_t)(newline - at));
                if (rn_lp_parse(at, (size_t)(newline - at), &line, &err) < 0)
                    fail_msg("%s", err.text);
                check_line(&s, series, &line, wanted, n, s.grid.times[tick]);
                values -= n;
                at = newline + 1;
            }
        assert_ptr_equal(at, end); // not a line more
        assert_int_equal(values, 0);
    }
    rn_buf_release(&out);
}

static void any_double_comes_back_bit_for_bit(void **state)
{
    (void)state;
    char text[64];
    struct rn_buf out;
    rn_rand_init(&rng, seed_of(2));
    rn_buf_init_fixed(&out, text, sizeof text - 1);
    for (int i = 0; i < 50000; i++) {
        double value = any_double(), back;
        rn_buf_clear(&out);
        rn_text_double(&out, value);
        text[out.len] = 0;
        back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof back) != 0)
            fail_msg("%a became %s", value, text);
    }
}

static void a_scaled_double_comes_back_bit_for_bit(void **state)
{
    (void)state;
    rn_rand_init(&rng, seed_of(3));
    uint32_t scaled_ones = 0;
    for (int i = 0; i < 50000; i++) {
        uint8_t decimals = (uint8_t)rn_rand_below(&rng, 16);
        uint32_t mul = rn_rand_below(&rng, 3) ? 1 : (uint32_t)rn_rand_u64(&rng) | 1;
        struct rn_field field = {.type = RN_FLOAT, .decimals = decimals, .mul = mul};
        union rn_cell cell = {.i = (int64_t)rn_rand_u64(&rng) >> rn_rand_below(&rng, 64)};
        uint8_t filled = RN_CELL_SCALED;
        struct rn_grid grid = {.n = 1, .ncolumns = 1, .cells = &cell, .states = &filled};
        struct rn_value value, again;
        if (!rn_grid_value(&grid, &field, 0, 0, &value) ||
            !rn_scale_double(value.d, decimals, mul, &cell.i))
            continue;
        scaled_ones++;
        assert_true(rn_grid_value(&grid, &field, 0, 0, &again));
        assert_memory_equal(&again.d, &value.d, sizeof again.d);
    }
    assert_true(scaled_ones > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back_and_forges_nothing),
        cmocka_unit_test(any_double_comes_back_bit_for_bit),
        cmocka_unit_test(a_scaled_double_comes_back_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
