// schemas.db: what numbers mean, what is bounded, what goes when, what survives damage.
#include "bridge/schemas.h"

#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[64];
static struct schemas *schemas;
static struct rn_err err;

static void open_schemas(void)
{
    if (schemas_open(&schemas, folder, &err) != RN_OK)
        fail_msg("%s", err.text);
}

static void reopen(void)
{
    schemas_close(schemas);
    open_schemas();
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/runnel-schemas-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    open_schemas();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    schemas_close(schemas);
    return rn_remove_tree(folder, &err);
}

// ---- objects -----------------------------------------------------------------------------------

#define OBJECT_MAX 256
struct object {
    enum rn_object kind;
    uint8_t bytes[OBJECT_MAX], hash[RN_SHA256_BYTES];
    size_t len;
};

static void seal(struct object *o, const struct rn_buf *buf)
{
    assert_true(rn_buf_ok(buf));
    o->len = buf->len;
    rn_sha256(o->hash, o->bytes, o->len);
}

// Of two columns, told apart by a number.
static struct object base_of(int64_t number)
{
    static struct rn_base base;
    struct object o = {.kind = RN_OBJECT_BASE};
    struct rn_buf buf;
    base = (struct rn_base){.column = {number, 7}, .ncolumns = 2};
    rn_buf_init_fixed(&buf, o.bytes, sizeof o.bytes);
    assert_int_equal(rn_base_encode(&base, &buf), RN_OK);
    seal(&o, &buf);
    return o;
}

static struct object hints_of(uint8_t step)
{
    static struct rn_hints hints;
    struct object o = {.kind = RN_OBJECT_HINTS};
    struct rn_buf buf;
    hints = (struct rn_hints){.column = {{1, step}, {2, step}}, .ncolumns = 2};
    rn_buf_init_fixed(&buf, o.bytes, sizeof o.bytes);
    assert_int_equal(rn_hints_encode(&hints, &buf), RN_OK);
    seal(&o, &buf);
    return o;
}

static struct object schema_of(uint32_t step)
{
    static const struct rn_field fields[] = {{.name = {(const uint8_t *)"a", 1}, .mul = 1},
                                             {.name = {(const uint8_t *)"b", 1}, .mul = 1}};
    static const struct rn_series series[] = {{0}};
    static const struct rn_group groups[] = {{.measurement = {(const uint8_t *)"m", 1},
                                              .every = 1,
                                              .fields = fields,
                                              .nfields = 2,
                                              .series = series,
                                              .nseries = 1}};
    const struct rn_schema schema = {
        .unit_ns = 1000000, .step = step, .groups = groups, .ngroups = 1, .ncolumns = 2};
    struct object o = {.kind = RN_OBJECT_SCHEMA};
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, o.bytes, sizeof o.bytes);
    assert_int_equal(rn_schema_encode(&schema, &buf, &err), RN_OK);
    seal(&o, &buf);
    return o;
}

static struct schemas_taken taken;

static int take(const char *dev, uint64_t install, uint32_t id, const struct object *o, bool whole)
{
    struct rn_key_msg msg = {.install = install,
                             .kind = o->kind,
                             .id = id,
                             .has_object = whole,
                             .object = {o->bytes, o->len}};
    memcpy(msg.hash, o->hash, sizeof msg.hash);
    return schemas_take(schemas, dev, &msg, &taken, &err);
}

static struct schemas_info info;

static int lookup(const char *dev, uint64_t install, enum rn_object kind, uint32_t id)
{
    info = (struct schemas_info){0};
    return schemas_lookup(schemas, dev, install, kind, id, &info, &err);
}

static struct schemas_counts counts(void)
{
    struct schemas_counts out;
    schemas_counts(schemas, &out);
    return out;
}

// What is stored under the binding that was looked up last.
static void assert_content(const struct object *o)
{
    struct rn_buf buf;
    rn_buf_init(&buf, RN_SCHEMA_MAX_BYTES);
    assert_int_equal(schemas_content(schemas, &info, &buf, &err), RN_OK);
    assert_int_equal(buf.len, o->len);
    assert_memory_equal(buf.data, o->bytes, o->len);
    rn_buf_release(&buf);
}

static void run_sql(const char *sql)
{
    struct rn_db *db;
    char path[128];
    snprintf(path, sizeof path, "%s/schemas.db", folder);
    struct rn_db_conf conf = {.path = path};
    assert_int_equal(rn_db_open(&db, &conf, &err), RN_OK);
    if (rn_db_exec(db, sql, &err) != RN_OK)
        fail_msg("%s", err.text);
    rn_db_close(db);
}

// ---- tests -------------------------------------------------------------------------------------

static void all_three_kinds_are_taken_found_and_read_back(void **state)
{
    (void)state;
    const struct object all[] = {schema_of(10), hints_of(3), base_of(-5)};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lookup("dev", 5, all[i].kind, 1), RN_ENOENT);
        assert_int_equal(take("dev", 5, 1, &all[i], true), RN_OK);
        assert_int_equal(taken.bytes, all[i].len);
    }
    reopen();
    for (size_t i = 0; i < 3; i++) { // the same number means another thing for each kind
        assert_int_equal(lookup("dev", 5, all[i].kind, 1), RN_OK);
        assert_true(info.complete);
        assert_int_equal(info.ncolumns, 2);
        assert_memory_equal(info.hash, all[i].hash, sizeof info.hash);
        assert_content(&all[i]);
    }
    assert_int_equal(lookup("dev", 5, RN_OBJECT_SCHEMA, 1), RN_OK);
    assert_int_equal(info.unit_ns, 1000000);
    assert_int_equal(info.step, 10);
}

static void a_binding_may_come_before_its_object(void **state)
{
    (void)state;
    struct object o = hints_of(1);
    assert_int_equal(take("dev", 5, 1, &o, false), RN_OK);
    assert_false(taken.info.complete);
    assert_int_equal(taken.bytes, 0);
    assert_int_equal(take("dev2", 6, 9, &o, true), RN_OK); // another device brings it
    assert_int_equal(taken.bytes, o.len);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_HINTS, 1), RN_OK);
    assert_true(info.complete);
    assert_int_equal(take("dev2", 6, 9, &o, true), RN_OK);
    assert_int_equal(taken.bytes, 0); // known by now
}

static void a_number_that_was_given_to_two_objects_is_disputed_for_ever(void **state)
{
    (void)state;
    struct object one = base_of(1), two = base_of(2);
    assert_int_equal(take("dev", 5, 1, &one, true), RN_OK);
    assert_int_equal(take("dev", 5, 2, &two, true), RN_OK);
    struct rn_key_msg msg = {.install = 5, .kind = RN_OBJECT_BASE, .id = 1};
    assert_int_equal(schemas_dispute(schemas, "dev", &msg, &err), RN_OK);
    reopen();
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_true(info.disputed);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 2), RN_OK);
    assert_false(info.disputed);
    assert_int_equal(take("dev", 5, 1, &one, true), RN_OK); // said again: still not to be trusted
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_true(info.disputed);
}

static void a_number_means_one_thing_for_one_install_of_one_device(void **state)
{
    (void)state;
    struct object one = base_of(1), two = base_of(2);
    assert_int_equal(take("dev", 5, 1, &one, true), RN_OK);
    int64_t row = taken.info.row;
    assert_int_equal(take("dev", 5, 1, &two, true), RN_ECONFLICT);
    assert_int_equal(counts().objects, 1); // nothing is left of what was refused
    assert_int_equal(take("dev", 6, 1, &two, true), RN_OK);
    assert_int_equal(take("dev2", 5, 1, &two, true), RN_OK);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_int_equal(info.row, row);
    assert_int_equal(lookup("dev2", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_content(&two);
    assert_int_equal(lookup("dev2", 6, RN_OBJECT_BASE, 1), RN_ENOENT);
}

static void what_does_not_have_its_hash_or_does_not_decode_is_refused(void **state)
{
    (void)state;
    struct object o = base_of(1);
    o.hash[0] ^= 1;
    assert_int_equal(take("dev", 5, 1, &o, true), RN_EFORMAT);
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++) {
        struct object junk = {.kind = kind, .bytes = {0xa1, 0x01, 0x00}, .len = 3};
        rn_sha256(junk.hash, junk.bytes, junk.len);
        assert_int_equal(take("dev", 5, 1, &junk, true), // version 0
                         kind == RN_OBJECT_SCHEMA ? RN_EUNSUPPORTED : RN_EFORMAT);
    }
    struct object claimed = hints_of(1); // hints as a base
    claimed.kind = RN_OBJECT_BASE;
    assert_int_equal(take("dev", 5, 1, &claimed, true), RN_EFORMAT);
    assert_int_equal(counts().objects, 0);
}

static void a_hash_bound_as_another_kind_stands_in_nobodys_way(void **state)
{
    (void)state;
    struct object schema = schema_of(10), lie = schema;
    lie.kind = RN_OBJECT_BASE;
    assert_int_equal(take("evil", 5, 1, &lie, false), RN_OK);
    assert_int_equal(take("dev", 5, 1, &schema, true), RN_OK);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_SCHEMA, 1), RN_OK);
    assert_content(&schema);
    assert_int_equal(lookup("evil", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_false(info.complete);
}

static void new_bases_push_out_old_bases_and_nothing_else(void **state)
{
    (void)state;
    struct object schema = schema_of(10), hints = hints_of(1), shared = base_of(1000);
    assert_int_equal(take("dev", 5, 1, &schema, true), RN_OK);
    assert_int_equal(take("dev", 5, 1, &hints, true), RN_OK);
    assert_int_equal(take("other", 6, 1, &shared, true), RN_OK);
    assert_int_equal(take("dev", 5, 1000, &shared, false), RN_OK);
    for (uint32_t id = 1; id <= 500; id++) {
        struct object o = base_of(id);
        assert_int_equal(take("dev", 5, id, &o, true), RN_OK);
        assert_true(taken.replaced == (id >= SCHEMAS_MAX_BINDINGS));
    }
    assert_int_equal(counts().bindings, SCHEMAS_MAX_BINDINGS + 3);
    assert_int_equal(counts().objects, SCHEMAS_MAX_BINDINGS + 3); // nothing that nobody can name
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 500 - SCHEMAS_MAX_BINDINGS), RN_ENOENT);
    for (uint32_t id = 501 - SCHEMAS_MAX_BINDINGS; id <= 500; id++) {
        struct object o = base_of(id);
        assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, id), RN_OK);
        assert_content(&o);
    }
    assert_int_equal(lookup("dev", 5, RN_OBJECT_SCHEMA, 1), RN_OK);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_HINTS, 1), RN_OK);
    assert_int_equal(lookup("other", 6, RN_OBJECT_BASE, 1), RN_OK);
    assert_content(&shared);
}

static void a_number_that_made_room_can_be_bound_again(void **state)
{
    (void)state;
    struct object first = base_of(1);
    assert_int_equal(take("dev", 5, 1, &first, true), RN_OK);
    int64_t row = taken.info.row;
    for (uint32_t id = 2; id <= SCHEMAS_MAX_BINDINGS + 1; id++) {
        struct object o = base_of(id);
        assert_int_equal(take("dev", 5, id, &o, true), RN_OK);
    }
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_ENOENT);
    assert_int_equal(take("dev", 5, 1, &first, false), RN_OK);
    assert_false(taken.info.complete); // its content went with the binding: it is asked for
    assert_true(taken.info.row > row); // rows are never used again
    assert_int_equal(take("dev", 5, 1, &first, true), RN_OK);
    assert_true(taken.info.complete);
}

static void an_install_that_goes_takes_what_only_it_had(void **state)
{
    (void)state;
    struct object schema = schema_of(10), base = base_of(1), other = base_of(2);
    assert_int_equal(take("dev", 5, 1, &schema, true), RN_OK);
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    assert_int_equal(take("dev", 6, 1, &schema, true), RN_OK);
    assert_int_equal(take("dev2", 5, 1, &other, true), RN_OK);
    assert_int_equal(schemas_forget(schemas, "dev", 5, &err), RN_OK);
    assert_int_equal(counts().bindings, 2);
    assert_int_equal(counts().objects, 2);
    assert_int_equal(lookup("dev", 6, RN_OBJECT_SCHEMA, 1), RN_OK);
    assert_content(&schema);
    assert_int_equal(lookup("dev2", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_content(&other);
}

static void a_damaged_object_is_forgotten_and_can_be_brought_again(void **state)
{
    (void)state;
    struct object base = base_of(1);
    struct rn_buf buf;
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    run_sql("UPDATE object SET body = x'a10181ff'");
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    rn_buf_init(&buf, RN_SCHEMA_MAX_BYTES);
    assert_int_equal(schemas_content(schemas, &info, &buf, &err), RN_ENOENT);
    rn_buf_release(&buf);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_false(info.complete);
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
    assert_content(&base);
}

static void a_damaged_file_is_put_aside_and_one_of_an_older_version_begun_anew(void **state)
{
    (void)state;
    struct object base = base_of(1);
    char path[128];
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    schemas_close(schemas);
    snprintf(path, sizeof path, "%s/schemas.db", folder);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++)
        fputc('x', file);
    fclose(file);
    open_schemas();
    assert_non_null(strstr(schemas_quarantined(schemas), "schemas.db.damaged"));
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_ENOENT);
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    run_sql("PRAGMA user_version = 0");
    reopen();
    assert_string_equal(schemas_quarantined(schemas), "");
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_ENOENT);
    assert_int_equal(take("dev", 5, 1, &base, true), RN_OK);
    reopen();
    assert_int_equal(lookup("dev", 5, RN_OBJECT_BASE, 1), RN_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

// A base of n columns, told apart by a number: 9 bytes a column.
static int take_large(const char *dev, uint64_t install, uint32_t id, int64_t number)
{
    static struct rn_base base;
    static uint8_t bytes[RN_SCHEMA_MAX_BYTES];
    struct rn_key_msg msg = {
        .install = install, .kind = RN_OBJECT_BASE, .id = id, .has_object = true};
    struct rn_buf buf;
    base.ncolumns = 1800;
    for (uint32_t i = 0; i < base.ncolumns; i++)
        base.column[i] = INT64_MAX - number - i;
    rn_buf_init_fixed(&buf, bytes, sizeof bytes);
    assert_int_equal(rn_base_encode(&base, &buf), RN_OK);
    msg.object = rn_buf_span(&buf);
    rn_sha256(msg.hash, bytes, buf.len);
    return schemas_take(schemas, dev, &msg, &taken, &err);
}

static void a_device_cannot_fill_the_disk_with_objects(void **state)
{
    (void)state;
    struct object mine = schema_of(10);
    assert_int_equal(take("other", 1, 0, &mine, true), RN_OK);
    int64_t number = 0;
    for (uint64_t install = 1; install <= 16; install++)
        for (uint32_t id = 1; id <= SCHEMAS_MAX_BINDINGS; id++, number += 2) {
            assert_int_equal(take_large("dev", install, id, number), RN_OK);
            assert_int_equal(lookup("dev", install, RN_OBJECT_BASE, id), RN_OK); // the newest is
            assert_true(info.complete);
        }
    assert_true(taken.replaced);
    assert_in_range(counts().bytes, SCHEMAS_MAX_BYTES / 2, SCHEMAS_MAX_BYTES + 256);
    assert_int_equal(lookup("dev", 1, RN_OBJECT_BASE, 1), RN_ENOENT); // the oldest went
    assert_int_equal(lookup("other", 1, RN_OBJECT_SCHEMA, 0), RN_OK); // nobody else's
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_three_kinds_are_taken_found_and_read_back),
        TEST(a_binding_may_come_before_its_object),
        TEST(a_number_that_was_given_to_two_objects_is_disputed_for_ever),
        TEST(a_number_means_one_thing_for_one_install_of_one_device),
        TEST(what_does_not_have_its_hash_or_does_not_decode_is_refused),
        TEST(a_hash_bound_as_another_kind_stands_in_nobodys_way),
        TEST(new_bases_push_out_old_bases_and_nothing_else),
        TEST(a_device_cannot_fill_the_disk_with_objects),
        TEST(a_number_that_made_room_can_be_bound_again),
        TEST(an_install_that_goes_takes_what_only_it_had),
        TEST(a_damaged_object_is_forgotten_and_can_be_brought_again),
        TEST(a_damaged_file_is_put_aside_and_one_of_an_older_version_begun_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
