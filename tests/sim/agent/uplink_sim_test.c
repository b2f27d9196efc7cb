// The uplink against a model of disk, broker and bridge on a virtual clock, from seeds: loss,
// repetition, reordering, restarts of everything, a bridge that forgets its log, bindings or single
// objects (schemas, hints, bases), a buffer restored from an old copy, eviction. A failure prints
// its seed; UPLINK_SEED=n runs that one alone.
#include "agent/uplink.h"
#include <runnel/crc.h>
#include <runnel/rand.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    ROWS = 4096,    // seqs of one buffer
    CONTENT = 8192, // batches ever made
    NAMES = 16384,  // names in a log
    OBJECTS = 4096, // schemas, hints and bases ever made
    BINDINGS = 4096,
    MAIL = 512,   // messages under way
    EVENTS = 128, // that wait for the core, as in its shell
};

// ---- the disk -----------------------------------------------------------------------------------

struct disk_row {
    bool there;
    uint64_t install;
    uint32_t content;
    struct uplink_names names;
    bool packed; // in an encoding above 0
};

struct disk {
    struct disk_row row[ROWS];
    uint64_t install, next, published, log_id;
    uint32_t objects, schema, hints, base; // numbers: the highest, and what batches name now
    uint32_t what[OBJECTS];                // by number: which object of the world
};

static uint64_t disk_low(const struct disk *d)
{
    for (uint64_t s = 1; s < d->next; s++)
        if (d->row[s].there)
            return s;
    return d->next;
}

// ---- the bridge ---------------------------------------------------------------------------------

struct name {
    uint64_t install, seq;
    uint32_t content;
    int64_t durable_at; // when the sink has it
    bool said;          // durable was said
};

struct binding {
    uint64_t install;
    enum rn_object kind;
    uint32_t id, what;
    bool disputed; // given to two objects
};

struct bridge {
    struct name name[NAMES];
    uint32_t n;
    uint64_t log_id;
    uint64_t announced[64];
    uint32_t nannounced;
    uint64_t refused[64]; // by announced: the highest seq that is in no log and yet known
    struct binding bound[BINDINGS];
    uint32_t nbound;
    bool has[OBJECTS]; // by object of the world
    int64_t down_until;
    bool plain_only;                // refuses encodings above 0
    bool no_refs;                   // refuses hints and bases
    uint64_t settled, settled_upto; // rows of this install up to here cannot be compared any more
};

// ---- messages -----------------------------------------------------------------------------------

enum mail_type { UP_BIRTH, UP_KEY, UP_BATCH, DOWN_EVENT };

struct mail {
    int64_t at;
    enum mail_type type;
    uint32_t connection;
    uint64_t install, seq;
    uint32_t content;
    struct uplink_names names;
    uint32_t what[RN_OBJECT_BASE + 1]; // by kind: the objects that a batch was encoded with
    enum rn_object kind;               // key message: kind, id, what[kind]
    uint32_t id;
    bool object, packed;
    struct uplink_event event; // down
    uint64_t log_id;
};

struct fate {
    bool made, evicted, forgiven; // forgiven: a restored copy took it from the disk
    uint32_t times;               // in the log that answers now
    bool ever_durable;            // in some log
};

struct world {
    uint64_t seed;
    struct rn_rand rand;
    int64_t now;
    struct uplink core;
    struct disk disk, copy;
    bool has_copy, restored;
    struct bridge bridge;
    struct mail mail[MAIL];
    uint32_t nmail, contents, connection, objects;
    bool connected;
    int64_t reconnect_at, next_batch_at;
    struct fate fate[CONTENT];
    uint32_t loss, repeat; // per cent
    uint64_t sends, conflicts, keys, objects_sent, referring;
    bool packing, referencing, packed_refused,
        refs_refused; // the agent may pack; not on this connection any more
    struct uplink_event queue[EVENTS];
    uint32_t head, count;
    bool running;
};

static void check(struct world *w, bool good, const char *what)
{
    if (!good)
        fail_msg("seed %llu at %lld ms: %s (UPLINK_SEED=%llu repeats it)",
                 (unsigned long long)w->seed, (long long)w->now, what, (unsigned long long)w->seed);
}

static uint64_t dice(struct world *w, uint64_t sides)
{
    return rn_rand_below(&w->rand, sides);
}

static void post(struct world *w, struct mail m)
{
    if (dice(w, 100) < w->loss && m.type != UP_BIRTH && m.type != UP_KEY)
        return; // QoS 1 is repeated by the broker; QoS 0 is not
    uint32_t copies = 1 + (dice(w, 100) < w->repeat);
    for (uint32_t i = 0; i < copies && w->nmail < MAIL; i++) {
        m.at = w->now + 5 + (int64_t)dice(w, 60);
        m.connection = w->connection;
        w->mail[w->nmail++] = m;
    }
}

static void feed(struct world *w, const struct uplink_event *e);

// ---- the bridge's side --------------------------------------------------------------------------

static void say(struct world *w, struct uplink_event e)
{
    post(w, (struct mail){.type = DOWN_EVENT, .event = e, .log_id = w->bridge.log_id});
}

static struct name *find_name(struct bridge *b, uint64_t install, uint64_t seq)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->name[i].install == install && b->name[i].seq == seq)
            return &b->name[i];
    return NULL;
}

static bool knows(const uint64_t *list, uint32_t n, uint64_t value)
{
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == value)
            return true;
    return false;
}

static void learn(uint64_t *list, uint32_t *n, uint64_t value)
{
    if (!knows(list, *n, value) && *n < 64)
        list[(*n)++] = value;
}

static void bridge_birth(struct world *w, const struct mail *m)
{
    struct bridge *b = &w->bridge;
    struct uplink_event e = {.type = UPLINK_GOT_HELLO, .log_id = b->log_id};
    learn(b->announced, &b->nannounced, m->install);
    e.hello.install = m->install;
    for (uint32_t i = 0; i < b->nannounced; i++)
        if (b->announced[i] == m->install)
            e.hello.max_seq = b->refused[i];
    for (uint32_t i = 0; i < b->n; i++)
        if (b->name[i].install == m->install && b->name[i].seq > e.hello.max_seq)
            e.hello.max_seq = b->name[i].seq;
    say(w, e);
}

static uint32_t crc_of_content(uint32_t content)
{
    return content * 2654435761u + 17;
}

static uint32_t crc_of_one(uint32_t content)
{
    uint32_t crc = crc_of_content(content);
    const uint8_t b[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                          (uint8_t)crc};
    return rn_crc32c(0, b, 4);
}

static void say_durable(struct world *w, struct name *n)
{
    n->said = true;
    w->fate[n->content].ever_durable = true; // also if this log is wiped before the answer arrives
    say(w, (struct uplink_event){.type = UPLINK_GOT_DURABLE,
                                 .tag = (uint32_t)n->install,
                                 .first = n->seq,
                                 .last = n->seq,
                                 .crc = crc_of_one(n->content)});
}

static struct binding *find_bound(struct bridge *b, uint64_t install, enum rn_object kind,
                                  uint32_t id)
{
    for (uint32_t i = 0; i < b->nbound; i++) {
        struct binding *at = &b->bound[i];
        if (at->install == install && at->kind == kind && at->id == id)
            return at;
    }
    return NULL;
}

static void say_need(struct world *w, uint64_t install, enum rn_object kind, uint32_t id,
                     bool object)
{
    say(w, (struct uplink_event){.type = UPLINK_GOT_NEED,
                                 .tag = (uint32_t)install,
                                 .kind = kind,
                                 .id = id,
                                 .object = object});
}

static void bridge_key(struct world *w, const struct mail *m)
{
    struct bridge *b = &w->bridge;
    uint32_t what = m->what[m->kind];
    struct binding *old = find_bound(b, m->install, m->kind, m->id);
    if (old && old->what != what) {
        check(w, w->restored, "a number is bound to another object");
        old->disputed = true;
        return;
    }
    if (m->object)
        b->has[what] = true;
    if (!b->has[what]) {
        say_need(w, m->install, m->kind, m->id, true);
        return;
    }
    check(w, old || b->nbound < BINDINGS, "the model has too few bindings");
    if (!old)
        b->bound[b->nbound++] = (struct binding){m->install, m->kind, m->id, what, false};
}

static uint32_t number(const struct uplink_names *names, enum rn_object kind)
{
    return kind == RN_OBJECT_SCHEMA ? names->schema
           : kind == RN_OBJECT_BASE ? names->base
                                    : names->hints;
}

// Says what it lacks, all at once or not.
static bool can_decode(struct world *w, const struct mail *m)
{
    bool good = true;
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++) {
        uint32_t id = number(&m->names, kind);
        if (id == 0 || (!good && dice(w, 2)))
            continue;
        const struct binding *bound = find_bound(&w->bridge, m->install, kind, id);
        bool lacks = !bound || !w->bridge.has[bound->what];
        check(w, !bound || bound->disputed || bound->what == m->what[kind],
              "decoded with another object");
        if (lacks)
            say_need(w, m->install, kind, id, bound != NULL);
        good = good && !lacks;
    }
    return good;
}

// One of its numbers was given to two objects.
static bool is_disputed(struct world *w, const struct mail *m)
{
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++) {
        uint32_t id = number(&m->names, kind);
        const struct binding *bound = id ? find_bound(&w->bridge, m->install, kind, id) : NULL;
        if (bound && bound->disputed)
            return true;
    }
    return false;
}

static void say_conflict(struct world *w, const struct mail *m)
{
    say(w, (struct uplink_event){.type = UPLINK_GOT_CONFLICT,
                                 .tag = (uint32_t)m->install,
                                 .first = m->seq,
                                 .last = m->seq});
}

static void note_refused(struct bridge *b, const struct mail *m)
{
    for (uint32_t i = 0; i < b->nannounced; i++)
        if (b->announced[i] == m->install && b->refused[i] < m->seq)
            b->refused[i] = m->seq;
}

static void bridge_batch(struct world *w, const struct mail *m)
{
    struct bridge *b = &w->bridge;
    if (!knows(b->announced, b->nannounced, m->install))
        return;
    if (m->packed && (b->plain_only || (b->no_refs && (m->names.hints || m->names.base)))) {
        note_refused(b, m);
        say(w, (struct uplink_event){.type = UPLINK_GOT_REFUSED,
                                     .tag = (uint32_t)m->install,
                                     .first = m->seq,
                                     .last = m->seq,
                                     .reason = RN_REFUSED_ENCODING});
        return;
    }
    if (is_disputed(w, m) && !find_name(b, m->install, m->seq)) {
        say_conflict(w, m);
        return;
    }
    if (!can_decode(w, m))
        return;
    w->referring += m->names.hints || m->names.base;
    if (m->install == b->settled && m->seq <= b->settled_upto) {
        say_conflict(w, m);
        return;
    }
    struct name *n = find_name(b, m->install, m->seq);
    if (n && n->content != m->content) {
        w->conflicts++;
        check(w, w->restored, "one name was used for two batches");
        say_conflict(w, m);
        return;
    }
    if (!n) {
        check(w, b->n < NAMES, "the model's log is too small");
        n = &b->name[b->n++];
        *n = (struct name){.install = m->install,
                           .seq = m->seq,
                           .content = m->content,
                           .durable_at = w->now + (int64_t)dice(w, 8000)};
        w->fate[m->content].times++;
        check(w, w->fate[m->content].times == 1 || w->restored,
              "one batch is in the log under two names");
    }
    if (n->durable_at <= w->now)
        say_durable(w, n);
    else
        say(w, (struct uplink_event){.type = UPLINK_GOT_RECEIVED,
                                     .tag = (uint32_t)n->install,
                                     .first = n->seq,
                                     .last = n->seq});
}

static void bridge_time(struct world *w)
{
    for (uint32_t i = 0; i < w->bridge.n; i++) {
        struct name *n = &w->bridge.name[i];
        if (!n->said && n->durable_at <= w->now)
            say_durable(w, n);
    }
}

// ---- the agent's side ---------------------------------------------------------------------------

static void do_fetch(struct world *w, const struct uplink_action *a)
{
    for (uint64_t s = a->first; s < a->last && s < w->disk.next; s++) {
        const struct disk_row *r = &w->disk.row[s];
        if (r->there) {
            feed(w, &(struct uplink_event){
                        .type = UPLINK_ROW, .seq = s, .install = r->install, .names = r->names});
            return;
        }
    }
    feed(w, &(struct uplink_event){.type = UPLINK_NO_ROW});
}

static void do_send(struct world *w, const struct uplink_action *a)
{
    const struct disk_row *r = &w->disk.row[a->seq];
    if (!r->there) {
        feed(w,
             &(struct uplink_event){.type = UPLINK_GONE, .seq = a->seq, .low = disk_low(&w->disk)});
        return;
    }
    check(w, a->seq <= w->disk.published, "sent before its name was committed as used");
    uint32_t most =
        w->core.window.rows > w->core.conf.live ? w->core.window.rows : w->core.conf.live;
    check(w, uplink_in_flight(&w->core) <= most, "more in flight than the window");
    for (uint64_t s = 1; s < a->low; s++)
        check(w, !w->disk.row[s].there, "a row below low is pending");
    w->sends++;
    post(w, (struct mail){.type = UP_BATCH,
                          .install = r->install,
                          .seq = a->seq,
                          .content = r->content,
                          .names = r->names,
                          .what = {[RN_OBJECT_SCHEMA] = w->disk.what[r->names.schema],
                                   [RN_OBJECT_HINTS] = w->disk.what[r->names.hints],
                                   [RN_OBJECT_BASE] = w->disk.what[r->names.base]},
                          .packed = r->packed});
}

static void do_key(struct world *w, const struct uplink_action *a)
{
    struct mail m = {
        .type = UP_KEY, .install = a->install, .kind = a->kind, .id = a->id, .object = a->object};
    if (a->id > w->disk.objects)
        return; // never was
    m.what[a->kind] = w->disk.what[a->id];
    w->keys++;
    w->objects_sent += a->object;
    post(w, m);
}

// The model numbers objects of all kinds together.
static uint32_t new_object(struct world *w)
{
    check(w, w->disk.objects + 1 < OBJECTS && w->objects + 1 < OBJECTS, "too few objects");
    w->disk.what[++w->disk.objects] = ++w->objects;
    return w->disk.objects;
}

static void do_reencode(struct world *w, const struct uplink_action *a)
{
    struct disk_row *old = &w->disk.row[a->seq];
    struct uplink_event e = {.type = UPLINK_GONE, .tag = a->tag, .seq = a->seq};
    check(w, (w->bridge.plain_only || w->bridge.no_refs) && a->reason == RN_REFUSED_ENCODING,
          "encoded anew for nothing");
    check(w, !old->there || old->packed, "what was plain already is encoded anew");
    check(w, w->disk.next < ROWS, "the model's disk is too small");
    if (old->names.hints || old->names.base)
        w->refs_refused = true;
    else
        w->packed_refused = true;
    if (old->there) {
        uint64_t seq = w->disk.next++;
        w->disk.row[seq] = *old;
        w->disk.row[seq].install = w->disk.install;
        w->disk.row[seq].packed = old->there = false;
        w->disk.row[seq].names.hints = w->disk.row[seq].names.base = 0;
        e.type = UPLINK_REENCODED;
        e.first = a->seq;
        e.last = seq;
    }
    e.low = disk_low(&w->disk);
    feed(w, &e);
}

static void do_settle(struct world *w, const struct uplink_action *a)
{
    bool ok = true;
    check(w, a->fate == ROW_DURABLE, "a row that could be encoded anew is given up");
    for (uint64_t s = a->first; s <= a->last && s < w->disk.next; s++) {
        struct disk_row *r = &w->disk.row[s];
        if (!r->there || (uint32_t)r->install != a->tag)
            continue;
        ok = crc_of_one(r->content) == a->crc; // the model's ranges hold one row
        if (!ok)
            break;
        check(w, w->fate[r->content].ever_durable, "deleted what is not durable");
        r->there = false;
    }
    feed(w, &(struct uplink_event){.type = UPLINK_SETTLED,
                                   .tag = a->tag,
                                   .first = a->first,
                                   .last = a->last,
                                   .low = disk_low(&w->disk),
                                   .ok = ok});
}

static void do_relabel(struct world *w, const struct uplink_action *a)
{
    uint64_t install = w->disk.install;
    if (a->first > a->last || a->tag == (uint32_t)install)
        install = (rn_rand_u64(&w->rand) >> 1) | 1;
    for (uint64_t s = 1; s < w->disk.next; s++) {
        struct disk_row *r = &w->disk.row[s];
        bool clash = s >= a->first && s <= a->last && (uint32_t)r->install == a->tag;
        if (s > w->disk.published || clash)
            r->install = install;
    }
    w->disk.install = install;
    feed(w, &(struct uplink_event){.type = UPLINK_RELABELLED, .install = install});
}

static void do_adopt(struct world *w, const struct uplink_action *a)
{
    if (w->disk.log_id != 0 && w->disk.log_id != a->log_id)
        for (uint64_t s = 1; s < w->disk.next; s++)
            w->disk.row[s].install = w->disk.install;
    w->disk.log_id = a->log_id;
    feed(w, &(struct uplink_event){.type = UPLINK_ADOPTED});
}

static void execute(struct world *w, const struct uplink_action *a)
{
    switch (a->type) {
    case UPLINK_ANNOUNCE:
        post(w, (struct mail){.type = UP_BIRTH, .install = w->disk.install});
        break;
    case UPLINK_FETCH:
        do_fetch(w, a);
        break;
    case UPLINK_FREEZE:
        w->disk.published = a->seq > w->disk.published ? a->seq : w->disk.published;
        feed(w, &(struct uplink_event){.type = UPLINK_FROZEN, .up_to = a->seq});
        break;
    case UPLINK_SEND:
        do_send(w, a);
        break;
    case UPLINK_KEY:
        do_key(w, a);
        break;
    case UPLINK_SETTLE:
        do_settle(w, a);
        break;
    case UPLINK_REENCODE:
        do_reencode(w, a);
        break;
    case UPLINK_RELABEL:
        do_relabel(w, a);
        break;
    case UPLINK_ADOPT:
        do_adopt(w, a);
        break;
    }
}

static void feed(struct world *w, const struct uplink_event *e)
{
    check(w, w->count < EVENTS, "too many events wait");
    w->queue[(w->head + w->count++) % EVENTS] = *e;
    if (w->running)
        return;
    w->running = true;
    while (w->count > 0) {
        struct uplink_event next = w->queue[w->head];
        struct uplink_actions actions;
        w->head = (w->head + 1) % EVENTS;
        w->count--;
        uplink_step(&w->core, &next, w->now, &actions);
        for (uint32_t i = 0; i < actions.n; i++)
            execute(w, &actions.item[i]);
    }
    w->running = false;
}

static void start_agent(struct world *w)
{
    const struct uplink_conf conf = {.ack_by_ms = 3000,
                                     .ack_timeout_min_ms = 1000,
                                     .ack_timeout_max_ms = 60000,
                                     .hello_timeout_ms = 1000,
                                     .window = 16,
                                     .live = w->seed % 2 ? 5 : 0,
                                     .seed = rn_rand_u64(&w->rand)};
    const struct uplink_saved saved = {.install = w->disk.install,
                                       .low = disk_low(&w->disk),
                                       .next = w->disk.next,
                                       .published = w->disk.published,
                                       .log_id = w->disk.log_id,
                                       .objects = w->disk.objects};
    uplink_init(&w->core, &conf, &saved);
    w->connected = false;
    w->reconnect_at = w->now + (int64_t)dice(w, 2000);
}

static void make_batch(struct world *w)
{
    if (w->disk.next >= ROWS || w->contents >= CONTENT)
        return;
    uint64_t seq = w->disk.next++;
    uint32_t content = w->contents++;
    w->fate[content].made = true;
    if (w->disk.schema == 0 || content % 400 == 399)
        w->disk.schema = new_object(w);
    bool packed = w->packing && !w->packed_refused;
    struct uplink_names names = {.schema = w->disk.schema};
    if (packed && w->referencing && dice(w, 30) == 0)
        w->disk.hints = new_object(w);
    if (packed && w->referencing && dice(w, 10) == 0)
        w->disk.base = new_object(w);
    if (packed && !w->refs_refused) {
        names.hints = w->referencing && dice(w, 10) == 0 ? 0 : w->disk.hints;
        names.base = w->referencing && dice(w, 10) == 0 ? 0 : w->disk.base;
    }
    w->disk.row[seq] = (struct disk_row){.there = true,
                                         .install = w->disk.install,
                                         .content = content,
                                         .names = names,
                                         .packed = packed};
    bool open = w->core.phase == UPLINK_PHASE_OPEN;
    if (open)
        w->disk.published = seq;
    feed(w,
         &(struct uplink_event){.type = UPLINK_COMMITTED, .seq = seq, .up_to = w->disk.published});
}

static void disconnect(struct world *w)
{
    if (w->connected)
        feed(w, &(struct uplink_event){.type = UPLINK_DISCONNECTED});
    w->connected = false;
    w->connection++; // what was under way is gone
    w->reconnect_at = w->now + (int64_t)dice(w, 5000);
}

// ---- faults -------------------------------------------------------------------------------------

static void evict_oldest(struct world *w)
{
    uint64_t seq = disk_low(&w->disk);
    if (seq == w->disk.next)
        return;
    w->disk.row[seq].there = false;
    w->fate[w->disk.row[seq].content].evicted = true;
    feed(w, &(struct uplink_event){.type = UPLINK_GONE, .low = disk_low(&w->disk)});
}

static void restart_bridge(struct world *w, bool forget)
{
    struct bridge *b = &w->bridge;
    b->down_until = w->now + (int64_t)dice(w, 20000);
    for (uint32_t i = 0; i < b->n; i++)
        b->name[i].said = b->name[i].durable_at <= w->now; // answers under way are forgotten
    if (!forget)
        return;
    for (uint32_t i = 0; i < b->n; i++)
        w->fate[b->name[i].content].times = 0;
    *b = (struct bridge){.log_id = b->log_id + 1,
                         .down_until = b->down_until,
                         .plain_only = b->plain_only,
                         .no_refs = b->no_refs};
}

// Its log stays, but some of what it needs to decode is gone, as after a damaged file.
static void lose_objects(struct world *w)
{
    struct bridge *b = &w->bridge;
    for (uint32_t i = 0; i < OBJECTS; i++)
        b->has[i] = b->has[i] && dice(w, 3) > 0;
    for (uint32_t i = 0; i < b->nbound;) {
        if (dice(w, 3) == 0)
            b->bound[i] = b->bound[--b->nbound];
        else
            i++;
    }
}

// The machine's disk is put back to an old copy: what was made since is gone from it.
static void restore(struct world *w)
{
    for (uint64_t s = 1; s < w->disk.next; s++)
        if (w->disk.row[s].there)
            w->fate[w->disk.row[s].content].forgiven = true;
    disconnect(w);
    w->disk = w->copy;
    for (uint64_t s = 1; s < w->disk.next; s++)
        if (w->disk.row[s].there)
            w->fate[w->disk.row[s].content].forgiven = false;
    w->restored = true;
    start_agent(w);
}

static void fault(struct world *w, bool with_copies)
{
    switch (dice(w, 10)) {
    case 0:
    case 1:
        disconnect(w);
        break;
    case 2:
        restart_bridge(w, false);
        break;
    case 3:
        disconnect(w); // the broker restarts
        w->reconnect_at += 3000;
        break;
    case 4:
        disconnect(w);
        start_agent(w);
        break;
    case 5:
        if (dice(w, 3) == 0)
            restart_bridge(w, true);
        break;
    case 6:
        for (uint64_t i = dice(w, 4); i > 0; i--)
            evict_oldest(w);
        break;
    case 8:
        lose_objects(w);
        break;
    case 7:
        w->loss = (uint32_t)dice(w, 40);
        w->repeat = (uint32_t)dice(w, 20);
        break;
    default:
        if (with_copies && !w->has_copy) {
            w->copy = w->disk;
            w->has_copy = true;
        } else if (with_copies && dice(w, 4) == 0) {
            restore(w);
            w->has_copy = false;
        }
        break;
    }
}

// ---- the clock ----------------------------------------------------------------------------------

static void deliver(struct world *w, const struct mail *m)
{
    if (m->type == DOWN_EVENT) {
        if (!w->connected || m->connection != w->connection)
            return;
        if (m->event.type == UPLINK_GOT_HELLO)
            feed(w, &m->event);
        feed(w, &(struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = m->log_id});
        if (m->event.type != UPLINK_GOT_HELLO)
            feed(w, &m->event);
        return;
    }
    if (w->now < w->bridge.down_until)
        return;
    if (m->type == UP_BIRTH)
        bridge_birth(w, m);
    else if (m->type == UP_KEY)
        bridge_key(w, m);
    else if (m->type == UP_BATCH)
        bridge_batch(w, m);
}

static void deliver_due(struct world *w)
{
    for (uint32_t i = 0; i < w->nmail;) {
        if (w->mail[i].at > w->now) {
            i++;
            continue;
        }
        struct mail m = w->mail[i];
        w->mail[i] = w->mail[--w->nmail];
        deliver(w, &m);
    }
}

static void tick(struct world *w, int64_t batch_every)
{
    w->now += 10;
    if (!w->connected && w->now >= w->reconnect_at) {
        w->connected = true;
        w->connection++;
        w->packed_refused = w->refs_refused = false;
        feed(w, &(struct uplink_event){.type = UPLINK_CONNECTED});
    }
    deliver_due(w);
    if (w->bridge.down_until && w->now >= w->bridge.down_until) {
        w->bridge.down_until = 0;
        if (w->connected && dice(w, 2) == 0)
            feed(w, &(struct uplink_event){.type = UPLINK_BRIDGE_BACK, .spread_ms = 500});
    }
    if (w->now >= w->bridge.down_until)
        bridge_time(w);
    if (batch_every && w->now >= w->next_batch_at) {
        make_batch(w);
        w->next_batch_at = w->now + batch_every;
    }
    int64_t wake = uplink_wake(&w->core);
    if (wake <= w->now)
        feed(w, &(struct uplink_event){.type = UPLINK_TIME});
    check(w, uplink_wake(&w->core) > w->now - 1, "asks to be woken in the past");
}

static void drain(struct world *w, int64_t limit_ms)
{
    w->loss = w->repeat = 0;
    w->bridge.down_until = 0;
    int64_t end = w->now + limit_ms;
    while (w->now < end && disk_low(&w->disk) < w->disk.next)
        tick(w, 0);
    check(w, disk_low(&w->disk) == w->disk.next, "rows are left although everything works again");
}

static void account(struct world *w)
{
    for (uint32_t c = 0; c < w->contents; c++) {
        const struct fate *f = &w->fate[c];
        check(w, f->ever_durable || f->evicted || f->forgiven || f->times > 0,
              "a batch is nowhere");
    }
}

static struct world *new_world(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->seed = seed;
    rn_rand_init(&w->rand, seed);
    w->now = 1000;
    w->disk.install = (rn_rand_u64(&w->rand) >> 1) | 1;
    w->disk.next = 1;
    w->bridge.log_id = 77;
    start_agent(w);
    return w;
}

enum manner { TAKES_ALL, PLAIN_ONLY, NO_REFS };

static void run(uint64_t seed, bool with_copies, enum manner manner)
{
    struct world *w = new_world(seed);
    w->packing = w->referencing = true;
    w->bridge.plain_only = manner == PLAIN_ONLY;
    w->bridge.no_refs = manner == NO_REFS;
    w->loss = (uint32_t)dice(w, 30);
    w->repeat = (uint32_t)dice(w, 20);
    int64_t fault_at = 3000, end = 400000;
    while (w->now < end) {
        tick(w, 2000);
        if (w->now >= fault_at) {
            fault(w, with_copies);
            fault_at = w->now + (int64_t)dice(w, 20000);
        }
    }
    drain(w, 3600000);
    account(w);
    check(w, manner == TAKES_ALL ? w->referring > 20 : w->referring == 0,
          "not as many batches as should be came with hints or a base");
    free(w);
}

static void seeds(bool with_copies, enum manner manner, uint64_t count)
{
    const char *one = getenv("UPLINK_SEED");
    if (one) {
        run(strtoull(one, NULL, 10), with_copies, manner);
        return;
    }
#ifdef __SANITIZE_ADDRESS__ // several times as slow
    count /= 4;
#endif
    for (uint64_t seed = 1; seed <= count; seed++)
        run(seed, with_copies, manner);
}

static void nothing_is_lost_or_doubled_whatever_fails(void **state)
{
    (void)state;
    seeds(false, TAKES_ALL, 100);
}

static void restored_copies_lose_and_merge_nothing(void **state)
{
    (void)state;
    seeds(true, TAKES_ALL, 100);
}

static void a_bridge_that_refuses_an_encoding_loses_and_doubles_nothing(void **state)
{
    (void)state;
    seeds(false, PLAIN_ONLY, 100);
    seeds(true, PLAIN_ONLY, 50);
}

static void a_bridge_that_refuses_hints_and_bases_loses_and_doubles_nothing(void **state)
{
    (void)state;
    seeds(false, NO_REFS, 100);
    seeds(true, NO_REFS, 50);
}

// 100 batches with one base and one set of hints: each is sent once, with its object at once.
static void hints_and_a_base_are_given_unasked_and_once(void **state)
{
    (void)state;
    struct world *w = new_world(9);
    w->packing = true;
    while (w->core.phase != UPLINK_PHASE_OPEN)
        tick(w, 0);
    make_batch(w);
    drain(w, 60000); // the schema is asked for
    uint64_t keys = w->keys, objects = w->objects_sent;
    w->disk.hints = new_object(w);
    w->disk.base = new_object(w);
    for (int i = 0; i < 100; i++) {
        make_batch(w);
        drain(w, 60000);
    }
    check(w, w->referring >= 99, "batches do not name them");
    check(w, w->objects_sent - objects == 2, "the objects were not sent once each");
    check(w, w->keys - keys <= 4, "key messages were repeated");
    disconnect(w);
    start_agent(w); // after a restart the bindings are said again, the objects are not
    objects = w->objects_sent;
    make_batch(w);
    drain(w, 60000);
    check(w, w->objects_sent == objects, "objects that the log has were sent again");
    free(w);
}

static void a_refused_encoding_costs_each_row_one_more_transmission(void **state)
{
    (void)state;
    struct world *w = new_world(7);
    w->packing = w->bridge.plain_only = true;
    w->reconnect_at = INT64_MAX;
    for (int i = 0; i < 100; i++)
        make_batch(w);
    w->reconnect_at = w->now;
    drain(w, 60000);
    check(w, w->core.stats.reencoded == 100, "not every row was encoded anew, once");
    check(w, w->sends < 220, "rows were sent more than twice");
    check(w, w->bridge.n == 100, "the log does not hold each batch once");
    make_batch(w);
    drain(w, 60000);
    check(w, w->core.stats.reencoded == 100, "a refused encoding was used again at once");
    free(w);
}

static void a_claim_about_rows_that_are_not_in_flight_changes_nothing(void **state)
{
    (void)state;
    struct world *w = new_world(8);
    w->packing = w->bridge.plain_only = true;
    while (w->core.phase != UPLINK_PHASE_OPEN)
        tick(w, 0);
    w->bridge.down_until = INT64_MAX;
    for (int i = 0; i < 50; i++)
        make_batch(w);
    feed(w, &(struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = w->bridge.log_id});
    feed(w, &(struct uplink_event){.type = UPLINK_GOT_REFUSED,
                                   .tag = (uint32_t)w->disk.install,
                                   .first = 1,
                                   .last = 50,
                                   .reason = RN_REFUSED_ENCODING});
    check(w, w->core.stats.reencoded == 1, "more was encoded anew than the window holds");
    drain(w, 600000);
    free(w);
}

// The bridge cannot compare what is below `low`, and calls a copy that comes late a conflict.
static void a_conflict_about_rows_that_are_settled_makes_no_new_install(void **state)
{
    (void)state;
    struct world *w = new_world(14);
    uint64_t install = w->disk.install;
    for (int i = 0; i < 5; i++)
        make_batch(w);
    drain(w, 600000);
    make_batch(w);
    feed(w, &(struct uplink_event){.type = UPLINK_GOT_ACK, .log_id = w->bridge.log_id});
    struct uplink_event late = {
        .type = UPLINK_GOT_CONFLICT, .tag = (uint32_t)install, .first = 2, .last = 3};
    feed(w, &late);
    check(w, w->disk.install == install && w->core.phase == UPLINK_PHASE_OPEN,
          "a new install for rows that are gone");
    late.first = late.last = 6;
    feed(w, &late);
    check(w, w->disk.install != install, "no new install for a row in flight");
    free(w);
}

// A buffer was restored from an old copy; the bridge has long settled what is pending in it. A new
// install each time would soon be more than the bridge takes.
static void rows_of_an_older_install_that_conflict_take_the_current_one(void **state)
{
    (void)state;
    struct world *w = new_world(15);
    w->reconnect_at = INT64_MAX;
    for (int i = 0; i < 60; i++)
        make_batch(w);
    w->disk.published = 60;
    w->disk.log_id = w->bridge.log_id;
    w->bridge.settled = w->disk.install;
    w->bridge.settled_upto = 60;
    learn(w->bridge.announced, &w->bridge.nannounced, w->disk.install);
    w->disk.install = 4711;
    start_agent(w);
    drain(w, 120000);
    account(w);
    check(w, w->core.stats.conflicts > 0, "there was no conflict");
    check(w, w->disk.install == 4711 && w->bridge.nannounced == 2, "a new install was made");
    free(w);
}

static void a_backlog_drains_at_the_pace_of_the_window(void **state)
{
    (void)state;
    struct world *w = new_world(1);
    w->reconnect_at = INT64_MAX;
    for (int i = 0; i < 500; i++)
        make_batch(w);
    w->reconnect_at = w->now;
    int64_t begin = w->now;
    drain(w, 600000);
    // 500 rows, 16 at a time once the window has opened, about 70 ms a round
    check(w, w->now - begin < 20000, "the backlog drains too slowly");
    check(w, w->sends < 520, "rows were sent again although nothing was lost");
    free(w);
}

static void the_newest_batch_is_sent_first_after_an_outage(void **state)
{
    (void)state;
    struct world *w = new_world(2);
    w->reconnect_at = INT64_MAX;
    for (int i = 0; i < 50; i++)
        make_batch(w);
    w->reconnect_at = w->now;
    while (w->bridge.n == 0 && w->now < 60000)
        tick(w, 0);
    check(w, w->bridge.n == 1 && w->bridge.name[0].seq == 50, "the newest batch was not first");
    free(w);
}

static void no_data_goes_before_the_hello(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    make_batch(w);
    w->bridge.down_until = INT64_MAX;
    while (w->now < 120000)
        tick(w, 2000);
    check(w, w->sends == 0, "data was sent without a hello");
    check(w, w->core.stats.announces > 3, "the birth is not repeated");
    free(w);
}

static void a_hostile_bridge_cannot_cause_endless_new_installs(void **state)
{
    (void)state;
    struct world *w = new_world(4);
    make_batch(w);
    while (w->core.phase != UPLINK_PHASE_OPEN)
        tick(w, 0);
    for (int i = 0; i < 100; i++) {
        struct uplink_event e = {.type = UPLINK_GOT_HELLO, .log_id = w->bridge.log_id};
        e.hello.install = w->disk.install;
        e.hello.max_seq = 1000000;
        feed(w, &e);
    }
    check(w, w->core.stats.relabels <= UPLINK_RELABEL_MAX, "too many new installs");
    free(w);
}

static void a_bridge_that_comes_back_is_asked_at_once(void **state)
{
    (void)state;
    struct world *w = new_world(6);
    while (w->core.phase != UPLINK_PHASE_OPEN)
        tick(w, 0);
    w->bridge.down_until = INT64_MAX;
    while (w->now < 300000)
        tick(w, 2000);
    w->bridge.down_until = 0;
    feed(w, &(struct uplink_event){.type = UPLINK_BRIDGE_BACK, .spread_ms = 500});
    int64_t begin = w->now;
    while (w->bridge.n == 0 && w->now < begin + 10000)
        tick(w, 0);
    check(w, w->now - begin < 1000, "the bridge's return was not used");
    drain(w, 60000);
    free(w);
}

static void a_hold_stops_sending_until_it_is_over(void **state)
{
    (void)state;
    struct world *w = new_world(5);
    while (w->core.phase != UPLINK_PHASE_OPEN)
        tick(w, 0);
    feed(w, &(struct uplink_event){
                .type = UPLINK_GOT_ACK, .log_id = w->bridge.log_id, .hold_ms = 5000});
    int64_t until = w->now + 4900;
    make_batch(w);
    while (w->now < until)
        tick(w, 0);
    check(w, w->sends == 0, "sent while held");
    drain(w, 60000);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conflict_about_rows_that_are_settled_makes_no_new_install),
        cmocka_unit_test(rows_of_an_older_install_that_conflict_take_the_current_one),
        cmocka_unit_test(a_backlog_drains_at_the_pace_of_the_window),
        cmocka_unit_test(the_newest_batch_is_sent_first_after_an_outage),
        cmocka_unit_test(no_data_goes_before_the_hello),
        cmocka_unit_test(a_hostile_bridge_cannot_cause_endless_new_installs),
        cmocka_unit_test(a_bridge_that_comes_back_is_asked_at_once),
        cmocka_unit_test(a_hold_stops_sending_until_it_is_over),
        cmocka_unit_test(a_refused_encoding_costs_each_row_one_more_transmission),
        cmocka_unit_test(a_claim_about_rows_that_are_not_in_flight_changes_nothing),
        cmocka_unit_test(a_bridge_that_refuses_an_encoding_loses_and_doubles_nothing),
        cmocka_unit_test(a_bridge_that_refuses_hints_and_bases_loses_and_doubles_nothing),
        cmocka_unit_test(hints_and_a_base_are_given_unasked_and_once),
        cmocka_unit_test(nothing_is_lost_or_doubled_whatever_fails),
        cmocka_unit_test(restored_copies_lose_and_merge_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
