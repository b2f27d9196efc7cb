// Sink `influx`: InfluxDB 1.x, 2.x and 3.x, and what speaks their write protocols
// (VictoriaMetrics).
//
// One write is one POST of lines over a kept connection. What the status codes mean is in
// influx_answer.c; retrying is the policy's business.
//
// VictoriaMetrics answers 204 before the data is safe: killed within about five seconds it forgets
// it. So a write counts only after `settle`, and only if the connection that it went over still
// stands then: a new connection may mean a new process, and everything since the last commit is
// written again. (It keeps repeated points as copies unless it runs with
// -dedup.minScrapeInterval=1ms.)
#include "bridge/sink/influx_answer.h"
#include "bridge/sink/sink.h"

#include <runnel/gzip.h>
#include <runnel/http.h>
#include <runnel/text.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define URL_MAX      2048
#define REPLY_MAX    65536
#define GZIP_PAYS_AT 1024 // bytes
#define GZIP_LEVEL   1    // 5 % more bytes than the default level for a third of the time
#define TAGS_MAX     1024

enum version { VERSION_1, VERSION_2, VERSION_3 };
enum victoria { VICTORIA_AUTO, VICTORIA_YES, VICTORIA_NO };

struct influx_conf {
    char url[1024];
    int version;
    char database[128], retention_policy[128], org[128], bucket[128];
    char token[512], username[128], password[256];
    bool gzip, insecure;
    int64_t max_batch_bytes, timeout_ms, settle_ms;
    int victoria;
    char host_tag[64], ca_file[512];
    struct rn_opt_list tags; // "key=value"
};

struct influx {
    const struct influx_conf *conf;
    const struct sink_host *host;
    struct rn_http *http;
    struct rn_http_req *req; // under way
    char write_url[URL_MAX], health_url[URL_MAX];
    char auth[600]; // header line, or ""
    struct rn_buf body, packed;
    const struct rn_run *const *runs; // of the write that is out
    uint32_t nruns;
    bool victoria; // it is one, as far as is known
    bool wrote;    // something since open that went well
    bool closes;   // the last answer ended its connection: a new one means nothing
    struct influx_answer answer;
};

// ---- configuration ----------------------------------------------------------------------------

#define AT(field)  offsetof(struct influx_conf, field)
#define LEN(field) sizeof(((struct influx_conf *)0)->field)

static const struct rn_opt influx_opts[] = {
    {.key = "url",
     .type = RN_OPT_TEXT,
     .offset = AT(url),
     .size = LEN(url),
     .flags = RN_OPT_REQUIRED,
     .help = "address of the database, such as http://127.0.0.1:8086"},
    {.key = "version",
     .type = RN_OPT_ENUM,
     .offset = AT(version),
     .words = "1|2|3",
     .def = "1",
     .help = "write API: 1 /write, 2 /api/v2/write, 3 /api/v3/write_lp"},
    {.key = "database",
     .type = RN_OPT_TEXT,
     .offset = AT(database),
     .size = LEN(database),
     .help = "database (versions 1 and 3)"},
    {.key = "retention_policy",
     .type = RN_OPT_TEXT,
     .offset = AT(retention_policy),
     .size = LEN(retention_policy),
     .help = "retention policy (version 1); empty: the default one"},
    {.key = "org",
     .type = RN_OPT_TEXT,
     .offset = AT(org),
     .size = LEN(org),
     .help = "organization (version 2)"},
    {.key = "bucket",
     .type = RN_OPT_TEXT,
     .offset = AT(bucket),
     .size = LEN(bucket),
     .help = "bucket (version 2)"},
    {.key = "token",
     .type = RN_OPT_SECRET,
     .offset = AT(token),
     .size = LEN(token),
     .help = "API token"},
    {.key = "username",
     .type = RN_OPT_TEXT,
     .offset = AT(username),
     .size = LEN(username),
     .help = "user name for basic authentication"},
    {.key = "password",
     .type = RN_OPT_SECRET,
     .offset = AT(password),
     .size = LEN(password),
     .help = "password for basic authentication"},
    {.key = "gzip",
     .type = RN_OPT_BOOL,
     .offset = AT(gzip),
     .def = "true",
     .help = "compress what is longer than 1 kB"},
    {.key = "max_batch_bytes",
     .type = RN_OPT_SIZE,
     .offset = AT(max_batch_bytes),
     .min = 4096,
     .max = 64 << 20,
     .def = "1M",
     .help = "most bytes of one write, not compressed"},
    {.key = "timeout",
     .type = RN_OPT_DURATION,
     .offset = AT(timeout_ms),
     .min = 100,
     .max = 600000,
     .def = "30s",
     .help = "for one write"},
    {.key = "victoriametrics",
     .type = RN_OPT_ENUM,
     .offset = AT(victoria),
     .words = "auto|yes|no",
     .def = "auto",
     .help = "whether it is VictoriaMetrics, whose answer comes before the data is safe"},
    {.key = "settle",
     .type = RN_OPT_DURATION,
     .offset = AT(settle_ms),
     .max = 600000,
     .def = "15s",
     .help = "how long VictoriaMetrics gets to make data safe"},
    {.key = "host_tag",
     .type = RN_OPT_TEXT,
     .offset = AT(host_tag),
     .size = LEN(host_tag),
     .def = "host",
     .help = "tag that carries the device's name"},
    {.key = "tags",
     .type = RN_OPT_LIST,
     .offset = AT(tags),
     .help = "more tags for every point, as key=value; a point's own tags win"},
    {.key = "ca_file",
     .type = RN_OPT_TEXT,
     .offset = AT(ca_file),
     .size = LEN(ca_file),
     .flags = RN_OPT_PATH,
     .help = "certificates that https is checked against; empty: the system's"},
    {.key = "insecure",
     .type = RN_OPT_BOOL,
     .offset = AT(insecure),
     .def = "false",
     .help = "do not check the server's certificate"},
};

static bool plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || strchr(",=\\\"", text[i]))
            return false;
    return len > 0;
}

static int check_tags(const struct influx_conf *c, struct rn_err *err)
{
    for (int i = 0; i < c->tags.count; i++) {
        const char *tag = c->tags.item[i], *equals = strchr(tag, '=');
        if (!equals || !plain(tag, (size_t)(equals - tag)) ||
            !plain(equals + 1, strlen(equals + 1)))
            return rn_fail(err, RN_EINVAL,
                           "tags: \"%s\" is not key=value without spaces, commas, "
                           "quotes and backslashes",
                           tag);
    }
    return RN_OK;
}

static int influx_check(const void *conf, struct rn_err *err)
{
    const struct influx_conf *c = conf;
    if (strncmp(c->url, "http://", 7) != 0 && strncmp(c->url, "https://", 8) != 0)
        return rn_fail(err, RN_EINVAL, "url: \"%s\" does not begin with http:// or https://",
                       c->url);
    if (c->version == VERSION_2 ? !c->bucket[0] : !c->database[0])
        return rn_fail(err, RN_EINVAL, "%s: missing, version %d needs it",
                       c->version == VERSION_2 ? "bucket" : "database", c->version + 1);
    if (strpbrk(c->token, "\r\n"))
        return rn_fail(err, RN_EINVAL, "token: it holds more than one line");
    return check_tags(c, err);
}

// ---- opening ----------------------------------------------------------------------------------

static void add_query(struct rn_buf *url, const char *key, const char *value)
{
    if (!value[0])
        return;
    rn_buf_text(url, key);
    rn_url_escape(url, value);
}

static void write_query(struct rn_buf *url, const struct influx_conf *c)
{
    switch ((enum version)c->version) {
    case VERSION_1:
        rn_buf_text(url, "/write?precision=ns");
        add_query(url, "&db=", c->database);
        add_query(url, "&rp=", c->retention_policy);
        break;
    case VERSION_2:
        rn_buf_text(url, "/api/v2/write?precision=ns");
        add_query(url, "&org=", c->org);
        add_query(url, "&bucket=", c->bucket);
        break;
    case VERSION_3:
        rn_buf_text(url, "/api/v3/write_lp?precision=nanosecond");
        add_query(url, "&db=", c->database);
        break;
    }
}

static int make_urls(struct influx *s, struct rn_err *err)
{
    struct rn_buf url;
    const struct influx_conf *c = s->conf;
    size_t len = strlen(c->url);
    while (len && c->url[len - 1] == '/')
        len--;
    rn_buf_init_fixed(&url, s->write_url, sizeof s->write_url);
    rn_buf_append(&url, c->url, len);
    write_query(&url, c);
    rn_buf_byte(&url, 0);
    int n = snprintf(s->health_url, sizeof s->health_url, "%.*s/health", (int)len, c->url);
    if (!rn_buf_ok(&url) || n >= URL_MAX)
        return rn_fail(err, RN_ELIMIT, "the URL is too long");
    if (c->token[0])
        snprintf(s->auth, sizeof s->auth, "Authorization: %s %s",
                 c->version == VERSION_3 ? "Bearer" : "Token", c->token);
    return RN_OK;
}

static int influx_open(void *state, const void *conf, struct rn_loop *loop,
                       const struct sink_host *host, struct rn_err *err)
{
    struct influx *s = state;
    const struct influx_conf *c = conf;
    s->conf = c;
    s->host = host;
    s->victoria = c->victoria == VICTORIA_YES;
    rn_buf_init(&s->body, (size_t)c->max_batch_bytes);
    rn_buf_init(&s->packed, (size_t)c->max_batch_bytes);
    int rc = influx_check(conf, err);
    if (rc == RN_OK)
        rc = make_urls(s, err);
    if (rc < 0)
        return rc;
    struct rn_http_conf http = {
        .max_body = REPLY_MAX,
        .max_connections = 1,
        .connect_timeout_ms = c->timeout_ms < 10000 ? c->timeout_ms : 10000,
        .ca_file = c->ca_file[0] ? c->ca_file : NULL,
        .insecure = c->insecure,
    };
    return rn_http_new(&s->http, loop, &http, err);
}

// ---- lines ------------------------------------------------------------------------------------

static bool has_tag(const struct rn_series *series, const char *key, size_t len)
{
    struct rn_span wanted = {(const uint8_t *)key, len};
    for (uint32_t i = 0; i < series->ntags; i++)
        if (rn_span_eq(series->tags[i].key, wanted))
            return true;
    return false;
}

// The configured tags that the series (and the host tag) leave free.
static size_t more_tags(const struct influx *s, const struct rn_series *series, char out[TAGS_MAX])
{
    size_t n = 0;
    for (int i = 0; i < s->conf->tags.count; i++) {
        const char *tag = s->conf->tags.item[i];
        size_t key = (size_t)(strchr(tag, '=') - tag), len = strlen(tag);
        bool host = strlen(s->conf->host_tag) == key && memcmp(tag, s->conf->host_tag, key) == 0;
        if (host || has_tag(series, tag, key) || n + len + 1 > TAGS_MAX)
            continue;
        out[n++] = ',';
        memcpy(out + n, tag, len);
        n += len;
    }
    return n;
}

// Puts them before the first space that is not escaped: the end of the tags.
static void insert_tags(struct rn_buf *body, size_t line, const char *tags, size_t len)
{
    size_t at = line;
    while (at < body->len && body->data[at] != ' ')
        at += body->data[at] == '\\' && at + 1 < body->len ? 2 : 1;
    size_t behind = body->len - at;
    if (!rn_buf_reserve(body, len))
        return;
    memmove(body->data + at + len, body->data + at, behind);
    memcpy(body->data + at, tags, len);
    body->len += len;
}

// Appends one point as a line; false if line protocol cannot carry all of it.
static bool put_line(struct influx *s, const struct sink_point_at *at, const struct rn_lp_conf *lp)
{
    size_t line = s->body.len;
    uint64_t skipped_before = *lp->skipped;
    const struct rn_schema *schema = at->run->schema;
    uint32_t values =
        rn_lp_point(&s->body, schema, at->run->grid, at->group, at->series, at->tick, lp);
    if (!rn_buf_ok(&s->body))
        return true;
    if (!values || *lp->skipped > skipped_before)
        return false;
    if (s->conf->tags.count) {
        char tags[TAGS_MAX];
        size_t len = more_tags(s, &schema->groups[at->group].series[at->series], tags);
        if (len)
            insert_tags(&s->body, line, tags, len);
    }
    return true;
}

// All lines of the runs; points that cannot be carried are named in bad. Returns how many those
// are.
static uint32_t put_lines(struct influx *s, struct sink_point bad[SINK_RESULT_POINTS])
{
    uint32_t nbad = 0;
    uint64_t skipped = 0;
    rn_buf_clear(&s->body);
    for (uint32_t r = 0; r < s->nruns; r++) {
        struct rn_lp_conf lp = {
            .host_key = rn_span_text(s->conf->host_tag),
            .host = rn_span_text(s->runs[r]->dev),
            .uint_form = s->conf->version == VERSION_1 ? RN_LP_UINT_AS_INT : RN_LP_UINT_AS_U,
            .skipped = &skipped,
        };
        struct sink_walk walk = {.at.run = s->runs[r]};
        while (rn_buf_ok(&s->body) && nbad < SINK_RESULT_POINTS && sink_walk_next(&walk))
            if (!put_line(s, &walk.at, &lp))
                bad[nbad++] = (struct sink_point){r, walk.at.index};
    }
    return nbad;
}

// The point that became the n-th line: each point that holds values is one.
static bool point_of_line(const struct influx *s, uint32_t line, struct sink_point *out)
{
    for (uint32_t r = 0; r < s->nruns; r++) {
        struct sink_walk walk = {.at.run = s->runs[r]};
        while (sink_walk_next(&walk))
            if (line-- == 0) {
                *out = (struct sink_point){r, walk.at.index};
                return true;
            }
    }
    return false;
}

// ---- writing ----------------------------------------------------------------------------------

// The type's name in the message of a conflict.
static const char *type_name(const struct influx *s, enum rn_type type)
{
    static const char *const names[] = {
        [RN_INT] = "integer",  [RN_UINT] = "unsigned", [RN_FLOAT] = "float",
        [RN_BOOL] = "boolean", [RN_TEXT] = "string",
    };
    return type == RN_UINT && s->conf->version == VERSION_1 ? names[RN_INT] : names[type];
}

static bool suspect(void *state, const struct sink_point_at *at)
{
    const struct influx *s = state;
    const struct rn_group *group = &at->run->schema->groups[at->group];
    if (!rn_span_eq_text(group->measurement, s->answer.measurement))
        return false;
    for (uint32_t f = 0; f < at->nfields; f++) {
        size_t cell = rn_grid_at(at->run->grid, at->column + f, at->tick);
        if (at->run->grid->states[cell] != RN_CELL_MISSING &&
            rn_span_eq_text(group->fields[f].name, s->answer.field) &&
            (!s->answer.type[0] ||
             strcmp(type_name(s, group->fields[f].type), s->answer.type) == 0))
            return true;
    }
    return false;
}

static void complete(struct influx *s, const struct sink_result *result)
{
    s->host->complete(s->host->arg, result);
}

// A new connection, or none, when one was expected: VictoriaMetrics may have been restarted.
static bool may_have_restarted(struct influx *s, const struct rn_http_answer *answer)
{
    char value[64];
    bool anew = answer->connected_anew || !answer->status;
    bool expected = s->closes;
    s->closes = rn_http_header(answer, "Connection", value, sizeof value) &&
                strcasecmp(value, "close") == 0;
    return s->victoria && s->wrote && anew && !expected;
}

static void look_for_victoria(struct influx *s, const struct rn_http_answer *answer)
{
    char value[64];
    if (s->conf->victoria == VICTORIA_AUTO && answer->status)
        s->victoria = rn_http_header(answer, "X-Server-Hostname", value, sizeof value);
}

static void no_answer(struct influx *s, const struct rn_http_answer *answer, bool rewind)
{
    complete(s,
             &(struct sink_result){.outcome = SINK_RETRY, .text = answer->error, .rewind = rewind});
}

static void on_written(void *arg, const struct rn_http_answer *answer)
{
    struct influx *s = arg;
    struct sink_point bad[SINK_RESULT_POINTS];
    s->req = NULL;
    look_for_victoria(s, answer);
    bool rewind = may_have_restarted(s, answer);
    if (!answer->status || (answer->error && answer->status / 100 == 2)) {
        no_answer(s, answer, rewind);
        return;
    }
    influx_answer_read(&s->answer, answer->status, answer->body, rn_buf_span(&s->body));
    struct sink_result result = {.outcome = s->answer.outcome,
                                 .retry_after_ms = answer->retry_after_ms,
                                 .text = s->answer.text,
                                 .dropped = s->answer.dropped,
                                 .bad = bad,
                                 .suspect = s->answer.measurement[0] ? suspect : NULL,
                                 .rewind = rewind};
    for (uint32_t i = 0; i < s->answer.nlines; i++)
        if (point_of_line(s, s->answer.line[i], &bad[result.nbad]))
            result.nbad++;
    s->wrote |= result.outcome == SINK_DONE;
    complete(s, &result);
}

static void fail_write(struct influx *s, enum sink_outcome outcome, const char *text)
{
    complete(s, &(struct sink_result){.outcome = outcome, .text = text});
}

static int post(struct influx *s, struct rn_err *err)
{
    const char *headers[4] = {"Content-Type: text/plain; charset=utf-8"};
    size_t n = 1;
    struct rn_span body = rn_buf_span(&s->body);
    rn_buf_clear(&s->packed);
    if (s->conf->gzip && body.len >= GZIP_PAYS_AT &&
        rn_gzip(&s->packed, body, GZIP_LEVEL, NULL) == RN_OK) {
        headers[n++] = "Content-Encoding: gzip";
        body = rn_buf_span(&s->packed);
    }
    if (s->auth[0])
        headers[n++] = s->auth;
    struct rn_http_ask ask = {
        .method = "POST",
        .url = s->write_url,
        .headers = headers,
        .username = s->conf->username[0] ? s->conf->username : NULL,
        .password = s->conf->password,
        .body = body,
        .timeout_ms = s->conf->timeout_ms,
        .done = on_written,
        .arg = s,
    };
    return rn_http_start(s->http, &ask, &s->req, err);
}

static void influx_write(void *state, const struct rn_run *const *runs, uint32_t n)
{
    struct influx *s = state;
    struct sink_point bad[SINK_RESULT_POINTS];
    struct rn_err err;
    s->runs = runs;
    s->nruns = n;
    uint32_t nbad = put_lines(s, bad);
    if (nbad) {
        struct sink_result result = {
            .outcome = SINK_POISON,
            .text = "it holds a value that this database cannot take (unsigned above 2^63-1)",
            .bad = bad,
            .nbad = nbad};
        complete(s, &result);
    } else if (rn_buf_status(&s->body) == RN_ENOMEM) {
        fail_write(s, SINK_RETRY, "out of memory");
    } else if (!rn_buf_ok(&s->body)) {
        fail_write(s, SINK_TOO_LARGE, "it is longer than max_batch_bytes");
    } else if (post(s, &err) < 0) {
        fail_write(s, SINK_RETRY, err.text);
    }
}

// ---- settling ---------------------------------------------------------------------------------

static int64_t influx_settle_ms(const void *state)
{
    const struct influx *s = state;
    return s->victoria ? s->conf->settle_ms : 0;
}

static void on_health(void *arg, const struct rn_http_answer *answer)
{
    struct influx *s = arg;
    s->req = NULL;
    bool rewind = may_have_restarted(s, answer);
    if (!answer->status) {
        no_answer(s, answer, rewind);
        return;
    }
    complete(s, &(struct sink_result){.outcome = SINK_DONE, .rewind = rewind});
}

static void influx_flush(void *state)
{
    struct influx *s = state;
    struct rn_err err;
    if (!s->victoria) {
        complete(s, &(struct sink_result){.outcome = SINK_DONE});
        return;
    }
    struct rn_http_ask ask = {.method = "GET",
                              .url = s->health_url,
                              .timeout_ms = s->conf->timeout_ms,
                              .done = on_health,
                              .arg = s};
    if (rn_http_start(s->http, &ask, &s->req, &err) < 0)
        fail_write(s, SINK_RETRY, err.text);
}

static void influx_close(void *state)
{
    struct influx *s = state;
    rn_http_cancel(s->req);
    rn_http_free(s->http);
    rn_buf_release(&s->body);
    rn_buf_release(&s->packed);
}

extern const struct rn_sink sink_influx;
const struct rn_sink sink_influx = {
    .type = "influx",
    .help = "InfluxDB 1.x, 2.x, 3.x and VictoriaMetrics",
    .state_size = sizeof(struct influx),
    .conf_size = sizeof(struct influx_conf),
    .opts = influx_opts,
    .nopts = RN_OPT_COUNT(influx_opts),
    .promise = SINK_IDEMPOTENT,
    .database = true,
    .check = influx_check,
    .open = influx_open,
    .write = influx_write,
    .flush = influx_flush,
    .settle_ms = influx_settle_ms,
    .close = influx_close,
};
