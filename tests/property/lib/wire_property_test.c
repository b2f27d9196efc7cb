// Random schemas and grids come back exactly; mutated messages are accepted or refused, never
// worse. RUNNEL_SEED repeats a run, RUNNEL_ROUNDS makes it longer.
#include <runnel/crc.h>
#include <runnel/rand.h>
#include <runnel/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MAX_GROUPS  4
#define MAX_FIELDS  6
#define MAX_SERIES  4
#define MAX_TAGS    3
#define MAX_COLUMNS (MAX_GROUPS * MAX_FIELDS * MAX_SERIES)
#define MAX_TERMS   2
#define MAX_NAMES   (MAX_GROUPS * (MAX_FIELDS + MAX_SERIES * MAX_TAGS))

static struct rn_rand rng;
static uint64_t seed;
static uint32_t rounds;

// ---- making -------------------------------------------------------------------------------------

struct made {
    struct rn_group groups[MAX_GROUPS];
    struct rn_field fields[MAX_GROUPS][MAX_FIELDS];
    struct rn_series series[MAX_GROUPS][MAX_SERIES];
    struct rn_tag tags[MAX_GROUPS][MAX_SERIES][MAX_TAGS];
    char names[MAX_NAMES][40];
    uint32_t nnames;
    struct rn_rule rules[MAX_COLUMNS];
    struct rn_term terms[MAX_COLUMNS][2][MAX_TERMS];
    struct rn_schema schema;
};

static uint32_t below(uint32_t bound)
{
    return (uint32_t)rn_rand_below(&rng, bound);
}

static bool chance(uint32_t percent)
{
    return below(100) < percent;
}

// Unique and ascending bytewise in the order of the calls; some are not ASCII, some are long.
static struct rn_span make_name(struct made *made)
{
    static const char *const tails[] = {"", "_x", "ü", " ,=\"\\", "✓ ok", "_a_name_that_is_longer"};
    char *name = made->names[made->nnames];
    snprintf(name, sizeof made->names[0], "n%03u%s", made->nnames, tails[below(6)]);
    made->nnames++;
    return rn_span_text(name);
}

static struct rn_field make_field(struct made *made)
{
    struct rn_field field = {.name = make_name(made), .type = below(5), .kind = below(3), .mul = 1};
    if (field.type == RN_FLOAT)
        field.decimals = (uint8_t)below(16);
    if (field.type <= RN_FLOAT && chance(30))
        field.mul = chance(50) ? 1024 : 1 + below(UINT32_MAX);
    if (chance(30))
        field.unit = rn_span_text("By");
    return field;
}

static void make_group(struct made *made, uint32_t g)
{
    struct rn_group *group = &made->groups[g];
    *group = (struct rn_group){.measurement = rn_span_text("m"),
                               .every = chance(50) ? 1 : 1 + below(10),
                               .fields = made->fields[g],
                               .nfields = 1 + below(MAX_FIELDS),
                               .series = made->series[g],
                               .nseries = 1 + below(MAX_SERIES)};
    for (uint32_t i = 0; i < group->nfields; i++)
        made->fields[g][i] = make_field(made);
    for (uint32_t i = 0; i < group->nseries; i++) {
        // Only the first may be without tags: tag sets of a group differ.
        uint32_t ntags = i ? 1 + below(MAX_TAGS) : below(MAX_TAGS + 1);
        made->series[g][i] = (struct rn_series){made->tags[g][i], ntags};
        for (uint32_t j = 0; j < ntags; j++) {
            struct rn_span name = make_name(made);
            made->tags[g][i][j] = (struct rn_tag){name, name};
        }
    }
    made->schema.ncolumns += group->nfields * group->nseries;
}

static int64_t make_factor(void)
{
    return chance(90) ? (int64_t)below(2000) - 1000 : (int64_t)rn_rand_u64(&rng);
}

// Refers to columns below `from`, which have no rule.
static struct rn_linear make_linear(struct rn_term *terms, uint32_t from)
{
    struct rn_linear linear = {.constant = make_factor(), .terms = terms};
    linear.time = chance(20) ? make_factor() : 0;
    for (uint32_t column = 0; column < from && linear.nterms < MAX_TERMS; column++)
        if (chance(40))
            terms[linear.nterms++] = (struct rn_term){column, make_factor()};
    return linear;
}

// The last columns have rules, in any order.
static void make_rules(struct made *made)
{
    uint32_t columns = made->schema.ncolumns, from = below(columns + 1);
    made->schema.rules = made->rules;
    for (uint32_t i = from; i < columns; i++) {
        struct rn_rule *rule = &made->rules[made->schema.nrules++];
        *rule = (struct rn_rule){.column = columns - 1 - (i - from), .den = {.constant = 1}};
        rule->num = make_linear(made->terms[i][0], from);
        if (chance(50))
            rule->den = make_linear(made->terms[i][1], from);
        if (!rule->den.nterms && !rule->den.time && rule->den.constant < 1)
            rule->den.constant = 1 + below(100);
    }
}

static void make_schema(struct made *made)
{
    static const uint64_t units[] = {1, 1000, 1000000, 1000000000};
    memset(made, 0, sizeof *made);
    made->schema.unit_ns = units[below(4)];
    made->schema.step = chance(30) ? 0 : 1 + below(100);
    made->schema.groups = made->groups;
    made->schema.ngroups = 1 + below(MAX_GROUPS);
    for (uint32_t g = 0; g < made->schema.ngroups; g++)
        make_group(made, g);
    if (chance(50))
        make_rules(made);
}

static uint64_t make_u64(void)
{
    switch (below(5)) {
    case 0:
        return below(3);
    case 1:
        return below(100000);
    case 2:
        return (uint64_t)0 - below(1000);
    case 3:
        return ((uint64_t)1 << 63) + below(5) - 2;
    default:
        return rn_rand_u64(&rng);
    }
}

static double make_double(void)
{
    static const double some[] = {0.1, -0.0, 1.5, 1e300, 5e-324, 65504, 1e-7, 16777217};
    double value = some[below(8)];
    if (chance(50)) {
        uint64_t bits = rn_rand_u64(&rng) & ~((uint64_t)1 << 62); // exponent never all ones
        memcpy(&value, &bits, sizeof value);
    }
    return value;
}

static bool product_fits(const struct rn_field *field, uint64_t value)
{
    int64_t product;
    uint64_t whole;
    if (field->type == RN_UINT)
        return !__builtin_mul_overflow(value, field->mul, &whole);
    return !__builtin_mul_overflow((int64_t)value, field->mul, &product);
}

// A column may have values that differ by multiples of a unit.
struct habit {
    uint64_t start, unit;
};

static struct rn_span make_text(void)
{
    static const char *const texts[] = {"", "on", "off", "größe", "a,b\nc"};
    static char line[80];
    if (chance(70))
        return rn_span_text(texts[below(5)]);
    snprintf(line, sizeof line, "pump %u: pressure %u, %s %s", below(4), below(1000),
             texts[below(5)], chance(50) ? "valve valve valve" : "stopped");
    return rn_span_text(line);
}

// Of a length where one more byte of a length, or a bound, begins; all of a grid together fit a
// batch.
static struct rn_span make_long_text(const struct rn_grid *grid)
{
    static const uint32_t lengths[] = {127,  128,   254,   255,   256,   257,  4095,
                                       8192, 16383, 16384, 32768, 65534, 65535};
    static uint8_t text[RN_TEXT_MAX];
    uint32_t len = lengths[below(13)];
    if (grid->text_len + len > 65536)
        return make_text();
    for (uint32_t i = 0, word = 0; i < len; i++) {
        word = i % 32 ? word : below(8);
        text[i] = (uint8_t)(chance(5) ? ' ' + below(90) : 'a' + (word * 37 + i % 32 * word) % 26);
    }
    return (struct rn_span){text, len};
}

static void make_cell(struct rn_grid *grid, const struct rn_field *field, struct habit habit,
                      uint32_t column, uint32_t tick)
{
    size_t at = rn_grid_at(grid, column, tick);
    if (field->type == RN_TEXT) {
        struct rn_span text = below(1000) < 5 ? make_long_text(grid) : make_text();
        assert_int_equal(rn_grid_set_text(grid, column, tick, text), RN_OK);
    } else if (field->type == RN_FLOAT && chance(30)) {
        grid->cells[at].d = make_double();
        grid->states[at] = RN_CELL_DOUBLE;
    } else {
        uint64_t value = habit.unit ? habit.start + habit.unit * below(30) : make_u64();
        if (field->type == RN_BOOL)
            value &= 1;
        else if (!product_fits(field, value))
            value = 1;
        grid->cells[at].i = (int64_t)value;
        grid->states[at] = RN_CELL_SCALED;
    }
}

static void copy_cell(struct rn_grid *grid, uint32_t column, uint32_t tick)
{
    size_t at = rn_grid_at(grid, column, tick);
    grid->cells[at] = grid->cells[at - 1];
    grid->states[at] = grid->states[at - 1];
}

static void make_times(const struct rn_schema *schema, struct rn_grid *grid)
{
    int64_t t0 = below(2000000000);
    t0 = schema->step ? t0 / (int64_t)schema->step * (int64_t)schema->step : t0;
    for (uint32_t i = 0; i < grid->n; i++)
        grid->times[i] = t0 + (schema->step ? (int64_t)(i * schema->step) : i ? below(100000) : 0);
}

#define GRID_WORDS 40000
static uint64_t made_storage[GRID_WORDS];

static struct rn_grid make_grid(const struct rn_schema *schema)
{
    struct rn_grid grid;
    uint32_t n = 1 + below(chance(20) ? 100 : 12);
    assert_int_equal(
        rn_grid_init(&grid, n, schema->ncolumns, 131072, made_storage, sizeof made_storage, NULL),
        RN_OK);
    make_times(schema, &grid);
    uint32_t missing = chance(40) ? 0 : below(101), same = below(101);
    for (uint32_t column = 0; column < schema->ncolumns; column++) {
        struct rn_column_ref ref;
        assert_true(rn_schema_column(schema, column, &ref));
        struct habit habit = {make_u64(),
                              chance(40) ? 1 + below(chance(80) ? 5000 : UINT32_MAX) : 0};
        for (uint32_t tick = 0; tick < n; tick++) {
            if (!rn_tick_due((uint64_t)grid.times[tick], schema->step, ref.group->every) ||
                chance(missing))
                continue;
            if (tick && chance(same) && grid.states[rn_grid_at(&grid, column, tick - 1)])
                copy_cell(&grid, column, tick);
            else
                make_cell(&grid, ref.field, habit, column, tick);
        }
    }
    return grid;
}

// ---- comparing ----------------------------------------------------------------------------------

static void assert_same_grid(const struct rn_grid *a, const struct rn_grid *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->ncolumns, b->ncolumns);
    assert_memory_equal(a->times, b->times, a->n * sizeof *a->times);
    size_t cells = (size_t)a->n * a->ncolumns;
    assert_memory_equal(a->states, b->states, cells);
    for (size_t at = 0; at < cells; at++) {
        if (a->states[at] == RN_CELL_TEXT)
            assert_true(rn_span_eq(rn_grid_text(a, at), rn_grid_text(b, at)));
        else if (a->states[at] != RN_CELL_MISSING)
            assert_int_equal(a->cells[at].i, b->cells[at].i); // the bits, of doubles too
    }
}

static uint8_t message[RN_BATCH_MAX_BYTES], message2[RN_BATCH_MAX_BYTES];
static uint64_t schema_storage[RN_SCHEMA_STORAGE / 8];

// Encodes a random schema and decodes it into *back; also that it encodes to the same bytes again.
static struct rn_span schema_round(struct made *made, struct rn_schema *back)
{
    static uint8_t bytes[RN_SCHEMA_MAX_BYTES];
    struct rn_err err = {0};
    struct rn_buf out, again;
    make_schema(made);
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    if (rn_schema_encode(&made->schema, &out, &err))
        fail_msg("%s", err.text);
    if (rn_schema_decode(rn_buf_span(&out), back, schema_storage, 32 * out.len, &err))
        fail_msg("%s", err.text);
    rn_buf_init_fixed(&again, message2, sizeof message2);
    assert_int_equal(rn_schema_encode(back, &again, &err), RN_OK);
    assert_true(rn_span_eq(rn_buf_span(&out), rn_buf_span(&again)));
    assert_int_equal(back->ncolumns, made->schema.ncolumns);
    return rn_buf_span(&out);
}

static struct rn_base base;
static struct rn_hints hints;
static uint64_t work[RN_ENCODE_WORK / 8];

// Any base and hints that the schema can have, or none.
static struct rn_coding make_coding(const struct rn_schema *schema)
{
    struct rn_coding with = {.base_id = below(65536), .hints_id = below(65536)};
    uint8_t bytes[2 * 9 * MAX_COLUMNS];
    struct rn_buf out;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    base.ncolumns = hints.ncolumns = schema->ncolumns;
    for (uint32_t i = 0; i < schema->ncolumns; i++) {
        base.column[i] = (int64_t)make_u64();
        hints.column[i] = (struct rn_hint){(uint8_t)below(65), (uint8_t)below(128)};
    }
    assert_int_equal(rn_base_encode(&base, &out), RN_OK);
    with.base = chance(50) ? &base : NULL;
    with.hints = chance(50) ? &hints : NULL;
    return with;
}

static void *decode_batch(const struct rn_schema *schema, struct rn_span bytes,
                          struct rn_grid *grid, int *result)
{
    struct rn_err err;
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span body;
    *result = rn_batch_open(bytes, &head, &info, &body, &err);
    if (*result)
        return NULL;
    // Exactly what is asked for, so that ASan sees a write beyond.
    size_t size = rn_batch_grid_bytes(schema, &info);
    void *storage = malloc(size ? size : 1);
    struct rn_coding with = {.base = &base, .hints = &hints};
    if (info.has_base || info.has_hints)
        *result = rn_batch_decode_with(schema, &info, &with, grid, storage, size, work,
                                       RN_DECODE_WORK, &err);
    else
        *result = rn_batch_decode(schema, &info, grid, storage, size, &err);
    return storage;
}

static size_t text_bytes(const struct rn_grid *grid)
{
    size_t sum = 0;
    for (size_t at = 0; at < (size_t)grid->n * grid->ncolumns; at++)
        if (grid->states[at] == RN_CELL_TEXT)
            sum += rn_grid_text(grid, at).len;
    return sum;
}

// Whether encoding 2 may refuse it: 8,192 bytes of texts, or 81,920 steps, of which a cell or time
// takes at most 100 and a byte of a text 10.
static bool may_be_too_much(const struct rn_grid *grid)
{
    size_t texts = text_bytes(grid), cells = (size_t)grid->n * (grid->ncolumns + 1);
    return texts > 8192 || 100 * cells + 10 * texts > 81920;
}

static struct rn_span encode_batch(const struct rn_schema *schema, const struct rn_grid *grid)
{
    struct rn_err err = {0};
    struct rn_buf out;
    rn_buf_init_fixed(&out, message, sizeof message);
    uint64_t seq = 1 + rn_rand_below(&rng, RN_ID_MAX);
    struct rn_batch_head head = {below(UINT32_MAX), seq, rn_rand_below(&rng, seq)};
    rn_batch_put_head(&out, &head);
    struct rn_coding with = make_coding(schema);
    uint32_t enc = below(3), id = below(65536);
    size_t size = enc == RN_ENC_RANGE ? RN_RANGE_WORK : RN_ENCODE_WORK;
    int rc = rn_batch_encode_as(enc, schema, id, &with, grid, work, size, &out, &err);
    if (rc == RN_ELIMIT && enc == RN_ENC_RANGE && may_be_too_much(grid))
        rc = rn_batch_encode_as(RN_ENC_DEFLATE, schema, id, &with, grid, work, sizeof work, &out,
                                &err);
    if (rc == RN_ELIMIT && text_bytes(grid) > 40000) // encoding 1: 73,728 plain bytes
        rc = rn_batch_encode_as(RN_ENC_PLAIN, schema, id, &with, grid, NULL, 0, &out, &err);
    if (rc == RN_ELIMIT && text_bytes(grid) > 40000) // 131,072 bytes, or too long a text too often
        return (struct rn_span){0};
    if (rc < 0)
        fail_msg("encoding %u: %s", enc, err.text);
    return rn_buf_span(&out);
}

static void random_grids_come_back_exactly(void **state)
{
    (void)state;
    static struct made made;
    for (uint32_t round = 0; round < rounds; round++) {
        struct rn_schema schema;
        schema_round(&made, &schema);
        struct rn_grid grid = make_grid(&made.schema), back;
        int result;
        struct rn_span bytes = encode_batch(&schema, &grid);
        if (!bytes.len)
            continue;
        void *storage = decode_batch(&schema, bytes, &back, &result);
        assert_int_equal(result, RN_OK);
        assert_same_grid(&grid, &back);
        free(storage);
    }
}

// ---- mutating -----------------------------------------------------------------------------------

// A changed copy at the end of a block of its own.
static struct rn_span mutate(struct rn_span original)
{
    size_t len = original.len;
    uint32_t cut = chance(10) ? below((uint32_t)len + 1) : 0;
    uint8_t *copy = malloc(len - cut + 1);
    memcpy(copy, original.data, len - cut);
    len -= cut;
    for (uint32_t i = 1 + below(4); i > 0 && len; i--) {
        static const uint8_t nasty[] = {0x9f, 0xff, 0xbf, 0x1b, 0x9b, 0xbb, 0x5b, 0x7b,
                                        0x80, 0xa0, 0xf6, 0xfb, 0xc1, 0x00, 0x3b, 0x81};
        size_t at = below((uint32_t)len);
        copy[at] = chance(50) ? nasty[below(16)] : (uint8_t)below(256);
    }
    return (struct rn_span){copy, len};
}

static void free_span(struct rn_span span)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } owned = {.in = span.data};
    free(owned.out);
}

// What a decoder accepts must be encodable, and come back the same.
static void accepted_grid_is_sound(const struct rn_schema *schema, const struct rn_grid *grid)
{
    struct rn_grid back;
    int result;
    struct rn_span bytes = encode_batch(schema, grid);
    if (!bytes.len)
        return;
    void *storage = decode_batch(schema, bytes, &back, &result);
    assert_int_equal(result, RN_OK);
    assert_same_grid(grid, &back);
    free(storage);
}

static void mutated_batches_are_refused_or_sound(void **state)
{
    (void)state;
    static struct made made;
    static uint8_t original[RN_BATCH_MAX_BYTES];
    uint32_t accepted = 0, refused = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        struct rn_schema schema;
        schema_round(&made, &schema);
        struct rn_grid grid = make_grid(&made.schema), back;
        struct rn_span bytes = encode_batch(&schema, &grid);
        if (!bytes.len)
            continue;
        memcpy(original, bytes.data, bytes.len);
        for (int i = 0; i < 20; i++) {
            int result;
            struct rn_span mutant = mutate((struct rn_span){original, bytes.len});
            void *storage = decode_batch(&schema, mutant, &back, &result);
            if (result == RN_OK)
                accepted_grid_is_sound(&schema, &back);
            accepted += result == RN_OK;
            refused += result != RN_OK;
            free(storage);
            free_span(mutant);
        }
    }
    assert_true(accepted > 0 && refused > accepted / 10);
}

static void mutated_schemas_are_refused_or_encode_to_their_own_bytes(void **state)
{
    (void)state;
    static struct made made;
    static uint64_t storage[RN_SCHEMA_STORAGE / 8];
    uint32_t accepted = 0;
    for (uint32_t round = 0; round < rounds * 10; round++) {
        struct rn_schema schema;
        struct rn_err err;
        struct rn_span mutant = mutate(schema_round(&made, &schema));
        if (rn_schema_decode(mutant, &schema, storage, sizeof storage, &err) == RN_OK) {
            struct rn_buf out;
            rn_buf_init_fixed(&out, message, sizeof message);
            assert_int_equal(rn_schema_encode(&schema, &out, &err), RN_OK);
            // An extension that was skipped makes it longer, nothing makes it differ otherwise.
            assert_true(out.len < mutant.len || rn_span_eq(rn_buf_span(&out), mutant));
            accepted++;
        }
        free_span(mutant);
    }
    assert_true(accepted > 0);
}

static void mutated_messages_never_crash(void **state)
{
    (void)state;
    static struct rn_ack ack;
    static struct rn_config_doc doc;
    struct rn_ack sample = {.tag = 1,
                            .has_hello = true,
                            .hello = {.install = 5, .epoch = 2},
                            .nreceived = 2,
                            .received = {{1, 5}, {9, 9}},
                            .ndurable = 1,
                            .durable = {{1, 4, 77}},
                            .nneed = 1,
                            .need = {{RN_OBJECT_SCHEMA, 1, 1}}};
    struct rn_status status = {.install = 1, .has_ledger = true, .reason = rn_span_text("start")};
    struct rn_config_doc config = {.dev = rn_span_text("a"), .revision = 1, .nitems = 1};
    config.items[0] = (struct rn_config_item){rn_span_text("k"), rn_span_text("v")};
    for (uint32_t round = 0; round < rounds * 10; round++) {
        struct rn_buf out;
        struct rn_err err;
        struct rn_key_msg key;
        struct rn_signed sign;
        struct rn_report report;
        struct rn_bridge_status bridge;
        rn_buf_init_fixed(&out, message, sizeof message);
        int rc = round % 3 == 0   ? rn_ack_encode(&sample, &out)
                 : round % 3 == 1 ? rn_status_encode(&status, &out)
                                  : rn_config_encode(&config, &out);
        assert_int_equal(rc, RN_OK);
        struct rn_span mutant = mutate(rn_buf_span(&out));
        int results[] = {rn_ack_decode(mutant, &ack, &err),
                         rn_status_decode(mutant, &status, &err),
                         rn_config_decode(mutant, &doc, &err),
                         rn_key_decode(mutant, &key, &err),
                         rn_signed_decode(mutant, &sign, &err),
                         rn_report_decode(mutant, &report, &err),
                         rn_bridge_status_decode(mutant, &bridge, &err)};
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)
            assert_true(results[i] == RN_OK || results[i] == RN_EFORMAT ||
                        results[i] == RN_ELIMIT || results[i] == RN_EUNSUPPORTED);
        status = (struct rn_status){.install = 1, .reason = rn_span_text("start")};
        free_span(mutant);
    }
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_grids_come_back_exactly),
        cmocka_unit_test(mutated_batches_are_refused_or_sound),
        cmocka_unit_test(mutated_schemas_are_refused_or_encode_to_their_own_bytes),
        cmocka_unit_test(mutated_messages_never_crash),
    };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    seed = from_env("RUNNEL_SEED", (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec);
    rounds = (uint32_t)from_env("RUNNEL_ROUNDS", 500);
    printf("repeat with RUNNEL_SEED=%llu RUNNEL_ROUNDS=%u\n", (unsigned long long)seed, rounds);
    rn_rand_init(&rng, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
