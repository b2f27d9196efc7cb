// See intake.h.
#include "bridge/intake.h"

#include "bridge/arrival.h"
#include "bridge/envelope.h"
#include "bridge/keys.h"
#include "bridge/refs.h"
#include "bridge/statuses.h"
#include <runnel/crc.h>
#include <runnel/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPLAINT_MS 60000
#define SAY_AGAIN_MS 2000 // what a device seems not to have heard is said again after this
// Each dead letter waits for the disk, and with it all devices: none may have many.
#define LETTERS_BURST    256
#define LETTERS_EVERY_MS 50

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

struct intake {
    struct intake_conf conf;
    struct intake_parts parts;
    struct intake_hooks hooks;
    struct member *group;
    uint32_t ngroup;
    size_t group_bytes;
    int64_t group_ms; // when its first member came
    struct keys keys;
    struct statuses statuses;
    struct rn_complaint full, failed, dead, topic, devices;
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
    intake->statuses.keys = &intake->keys;
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

// The bytes of what can never be stored; what cannot even be named goes under its checksum. False:
// they could not be kept.
static bool dead_letter(const struct arrival *a, uint64_t install, uint64_t seq, const char *reason)
{
    struct intake *intake = a->intake;
    struct rn_err err;
    if (!intake->parts.dead)
        return true;
    if (!fleet_bucket_take(&a->dev->letters, a->now.mono_ms, LETTERS_BURST, LETTERS_EVERY_MS)) {
        arrival_refuse(a, BAD_RATE, "too many batches that cannot be stored");
        return false;
    }
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
        return true;
    deadletters_rollback(intake->parts.dead);
    rn_complain(&intake->dead, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "dead_letter_lost",
                "device=%s err=%s", a->name, RN_Q(err.text));
    return false;
}

// ---- batches -----------------------------------------------------------------------------------

// There is no room now: the device keeps the batch and sends nothing for a while.
static void hold(struct intake *intake, struct fleet_device *dev, struct fleet_install *in,
                 int64_t now_ms)
{
    intake->parts.counters->stored_put_off++;
    in->words.hold_ms = (uint32_t)intake->conf.hold_ms;
    live_hold(&dev->live, now_ms + intake->conf.hold_ms);
    answers_schedule(intake->parts.answers, dev, true, now_ms);
}

// A batch that is known already shows that words were lost, and seldom those about one batch alone:
// if nothing was said for a while, all of them are said again, before the others come again too.
static void again(const struct arrival *a, struct fleet_install *in, uint64_t seq)
{
    struct dedupe_item *item = dedupe_item(in->batches, seq);
    a->parts->counters->duplicates++;
    a->dev->duplicates++;
    if (!item || item->state == DEDUPE_OPEN)
        return;
    if (a->now.mono_ms - in->said_ms >= SAY_AGAIN_MS)
        dedupe_say_all(in->batches);
    dedupe_say_alone(in->batches, item);
    in->said_ms = a->now.mono_ms;
    arrival_answer_soon(a);
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
    arrival_refuse(a, BAD_CONFLICT, words);
    acker_conflict(&in->words, seq);
    arrival_answer_soon(a);
}

// A batch that was offered as new and cannot be stored now.
static void take_back(const struct arrival *a, struct fleet_install *in, uint64_t seq)
{
    dedupe_drop(&a->parts->fleet->dedupe, &a->dev->dedupe, in->batches, seq);
}

static void refuse_new(const struct arrival *a, struct fleet_install *in, uint64_t seq,
                       enum rn_refusal reason, const char *words)
{
    if (!dead_letter(a, in->id, seq, words)) {
        take_back(a, in, seq);
        hold(a->intake, a->dev, in, a->now.mono_ms);
        return;
    }
    arrival_refuse(a, refusal_of[reason], words);
    dedupe_settle(in->batches, seq, DEDUPE_REFUSED, (uint8_t)reason);
    arrival_answer_soon(a);
}

// A batch whose name is known but that can never be stored: its bytes are kept, and it is counted
// as answered so that the device goes on. One of a name that is taken or settled needs another.
static void refuse_batch(const struct arrival *a, struct fleet_install *in,
                         const struct rn_batch_head *head, uint32_t crc, enum rn_refusal reason,
                         const char *words)
{
    struct fleet *fleet = a->parts->fleet;
    switch (dedupe_offer(&fleet->dedupe, &a->dev->dedupe, in->batches, head->seq, head->low, crc)) {
    case DEDUPE_NEW:
        refuse_new(a, in, head->seq, reason, words);
        break;
    case DEDUPE_SAME:
        again(a, in, head->seq);
        break;
    case DEDUPE_CONFLICT:
        conflict(a, in, head->seq, words);
        break;
    case DEDUPE_FULL:
        hold(a->intake, a->dev, in, a->now.mono_ms);
        break;
    }
}

static int place_and_append(const struct arrival *a, struct refs *refs, struct log_row *row,
                            struct rn_err *err)
{
    const struct intake_parts *parts = a->parts;
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
        keys_lacking(&intake->keys, a, in, refs);
        return;
    }
    if (rc) {
        rn_complain(
            &intake->full, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "log_refuses",
            "err=%s advice=\"free space or raise log.cursor_bytes; devices keep their data\"",
            RN_Q(err.text));
        hold(a->intake, a->dev, in, a->now.mono_ms);
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
    struct dedupe *dedupe = &a->parts->fleet->dedupe;
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
        hold(a->intake, a->dev, in, a->now.mono_ms);
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
        arrival_refuse(a, refusal_of[reason], words);
        (void)dead_letter(a, 0, 0, words);
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
    struct keys *keys = &a->intake->keys;
    struct refs refs;
    const char *words;
    if (!keys_find(keys, a, in, info, &refs))
        return;
    if (refs_disputed(&refs) && !dedupe_item(in->batches, head->seq)) {
        conflict(a, in, head->seq, "it names by its number one of two objects");
        return;
    }
    if (keys_lacking(keys, a, in, &refs))
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
        arrival_refuse(a, BAD_INSTALL, "no birth announced the install of this batch");
        return;
    }
    live_data(&a->parts->fleet->live, &a->dev->live, in->id, a->now.mono_ms);
    a->dev->heard_ms = a->now.utc_ms;
    a->first = !in->talks;
    in->talks = true;
    in->news = false;
    judge(a, in, &head, &info, body);
}

static void take_data(struct arrival *a)
{
    if (a->retained)
        arrival_refuse(a, BAD_RETAINED, "batches are not to be retained");
    else if (a->payload.len > RN_BATCH_MAX_BYTES)
        arrival_refuse(a, BAD_SIZE, "the batch is too large");
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
        dedupe_drop(&intake->parts.fleet->dedupe, &m->dev->dedupe, m->in->batches, m->seq);
        hold(intake, m->dev, m->in, now.mono_ms);
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

// ---- reports --------------------------------------------------------------------------

static void take_report(struct arrival *a)
{
    struct rn_report report;
    struct rn_err err = {0};
    if (a->retained) {
        arrival_refuse(a, BAD_RETAINED, "reports are not to be retained");
        return;
    }
    if (!fleet_bucket_take(&a->dev->reports, a->now.mono_ms, 32, 500)) {
        arrival_refuse(a, BAD_RATE, "too many reports");
        return;
    }
    if (rn_report_decode(a->payload, &report, &err) < 0) {
        arrival_refuse(a, BAD_FORM, err.text);
        return;
    }
    struct fleet_install *in = fleet_install_find(a->dev, report.install);
    if (!in) {
        arrival_refuse(a, BAD_INSTALL, "no birth announced the install of this report");
        return;
    }
    a->parts->counters->reports++;
    const struct intake_hooks *hooks = a->hooks;
    if (!hooks->report || !hooks->report(hooks->arg, a->name, &report))
        return;
    in->words.has_report = true;
    if (report.n > in->words.report_n)
        in->words.report_n = report.n;
    answers_now(a->parts->answers, a->dev, a->now.mono_ms);
}

// ---- dispatch ----------------------------------------------------------------------------------

static void take_key(struct arrival *a)
{
    keys_take(&a->intake->keys, a);
}

static void take_status(struct arrival *a)
{
    statuses_take(&a->intake->statuses, a);
}

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
                        .parts = &intake->parts,
                        .hooks = &intake->hooks,
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
