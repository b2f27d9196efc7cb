// For tests of what reads the log: batches of a small schema, appended to a real log in a folder.
// One column of each type, one tagged measurement. Every other batch is in encoding 2 with hints
// and a base.
#ifndef TESTS_LOG_FIXTURE_H
#define TESTS_LOG_FIXTURE_H

#include "bridge/log.h"

#include <runnel/clock.h>
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/wire.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE_FIELDS 5
#define FIXTURE_NS_MS  1000000

struct log_fixture {
    char folder[64];
    struct log *log;
    struct rn_schema schema;
    uint64_t seq;
};

static inline void fixture_ok(int rc, const struct rn_err *err)
{
    if (rc < 0)
        fail_msg("%d: %s", rc, err->text);
}

static struct rn_tag fixture_tags[1];
static struct rn_field fixture_fields[FIXTURE_FIELDS];
static struct rn_series fixture_series[1];
static struct rn_group fixture_group[1];

static inline void fixture_schema(struct rn_schema *schema)
{
    static const char *const names[FIXTURE_FIELDS] = {"i", "u", "f", "b", "t"};
    fixture_tags[0] = (struct rn_tag){rn_span_text("where"), rn_span_text("a b,c=d")};
    for (int i = 0; i < FIXTURE_FIELDS; i++)
        fixture_fields[i] =
            (struct rn_field){.name = rn_span_text(names[i]), .type = (enum rn_type)i, .mul = 1};
    fixture_series[0] = (struct rn_series){fixture_tags, 1};
    fixture_group[0] = (struct rn_group){.measurement = rn_span_text("m"),
                                         .every = 1,
                                         .fields = fixture_fields,
                                         .nfields = FIXTURE_FIELDS,
                                         .series = fixture_series,
                                         .nseries = 1};
    *schema = (struct rn_schema){.unit_ns = FIXTURE_NS_MS,
                                 .groups = fixture_group,
                                 .ngroups = 1,
                                 .ncolumns = FIXTURE_FIELDS};
}

// The number of an object in the log, for the rows of the group that is open.
static inline int64_t fixture_object(struct log *log, struct rn_span bytes)
{
    struct rn_err err;
    uint8_t hash[RN_SHA256_BYTES];
    int64_t number;
    rn_sha256(hash, bytes.data, bytes.len);
    fixture_ok(log_put_object(log, hash, bytes, &number, &err), &err);
    return number;
}

static inline int64_t fixture_schema_number(struct log *log, const struct rn_schema *schema)
{
    struct rn_err err;
    struct rn_buf bytes;
    rn_buf_init(&bytes, RN_SCHEMA_MAX_BYTES);
    fixture_ok(rn_schema_encode(schema, &bytes, &err), &err);
    int64_t number = fixture_object(log, rn_buf_span(&bytes));
    rn_buf_release(&bytes);
    return number;
}

static inline void fixture_open_log(struct log_fixture *f)
{
    struct rn_err err;
    struct log_conf conf = {.folder = f->folder,
                            .segment_bytes = 1 << 20,
                            .cursor_bytes = 1 << 26,
                            .history_bytes = 1 << 26};
    fixture_ok(log_open(&f->log, &conf, &err), &err);
    fixture_schema(&f->schema);
}

static inline void fixture_open(struct log_fixture *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/runnel-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    fixture_open_log(f);
}

static inline void fixture_close_log(struct log_fixture *f)
{
    log_close(f->log);
}

static inline void fixture_append_row(struct log_fixture *f, const char *dev, struct rn_span body,
                                      int64_t hints, int64_t base)
{
    struct rn_err err;
    uint64_t position;
    struct log_row row = {.dev = dev,
                          .install = 7,
                          .seq = ++f->seq,
                          .type = 'm',
                          .received_ms = rn_clock_utc_ms(),
                          .schema = fixture_schema_number(f->log, &f->schema),
                          .hints = hints,
                          .base = base,
                          .crc = rn_crc32c(0, body.data, body.len),
                          .body = body};
    fixture_ok(log_append(f->log, &row, &position, &err), &err);
}

static inline void fixture_append_body(struct log_fixture *f, const char *dev, struct rn_span body)
{
    fixture_append_row(f, dev, body, 0, 0);
}

static inline void fixture_append_grid(struct log_fixture *f, const char *dev,
                                       const struct rn_grid *grid, int64_t first)
{
    static struct rn_base base;
    static struct rn_hints hints;
    static uint64_t work[RN_ENCODE_WORK / sizeof(uint64_t)];
    struct rn_err err;
    struct rn_buf body, objects[2];
    struct rn_coding with = {.base = &base, .hints = &hints, .base_id = 1, .hints_id = 1};
    bool plain = f->seq % 2 == 0;
    base = (struct rn_base){.ncolumns = FIXTURE_FIELDS, .column = {first, first - 3, first / 2}};
    hints = (struct rn_hints){.ncolumns = FIXTURE_FIELDS, .column = {{3, 2}, {4, 2}, {9, 40}}};
    rn_buf_init(&body, RN_BATCH_MAX_BYTES);
    rn_buf_init(&objects[0], RN_SCHEMA_MAX_BYTES);
    rn_buf_init(&objects[1], RN_SCHEMA_MAX_BYTES);
    fixture_ok(rn_base_encode(&base, &objects[0]), &err);
    fixture_ok(rn_hints_encode(&hints, &objects[1]), &err);
    fixture_ok(rn_batch_encode_as(plain ? RN_ENC_PLAIN : RN_ENC_RANGE, &f->schema, 1,
                                  plain ? NULL : &with, grid, work, sizeof work, &body, &err),
               &err);
    fixture_append_row(f, dev, rn_buf_span(&body),
                       plain ? 0 : fixture_object(f->log, rn_buf_span(&objects[1])),
                       plain ? 0 : fixture_object(f->log, rn_buf_span(&objects[0])));
    rn_buf_release(&body);
    rn_buf_release(&objects[0]);
    rn_buf_release(&objects[1]);
}

// n ticks a second apart from t0_ms on; the values count up from `first`.
static inline void fixture_append(struct log_fixture *f, const char *dev, int64_t t0_ms, uint32_t n,
                                  int64_t first)
{
    struct rn_err err;
    struct rn_grid grid;
    size_t size = rn_grid_bytes(n, FIXTURE_FIELDS, n * 16);
    void *storage = malloc(size);
    assert_non_null(storage);
    fixture_ok(rn_grid_init(&grid, n, FIXTURE_FIELDS, n * 16, storage, size, &err), &err);
    for (uint32_t t = 0; t < n; t++) {
        char text[16];
        snprintf(text, sizeof text, "t%lld", (long long)first + t);
        grid.times[t] = t0_ms + 1000 * (int64_t)t;
        for (uint32_t c = 0; c < 4; c++) {
            grid.states[rn_grid_at(&grid, c, t)] = RN_CELL_SCALED;
            grid.cells[rn_grid_at(&grid, c, t)].i = c == 3 ? (first + t) % 2 : first + t;
        }
        fixture_ok(rn_grid_set_text(&grid, 4, t, rn_span_text(text)), &err);
    }
    fixture_append_grid(f, dev, &grid, first);
    free(storage);
}

static inline uint64_t fixture_commit(struct log_fixture *f)
{
    struct rn_err err;
    fixture_ok(log_commit(f->log, &err), &err);
    return log_head(f->log);
}

static inline void fixture_remove(struct log_fixture *f)
{
    struct rn_err err;
    fixture_ok(rn_remove_tree(f->folder, &err), &err);
}

#endif
