// See answers.h.
#include "bridge/answers.h"

#include <runnel/log.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_A_STEP 512
#define RETRY_MS    50

struct progress {
    uint64_t told;   // rows up to here were told durable
    uint64_t target; // the cursor's position, 0 until it has told one
    bool known;
};

struct answers {
    struct answers_conf conf;
    struct log *log;
    struct fleet *fleet;
    struct counters *counters;
    struct acker_wheel wheel;
    struct progress progress[ANSWERS_CURSORS];
    struct rn_complaint complaint; // the log cannot be read
    uint64_t begun_at;             // the log's head at the start: what is above was received since
    int64_t ready_by_ms;
    bool ready;
    int64_t now_ms; // of the step that runs
    uint32_t which; // the cursor that a row visitor works for
    uint64_t last;  // position that it saw last
    struct rn_ack ack;
    struct rn_buf buf;
};

int answers_new(struct answers **out, const struct answers_conf *conf, struct log *log,
                struct fleet *fleet, struct counters *counters, int64_t now_ms, struct rn_err *err)
{
    struct answers *answers = calloc(1, sizeof *answers);
    if (!answers)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    answers->conf = *conf;
    answers->log = log;
    answers->fleet = fleet;
    answers->counters = counters;
    answers->begun_at = log_head(log);
    answers->ready_by_ms = now_ms + conf->patience_ms;
    rn_buf_init(&answers->buf, RN_MESSAGE_MAX);
    *out = answers;
    return RN_OK;
}

void answers_free(struct answers *answers)
{
    if (!answers)
        return;
    for (uint32_t i = 0; i < answers->fleet->count; i++)
        acker_cancel(&answers->wheel, &answers->fleet->device[i]->due);
    rn_buf_release(&answers->buf);
    free(answers);
}

void answers_now(struct answers *answers, struct fleet_device *dev, int64_t now_ms)
{
    acker_schedule(&answers->wheel, &dev->due, now_ms, now_ms);
}

void answers_schedule(struct answers *answers, struct fleet_device *dev, bool urgent,
                      int64_t now_ms)
{
    int64_t delay = acker_delay(answers->conf.delay_ms, dev->ack_by_ms, urgent);
    acker_schedule(&answers->wheel, &dev->due, now_ms, now_ms + delay);
}

// ---- durable -----------------------------------------------------------------------------------

static bool decides(const struct answers *answers, char type)
{
    const char *at = strchr("mlei", type);
    return type && at && answers->conf.cursor_of[at - "mlei"] == answers->which;
}

static struct dedupe_item *item_of(struct answers *answers, const struct log_head_row *row,
                                   struct fleet_device **dev, struct fleet_install **in)
{
    answers->last = row->position;
    if (!decides(answers, row->type))
        return NULL;
    *dev = fleet_find(answers->fleet, row->dev);
    *in = *dev ? fleet_install_find(*dev, row->install) : NULL;
    struct dedupe_item *item = *in ? dedupe_item((*in)->batches, row->seq) : NULL;
    return item && item->crc == row->crc ? item : NULL;
}

static void row_is_durable(void *arg, const struct log_head_row *row)
{
    struct answers *answers = arg;
    struct fleet_device *dev;
    struct fleet_install *in;
    struct dedupe_item *item = item_of(answers, row, &dev, &in);
    if (!item || item->state != DEDUPE_RECEIVED)
        return;
    item->state = DEDUPE_DURABLE;
    dedupe_say(in->batches, item, true);
    answers->counters->durable++;
    answers_schedule(answers, dev, false, answers->now_ms);
}

static void row_is_open(void *arg, const struct log_head_row *row)
{
    struct answers *answers = arg;
    struct fleet_device *dev;
    struct fleet_install *in;
    if (item_of(answers, row, &dev, &in))
        dedupe_reopen(in->batches, row->seq);
}

// Rows in (from, upto], one step's worth. Returns where it came to.
static uint64_t visit_rows(struct answers *answers, uint32_t which, uint64_t from, uint64_t upto,
                           void (*row)(void *arg, const struct log_head_row *row))
{
    struct rn_err err;
    answers->which = which;
    answers->last = from;
    int n = log_heads(answers->log, from, upto, ROWS_A_STEP, answers, row, &err);
    if (n < 0) {
        rn_complain(&answers->complaint, answers->now_ms, 60000, RN_LOG_ERROR, "log_unreadable",
                    "after=%llu err=%s", (unsigned long long)from, RN_Q(err.text));
        return from;
    }
    return n ? answers->last : upto;
}

// Which rows are above the cursor cannot be read: nothing is taken as durable.
static void open_all(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        const struct dedupe_device *dev = &fleet->device[i]->dedupe;
        for (uint32_t k = 0; k < dev->ninstalls; k++)
            for (uint32_t n = 0; n < dev->install[k]->count; n++)
                dedupe_reopen(dev->install[k], dev->install[k]->item[n].seq);
    }
}

// How far rows are durable by this cursor: a sink passes over what does not decode, and only the
// log's own cursor tells that it does not. What that one has passed it has refused first, if at
// all.
static uint64_t reach(const struct answers *answers, uint32_t which)
{
    uint64_t decoded = answers->progress[0].target, taken = answers->progress[which].target;
    return taken < decoded ? taken : decoded;
}

// What was in the log at the start was taken as durable: above the cursor it is not.
static void begin(struct answers *answers, uint32_t which)
{
    struct progress *p = &answers->progress[which];
    uint64_t position = reach(answers, which);
    p->told = position < answers->begun_at ? position : answers->begun_at;
    for (uint64_t at = p->told; at < answers->begun_at;) {
        uint64_t next = visit_rows(answers, which, at, answers->begun_at, row_is_open);
        if (next == at) {
            open_all(answers->fleet);
            p->told = 0;
            return;
        }
        at = next;
    }
}

void answers_moved(struct answers *answers, uint32_t which, uint64_t position)
{
    struct progress *p = &answers->progress[which];
    p->known = true;
    if (position > p->target)
        p->target = position;
}

void answers_refused(struct answers *answers, const char *name, uint64_t install, uint64_t seq,
                     uint8_t reason, int64_t now_ms)
{
    struct fleet_device *dev = fleet_find(answers->fleet, name);
    struct fleet_install *in = dev ? fleet_install_find(dev, install) : NULL;
    struct dedupe_item *item = in ? dedupe_item(in->batches, seq) : NULL;
    if (!item || item->state == DEDUPE_OPEN)
        return;
    item->state = DEDUPE_REFUSED;
    item->reason = reason;
    dedupe_say(in->batches, item, true);
    answers_schedule(answers, dev, true, now_ms);
}

// One cursor's rows; true if there are more.
static bool follow(struct answers *answers, uint32_t which)
{
    struct progress *p = &answers->progress[which];
    uint64_t upto = reach(answers, which);
    if (p->told >= upto)
        return false;
    uint64_t at = visit_rows(answers, which, p->told, upto, row_is_durable);
    bool moved = at > p->told;
    p->told = at;
    return moved && p->told < upto;
}

// ---- sending -----------------------------------------------------------------------------------

// One message. Negative: the transport does not take it now.
static int send_one(struct answers *answers, struct fleet_device *dev, struct fleet_install *in,
                    int64_t utc_ms)
{
    char topic[RN_TOPIC_MAX];
    if (!acker_compose(in->batches, &in->words, &answers->ack))
        return RN_OK;
    answers->ack.log_id = log_id(answers->log);
    answers->ack.time_ms = (uint64_t)utc_ms;
    rn_buf_clear(&answers->buf);
    int rc = rn_ack_encode(&answers->ack, &answers->buf);
    if (rc == RN_OK)
        rc = rn_topic_write(topic, answers->conf.prefix, RN_TOPIC_ACK, dev->name);
    if (rc == RN_OK)
        rc = answers->conf.publish(answers->conf.publish_arg, topic, rn_buf_span(&answers->buf));
    if (rc)
        return rc;
    acker_said(in->batches, &in->words, &answers->ack);
    in->said_ms = answers->now_ms;
    answers->counters->acks_sent++;
    answers->counters->ack_bytes += answers->buf.len;
    return RN_OK;
}

static void send_all(struct answers *answers, struct fleet_device *dev, int64_t now_ms,
                     int64_t utc_ms)
{
    bool more = false;
    for (uint32_t i = 0; i < dev->ninstalls; i++) {
        struct fleet_install *in = dev->install[i];
        if (send_one(answers, dev, in, utc_ms) < 0) {
            answers->counters->acks_delayed++;
            acker_schedule(&answers->wheel, &dev->due, now_ms, now_ms + RETRY_MS);
            return;
        }
        more = more || acker_pending(in->batches, &in->words);
    }
    if (more)
        acker_schedule(&answers->wheel, &dev->due, now_ms, now_ms + ACKER_SLOT_MS);
}

static bool is_ready(struct answers *answers, int64_t now_ms)
{
    if (answers->ready)
        return true;
    for (uint32_t i = 0; i < answers->conf.cursors; i++)
        if (!answers->progress[i].known && now_ms < answers->ready_by_ms)
            return false;
    for (uint32_t i = 0; i < answers->conf.cursors; i++)
        begin(answers, i);
    answers->ready = true;
    return true;
}

int64_t answers_step(struct answers *answers, int64_t now_ms, int64_t utc_ms)
{
    answers->now_ms = now_ms;
    if (!is_ready(answers, now_ms))
        return RETRY_MS;
    bool more = false;
    for (uint32_t i = 0; i < answers->conf.cursors; i++)
        more = follow(answers, i) || more;
    struct acker_node *node;
    while ((node = acker_take(&answers->wheel, now_ms))) {
        char *base = (char *)node - offsetof(struct fleet_device, due);
        send_all(answers, (struct fleet_device *)(void *)base, now_ms, utc_ms);
    }
    if (more)
        return 0;
    return acker_wait(&answers->wheel, now_ms);
}

void answers_end(struct answers *answers, int64_t now_ms, int64_t utc_ms)
{
    (void)answers_step(answers, now_ms, utc_ms);
    for (uint32_t i = 0; answers->ready && i < answers->fleet->count; i++)
        if (answers->fleet->device[i]->due.prev)
            send_all(answers, answers->fleet->device[i], now_ms, utc_ms);
}
