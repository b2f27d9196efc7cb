// See cursors.h: starts the workers, hears from them on the intake's loop, answers for them.
#include "bridge/cursors.h"
#include "bridge/cursor.h"
#include "bridge/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFUSALS_QUEUED (CURSORS_REFUSALS_KEPT * 2)

const struct rn_opt cursor_opt_rows[] = {
    {.key = "types",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct cursor_opts, types),
     .size = sizeof(((struct cursor_opts *)0)->types),
     .min = 1,
     .max = 4,
     .def = "mlei",
     .help = "types of data it takes: m metrics, l logs, e events, i inventory"},
    {.key = "when_log_full",
     .type = RN_OPT_ENUM,
     .offset = offsetof(struct cursor_opts, when_log_full),
     .words = "auto|skip|hold",
     .def = "auto",
     .help =
         "hold: stop acknowledging, so that the data stays on the devices; skip: move on over a "
         "counted gap; auto: hold if acknowledgement waits for it."},
    {.key = "gather",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct cursor_opts, gather_ms),
     .max = 60000,
     .def = "100ms",
     .help = "waits so long for more batches before it writes"},
    {.key = "max_batches",
     .type = RN_OPT_INT,
     .offset = offsetof(struct cursor_opts, max_batches),
     .min = 1,
     .max = 256,
     .def = "256",
     .help = "most batches of one write"},
    {.key = "retry_min",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct cursor_opts, retry_min_ms),
     .min = 10,
     .max = 60000,
     .def = "500ms",
     .help = "first ceiling of the random wait after a failure; it doubles with each one"},
    {.key = "retry_max",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct cursor_opts, retry_max_ms),
     .min = 10,
     .max = 3600000,
     .def = "30s",
     .help = "last ceiling of the random wait"},
    {.key = "hold_retry",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct cursor_opts, hold_retry_ms),
     .min = 10,
     .max = 3600000,
     .def = "1m",
     .help = "how often it tries what somebody has to mend first (401, 403, 404)"},
};
const size_t cursor_opt_count = RN_OPT_COUNT(cursor_opt_rows);

static const struct cursor_opts verify_opts = {
    .max_batches = 256,
    .retry_min_ms = 100,
    .retry_max_ms = 5000,
    .hold_retry_ms = 5000,
    .types = "mlei",
};

struct cursors {
    struct cursors_conf conf;
    struct cursors_callbacks callbacks;
    struct rn_wake *moved;
    struct rn_queue *refusals;
    struct tails *tails;
    struct verify *verify;
    struct cursor_conf verify_conf;
    struct cursor_env env;
    _Atomic uint64_t head;
    uint32_t count;
    struct cursor *cursor[CURSORS_MAX];
    uint64_t told[CURSORS_MAX]; // position that moved() told last
};

static const struct cursor_conf *conf_of(const struct cursors *c, uint32_t i)
{
    return i == 0 ? &c->verify_conf : &c->conf.cursor[i - 1];
}

// A refusal was queued before its cursor's position was stored: positions are looked at first.
static void on_moved(void *arg)
{
    struct cursors *c = arg;
    uint64_t position[CURSORS_MAX] = {0};
    for (uint32_t i = 0; i < c->count; i++)
        position[i] = atomic_load(&cursor_shared(c->cursor[i])->position);
    for (struct cursor_refusal *r = rn_queue_pop(c->refusals); r; r = rn_queue_pop(c->refusals)) {
        c->callbacks.refused(c->callbacks.arg, r);
        free(r);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (position[i] == c->told[i])
            continue;
        c->told[i] = position[i];
        c->callbacks.moved(c->callbacks.arg, i, position[i]);
    }
}

void cursors_hear(struct cursors *c)
{
    on_moved(c);
}

static bool name_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return len && !name[len] && len <= CURSOR_NAME_MAX && name[0] != '_' && name[0] != '-';
}

// "key: words" becomes "sinks.NAME.key: words".
static int name_key(const struct cursor_conf *cursor, int rc, struct rn_err *err)
{
    char words[sizeof err->text];
    snprintf(words, sizeof words, "%s", err->text);
    return rn_fail(err, rc, "sinks.%s.%s", cursor->name, words);
}

static int check_conf(const struct cursors_conf *conf, struct rn_err *err)
{
    if (conf->ncursors + 1 > CURSORS_MAX)
        return rn_fail(err, RN_ELIMIT, "%u sinks, at most %d", conf->ncursors, CURSORS_MAX - 1);
    for (uint32_t i = 0; i < conf->ncursors; i++) {
        const struct cursor_conf *cursor = &conf->cursor[i];
        if (!name_valid(cursor->name) || strcmp(cursor->name, "verify") == 0)
            return rn_fail(err, RN_EINVAL,
                           "\"%s\" is no name for a sink: [a-z0-9][a-z0-9_-]*, "
                           "at most %d characters, not \"verify\"",
                           cursor->name, CURSOR_NAME_MAX);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(conf->cursor[k].name, cursor->name) == 0)
                return rn_fail(err, RN_EINVAL, "two sinks are called %s", cursor->name);
        int rc = cursor->sink->check ? cursor->sink->check(cursor->sink_conf, err) : RN_OK;
        if (rc < 0)
            return name_key(cursor, rc, err);
    }
    return RN_OK;
}

static int make_parts(struct cursors *c, struct rn_loop *intake, struct rn_err *err)
{
    int rc = rn_wake_new(&c->moved, intake, on_moved, c, err);
    if (rc == RN_OK)
        rc = rn_queue_new(&c->refusals, REFUSALS_QUEUED,
                          REFUSALS_QUEUED * sizeof(struct cursor_refusal), c->moved, free, err);
    if (rc == RN_OK)
        rc = tails_new(&c->tails, err);
    if (rc < 0)
        return rc;
    struct verify_conf conf = {
        .dead = {c->conf.folder, c->conf.dead_max_bytes, c->conf.dead_max_age_ms},
        .max_last_values = c->conf.max_last_values,
        .refusals = c->refusals,
        .tails = c->tails,
    };
    return verify_new(&c->verify, &conf, err);
}

static int start_all(struct cursors *c, struct rn_err *err)
{
    c->env = (struct cursor_env){&c->conf, &c->head, c->moved};
    c->verify_conf = (struct cursor_conf){.name = "verify",
                                          .sink = verify_sink(),
                                          .sink_conf = &c->verify,
                                          .opts = &verify_opts,
                                          .hold = true};
    for (uint32_t i = 0; i <= c->conf.ncursors; i++) {
        int rc = cursor_new(&c->cursor[i], conf_of(c, i), &c->env,
                            i == 0 ? verify_hooks(c->verify) : NULL, err);
        if (rc < 0)
            return rc;
        c->count++;
    }
    int rc = RN_OK;
    for (uint32_t i = 0; i < c->count && rc == RN_OK; i++)
        rc = cursor_start(c->cursor[i], err);
    return rc;
}

int cursors_new(struct cursors **out, const struct cursors_conf *conf, struct rn_loop *intake,
                const struct cursors_callbacks *callbacks, struct rn_err *err)
{
    int rc = check_conf(conf, err);
    if (rc < 0)
        return rc;
    struct cursors *c = calloc(1, sizeof *c);
    if (!c)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    c->conf = *conf;
    c->callbacks = *callbacks;
    atomic_store(&c->head, conf->log_head);
    rc = make_parts(c, intake, err);
    if (rc == RN_OK)
        rc = start_all(c, err);
    if (rc < 0) {
        cursors_free(c);
        return rc;
    }
    *out = c;
    return RN_OK;
}

void cursors_free(struct cursors *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        cursor_stop(c->cursor[i]);
    for (uint32_t i = 0; i < c->count; i++)
        cursor_join(c->cursor[i]);
    for (uint32_t i = 0; i < c->count; i++)
        cursor_free(c->cursor[i]);
    verify_free(c->verify);
    tails_free(c->tails);
    rn_queue_free(c->refusals);
    rn_wake_free(c->moved);
    free(c);
}

void cursors_wake(struct cursors *c, uint64_t head)
{
    atomic_store(&c->head, head);
    for (uint32_t i = 0; i < c->count; i++)
        cursor_wake(c->cursor[i]);
}

uint32_t cursors_count(const struct cursors *c)
{
    return c->count;
}

const char *cursors_name(const struct cursors *c, uint32_t cursor)
{
    return conf_of(c, cursor)->name;
}

int cursors_find(const struct cursors *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(cursors_name(c, i), name) == 0)
            return (int)i;
    return -1;
}

uint64_t cursors_position(const struct cursors *c, uint32_t cursor)
{
    return c->told[cursor];
}

uint64_t cursors_needed(const struct cursors *c)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < c->count; i++)
        if (conf_of(c, i)->hold && c->told[i] < lowest)
            lowest = c->told[i];
    return lowest;
}

void cursors_status(struct cursors *c, uint32_t cursor, struct cursor_status *out)
{
    struct cursor_shared *s = cursor_shared(c->cursor[cursor]);
    *out = (struct cursor_status){
        .state = (enum cursor_state)atomic_load(&s->state),
        .position = atomic_load(&s->position),
        .head = atomic_load(&c->head),
        .batches = atomic_load(&s->batches),
        .samples = atomic_load(&s->samples),
        .bytes = atomic_load(&s->bytes),
        .writes = atomic_load(&s->writes),
        .retries = atomic_load(&s->retries),
        .rewinds = atomic_load(&s->rewinds),
        .dead = atomic_load(&s->dead),
        .gap_rows = atomic_load(&s->gap_rows),
        .errors_other = atomic_load(&s->errors),
    };
    cursor_shared_read_text(s, out->text);
}

void cursors_totals(struct cursors *c, struct cursors_totals *out)
{
    verify_totals(c->verify, out);
}

int cursors_ask(struct cursors *c, const char *dev, struct rn_queue *reply, void *token,
                struct rn_err *err)
{
    return verify_ask(c->verify, dev, reply, token, err);
}

int tail_subscribe(struct cursors *c, const char *types, const char *dev, struct rn_wake *wake,
                   struct tail **out, struct rn_err *err)
{
    return tails_add(c->tails, types, dev, wake, out, err);
}

void cursors_replay(struct cursors *c)
{
    for (uint32_t i = 1; i < c->count; i++)
        cursor_replay(c->cursor[i]);
}
