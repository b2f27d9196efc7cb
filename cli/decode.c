// runnel decode: a CBOR sequence (RFC 8742) of messages on standard input -> the points in it, as
// line protocol or JSON lines. One message, and the key messages that it needs, are in memory.
#include "cli/cli.h"

#include <runnel/cbor.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/text.h>
#include <runnel/wire.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOUND_MAX  96                // schemas, bases and hints that are remembered
#define FLUSH_SIZE 65536             // bytes of output gathered before it is written
#define POINT_MAX  (8 * 1024 * 1024) // bytes of one point's text

struct decode_conf {
    bool line_protocol, json;
    char schema[256];
};

// A schema, base or hints as they came, under the name that batches call them by.
struct binding {
    enum rn_object kind;
    uint32_t tag, id;
    uint8_t *bytes;
    size_t len;
};

struct decoder {
    bool json;
    uint8_t *in; // RN_MESSAGE_MAX bytes
    size_t at, len;
    bool eof;
    uint64_t message, offset; // number of the message, and where it begins
    uint64_t refused, skipped;
    struct binding bound[BOUND_MAX];
    uint32_t nbound, next_slot;
    struct rn_buf fallback; // of --schema, or the last bare schema
    struct rn_span current; // what `schema` was decoded from
    struct rn_schema schema;
    void *schema_storage;
    void *grid_storage;
    size_t grid_size;
    struct rn_base base; // of the batch at hand
    struct rn_hints hints;
    uint64_t work[RN_DECODE_WORK / sizeof(uint64_t)];
    struct rn_buf out;
};

// ---- points out --------------------------------------------------------------------------------

static uint64_t put_point(struct decoder *d, const struct rn_grid *grid, uint32_t group,
                          uint32_t series, uint32_t tick)
{
    struct rn_lp_conf conf = {.uint_form = RN_LP_UINT_AS_U, .exact = true, .skipped = &d->skipped};
    if (d->json)
        return rn_json_point(&d->out, &d->schema, grid, group, series, tick, (struct rn_span){0});
    return rn_lp_point(&d->out, &d->schema, grid, group, series, tick, &conf);
}

static int put_grid(struct decoder *d, const struct rn_grid *grid, struct rn_err *err)
{
    for (uint32_t tick = 0; tick < grid->n; tick++)
        for (uint32_t g = 0; g < d->schema.ngroups; g++)
            for (uint32_t s = 0; s < d->schema.groups[g].nseries; s++) {
                (void)put_point(d, grid, g, s, tick);
                if (d->out.len < FLUSH_SIZE && rn_buf_ok(&d->out))
                    continue;
                int rc = cli_flush(&d->out, err);
                if (rc < 0)
                    return rc;
            }
    return cli_flush(&d->out, err);
}

// ---- schemas -----------------------------------------------------------------------------------

static struct binding *find_binding(struct decoder *d, enum rn_object kind, uint32_t tag,
                                    uint32_t id)
{
    for (uint32_t i = 0; i < d->nbound; i++)
        if (d->bound[i].kind == kind && d->bound[i].tag == tag && d->bound[i].id == id)
            return &d->bound[i];
    return NULL;
}

// Copies and returns the object's bytes; empty when out of memory.
static struct rn_span keep_object(struct decoder *d, const struct rn_key_msg *key)
{
    struct rn_span bytes = key->object;
    uint32_t tag = (uint32_t)key->install;
    uint8_t *copy = malloc(bytes.len);
    if (!copy)
        return (struct rn_span){0};
    memcpy(copy, bytes.data, bytes.len);
    struct binding *slot = find_binding(d, key->kind, tag, key->id);
    if (!slot) {
        slot = &d->bound[d->next_slot];
        d->next_slot = (d->next_slot + 1) % BOUND_MAX;
        d->nbound += d->nbound < BOUND_MAX;
    }
    free(slot->bytes);
    *slot = (struct binding){key->kind, tag, key->id, copy, bytes.len};
    d->current = (struct rn_span){0}; // it may have lain in what was freed
    return (struct rn_span){copy, bytes.len};
}

static int use_schema(struct decoder *d, struct rn_span bytes, struct rn_err *err)
{
    if (d->current.data == bytes.data && d->current.len == bytes.len)
        return RN_OK;
    d->current = (struct rn_span){0};
    int rc = rn_schema_decode(bytes, &d->schema, d->schema_storage, RN_SCHEMA_STORAGE, err);
    if (rc == RN_OK)
        d->current = bytes;
    return rc;
}

// A schema by itself: the one of all batches whose own is not known; shown as it is.
static int take_schema(struct decoder *d, struct rn_span bytes, struct rn_err *err)
{
    d->current = (struct rn_span){0};
    rn_buf_clear(&d->fallback);
    rn_buf_append(&d->fallback, bytes.data, bytes.len);
    if (!rn_buf_ok(&d->fallback))
        return rn_fail(err, RN_ELIMIT, "schema is larger than %d bytes", RN_SCHEMA_MAX_BYTES);
    int rc = use_schema(d, rn_buf_span(&d->fallback), err);
    if (rc < 0)
        rn_buf_clear(&d->fallback);
    return rc;
}

static int show_schema(struct decoder *d, struct rn_err *err)
{
    if (!d->json)
        rn_buf_text(&d->out, "# schema "); // a comment in line protocol
    rn_json_schema(&d->out, &d->schema);
    rn_buf_byte(&d->out, '\n');
    return cli_flush(&d->out, err);
}

// ---- messages ----------------------------------------------------------------------------------

static int take_key(struct decoder *d, const struct rn_key_msg *key, struct rn_err *err)
{
    uint8_t hash[RN_SHA256_BYTES];
    if (!key->has_object)
        return RN_OK; // a binding alone helps nobody here
    rn_sha256(hash, key->object.data, key->object.len);
    if (memcmp(hash, key->hash, sizeof hash) != 0)
        return rn_fail(err, RN_EFORMAT, "object does not have the hash that its message says");
    struct rn_span kept = keep_object(d, key);
    if (!kept.data)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    return key->kind == RN_OBJECT_SCHEMA ? use_schema(d, kept, err) : RN_OK;
}

static int grid_reserve(struct decoder *d, size_t size, struct rn_err *err)
{
    if (size <= d->grid_size)
        return RN_OK;
    free(d->grid_storage);
    d->grid_storage = malloc(size);
    d->grid_size = d->grid_storage ? size : 0;
    return d->grid_storage ? RN_OK : rn_fail(err, RN_ENOMEM, "out of memory");
}

static int named_object(struct decoder *d, enum rn_object kind, uint32_t tag, uint32_t id,
                        struct rn_span *bytes, struct rn_err *err)
{
    const struct binding *bound = find_binding(d, kind, tag, id);
    if (!bound)
        return rn_fail(err, RN_ENOENT, "batch needs %s %u, which was not in the input",
                       kind == RN_OBJECT_BASE ? "base" : "hints", id);
    *bytes = (struct rn_span){bound->bytes, bound->len};
    return RN_OK;
}

// The base and hints that a batch names.
static int use_coding(struct decoder *d, uint32_t tag, const struct rn_batch_info *info,
                      struct rn_coding *with, struct rn_err *err)
{
    struct rn_span bytes = {0};
    int rc = RN_OK;
    *with = (struct rn_coding){.base = &d->base, .hints = &d->hints};
    if (info->has_base)
        rc = named_object(d, RN_OBJECT_BASE, tag, info->base_id, &bytes, err);
    if (info->has_base && rc == RN_OK)
        rc = rn_base_decode(bytes, &d->base, err);
    if (info->has_hints && rc == RN_OK)
        rc = named_object(d, RN_OBJECT_HINTS, tag, info->hints_id, &bytes, err);
    if (info->has_hints && rc == RN_OK)
        rc = rn_hints_decode(bytes, &d->hints, err);
    return rc;
}

static int take_batch(struct decoder *d, struct rn_span bytes, struct rn_grid *grid,
                      struct rn_err *err)
{
    struct rn_batch_head head;
    struct rn_batch_info info;
    struct rn_span body, schema = rn_buf_span(&d->fallback);
    int rc = rn_batch_open(bytes, &head, &info, &body, err);
    if (rc < 0)
        return rc;
    const struct binding *bound = find_binding(d, RN_OBJECT_SCHEMA, head.tag, info.schema_id);
    if (bound)
        schema = (struct rn_span){bound->bytes, bound->len};
    if (!schema.len)
        return rn_fail(err, RN_ENOENT, "batch needs schema %u, which was not in the input",
                       info.schema_id);
    rc = use_schema(d, schema, err);
    if (rc < 0)
        return rc;
    if ((uint64_t)info.n * d->schema.ncolumns > RN_BATCH_MAX_CELLS)
        return rn_fail(err, RN_ELIMIT, "batch has more than %d cells", RN_BATCH_MAX_CELLS);
    rc = grid_reserve(d, rn_batch_grid_bytes(&d->schema, &info), err);
    struct rn_coding with;
    if (rc == RN_OK)
        rc = use_coding(d, head.tag, &info, &with, err);
    if (rc < 0)
        return rc;
    return rn_batch_decode_with(&d->schema, &info, &with, grid, d->grid_storage, d->grid_size,
                                d->work, sizeof d->work, err);
}

// What is wrong with a message is said and counted; a negative result ends the program.
static int refuse(struct decoder *d, const struct rn_err *why)
{
    cli_say("decode", "message %" PRIu64 " at byte %" PRIu64 ": %s", d->message, d->offset,
            why->text);
    d->refused++;
    return RN_OK;
}

static int take_message(struct decoder *d, struct rn_span bytes, struct rn_err *err)
{
    struct rn_err why = {.text = ""}, other;
    if (bytes.data[0] >> 5 == 4) { // an array
        struct rn_grid grid;
        return take_batch(d, bytes, &grid, &why) < 0 ? refuse(d, &why) : put_grid(d, &grid, err);
    }
    struct rn_key_msg key;
    if (rn_key_decode(bytes, &key, &why) == RN_OK)
        return take_key(d, &key, &why) < 0 ? refuse(d, &why) : RN_OK;
    if (take_schema(d, bytes, &other) == RN_OK)
        return show_schema(d, err);
    (void)rn_fail(&why, RN_EFORMAT, "neither a batch nor a schema");
    return refuse(d, &why);
}

// ---- in ----------------------------------------------------------------------------------------

// Reads what there is, without waiting for more than that.
static int refill(struct decoder *d, struct rn_err *err)
{
    memmove(d->in, d->in + d->at, d->len - d->at);
    d->len -= d->at;
    d->at = 0;
    ssize_t got = read(STDIN_FILENO, d->in + d->len, RN_MESSAGE_MAX - d->len);
    if (got < 0)
        return errno == EINTR ? RN_OK : rn_fail_errno(err, "standard input");
    d->len += (size_t)got;
    d->eof = got == 0;
    return RN_OK;
}

// The item at the front, if it is there as a whole.
static bool front_item(const struct decoder *d, struct rn_span *out, struct rn_err *why)
{
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, (struct rn_span){d->in + d->at, d->len - d->at}, why);
    if (rn_cbor_skip(&in) < 0)
        return false;
    *out = rn_cbor_since(&in, in.start);
    return true;
}

// 1: the next item's bytes; 0: the end.
static int next_message(struct decoder *d, struct rn_span *out, struct rn_err *err)
{
    struct rn_err why = {.text = ""};
    d->message++;
    while (d->at == d->len || !front_item(d, out, &why)) {
        if (d->eof && d->at == d->len)
            return 0;
        if (d->eof || d->len - d->at == RN_MESSAGE_MAX)
            return rn_fail(err, RN_EFORMAT, "message %" PRIu64 " at byte %" PRIu64 ": %s",
                           d->message, d->offset, why.text);
        int rc = refill(d, err);
        if (rc < 0)
            return rc;
    }
    return 1;
}

static int read_all(struct decoder *d, struct rn_err *err)
{
    struct rn_span message = {0};
    for (;;) {
        int rc = next_message(d, &message, err);
        if (rc <= 0)
            return rc;
        rc = take_message(d, message, err);
        if (rc < 0)
            return rc;
        d->at += message.len;
        d->offset += message.len;
    }
}

// ---- the command -------------------------------------------------------------------------------

static void decoder_release(struct decoder *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->nbound; i++)
        free(d->bound[i].bytes);
    free(d->in);
    free(d->schema_storage);
    free(d->grid_storage);
    rn_buf_release(&d->fallback);
    rn_buf_release(&d->out);
    free(d);
}

// NULL when out of memory.
static struct decoder *decoder_new(const struct decode_conf *conf)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->json = conf->json;
    rn_buf_init(&d->fallback, RN_SCHEMA_MAX_BYTES);
    rn_buf_init(&d->out, POINT_MAX);
    d->in = malloc(RN_MESSAGE_MAX);
    d->schema_storage = malloc(RN_SCHEMA_STORAGE);
    if (d->in && d->schema_storage)
        return d;
    decoder_release(d);
    return NULL;
}

static int load_schema(struct decoder *d, const char *path, struct rn_err *err)
{
    struct rn_buf file;
    rn_buf_init(&file, RN_SCHEMA_MAX_BYTES);
    int rc = rn_file_read(path, &file, err);
    if (rc == RN_OK) {
        rc = take_schema(d, rn_buf_span(&file), err);
        if (rc < 0)
            rn_err_prefix(err, "%s", path);
    }
    rn_buf_release(&file);
    return rc;
}

static int report(const struct decoder *d, int rc, const struct rn_err *err)
{
    if (d->refused + d->skipped)
        cli_say("decode", "refused: %" PRIu64 " messages, %" PRIu64 " values", d->refused,
                d->skipped);
    if (rc < 0) {
        cli_say("decode", "%s", err->text);
        return CLI_FAILED;
    }
    return d->refused + d->skipped ? CLI_PARTIAL : CLI_DONE;
}

static int run(const void *given, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct decode_conf *conf = given;
    struct rn_err err = {.text = ""};
    if (conf->line_protocol && conf->json) {
        cli_say("decode", "--line-protocol and --json exclude each other");
        return CLI_USAGE;
    }
    struct decoder *d = decoder_new(conf);
    if (!d) {
        cli_say("decode", "out of memory");
        return CLI_FAILED;
    }
    int rc = *conf->schema ? load_schema(d, conf->schema, &err) : RN_OK;
    if (rc == RN_OK)
        rc = read_all(d, &err);
    int result = report(d, rc, &err);
    decoder_release(d);
    return result;
}

static const struct rn_opt options[] = {
    {.key = "line-protocol",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct decode_conf, line_protocol),
     .size = sizeof(bool),
     .def = "false",
     .help = "Print line protocol: this is what happens without options."},
    {.key = "json",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct decode_conf, json),
     .size = sizeof(bool),
     .def = "false",
     .help = "Print one JSON object a point."},
    {.key = "schema",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct decode_conf, schema),
     .size = sizeof((struct decode_conf *)0)->schema,
     .flags = RN_OPT_PATH,
     .help = "Schema of batches that come without one."},
};

extern const struct cli_command cli_decode;
const struct cli_command cli_decode = {
    .name = "decode",
    .usage = "< MESSAGES > LINES",
    .help = "Turn Runnel messages into line protocol or JSON (a filter).",
    .details =
        "Reads a CBOR sequence of key messages, bare schemas and batches, such as `runnel encode`\n"
        "writes or a broker carries, and prints the points batch by batch, by time and series.\n"
        "Timestamps are nanoseconds. A schema by itself is printed, too.\n"
        "Line protocol is exact: a text may hold newlines, between its quotes. The bridge's sinks\n"
        "show them by pictures, which no database takes for the end of a line.\n"
        "A message that is refused is named on standard error; the rest is decoded and the exit\n"
        "code is 3. After bytes that are not CBOR nothing can be read: exit code 1.\n",
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct decode_conf),
    .run = run,
};
