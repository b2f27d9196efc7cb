// A bridge without broker and intake, for the tests of the sinks: a log, the cursors, and standard
// input in place of devices.
//
//   sink_driver folder=DIR [past=DURATION] sink=NAME:TYPE ... [sinks.NAME.KEY=VALUE ...]
//
// Each line of input is one JSON object:
//   {"dev":..,"measurement":..,"tags":{..},"fields":[["name","type"],..],"rows":[["time","v",..],..]}
//                      appends a batch; values are texts, "" is missing
//   {"commit":true}    commits what was appended and wakes the cursors
//   {"status":true}    prints "status {...}" for every cursor
//   {"letters":true}   prints "letter {...}" for each dead letter, then "letters N"
//   {"replay":"NAME"}  replays the letters of a sink ("" all)
//   {"stop":true}      ends
// It prints "ready HEAD", "head N" after a commit, "moved NAME POSITION" and "refused ...".
#include "bridge/cursors.h"
#include "bridge/deadletters.h"
#include "bridge/log.h"

#include <inttypes.h>
#include <runnel/clock.h>
#include <runnel/conf.h>
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/json.h>
#include <runnel/text.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX  (8 * 1024 * 1024)
#define FIELDS_MAX 64
#define ROWS_MAX   4096
#define SINKS_MAX  8
#define DEAD_BYTES (16 << 20)

struct sink_conf {
    struct cursor_opts opts;
    void *conf;
};

struct driver {
    char folder[400];
    struct rn_loop *loop;
    struct rn_fd *input;
    struct rn_buf pending;
    struct log *log;
    struct deadletters *dead;
    struct cursors *cursors;
    struct cursor_conf cursor[SINKS_MAX];
    struct sink_conf sink[SINKS_MAX];
    char name[SINKS_MAX][40];
    uint32_t nsinks;
    int64_t past_ms;
    uint64_t seq;
};

static void die(const char *what, const struct rn_err *err)
{
    fprintf(stderr, "sink_driver: %s: %s\n", what, err->text);
    exit(1);
}

static void must(int rc, const char *what, const struct rn_err *err)
{
    if (rc < 0)
        die(what, err);
}

static struct rn_span span(const struct rn_json *value)
{
    return rn_span_text(rn_json_text_or(value, ""));
}

// ---- a batch of one series --------------------------------------------------------------------

struct batch {
    struct rn_schema schema;
    struct rn_group group;
    struct rn_series series;
    struct rn_tag tags[RN_SCHEMA_MAX_TAGS];
    struct rn_field fields[FIELDS_MAX];
};

static bool add_tag(void *arg, const char *key, const struct rn_json *value)
{
    struct batch *b = arg;
    if (b->series.ntags < RN_SCHEMA_MAX_TAGS)
        b->tags[b->series.ntags++] = (struct rn_tag){rn_span_text(key), span(value)};
    return true;
}

static enum rn_type type_named(const char *name)
{
    static const char *const names[] = {"int", "uint", "float", "bool", "text"};
    for (int i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0)
            return (enum rn_type)i;
    return RN_TEXT;
}

static void read_schema(struct batch *b, const struct rn_json *json)
{
    const struct rn_json *fields = rn_json_get(json, "fields");
    memset(b, 0, sizeof *b);
    rn_json_each(rn_json_get(json, "tags"), add_tag, b);
    for (size_t i = 0; i < rn_json_len(fields) && i < FIELDS_MAX; i++) {
        const struct rn_json *field = rn_json_at(fields, i);
        b->fields[b->group.nfields++] =
            (struct rn_field){.name = span(rn_json_at(field, 0)),
                              .type = type_named(rn_json_text_or(rn_json_at(field, 1), "")),
                              .mul = 1};
    }
    b->series.tags = b->tags;
    b->group.measurement = span(rn_json_get(json, "measurement"));
    b->group.every = 1;
    b->group.fields = b->fields;
    b->group.series = &b->series;
    b->group.nseries = 1;
    b->schema = (struct rn_schema){
        .unit_ns = 1, .groups = &b->group, .ngroups = 1, .ncolumns = b->group.nfields};
}

static void set_cell(struct rn_grid *grid, uint32_t column, uint32_t tick, enum rn_type type,
                     const char *text)
{
    struct rn_err err = {.text = "no room for a text"};
    size_t at = rn_grid_at(grid, column, tick);
    union rn_cell *cell = &grid->cells[at];
    if (!*text && type != RN_TEXT)
        return;
    grid->states[at] = type == RN_FLOAT ? RN_CELL_DOUBLE : RN_CELL_SCALED;
    switch (type) {
    case RN_INT:
        cell->i = strtoll(text, NULL, 10);
        break;
    case RN_UINT:
        cell->i = (int64_t)strtoull(text, NULL, 10);
        break;
    case RN_FLOAT:
        cell->d = strtod(text, NULL);
        break;
    case RN_BOOL:
        cell->i = strcmp(text, "true") == 0;
        break;
    case RN_TEXT:
        must(rn_grid_set_text(grid, column, tick, rn_span_text(text)), "batch", &err);
        break;
    }
}

static int64_t store_schema(struct driver *d, const struct batch *b)
{
    struct rn_err err;
    struct rn_buf bytes;
    uint8_t hash[RN_SHA256_BYTES];
    int64_t number;
    rn_buf_init(&bytes, RN_SCHEMA_MAX_BYTES);
    must(rn_schema_encode(&b->schema, &bytes, &err), "schema", &err);
    rn_sha256(hash, bytes.data, bytes.len);
    must(log_put_object(d->log, hash, rn_buf_span(&bytes), &number, &err), "schema", &err);
    rn_buf_release(&bytes);
    return number;
}

static void append(struct driver *d, const struct rn_json *json)
{
    struct rn_err err;
    struct batch b;
    struct rn_grid grid;
    struct rn_buf body;
    const struct rn_json *rows = rn_json_get(json, "rows");
    uint32_t n = (uint32_t)rn_json_len(rows);
    read_schema(&b, json);
    uint32_t text_cap = RN_BATCH_MAX_BYTES;
    size_t size = rn_grid_bytes(n, b.group.nfields, text_cap);
    void *storage = malloc(size);
    if (!storage)
        exit(1);
    must(rn_grid_init(&grid, n, b.group.nfields, text_cap, storage, size, &err), "batch", &err);
    for (uint32_t t = 0; t < n; t++) {
        const struct rn_json *row = rn_json_at(rows, t);
        grid.times[t] = strtoll(rn_json_text_or(rn_json_at(row, 0), "0"), NULL, 10);
        for (uint32_t f = 0; f < b.group.nfields; f++)
            set_cell(&grid, f, t, b.fields[f].type, rn_json_text_or(rn_json_at(row, f + 1), ""));
    }
    rn_buf_init(&body, RN_BATCH_MAX_BYTES);
    must(rn_batch_encode_body(&b.schema, 1, &grid, &body, &err), "batch", &err);
    uint64_t position;
    struct log_row row = {.dev = rn_json_text_or(rn_json_get(json, "dev"), "dev"),
                          .install = 1,
                          .seq = ++d->seq,
                          .type = 'm',
                          .received_ms = rn_clock_utc_ms(),
                          .schema = store_schema(d, &b),
                          .crc = rn_crc32c(0, body.data, body.len),
                          .body = rn_buf_span(&body)};
    must(log_append(d->log, &row, &position, &err), "append", &err);
    rn_buf_release(&body);
    free(storage);
}

// ---- commands ---------------------------------------------------------------------------------

static void commit(struct driver *d)
{
    struct rn_err err;
    must(log_commit(d->log, &err), "commit", &err);
    printf("head %" PRIu64 "\n", log_head(d->log));
    cursors_wake(d->cursors, log_head(d->log));
}

static void print_quoted(const char *key, struct rn_span text)
{
    struct rn_buf out;
    rn_buf_init(&out, 1 << 20);
    rn_text_json_string(&out, text);
    printf("\"%s\":%s", key, rn_buf_cstr(&out));
    rn_buf_release(&out);
}

static void print_status(struct driver *d)
{
    static const char *const states[] = {"starting", "ok", "retrying", "held", "stopped"};
    for (uint32_t i = 0; i < cursors_count(d->cursors); i++) {
        struct cursor_status s;
        cursors_status(d->cursors, i, &s);
        printf("status {\"cursor\":\"%s\",\"state\":\"%s\",\"position\":%" PRIu64
               ",\"head\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"writes\":%" PRIu64
               ",\"retries\":%" PRIu64 ",\"rewinds\":%" PRIu64 ",\"dead\":%" PRIu64 ",",
               cursors_name(d->cursors, i), states[s.state], s.position, s.head, s.samples,
               s.writes, s.retries, s.rewinds, s.dead);
        print_quoted("text", rn_span_text(s.text));
        printf("}\n");
    }
    printf("end of status\n");
}

static bool print_letter(void *arg, const struct dead_letter *letter)
{
    (void)arg;
    printf("letter {\"id\":%" PRId64 ",\"sink\":\"%s\",\"dev\":\"%s\",\"attempts\":%u,", letter->id,
           letter->sink, letter->dev, letter->attempts);
    print_quoted("line", letter->body);
    printf(",");
    print_quoted("reason", rn_span_text(letter->reason));
    printf("}\n");
    return true;
}

static void run_command(struct driver *d, struct rn_span line)
{
    struct rn_err err;
    struct rn_json *json;
    must(rn_json_parse(&json, line, INPUT_MAX, &err), "input", &err);
    const char *replay = rn_json_text(rn_json_get(json, "replay"));
    if (rn_json_get(json, "rows")) {
        append(d, json);
    } else if (rn_json_get(json, "commit")) {
        commit(d);
    } else if (rn_json_get(json, "status")) {
        print_status(d);
    } else if (rn_json_get(json, "letters")) {
        int n = deadletters_list(d->dead, "", 0, 100000, print_letter, NULL, &err);
        must(n, "letters", &err);
        printf("letters %d\n", n);
    } else if (replay) {
        int n = deadletters_replay(d->dead, 0, replay, &err);
        must(n, "replay", &err);
        printf("replay %d\n", n);
        cursors_replay(d->cursors);
    } else if (rn_json_get(json, "stop")) {
        rn_loop_stop(d->loop);
    }
    rn_json_free(json);
}

static void on_input(void *arg, int fd, bool readable, bool writable)
{
    (void)readable;
    (void)writable;
    struct driver *d = arg;
    uint8_t *to = rn_buf_reserve(&d->pending, 65536);
    ssize_t n = to ? read(fd, to, 65536) : 0;
    if (n <= 0) {
        rn_loop_stop(d->loop);
        return;
    }
    d->pending.len += (size_t)n;
    uint8_t *at = d->pending.data, *end = at + d->pending.len;
    for (uint8_t *stop; (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1)
        run_command(d, (struct rn_span){at, (size_t)(stop - at)});
    d->pending.len = (size_t)(end - at);
    memmove(d->pending.data, at, d->pending.len);
}

static void on_moved(void *arg, uint32_t cursor, uint64_t position)
{
    const struct driver *d = arg;
    printf("moved %s %" PRIu64 "\n", cursor ? d->name[cursor - 1] : "verify", position);
}

static void on_refused(void *arg, const struct cursor_refusal *refusal)
{
    (void)arg;
    printf("refused %s %" PRIu64 " %s\n", refusal->dev, refusal->seq, refusal->text);
}

// ---- start ------------------------------------------------------------------------------------

static void add_sink(struct driver *d, const char *text)
{
    struct rn_err err;
    const char *colon = strchr(text, ':');
    const struct rn_sink *sink = colon ? sink_find(colon + 1) : NULL;
    if (!sink || d->nsinks == SINKS_MAX) {
        fprintf(stderr, "sink_driver: sink=%s\n", text);
        exit(2);
    }
    struct sink_conf *own = &d->sink[d->nsinks];
    snprintf(d->name[d->nsinks], sizeof d->name[0], "%.*s", (int)(colon - text), text);
    own->conf = calloc(1, sink->conf_size + 1);
    if (!own->conf)
        exit(1);
    must(rn_opt_defaults(cursor_opt_rows, cursor_opt_count, &own->opts, &err), "defaults", &err);
    must(rn_opt_defaults(sink->opts, sink->nopts, own->conf, &err), "defaults", &err);
    d->cursor[d->nsinks] = (struct cursor_conf){.name = d->name[d->nsinks],
                                                .sink = sink,
                                                .sink_conf = own->conf,
                                                .opts = &own->opts,
                                                .hold = true};
    d->nsinks++;
}

static void set_key(struct driver *d, char *text)
{
    struct rn_err err = {.text = "there is no such key"};
    char *equals = strchr(text, '=');
    *equals = 0;
    for (uint32_t i = 0; i < d->nsinks; i++) {
        char prefix[64];
        int n = snprintf(prefix, sizeof prefix, "sinks.%s.", d->name[i]);
        if (strncmp(text, prefix, (size_t)n) != 0)
            continue;
        const struct rn_sink *sink = d->cursor[i].sink;
        const char *key = text + n;
        const struct rn_opt *row = rn_opt_find(sink->opts, sink->nopts, key);
        void *base = row ? d->sink[i].conf : &d->sink[i].opts;
        if (!row)
            row = rn_opt_find(cursor_opt_rows, cursor_opt_count, key);
        if (row && row->type == RN_OPT_LIST)
            must(rn_opt_append(row, base, equals + 1, &err), key, &err);
        else
            must(row ? rn_opt_set(row, base, equals + 1, &err) : RN_EINVAL, key, &err);
        return;
    }
    die(text, &err);
}

static void read_arguments(struct driver *d, int argc, char **argv)
{
    struct rn_err err;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "folder=", 7) == 0)
            snprintf(d->folder, sizeof d->folder, "%s", argv[i] + 7);
        else if (strncmp(argv[i], "past=", 5) == 0)
            must(rn_duration_parse(argv[i] + 5, &d->past_ms, &err), "past", &err);
        else if (strncmp(argv[i], "sink=", 5) == 0)
            add_sink(d, argv[i] + 5);
        else if (strchr(argv[i], '='))
            set_key(d, argv[i]);
    }
}

static void start(struct driver *d)
{
    struct rn_err err;
    struct log_conf log = {.folder = d->folder,
                           .segment_bytes = 1 << 26,
                           .cursor_bytes = 1 << 28,
                           .history_bytes = 1 << 28};
    must(log_open(&d->log, &log, &err), "log", &err);
    struct deadletters_conf dead = {d->folder, DEAD_BYTES, 0};
    must(deadletters_open(&d->dead, &dead, &err), "dead letters", &err);
    d->seq = log_head(d->log);
    struct cursors_conf conf = {.folder = d->folder,
                                .log_id = log_id(d->log),
                                .log_head = log_head(d->log),
                                .time_past_ms = d->past_ms,
                                .time_future_ms = 3600000,
                                .schema_cache_bytes = 8 << 20,
                                .dead_max_bytes = DEAD_BYTES,
                                .max_last_values = 1000,
                                .cursor = d->cursor,
                                .ncursors = d->nsinks};
    struct cursors_callbacks callbacks = {d, on_moved, on_refused};
    must(cursors_new(&d->cursors, &conf, d->loop, &callbacks, &err), "cursors", &err);
}

int main(int argc, char **argv)
{
    static struct driver driver = {.past_ms = 365LL * 86400 * 1000};
    struct driver *d = &driver;
    struct rn_err err;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    rn_db_setup(0);
    read_arguments(d, argc, argv);
    rn_buf_init(&d->pending, INPUT_MAX);
    must(rn_loop_new(&d->loop, &err), "loop", &err);
    start(d);
    must(rn_fd_new(&d->input, d->loop, STDIN_FILENO, on_input, d, &err), "input", &err);
    rn_fd_want(d->input, true, false);
    printf("ready %" PRIu64 "\n", log_head(d->log));
    rn_loop_run(d->loop);
    cursors_free(d->cursors);
    rn_fd_free(d->input);
    rn_loop_free(d->loop);
    deadletters_close(d->dead);
    log_close(d->log);
    rn_buf_release(&d->pending);
    for (uint32_t i = 0; i < d->nsinks; i++)
        free(d->sink[i].conf);
    printf("stopped\n");
    return 0;
}
