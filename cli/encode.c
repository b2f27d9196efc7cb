// runnel encode: line protocol on standard input -> a CBOR sequence (RFC 8742) of key and batch
// messages on standard output.
//
// Lines are gathered in chunks (65,536 lines or 8 MB), sorted by time, and fed through a window, so
// memory is bounded whatever comes. A schema is sent in a key message before the first batch that
// needs it; the last 32 stay bound.
#include "cli/cli.h"
#include "cli/lines.h"

#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/text.h>
#include <runnel/window.h>
#include <runnel/wire.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_LINES    65536
#define CHUNK_BYTES    (8 * 1024 * 1024)
#define SCHEMAS_BOUND  32
#define COMPLAINTS     20 // lines that are complained about one by one
#define OBJECT_NUMBERS 60 // of bases and hints, used in turn
#define INSTALL        1  // a stream is no device: its only install

// Batches of a schema after which its base, and its hints, are made anew and sent.
static const uint64_t base_after[] = {2, 32, 256}, hints_after[] = {4, 32, 256};

enum { ENC_AUTO = RN_ENC_MAX + 1 };

struct encode_conf {
    int64_t batch_ms, step_ms;
    int enc;
    bool stats;
};

struct entry {
    int64_t time_ns;
    uint64_t number;
    size_t at, len;
};

struct totals {
    uint64_t lines, refused_lines, refused_values;
    uint64_t samples, batches, schemas, schema_bytes, payload_bytes;
};

// What was learnt about the current schema's columns.
struct habits {
    uint64_t batches;
    struct rn_hints_sums sums;
    struct rn_base base;
    struct rn_hints hints;
    struct rn_coding with; // what is known on the other side
};

struct encoder {
    int enc;
    struct rn_window_conf window_conf;
    struct rn_window *window;
    int64_t unit_ns, batch_units;
    int64_t first, last; // ticks of the open window
    uint32_t max_ticks;  // of a window: fewer after one that cost the range coder too much
    struct rn_lp_line line;
    char *text; // of the chunk
    size_t text_len;
    struct entry *entries;
    size_t nentries;
    uint8_t bound[SCHEMAS_BOUND][RN_HASH_BYTES];
    uint32_t nbound, current, next_slot;
    uint64_t seq;
    uint32_t objects; // bases and hints sent: their numbers
    struct habits habits;
    uint64_t work[RN_ENCODE_WORK / sizeof(uint64_t)];
    struct rn_buf out, object, body, trial;
    struct totals totals;
};

static void complain(struct encoder *e, uint64_t number, const char *words)
{
    uint64_t before = e->totals.refused_lines + e->totals.refused_values;
    if (before < COMPLAINTS)
        cli_say("encode", "line %" PRIu64 ": %s", number, words);
    else if (before == COMPLAINTS)
        cli_say("encode", "line %" PRIu64 ": more is refused; it is counted", number);
}

static void refuse_line(struct encoder *e, uint64_t number, const char *words)
{
    complain(e, number, words);
    e->totals.refused_lines++;
}

// ---- out ---------------------------------------------------------------------------------------

static uint32_t find_bound(const struct encoder *e, const uint8_t hash[RN_HASH_BYTES])
{
    uint32_t slot = 0;
    while (slot < e->nbound && memcmp(e->bound[slot], hash, RN_HASH_BYTES) != 0)
        slot++;
    return slot;
}

static int put_key(struct encoder *e, const struct rn_key_msg *key, struct rn_err *err)
{
    size_t before = e->out.len;
    if (rn_key_encode(key, &e->out) < 0)
        return rn_fail(err, RN_ELIMIT, "object does not fit its message");
    e->totals.schema_bytes += e->out.len - before;
    return RN_OK;
}

// Makes the schema the current one; sends it if the stream does not know it any more.
static int bind_schema(struct encoder *e, const struct rn_schema *schema, struct rn_err *err)
{
    struct rn_key_msg key = {.install = INSTALL, .kind = RN_OBJECT_SCHEMA, .has_object = true};
    rn_buf_clear(&e->object);
    int rc = rn_schema_encode(schema, &e->object, err);
    if (rc < 0)
        return rc;
    key.object = rn_buf_span(&e->object);
    rn_sha256(key.hash, key.object.data, key.object.len);
    e->current = find_bound(e, key.hash);
    if (e->current < e->nbound)
        return RN_OK;
    e->current = e->next_slot;
    e->next_slot = (e->next_slot + 1) % SCHEMAS_BOUND;
    if (e->nbound < SCHEMAS_BOUND)
        e->nbound++;
    memcpy(e->bound[e->current], key.hash, RN_HASH_BYTES);
    key.id = e->current;
    e->totals.schemas++;
    return put_key(e, &key, err);
}

// ---- base and hints: they cost bytes once, and save some in every batch that follows -----------

static bool is_due(const uint64_t *after, size_t count, uint64_t batches)
{
    for (size_t i = 0; i < count; i++)
        if (after[i] == batches)
            return true;
    return false;
}

// Sends e->object. False if there is none, or it does not fit: then it is done without.
static bool put_object(struct encoder *e, enum rn_object kind, int made, uint32_t *id)
{
    struct rn_key_msg key = {.install = INSTALL, .kind = kind, .has_object = true};
    if (made < 0)
        return false;
    key.object = rn_buf_span(&e->object);
    key.id = *id = e->objects++ % OBJECT_NUMBERS;
    rn_sha256(key.hash, key.object.data, key.object.len);
    return put_key(e, &key, NULL) == RN_OK;
}

static void learn(struct encoder *e, const struct rn_schema *schema, const struct rn_grid *grid)
{
    struct habits *h = &e->habits;
    if (e->enc == RN_ENC_PLAIN)
        return;
    h->batches++;
    rn_hints_add(schema, h->with.base, grid, &h->sums);
    if (is_due(hints_after, sizeof hints_after / sizeof *hints_after, h->batches)) {
        rn_hints_from(schema, &h->sums, &h->hints);
        rn_buf_clear(&e->object);
        int made = rn_hints_encode(&h->hints, &e->object);
        h->with.hints = put_object(e, RN_OBJECT_HINTS, made, &h->with.hints_id) ? &h->hints : NULL;
    }
    if (is_due(base_after, sizeof base_after / sizeof *base_after, h->batches)) {
        rn_base_from(schema, grid, &h->base);
        rn_buf_clear(&e->object);
        int made = rn_base_encode(&h->base, &e->object);
        h->with.base = put_object(e, RN_OBJECT_BASE, made, &h->with.base_id) ? &h->base : NULL;
        memset(h->sums.first, 0, sizeof h->sums.first); // they were distances from another one
        memset(h->sums.nfirsts, 0, sizeof h->sums.nfirsts);
    }
}

// ---- batches -----------------------------------------------------------------------------------

// A large batch that the range coder may not take: the next ones are half as long.
static void shorten(struct encoder *e, const struct rn_grid *grid)
{
    if ((uint64_t)grid->n * grid->ncolumns > RN_BATCH_MAX_CELLS / 4 && grid->n > 1)
        e->max_ticks = grid->n / 2;
}

// Into e->body: the smallest of the encodings that may be used. Where the one that is asked for
// cannot, a lower one.
static int encode_body(struct encoder *e, const struct rn_schema *schema,
                       const struct rn_grid *grid, struct rn_err *err)
{
    bool all = e->enc == ENC_AUTO;
    rn_buf_clear(&e->body);
    for (uint32_t enc = all ? RN_ENC_MAX : (uint32_t)e->enc; enc > RN_ENC_PLAIN || all; enc--) {
        rn_buf_clear(&e->trial);
        int rc = rn_batch_encode_as(enc, schema, e->current, &e->habits.with, grid, e->work,
                                    sizeof e->work, &e->trial, err);
        if (rc == RN_OK && (e->body.len == 0 || e->trial.len < e->body.len)) {
            struct rn_buf better = e->trial;
            e->trial = e->body;
            e->body = better;
        }
        if (rc == RN_ELIMIT && enc == RN_ENC_RANGE)
            shorten(e, grid);
        if (enc == RN_ENC_PLAIN || (!all && e->body.len))
            break;
    }
    if (e->body.len)
        return RN_OK;
    return rn_batch_encode_body(schema, e->current, grid, &e->body, err);
}

static int emit_batch(struct encoder *e, struct rn_err *err)
{
    const struct rn_schema *schema;
    const struct rn_grid *grid;
    bool changed;
    int rc = rn_window_cut(e->window, &schema, &grid, &changed, err);
    if (rc == RN_OK && changed) {
        memset(&e->habits, 0, sizeof e->habits);
        rc = bind_schema(e, schema, err);
    }
    if (rc == RN_OK)
        rc = encode_body(e, schema, grid, err);
    if (rc < 0)
        return rc;
    size_t before = e->out.len;
    rn_batch_put_head(&e->out, &(struct rn_batch_head){.tag = INSTALL, .seq = ++e->seq});
    rn_buf_append(&e->out, e->body.data, e->body.len);
    e->totals.batches++;
    e->totals.payload_bytes += e->out.len - before;
    e->totals.samples += rn_grid_samples(grid);
    learn(e, schema, grid);
    return cli_flush(&e->out, err);
}

static int flush_window(struct encoder *e, struct rn_err *err)
{
    int rc = rn_window_samples(e->window) ? emit_batch(e, err) : RN_OK;
    rn_window_clear(e->window);
    return rc;
}

// ---- window ------------------------------------------------------------------------------------

// Begins the tick at t, in a new window if it must.
static int begin_tick(struct encoder *e, int64_t t, struct rn_err *err)
{
    if (rn_window_ticks(e->window)) {
        if (t == e->last)
            return RN_OK;
        int rc = RN_ELIMIT;
        if (t > e->last && t - e->first < e->batch_units &&
            rn_window_ticks(e->window) < e->max_ticks)
            rc = rn_window_tick(e->window, t, err);
        if (rc == RN_OK)
            e->last = t;
        if (rc != RN_ELIMIT)
            return rc;
        rc = flush_window(e, err);
        if (rc < 0)
            return rc;
    }
    e->first = e->last = t;
    return rn_window_tick(e->window, t, err);
}

static int restart_window(struct encoder *e, struct rn_err *err)
{
    rn_window_free(e->window);
    e->window = NULL;
    return rn_window_new(&e->window, &e->window_conf, err);
}

// Adds these fields of the line's point at tick t. When there is no room the window is cut; when
// even the names of the series from before leave none, it begins anew.
static int add_some(struct encoder *e, int64_t t, uint32_t first, uint32_t count,
                    struct rn_err *err)
{
    const struct rn_lp_line *line = &e->line;
    int rc = RN_ELIMIT;
    for (int attempt = 0; attempt < 3 && rc == RN_ELIMIT; attempt++) {
        rc = attempt ? flush_window(e, err) : RN_OK;
        if (rc == RN_OK && attempt == 2)
            rc = restart_window(e, err);
        if (rc == RN_OK)
            rc = begin_tick(e, t, err);
        if (rc < 0)
            return RN_ESTATE; // not the line's fault
        rc = rn_window_add_values(e->window, line->measurement, line->tags, line->ntags,
                                  line->fields + first, count, err);
    }
    return rc;
}

// A point that is more than a batch, or its names more than a schema, goes in parts: points of the
// same series and time are one.
static int add_fields(struct encoder *e, int64_t t, uint32_t first, uint32_t count,
                      struct rn_err *err)
{
    int rc = add_some(e, t, first, count, err);
    if (rc != RN_ELIMIT || count == 1)
        return rc;
    int one = add_fields(e, t, first, count / 2, err);
    int other = one == RN_OK || one == RN_EINVAL
                    ? add_fields(e, t, first + count / 2, count - count / 2, err)
                    : one;
    return other == RN_OK ? one : other;
}

// One line of the chunk. A negative result ends the program; what is wrong with a line does not.
static int feed(struct encoder *e, const struct entry *entry, struct rn_err *err)
{
    uint64_t refused = rn_window_refused(e->window);
    int rc = rn_lp_parse(e->text + entry->at, entry->len, &e->line, err);
    if (rc == RN_OK)
        rc = add_fields(e, entry->time_ns / e->unit_ns, 0, e->line.nfields, err);
    if (rc == RN_ELIMIT) {
        refuse_line(e, entry->number, err->text);
        return RN_OK;
    }
    if (rc != RN_EINVAL)
        return rc;
    uint64_t now = rn_window_refused(e->window);
    complain(e, entry->number, err->text);
    e->totals.refused_values += now > refused ? now - refused : now;
    return RN_OK;
}

static int by_time(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int feed_chunk(struct encoder *e, struct rn_err *err)
{
    int rc = RN_OK;
    qsort(e->entries, e->nentries, sizeof *e->entries, by_time);
    for (size_t i = 0; rc == RN_OK && i < e->nentries; i++)
        rc = feed(e, &e->entries[i], err);
    e->nentries = 0;
    e->text_len = 0;
    return rc;
}

// ---- in ----------------------------------------------------------------------------------------

static const char *bad_time(const struct encoder *e, int64_t time_ns)
{
    if (time_ns < 0)
        return "timestamp is before 1970";
    uint64_t step_ns = e->window_conf.step * e->window_conf.unit_ns;
    if (step_ns && (uint64_t)time_ns % step_ns)
        return "timestamp is not a multiple of the step";
    return NULL;
}

// Checks a line and puts a copy into the chunk. The line itself is used up by the check.
static void gather(struct encoder *e, char *line, size_t len, uint64_t number)
{
    struct rn_err err = {.text = ""};
    char *copy = e->text + e->text_len;
    memcpy(copy, line, len);
    int rc = rn_lp_parse(line, len, &e->line, &err);
    if (rc == RN_ENOENT)
        return;
    e->totals.lines++;
    int64_t time_ns = e->line.has_time ? e->line.time_ns : rn_clock_utc_ns();
    const char *words = rc < 0 ? err.text : bad_time(e, time_ns);
    if (words) {
        refuse_line(e, number, words);
        return;
    }
    e->entries[e->nentries++] = (struct entry){time_ns, number, e->text_len, len};
    e->text_len += len;
}

static int read_all(struct encoder *e, struct lines *in, struct rn_err *err)
{
    for (;;) {
        char *line = NULL;
        size_t len = 0;
        uint64_t number;
        int rc = lines_next(in, &line, &len, &number, err);
        if (rc == RN_ELIMIT) {
            e->totals.lines++;
            refuse_line(e, number, err->text);
            continue;
        }
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        if (e->nentries == CHUNK_LINES || len > CHUNK_BYTES - e->text_len) {
            rc = feed_chunk(e, err);
            if (rc < 0)
                return rc;
        }
        gather(e, line, len, number);
    }
    int rc = feed_chunk(e, err);
    return rc < 0 ? rc : flush_window(e, err);
}

// ---- the command -------------------------------------------------------------------------------

static void encoder_release(struct encoder *e)
{
    if (!e)
        return;
    rn_window_free(e->window);
    free(e->text);
    free(e->entries);
    rn_buf_release(&e->out);
    rn_buf_release(&e->object);
    rn_buf_release(&e->body);
    rn_buf_release(&e->trial);
    free(e);
}

// NULL, with *err filled, if it cannot be made.
static struct encoder *encoder_new(const struct encode_conf *conf, struct rn_err *err)
{
    struct encoder *e = calloc(1, sizeof *e);
    if (!e) {
        (void)rn_fail(err, RN_ENOMEM, "out of memory");
        return NULL;
    }
    e->enc = conf->enc;
    bool seconds = conf->step_ms % 1000 == 0;
    uint64_t unit_ns = !conf->step_ms ? 1 : seconds ? 1000000000 : 1000000;
    e->window_conf = (struct rn_window_conf){
        .unit_ns = unit_ns,
        .step = (uint64_t)(conf->step_ms / (seconds ? 1000 : 1)),
        .max_columns = RN_SCHEMA_MAX_COLUMNS,
        .max_ticks = RN_BATCH_MAX_CELLS,
        .max_text = RN_BATCH_MAX_BYTES / 2,
    };
    e->max_ticks = RN_BATCH_MAX_CELLS;
    e->unit_ns = (int64_t)unit_ns;
    int64_t batch_ns = conf->batch_ms * 1000000;
    e->batch_units = batch_ns / e->unit_ns ? batch_ns / e->unit_ns : 1;
    rn_buf_init(&e->out, 2 * RN_MESSAGE_MAX);
    rn_buf_init(&e->object, RN_SCHEMA_MAX_BYTES);
    rn_buf_init(&e->body, RN_BATCH_MAX_BYTES);
    rn_buf_init(&e->trial, RN_BATCH_MAX_BYTES);
    e->text = malloc(CHUNK_BYTES);
    e->entries = malloc(CHUNK_LINES * sizeof *e->entries);
    int rc =
        e->text && e->entries ? restart_window(e, err) : rn_fail(err, RN_ENOMEM, "out of memory");
    if (rc < 0) {
        encoder_release(e);
        return NULL;
    }
    return e;
}

static void print_stats(const struct totals *t)
{
    uint64_t bytes = t->schema_bytes + t->payload_bytes;
    fprintf(
        stderr,
        "{\"lines\":%" PRIu64 ",\"refused_lines\":%" PRIu64 ",\"refused_values\":%" PRIu64
        ",\"samples\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"schemas\":%" PRIu64
        ",\"schema_bytes\":%" PRIu64 ",\"payload_bytes\":%" PRIu64 ",\"bytes_per_sample\":%.3f}\n",
        t->lines, t->refused_lines, t->refused_values, t->samples, t->batches, t->schemas,
        t->schema_bytes, t->payload_bytes, t->samples ? (double)bytes / (double)t->samples : 0.0);
}

static int encode(struct encoder *e, struct rn_err *err)
{
    struct lines in;
    int rc = lines_init(&in, stdin, err);
    if (rc == RN_OK)
        rc = read_all(e, &in, err);
    lines_release(&in);
    return rc;
}

static int report(const struct totals *totals, int rc, const struct rn_err *err)
{
    if (rc < 0) {
        cli_say("encode", "%s", err->text);
        return CLI_FAILED;
    }
    if (!totals->refused_lines && !totals->refused_values)
        return CLI_DONE;
    cli_say("encode", "refused: %" PRIu64 " lines, %" PRIu64 " values", totals->refused_lines,
            totals->refused_values);
    return CLI_PARTIAL;
}

static int run(const void *given, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct encode_conf *conf = given;
    struct rn_err err = {.text = ""};
    struct encoder *e = encoder_new(conf, &err);
    if (!e) {
        cli_say("encode", "%s", err.text);
        return CLI_FAILED;
    }
    int rc = encode(e, &err);
    int result = report(&e->totals, rc, &err);
    if (conf->stats)
        print_stats(&e->totals);
    encoder_release(e);
    return result;
}

static const struct rn_opt options[] = {
    {.key = "batch",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct encode_conf, batch_ms),
     .size = sizeof(int64_t),
     .min = 1,
     .max = 7 * 86400 * 1000LL,
     .def = "240s",
     .help = "Longest time that a batch covers."},
    {.key = "enc",
     .type = RN_OPT_ENUM,
     .offset = offsetof(struct encode_conf, enc),
     .words = "0|1|2|auto",
     .def = "auto",
     .help = "Encoding of the columns: plain CBOR, deflate, range coder, or the smallest."},
    {.key = "step",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct encode_conf, step_ms),
     .size = sizeof(int64_t),
     .min = 0,
     .max = 86400 * 1000LL,
     .def = "0s",
     .help = "Regular time between ticks; 0s: any timestamps."},
    {.key = "stats",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct encode_conf, stats),
     .size = sizeof(bool),
     .def = "false",
     .help = "Print counts as one JSON object on standard error at the end."},
};

extern const struct cli_command cli_encode;
const struct cli_command cli_encode = {
    .name = "encode",
    .usage = "< LINES > MESSAGES",
    .help = "Turn line protocol into Runnel messages (a filter).",
    .details =
        "Reads line protocol with nanosecond timestamps (a line without one happened now) and\n"
        "writes a CBOR sequence: each schema in a key message, then the batches that use it. "
        "Lines\n"
        "are sorted by time within 65,536 lines. A point that occurs twice keeps the later "
        "values;\n"
        "one whose names or texts are more than a batch holds comes in parts of the same time.\n"
        "A line that is refused is named on standard error with its number; the rest is encoded\n"
        "and the exit code is 3.\n",
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .conf_size = sizeof(struct encode_conf),
    .run = run,
};
