// See verify.h.
#include "bridge/verify.h"

#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/map.h>
#include <runnel/text.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_PER_DEVICE 4096
#define ASKS_MAX          256
#define ANSWER_MAX        (16 * 1024 * 1024)
#define KEY_MAX           8192
#define FIELDS_MAX        65536

// The newest values of one series as JSON.
struct last {
    int64_t time_ns;
    size_t len;
    char text[]; // {"measurement":..,"tags":{..},"time_ns":..,"fields":{..}}
};

struct device {
    struct device *next_dirty;
    bool dirty;
    uint64_t batches, samples, bytes, refused;
    struct rn_map last; // by measurement and tags
    char dev[RN_DEV_MAX + 1];
};

struct ask {
    struct rn_queue *reply;
    void *token;
    char dev[RN_DEV_MAX + 1];
};

struct verify {
    struct verify_conf conf;
    struct cursor_hooks hooks;
    char folder[512];
    const struct sink_host *host;
    struct deadletters *dead;
    struct rn_queue *asks;
    struct rn_wake *asked;
    struct rn_stmt *put_totals, *put_device, *put_refusal;
    struct rn_map devices;
    struct device *dirty;
    uint32_t nlast;
    struct rn_buf key, text;
    _Atomic uint64_t batches, samples, bytes, refused;
    uint64_t saved_refused; // how many refusals the table has ever taken
    struct cursor_refusal *refusal[CURSORS_REFUSALS_KEPT]; // told, to be saved with the cursor
    uint32_t nrefusals;
};

// ---- tables -----------------------------------------------------------------------------------

static const char setup[] =
    "CREATE TABLE IF NOT EXISTS totals(one INTEGER PRIMARY KEY CHECK(one = 1), batches INTEGER,"
    " samples INTEGER, bytes INTEGER, refused INTEGER);"
    "CREATE TABLE IF NOT EXISTS device(dev TEXT PRIMARY KEY, batches INTEGER, samples INTEGER,"
    " bytes INTEGER, refused INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS refusal(slot INTEGER PRIMARY KEY, n INTEGER, dev TEXT,"
    " install INTEGER, seq INTEGER, position INTEGER, reason INTEGER, text TEXT);";

static struct device *device_of(const struct verify *v, const char *dev)
{
    return rn_map_get(&v->devices, rn_span_text(dev));
}

// Made if it is not there. More than the maximum are not kept: the totals have them.
static int know_device(struct verify *v, const char *dev, struct rn_err *err)
{
    if (device_of(v, dev))
        return RN_OK;
    struct device *d = calloc(1, sizeof *d);
    int rc = RN_ENOMEM;
    if (d) {
        snprintf(d->dev, sizeof d->dev, "%s", dev);
        rn_map_init(&d->last, SERIES_PER_DEVICE, v->devices.seed);
        rc = rn_map_put(&v->devices, rn_span_text(dev), d);
    }
    if (rc < 0)
        free(d);
    return rc == RN_ENOMEM ? rn_fail(err, rc, "no memory for a device's counts") : RN_OK;
}

// They are written back with the next commit: none may begin at 0 because it could not be read.
static int load_totals(struct verify *v, struct rn_db *db, struct rn_err *err)
{
    static const char *const names[] = {"batches", "samples", "bytes", "refused"};
    _Atomic uint64_t *const totals[] = {&v->batches, &v->samples, &v->bytes, &v->refused};
    char sql[64];
    int64_t value;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(sql, sizeof sql, "SELECT %s FROM totals", names[i]);
        int rc = rn_db_get_int(db, sql, 0, &value, err);
        if (rc < 0)
            return rc;
        atomic_store(totals[i], (uint64_t)value);
    }
    int rc = rn_db_get_int(db, "SELECT max(n) FROM refusal", 0, &value, err);
    v->saved_refused = rc < 0 ? 0 : (uint64_t)value;
    return rc;
}

static int load_devices(struct verify *v, struct rn_db *db, struct rn_err *err)
{
    struct rn_stmt *stmt;
    int rc =
        rn_db_prepare(&stmt, db, "SELECT dev, batches, samples, bytes, refused FROM device", err);
    if (rc < 0)
        return rc;
    while ((rc = rn_stmt_step(stmt, err)) > 0) {
        const char *dev = rn_column_text(stmt, 0);
        rc = know_device(v, dev, err);
        if (rc < 0)
            break;
        struct device *d = device_of(v, dev);
        if (!d)
            continue;
        d->batches = (uint64_t)rn_column_int(stmt, 1);
        d->samples = (uint64_t)rn_column_int(stmt, 2);
        d->bytes = (uint64_t)rn_column_int(stmt, 3);
        d->refused = (uint64_t)rn_column_int(stmt, 4);
    }
    rn_stmt_free(stmt);
    return rc;
}

// Tells the refusals of the past again, so that a bridge that stopped before it could answer does
// so now.
static int tell_refusals(struct verify *v, struct rn_db *db, struct rn_err *err)
{
    struct rn_stmt *stmt;
    int rc = rn_db_prepare(
        &stmt, db, "SELECT dev, install, seq, position, reason, text FROM refusal ORDER BY n", err);
    if (rc < 0)
        return rc;
    while ((rc = rn_stmt_step(stmt, err)) > 0) {
        struct cursor_refusal *refusal = calloc(1, sizeof *refusal);
        if (!refusal) {
            rc = rn_fail(err, RN_ENOMEM, "no memory for a refusal");
            break;
        }
        snprintf(refusal->dev, sizeof refusal->dev, "%s", rn_column_text(stmt, 0));
        refusal->install = (uint64_t)rn_column_int(stmt, 1);
        refusal->seq = (uint64_t)rn_column_int(stmt, 2);
        refusal->position = (uint64_t)rn_column_int(stmt, 3);
        refusal->reason = (enum rn_refusal)rn_column_int(stmt, 4);
        snprintf(refusal->text, sizeof refusal->text, "%s", rn_column_text(stmt, 5));
        if (!rn_queue_push(v->conf.refusals, refusal, sizeof *refusal)) {
            free(refusal);
            rc = rn_fail(err, RN_EAGAIN, "the intake does not take refusals now");
            break;
        }
    }
    rn_stmt_free(stmt);
    return rc < 0 ? rc : RN_OK;
}

static void free_statements(struct verify *v)
{
    rn_stmt_free(v->put_totals);
    rn_stmt_free(v->put_device);
    rn_stmt_free(v->put_refusal);
    v->put_totals = v->put_device = v->put_refusal = NULL;
}

static int opened(void *arg, struct rn_db *db, struct rn_err *err)
{
    struct verify *v = arg;
    int rc = rn_db_exec(db, setup, err);
    if (rc == RN_OK)
        rc = rn_db_prepare(&v->put_totals, db,
                           "INSERT OR REPLACE INTO totals VALUES(1, ?1, ?2, ?3, ?4)", err);
    if (rc == RN_OK)
        rc = rn_db_prepare(&v->put_device, db,
                           "INSERT OR REPLACE INTO device VALUES(?1, ?2, ?3, ?4, ?5)", err);
    if (rc == RN_OK)
        rc = rn_db_prepare(&v->put_refusal, db,
                           "INSERT OR REPLACE INTO refusal VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                           err);
    if (rc == RN_OK)
        rc = load_totals(v, db, err);
    if (rc == RN_OK)
        rc = load_devices(v, db, err);
    if (rc == RN_OK)
        rc = tell_refusals(v, db, err);
    if (rc < 0)
        free_statements(v);
    return rc;
}

static int save_devices(struct verify *v, struct rn_err *err)
{
    int rc = RN_OK;
    for (struct device *d = v->dirty; d && rc == RN_OK; d = d->next_dirty) {
        rn_bind_text(v->put_device, 1, d->dev);
        rn_bind_int(v->put_device, 2, (int64_t)d->batches);
        rn_bind_int(v->put_device, 3, (int64_t)d->samples);
        rn_bind_int(v->put_device, 4, (int64_t)d->bytes);
        rn_bind_int(v->put_device, 5, (int64_t)d->refused);
        rc = rn_stmt_run(v->put_device, err);
    }
    return rc;
}

static int save_refusals(struct verify *v, struct rn_err *err)
{
    int rc = RN_OK;
    for (uint32_t i = 0; i < v->nrefusals && rc == RN_OK; i++) {
        const struct cursor_refusal *refusal = v->refusal[i];
        uint64_t n = v->saved_refused + i;
        rn_bind_int(v->put_refusal, 1, (int64_t)(n % CURSORS_REFUSALS_KEPT));
        rn_bind_int(v->put_refusal, 2, (int64_t)(n + 1));
        rn_bind_text(v->put_refusal, 3, refusal->dev);
        rn_bind_int(v->put_refusal, 4, (int64_t)refusal->install);
        rn_bind_int(v->put_refusal, 5, (int64_t)refusal->seq);
        rn_bind_int(v->put_refusal, 6, (int64_t)refusal->position);
        rn_bind_int(v->put_refusal, 7, (int64_t)refusal->reason);
        rn_bind_text(v->put_refusal, 8, refusal->text);
        rc = rn_stmt_run(v->put_refusal, err);
    }
    return rc;
}

static int on_commit(void *arg, struct rn_db *db, struct rn_err *err)
{
    (void)db;
    struct verify *v = arg;
    rn_bind_int(v->put_totals, 1, (int64_t)atomic_load(&v->batches));
    rn_bind_int(v->put_totals, 2, (int64_t)atomic_load(&v->samples));
    rn_bind_int(v->put_totals, 3, (int64_t)atomic_load(&v->bytes));
    rn_bind_int(v->put_totals, 4, (int64_t)atomic_load(&v->refused));
    int rc = rn_stmt_run(v->put_totals, err);
    if (rc == RN_OK)
        rc = save_devices(v, err);
    return rc == RN_OK ? save_refusals(v, err) : rc;
}

static void forget_refusals(struct verify *v)
{
    for (uint32_t i = 0; i < v->nrefusals; i++)
        free(v->refusal[i]);
    v->nrefusals = 0;
}

static void on_committed(void *arg)
{
    struct verify *v = arg;
    v->saved_refused += v->nrefusals;
    forget_refusals(v);
    for (; v->dirty; v->dirty = v->dirty->next_dirty)
        v->dirty->dirty = false;
}

static void mark(struct verify *v, struct device *d)
{
    if (d->dirty)
        return;
    d->dirty = true;
    d->next_dirty = v->dirty;
    v->dirty = d;
}

// ---- last values ------------------------------------------------------------------------------

static void series_key(struct rn_buf *key, const struct rn_group *group,
                       const struct rn_series *series)
{
    rn_buf_clear(key);
    rn_buf_append(key, group->measurement.data, group->measurement.len);
    for (uint32_t i = 0; i < series->ntags; i++) {
        rn_buf_byte(key, 0); // names hold no control characters
        rn_buf_append(key, series->tags[i].key.data, series->tags[i].key.len);
        rn_buf_byte(key, 1);
        rn_buf_append(key, series->tags[i].value.data, series->tags[i].value.len);
    }
}

static void json_point(struct rn_buf *out, const struct sink_point_at *at, int64_t time_ns)
{
    const struct rn_group *group = &at->run->schema->groups[at->group];
    const struct rn_series *series = &group->series[at->series];
    rn_buf_text(out, "{\"measurement\":");
    rn_text_json_string(out, group->measurement);
    rn_buf_text(out, ",\"tags\":{");
    for (uint32_t i = 0; i < series->ntags; i++) {
        rn_buf_text(out, i ? "," : "");
        rn_text_json_string(out, series->tags[i].key);
        rn_buf_byte(out, ':');
        rn_text_json_string(out, series->tags[i].value);
    }
    rn_buf_printf(out, "},\"time_ns\":%lld,\"fields\":{", (long long)time_ns);
    const char *comma = "";
    for (uint32_t f = 0; f < at->nfields; f++) {
        struct rn_value value;
        if (!rn_grid_value(at->run->grid, &group->fields[f], at->column + f, at->tick, &value))
            continue;
        rn_buf_text(out, comma);
        rn_text_json_string(out, group->fields[f].name);
        rn_buf_byte(out, ':');
        rn_text_json_value(out, &value);
        comma = ",";
    }
    rn_buf_text(out, "}}");
}

static void remember_point(struct verify *v, struct device *d, const struct sink_point_at *at)
{
    int64_t time_ns;
    const struct rn_group *group = &at->run->schema->groups[at->group];
    if (!sink_time_ns(at->run, at->tick, &time_ns))
        return;
    series_key(&v->key, group, &group->series[at->series]);
    struct last *old = rn_map_get(&d->last, rn_buf_span(&v->key));
    if (!rn_buf_ok(&v->key) || (old && old->time_ns > time_ns) ||
        (!old && v->nlast >= v->conf.max_last_values))
        return;
    rn_buf_clear(&v->text);
    json_point(&v->text, at, time_ns);
    struct last *made = rn_buf_ok(&v->text) ? malloc(sizeof *made + v->text.len) : NULL;
    if (!made)
        return;
    made->time_ns = time_ns;
    made->len = v->text.len;
    memcpy(made->text, v->text.data, v->text.len);
    if (rn_map_put(&d->last, rn_buf_span(&v->key), made) < 0) {
        free(made);
        return;
    }
    v->nlast += !old;
    free(old);
}

// The points of the last two ticks: series that are not due at every tick have their value in the
// one before, mostly; what was missed comes with a later batch.
static void remember_run(struct verify *v, struct device *d, const struct rn_run *run)
{
    struct sink_walk walk = {.at.run = run};
    uint32_t from = run->grid->n > 2 ? run->grid->n - 2 : 0;
    while (sink_walk_next(&walk))
        if (walk.at.tick >= from || walk.at.run->schema->groups[walk.at.group].every > 1)
            remember_point(v, d, &walk.at);
}

// ---- writing ----------------------------------------------------------------------------------

static int bury_run(struct verify *v, const struct rn_run *run, struct rn_err *err)
{
    struct dead_letter letter = {.kind = DEAD_BATCH,
                                 .sink = "verify",
                                 .dev = run->dev,
                                 .install = run->install,
                                 .seq = run->seq,
                                 .type = run->type,
                                 .time_ms = rn_clock_utc_ms(),
                                 .body = run->body,
                                 .reason = run->error};
    return deadletters_put(v->dead, &letter, err);
}

static int tell_refusal(struct verify *v, const struct rn_run *run, struct rn_err *err)
{
    struct cursor_refusal *told = calloc(1, sizeof *told), *kept = calloc(1, sizeof *kept);
    if (told && kept) {
        snprintf(told->dev, sizeof told->dev, "%s", run->dev);
        snprintf(told->text, sizeof told->text, "%s", run->error);
        told->install = run->install;
        told->seq = run->seq;
        told->position = run->position;
        told->reason = run->schema ? RN_REFUSED_MALFORMED : RN_REFUSED_SCHEMA;
        *kept = *told;
        if (rn_queue_push(v->conf.refusals, told, sizeof *told)) {
            v->refusal[v->nrefusals++] = kept;
            return RN_OK;
        }
    }
    free(told);
    free(kept);
    return rn_fail(err, RN_EAGAIN, "the intake does not take refusals now");
}

// The bytes first, then the word to the intake, so that nothing is said that is not stored. Should
// it all happen again after a crash, it is said again.
static int refuse_all(struct verify *v, const struct rn_run *const *runs, uint32_t n,
                      struct rn_err *err)
{
    int rc = RN_OK;
    for (uint32_t i = 0; i < n && rc == RN_OK; i++)
        if (!runs[i]->grid)
            rc = bury_run(v, runs[i], err);
    if (rc < 0)
        deadletters_rollback(v->dead);
    else
        rc = deadletters_commit(v->dead, err);
    forget_refusals(v); // of a write that failed and is done again
    for (uint32_t i = 0; i < n && rc == RN_OK; i++)
        if (!runs[i]->grid)
            rc = tell_refusal(v, runs[i], err);
    return rc;
}

static void count_run(struct verify *v, const struct rn_run *run)
{
    struct device *d = device_of(v, run->dev);
    uint64_t samples = run->grid ? rn_grid_samples(run->grid) : 0;
    bool refused = !run->grid;
    atomic_fetch_add(&v->batches, 1);
    atomic_fetch_add(&v->samples, samples);
    atomic_fetch_add(&v->bytes, run->body.len);
    atomic_fetch_add(&v->refused, refused);
    if (!d)
        return;
    d->batches++;
    d->samples += samples;
    d->bytes += run->body.len;
    d->refused += refused;
    mark(v, d);
    if (run->grid)
        remember_run(v, d, run);
}

static void verify_write(void *state, const struct rn_run *const *runs, uint32_t n)
{
    struct verify *v = *(struct verify **)state;
    struct rn_err err;
    int rc = RN_OK;
    for (uint32_t i = 0; i < n && rc == RN_OK; i++)
        rc = know_device(v, runs[i]->dev, &err);
    if (rc == RN_OK)
        rc = refuse_all(v, runs, n, &err);
    for (uint32_t i = 0; i < n && rc == RN_OK; i++) {
        count_run(v, runs[i]);
        if (runs[i]->grid)
            tails_publish(v->conf.tails, runs[i]);
    }
    struct sink_result result = {.outcome = rc == RN_OK ? SINK_DONE : SINK_RETRY,
                                 .text = rc == RN_OK ? NULL : err.text};
    v->host->complete(v->host->arg, &result);
}

static int verify_open(void *state, const void *conf, struct rn_loop *loop,
                       const struct sink_host *host, struct rn_err *err)
{
    (void)loop;
    struct verify *v = *(struct verify *const *)conf;
    *(struct verify **)state = v;
    v->host = host;
    return v->dead ? RN_OK : deadletters_open(&v->dead, &v->conf.dead, err);
}

static void verify_close(void *state)
{
    (void)state; // the files are closed by closing()
}

const struct rn_sink *verify_sink(void)
{
    static const struct rn_sink sink = {
        .type = "verify",
        .help = "decodes every batch, counts it and keeps the last values",
        .state_size = sizeof(struct verify *),
        .conf_size = sizeof(struct verify *),
        .promise = SINK_TRANSACTIONAL,
        .open = verify_open,
        .write = verify_write,
        .close = verify_close,
    };
    return &sink;
}

// ---- questions --------------------------------------------------------------------------------

static void json_counts(struct rn_buf *out, const struct device *d)
{
    rn_buf_printf(out,
                  "{\"device\":\"%s\",\"batches\":%llu,\"samples\":%llu,\"bytes\":%llu,"
                  "\"refused\":%llu",
                  d->dev, (unsigned long long)d->batches, (unsigned long long)d->samples,
                  (unsigned long long)d->bytes, (unsigned long long)d->refused);
}

static void answer_all(struct verify *v, struct rn_buf *out)
{
    uint32_t at = 0;
    struct rn_span key;
    void *value;
    rn_buf_byte(out, '[');
    for (bool first = true; rn_map_next(&v->devices, &at, &key, &value); first = false) {
        rn_buf_text(out, first ? "" : ",");
        json_counts(out, value);
        rn_buf_byte(out, '}');
    }
    rn_buf_byte(out, ']');
}

static void answer_one(const struct device *d, struct rn_buf *out)
{
    uint32_t at = 0;
    struct rn_span key;
    void *value;
    json_counts(out, d);
    rn_buf_text(out, ",\"last\":[");
    for (bool first = true; rn_map_next(&d->last, &at, &key, &value); first = false) {
        const struct last *last = value;
        rn_buf_text(out, first ? "" : ",");
        rn_buf_append(out, last->text, last->len);
    }
    rn_buf_text(out, "]}");
}

static void answer(struct verify *v, const struct ask *ask)
{
    struct rn_buf out;
    rn_buf_init(&out, ANSWER_MAX);
    struct device *d = rn_map_get(&v->devices, rn_span_text(ask->dev));
    if (!ask->dev[0])
        answer_all(v, &out);
    else if (d)
        answer_one(d, &out);
    else
        rn_buf_text(&out, "null");
    if (!rn_buf_ok(&out)) {
        rn_buf_clear(&out);
        rn_buf_text(&out, "null");
    }
    struct cursors_text *text = malloc(sizeof *text + out.len + 1);
    if (text) {
        *text = (struct cursors_text){.token = ask->token, .len = out.len};
        memcpy(text->data, out.data, out.len);
        text->data[out.len] = 0;
        if (!rn_queue_push(ask->reply, text, out.len))
            free(text);
    }
    rn_buf_release(&out);
}

static void on_asked(void *arg)
{
    struct verify *v = arg;
    for (struct ask *ask = rn_queue_pop(v->asks); ask; ask = rn_queue_pop(v->asks)) {
        answer(v, ask);
        free(ask);
    }
}

int verify_ask(struct verify *v, const char *dev, struct rn_queue *reply, void *token,
               struct rn_err *err)
{
    struct ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    ask->reply = reply;
    ask->token = token;
    snprintf(ask->dev, sizeof ask->dev, "%s", dev);
    if (rn_queue_push(v->asks, ask, sizeof *ask))
        return RN_OK;
    free(ask);
    return rn_fail(err, RN_EAGAIN, "too many questions are waiting");
}

void verify_totals(struct verify *v, struct cursors_totals *out)
{
    *out = (struct cursors_totals){.batches = atomic_load(&v->batches),
                                   .samples = atomic_load(&v->samples),
                                   .bytes = atomic_load(&v->bytes),
                                   .refused = atomic_load(&v->refused)};
}

// ---- life -------------------------------------------------------------------------------------

static int prepare(void *arg, struct rn_loop *loop, struct rn_err *err)
{
    struct verify *v = arg;
    int rc = rn_wake_new(&v->asked, loop, on_asked, v, err);
    if (rc == RN_OK)
        rc = rn_queue_new(&v->asks, ASKS_MAX, ASKS_MAX * sizeof(struct ask), v->asked, free, err);
    return rc;
}

static void closing(void *arg)
{
    struct verify *v = arg;
    free_statements(v);
    deadletters_close(v->dead);
    v->dead = NULL;
    rn_wake_free(v->asked);
    v->asked = NULL;
}

static void free_device(struct device *d)
{
    uint32_t at = 0;
    struct rn_span key;
    void *value;
    while (rn_map_next(&d->last, &at, &key, &value))
        free(value);
    rn_map_release(&d->last);
    free(d);
}

int verify_new(struct verify **out, const struct verify_conf *conf, struct rn_err *err)
{
    uint64_t seed;
    int rc = rn_random_id(&seed, err);
    struct verify *v = rc < 0 ? NULL : calloc(1, sizeof *v);
    if (!v)
        return rc < 0 ? rc : rn_fail(err, RN_ENOMEM, "out of memory");
    v->conf = *conf;
    v->hooks = (struct cursor_hooks){v, prepare, opened, on_commit, on_committed, closing};
    rn_map_init(&v->devices, VERIFY_DEVICES_MAX, seed);
    rn_buf_init(&v->key, KEY_MAX);
    rn_buf_init(&v->text, FIELDS_MAX);
    *out = v;
    return RN_OK;
}

void verify_free(struct verify *v)
{
    if (!v)
        return;
    uint32_t at = 0;
    struct rn_span key;
    void *value;
    while (rn_map_next(&v->devices, &at, &key, &value))
        free_device(value);
    forget_refusals(v);
    rn_map_release(&v->devices);
    rn_queue_free(v->asks);
    rn_buf_release(&v->key);
    rn_buf_release(&v->text);
    free(v);
}

const struct cursor_hooks *verify_hooks(const struct verify *v)
{
    return &v->hooks;
}
