// See uplink_io.h.
#include "agent/uplink_io.h"

#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/log.h>
#include <runnel/wire.h>

#include <stdlib.h>
#include <string.h>

enum { EVENTS_MAX = 128 };

struct uplink_io {
    struct uplink core;
    struct uplink_io_conf conf;
    struct uplink_io_hooks hooks;
    struct store *store;
    struct rn_mqtt *mqtt;
    struct rn_timer *timer;
    struct rn_buf out; // a message being made
    struct uplink_event queue[EVENTS_MAX];
    uint32_t head, count;
    bool running;     // inside the event loop below: new events are queued
    bool failed;      // the store failed: told at the end
    int64_t flush_ms; // when what was settled is committed at the latest; 0: not planned
    struct rn_err err;
    struct rn_complaint refusals, mismatches, encodings;
};

static void push(struct uplink_io *io, const struct uplink_event *e)
{
    if (io->count == EVENTS_MAX)
        return; // not reached: an action answers with one event at most
    io->queue[(io->head + io->count++) % EVENTS_MAX] = *e;
}

static void store_failed(struct uplink_io *io, const struct rn_err *err)
{
    io->failed = true;
    io->err = *err;
}

// ---- actions ------------------------------------------------------------------------------------

static struct uplink_names names_of(const struct store_row *row)
{
    struct rn_batch_info info;
    struct uplink_names names = {.schema = row->schema};
    if (rn_batch_open_body(row->body, &info, NULL) < 0)
        return names; // the bridge will say what it thinks of it
    names.hints = info.has_hints ? info.hints_id : 0;
    names.base = info.has_base ? info.base_id : 0;
    return names;
}

static void do_fetch(struct uplink_io *io, const struct uplink_action *a)
{
    struct store_row row;
    struct rn_err err;
    struct uplink_event e = {.type = UPLINK_NO_ROW};
    int rc = store_next(io->store, a->first, a->last, &row, &err);
    if (rc < 0)
        store_failed(io, &err);
    if (rc == 1)
        e = (struct uplink_event){
            .type = UPLINK_ROW, .seq = row.seq, .install = row.install, .names = names_of(&row)};
    push(io, &e);
}

static void do_freeze(struct uplink_io *io, const struct uplink_action *a)
{
    struct rn_err err;
    struct uplink_event e = {.type = UPLINK_FROZEN, .up_to = a->seq};
    if (store_publish(io->store, a->seq, &err) < 0) {
        store_failed(io, &err);
        e = (struct uplink_event){.type = UPLINK_BLOCKED};
    }
    push(io, &e);
}

static void do_send(struct uplink_io *io, const struct uplink_action *a)
{
    struct store_row row;
    struct rn_err err;
    int rc = store_next(io->store, a->seq, a->seq + 1, &row, &err);
    if (rc < 0)
        store_failed(io, &err);
    if (rc != 1) {
        push(io, &(struct uplink_event){
                     .type = UPLINK_GONE, .seq = a->seq, .low = store_state(io->store)->low});
        return;
    }
    uint64_t safe = store_safe_low(io->store), low = a->low < safe ? a->low : safe;
    struct rn_batch_head head = {
        .tag = (uint32_t)row.install, .seq = row.seq, .low = row.seq - low};
    rn_buf_clear(&io->out);
    rn_batch_put_head(&io->out, &head);
    rn_buf_append(&io->out, row.body.data, row.body.len);
    store_sent(io->store, row.seq);
    if (!rn_buf_ok(&io->out) ||
        rn_mqtt_publish(io->mqtt, io->conf.topic_data, rn_buf_span(&io->out), 0, false, 0) < 0)
        push(io, &(struct uplink_event){.type = UPLINK_BLOCKED, .seq = a->seq});
}

static int get_object(const struct uplink_io *io, enum rn_object kind, uint32_t id,
                      uint8_t hash[RN_HASH_BYTES], struct rn_span *object, struct rn_err *err)
{
    return kind == RN_OBJECT_SCHEMA ? store_schema(io->store, id, hash, object, err)
                                    : store_object(io->store, kind, id, hash, object, err);
}

// RN_ENOENT also if it is damaged: SQLite does not notice a flipped bit in it.
static int get_whole(const struct uplink_io *io, enum rn_object kind, uint32_t id,
                     uint8_t hash[RN_HASH_BYTES], struct rn_span *object, struct rn_err *err)
{
    uint8_t is[RN_HASH_BYTES];
    int rc = get_object(io, kind, id, hash, object, err);
    if (rc < 0)
        return rc;
    rn_sha256(is, object->data, object->len);
    if (memcmp(is, hash, sizeof is) != 0)
        return rn_fail(err, RN_ENOENT, "object %u of kind %u is damaged", id, (unsigned)kind);
    return RN_OK;
}

static void attach_encoder(struct uplink_io *io);

// The bridge lacks what we do not have any more either: rows that name it would wait for ever.
static void lose(struct uplink_io *io, const struct uplink_action *a)
{
    static const char *const kinds[] = {
        [RN_OBJECT_SCHEMA] = "schema", [RN_OBJECT_HINTS] = "hints", [RN_OBJECT_BASE] = "base"};
    struct store_loss loss;
    struct rn_err err;
    int rc = store_lose_object(io->store, a->kind, a->id, &loss, &err);
    if (rc < 0) {
        if (rc != RN_ENOMEM) // then it will be asked for again
            store_failed(io, &err);
        return;
    }
    if (a->kind != RN_OBJECT_SCHEMA)
        attach_encoder(io); // new batches must not name it
    rn_log(RN_LOG_ERROR, "batches_lost", "batches=%llu samples=%llu kind=%s id=%u",
           (unsigned long long)loss.rows, (unsigned long long)loss.samples, kinds[a->kind], a->id);
    push(io, &(struct uplink_event){.type = UPLINK_GONE, .low = store_state(io->store)->low});
}

static void do_key(struct uplink_io *io, const struct uplink_action *a)
{
    struct rn_key_msg msg = {.install = a->install, .kind = a->kind, .id = a->id};
    struct rn_err err;
    int rc = (a->object ? get_whole : get_object)(io, a->kind, a->id, msg.hash, &msg.object, &err);
    if (rc == RN_ENOENT && a->asked)
        lose(io, a);
    else if (rc == RN_ECORRUPT)
        store_failed(io, &err);
    if (rc < 0)
        return; // unasked: the bridge may have it still; not readable now: it will ask again
    msg.has_object = a->object;
    rn_buf_clear(&io->out);
    if (rn_key_encode(&msg, &io->out) < 0)
        return;
    // If it can't be sent now, the bridge will ask (again).
    (void)!rn_mqtt_publish(io->mqtt, io->conf.topic_key, rn_buf_span(&io->out), 1, false, 0);
}

static void note_settled(struct uplink_io *io, const struct uplink_action *a, bool ok)
{
    int64_t now = rn_clock_mono_ms();
    if (a->fate == ROW_REFUSED)
        rn_complain(&io->refusals, now, 60000, RN_LOG_WARN, "batches_refused",
                    "first=%llu last=%llu reason=%u", (unsigned long long)a->first,
                    (unsigned long long)a->last, a->reason);
    else if (!ok && a->first >= store_state(io->store)->low) // below it: settled before a restart
        rn_complain(&io->mismatches, now, 60000, RN_LOG_WARN, "ack_mismatch",
                    "first=%llu last=%llu", (unsigned long long)a->first,
                    (unsigned long long)a->last);
}

static void do_settle(struct uplink_io *io, const struct uplink_action *a)
{
    struct rn_err err;
    bool waited = store_waits(io->store);
    int rc = store_settle(io->store, a->tag, a->first, a->last, a->crc, a->fate, &err);
    if (rc < 0) {
        store_failed(io, &err);
        return; // not settled: it will be asked about again
    }
    if (!waited && store_waits(io->store)) // the next batch's commit takes it along, if one comes
        io->flush_ms = rn_clock_mono_ms() + io->conf.core.ack_by_ms;
    note_settled(io, a, rc == 1);
    push(io, &(struct uplink_event){.type = UPLINK_SETTLED,
                                    .tag = a->tag,
                                    .first = a->first,
                                    .last = a->last,
                                    .low = store_state(io->store)->low,
                                    .ok = rc == 1});
}

// Whatever is tried later, it comes to this.
static bool never_encodes(int code)
{
    return code == RN_EFORMAT || code == RN_EUNSUPPORTED || code == RN_ELIMIT ||
           code == RN_EINVAL || code == RN_ENOENT;
}

// Row seq with its columns in encoding 0; the old body is borrowed by io->out. 1: there it is, 0:
// the row is gone; *fit false: it cannot be encoded anew.
static int encode_anew(struct uplink_io *io, uint64_t seq, struct store_row *row,
                       struct rn_span *body, bool *fit, struct rn_err *err)
{
    uint8_t hash[RN_HASH_BYTES];
    struct rn_span object;
    struct rn_batch_info info = {0};
    int rc = store_next(io->store, seq, seq + 1, row, err);
    if (rc != 1)
        return rc;
    rn_buf_clear(&io->out);
    rn_buf_append(&io->out, row->body.data, row->body.len);
    if (rn_buf_status(&io->out) == RN_ENOMEM)
        return rn_fail(err, RN_ENOMEM, "no memory to encode a batch anew");
    rc = get_whole(io, RN_OBJECT_SCHEMA, row->schema, hash, &object, err);
    if (rc >= 0)
        rc = encoder_renew(io->conf.encoder, object, rn_buf_span(&io->out), &info, body, err);
    if (rc < 0 && !never_encodes(rc))
        return rc;
    encoder_refused(io->conf.encoder, &info);
    *fit = rc >= 0;
    if (*fit)
        rn_complain(&io->encodings, rn_clock_mono_ms(), 60000, RN_LOG_WARN, "encoding_refused",
                    "encoding=%u refs=%d seq=%llu", info.enc, info.has_base || info.has_hints,
                    (unsigned long long)seq);
    return 1;
}

static void do_reencode(struct uplink_io *io, const struct uplink_action *a)
{
    struct store_row row;
    struct rn_span body;
    struct rn_err err;
    uint64_t seq = 0;
    bool fit = true;
    int rc = encode_anew(io, a->seq, &row, &body, &fit, &err);
    if (rc == 1 && !fit) {
        do_settle(io, &(struct uplink_action){.tag = a->tag,
                                              .first = a->seq,
                                              .last = a->seq,
                                              .fate = ROW_REFUSED,
                                              .reason = a->reason});
        return;
    }
    if (rc == 1)
        rc = store_replace(io->store, &row, body, &seq, &err);
    if (rc < 0) { // still there: it will be sent and refused again
        if (rc != RN_ENOMEM)
            store_failed(io, &err);
        return;
    }
    push(io, &(struct uplink_event){.type = rc == 1 ? UPLINK_REENCODED : UPLINK_GONE,
                                    .tag = a->tag,
                                    .seq = a->seq,
                                    .first = a->seq,
                                    .last = seq,
                                    .low = store_state(io->store)->low});
}

static void do_relabel(struct uplink_io *io, const struct uplink_action *a)
{
    struct rn_err err;
    uint64_t old = store_state(io->store)->install;
    if (store_relabel(io->store, a->tag, a->first, a->last, &err) < 0) {
        store_failed(io, &err);
        return; // stays silent until the store is mended or the connection renewed
    }
    uint64_t install = store_state(io->store)->install;
    if (install != old)
        rn_log(
            RN_LOG_WARN, "install_renewed",
            "old=%016llx new=%016llx why=\"the bridge knows other data under this name: a copy of "
            "this buffer is or was in use\"",
            (unsigned long long)old, (unsigned long long)install);
    push(io, &(struct uplink_event){.type = UPLINK_RELABELLED, .install = install});
}

static void do_adopt(struct uplink_io *io, const struct uplink_action *a)
{
    struct rn_err err;
    uint64_t before = store_state(io->store)->log_id;
    if (store_adopt(io->store, a->log_id, &err) < 0)
        store_failed(io, &err);
    else if (before != 0)
        rn_log(RN_LOG_WARN, "bridge_log_changed", "old=%016llx new=%016llx",
               (unsigned long long)before, (unsigned long long)a->log_id);
    push(io, &(struct uplink_event){.type = UPLINK_ADOPTED});
}

static void execute(struct uplink_io *io, const struct uplink_action *a)
{
    switch (a->type) {
    case UPLINK_ANNOUNCE:
        io->hooks.announce(io->hooks.arg);
        break;
    case UPLINK_FETCH:
        do_fetch(io, a);
        break;
    case UPLINK_FREEZE:
        do_freeze(io, a);
        break;
    case UPLINK_SEND:
        do_send(io, a);
        break;
    case UPLINK_KEY:
        do_key(io, a);
        break;
    case UPLINK_SETTLE:
        do_settle(io, a);
        break;
    case UPLINK_REENCODE:
        do_reencode(io, a);
        break;
    case UPLINK_RELABEL:
        do_relabel(io, a);
        break;
    case UPLINK_ADOPT:
        do_adopt(io, a);
        break;
    }
}

// ---- events -------------------------------------------------------------------------------------

static void arm(struct uplink_io *io)
{
    int64_t wake = uplink_wake(&io->core), now = rn_clock_mono_ms();
    if (io->flush_ms && io->flush_ms < wake)
        wake = io->flush_ms;
    if (wake == INT64_MAX)
        rn_timer_stop(io->timer);
    else
        rn_timer_start(io->timer, wake > now ? wake - now : 1, 0);
}

void uplink_io_event(struct uplink_io *io, const struct uplink_event *event)
{
    push(io, event);
    if (io->running)
        return;
    io->running = true;
    while (io->count > 0 && !io->failed) {
        struct uplink_event e = io->queue[io->head];
        struct uplink_actions actions;
        io->head = (io->head + 1) % EVENTS_MAX;
        io->count--;
        uplink_step(&io->core, &e, rn_clock_mono_ms(), &actions);
        for (uint32_t i = 0; i < actions.n; i++)
            execute(io, &actions.item[i]);
    }
    io->running = false;
    arm(io);
    if (io->failed) {
        io->failed = false;
        io->count = 0;
        io->hooks.store_failed(io->hooks.arg, &io->err);
    }
}

static void flush_if_due(struct uplink_io *io)
{
    struct rn_err err;
    if (io->flush_ms == 0 || rn_clock_mono_ms() < io->flush_ms)
        return;
    io->flush_ms = 0;
    if (store_flush(io->store, &err) < 0)
        store_failed(io, &err); // told at the end of the event that follows
}

static void on_timer(void *arg)
{
    flush_if_due(arg);
    uplink_io_event(arg, &(struct uplink_event){.type = UPLINK_TIME});
}

// ---- acknowledgements ---------------------------------------------------------------------------

static void ack_ranges(struct uplink_io *io, const struct rn_ack *ack)
{
    struct uplink_event e = {.tag = ack->tag};
    e.type = UPLINK_GOT_RECEIVED;
    for (uint32_t i = 0; i < ack->nreceived; i++) {
        e.first = ack->received[i].first;
        e.last = ack->received[i].last;
        uplink_io_event(io, &e);
    }
    e.type = UPLINK_GOT_DURABLE;
    for (uint32_t i = 0; i < ack->ndurable; i++) {
        e.first = ack->durable[i].first;
        e.last = ack->durable[i].last;
        e.crc = ack->durable[i].crc;
        uplink_io_event(io, &e);
    }
    e.type = UPLINK_GOT_REFUSED;
    for (uint32_t i = 0; i < ack->nrefused; i++) {
        e.first = ack->refused[i].first;
        e.last = ack->refused[i].last;
        e.reason = ack->refused[i].reason;
        uplink_io_event(io, &e);
    }
}

void uplink_io_ack(struct uplink_io *io, const struct rn_ack *ack)
{
    if (ack->has_hello)
        uplink_io_event(io, &(struct uplink_event){.type = UPLINK_GOT_HELLO,
                                                   .log_id = ack->log_id,
                                                   .hello = ack->hello});
    uplink_io_event(io, &(struct uplink_event){.type = UPLINK_GOT_ACK,
                                               .log_id = ack->log_id,
                                               .window = ack->window,
                                               .hold_ms = ack->hold_ms});
    ack_ranges(io, ack);
    for (uint32_t i = 0; i < ack->nneed; i++)
        uplink_io_event(io, &(struct uplink_event){.type = UPLINK_GOT_NEED,
                                                   .tag = ack->tag,
                                                   .kind = ack->need[i].kind,
                                                   .id = ack->need[i].id,
                                                   .more = i + 1 < ack->nneed,
                                                   .object = ack->need[i].object});
    for (uint32_t i = 0; i < ack->nconflict; i++)
        uplink_io_event(io, &(struct uplink_event){.type = UPLINK_GOT_CONFLICT,
                                                   .tag = ack->tag,
                                                   .first = ack->conflict[i].first,
                                                   .last = ack->conflict[i].last});
}

// ---- life ---------------------------------------------------------------------------------------

int uplink_io_new(struct uplink_io **out, struct rn_loop *loop, struct rn_mqtt *mqtt,
                  const struct uplink_io_conf *conf, const struct uplink_io_hooks *hooks,
                  struct rn_err *err)
{
    struct uplink_io *io = calloc(1, sizeof *io);
    if (!io)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    io->conf = *conf;
    io->hooks = *hooks;
    io->mqtt = mqtt;
    rn_buf_init(&io->out, RN_MESSAGE_MAX);
    int rc = rn_timer_new(&io->timer, loop, on_timer, io, err);
    if (rc < 0) {
        uplink_io_free(io);
        return rc;
    }
    *out = io;
    return RN_OK;
}

void uplink_io_free(struct uplink_io *io)
{
    if (!io)
        return;
    rn_timer_free(io->timer);
    rn_buf_release(&io->out);
    free(io);
}

static int keep_object(void *arg, enum rn_object kind, uint32_t schema_id, struct rn_span object,
                       uint32_t *id)
{
    struct uplink_io *io = arg;
    uint8_t hash[RN_HASH_BYTES];
    rn_sha256(hash, object.data, object.len);
    return store_keep_object(io->store, kind, schema_id, hash, object, id, NULL);
}

static int current_object(void *arg, enum rn_object kind, uint32_t schema_id, uint32_t *id,
                          struct rn_span *object)
{
    struct uplink_io *io = arg;
    uint8_t hash[RN_HASH_BYTES];
    int rc = store_newest_object(io->store, kind, schema_id, id, object, NULL);
    return rc < 0 ? rc : get_whole(io, kind, *id, hash, object, NULL);
}

static int find_object(void *arg, enum rn_object kind, uint32_t id, struct rn_span *object)
{
    struct uplink_io *io = arg;
    uint8_t hash[RN_HASH_BYTES];
    return get_whole(io, kind, id, hash, object, NULL);
}

static void attach_encoder(struct uplink_io *io)
{
    const struct encoder_objects objects = {
        .arg = io, .keep = keep_object, .current = current_object, .find = find_object};
    encoder_attach(io->conf.encoder, &objects);
}

void uplink_io_attach(struct uplink_io *io, struct store *store)
{
    const struct store_state *s = store_state(store);
    const struct uplink_saved saved = {.install = s->install,
                                       .low = s->low,
                                       .next = s->next,
                                       .published = s->published,
                                       .log_id = s->log_id,
                                       .objects = s->objects};
    struct uplink_stats stats = io->core.stats;
    io->store = store;
    io->count = 0;
    io->flush_ms = 0;
    uplink_init(&io->core, &io->conf.core, &saved);
    io->core.stats = stats;
    attach_encoder(io);
    store_set_received(store, &io->core.received);
    if (rn_mqtt_connected(io->mqtt))
        uplink_io_event(io, &(struct uplink_event){.type = UPLINK_CONNECTED});
}

void uplink_io_reconf(struct uplink_io *io, const struct uplink_conf *core)
{
    io->conf.core = *core;
    uplink_reconf(&io->core, core);
}

bool uplink_io_open(const struct uplink_io *io)
{
    return io->core.phase == UPLINK_PHASE_OPEN;
}

const struct uplink_stats *uplink_io_stats(const struct uplink_io *io)
{
    return &io->core.stats;
}
