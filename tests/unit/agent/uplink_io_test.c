// The uplink's shell over a real buffer, without a broker: what becomes of rows that name an object
// which the bridge asks for and which is damaged or gone.
#include "agent/store_private.h"
#include "agent/uplink_io.h"
#include "encoder_fixture.h"
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/file.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TICKS = 2, COLUMNS = 40, LOG = 77, ROWS_MAX = 200 };

struct device {
    char folder[64];
    struct rn_loop *loop;
    struct rn_mqtt *mqtt;
    struct encoder *encoder;
    struct uplink_io *io;
    struct store *store;
    int64_t time; // of the next tick
};

static uint64_t storage[4096];

static void make_columns(void)
{
    static struct rn_field fields[COLUMNS];
    static char names[COLUMNS][16];
    for (int i = 0; i < COLUMNS; i++) {
        snprintf(names[i], sizeof names[i], "f%02d", i);
        fields[i] = (struct rn_field){.name = rn_span_text(names[i]), .type = RN_UINT, .mul = 1};
    }
    make_schema(fields, COLUMNS, 10);
}

static void announce(void *arg)
{
    (void)arg;
}

static void on_store_failed(void *arg, const struct rn_err *err)
{
    (void)arg;
    fail_msg("%s", err->text);
}

static int begin(void **state)
{
    static const char *const nobody[] = {"mqtt://127.0.0.1:1"};
    const struct rn_mqtt_conf mqtt = {.addresses = nobody,
                                      .naddresses = 1,
                                      .client_id = "device",
                                      .keepalive_ms = 60000,
                                      .connect_timeout_ms = 2000,
                                      .backoff_min_ms = 1000,
                                      .backoff_max_ms = 1000,
                                      .max_inflight = 16,
                                      .max_queue_items = 64,
                                      .max_queue_bytes = 1 << 16};
    const struct rn_mqtt_handler handler = {0};
    const struct uplink_io_hooks hooks = {.announce = announce, .store_failed = on_store_failed};
    struct device *d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->time = FIXTURE_TIME;
    snprintf(d->folder, sizeof d->folder, "/tmp/uplink_io_test.XXXXXX");
    assert_non_null(mkdtemp(d->folder));
    make_columns();
    assert_int_equal(rn_loop_new(&d->loop, NULL), RN_OK);
    assert_int_equal(rn_mqtt_new(&d->mqtt, d->loop, &mqtt, &handler, NULL), RN_OK);
    assert_int_equal(encoder_new(&d->encoder, 5, NULL), RN_OK);
    const struct uplink_io_conf conf = {.topic_data = "data",
                                        .topic_key = "key",
                                        .encoder = d->encoder,
                                        .core = {.ack_by_ms = 1000,
                                                 .ack_timeout_min_ms = 5000,
                                                 .ack_timeout_max_ms = 300000,
                                                 .hello_timeout_ms = 5000,
                                                 .window = 16,
                                                 .live = 5,
                                                 .seed = 1}};
    assert_int_equal(uplink_io_new(&d->io, d->loop, d->mqtt, &conf, &hooks, NULL), RN_OK);
    const struct store_conf store = {.folder = d->folder, .max_bytes = 4 << 20};
    struct store_report report;
    assert_int_equal(store_open(&d->store, &store, &report, NULL), RN_OK);
    uplink_io_attach(d->io, d->store);
    *state = d;
    return 0;
}

static int end(void **state)
{
    struct device *d = *state;
    assert_true(ledger_balanced(&store_state(d->store)->ledger));
    uplink_io_free(d->io);
    encoder_free(d->encoder);
    store_close(d->store);
    rn_mqtt_free(d->mqtt);
    rn_loop_free(d->loop);
    int rc = rn_remove_tree(d->folder, NULL);
    free(d);
    return rc;
}

// ---- batches ------------------------------------------------------------------------------------

// Columns far from zero that stand still: a base pays.
static void fill(struct device *d, struct rn_grid *grid)
{
    assert_int_equal(rn_grid_init(grid, TICKS, COLUMNS, 0, storage, sizeof storage, NULL), RN_OK);
    for (uint32_t t = 0; t < TICKS; t++, d->time += 10) {
        grid->times[t] = d->time;
        for (uint32_t c = 0; c < COLUMNS; c++) {
            grid->states[rn_grid_at(grid, c, t)] = RN_CELL_SCALED;
            grid->cells[rn_grid_at(grid, c, t)].i = INT64_C(1000003) * c * c * c;
        }
    }
}

static uint64_t add(struct device *d, struct rn_batch_info *info)
{
    uint8_t hash[RN_HASH_BYTES];
    struct store_row row = {.samples = TICKS * COLUMNS};
    struct rn_grid grid;
    fill(d, &grid);
    rn_sha256(hash, schema_object.data, schema_object.len);
    assert_int_equal(store_schema_id(d->store, hash, schema_object, &row.schema, NULL), RN_OK);
    assert_int_equal(encoder_smallest(d->encoder, &schema, row.schema, &grid, &row.body, NULL),
                     RN_OK);
    assert_int_equal(rn_batch_open_body(row.body, info, NULL), RN_OK);
    row.crc = rn_crc32c(0, row.body.data, row.body.len);
    assert_int_equal(store_append(d->store, &row, true, 0, NULL), RN_OK);
    uplink_io_event(
        d->io, &(struct uplink_event){.type = UPLINK_COMMITTED, .seq = row.seq, .up_to = row.seq});
    return row.seq;
}

// Rows until one names what is asked for; its number.
static uint32_t add_until(struct device *d, enum rn_object kind)
{
    struct rn_batch_info info;
    for (int i = 0; i < ROWS_MAX; i++) {
        add(d, &info);
        if (kind == RN_OBJECT_BASE ? info.has_base : info.has_hints)
            return kind == RN_OBJECT_BASE ? info.base_id : info.hints_id;
    }
    fail_msg("no batch names one");
    return 0;
}

static bool names(const struct store_row *row, enum rn_object kind, uint32_t id)
{
    struct rn_batch_info info;
    assert_int_equal(rn_batch_open_body(row->body, &info, NULL), RN_OK);
    return kind == RN_OBJECT_BASE    ? info.has_base && info.base_id == id
           : kind == RN_OBJECT_HINTS ? info.has_hints && info.hints_id == id
                                     : row->schema == id;
}

static uint64_t rows_that_name(struct device *d, enum rn_object kind, uint32_t id)
{
    struct store_row row = {0};
    uint64_t n = 0;
    while (store_next(d->store, row.seq + 1, INT64_MAX, &row, NULL) == 1)
        n += names(&row, kind, id);
    return n;
}

// ---- the bridge ---------------------------------------------------------------------------------

static struct rn_ack words(const struct device *d)
{
    return (struct rn_ack){.tag = (uint32_t)store_state(d->store)->install, .log_id = LOG};
}

static void connect_it(struct device *d)
{
    struct rn_ack hello = words(d);
    hello.has_hello = true;
    hello.hello.install = store_state(d->store)->install;
    uplink_io_event(d->io, &(struct uplink_event){.type = UPLINK_CONNECTED});
    uplink_io_ack(d->io, &hello);
    assert_true(uplink_io_open(d->io));
}

static void need(struct device *d, enum rn_object kind, uint32_t id)
{
    struct rn_ack ack = words(d);
    ack.nneed = 1;
    ack.need[0] = (struct rn_ack_need){.kind = kind, .id = id, .object = true};
    uplink_io_ack(d->io, &ack);
}

static void sql(struct device *d, const char *text, uint32_t id)
{
    char line[160];
    snprintf(line, sizeof line, "%s WHERE id=%u", text, id);
    store_release_borrowed(d->store);
    assert_int_equal(rn_db_exec(d->store->db, line, NULL), RN_OK);
}

// ---- tests --------------------------------------------------------------------------------------

static const char damage_object[] = "UPDATE object SET object=zeroblob(length(object))";

static void lose_named(struct device *d, enum rn_object kind, const char *damage)
{
    struct rn_batch_info info;
    uint32_t id = add_until(d, kind);
    uint64_t named = rows_that_name(d, kind, id), rows = store_state(d->store)->rows;
    assert_in_range(named, 1, rows - 1);
    sql(d, damage, id);
    connect_it(d);
    assert_int_equal(store_state(d->store)->ledger.lost, 0);
    // Its key message went unasked a moment ago: the same again has to wait for a second.
    for (int i = 0; i < 1000 && rows_that_name(d, kind, id) > 0; i++) {
        need(d, kind, id);
        usleep(10000);
    }
    assert_int_equal(rows_that_name(d, kind, id), 0);
    assert_int_equal(store_state(d->store)->rows, rows - named);
    assert_int_equal(store_state(d->store)->ledger.lost, named * TICKS * COLUMNS);
    add(d, &info);
    assert_int_equal(rows_that_name(d, kind, id), 0);
    assert_int_not_equal(add_until(d, kind), id); // another one takes its place
}

static void rows_whose_base_is_damaged_are_lost_and_no_other_names_it(void **state)
{
    lose_named(*state, RN_OBJECT_BASE, damage_object);
}

static void rows_whose_base_is_gone_are_lost_and_no_other_names_it(void **state)
{
    lose_named(*state, RN_OBJECT_BASE, "DELETE FROM object");
}

static void rows_whose_hints_are_damaged_are_lost_and_no_other_names_them(void **state)
{
    lose_named(*state, RN_OBJECT_HINTS, "UPDATE object SET hash=zeroblob(32)");
}

static void lose_schema(struct device *d, const char *damage)
{
    struct rn_batch_info info;
    for (int i = 0; i < 5; i++)
        add(d, &info);
    uint32_t id = info.schema_id;
    sql(d, damage, id);
    connect_it(d);
    assert_int_equal(store_state(d->store)->rows, 5);
    need(d, RN_OBJECT_SCHEMA, id);
    assert_int_equal(store_state(d->store)->rows, 0);
    assert_int_equal(store_state(d->store)->low, store_state(d->store)->next);
    assert_int_equal(store_state(d->store)->ledger.lost, 5 * TICKS * COLUMNS);
    add(d, &info);
    assert_int_not_equal(info.schema_id, id);
    need(d, RN_OBJECT_SCHEMA, info.schema_id);
    assert_int_equal(store_state(d->store)->rows, 1);
}

static void rows_whose_schema_is_damaged_are_lost_and_the_next_names_another(void **state)
{
    lose_schema(*state, "UPDATE schema SET object=zeroblob(length(object))");
}

static void rows_whose_schema_is_gone_are_lost_and_the_next_names_another(void **state)
{
    lose_schema(*state, "DELETE FROM schema");
}

static void what_the_bridge_has_needs_no_object_any_more(void **state)
{
    struct device *d = *state;
    struct rn_batch_info info;
    struct store_row row;
    for (int i = 0; i < 5; i++)
        add(d, &info);
    connect_it(d);
    struct rn_ack ack = words(d);
    ack.nreceived = 1;
    ack.received[0] = (struct rn_range){2, 3};
    uplink_io_ack(d->io, &ack);
    sql(d, "UPDATE schema SET object=zeroblob(length(object))", info.schema_id);
    need(d, RN_OBJECT_SCHEMA, info.schema_id);
    assert_int_equal(store_state(d->store)->rows, 2);
    assert_int_equal(store_next(d->store, 1, INT64_MAX, &row, NULL), 1);
    assert_int_equal(row.seq, 2);
    assert_int_equal(store_state(d->store)->low, 2);
}

static void a_whole_object_that_is_asked_for_costs_no_row(void **state)
{
    struct device *d = *state;
    uint32_t base = add_until(d, RN_OBJECT_BASE);
    uint64_t rows = store_state(d->store)->rows;
    connect_it(d);
    need(d, RN_OBJECT_BASE, base);
    need(d, RN_OBJECT_SCHEMA, 1);
    assert_int_equal(store_state(d->store)->rows, rows);
    assert_int_equal(store_state(d->store)->ledger.lost, 0);
}

static void a_damaged_base_is_not_named_after_a_restart(void **state)
{
    struct device *d = *state;
    struct rn_batch_info info;
    uint32_t base = add_until(d, RN_OBJECT_BASE);
    sql(d, "UPDATE object SET hash=zeroblob(32)", base);
    uplink_io_attach(d->io, d->store);
    add(d, &info);
    assert_false(info.has_base && info.base_id == base);
    assert_int_not_equal(add_until(d, RN_OBJECT_BASE), base);
}

#define WITH_DEVICE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DEVICE(rows_whose_base_is_damaged_are_lost_and_no_other_names_it),
        WITH_DEVICE(rows_whose_base_is_gone_are_lost_and_no_other_names_it),
        WITH_DEVICE(rows_whose_hints_are_damaged_are_lost_and_no_other_names_them),
        WITH_DEVICE(rows_whose_schema_is_damaged_are_lost_and_the_next_names_another),
        WITH_DEVICE(rows_whose_schema_is_gone_are_lost_and_the_next_names_another),
        WITH_DEVICE(what_the_bridge_has_needs_no_object_any_more),
        WITH_DEVICE(a_whole_object_that_is_asked_for_costs_no_row),
        WITH_DEVICE(a_damaged_base_is_not_named_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
