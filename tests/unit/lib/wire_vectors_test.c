// Every vector of schemas/vectors: valid ones decode and encode to the same bytes, tolerated ones
// decode, bad ones are refused with the error that their INDEX names.
#include <runnel/cbor.h>
#include <runnel/wire.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS PROJECT_SOURCE_DIR "/schemas/vectors"

struct bytes {
    uint8_t data[RN_BATCH_MAX_BYTES];
    size_t len;
};

static bool load(struct bytes *out, const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.cbor", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    out->len = fread(out->data, 1, sizeof out->data, file);
    fclose(file);
    return true;
}

// Decodes a message; if `again` is given encodes it there. Returns the first error.
struct again {
    struct rn_buf *out;
    struct rn_err *err;
};

static int schema_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_schema schema;
    void *storage = malloc(RN_SCHEMA_STORAGE);
    int result = rn_schema_decode(in, &schema, storage, RN_SCHEMA_STORAGE, again->err);
    if (!result)
        result = rn_schema_encode(&schema, again->out, again->err);
    free(storage);
    return result;
}

static void load_schema_of(const char *batch, struct rn_schema *schema, void *storage)
{
    static struct bytes bytes;
    char name[64];
    struct rn_err err;
    const char *from = batch + strlen("batch-");
    snprintf(name, sizeof name, "schema-%.*s", (int)strcspn(from, "-"), from);
    assert_true(load(&bytes, VECTORS, name));
    assert_int_equal(rn_schema_decode((struct rn_span){bytes.data, bytes.len}, schema, storage,
                                      RN_SCHEMA_STORAGE, &err),
                     RN_OK);
}

static int columns_again(const struct rn_schema *schema, const struct rn_batch_info *info,
                         struct again *again)
{
    struct rn_grid grid;
    size_t size = rn_batch_grid_bytes(schema, info);
    void *storage = malloc(size + 1);
    int result = rn_batch_decode(schema, info, &grid, storage, size, again->err);
    if (!result)
        result = rn_batch_encode_body(schema, info->schema_id, &grid, again->out, again->err);
    free(storage);
    return result;
}

static int batch_again(struct rn_span in, const char *name, struct again *again)
{
    struct rn_batch_head head;
    struct rn_batch_info info, from_body;
    struct rn_span body;
    int result = rn_batch_open(in, &head, &info, &body, again->err);
    if (result)
        return result;
    assert_int_equal(rn_batch_open_body(body, &from_body, again->err), RN_OK);
    assert_int_equal(info.t0, from_body.t0);
    assert_ptr_equal(info.columns.data, from_body.columns.data);
    struct rn_schema schema;
    void *storage = malloc(RN_SCHEMA_STORAGE);
    load_schema_of(name, &schema, storage);
    rn_batch_put_head(again->out, &head);
    result = columns_again(&schema, &info, again);
    free(storage);
    return result;
}

static int key_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_key_msg msg;
    int result = rn_key_decode(in, &msg, again->err);
    return result ? result : rn_key_encode(&msg, again->out);
}

static int hints_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    static struct rn_hints hints;
    int result = rn_hints_decode(in, &hints, again->err);
    return result ? result : rn_hints_encode(&hints, again->out);
}

static int base_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    static struct rn_base base;
    int result = rn_base_decode(in, &base, again->err);
    return result ? result : rn_base_encode(&base, again->out);
}

static int status_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_status msg;
    int result = rn_status_decode(in, &msg, again->err);
    return result ? result : rn_status_encode(&msg, again->out);
}

static int ack_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_ack msg;
    int result = rn_ack_decode(in, &msg, again->err);
    return result ? result : rn_ack_encode(&msg, again->out);
}

static int config_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_config_doc msg;
    int result = rn_config_decode(in, &msg, again->err);
    return result ? result : rn_config_encode(&msg, again->out);
}

static int signed_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_signed msg;
    int result = rn_signed_decode(in, &msg, again->err);
    return result ? result : rn_signed_encode(&msg, again->out);
}

static int report_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_report msg;
    int result = rn_report_decode(in, &msg, again->err);
    return result ? result : rn_report_encode(&msg, again->out);
}

static int bridge_status_again(struct rn_span in, const char *name, struct again *again)
{
    (void)name;
    struct rn_bridge_status msg;
    int result = rn_bridge_status_decode(in, &msg, again->err);
    return result ? result : rn_bridge_status_encode(&msg, again->out);
}

static const struct {
    const char *prefix;
    int (*run)(struct rn_span in, const char *name, struct again *again);
} messages[] = {
    {"schema-", schema_again},
    {"batch-", batch_again},
    {"key-", key_again},
    {"status-", status_again},
    {"hints-", hints_again},
    {"base-", base_again},
    {"ack-", ack_again},
    {"config-", config_again},
    {"signed-", signed_again},
    {"report-", report_again},
    {"bridge-status-", bridge_status_again},
};
#define MESSAGES (sizeof messages / sizeof *messages)

// The input is copied to the end of a block of its own, so that a read beyond it is seen by ASan.
static int run(const char *name, const struct bytes *bytes, struct rn_buf *out, struct rn_err *err)
{
    uint8_t *copy = malloc(bytes->len ? bytes->len : 1);
    memcpy(copy, bytes->data, bytes->len);
    struct again again = {out, err};
    int result = 1;
    err->text[0] = '\0';
    for (size_t i = 0; i < MESSAGES; i++)
        if (strncmp(name, messages[i].prefix, strlen(messages[i].prefix)) == 0)
            result = messages[i].run((struct rn_span){copy, bytes->len}, name, &again);
    free(copy);
    return result;
}

// Calls test(name) for every .cbor of a folder and returns how many there are.
static int each(const char *folder, void (*test)(const char *folder, const char *name))
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *dot = strstr(entry->d_name, ".cbor");
        if (!dot)
            continue;
        *dot = '\0';
        test(folder, entry->d_name);
        count++;
    }
    closedir(dir);
    return count;
}

static struct bytes input;
static uint8_t output[RN_BATCH_MAX_BYTES];

static void same_bytes(const char *folder, const char *name)
{
    struct rn_buf out;
    struct rn_err err;
    rn_buf_init_fixed(&out, output, sizeof output);
    assert_true(load(&input, folder, name));
    int result = run(name, &input, &out, &err);
    if (result)
        fail_msg("%s: %d %s", name, result, err.text);
    if (out.len != input.len || memcmp(output, input.data, out.len) != 0)
        fail_msg("%s: encoded to other bytes", name);
}

static void accepted(const char *folder, const char *name)
{
    struct rn_buf out;
    struct rn_err err;
    rn_buf_init_fixed(&out, output, sizeof output);
    assert_true(load(&input, folder, name));
    int result = run(name, &input, &out, &err);
    if (result)
        fail_msg("%s: %d %s", name, result, err.text);
}

static void valid_vectors_decode_and_encode_to_the_same_bytes(void **state)
{
    (void)state;
    assert_true(each(VECTORS, same_bytes) >= 30);
}

static void tolerated_vectors_decode(void **state)
{
    (void)state;
    assert_true(each(VECTORS "/tolerated", accepted) >= 5);
}

static int code_of(const char *name)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"EFORMAT", RN_EFORMAT}, {"ELIMIT", RN_ELIMIT}, {"EUNSUPPORTED", RN_EUNSUPPORTED}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    return 1;
}

static void bad_vectors_are_refused_with_the_error_of_the_index(void **state)
{
    (void)state;
    FILE *index = fopen(VECTORS "/bad/INDEX", "r");
    assert_non_null(index);
    char name[128], code[32], who[32];
    int count = 0, wrong = 0;
    while (fscanf(index, "%127s %31s %31s", name, code, who) == 3) {
        struct rn_buf out;
        struct rn_err err;
        rn_buf_init_fixed(&out, output, sizeof output);
        assert_true(load(&input, VECTORS "/bad", name));
        int result = run(name, &input, &out, &err);
        if (result != code_of(code) || err.code != result || !err.text[0]) {
            print_error("%s: %d (%s), not %s\n", name, result, err.text, code);
            wrong++;
        }
        count++;
    }
    fclose(index);
    assert_int_equal(wrong, 0);
    assert_true(count >= 100);
}

static void every_cut_of_a_valid_vector_is_refused(const char *folder, const char *name)
{
    struct rn_err err;
    assert_true(load(&input, folder, name));
    size_t len = input.len;
    for (input.len = 0; input.len < len; input.len++) {
        struct rn_buf out;
        rn_buf_init_fixed(&out, output, sizeof output);
        if (run(name, &input, &out, &err) >= 0)
            fail_msg("%s: accepted when cut to %zu bytes", name, input.len);
    }
}

static void cut_messages_are_refused(void **state)
{
    (void)state;
    each(VECTORS, every_cut_of_a_valid_vector_is_refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_vectors_decode_and_encode_to_the_same_bytes),
        cmocka_unit_test(tolerated_vectors_decode),
        cmocka_unit_test(bad_vectors_are_refused_with_the_error_of_the_index),
        cmocka_unit_test(cut_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
