// What the most expensive messages cost that a peer may send, compared with the largest honest
// batch in plain CBOR, and with what zlib -6 takes to deflate that. Each of these once cost many
// times as much, or is the worst of its sort that is known. Processor time, the least of several
// runs; docs/TESTING.md has the figures.
#include <runnel/cbor.h>
#include <runnel/gzip.h>
#include <runnel/rand.h>
#include <runnel/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define TIMES_HONEST 8 // with sanitizers, too; 30 where a bound is missing
#define ROUNDS       9
#define CELLS        RN_BATCH_MAX_CELLS

static uint8_t message_bytes[2 * RN_BATCH_MAX_BYTES], column_bytes[RN_BATCH_MAX_BYTES];
static uint64_t grid_storage[60000], decoded_storage[60000], schema_storage[RN_SCHEMA_STORAGE / 8];
static uint64_t work[RN_ENCODE_WORK / 8];
static struct rn_err err;
static struct rn_rand rng;
static double honest; // us that the largest honest batch takes
static double zipped; // us that zlib -6 takes to compress it

// ---- schemas ------------------------------------------------------------------------------------

static struct rn_field fields[RN_SCHEMA_MAX_COLUMNS];
static struct rn_series series[RN_SCHEMA_MAX_COLUMNS];
static struct rn_tag tags[RN_SCHEMA_MAX_COLUMNS];
static struct rn_group groups[RN_SCHEMA_MAX_COLUMNS];
static struct rn_rule rules[RN_SCHEMA_MAX_COLUMNS];
static struct rn_term terms[RN_RULE_TERMS_PER_COLUMN * RN_SCHEMA_MAX_COLUMNS];
static char names[RN_SCHEMA_MAX_COLUMNS][8];

static struct rn_span name(uint32_t i)
{
    int len = snprintf(names[i], sizeof names[i], "%x", i);
    return (struct rn_span){(const uint8_t *)names[i], (size_t)len};
}

static struct rn_field field(enum rn_type type, uint32_t i)
{
    return (struct rn_field){.name = name(i), .type = type, .mul = 1};
}

static struct rn_schema schema_of(uint32_t ngroups, uint32_t nfields, uint32_t nseries)
{
    for (uint32_t i = 0; i < ngroups; i++)
        groups[i] = (struct rn_group){.measurement = name(0),
                                      .every = 1,
                                      .fields = fields,
                                      .nfields = nfields,
                                      .series = series,
                                      .nseries = nseries};
    return (struct rn_schema){.unit_ns = 1000000,
                              .step = 1000,
                              .groups = groups,
                              .ngroups = ngroups,
                              .ncolumns = ngroups * nfields * nseries};
}

// One group of one series.
static struct rn_schema columns_of(enum rn_type type, uint32_t columns)
{
    series[0] = (struct rn_series){0};
    for (uint32_t i = 0; i < columns; i++)
        fields[i] = field(type, i);
    return schema_of(1, columns, 1);
}

// A rule for every column, of numbers beyond 64 bits, as slow to divide as can be.
static void add_rules(struct rn_schema *schema)
{
    for (uint32_t i = 0; i < schema->ncolumns; i++)
        rules[i] = (struct rn_rule){.column = schema->ncolumns - 1 - i,
                                    .num = {.constant = INT64_MAX, .time = INT64_MAX},
                                    .den = {.constant = 1, .time = INT64_MAX / 8 * 5}};
    schema->rules = rules;
    schema->nrules = schema->ncolumns;
}

// The same with as many terms as there may be: those of a column are about columns above it.
static void add_terms(struct rn_schema *schema)
{
    add_rules(schema);
    for (uint32_t i = 4; i < schema->nrules; i++) {
        struct rn_term *of = &terms[RN_RULE_TERMS_PER_COLUMN * i];
        for (uint32_t k = 0; k < 4; k++)
            of[k] = (struct rn_term){schema->ncolumns - i + k * (i / 4), k < 2 ? INT64_MAX / 3 : 1};
        rules[i].num.terms = of;
        rules[i].den.terms = of + 2;
        rules[i].num.nterms = rules[i].den.nterms = 2;
    }
}

// ---- grids and messages -------------------------------------------------------------------------

static struct rn_grid grid_of(const struct rn_schema *schema, uint32_t n)
{
    struct rn_grid grid;
    size_t text = schema->groups[0].fields[0].type == RN_TEXT ? 65536 : 0;
    assert_int_equal(rn_grid_init(&grid, n, schema->ncolumns, (uint32_t)text, grid_storage,
                                  sizeof grid_storage, &err),
                     RN_OK);
    for (uint32_t i = 0; i < n; i++)
        grid.times[i] = 1600000000000 + i * (int64_t)schema->step;
    return grid;
}

// Ticks a little less or more than their step apart.
static void fill_times(struct rn_grid *grid)
{
    for (uint32_t i = 1; i < grid->n; i++)
        grid->times[i] = grid->times[0] + i * 1000LL + (int64_t)rn_rand_below(&rng, 512);
}

// Nothing at every tenth tick, and a double of some digits at every other one.
static void fill_floats(struct rn_grid *grid)
{
    for (uint32_t i = 0; i < grid->n * grid->ncolumns; i++) {
        bool literal = rn_rand_below(&rng, 2);
        if (literal)
            grid->cells[i].d = 1 + (double)rn_rand_below(&rng, 65536) / 65536;
        if (literal)
            grid->states[i] = RN_CELL_DOUBLE;
        if (rn_rand_below(&rng, 10) == 0)
            grid->states[i] = RN_CELL_MISSING;
    }
}

// Numbers of any size, or of up to so many bits.
static void fill_numbers(struct rn_grid *grid, uint32_t bits)
{
    for (uint32_t i = 0; i < grid->n * grid->ncolumns; i++) {
        uint32_t shift = bits ? 64 - bits : (uint32_t)rn_rand_u64(&rng) % 64;
        grid->cells[i].i = (int64_t)(rn_rand_u64(&rng) >> shift);
        grid->states[i] = RN_CELL_SCALED;
    }
}

static void fill_texts(struct rn_grid *grid, uint32_t different, size_t len)
{
    char text[16];
    for (uint32_t i = 0; i < grid->n; i++) {
        snprintf(text, sizeof text, "%015x", i % different);
        struct rn_span span = {(const uint8_t *)text + 15 - len, len};
        assert_int_equal(rn_grid_set_text(grid, 0, i, span), RN_OK);
    }
}

static int encode(const struct rn_schema *schema, const struct rn_grid *grid, uint32_t enc,
                  struct rn_span *out)
{
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, message_bytes, sizeof message_bytes);
    rn_batch_put_head(&buf, &(struct rn_batch_head){.tag = 1, .seq = 1});
    int rc = rn_batch_encode_as(enc, schema, 0, NULL, grid, work, sizeof work, &buf, &err);
    *out = rn_buf_span(&buf);
    return rc;
}

static struct rn_span schema_bytes(const struct rn_schema *schema)
{
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, message_bytes, sizeof message_bytes);
    assert_int_equal(rn_schema_encode(schema, &buf, &err), RN_OK);
    return rn_buf_span(&buf);
}

// Any columns item in an envelope.
static struct rn_span enclose(uint32_t n, uint32_t enc, struct rn_span columns)
{
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, message_bytes, sizeof message_bytes);
    rn_batch_put_head(&buf, &(struct rn_batch_head){.tag = 1, .seq = 1});
    rn_cbor_put_uint(&buf, 0);
    rn_cbor_put_uint(&buf, 1600000000000);
    rn_cbor_put_uint(&buf, n);
    rn_cbor_put_uint(&buf, enc);
    rn_buf_append(&buf, columns.data, columns.len);
    rn_cbor_put_map(&buf, 0);
    return rn_buf_span(&buf);
}

static int decode(const struct rn_schema *schema, struct rn_span message)
{
    static const struct rn_coding without;
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span body;
    struct rn_grid grid;
    int rc = rn_batch_open(message, &head, &info, &body, &err);
    return rc ? rc
              : rn_batch_decode_with(schema, &info, &without, &grid, decoded_storage,
                                     sizeof decoded_storage, work, RN_DECODE_WORK, &err);
}

// ---- cost ---------------------------------------------------------------------------------------

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double batch_us(const struct rn_schema *schema, struct rn_span message, int expected)
{
    double least = 1e12;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now_us();
        int rc = decode(schema, message);
        double took = now_us() - start;
        least = took < least ? took : least;
        assert_int_equal(rc, expected);
    }
    return least;
}

static double schema_us(struct rn_span bytes, int expected)
{
    double least = 1e12;
    for (int i = 0; i < ROUNDS; i++) {
        struct rn_schema schema;
        double start = now_us();
        int rc = rn_schema_decode(bytes, &schema, schema_storage, sizeof schema_storage, &err);
        double took = now_us() - start;
        least = took < least ? took : least;
        assert_int_equal(rc, expected);
    }
    return least;
}

static double zlib_us(struct rn_span message)
{
    double least = 1e12;
    for (int i = 0; i < ROUNDS; i++) {
        struct rn_buf out;
        rn_buf_init_fixed(&out, column_bytes, sizeof column_bytes);
        double start = now_us();
        assert_int_equal(rn_gzip(&out, message, 6, &err), RN_OK);
        double took = now_us() - start;
        least = took < least ? took : least;
    }
    return least;
}

// The largest honest batch: as many cells as there may be.
static int measure_honest(void **state)
{
    (void)state;
    rn_rand_init(&rng, 1);
    struct rn_schema schema = columns_of(RN_INT, 16);
    struct rn_grid grid = grid_of(&schema, CELLS / 16);
    struct rn_span message;
    fill_numbers(&grid, 10);
    assert_int_equal(encode(&schema, &grid, RN_ENC_PLAIN, &message), RN_OK);
    honest = batch_us(&schema, message, RN_OK);
    zipped = zlib_us(message);
    print_message("an honest batch: %.0f us; zlib -6 deflates its %zu bytes in %.0f us\n", honest,
                  message.len, zipped);
    return 0;
}

static void assert_costs_little(const char *what, double us)
{
    print_message("%s: %.0f us, %.2f times an honest batch, %.2f times zlib -6\n", what, us,
                  us / honest, us / zipped);
    if (us > TIMES_HONEST * honest)
        fail_msg("%s costs %.1f times as much as the largest honest batch", what, us / honest);
}

// ---- plain CBOR ---------------------------------------------------------------------------------

static void a_message_has_no_more_items_than_the_largest_batch(void **state)
{
    (void)state;
    struct rn_buf columns;
    rn_buf_init_fixed(&columns, column_bytes, sizeof column_bytes);
    rn_cbor_put_array(&columns, 130000);
    while (columns.len < 130005)
        rn_buf_byte(&columns, 0);
    struct rn_schema schema = columns_of(RN_INT, 1);
    double us = batch_us(&schema, enclose(1, RN_ENC_PLAIN, rn_buf_span(&columns)), RN_ELIMIT);
    assert_costs_little("130,000 items in a batch", us);
}

static void the_largest_batch_of_irregular_texts_costs_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_TEXT, 1);
    schema.step = 0;
    struct rn_grid grid = grid_of(&schema, CELLS);
    fill_texts(&grid, CELLS, 4);
    for (uint32_t i = 0; i < grid.n; i++)
        grid.times[i] += i;
    struct rn_span message;
    assert_int_equal(encode(&schema, &grid, RN_ENC_PLAIN, &message), RN_OK);
    assert_costs_little("irregular texts, plain", batch_us(&schema, message, RN_OK));
    grid = grid_of(&schema, CELLS / 2);
    fill_texts(&grid, CELLS, 4);
    assert_int_equal(encode(&schema, &grid, RN_ENC_DEFLATE, &message), RN_OK);
    assert_costs_little("irregular texts, deflated", batch_us(&schema, message, RN_OK));
}

// ---- the most that an encoding takes ----------------------------------------------------------

// n ticks of numbers, with doubles among them in columns of floats.
static int encode_numbers(const struct rn_schema *schema, uint32_t enc, uint32_t n, uint32_t bits,
                          struct rn_span *message)
{
    struct rn_grid grid = grid_of(schema, n);
    rn_rand_init(&rng, 1);
    fill_numbers(&grid, bits);
    if (!schema->step)
        fill_times(&grid);
    if (schema->groups[0].fields[0].type == RN_FLOAT)
        fill_floats(&grid);
    return encode(schema, &grid, enc, message);
}

// Finds how many ticks of numbers an encoding takes at most; the message is that.
static uint32_t most_ticks(const struct rn_schema *schema, uint32_t enc, uint32_t bits,
                           struct rn_span *message)
{
    uint32_t least = 0, most = CELLS / schema->ncolumns;
    while (least < most) {
        uint32_t n = (least + most + 1) / 2;
        int rc = encode_numbers(schema, enc, n, bits, message);
        if (rc != RN_OK)
            assert_int_equal(rc, RN_ELIMIT);
        least = rc == RN_OK ? n : least;
        most = rc == RN_OK ? most : n - 1;
    }
    assert_int_equal(encode_numbers(schema, enc, least, bits, message), RN_OK);
    return least;
}

// ---- deflate ------------------------------------------------------------------------------------

static size_t put_bits(uint8_t *bytes, size_t at, uint32_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, at++)
        bytes[at / 8] = (uint8_t)(bytes[at / 8] | (value >> i & 1) << at % 8);
    return at;
}

// A block with tables for 257 literals and 1 distance, and nothing but its end.
static size_t put_empty_block(uint8_t *bytes, size_t at)
{
    at = put_bits(bytes, at, 2 << 1, 3);
    at = put_bits(bytes, at, 14 << 10, 14);             // 18 lengths of code lengths
    for (uint32_t i = 0; i < 18; i++)                   // in the order of RFC 1951:
        at = put_bits(bytes, at, i == 2 || i == 17, 3); // the 3rd is "zeros", the 18th 1
    at = put_bits(bytes, at, 1 | 127 << 1, 8);          // 138 zeros
    at = put_bits(bytes, at, 1 | 107 << 1, 8);          // 118 zeros
    return put_bits(bytes, at, 0, 3);                   // lengths 1 and 1; the end
}

static void a_stream_of_empty_blocks_is_given_up(void **state)
{
    (void)state;
    static uint8_t stream[65536];
    memset(stream, 0, sizeof stream);
    for (size_t at = 0; at < 8 * sizeof stream - 200;)
        at = put_empty_block(stream, at);
    struct rn_buf columns;
    rn_buf_init_fixed(&columns, column_bytes, sizeof column_bytes);
    rn_cbor_put_bytes_head(&columns, 4 + sizeof stream);
    rn_buf_append(&columns, "crc.", 4);
    rn_buf_append(&columns, stream, sizeof stream);
    struct rn_schema schema = columns_of(RN_INT, 1);
    double us =
        batch_us(&schema, enclose(CELLS, RN_ENC_DEFLATE, rn_buf_span(&columns)), RN_EFORMAT);
    assert_costs_little("5,800 empty blocks", us);
}

static void deflated_numbers_of_any_size_under_rules_cost_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_INT, 256);
    struct rn_span message;
    most_ticks(&schema, RN_ENC_DEFLATE, 0, &message);
    assert_costs_little("numbers of any size, deflated", batch_us(&schema, message, RN_OK));
    add_rules(&schema);
    (void)schema_bytes(&schema); // that it is one
    most_ticks(&schema, RN_ENC_DEFLATE, 0, &message);
    assert_costs_little("the same under rules", batch_us(&schema, message, RN_OK));
}

static void deflated_doubles_among_numbers_under_rules_cost_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_FLOAT, 128);
    struct rn_span message;
    add_terms(&schema);
    (void)schema_bytes(&schema); // that it is one
    most_ticks(&schema, RN_ENC_DEFLATE, 60, &message);
    assert_costs_little("doubles among numbers under rules", batch_us(&schema, message, RN_OK));
    schema = columns_of(RN_FLOAT, 1);
    schema.step = 0;
    add_rules(&schema);
    most_ticks(&schema, RN_ENC_DEFLATE, 36, &message);
    assert_costs_little("the same, irregular", batch_us(&schema, message, RN_OK));
}

static void irregular_numbers_cost_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_INT, 1);
    schema.step = 0;
    struct rn_grid grid = grid_of(&schema, 8200);
    fill_numbers(&grid, 26);
    for (uint32_t i = 0; i < grid.n; i++)
        grid.times[i] += (int64_t)rn_rand_below(&rng, 1 << 26);
    grid.times[0] = 1600000000000;
    struct rn_span message;
    assert_int_equal(encode(&schema, &grid, RN_ENC_DEFLATE, &message), RN_OK);
    assert_costs_little("irregular numbers, deflated", batch_us(&schema, message, RN_OK));
}

static void texts_that_are_far_back_cost_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_TEXT, 1);
    struct rn_grid grid = grid_of(&schema, CELLS);
    struct rn_span message;
    fill_texts(&grid, 250, 3);
    assert_int_equal(encode(&schema, &grid, RN_ENC_DEFLATE, &message), RN_OK);
    assert_costs_little("texts that are far back", batch_us(&schema, message, RN_OK));
}

// Texts of `len` bytes, all new, until `sum` is used up: characters of any value, of `width` bytes
// each, that have little in common.
static struct rn_grid long_texts(const struct rn_schema *schema, uint32_t len, uint32_t sum,
                                 uint32_t width)
{
    static uint8_t text[RN_TEXT_MAX];
    struct rn_grid grid = grid_of(schema, sum / len);
    for (uint32_t tick = 0; tick < grid.n; tick++) {
        for (uint32_t i = 0; i + width <= len; i += width) {
            uint32_t c = (uint32_t)rn_rand_below(&rng, 64);
            memcpy(text + i,
                   width == 3   ? (uint8_t[]){0xe3, 0x81, (uint8_t)(0x80 | c)}
                   : width == 2 ? (uint8_t[]){0xc3, (uint8_t)(0x80 | c), 0}
                                : (uint8_t[]){(uint8_t)(' ' + c), 0, 0},
                   width);
        }
        struct rn_span span = {text, len / width * width};
        assert_int_equal(rn_grid_set_text(&grid, 0, tick, span), RN_OK);
    }
    return grid;
}

static void long_texts_cost_little(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {16, 255, 256, 1000, 8192, 16384, RN_TEXT_MAX};
    static const uint32_t sums[] = {65536, 65536, 8192}; // of new texts, in each encoding
    struct rn_schema schema = columns_of(RN_TEXT, 1);
    for (uint32_t i = 0; i < 7 * 3 * 3; i++) {
        uint32_t enc = i % 3, width = 1 + i / 3 % 3, len = lengths[i / 9];
        struct rn_span message;
        char what[80];
        if (len > sums[enc])
            continue;
        uint32_t sum = sums[enc];
        struct rn_grid grid = long_texts(&schema, len, sum, width);
        int rc = encode(&schema, &grid, enc, &message);
        while (rc == RN_ELIMIT && sum / 8 * 7 >= len) { // too many steps
            sum = sum / 8 * 7;
            grid = long_texts(&schema, len, sum, width);
            rc = encode(&schema, &grid, enc, &message);
        }
        if (rc == RN_ELIMIT && enc == RN_ENC_RANGE)
            continue;
        assert_int_equal(rc, RN_OK);
        snprintf(what, sizeof what, "%u texts of %u bytes, %u a character, encoding %u", grid.n,
                 len, width, enc);
        assert_costs_little(what, batch_us(&schema, message, RN_OK));
    }
}

// ---- range coder --------------------------------------------------------------------------------

static void numbers_of_any_size_in_the_range_coder_have_a_limit(void **state)
{
    (void)state;
    static const uint32_t bits[] = {0, 1, 4, 10, 20, 40, 63};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        struct rn_schema schema = columns_of(RN_INT, 16);
        struct rn_span message;
        char what[64];
        uint32_t n = most_ticks(&schema, RN_ENC_RANGE, bits[i], &message);
        snprintf(what, sizeof what, "%u cells of %u bits", 16 * n, bits[i]);
        assert_costs_little(what, batch_us(&schema, message, RN_OK));
    }
    struct rn_schema ruled = columns_of(RN_INT, 16);
    struct rn_span message;
    add_rules(&ruled);
    most_ticks(&ruled, RN_ENC_RANGE, 0, &message);
    assert_costs_little("numbers under rules", batch_us(&ruled, message, RN_OK));
    ruled = columns_of(RN_INT, 64);
    add_terms(&ruled);
    most_ticks(&ruled, RN_ENC_RANGE, 3, &message);
    assert_costs_little("3 bits under rules", batch_us(&ruled, message, RN_OK));
}

// The bytes of as many cells as may be, said to be of more: what follows is read as zeros.
static void the_decoder_stops_where_an_encoder_must(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_INT, 1);
    struct rn_span message, body;
    struct rn_batch_head head;
    struct rn_batch_info info;
    uint32_t n = most_ticks(&schema, RN_ENC_RANGE, 10, &message);
    assert_true(n < CELLS - 8);
    assert_int_equal(rn_batch_open(message, &head, &info, &body, &err), RN_OK);
    memcpy(column_bytes, info.columns.data, info.columns.len);
    message = enclose(CELLS, RN_ENC_RANGE, (struct rn_span){column_bytes, info.columns.len});
    assert_int_equal(decode(&schema, message), RN_ELIMIT);
}

// Zeros only: the same bytes, however many ticks they stand for.
static int encode_zeros(const struct rn_schema *schema, uint32_t enc, uint32_t n,
                        struct rn_span *message)
{
    struct rn_grid grid = grid_of(schema, n);
    fill_numbers(&grid, 1);
    memset(grid.cells, 0, (size_t)n * grid.ncolumns * sizeof *grid.cells);
    return encode(schema, &grid, enc, message);
}

static void what_rules_take_is_bounded_in_both_directions(void **state)
{
    (void)state;
    static const uint32_t encodings[] = {RN_ENC_DEFLATE, RN_ENC_RANGE};
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        struct rn_schema schema = columns_of(RN_INT, 64);
        struct rn_span message, body;
        struct rn_batch_head head;
        struct rn_batch_info info;
        assert_int_equal(encode_zeros(&schema, encodings[i], CELLS / 64, &message), RN_OK);
        add_terms(&schema);
        assert_int_equal(encode_zeros(&schema, encodings[i], CELLS / 64, &message), RN_ELIMIT);
        assert_int_equal(encode_zeros(&schema, encodings[i], CELLS / 128, &message), RN_OK);
        assert_int_equal(rn_batch_open(message, &head, &info, &body, &err), RN_OK);
        memcpy(column_bytes, info.columns.data, info.columns.len);
        message =
            enclose(CELLS / 64, encodings[i], (struct rn_span){column_bytes, info.columns.len});
        assert_int_equal(decode(&schema, message), RN_ELIMIT);
    }
}

// ---- schemas and other messages -----------------------------------------------------------------

static void schemas_of_many_parts_cost_little(void **state)
{
    (void)state;
    struct rn_schema schema = columns_of(RN_INT, 1500);
    assert_costs_little("a schema of 1,500 fields", schema_us(schema_bytes(&schema), RN_OK));
    for (uint32_t i = 0; i < RN_SCHEMA_MAX_COLUMNS; i++) {
        tags[i] = (struct rn_tag){name(1), name(i)};
        series[i] = (struct rn_series){&tags[i], 1};
    }
    schema = schema_of(1, 1, RN_SCHEMA_MAX_COLUMNS);
    assert_costs_little("a schema of 2,048 series", schema_us(schema_bytes(&schema), RN_OK));
    series[0] = (struct rn_series){0};
    schema = schema_of(800, 1, 1);
    assert_costs_little("a schema of 800 groups", schema_us(schema_bytes(&schema), RN_OK));
}

static void a_batch_of_many_groups_with_rules_costs_little(void **state)
{
    (void)state;
    series[0] = (struct rn_series){0};
    fields[0] = field(RN_INT, 0);
    struct rn_schema schema = schema_of(500, 1, 1);
    for (uint32_t i = 0; i < schema.ncolumns; i++)
        rules[i] = (struct rn_rule){.column = schema.ncolumns - 1 - i, .den = {.constant = 1}};
    schema.rules = rules;
    schema.nrules = schema.ncolumns;
    (void)schema_bytes(&schema); // that it is one
    struct rn_span message;
    most_ticks(&schema, RN_ENC_DEFLATE, 0, &message);
    assert_costs_little("500 groups with rules", batch_us(&schema, message, RN_OK));
}

static void members_that_are_not_known_cost_little(void **state)
{
    (void)state;
    static struct rn_ack ack;
    static uint8_t bytes[RN_MESSAGE_MAX];
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, bytes, sizeof bytes);
    rn_cbor_put_map(&buf, 1);
    rn_cbor_put_uint(&buf, 60);
    rn_cbor_put_array(&buf, sizeof bytes - 16);
    for (size_t i = 0; i < sizeof bytes - 16; i++)
        rn_buf_byte(&buf, 0);
    double least = 1e12;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now_us();
        assert_int_equal(rn_ack_decode(rn_buf_span(&buf), &ack, &err), RN_ELIMIT);
        double took = now_us() - start;
        least = took < least ? took : least;
    }
    assert_costs_little("an acknowledgement of 262,000 items", least);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_has_no_more_items_than_the_largest_batch),
        cmocka_unit_test(the_largest_batch_of_irregular_texts_costs_little),
        cmocka_unit_test(a_stream_of_empty_blocks_is_given_up),
        cmocka_unit_test(deflated_numbers_of_any_size_under_rules_cost_little),
        cmocka_unit_test(deflated_doubles_among_numbers_under_rules_cost_little),
        cmocka_unit_test(irregular_numbers_cost_little),
        cmocka_unit_test(texts_that_are_far_back_cost_little),
        cmocka_unit_test(long_texts_cost_little),
        cmocka_unit_test(numbers_of_any_size_in_the_range_coder_have_a_limit),
        cmocka_unit_test(the_decoder_stops_where_an_encoder_must),
        cmocka_unit_test(what_rules_take_is_bounded_in_both_directions),
        cmocka_unit_test(schemas_of_many_parts_cost_little),
        cmocka_unit_test(a_batch_of_many_groups_with_rules_costs_little),
        cmocka_unit_test(members_that_are_not_known_cost_little),
    };
    return cmocka_run_group_tests(tests, measure_honest, NULL);
}
