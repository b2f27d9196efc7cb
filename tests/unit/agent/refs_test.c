// Hints and bases through the encoder: bought when they pay, and what was encoded with them is
// decoded with them and nothing else.
#include "agent/encoder.h"
#include "agent/refs.h"
#include "encoder_fixture.h"
#include <runnel/rand.h>

#include <stdio.h>
#include <stdlib.h>

enum { TICKS = 6, COLUMNS = 40, OBJECTS = 64 };

// A small store.
struct shelf {
    struct {
        enum rn_object kind;
        uint32_t schema;
        size_t len;
        uint8_t bytes[2048];
    } object[OBJECTS];
    uint32_t n;
    uint32_t before; // as many numbers were used earlier
    bool full;
    size_t bytes;
};

static int shelf_keep(void *arg, enum rn_object kind, uint32_t schema_id, struct rn_span object,
                      uint32_t *id)
{
    struct shelf *shelf = arg;
    if (shelf->full || shelf->n + 1 >= OBJECTS || object.len > sizeof shelf->object[0].bytes)
        return RN_ELIMIT;
    uint32_t n = ++shelf->n;
    *id = shelf->before + n;
    shelf->object[n].kind = kind;
    shelf->object[n].schema = schema_id;
    shelf->object[n].len = object.len;
    memcpy(shelf->object[n].bytes, object.data, object.len);
    shelf->bytes += object.len + REFS_OVERHEAD;
    return RN_OK;
}

static int shelf_find(void *arg, enum rn_object kind, uint32_t id, struct rn_span *object)
{
    const struct shelf *shelf = arg;
    uint32_t n = id - shelf->before;
    if (id <= shelf->before || n > shelf->n || shelf->object[n].kind != kind)
        return RN_ENOENT;
    *object = (struct rn_span){shelf->object[n].bytes, shelf->object[n].len};
    return RN_OK;
}

static int shelf_current(void *arg, enum rn_object kind, uint32_t schema_id, uint32_t *id,
                         struct rn_span *object)
{
    const struct shelf *shelf = arg;
    for (uint32_t n = shelf->n; n > 0; n--) {
        *id = shelf->before + n;
        if (shelf->object[n].schema == schema_id && shelf_find(arg, kind, *id, object) == RN_OK)
            return RN_OK;
    }
    return RN_ENOENT;
}

static uint64_t storage[8192], work[RN_DECODE_WORK / 8];
static struct rn_base base;
static struct rn_hints hints;

static void make_columns(uint32_t n)
{
    static struct rn_field fields[COLUMNS];
    static char names[COLUMNS][16];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "f%02u", i);
        fields[i] = (struct rn_field){.name = rn_span_text(names[i]), .type = RN_UINT, .mul = 1};
        fields[i].kind = i % 2 ? RN_COUNTER : RN_GAUGE;
    }
    make_schema(fields, n, 10);
}

static int make(void **state)
{
    (void)state;
    make_columns(COLUMNS);
    return 0;
}

// Something like a host: counters that grow at their own pace, gauges that wander.
struct host {
    struct rn_rand rand;
    int64_t at[COLUMNS], time;
    struct rn_grid grid;
};

static void boot(struct host *h, uint64_t seed)
{
    rn_rand_init(&h->rand, seed);
    h->time = FIXTURE_TIME;
    for (int i = 0; i < COLUMNS; i++)
        h->at[i] = (int64_t)rn_rand_below(&h->rand, 1ULL << (10 + i % 30));
}

static void next_batch(struct host *h, bool still)
{
    assert_int_equal(
        rn_grid_init(&h->grid, TICKS, schema.ncolumns, 0, storage, sizeof storage, NULL), RN_OK);
    for (uint32_t t = 0; t < TICKS; t++) {
        h->grid.times[t] = h->time;
        h->time += 10;
        for (uint32_t c = 0; c < schema.ncolumns; c++) {
            size_t at = rn_grid_at(&h->grid, c, t);
            int64_t step = (int64_t)rn_rand_below(&h->rand, 1ULL << (c % 5));
            if (!still)
                h->at[c] += c % 2 || rn_rand_below(&h->rand, 2) ? step
                            : h->at[c] > step                   ? -step
                                                                : 0;
            h->grid.states[at] = RN_CELL_SCALED;
            h->grid.cells[at].i = h->at[c];
        }
    }
}

struct bench {
    struct encoder *e;
    struct shelf shelf;
    struct host host;
    size_t bodies, plain; // bytes, with and without hints and base
    uint32_t named;       // batches that name one
};

// What was replaced is kept for the rows before only.
static void check_newest(struct bench *b, enum rn_object kind, uint32_t schema_id, uint32_t id)
{
    uint32_t newest = b->shelf.n;
    while (newest > 0 &&
           (b->shelf.object[newest].kind != kind || b->shelf.object[newest].schema != schema_id))
        newest--;
    assert_int_equal(id, b->shelf.before + newest);
}

static void check_decodes(struct bench *b, struct rn_span body, struct rn_batch_info *info)
{
    struct rn_coding with = {0};
    struct rn_grid again;
    struct rn_span bytes;
    assert_int_equal(rn_batch_open_body(body, info, NULL), RN_OK);
    if (info->has_base) {
        assert_int_equal(shelf_find(&b->shelf, RN_OBJECT_BASE, info->base_id, &bytes), RN_OK);
        assert_int_equal(rn_base_decode(bytes, &base, NULL), RN_OK);
        with.base = &base;
    }
    if (info->has_hints) {
        assert_int_equal(shelf_find(&b->shelf, RN_OBJECT_HINTS, info->hints_id, &bytes), RN_OK);
        assert_int_equal(rn_hints_decode(bytes, &hints, NULL), RN_OK);
        with.hints = &hints;
    }
    assert_int_equal(rn_batch_decode_with(&schema, info, &with, &again, again_storage,
                                          sizeof again_storage, work, sizeof work, NULL),
                     RN_OK);
    assert_same_cells(&b->host.grid, &again);
}

static struct rn_span cut(struct bench *b, uint32_t schema_id, struct rn_batch_info *info)
{
    static uint8_t copy[4096];
    static uint64_t coder[RN_ENCODE_WORK / 8];
    struct rn_span body;
    struct rn_buf out;
    assert_int_equal(encoder_smallest(b->e, &schema, schema_id, &b->host.grid, &body, NULL), RN_OK);
    check_decodes(b, body, info);
    if (info->has_base)
        check_newest(b, RN_OBJECT_BASE, schema_id, info->base_id);
    if (info->has_hints)
        check_newest(b, RN_OBJECT_HINTS, schema_id, info->hints_id);
    b->named += info->has_base || info->has_hints;
    b->bodies += body.len;
    rn_buf_init_fixed(&out, copy, sizeof copy);
    assert_int_equal(rn_batch_encode_as(RN_ENC_RANGE, &schema, schema_id, NULL, &b->host.grid,
                                        coder, sizeof coder, &out, NULL),
                     RN_OK);
    assert_true(body.len <= out.len); // never worse than without
    b->plain += out.len;
    return keep(body, copy);
}

static void run(struct bench *b, int batches, bool still)
{
    struct rn_batch_info info;
    for (int i = 0; i < batches; i++) {
        next_batch(&b->host, still);
        cut(b, 3, &info);
    }
}

static struct bench *new_bench(uint64_t seed)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    assert_int_equal(encoder_new(&b->e, 5, NULL), RN_OK);
    const struct encoder_objects objects = {
        .arg = &b->shelf, .keep = shelf_keep, .current = shelf_current, .find = shelf_find};
    encoder_attach(b->e, &objects);
    boot(&b->host, seed);
    return b;
}

static void free_bench(struct bench *b)
{
    encoder_free(b->e);
    free(b);
}

static void what_is_spent_on_objects_comes_back(void **state)
{
    (void)state;
    struct bench *b = new_bench(1);
    run(b, 400, false);
    assert_true(b->shelf.n >= 2);
    assert_true(b->named > 300);
    assert_true(b->bodies + b->shelf.bytes < b->plain * 9 / 10);
    assert_true(b->shelf.bytes <= b->plain - b->bodies);
    free_bench(b);
}

static void data_that_gains_nothing_by_a_base_gets_none(void **state)
{
    (void)state;
    struct bench *b = new_bench(2);
    memset(b->host.at, 0, sizeof b->host.at);
    run(b, 400, true); // zeros
    assert_true(b->shelf.n <= 1);
    assert_int_not_equal(b->shelf.object[1].kind, RN_OBJECT_BASE);
    assert_true(b->bodies + b->shelf.bytes <= b->plain + b->shelf.bytes / 2);
    free_bench(b);
}

static void a_reboot_that_resets_all_counters_is_followed(void **state)
{
    (void)state;
    struct bench *b = new_bench(3);
    run(b, 200, false);
    uint32_t before = b->shelf.n;
    memset(b->host.at, 0, sizeof b->host.at);
    for (int i = 0; i < COLUMNS; i++)
        b->host.at[i] = 1 << 20;
    run(b, 200, false);
    assert_true(b->shelf.n > before);
    free_bench(b);
}

static void a_restart_goes_on_with_what_the_buffer_has(void **state)
{
    (void)state;
    struct rn_batch_info info;
    struct bench *b = new_bench(4);
    run(b, 200, false);
    uint32_t before = b->shelf.n, wanted = before;
    const struct encoder_objects objects = {
        .arg = &b->shelf, .keep = shelf_keep, .current = shelf_current, .find = shelf_find};
    encoder_attach(b->e, &objects); // forgets all
    next_batch(&b->host, false);
    cut(b, 3, &info);
    assert_true(info.has_base && info.has_hints);
    assert_int_equal(b->shelf.n, wanted);
    cut(b, 4, &info); // another schema has none of it
    assert_false(info.has_base || info.has_hints);
    free_bench(b);
}

static void schemas_do_not_share_what_was_learnt_and_the_oldest_is_forgotten(void **state)
{
    (void)state;
    struct rn_batch_info info;
    struct bench *b = new_bench(5);
    for (int i = 0; i < 100; i++)
        for (uint32_t id = 1; id <= 2; id++) {
            next_batch(&b->host, false);
            cut(b, id, &info);
            if (info.has_base)
                assert_int_equal(b->shelf.object[info.base_id].schema, id);
        }
    for (uint32_t id = 3; id < 3 + 2 * REFS_SCHEMAS; id++) {
        next_batch(&b->host, false);
        cut(b, id, &info);
    }
    cut(b, 1, &info); // forgotten, and told by the buffer again
    assert_true(info.has_base);
    assert_int_equal(b->shelf.object[info.base_id].schema, 1);
    free_bench(b);
}

static void a_buffer_without_room_leaves_batches_as_they_are(void **state)
{
    (void)state;
    struct bench *b = new_bench(6);
    b->shelf.full = true;
    run(b, 100, false);
    assert_int_equal(b->named, 0);
    b->shelf.full = false;
    run(b, 1, false); // it has paid for long
    assert_true(b->shelf.n > 0);
    free_bench(b);
}

// Large numbers that hardly move: a base saves much, the next one next to nothing.
static void slow_data(struct bench *b, uint32_t before)
{
    b->shelf.before = before;
    for (uint32_t c = 0; c < schema.ncolumns; c++)
        b->host.at[c] = (int64_t)1 << (40 + c);
}

// It may come to pay, or find room, at a batch that is no smaller with it than with the one before.
static void no_batch_names_what_was_just_replaced(void **state)
{
    (void)state;
    make_columns(3);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct bench *b = new_bench(seed);
        struct rn_rand rand;
        rn_rand_init(&rand, seed);
        slow_data(b, seed % 2 ? 21 : 253); // numbers get longer by a byte soon
        for (int i = 0; i < 2000 && b->shelf.n < 5; i++) {
            b->shelf.full = rn_rand_below(&rand, 1 + seed % 7) > 0;
            run(b, 1, rn_rand_below(&rand, 1 + seed / 2) > 0);
        }
        free_bench(b);
    }
    make_columns(COLUMNS);
}

static void a_base_that_fits_still_is_not_bought_again(void **state)
{
    (void)state;
    make_columns(3);
    struct bench *b = new_bench(1);
    slow_data(b, 1000);
    run(b, 2000, true);
    assert_true(b->named > 1900);
    assert_int_equal(b->shelf.n, 1);
    free_bench(b);
    make_columns(COLUMNS);
}

static void a_bridge_that_refuses_them_gets_none_on_this_connection(void **state)
{
    (void)state;
    struct rn_batch_info info, again;
    struct rn_span body, plain;
    struct bench *b = new_bench(7);
    run(b, 200, false);
    next_batch(&b->host, false);
    body = cut(b, 3, &info);
    assert_true(info.has_base && info.has_hints);
    assert_int_equal(encoder_renew(b->e, schema_object, body, &again, &plain, NULL), RN_OK);
    assert_true(again.has_base && again.has_hints);
    encoder_refused(b->e, &again);
    assert_plain(plain, &b->host.grid);
    cut(b, 3, &info);
    assert_false(info.has_base || info.has_hints);
    assert_int_equal(info.enc, RN_ENC_RANGE); // the encoding itself was not refused
    encoder_connected(b->e);
    cut(b, 3, &info);
    assert_true(info.has_base);
    b->shelf.n = 0;
    assert_int_equal(encoder_renew(b->e, schema_object, body, &again, &plain, NULL), RN_ENOENT);
    free_bench(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_spent_on_objects_comes_back),
        cmocka_unit_test(data_that_gains_nothing_by_a_base_gets_none),
        cmocka_unit_test(a_reboot_that_resets_all_counters_is_followed),
        cmocka_unit_test(a_restart_goes_on_with_what_the_buffer_has),
        cmocka_unit_test(schemas_do_not_share_what_was_learnt_and_the_oldest_is_forgotten),
        cmocka_unit_test(a_buffer_without_room_leaves_batches_as_they_are),
        cmocka_unit_test(no_batch_names_what_was_just_replaced),
        cmocka_unit_test(a_base_that_fits_still_is_not_bought_again),
        cmocka_unit_test(a_bridge_that_refuses_them_gets_none_on_this_connection),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
