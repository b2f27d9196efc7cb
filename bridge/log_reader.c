// See log.h. The readers' side: whole chunks are copied out of a segment first, then decoded, so
// that no read transaction outlives the copying. Parsed schemas are shared by the runs and counted;
// those that no run uses are kept within a byte budget, the least recently used going first.
#include "bridge/log.h"

#include "bridge/segment.h"
#include <runnel/db.h>
#include <runnel/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS 256
// A batch of the past may arrive late (backlog), never much before its own time (a clock ahead).
#define EARLY_MS (3600LL * 1000)
#define LATE_MS  (7LL * 24 * 3600 * 1000)

struct cached {
    struct cached *next;
    int64_t row;
    struct rn_schema schema;
    uint32_t users;
    uint64_t used; // when last: the reader's count of look-ups
    size_t bytes;
    const char *error; // it does not parse: the words for every batch of it
    uint8_t storage[] __attribute__((aligned(16))); // the encoded bytes, then the parsed form
};

struct log_reader {
    char folder[SEGMENT_PATH_MAX];
    struct segment *segment; // the one read last
    struct rn_db *schemas;
    struct rn_stmt *find;
    struct cached *cached;
    size_t cached_bytes, max_bytes;
    uint64_t lookups;
    uint64_t work[RN_DECODE_WORK / sizeof(uint64_t)]; // for encodings 1 and 2
};

// What a row becomes: first a copy of its columns and body, then the decoded run.
struct owned_run {
    struct log_run out;
    struct log_reader *reader;
    struct cached *schema;
    int64_t schema_row;
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
    reader->max_bytes = schema_cache_bytes > 0 ? (size_t)schema_cache_bytes : 0;
    *out = reader;
    return RN_OK;
}

static void cached_free_all(struct log_reader *reader)
{
    while (reader->cached) {
        struct cached *next = reader->cached->next;
        free(reader->cached);
        reader->cached = next;
    }
}

void log_reader_close(struct log_reader *reader)
{
    if (!reader)
        return;
    segment_close(reader->segment);
    rn_stmt_free(reader->find);
    rn_db_close(reader->schemas);
    cached_free_all(reader);
    free(reader);
}

// ---- schemas -----------------------------------------------------------------------------------

static int open_schemas(struct log_reader *reader, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    if (reader->find)
        return RN_OK;
    int rc = rn_path_join(path, sizeof path, reader->folder, "schemas.db", err);
    if (rc)
        return rc;
    if (!reader->schemas) {
        struct rn_db_conf conf = {.path = path, .read_only = true};
        rc = rn_db_open(&reader->schemas, &conf, err);
        if (rc)
            return rc;
    }
    return rn_db_prepare(&reader->find, reader->schemas,
                         "SELECT body, hash FROM object WHERE row = ?1 AND body IS NOT NULL", err);
}

static void evict(struct log_reader *reader)
{
    while (reader->cached_bytes > reader->max_bytes) {
        struct cached **oldest = NULL;
        for (struct cached **at = &reader->cached; *at; at = &(*at)->next)
            if (!(*at)->users && (!oldest || (*at)->used < (*oldest)->used))
                oldest = at;
        if (!oldest)
            return;
        struct cached *gone = *oldest;
        *oldest = gone->next;
        reader->cached_bytes -= gone->bytes;
        free(gone);
    }
}

static struct cached *parse(int64_t row, struct rn_span body, struct rn_span hash)
{
    if (body.len > RN_SCHEMA_MAX_BYTES)
        return NULL;
    size_t kept = (body.len + 15) & ~(size_t)15;
    size_t parsed = RN_SCHEMA_STORAGE / RN_SCHEMA_MAX_BYTES * body.len + 1024;
    size_t bytes = sizeof(struct cached) + kept + parsed;
    struct cached *made = calloc(1, bytes);
    if (!made)
        return NULL;
    made->row = row;
    made->bytes = bytes;
    memcpy(made->storage, body.data, body.len);
    struct rn_span input = {made->storage, body.len};
    if (rn_schema_decode(input, &made->schema, made->storage + kept, parsed, NULL) != RN_OK)
        made->error = "its schema cannot be read";
    if (hash.len == RN_HASH_BYTES)
        memcpy(made->schema.hash, hash.data, RN_HASH_BYTES);
    return made;
}

// NULL: there is no such schema (*rc RN_OK), or it could not be read (*rc says why).
static struct cached *schema_get(struct log_reader *reader, int64_t row, int *rc,
                                 struct rn_err *err)
{
    *rc = RN_OK;
    for (struct cached *at = reader->cached; at; at = at->next)
        if (at->row == row) {
            at->used = ++reader->lookups;
            return at;
        }
    *rc = open_schemas(reader, err);
    if (*rc)
        return NULL;
    struct cached *made = NULL;
    rn_bind_int(reader->find, 1, row);
    int step = rn_stmt_step(reader->find, err);
    if (step == 1) {
        made = parse(row, rn_column_blob(reader->find, 0), rn_column_blob(reader->find, 1));
        if (!made)
            *rc = rn_fail(err, RN_ENOMEM, "out of memory");
    } else if (step < 0) {
        *rc = step;
    }
    rn_stmt_reset(reader->find);
    if (made) {
        made->used = ++reader->lookups;
        made->users = 1; // not to be evicted by its own arrival
        made->next = reader->cached;
        reader->cached = made;
        reader->cached_bytes += made->bytes;
        evict(reader);
        made->users = 0;
    }
    return made;
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

static struct owned_run *copy_row(struct log_reader *reader, uint64_t position,
                                  const struct log_row *row)
{
    struct owned_run *own = calloc(1, sizeof *own + row->body.len);
    if (!own)
        return NULL;
    snprintf(own->dev, sizeof own->dev, "%s", row->dev);
    if (row->body.len)
        memcpy(own->body, row->body.data, row->body.len);
    own->reader = reader;
    own->schema_row = row->schema;
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

static int decode_columns(struct owned_run *own, struct rn_err *err)
{
    static const struct rn_coding without; // base and hints: such a batch is not in the log
    struct rn_batch_info info;
    struct rn_err why = {0};
    const struct rn_schema *schema = &own->schema->schema;
    if (rn_batch_open_body(own->out.run.body, &info, &why) != RN_OK) {
        undecodable(own, why.text);
        return RN_OK;
    }
    size_t bytes = rn_batch_grid_bytes(schema, &info);
    own->grid_storage = malloc(bytes);
    if (!own->grid_storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    if (rn_batch_decode_with(schema, &info, &without, &own->grid, own->grid_storage, bytes,
                             own->reader->work, sizeof own->reader->work, &why) != RN_OK)
        undecodable(own, why.text);
    else
        own->out.run.grid = &own->grid;
    return RN_OK;
}

static int decode(struct owned_run *own, struct rn_err *err)
{
    int rc;
    struct cached *schema = schema_get(own->reader, own->schema_row, &rc, err);
    if (rc)
        return rc;
    if (!schema || schema->error) {
        undecodable(own, schema ? schema->error : "its schema is not in schemas.db");
        return RN_OK;
    }
    schema->users++;
    own->schema = schema;
    own->out.run.schema = &schema->schema;
    return decode_columns(own, err);
}

struct copying {
    struct log_reader *reader;
    struct log_run **runs;
    uint32_t n, max;
    size_t bytes, max_bytes;
};

static int copy_one(void *arg, uint64_t position, const struct log_row *row)
{
    struct copying *to = arg;
    struct owned_run *own = copy_row(to->reader, position, row);
    if (!own)
        return RN_ENOMEM;
    to->runs[to->n++] = &own->out;
    to->bytes += row->body.len;
    return to->n == to->max || to->bytes >= to->max_bytes;
}

static int decode_all(struct log_run **runs, uint32_t n, struct rn_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc = decode((struct owned_run *)(void *)runs[i], err);
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
    struct copying to = {.reader = reader,
                         .runs = runs,
                         .max = max < CHUNK_ROWS ? max : CHUNK_ROWS,
                         .max_bytes = max_bytes};
    int rc = read_chunk(reader, after, &to, err);
    if (rc == RN_ENOMEM)
        rn_fail(err, rc, "out of memory");
    if (rc >= 0)
        rc = decode_all(runs, to.n, err);
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

static int read_device_segment(const char *path, uint64_t first, const char *dev, int64_t from_ms,
                               int64_t to_ms, uint64_t after, struct copying *to,
                               struct rn_err *err)
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
            rc = decode_all(to->runs + had, to->n - had, err);
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
    struct copying to = {.reader = reader, .runs = runs, .max = max, .max_bytes = SIZE_MAX};
    int rc = segment_list(reader->folder, &firsts, &count, err);
    if (rc)
        return rc;
    for (int i = 0; rc == RN_OK && i < count && to.n < max; i++) {
        char path[SEGMENT_PATH_MAX];
        if (i + 1 < count && firsts[i + 1] <= after + 1)
            continue;
        rc = segment_path(path, reader->folder, firsts[i], err);
        if (rc == RN_OK)
            rc = read_device_segment(path, firsts[i], dev, from_ms, to_ms, after, &to, err);
    }
    free(firsts);
    if (rc) {
        free_runs(runs, to.n);
        return rc;
    }
    return (int)to.n;
}
