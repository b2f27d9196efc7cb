// See remote_io.h.
#include "agent/remote_io.h"

#include "agent/remote_doc.h"
#include "agent/remote_saved.h"
#include <runnel/crypto.h>
#include <runnel/log.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OFFERS_BURST = 16, // documents looked at at once; then one every
    OFFERS_EVERY_MS = 2000,
    EVERY_MS = 5000, // of counted time and of reports, with deadlines long enough
    REPORT_MAX = 1024,
    AGAIN_MIN_MS = 5000, // until a document that was put off is asked for; doubles
    AGAIN_MAX_MS = 3600000,
};

struct remote_io {
    struct remote core;
    struct remote_docs docs; // documents as they are to be on disk
    bool candidate_changed, good_changed, unsaved;
    struct rn_buf offered; // payload of the offer that is being handled
    struct config *local;
    struct state *state;
    struct remote_io_hooks hooks;
    uint64_t told_n; // report that was logged last
    int64_t offers_at;
    uint32_t offers_left;
    int64_t again_at, again_ms; // when to ask for a document, and the wait; 0: none was put off
    struct rn_complaint malformed, flooded, not_kept, put_off;
};

static void feed(struct remote_io *io, const struct remote_event *event, int64_t mono_ms);

const char *remote_state_name(enum rn_config_state state)
{
    static const char *const names[] = {"none",     "probation",    "confirmed",
                                        "rejected", "undetermined", "conflict"};
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

// ---- what is kept -------------------------------------------------------------------------------

static int save(struct remote_io *io, struct rn_err *err)
{
    io->docs.saved = io->core.saved;
    if (!io->state)
        return rn_fail(err, RN_EIO, "there is no state.db");
    return remote_docs_write(&io->docs, io->state, io->candidate_changed, io->good_changed, err);
}

static bool persist(struct remote_io *io, int64_t mono_ms)
{
    struct rn_err err;
    io->unsaved = save(io, &err) < 0;
    if (io->unsaved) {
        rn_complain(&io->not_kept, mono_ms, 3600000, RN_LOG_ERROR, "remote_config_not_kept",
                    "err=%s", RN_Q(err.text));
        return false;
    }
    io->candidate_changed = io->good_changed = false;
    rn_recovered(&io->not_kept, "remote_config_kept");
    return true;
}

static void copy(struct rn_buf *to, const struct rn_buf *from)
{
    rn_buf_clear(to);
    rn_buf_append(to, from->data, from->len);
}

static void keep_candidate(struct remote_io *io)
{
    copy(&io->docs.candidate, &io->offered);
    io->candidate_changed = true;
}

static void keep_good(struct remote_io *io)
{
    copy(&io->docs.good, &io->docs.candidate);
    io->good_changed = true;
}

// ---- putting in force ---------------------------------------------------------------------------

static bool same_name(const struct remote_name *a, const struct remote_name *b)
{
    return a->revision == b->revision && memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

// The kept payload of a document; empty: none, the local files alone.
static struct rn_span payload_of(const struct remote_io *io, const struct remote_name *name)
{
    if (name->revision == 0)
        return (struct rn_span){0};
    return rn_buf_span(same_name(name, &io->core.saved.candidate) ? &io->docs.candidate
                                                                  : &io->docs.good);
}

static int try_apply(struct remote_io *io, const struct remote_name *name,
                     struct remote_fault *fault)
{
    struct config *config;
    struct rn_err err;
    int rc = remote_doc_config(payload_of(io, name), io->local, &config, fault, &err);
    if (rc < 0)
        return rc;
    rc = io->hooks.apply(io->hooks.arg, config, &err);
    if (rc < 0) {
        config_free(config);
        remote_fault_set(fault, &err);
        return rc;
    }
    io->hooks.running(io->hooks.arg, name->revision, name->hash);
    rn_log(RN_LOG_INFO, "config_applied", "device=%s revision=%llu", io->local->settings.device,
           (unsigned long long)name->revision);
    return RN_OK;
}

// False: it failed; the core was told and has decided what to do instead.
static bool apply(struct remote_io *io, const struct remote_name *name, int64_t mono_ms)
{
    struct remote_fault fault;
    int rc = try_apply(io, name, &fault);
    if (rc >= 0)
        return true;
    rn_log(RN_LOG_ERROR, "config_not_applied", "device=%s revision=%llu path=%s reason=%s",
           io->local->settings.device, (unsigned long long)name->revision, RN_Q(fault.path),
           RN_Q(fault.reason));
    feed(io,
         &(struct remote_event){.type = REMOTE_APPLY_FAILED,
                                .acceptable = remote_doc_passing(rc),
                                .path = fault.path,
                                .reason = fault.reason},
         mono_ms);
    return false;
}

// ---- reports ------------------------------------------------------------------------------------

static void log_report(struct remote_io *io)
{
    const struct remote_saved *s = &io->core.saved;
    if (io->told_n == s->report_n)
        return;
    io->told_n = s->report_n;
    bool bad = s->verdict == RN_CONFIG_REJECTED || s->verdict == RN_CONFIG_CONFLICT ||
               s->verdict == RN_CONFIG_UNDETERMINED;
    rn_log(bad ? RN_LOG_WARN : RN_LOG_INFO, "remote_config",
           "device=%s revision=%llu state=%s path=%s reason=%s", io->local->settings.device,
           (unsigned long long)s->judged.revision, remote_state_name(s->verdict), RN_Q(s->path),
           RN_Q(s->reason));
}

static void report(struct remote_io *io)
{
    uint8_t storage[REPORT_MAX];
    struct rn_buf out;
    const struct remote_saved *s = &io->core.saved;
    struct remote_name running = remote_running(&io->core);
    struct rn_report message = {.install = io->hooks.install(io->hooks.arg),
                                .n = s->report_n,
                                .running = running.revision,
                                .offered = s->judged.revision,
                                .state = s->verdict,
                                .path = rn_span_text(s->path),
                                .reason = rn_span_text(s->reason)};
    memcpy(message.running_hash, running.hash, RN_HASH_BYTES);
    memcpy(message.offered_hash, s->judged.hash, RN_HASH_BYTES);
    log_report(io);
    rn_buf_init_fixed(&out, storage, sizeof storage);
    if (rn_report_encode(&message, &out) >= 0)
        (void)!io->hooks.report(io->hooks.arg, rn_buf_span(&out)); // repeated until it is seen
}

// ---- actions ------------------------------------------------------------------------------------

// What cannot be kept is not tried; the way back is always open.
static bool tries_unkept(const struct remote_io *io, const struct remote_action *a)
{
    return io->unsaved && a->type == REMOTE_APPLY && a->name.revision != 0 &&
           io->core.saved.phase == REMOTE_PROBATION;
}

static bool execute(struct remote_io *io, const struct remote_action *a, int64_t mono_ms)
{
    if (tries_unkept(io, a)) {
        feed(io,
             &(struct remote_event){.type = REMOTE_APPLY_FAILED,
                                    .acceptable = true,
                                    .path = "data",
                                    .reason = "it cannot be kept: the disk refuses"},
             mono_ms);
        return false;
    }
    switch (a->type) {
    case REMOTE_PERSIST:
        (void)persist(io, mono_ms);
        return true;
    case REMOTE_KEEP_CANDIDATE:
        keep_candidate(io);
        return true;
    case REMOTE_KEEP_GOOD:
        keep_good(io);
        return true;
    case REMOTE_APPLY:
        return apply(io, &a->name, mono_ms);
    case REMOTE_REPORT:
        report(io);
        return true;
    case REMOTE_FLUSH:
        io->hooks.flush(io->hooks.arg);
        return true;
    }
    return true;
}

// A failed apply is an event of its own, whose actions replace the rest.
static void feed(struct remote_io *io, const struct remote_event *event, int64_t mono_ms)
{
    struct remote_actions actions;
    remote_step(&io->core, event, mono_ms, &actions);
    enum remote_phase phase = io->core.saved.phase;
    if (io->hooks.hurry)
        io->hooks.hurry(io->hooks.arg, phase == REMOTE_WAITING || phase == REMOTE_PROBATION ||
                                           phase == REMOTE_SETTLING);
    for (uint32_t i = 0; i < actions.count; i++)
        if (!execute(io, &actions.item[i], mono_ms))
            return;
}

static void feed_plain(struct remote_io *io, enum remote_event_type type, int64_t mono_ms)
{
    feed(io, &(struct remote_event){.type = type}, mono_ms);
}

// ---- offers -------------------------------------------------------------------------------------

static bool take_token(struct remote_io *io, int64_t mono_ms)
{
    int64_t more = (mono_ms - io->offers_at) / OFFERS_EVERY_MS;
    if (more > 0) {
        io->offers_left = more >= OFFERS_BURST - (int64_t)io->offers_left
                              ? OFFERS_BURST
                              : io->offers_left + (uint32_t)more;
        io->offers_at = mono_ms;
    }
    if (io->offers_left == 0)
        return false;
    io->offers_left--;
    return true;
}

// Would it cut or change the connection that the last good one has?
static int moves(struct remote_io *io, const struct config *candidate, bool *moving,
                 struct rn_err *err)
{
    struct config *good;
    struct remote_fault fault;
    int rc = remote_doc_config(payload_of(io, &io->core.saved.good), io->local, &good, &fault, err);
    *moving = rc < 0 || !config_same_connection(&good->settings, &candidate->settings);
    if (rc >= 0)
        config_free(good);
    return remote_doc_passing(rc) ? rc : RN_OK;
}

// The document as a whole, over the local configuration of now.
static int validate(struct remote_io *io, struct rn_span payload, bool *moving,
                    struct remote_fault *fault, struct rn_err *err)
{
    struct config *config;
    if (!io->state) {
        *fault = (struct remote_fault){"data", "it could not be kept: state.db cannot be read"};
        return RN_EACCESS;
    }
    int rc = remote_doc_config(payload, io->local, &config, fault, err);
    if (rc < 0)
        return rc;
    rc = io->hooks.check(io->hooks.arg, config, err);
    if (rc >= 0)
        rc = moves(io, config, moving, err);
    else
        remote_fault_set(fault, err);
    config_free(config);
    return rc;
}

// No verdict: it comes again with the next connection, which may be weeks away, or when asked for.
static void put_off(struct remote_io *io, int64_t mono_ms, const char *why)
{
    rn_complain(&io->put_off, mono_ms, 60000, RN_LOG_WARN, "remote_config_put_off",
                "device=%s err=%s", io->local->settings.device, RN_Q(why));
    if (io->again_ms > 0)
        return;
    io->again_ms = AGAIN_MIN_MS;
    io->again_at = mono_ms + io->again_ms;
}

static void ask_again(struct remote_io *io, int64_t mono_ms)
{
    if (io->again_ms == 0 || mono_ms < io->again_at || !io->hooks.again)
        return;
    io->hooks.again(io->hooks.arg);
    io->again_ms = 2 * io->again_ms < AGAIN_MAX_MS ? 2 * io->again_ms : AGAIN_MAX_MS;
    io->again_at = mono_ms + io->again_ms;
}

void remote_io_offer(struct remote_io *io, struct rn_span message, int64_t utc_ms, int64_t mono_ms)
{
    struct remote_event event = {.type = REMOTE_OFFER};
    struct remote_fault fault;
    struct rn_span payload;
    struct rn_err err;
    if (!take_token(io, mono_ms)) {
        rn_complain(&io->flooded, mono_ms, 60000, RN_LOG_WARN, "remote_config_flood", "device=%s",
                    io->local->settings.device);
        return;
    }
    int rc =
        remote_doc_open(message, &io->local->settings, utc_ms, &payload, &event.name, &fault, &err);
    bool whole = rc >= 0 || rc == RN_EACCESS;
    if (rc >= 0)
        rc = validate(io, payload, &event.moves, &fault, &err);
    if (remote_doc_passing(rc)) {
        put_off(io, mono_ms, err.text);
        return;
    }
    if (!whole) {
        rn_complain(&io->malformed, mono_ms, 60000, RN_LOG_WARN, "remote_config_malformed",
                    "device=%s err=%s", io->local->settings.device, RN_Q(err.text));
        return;
    }
    rn_buf_clear(&io->offered);
    rn_buf_append(&io->offered, payload.data, payload.len);
    if (!rn_buf_ok(&io->offered)) {
        put_off(io, mono_ms, "out of memory");
        return;
    }
    io->again_ms = 0;
    event.acceptable = rc >= 0;
    event.path = fault.path;
    event.reason = fault.reason;
    feed(io, &event, mono_ms);
}

// ---- life ---------------------------------------------------------------------------------------

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

static void init_core(struct remote_io *io, int64_t utc_ms)
{
    const struct agent_settings *s = &io->local->settings;
    int64_t every = at_most(EVERY_MS, s->config_deadline_connected_ms / 4);
    const struct remote_conf conf = {.deadline_connected_ms = s->config_deadline_connected_ms,
                                     .deadline_unconnected_ms = s->config_deadline_unconnected_ms,
                                     .persist_every_ms = every,
                                     .report_every_ms = every};
    // Numbers that a lost state.db has used must not come again.
    if (io->docs.saved.report_n == 0 && utc_ms > 0)
        io->docs.saved.report_n = (uint64_t)utc_ms;
    remote_init(&io->core, &conf, &io->docs.saved);
    io->told_n = io->docs.saved.report_n;
}

int remote_io_new(struct remote_io **out, const struct config *local, struct state *state,
                  const struct remote_io_hooks *hooks, int64_t utc_ms, struct rn_err *err)
{
    struct rn_err damage;
    struct remote_io *io = calloc(1, sizeof *io);
    if (!io)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    remote_docs_init(&io->docs);
    rn_buf_init(&io->offered, RN_CONFIG_MAX_BYTES);
    io->hooks = *hooks;
    io->state = state;
    io->offers_left = OFFERS_BURST;
    int rc = config_copy(&io->local, local, err);
    if (rc < 0) {
        remote_io_free(io);
        return rc;
    }
    rc = state ? remote_docs_read(&io->docs, state, &damage) : RN_OK;
    if (rc == RN_ENOMEM) {
        remote_io_free(io);
        return rn_fail(err, rc, "%s", damage.text);
    }
    if (rc < 0)
        rn_log(RN_LOG_ERROR, "remote_config_lost",
               "device=%s err=%s advice=\"the bridge will offer it again\"", local->settings.device,
               RN_Q(damage.text));
    if (rc < 0 && rc != RN_ECORRUPT)
        io->state = NULL; // what cannot be read now is not written over
    init_core(io, utc_ms);
    *out = io;
    return RN_OK;
}

void remote_io_free(struct remote_io *io)
{
    if (!io)
        return;
    remote_docs_release(&io->docs);
    rn_buf_release(&io->offered);
    config_free(io->local);
    free(io);
}

void remote_io_start(struct remote_io *io, int64_t mono_ms)
{
    feed_plain(io, REMOTE_START, mono_ms);
}

void remote_io_connection(struct remote_io *io, bool connected, int64_t mono_ms)
{
    io->again_ms = 0; // it comes by itself
    feed_plain(io, connected ? REMOTE_CONNECTED : REMOTE_DISCONNECTED, mono_ms);
}

void remote_io_received(struct remote_io *io, int64_t mono_ms)
{
    feed_plain(io, REMOTE_RECEIVED, mono_ms);
}

void remote_io_report_seen(struct remote_io *io, uint64_t n, int64_t mono_ms)
{
    feed(io, &(struct remote_event){.type = REMOTE_REPORT_SEEN, .n = n}, mono_ms);
}

void remote_io_tick(struct remote_io *io, int64_t mono_ms)
{
    if (io->unsaved)
        (void)persist(io, mono_ms);
    ask_again(io, mono_ms);
    feed_plain(io, REMOTE_TICK, mono_ms);
}

int remote_io_reload(struct remote_io *io, struct config *local, int64_t mono_ms,
                     struct rn_err *err)
{
    struct config *config, *old = io->local;
    struct remote_fault fault;
    struct remote_name name = remote_running(&io->core);
    if (name.revision == 0 && io->core.saved.phase != REMOTE_PROBATION)
        name = io->core.saved.good; // one that failed may fit the files of now
    int rc = remote_doc_config(payload_of(io, &name), local, &config, &fault, err);
    if (rc < 0)
        return rn_err_prefix(err, "with the remote configuration r%llu",
                             (unsigned long long)name.revision);
    rc = io->hooks.apply(io->hooks.arg, config, err);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    io->local = local;
    config_free(old);
    io->core.conf.deadline_connected_ms = local->settings.config_deadline_connected_ms;
    io->core.conf.deadline_unconnected_ms = local->settings.config_deadline_unconnected_ms;
    io->hooks.running(io->hooks.arg, name.revision, name.hash);
    feed_plain(io, REMOTE_RELOADED, mono_ms);
    return RN_OK;
}

// ---- from outside -------------------------------------------------------------------------------

static int inspect(struct state *state, struct remote_seen *seen, struct config **config,
                   struct rn_err *err)
{
    struct remote_docs docs;
    struct remote_fault fault;
    struct config *with;
    remote_docs_init(&docs);
    int rc = remote_docs_read(&docs, state, err);
    if (rc == 0)
        rc = rn_fail(err, RN_ENOENT, "no remote configuration was ever taken");
    if (rc >= 0) {
        const struct remote_saved *s = &docs.saved;
        bool trying = s->phase == REMOTE_PROBATION;
        *seen = (struct remote_seen){
            .running = trying ? s->candidate : s->good, .judged = s->judged, .verdict = s->verdict};
        memcpy(seen->path, s->path, sizeof seen->path);
        memcpy(seen->reason, s->reason, sizeof seen->reason);
        rc = RN_OK;
        if (config && seen->running.revision) {
            rc = remote_doc_config(rn_buf_span(trying ? &docs.candidate : &docs.good), *config,
                                   &with, &fault, err);
            if (rc >= 0) {
                config_free(*config);
                *config = with;
            }
        }
    }
    remote_docs_release(&docs);
    return rc;
}

int remote_io_inspect(const char *folder, struct remote_seen *seen, struct config **config,
                      struct rn_err *err)
{
    struct state *state;
    int rc = state_open_read(&state, folder, err);
    if (rc < 0)
        return rc;
    rc = inspect(state, seen, config, err);
    state_close(state);
    return rc;
}
