// Encodings 1 and 2: the vectors of schemas/vectors/packed, the memory and the bytes that they
// take, and what damage, wrong companions and hostile bytes lead to.
#include <runnel/cbor.h>
#include <runnel/rand.h>
#include <runnel/wire.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS   PROJECT_SOURCE_DIR "/schemas/vectors"
#define FILE_MAX  65536
#define GRID_SIZE 400000

static uint8_t file[FILE_MAX], plain_file[FILE_MAX], schema_file[FILE_MAX], out_bytes[FILE_MAX];
static uint64_t schema_storage[RN_SCHEMA_STORAGE / 8], grid_storage[GRID_SIZE / 8];
static uint64_t plain_storage[GRID_SIZE / 8], work[RN_ENCODE_WORK / 8];
static struct rn_schema schema;
static struct rn_base base;
static struct rn_hints hints;
static struct rn_err err;

static uint8_t text_bytes[RN_BATCH_MAX_BYTES];
static void *text_storage;

static struct rn_span load(uint8_t *into, const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, VECTORS "/%s%s.cbor", folder, name);
    FILE *in = fopen(path, "rb");
    if (!in)
        fail_msg("%s is not there", path);
    size_t len = fread(into, 1, FILE_MAX, in);
    fclose(in);
    return (struct rn_span){into, len};
}

// The schema, base and hints of a packed vector: "batch-<schema>-<case>-<encoding>[-with]".
static void load_companions(const char *name)
{
    char key[64], of[96];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(name + 6, "-"), name + 6);
    snprintf(of, sizeof of, "schema-%s", key);
    struct rn_span bytes = load(schema_file, "", of);
    assert_int_equal(rn_schema_decode(bytes, &schema, schema_storage, sizeof schema_storage, &err),
                     RN_OK);
    snprintf(of, sizeof of, "base-%s", key);
    assert_int_equal(rn_base_decode(load(file, "packed/", of), &base, &err), RN_OK);
    snprintf(of, sizeof of, "hints-%s", key);
    assert_int_equal(rn_hints_decode(load(file, "packed/", of), &hints, &err), RN_OK);
}

static int decode(struct rn_span bytes, struct rn_batch_info *info, const struct rn_coding *with,
                  struct rn_grid *grid, uint64_t *storage)
{
    struct rn_batch_head head;
    struct rn_span body;
    int rc = rn_batch_open(bytes, &head, info, &body, &err);
    if (rc)
        return rc;
    return rn_batch_decode_with(&schema, info, with, grid, storage, GRID_SIZE, work, RN_DECODE_WORK,
                                &err);
}

static void assert_same(const struct rn_grid *a, const struct rn_grid *b)
{
    size_t cells = (size_t)a->n * a->ncolumns;
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->times, b->times, a->n * sizeof *a->times);
    assert_memory_equal(a->states, b->states, cells);
    for (size_t at = 0; at < cells; at++) {
        if (a->states[at] == RN_CELL_TEXT)
            assert_true(rn_span_eq(rn_grid_text(a, at), rn_grid_text(b, at)));
        else if (a->states[at])
            assert_int_equal(a->cells[at].i, b->cells[at].i);
    }
}

// Calls test(name) for every packed batch and returns how many there are.
static int each(void (*test)(const char *name))
{
    DIR *dir = opendir(VECTORS "/packed");
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *dot = strstr(entry->d_name, ".cbor");
        if (!dot || strncmp(entry->d_name, "batch-", 6) != 0)
            continue;
        *dot = '\0';
        load_companions(entry->d_name);
        test(entry->d_name);
        count++;
    }
    closedir(dir);
    return count;
}

static struct rn_coding companions(void)
{
    return (struct rn_coding){.base = &base, .hints = &hints, .base_id = 7, .hints_id = 9};
}

static void is_its_plain_batch(const char *name)
{
    char plain[96];
    struct rn_coding with = companions();
    struct rn_grid grid, expected;
    struct rn_batch_info info;
    const char *case_end = strchr(strchr(name + 6, '-') + 1, '-');
    snprintf(plain, sizeof plain, "%.*s", (int)(case_end - name), name);
    if (decode(load(plain_file, "", plain), &info, &with, &expected, plain_storage))
        fail_msg("%s: %s", plain, err.text);
    if (decode(load(file, "packed/", name), &info, &with, &grid, grid_storage))
        fail_msg("%s: %s", name, err.text);
    assert_same(&grid, &expected);
}

static void packed_vectors_hold_the_cells_of_the_plain_ones(void **state)
{
    (void)state;
    assert_true(each(is_its_plain_batch) >= 40);
}

// What zlib writes may change from version to version; what we write may not.
static void encodes_again(const char *name)
{
    struct rn_coding with = companions();
    struct rn_grid grid;
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span bytes = load(file, "packed/", name), body;
    assert_int_equal(decode(bytes, &info, &with, &grid, grid_storage), RN_OK);
    assert_int_equal(rn_batch_open(bytes, &head, &info, &body, &err), RN_OK);
    if (info.enc != RN_ENC_RANGE)
        return;
    struct rn_buf out;
    rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
    if (!info.has_base)
        with = (struct rn_coding){0};
    assert_int_equal(rn_batch_encode_as(info.enc, &schema, info.schema_id, &with, &grid, work,
                                        RN_RANGE_WORK, &out, &err),
                     RN_OK);
    assert_int_equal(out.len, body.len);
    assert_memory_equal(out.data, body.data, body.len);
}

static void encoding_2_writes_the_bytes_of_the_vectors(void **state)
{
    (void)state;
    each(encodes_again);
}

static void asks_for_companions(const char *name)
{
    static const struct rn_coding none;
    struct rn_grid grid;
    struct rn_batch_info info;
    struct rn_span bytes = load(file, "packed/", name);
    int rc = decode(bytes, &info, &none, &grid, grid_storage);
    assert_int_equal(rc, info.has_base || info.has_hints ? RN_ENOENT : RN_OK);
    rc = rn_batch_decode(&schema, &info, &grid, grid_storage, GRID_SIZE, &err);
    assert_int_equal(rc, info.has_base || info.has_hints ? RN_EUNSUPPORTED : RN_OK);
}

static void a_missing_base_or_hints_are_asked_for(void **state)
{
    (void)state;
    each(asks_for_companions);
}

// Only what a batch has numbers for can be wrong.
static void notices_other_companions(const char *name)
{
    struct rn_grid grid;
    struct rn_batch_info info;
    struct rn_coding with = companions();
    struct rn_span bytes = load(file, "packed/", name);
    base.crc ^= 1;
    int rc = decode(bytes, &info, &with, &grid, grid_storage);
    assert_int_equal(rc, info.has_base ? RN_EFORMAT : RN_OK);
    base.crc ^= 1;
    base.ncolumns++;
    rc = decode(bytes, &info, &with, &grid, grid_storage);
    assert_int_equal(rc, info.has_base ? RN_EINVAL : RN_OK);
}

static void another_base_shows(void **state)
{
    (void)state;
    each(notices_other_companions);
}

static void every_changed_bit_shows_in(const char *name)
{
    struct rn_grid grid;
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_coding with = companions();
    struct rn_span bytes = load(file, "packed/", name), body;
    assert_int_equal(rn_batch_open(bytes, &head, &info, &body, &err), RN_OK);
    size_t from = (size_t)(info.columns.data - file) + 3, to = from + info.columns.len - 3;
    for (size_t at = from; at < to && at < from + 64; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            file[at] = (uint8_t)(file[at] ^ 1U << bit);
            if (decode(bytes, &info, &with, &grid, grid_storage) == RN_OK) {
                // The last bits of a range coder's stream may be free: then nothing changed.
                struct rn_grid same;
                load(plain_file, "packed/", name);
                assert_int_equal(decode((struct rn_span){plain_file, bytes.len}, &info, &with,
                                        &same, plain_storage),
                                 RN_OK);
                assert_same(&grid, &same);
            }
            file[at] = (uint8_t)(file[at] ^ 1U << bit);
        }
}

static void damage_never_goes_unnoticed(void **state)
{
    (void)state;
    each(every_changed_bit_shows_in);
}

static void too_little_work_memory_is_refused(void **state)
{
    (void)state;
    struct rn_grid grid;
    struct rn_batch_info info;
    struct rn_coding with = companions();
    struct rn_buf out;
    load_companions("batch-host-minutes");
    assert_int_equal(
        decode(load(file, "", "batch-host-minutes"), &info, &with, &grid, grid_storage), RN_OK);
    for (uint32_t enc = 1; enc <= RN_ENC_MAX; enc++)
        for (size_t size = 0; size <= 4096; size += 4096) {
            rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
            assert_int_equal(
                rn_batch_encode_as(enc, &schema, 0, NULL, &grid, work, size, &out, &err),
                RN_EINVAL);
            assert_int_equal(out.len, 0);
        }
}

static void what_does_not_fit_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    struct rn_grid grid;
    struct rn_batch_info info;
    struct rn_coding with = companions();
    load_companions("batch-host-minutes");
    assert_int_equal(
        decode(load(file, "", "batch-host-minutes"), &info, &with, &grid, grid_storage), RN_OK);
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++)
        for (size_t room = 0; room < 600; room += 7) {
            struct rn_buf out;
            rn_buf_init_fixed(&out, out_bytes, room);
            assert_int_equal(
                rn_batch_encode_as(enc, &schema, 0, NULL, &grid, work, sizeof work, &out, &err),
                RN_ELIMIT);
            assert_int_equal(out.len, 0);
        }
}

static void not_a_number_is_refused(void **state)
{
    (void)state;
    struct rn_grid grid;
    struct rn_batch_info info;
    struct rn_coding with = companions();
    load_companions("batch-types-literals");
    assert_int_equal(
        decode(load(file, "", "batch-types-literals"), &info, &with, &grid, grid_storage), RN_OK);
    size_t at = 0;
    while (grid.states[at] != RN_CELL_DOUBLE)
        at++;
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++) {
        struct rn_buf out;
        rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
        grid.cells[at].d = (double)__builtin_nan("");
        assert_int_equal(
            rn_batch_encode_as(enc, &schema, 0, NULL, &grid, work, sizeof work, &out, &err),
            RN_EINVAL);
    }
}

// One column of texts.
static const struct rn_field text_field = {
    .name = {(const uint8_t *)"s", 1}, .type = RN_TEXT, .mul = 1};
static const struct rn_series text_series;
static const struct rn_group text_group = {.measurement = {(const uint8_t *)"m", 1},
                                           .every = 1,
                                           .fields = &text_field,
                                           .nfields = 1,
                                           .series = &text_series,
                                           .nseries = 1};
static const struct rn_schema texts = {
    .unit_ns = 1000000000, .step = 1, .groups = &text_group, .ngroups = 1, .ncolumns = 1};

// Texts of so many bytes, in n cells: new ones, or the same one.
static struct rn_grid texts_of(uint32_t n, uint32_t len, bool same)
{
    static uint8_t text[RN_TEXT_MAX + 1];
    struct rn_grid grid;
    assert_int_equal(rn_grid_init(&grid, n, 1, same ? len : n * len, grid_storage, GRID_SIZE, &err),
                     RN_OK);
    for (uint32_t tick = 0; tick < n; tick++) {
        grid.times[tick] = tick;
        if (tick && same) {
            grid.cells[tick] = grid.cells[0];
            grid.states[tick] = RN_CELL_TEXT;
            continue;
        }
        for (uint32_t i = 0; i < len; i++)
            text[i] = (uint8_t)('a' + (i % 7 + i / 100 + tick) % 26);
        assert_int_equal(rn_grid_set_text(&grid, 0, tick, (struct rn_span){text, len}), RN_OK);
    }
    return grid;
}

static int encode_texts(uint32_t enc, const struct rn_grid *grid, struct rn_span *message)
{
    struct rn_buf out;
    rn_buf_init_fixed(&out, text_bytes, sizeof text_bytes);
    rn_batch_put_head(&out, &(struct rn_batch_head){.tag = 1, .seq = 1});
    int rc = rn_batch_encode_as(enc, &texts, 0, NULL, grid, work, sizeof work, &out, &err);
    *message = rn_buf_span(&out);
    return rc;
}

// Decodes what encode_texts wrote, as if the batch said that texts have at most so many bytes.
static int decode_texts(struct rn_span message, uint32_t said, uint32_t text_max,
                        struct rn_grid *grid)
{
    static const struct rn_coding none;
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span body;
    assert_int_equal(rn_batch_open(message, &head, &info, &body, &err), RN_OK);
    assert_int_equal(info.text_max, said);
    info.text_max = text_max;
    size_t size = rn_batch_grid_bytes(&texts, &info); // exactly: ASan sees a write beyond
    free(text_storage);
    text_storage = malloc(size);
    return rn_batch_decode_with(&texts, &info, &none, grid, text_storage, size, work,
                                RN_DECODE_WORK, &err);
}

static void texts_of_any_length_come_back(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0,    1,     127,   128,   255,   256,  8191,
                                       8192, 16383, 16384, 16385, 65534, 65535};
    for (uint32_t i = 0; i < 3 * sizeof lengths / sizeof *lengths; i++) {
        uint32_t enc = i % 3, len = lengths[i / 3], said = len > 255 ? len : 255;
        struct rn_grid grid = texts_of(1, len, false), back;
        struct rn_span message;
        int rc = encode_texts(enc, &grid, &message);
        assert_int_equal(rc, enc == RN_ENC_RANGE && len > 8192 ? RN_ELIMIT : RN_OK);
        if (rc)
            continue;
        assert_int_equal(decode_texts(message, said, said, &back), RN_OK);
        assert_same(&grid, &back);
        if (len > 255) { // longer than the batch says
            assert_int_equal(decode_texts(message, said, 255, &back), RN_ELIMIT);
            assert_int_equal(decode_texts(message, said, len - 1, &back), RN_ELIMIT);
        }
    }
    struct rn_grid grid = texts_of(1, RN_TEXT_MAX + 1, false);
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++) {
        struct rn_span message;
        assert_true(encode_texts(enc, &grid, &message) < 0);
    }
}

// Else a gigabyte of lines would come from a hundred bytes.
static void a_text_is_in_so_many_cells_only(void **state)
{
    (void)state;
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++) {
        struct rn_grid grid = texts_of(RN_BATCH_MAX_CELLS, 256, true), back;
        struct rn_span message;
        assert_int_equal(encode_texts(enc, &grid, &message), RN_OK);
        assert_int_equal(decode_texts(message, 256, 256, &back), RN_OK);
        assert_same(&grid, &back);
        grid = texts_of(RN_BATCH_MAX_CELLS, 257, true);
        assert_int_equal(encode_texts(enc, &grid, &message), RN_ELIMIT);
    }
}

// 40 texts of 255 bytes without anything in common.
static void many_new_texts_are_left_to_deflate(void **state)
{
    (void)state;
    struct rn_grid grid;
    uint32_t random = 1;
    assert_int_equal(rn_grid_init(&grid, 40, 1, 40 * 255, grid_storage, GRID_SIZE, &err), RN_OK);
    for (uint32_t tick = 0; tick < 40; tick++) {
        uint8_t text[255];
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 1664525 + 1013904223;
            text[i] = (uint8_t)('!' + (random >> 24) % 90);
        }
        grid.times[tick] = tick;
        assert_int_equal(rn_grid_set_text(&grid, 0, tick, (struct rn_span){text, sizeof text}),
                         RN_OK);
    }
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++) {
        struct rn_buf out;
        rn_buf_init_fixed(&out, out_bytes, sizeof out_bytes);
        assert_int_equal(
            rn_batch_encode_as(enc, &texts, 0, NULL, &grid, work, sizeof work, &out, &err),
            enc == RN_ENC_RANGE ? RN_ELIMIT : RN_OK);
    }
}

// Any bytes at all: refused, or columns that encode and come back.
static void any_bytes_are_refused_or_sound(void **state)
{
    (void)state;
    static const char *const names[] = {"batch-types-x", "batch-irregular-x", "batch-rules-x"};
    struct rn_rand rng;
    rn_rand_init(&rng, 7);
    for (uint32_t round = 0; round < 6000; round++) {
        load_companions(names[round % 3]);
        uint8_t columns[64 + 3];
        struct rn_buf item;
        size_t len = rn_rand_below(&rng, 64);
        rn_buf_init_fixed(&item, columns, sizeof columns);
        rn_cbor_put_bytes_head(&item, len);
        for (size_t i = 0; i < len; i++)
            rn_buf_byte(&item, (uint8_t)rn_rand_u64(&rng));
        struct rn_batch_info info = {
            .t0 = 1000, .n = 1 + (uint32_t)rn_rand_below(&rng, 50), .text_max = RN_TEXT_SHORT};
        info.enc = 1 + round / 3 % 2;
        info.columns = rn_buf_span(&item);
        struct rn_grid grid;
        int rc = rn_batch_decode(&schema, &info, &grid, grid_storage, GRID_SIZE, &err);
        assert_true(rc == RN_EFORMAT || rc == RN_ELIMIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_vectors_hold_the_cells_of_the_plain_ones),
        cmocka_unit_test(encoding_2_writes_the_bytes_of_the_vectors),
        cmocka_unit_test(a_missing_base_or_hints_are_asked_for),
        cmocka_unit_test(another_base_shows),
        cmocka_unit_test(damage_never_goes_unnoticed),
        cmocka_unit_test(too_little_work_memory_is_refused),
        cmocka_unit_test(what_does_not_fit_is_refused_and_leaves_nothing),
        cmocka_unit_test(not_a_number_is_refused),
        cmocka_unit_test(many_new_texts_are_left_to_deflate),
        cmocka_unit_test(texts_of_any_length_come_back),
        cmocka_unit_test(a_text_is_in_so_many_cells_only),
        cmocka_unit_test(any_bytes_are_refused_or_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
