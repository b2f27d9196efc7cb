// Samples of one device and a time range, from the log. The log's files are read here, on the
// server's thread, one chunk at a time, and the answer leaves as a stream: memory does not grow
// with the range.
#include "bridge/http/api_internal.h"

#include <runnel/clock.h>
#include <runnel/opt.h>
#include <runnel/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BATCHES  8
#define SCHEMA_CACHE   (4 << 20)
#define DEFAULT_POINTS 10000
#define MAX_POINTS     1000000
#define CHUNK_BYTES    32768

struct query {
    struct http_api *api;
    struct http_request *request;
    char dev[RN_DEV_MAX + 1], measurement[RN_NAME_MAX + 1], field[RN_NAME_MAX + 1];
    int64_t from_ms, to_ms;
    uint64_t after; // position in the log
    int64_t points, max_points;
    bool begun, any, ended;
    // The batch that is being written.
    struct log_run *runs[CHUNK_BATCHES];
    uint32_t nruns, run, group, series, tick;
};

// ---- parameters -------------------------------------------------------------------------------
// Milliseconds since 1970, or "-15m": so long before now.
static int parse_time(const char *text, int64_t otherwise, int64_t *out, struct rn_err *err)
{
    *out = otherwise;
    if (!text)
        return 0;
    if (text[0] == '-') {
        int64_t ago;
        int rc = rn_duration_parse(text + 1, &ago, err);
        if (rc == 0)
            *out = rn_clock_utc_ms() - ago;
        return rc;
    }
    char *end;
    *out = strtoll(text, &end, 10);
    if (end == text || *end)
        return rn_fail(err, RN_EINVAL,
                       "expected milliseconds since 1970, or a duration before now such as -15m, "
                       "not '%s'",
                       text);
    return 0;
}

static int copy_name(char *out, size_t size, const char *text, const char *what, struct rn_err *err)
{
    if (snprintf(out, size, "%s", text ? text : "") >= (int)size)
        return rn_fail(err, RN_EINVAL, "%s is too long", what);
    return 0;
}

static int parse_query(struct query *query, struct http_request *request, struct rn_err *err)
{
    const char *dev = http_query(request, "device"), *limit = http_query(request, "limit");
    if (!dev || !rn_dev_valid(rn_span_text(dev)))
        return rn_fail(err, RN_EINVAL, "expected device=<name>");
    int rc = copy_name(query->dev, sizeof query->dev, dev, "device", err);
    if (rc == 0)
        rc = copy_name(query->measurement, sizeof query->measurement,
                       http_query(request, "measurement"), "measurement", err);
    if (rc == 0)
        rc = copy_name(query->field, sizeof query->field, http_query(request, "field"), "field",
                       err);
    int64_t now = rn_clock_utc_ms();
    if (rc == 0)
        rc = parse_time(http_query(request, "from"), now - 3600000, &query->from_ms, err);
    if (rc == 0)
        rc = parse_time(http_query(request, "to"), now, &query->to_ms, err);
    query->max_points = limit ? strtoll(limit, NULL, 10) : DEFAULT_POINTS;
    if (rc == 0 && (query->max_points < 1 || query->max_points > MAX_POINTS))
        rc = rn_fail(err, RN_EINVAL, "expected limit between 1 and %d", MAX_POINTS);
    return rc;
}

// ---- one point --------------------------------------------------------------------------------
static int64_t time_ns_of(const struct rn_run *run, uint32_t tick)
{
    int64_t ns;
    if (__builtin_mul_overflow(run->grid->times[tick], (int64_t)run->schema->unit_ns, &ns))
        return INT64_MAX;
    return ns;
}

static uint32_t first_column(const struct rn_schema *schema, uint32_t group, uint32_t series)
{
    uint32_t column = 0;
    for (uint32_t i = 0; i < group; i++)
        column += schema->groups[i].nfields * schema->groups[i].nseries;
    return column + series * schema->groups[group].nfields;
}

// The fields that are wanted and there; false if there is none.
static bool put_fields(struct query *query, const struct rn_run *run, struct json_out *out)
{
    const struct rn_group *group = &run->schema->groups[query->group];
    uint32_t column = first_column(run->schema, query->group, query->series);
    bool any = false;
    for (uint32_t i = 0; i < group->nfields; i++) {
        struct rn_value value;
        if ((query->field[0] && !rn_span_eq_text(group->fields[i].name, query->field)) ||
            !rn_grid_value(run->grid, &group->fields[i], column + i, query->tick, &value))
            continue;
        if (any)
            rn_buf_byte(out->buf, ',');
        rn_text_json_string(out->buf, group->fields[i].name);
        rn_buf_byte(out->buf, ':');
        rn_text_json_value(out->buf, &value);
        any = true;
    }
    return any;
}

static void put_point(struct query *query, const struct rn_run *run, struct rn_buf *buf)
{
    const struct rn_group *group = &run->schema->groups[query->group];
    const struct rn_series *series = &group->series[query->series];
    int64_t time_ns = time_ns_of(run, query->tick);
    size_t start = buf->len;
    struct json_out out = {.buf = buf, .comma = query->any};
    if (time_ns / 1000000 < query->from_ms || time_ns / 1000000 > query->to_ms ||
        (query->measurement[0] && !rn_span_eq_text(group->measurement, query->measurement)))
        return;
    json_begin(&out, NULL, '{');
    json_int(&out, "time_ns", time_ns);
    json_span(&out, "measurement", group->measurement);
    json_begin(&out, "tags", '{');
    for (uint32_t i = 0; i < series->ntags; i++) {
        if (i)
            rn_buf_byte(buf, ',');
        rn_text_json_string(buf, series->tags[i].key);
        rn_buf_byte(buf, ':');
        rn_text_json_string(buf, series->tags[i].value);
    }
    json_end(&out, '}');
    json_begin(&out, "fields", '{');
    if (!put_fields(query, run, &out)) {
        buf->len = start;
        return;
    }
    json_end(&out, '}');
    json_end(&out, '}');
    query->any = true;
    query->points++;
}

// ---- the walk ---------------------------------------------------------------------------------
// The next (tick, group, series) of the batch; false at its end.
static bool step(struct query *query, const struct rn_run *run)
{
    if (++query->series < run->schema->groups[query->group].nseries)
        return true;
    query->series = 0;
    if (++query->group < run->schema->ngroups)
        return true;
    query->group = 0;
    return ++query->tick < run->grid->n;
}

static void release_runs(struct query *query)
{
    for (uint32_t i = 0; i < query->nruns; i++)
        log_run_free(query->runs[i]);
    query->nruns = query->run = 0;
    query->group = query->series = query->tick = 0;
}

// Loads the next chunk; false at the end or on an error.
static bool load_chunk(struct query *query)
{
    struct rn_err err;
    release_runs(query);
    int got = log_read_device(query->api->reader, query->dev, query->from_ms, query->to_ms,
                              query->after, CHUNK_BATCHES, query->runs, &err);
    if (got <= 0)
        return false;
    query->nruns = (uint32_t)got;
    query->after = query->runs[got - 1]->run.position;
    return true;
}

static void write_points(struct query *query, struct rn_buf *out)
{
    while (out->len < CHUNK_BYTES && query->points < query->max_points) {
        if (query->run == query->nruns && !load_chunk(query)) {
            query->ended = true;
            return;
        }
        const struct rn_run *run = &query->runs[query->run]->run;
        if (run->grid && run->schema->ngroups)
            put_point(query, run, out);
        if (!run->grid || !run->schema->ngroups || !step(query, run)) {
            query->run++;
            query->group = query->series = query->tick = 0;
        }
    }
    query->ended = query->points >= query->max_points;
}

static int more_points(void *arg, struct rn_buf *out)
{
    struct query *query = arg;
    struct json_out json = {.buf = out};
    if (query->ended || query->api->closing)
        return -1;
    if (!query->begun) {
        json_begin(&json, NULL, '{');
        json_text(&json, "device", query->dev);
        json_int(&json, "from_ms", query->from_ms);
        json_int(&json, "to_ms", query->to_ms);
        json_begin(&json, "points", '[');
        query->begun = true;
    }
    write_points(query, out);
    if (query->ended)
        rn_buf_printf(out, "],\"truncated\":%s}\n",
                      query->points >= query->max_points ? "true" : "false");
    return 1;
}

static void query_closed(void *arg)
{
    struct query *query = arg;
    release_runs(query);
    free(query);
}

void api_metrics(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    struct http_api *api = app;
    struct rn_err err = {0};
    struct query *query = calloc(1, sizeof *query);
    int rc = query ? parse_query(query, request, &err) : rn_fail(&err, RN_ENOMEM, "out of memory");
    if (rc == 0 && api->closing)
        rc = rn_fail(&err, RN_EAGAIN, "the bridge is stopping");
    if (rc == 0 && !api->reader)
        rc = log_reader_open(&api->reader, api->conf.folder, SCHEMA_CACHE, &err);
    if (rc < 0) {
        http_reply_error(request, api_status_of(rc), "%s", err.text);
        free(query);
        return;
    }
    query->api = api;
    query->request = request;
    http_reply_stream(request, "application/json",
                      &(struct http_stream){more_points, query_closed, query});
}
