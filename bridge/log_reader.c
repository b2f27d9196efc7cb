// See log.h. The readers' side: whole chunks are copied out of a segment first, then decoded, so
// that no read transaction outlives the copying. What rows are decoded with lies in their segment;
// parsed schemas are shared by the runs (log_objects.h).
#include "bridge/log.h"

#include "bridge/log_objects.h"
#include "bridge/segment.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS 256
// A batch of the past may arrive late (backlog), never much before its own time (a clock ahead).
#define EARLY_MS (3600LL * 1000)
#define LATE_MS  (7LL * 24 * 3600 * 1000)

struct log_reader {
    char folder[SEGMENT_PATH_MAX];
    struct segment *segment; // the one read last
    struct log_objects objects;
    struct rn_hints hints; // of the batch that is being decoded
    struct rn_base base;
    uint64_t work[RN_DECODE_WORK / sizeof(uint64_t)]; // for encodings 1 and 2
};

// What a row becomes: first a copy of its columns and body, then the decoded run.
struct owned_run {
    struct log_run out;
    struct log_object *schema;
    int64_t schema_number, hints_number, base_number;
    struct rn_grid grid;
    void *grid_storage;
    char dev[RN_DEV_MAX + 1];
    char error[240];
    uint8_t body[];
};

int log_reader_open(struct log_reader **out, const char *folder, int64_t schema_cache_bytes,
                    struct rn_err *err)
{
    struct log_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    snprintf(reader->folder, sizeof reader->folder, "%s", folder);
    log_objects_init(&reader->objects, schema_cache_bytes > 0 ? (size_t)schema_cache_bytes : 0);
    *out = reader;
    return RN_OK;
}

void log_reader_close(struct log_reader *reader)
{
    if (!reader)
        return;
    segment_close(reader->segment);
    log_objects_release(&reader->objects);
    free(reader);
}

// ---- runs --------------------------------------------------------------------------------------

void log_run_free(struct log_run *run)
{
    struct owned_run *own = (struct owned_run *)(void *)run;
    if (!own)
        return;
    if (own->schema)
        own->schema->users--;
    free(own->grid_storage);
    free(own);
}

static void free_runs(struct log_run **runs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        log_run_free(runs[i]);
}

static struct owned_run *copy_row(uint64_t position, const struct log_row *row)
{
    struct owned_run *own = calloc(1, sizeof *own + row->body.len);
    if (!own)
        return NULL;
    snprintf(own->dev, sizeof own->dev, "%s", row->dev);
    if (row->body.len)
        memcpy(own->body, row->body.data, row->body.len);
    own->schema_number = row->schema;
    own->hints_number = row->hints;
    own->base_number = row->base;
    own->out.crc = row->crc;
    own->out.run = (struct rn_run){.dev = own->dev,
                                   .install = row->install,
                                   .seq = row->seq,
                                   .type = row->type,
                                   .position = position,
                                   .received_ms = row->received_ms,
                                   .body = {own->body, row->body.len}};
    return own;
}

static void undecodable(struct owned_run *own, const char *words)
{
    snprintf(own->error, sizeof own->error, "%s", words);
    own->out.error = own->error;
}

// A schema that the batch does not fit is not shown: the values would get wrong names.
static void unusable(struct owned_run *own, const char *words)
{
    undecodable(own, words);
    own->out.run.schema = NULL;
}

static int get_schema(struct log_reader *reader, struct segment *segment, struct owned_run *own,
                      struct rn_err *err)
{
    struct log_object *schema;
    int rc = log_objects_get(&reader->objects, segment, own->schema_number, true, &schema, err);
    if (rc)
        return rc;
    if (schema->error) {
        unusable(own, schema->error);
        return RN_OK;
    }
    schema->users++;
    own->schema = schema;
    own->out.run.schema = &schema->schema;
    return RN_OK;
}

// Hints or a base; *out NULL: there are none, or the batch is lost already.
static int get_part(struct log_reader *reader, struct segment *segment, struct owned_run *own,
                    int64_t number, struct log_object **out, struct rn_err *err)
{
    *out = NULL;
    if (!number || own->out.error)
        return RN_OK;
    int rc = log_objects_get(&reader->objects, segment, number, false, out, err);
    if (rc == RN_OK && (*out)->error) {
        unusable(own, (*out)->error);
        *out = NULL;
    }
    return rc;
}

static int get_hints(struct log_reader *reader, struct segment *segment, struct owned_run *own,
                     struct rn_err *err)
{
    struct log_object *hints;
    int rc = get_part(reader, segment, own, own->hints_number, &hints, err);
    if (hints && (rn_hints_decode(hints->body, &reader->hints, NULL) != RN_OK ||
                  reader->hints.ncolumns != own->schema->schema.ncolumns))
        unusable(own, "its hints do not fit its schema");
    return rc;
}

static int get_base(struct log_reader *reader, struct segment *segment, struct owned_run *own,
                    struct rn_err *err)
{
    struct log_object *base;
    int rc = get_part(reader, segment, own, own->base_number, &base, err);
    if (base && (rn_base_decode(base->body, &reader->base, NULL) != RN_OK ||
                 reader->base.ncolumns != own->schema->schema.ncolumns))
        unusable(own, "its base does not fit its schema");
    return rc;
}

static int decode_columns(struct log_reader *reader, struct owned_run *own, struct rn_err *err)
{
    struct rn_batch_info info;
    struct rn_err why = {0};
    const struct rn_schema *schema = &own->schema->schema;
    const struct rn_coding with = {.hints = own->hints_number ? &reader->hints : NULL,
                                   .base = own->base_number ? &reader->base : NULL};
    if (rn_batch_open_body(own->out.run.body, &info, &why) != RN_OK) {
        undecodable(own, why.text);
        return RN_OK;
    }
    size_t bytes = rn_batch_grid_bytes(schema, &info);
    own->grid_storage = malloc(bytes);
    if (!own->grid_storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    if (rn_batch_decode_with(schema, &info, &with, &own->grid, own->grid_storage, bytes,
                             reader->work, sizeof reader->work, &why) != RN_OK)
        undecodable(own, why.text);
    else
        own->out.run.grid = &own->grid;
    return RN_OK;
}

static int decode(struct log_reader *reader, struct segment *segment, struct owned_run *own,
                  struct rn_err *err)
{
    int rc = get_schema(reader, segment, own, err);
    if (rc == RN_OK)
        rc = get_hints(reader, segment, own, err);
    if (rc == RN_OK)
        rc = get_base(reader, segment, own, err);
    if (rc || own->out.error)
        return rc;
    return decode_columns(reader, own, err);
}

struct copying {
    struct log_run **runs;
    uint32_t n, max;
    size_t bytes, max_bytes;
};

static int copy_one(void *arg, uint64_t position, const struct log_row *row)
{
    struct copying *to = arg;
    struct owned_run *own = copy_row(position, row);
    if (!own)
        return RN_ENOMEM;
    to->runs[to->n++] = &own->out;
    to->bytes += row->body.len;
    return to->n == to->max || to->bytes >= to->max_bytes;
}

static int decode_all(struct log_reader *reader, struct segment *segment, struct log_run **runs,
                      uint32_t n, struct rn_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc = decode(reader, segment, (struct owned_run *)(void *)runs[i], err);
        if (rc)
            return rc;
    }
    return RN_OK;
}

// ---- segments ----------------------------------------------------------------------------------

// Index of the segment that holds the first position above `after`; -1: there are no segments.
static int find_segment(const uint64_t *firsts, int count, uint64_t after)
{
    int at = -1;
    for (int i = 0; i < count; i++)
        if (i == 0 || firsts[i] <= after + 1)
            at = i;
    return at;
}

// Opens the segment for what comes after `after`. 1: open, 0: there is none.
static int open_for(struct log_reader *reader, uint64_t after, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    uint64_t *firsts;
    int count;
    int rc = segment_list(reader->folder, &firsts, &count, err);
    if (rc)
        return rc == RN_ENOENT ? 0 : rc;
    int at = find_segment(firsts, count, after);
    uint64_t first = at < 0 ? 0 : firsts[at];
    free(firsts);
    if (!first)
        return 0;
    if (reader->segment && segment_first(reader->segment) == first)
        return 1;
    segment_close(reader->segment);
    reader->segment = NULL;
    rc = segment_path(path, reader->folder, first, err);
    if (rc == RN_OK)
        rc = segment_open_read(&reader->segment, path, first, err);
    return rc == RN_OK ? 1 : rc;
}

// The segment that begins next after the one that is open; 0: there is none yet.
static uint64_t next_segment(struct log_reader *reader)
{
    uint64_t *firsts, next = 0;
    int count;
    if (segment_list(reader->folder, &firsts, &count, NULL) != RN_OK)
        return 0;
    for (int i = count - 1; i >= 0 && firsts[i] > segment_first(reader->segment); i--)
        next = firsts[i];
    free(firsts);
    return next;
}

static int read_chunk(struct log_reader *reader, uint64_t after, struct copying *to,
                      struct rn_err *err)
{
    if (!reader->segment || segment_first(reader->segment) > after + 1) {
        int rc = open_for(reader, after, err);
        if (rc <= 0)
            return rc;
    }
    for (;;) {
        int n = segment_rows(reader->segment, after, NULL, 0, 0, to->max, to, copy_one, err);
        if (n)
            return n;
        uint64_t next = next_segment(reader);
        if (!next)
            return 0;
        // Rows may have come between the reading and the next segment's birth: look once more.
        n = segment_rows(reader->segment, after, NULL, 0, 0, to->max, to, copy_one, err);
        if (n)
            return n;
        int rc = open_for(reader, next - 1, err);
        if (rc <= 0)
            return rc;
        if (next - 1 > after)
            after = next - 1;
    }
}

int log_read(struct log_reader *reader, uint64_t after, uint32_t max, size_t max_bytes,
             struct log_run **runs, struct rn_err *err)
{
    struct copying to = {
        .runs = runs, .max = max < CHUNK_ROWS ? max : CHUNK_ROWS, .max_bytes = max_bytes};
    int rc = read_chunk(reader, after, &to, err);
    if (rc == RN_ENOMEM)
        rn_fail(err, rc, "out of memory");
    if (rc >= 0)
        rc = decode_all(reader, reader->segment, runs, to.n, err);
    if (rc < 0) {
        free_runs(runs, to.n);
        segment_close(reader->segment); // begin afresh next time
        reader->segment = NULL;
        return rc;
    }
    return (int)to.n;
}

// ---- one device --------------------------------------------------------------------------------

// Keeps what has a tick within [from_ms, to_ms]; frees the rest. Returns how many are left.
static uint32_t keep_ticks(struct log_run **runs, uint32_t n, int64_t from_ms, int64_t to_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct rn_run *run = &runs[i]->run;
        bool inside = false;
        for (uint32_t k = 0; run->grid && k < run->grid->n && !inside; k++) {
            double ms = (double)run->grid->times[k] * ((double)run->schema->unit_ns / 1e6);
            inside = ms >= (double)from_ms && ms <= (double)to_ms;
        }
        if (inside)
            runs[kept++] = runs[i];
        else
            log_run_free(runs[i]);
    }
    return kept;
}

static int read_device_segment(struct log_reader *reader, const char *path, uint64_t first,
                               const char *dev, int64_t from_ms, int64_t to_ms, uint64_t after,
                               struct copying *to, struct rn_err *err)
{
    struct segment *segment;
    int rc = segment_open_read(&segment, path, first, err);
    if (rc == RN_ENOENT)
        return RN_OK; // retention was faster
    if (rc)
        return rc;
    while (rc >= 0 && to->n < to->max) {
        uint32_t had = to->n;
        rc = segment_rows(segment, after, dev, from_ms - EARLY_MS, to_ms + LATE_MS, to->max - had,
                          to, copy_one, err);
        if (rc > 0)
            rc = decode_all(reader, segment, to->runs + had, to->n - had, err);
        if (rc < 0 || to->n == had)
            break;
        after = to->runs[to->n - 1]->run.position;
        to->n = had + keep_ticks(to->runs + had, to->n - had, from_ms, to_ms);
    }
    segment_close(segment);
    return rc < 0 ? rc : RN_OK;
}

int log_read_device(struct log_reader *reader, const char *dev, int64_t from_ms, int64_t to_ms,
                    uint64_t after, uint32_t max, struct log_run **runs, struct rn_err *err)
{
    uint64_t *firsts;
    int count;
    struct copying to = {.runs = runs, .max = max, .max_bytes = SIZE_MAX};
    int rc = segment_list(reader->folder, &firsts, &count, err);
    if (rc)
        return rc;
    for (int i = 0; rc == RN_OK && i < count && to.n < max; i++) {
        char path[SEGMENT_PATH_MAX];
        if (i + 1 < count && firsts[i + 1] <= after + 1)
            continue;
        rc = segment_path(path, reader->folder, firsts[i], err);
        if (rc == RN_OK)
            rc = read_device_segment(reader, path, firsts[i], dev, from_ms, to_ms, after, &to, err);
    }
    free(firsts);
    if (rc) {
        free_runs(runs, to.n);
        return rc;
    }
    return (int)to.n;
}
