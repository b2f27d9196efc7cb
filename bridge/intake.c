// See intake.h.
#include "bridge/intake.h"

#include "bridge/envelope.h"
#include "bridge/refs.h"
#include <runnel/crc.h>
#include <runnel/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPLAINT_MS 60000
#define ASKED        64   // schemas that somebody was asked for lately
#define ASK_AGAIN_MS 5000 // then another device may be asked
#define SAY_AGAIN_MS 2000 // what a device seems not to have heard is said again after this

// Why something was not taken: one bit of fleet_device.complained, one counter, one event.
enum refusal {
    BAD_SIZE,
    BAD_FORM,
    BAD_INSTALL,
    BAD_SCHEMA,
    BAD_ENCODING,
    BAD_TIME,
    BAD_KEY,
    BAD_RATE,
    BAD_INSTALLS,
    BAD_RETAINED,
    BAD_CONFLICT,
    NREFUSALS
};
static const struct {
    const char *name;
    size_t counter;
} refusals[NREFUSALS] = {
    [BAD_SIZE] = {"size", offsetof(struct counters, refused_size)},
    [BAD_FORM] = {"malformed", offsetof(struct counters, refused_malformed)},
    [BAD_INSTALL] = {"unannounced_install", offsetof(struct counters, refused_install)},
    [BAD_SCHEMA] = {"schema", offsetof(struct counters, refused_schema)},
    [BAD_ENCODING] = {"encoding", offsetof(struct counters, refused_encoding)},
    [BAD_TIME] = {"time", offsetof(struct counters, refused_time)},
    [BAD_KEY] = {"key", offsetof(struct counters, refused_key)},
    [BAD_RATE] = {"rate", offsetof(struct counters, refused_rate)},
    [BAD_INSTALLS] = {"installs", offsetof(struct counters, refused_installs)},
    [BAD_RETAINED] = {"retained", offsetof(struct counters, refused_retained)},
    [BAD_CONFLICT] = {"conflict", offsetof(struct counters, conflicts)},
};

// Batches that can never be stored: what is told to the device, and how that is counted here.
static const enum refusal refusal_of[] = {
    [RN_REFUSED_MALFORMED] = BAD_FORM,    [RN_REFUSED_SCHEMA] = BAD_SCHEMA,
    [RN_REFUSED_ENCODING] = BAD_ENCODING, [RN_REFUSED_TOO_LARGE] = BAD_SIZE,
    [RN_REFUSED_TIME] = BAD_TIME,
};

struct member { // of the group that is not committed yet
    struct fleet_device *dev;
    struct fleet_install *in;
    uint64_t seq;
    uint32_t bytes;
    bool urgent; // to be answered soon
};

struct asked {
    int64_t object;
    const struct fleet_device *dev;
    int64_t until_ms;
};

struct intake {
    struct intake_conf conf;
    struct intake_parts parts;
    struct intake_hooks hooks;
    struct member *group;
    uint32_t ngroup;
    size_t group_bytes;
    int64_t group_ms; // when its first member came
    struct asked asked[ASKED];
    struct rn_complaint full, failed, schemas, dead, topic, devices, fleet;
};

// One message on its way through.
struct arrival {
    struct intake *intake;
    struct fleet_device *dev;
    const char *name;
    struct rn_span payload;
    bool retained;
    char type;  // of data
    bool first; // batch since the hello
    struct intake_time now;
};

int intake_new(struct intake **out, const struct intake_conf *conf,
               const struct intake_parts *parts, struct rn_err *err)
{
    struct intake *intake = calloc(1, sizeof *intake);
    if (intake)
        intake->group = calloc(conf->commit_messages, sizeof *intake->group);
    if (!intake || !intake->group) {
        free(intake);
        return rn_fail(err, RN_ENOMEM, "out of memory");
    }
    intake->conf = *conf;
    intake->parts = *parts;
    *out = intake;
    return RN_OK;
}

void intake_free(struct intake *intake)
{
    if (!intake)
        return;
    free(intake->group);
    free(intake);
}

void intake_set_hooks(struct intake *intake, const struct intake_hooks *hooks)
{
    intake->hooks = *hooks;
}

static struct counters *counters(const struct arrival *a)
{
    return a->intake->parts.counters;
}

static void refuse(const struct arrival *a, enum refusal why, const char *words)
{
    uint64_t *counter = (uint64_t *)(void *)((char *)counters(a) + refusals[why].counter);
    ++*counter;
    if (!a->dev)
        return;
    a->dev->refused++;
    if (a->dev->complained & (1u << why))
        return;
    a->dev->complained |= 1u << why;
    rn_log(RN_LOG_WARN, "message_refused", "device=%s reason=%s err=%s", a->name,
           refusals[why].name, RN_Q(words));
}

// The bytes of what can never be stored; what cannot even be named goes under its checksum.
static void dead_letter(const struct arrival *a, uint64_t install, uint64_t seq, const char *reason)
{
    struct intake *intake = a->intake;
    struct rn_err err;
    if (!intake->parts.dead)
        return;
    if (!seq)
        seq = rn_crc32c(0, a->payload.data, a->payload.len);
    struct dead_letter letter = {.kind = DEAD_BATCH,
                                 .sink = "intake",
                                 .dev = a->name,
                                 .install = install,
                                 .seq = seq,
                                 .type = a->type,
                                 .time_ms = a->now.utc_ms,
                                 .body = a->payload,
                                 .reason = reason};
    int rc = deadletters_put(intake->parts.dead, &letter, &err);
    if (rc == RN_OK)
        rc = deadletters_commit(intake->parts.dead, &err);
    if (rc == RN_OK)
        return;
    deadletters_rollback(intake->parts.dead);
    rn_complain(&intake->dead, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "dead_letter_lost",
                "device=%s err=%s", a->name, RN_Q(err.text));
}

// ---- asking for objects ------------------------------------------------------------------------

// For one schema one device is asked at a time; another may be after a while.
static bool may_ask(struct intake *intake, int64_t object, const struct fleet_device *dev,
                    int64_t now_ms)
{
    struct asked *slot = &intake->asked[0];
    for (int i = 0; i < ASKED; i++) {
        struct asked *at = &intake->asked[i];
        if (at->object == object && now_ms < at->until_ms)
            return at->dev == dev;
        if (at->until_ms < slot->until_ms)
            slot = at;
    }
    *slot = (struct asked){object, dev, now_ms + ASK_AGAIN_MS};
    return true;
}

static void need(const struct arrival *a, struct fleet_install *in, enum rn_object kind,
                 uint32_t id, bool object)
{
    counters(a)->needs++;
    acker_need(&in->words, kind, id, object);
    answers_schedule(a->intake->parts.answers, a->dev, true, a->now.mono_ms);
}

// The content of an object that many devices may have (a schema: then one of them is asked) or this
// one only.
static void need_content(const struct arrival *a, struct fleet_install *in, enum rn_object kind,
                         uint32_t id, int64_t object)
{
    if (kind != RN_OBJECT_SCHEMA || may_ask(a->intake, object, a->dev, a->now.mono_ms))
        need(a, in, kind, id, true);
}

// Asks for what a batch was dropped for. True if anything was lacking.
static bool need_lacking(const struct arrival *a, struct fleet_install *in, const struct refs *refs)
{
    bool lacking = false;
    for (int i = 0; i < NREFS; i++) {
        const struct ref *ref = &refs->ref[i];
        if (!ref_lacking(ref))
            continue;
        lacking = true;
        if (!ref->info.row) {
            need(a, in, ref->kind, ref->id, false);
            continue;
        }
        if (ref->kind == RN_OBJECT_SCHEMA) {
            in->waits_for = ref->info.row;
            in->waits_id = ref->id;
        }
        need_content(a, in, ref->kind, ref->id, ref->info.row);
    }
    return lacking;
}

// ---- batches -----------------------------------------------------------------------------------

// A batch whose name is known but that can never be stored: it is counted as answered so that the
// device goes on, and its bytes are kept.
static void refuse_batch(const struct arrival *a, struct fleet_install *in,
                         const struct rn_batch_head *head, uint32_t crc, enum rn_refusal reason,
                         const char *words)
{
    struct fleet *fleet = a->intake->parts.fleet;
    enum dedupe_verdict verdict =
        dedupe_offer(&fleet->dedupe, &a->dev->dedupe, in->batches, head->seq, head->low, crc);
    struct dedupe_item *item = dedupe_item(in->batches, head->seq);
    if (verdict == DEDUPE_NEW) {
        refuse(a, refusal_of[reason], words);
        dead_letter(a, in->id, head->seq, words);
        dedupe_settle(in->batches, head->seq, DEDUPE_REFUSED, (uint8_t)reason);
    } else if (item && item->state != DEDUPE_OPEN) {
        dedupe_say(in->batches, item, true);
    }
    answers_schedule(a->intake->parts.answers, a->dev, true, a->now.mono_ms);
}

static void hold(const struct arrival *a, struct fleet_install *in)
{
    struct intake *intake = a->intake;
    counters(a)->stored_put_off++;
    in->words.hold_ms = (uint32_t)intake->conf.hold_ms;
    live_hold(&a->dev->live, a->now.mono_ms + intake->conf.hold_ms);
    answers_schedule(intake->parts.answers, a->dev, true, a->now.mono_ms);
}

// A batch that is known already shows that words were lost, and seldom those about one batch alone:
// if nothing was said for a while, all of them are said again, before the others come again too.
static void again(const struct arrival *a, struct fleet_install *in, uint64_t seq)
{
    struct dedupe_item *item = dedupe_item(in->batches, seq);
    counters(a)->duplicates++;
    a->dev->duplicates++;
    if (!item || item->state == DEDUPE_OPEN)
        return;
    if (a->now.mono_ms - in->said_ms >= SAY_AGAIN_MS)
        dedupe_say_all(in->batches);
    else
        dedupe_say(in->batches, item, true);
    in->said_ms = a->now.mono_ms;
    answers_schedule(a->intake->parts.answers, a->dev, true, a->now.mono_ms);
}

// The device settles nothing although it was told long ago: it is told again.
static void say_lost_words(const struct arrival *a, struct fleet_install *in, uint64_t seq)
{
    const struct dedupe_install *batches = in->batches;
    if (!batches->count || batches->item[0].seq == seq || batches->unsaid ||
        a->now.mono_ms - in->said_ms < SAY_AGAIN_MS)
        return;
    in->said_ms = a->now.mono_ms;
    for (uint32_t i = 0; i < batches->count; i++)
        if (batches->item[i].state > DEDUPE_RECEIVED)
            dedupe_say(in->batches, &batches->item[i], true);
}

static void conflict(const struct arrival *a, struct fleet_install *in, uint64_t seq,
                     const char *words)
{
    const struct dedupe_item *item = dedupe_item(in->batches, seq);
    if (item && item->state == DEDUPE_REFUSED) { // refused ones may differ in their head
        again(a, in, seq);
        return;
    }
    a->dev->conflicts++;
    refuse(a, BAD_CONFLICT, words);
    acker_conflict(&in->words, seq);
    answers_schedule(a->intake->parts.answers, a->dev, true, a->now.mono_ms);
}

// A batch that was offered as new and cannot be stored now.
static void take_back(const struct arrival *a, struct fleet_install *in, uint64_t seq)
{
    dedupe_drop(&a->intake->parts.fleet->dedupe, &a->dev->dedupe, in->batches, seq);
}

static int place_and_append(const struct arrival *a, struct refs *refs, struct log_row *row,
                            struct rn_err *err)
{
    const struct intake_parts *parts = &a->intake->parts;
    uint64_t position;
    int rc = refs_place(refs, parts->schemas, parts->log, row, err);
    return rc == RN_OK ? log_append(parts->log, row, &position, err) : rc;
}

// Has the device more pending than what waits for its answer?
static bool is_backlog(const struct fleet_device *dev, const struct fleet_install *in,
                       const struct rn_batch_head *head)
{
    uint64_t lowest = head->seq - head->low, newest = in->batches->max_seq;
    uint64_t pending = newest >= lowest ? newest - lowest + 1 : 1;
    return acker_backlog(pending, (uint64_t)dev->live.interval_ms, dev->ack_by_ms);
}

static void append(const struct arrival *a, struct fleet_install *in,
                   const struct rn_batch_head *head, struct rn_span body, uint32_t crc,
                   struct refs *refs)
{
    struct intake *intake = a->intake;
    struct log_row row = {.dev = a->name,
                          .install = in->id,
                          .seq = head->seq,
                          .type = a->type,
                          .received_ms = a->now.utc_ms,
                          .crc = crc,
                          .body = body};
    struct rn_err err;
    int rc = place_and_append(a, refs, &row, &err);
    if (rc)
        take_back(a, in, head->seq);
    if (rc == RN_ENOENT) { // damaged in schemas.db
        refs_forget(in);
        need_lacking(a, in, refs);
        return;
    }
    if (rc) {
        rn_complain(
            &intake->full, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "log_refuses",
            "err=%s advice=\"free space or raise log.cursor_bytes; devices keep their data\"",
            RN_Q(err.text));
        hold(a, in);
        return;
    }
    rn_recovered(&intake->full, "log_accepts_again");
    if (!intake->ngroup)
        intake->group_ms = a->now.mono_ms;
    intake->group[intake->ngroup++] = (struct member){
        a->dev, in, head->seq, (uint32_t)a->payload.len, a->first || is_backlog(a->dev, in, head)};
    intake->group_bytes += body.len;
    if (intake->ngroup == intake->conf.commit_messages ||
        intake->group_bytes >= intake->conf.commit_bytes)
        intake_commit(intake, a->now);
}

static void store(const struct arrival *a, struct fleet_install *in,
                  const struct rn_batch_head *head, struct rn_span body, uint32_t crc,
                  struct refs *refs)
{
    struct dedupe *dedupe = &a->intake->parts.fleet->dedupe;
    in->batches->heard_ms = a->now.utc_ms;
    switch (dedupe_offer(dedupe, &a->dev->dedupe, in->batches, head->seq, head->low, crc)) {
    case DEDUPE_NEW:
        append(a, in, head, body, crc, refs);
        break;
    case DEDUPE_SAME:
        again(a, in, head->seq);
        break;
    case DEDUPE_CONFLICT:
        conflict(a, in, head->seq, "a batch of this name with other content is in the log");
        break;
    case DEDUPE_FULL:
        hold(a, in);
        break;
    }
    say_lost_words(a, in, head->seq);
}

// The envelope does not parse: if the batch's name does, the device is told.
static void broken_batch(const struct arrival *a, const struct rn_batch_head *head, int rc,
                         const char *words)
{
    struct fleet_install *in = head->seq ? fleet_install_by_tag(a->dev, head->tag) : NULL;
    enum rn_refusal reason = rc == RN_EUNSUPPORTED ? RN_REFUSED_ENCODING
                             : rc == RN_ELIMIT     ? RN_REFUSED_TOO_LARGE
                                                   : RN_REFUSED_MALFORMED;
    if (!in || head->seq > RN_ID_MAX || head->low > head->seq) {
        refuse(a, refusal_of[reason], words);
        dead_letter(a, 0, 0, words);
        return;
    }
    uint32_t crc = rn_crc32c(0, a->payload.data, a->payload.len);
    refuse_batch(a, in, head, crc, reason, words);
}

// What it refers to is looked up, then its envelope is judged.
static void judge(struct arrival *a, struct fleet_install *in, const struct rn_batch_head *head,
                  const struct rn_batch_info *info, struct rn_span body)
{
    const struct intake_conf *conf = &a->intake->conf;
    const struct envelope_window window = {a->now.utc_ms - conf->past_ms,
                                           a->now.utc_ms + conf->future_ms};
    struct refs refs;
    struct rn_err err;
    const char *words;
    if (refs_find(&refs, a->intake->parts.schemas, a->name, in, info, &err) < 0) {
        rn_complain(&a->intake->schemas, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "schemas_unreadable", "err=%s", RN_Q(err.text));
        return;
    }
    if (refs_disputed(&refs) && !dedupe_item(in->batches, head->seq)) {
        conflict(a, in, head->seq, "it names by its number one of two objects");
        return;
    }
    if (need_lacking(a, in, &refs))
        return;
    uint32_t crc = rn_crc32c(0, body.data, body.len);
    enum rn_refusal reason = envelope_check(info, &refs, &window, &words);
    if (reason)
        refuse_batch(a, in, head, crc, reason, words);
    else
        store(a, in, head, body, crc, &refs);
}

static void take_batch(struct arrival *a)
{
    struct rn_batch_head head = {0};
    struct rn_batch_info info;
    struct rn_span body;
    struct rn_err err = {0};
    int rc = rn_batch_open(a->payload, &head, &info, &body, &err);
    if (rc) {
        broken_batch(a, &head, rc, err.text);
        return;
    }
    struct fleet_install *in = fleet_install_by_tag(a->dev, head.tag);
    if (!in) {
        refuse(a, BAD_INSTALL, "no birth announced the install of this batch");
        return;
    }
    live_data(&a->intake->parts.fleet->live, &a->dev->live, in->id, a->now.mono_ms);
    a->dev->heard_ms = a->now.utc_ms;
    a->first = !in->talks;
    in->talks = true;
    in->news = false;
    judge(a, in, &head, &info, body);
}

static void take_data(struct arrival *a)
{
    if (a->retained)
        refuse(a, BAD_RETAINED, "batches are not to be retained");
    else if (a->payload.len > RN_BATCH_MAX_BYTES)
        refuse(a, BAD_SIZE, "the batch is too large");
    else
        take_batch(a);
}

// ---- the group ---------------------------------------------------------------------------------

int64_t intake_due(const struct intake *intake)
{
    return intake->ngroup ? intake->group_ms + intake->conf.commit_ms : 0;
}

static void group_failed(struct intake *intake, struct intake_time now, const struct rn_err *err)
{
    log_rollback(intake->parts.log);
    intake->parts.counters->commit_failures++;
    rn_complain(&intake->failed, now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "log_commit_failed",
                "err=%s advice=\"devices keep their data and send again\"", RN_Q(err->text));
    for (uint32_t i = 0; i < intake->ngroup; i++) {
        struct member *m = &intake->group[i];
        struct arrival a = {.intake = intake, .dev = m->dev, .name = m->dev->name, .now = now};
        dedupe_drop(&intake->parts.fleet->dedupe, &m->dev->dedupe, m->in->batches, m->seq);
        hold(&a, m->in);
    }
}

static void group_committed(struct intake *intake, struct intake_time now)
{
    struct counters *count = intake->parts.counters;
    rn_recovered(&intake->failed, "log_commits_again");
    count->commits++;
    for (uint32_t i = 0; i < intake->ngroup; i++) {
        struct member *m = &intake->group[i];
        count->batches_stored++;
        count->batch_bytes += m->bytes;
        m->dev->batches++;
        m->dev->bytes += m->bytes;
        dedupe_settle(m->in->batches, m->seq, DEDUPE_RECEIVED, 0);
        answers_schedule(intake->parts.answers, m->dev, m->urgent, now.mono_ms);
    }
    intake->parts.committed(intake->parts.committed_arg, log_head(intake->parts.log));
}

void intake_commit(struct intake *intake, struct intake_time now)
{
    struct rn_err err;
    if (!intake->ngroup)
        return;
    if (log_commit(intake->parts.log, &err) < 0)
        group_failed(intake, now, &err);
    else
        group_committed(intake, now);
    intake->ngroup = 0;
    intake->group_bytes = 0;
}

// ---- keys and reports --------------------------------------------------------------------------

// A schema has come: devices whose batches were dropped for want of it are asked for the binding,
// which makes them send again without waiting for their timeout.
static void wake_waiters(const struct arrival *a, int64_t object)
{
    struct fleet *fleet = a->intake->parts.fleet;
    for (uint32_t i = 0; i < fleet->count; i++)
        for (uint32_t k = 0; k < fleet->device[i]->ninstalls; k++) {
            struct fleet_install *in = fleet->device[i]->install[k];
            if (in->waits_for != object)
                continue;
            in->waits_for = 0;
            if (fleet->device[i] == a->dev)
                continue;
            counters(a)->needs++;
            acker_need(&in->words, RN_OBJECT_SCHEMA, in->waits_id, false);
            answers_schedule(a->intake->parts.answers, fleet->device[i], true, a->now.mono_ms);
        }
}

// Only a buffer that was restored from an older copy gives a number twice. The batches that name it
// are answered with `conflict`, so that the agent moves to a new install with numbers of its own.
static int dispute(const struct arrival *a, struct fleet_install *in, const struct rn_key_msg *msg,
                   struct rn_err *err)
{
    int rc = schemas_dispute(a->intake->parts.schemas, a->name, msg, err);
    refs_forget(in);
    return rc < 0 ? rc : RN_ECONFLICT;
}

static void take_key(struct arrival *a)
{
    struct rn_key_msg msg;
    struct rn_err err = {0};
    struct schemas_taken taken;
    if (a->retained) {
        refuse(a, BAD_RETAINED, "key messages are not to be retained");
        return;
    }
    if (!fleet_bucket_take(&a->dev->keys, a->now.mono_ms, 64, 500)) {
        refuse(a, BAD_RATE, "too many key messages");
        return;
    }
    if (rn_key_decode(a->payload, &msg, &err) < 0) {
        refuse(a, BAD_FORM, err.text);
        return;
    }
    struct fleet_install *in = fleet_install_find(a->dev, msg.install);
    if (!in) {
        refuse(a, BAD_INSTALL, "no birth announced the install of this key");
        return;
    }
    int rc = schemas_take(a->intake->parts.schemas, a->name, &msg, &taken, &err);
    if (rc == RN_ECONFLICT)
        rc = dispute(a, in, &msg, &err);
    if (rc == RN_EFORMAT || rc == RN_ECONFLICT || rc == RN_ELIMIT || rc == RN_EUNSUPPORTED) {
        refuse(a, BAD_KEY, err.text);
        return;
    }
    if (rc < 0) {
        rn_complain(&a->intake->schemas, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "schemas_refuse", "err=%s", RN_Q(err.text));
        return;
    }
    rn_recovered(&a->intake->schemas, "schemas_accept_again");
    counters(a)->key_messages++;
    counters(a)->schemas_stored += taken.bytes > 0;
    counters(a)->schema_bytes += taken.bytes;
    counters(a)->bindings_replaced += taken.replaced;
    a->dev->schema_bytes += a->payload.len;
    refs_forget(in);
    if (taken.bytes && msg.kind == RN_OBJECT_SCHEMA)
        wake_waiters(a, taken.info.row);
    if (!taken.info.complete)
        need_content(a, in, msg.kind, msg.id, taken.info.row);
}

static void take_report(struct arrival *a)
{
    struct rn_report report;
    struct rn_err err = {0};
    if (a->retained) {
        refuse(a, BAD_RETAINED, "reports are not to be retained");
        return;
    }
    if (!fleet_bucket_take(&a->dev->reports, a->now.mono_ms, 32, 500)) {
        refuse(a, BAD_RATE, "too many reports");
        return;
    }
    if (rn_report_decode(a->payload, &report, &err) < 0) {
        refuse(a, BAD_FORM, err.text);
        return;
    }
    struct fleet_install *in = fleet_install_find(a->dev, report.install);
    if (!in) {
        refuse(a, BAD_INSTALL, "no birth announced the install of this report");
        return;
    }
    counters(a)->reports++;
    const struct intake_hooks *hooks = &a->intake->hooks;
    if (!hooks->report || !hooks->report(hooks->arg, a->name, &report))
        return;
    in->words.has_report = true;
    if (report.n > in->words.report_n)
        in->words.report_n = report.n;
    answers_now(a->intake->parts.answers, a->dev, a->now.mono_ms);
}

// ---- statuses ----------------------------------------------------------------------------------

static void greet(const struct arrival *a, struct fleet_install *in, const struct rn_status *status)
{
    const struct intake_hooks *hooks = &a->intake->hooks;
    struct rn_hello *hello = &in->words.hello;
    in->words.has_hello = true;
    in->greeted_epoch = status->epoch;
    in->talks = false;
    *hello = (struct rn_hello){.install = status->install,
                               .epoch = status->epoch,
                               .max_seq = in->batches->max_seq,
                               .max_epoch = in->max_epoch,
                               .fleet = a->intake->parts.fleet->count,
                               .duplicate = a->dev->live.duplicate_until_ms != 0,
                               .fingerprint = in->fingerprint};
    if (hooks->desired)
        (void)hooks->desired(hooks->arg, a->name, &hello->config_revision, hello->config_hash);
    dedupe_say_all(in->batches);
    answers_now(a->intake->parts.answers, a->dev, a->now.mono_ms);
    if (hooks->born)
        hooks->born(hooks->arg, a->name, status);
}

// The hello says that this install is known from now on, and only the newest one is announced again
// after a restart (its birth is retained): the others are known from the disk. A device's first one
// waits for the next save.
static bool is_saved(const struct arrival *a, const struct fleet_install *in)
{
    struct rn_err err;
    if (in->saved || a->dev->ninstalls == 1)
        return true;
    if (fleet_save_device(a->dev, &err) == RN_OK) {
        rn_recovered(&a->intake->fleet, "fleet_saved_again");
        return true;
    }
    rn_complain(&a->intake->fleet, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "fleet_not_saved",
                "device=%s err=%s", a->name, RN_Q(err.text));
    return false;
}

// An agent is announced: its install may send from now on.
static struct fleet_install *announce(const struct arrival *a, const struct rn_status *status)
{
    uint64_t gone = 0;
    struct rn_err err;
    struct fleet_install *in = fleet_announce(a->dev, status->install, a->now.utc_ms, &gone);
    if (gone && schemas_forget(a->intake->parts.schemas, a->name, gone, &err) < 0)
        rn_complain(&a->intake->schemas, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "schemas_refuse", "err=%s", RN_Q(err.text));
    if (!in) {
        refuse(a, BAD_INSTALLS, "the device has too many installs that are alive");
        return NULL;
    }
    if (status->epoch > in->max_epoch)
        in->max_epoch = status->epoch;
    if (!in->fingerprint)
        in->fingerprint = status->fingerprint;
    return in;
}

static void tell_of_twins(const struct fleet_device *dev, bool before)
{
    if (before || !dev->live.duplicate_until_ms)
        return;
    rn_log(RN_LOG_WARN, "device_duplicate",
           "device=%s install=%016llx fingerprint=%016llx other_install=%016llx"
           " other_fingerprint=%016llx advice=\"two agents use this name: stop or rename one\"",
           dev->name, (unsigned long long)dev->live.install,
           (unsigned long long)dev->live.fingerprint, (unsigned long long)dev->live.other_install,
           (unsigned long long)dev->live.other_fingerprint);
}

static void take_birth(const struct arrival *a, const struct rn_status *status,
                       const struct live_status *live)
{
    struct live_fleet *fleet = &a->intake->parts.fleet->live;
    bool duplicate = a->dev->live.duplicate_until_ms != 0;
    struct fleet_install *in = announce(a, status);
    if (!in)
        return;
    counters(a)->births++;
    if (live_birth(fleet, &a->dev->live, live, a->now.mono_ms))
        fleet_note_status(a->dev, status, a->now.utc_ms);
    else
        counters(a)->stale++;
    answers_now(a->intake->parts.answers, a->dev, a->now.mono_ms); // whatever waits to be said
    if (!a->retained)
        a->dev->heard_ms = a->now.utc_ms;
    tell_of_twins(a->dev, duplicate);
    if (in->talks && in->greeted_epoch == status->epoch && status->n > 1 && !in->news) {
        in->news = true;
        return; // no birth but news of an agent that was greeted
    }
    if (!is_saved(a, in))
        return; // the birth is repeated
    if (fleet_bucket_take(&a->dev->hellos, a->now.mono_ms, 32, 250))
        greet(a, in, status);
    else
        refuse(a, BAD_RATE, "too many births");
}

static void take_gone(const struct arrival *a, const struct rn_status *status,
                      const struct live_status *live)
{
    struct live_fleet *fleet = &a->intake->parts.fleet->live;
    bool stop = status->presence == RN_PRESENCE_STOPPED;
    bool mine = stop ? live_stop(fleet, &a->dev->live, live, a->now.mono_ms)
                     : live_will(fleet, &a->dev->live, live, a->now.mono_ms);
    counters(a)->stops += stop;
    counters(a)->wills += !stop;
    if (!mine)
        counters(a)->stale++;
    else if (stop)
        fleet_note_status(a->dev, status, a->now.utc_ms);
    a->dev->dirty = true;
}

static void take_status(struct arrival *a)
{
    struct rn_status status;
    struct rn_err err = {0};
    if (rn_status_decode(a->payload, &status, &err) < 0) {
        refuse(a, BAD_FORM, err.text);
        return;
    }
    int64_t interval = status.interval_ms > 86400000 ? 86400000 : (int64_t)status.interval_ms;
    struct live_status live = {.install = status.install,
                               .epoch = status.epoch,
                               .n = status.n,
                               .fingerprint = status.fingerprint,
                               .interval_ms = interval,
                               .retained = a->retained};
    if (status.time_ms && !a->retained)
        a->dev->clock_offset_ms = (int64_t)status.time_ms - a->now.utc_ms;
    if (status.presence == RN_PRESENCE_ONLINE)
        take_birth(a, &status, &live);
    else
        take_gone(a, &status, &live);
}

// ---- dispatch ----------------------------------------------------------------------------------

static const struct {
    char type;
    bool may_be_first; // a device may become known by it
    void (*take)(struct arrival *a);
} kinds[] = {
    [RN_TOPIC_METRICS] = {'m', false, take_data}, [RN_TOPIC_LOGS] = {'l', false, take_data},
    [RN_TOPIC_EVENTS] = {'e', false, take_data},  [RN_TOPIC_INVENTORY] = {'i', false, take_data},
    [RN_TOPIC_KEY] = {0, false, take_key},        [RN_TOPIC_REPORT] = {0, false, take_report},
    [RN_TOPIC_STATUS] = {0, true, take_status},
};

static struct fleet_device *device_of(struct intake *intake, const struct arrival *a, bool make)
{
    struct fleet *fleet = intake->parts.fleet;
    if (!make)
        return fleet_find(fleet, a->name);
    struct fleet_device *dev = fleet_get(fleet, a->name, a->now.mono_ms, a->now.utc_ms);
    if (!dev)
        rn_complain(&intake->devices, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR,
                    "devices_at_maximum", "device=%s count=%u", a->name, fleet->count);
    return dev;
}

void intake_message(struct intake *intake, const struct rn_mqtt_message *message,
                    struct intake_time now)
{
    char name[RN_DEV_MAX + 1];
    struct counters *count = intake->parts.counters;
    count->messages++;
    count->bytes += message->payload.len;
    enum rn_topic topic =
        rn_topic_parse(message->topic, message->topic_len, intake->conf.prefix, name);
    if (topic >= sizeof kinds / sizeof kinds[0] || !kinds[topic].take) {
        count->refused_topic++;
        rn_complain(&intake->topic, now.mono_ms, COMPLAINT_MS, RN_LOG_WARN, "topic_refused",
                    "topic=%s", rn_log_quote_n(message->topic, message->topic_len));
        return;
    }
    if (message->retained && !message->payload.len)
        return; // somebody cleared a retained message
    struct arrival a = {.intake = intake,
                        .name = name,
                        .payload = message->payload,
                        .retained = message->retained,
                        .type = kinds[topic].type,
                        .now = now};
    a.dev = device_of(intake, &a, kinds[topic].may_be_first);
    if (a.dev)
        kinds[topic].take(&a);
    else if (kinds[topic].may_be_first)
        count->refused_device++;
    else
        count->refused_install++;
}

// ---- rebuild -----------------------------------------------------------------------------------

static int replay_saved(void *arg, const char *name, struct rn_span state)
{
    struct intake *intake = arg;
    struct fleet *fleet = intake->parts.fleet;
    uint64_t gone;
    struct fleet_device *dev = fleet_get(fleet, name, 0, 0);
    if (!dev)
        return RN_OK;
    int rc = dedupe_load(&fleet->dedupe, &dev->dedupe, state, NULL);
    for (uint32_t i = 0; rc == RN_OK && i < dev->dedupe.ninstalls; i++) {
        const struct dedupe_install *in = dev->dedupe.install[i];
        if (!fleet_announce(dev, in->install, in->heard_ms, &gone))
            return RN_ENOMEM;
    }
    return rc;
}

static int replay_row(void *arg, const struct log_head_row *row)
{
    struct intake *intake = arg;
    struct fleet *fleet = intake->parts.fleet;
    uint64_t gone;
    struct fleet_device *dev = fleet_get(fleet, row->dev, 0, 0);
    if (!dev)
        return RN_OK;
    struct fleet_install *in = fleet_install_find(dev, row->install);
    if (!in)
        in = fleet_announce(dev, row->install, 0, &gone);
    if (!in)
        return RN_OK;
    return dedupe_restore(&fleet->dedupe, &dev->dedupe, in->batches, row->seq, row->crc);
}

int intake_replay(struct intake *intake, struct rn_err *err)
{
    return log_replay(intake->parts.log, intake, replay_saved, replay_row, err);
}
