// See uplink.h.
#include "agent/uplink_private.h"

#include <assert.h>
#include <string.h>

static const int64_t never = INT64_MAX;
static const int64_t blocked_pause_ms = 200;
static const int64_t hold_max_ms = 3600000;

struct uplink_action *uplink_act(struct uplink_actions *a, enum uplink_action_type type)
{
    assert(a->n < UPLINK_ACTIONS_MAX);
    struct uplink_action *item = &a->item[a->n++];
    *item = (struct uplink_action){.type = type};
    return item;
}

// ---- flights ------------------------------------------------------------------------------------

static struct uplink_flight *flight_of(struct uplink *x, uint64_t seq)
{
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        if (x->flight[i].seq == seq)
            return &x->flight[i];
    return NULL;
}

static uint32_t count_flights(const struct uplink *x, bool only_out)
{
    uint32_t n = 0;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        n += x->flight[i].seq != 0 && (x->flight[i].out || !only_out);
    return n;
}

uint32_t uplink_in_flight(const struct uplink *x)
{
    return count_flights(x, true);
}

static void drop_flight(struct uplink_flight *f)
{
    *f = (struct uplink_flight){0};
}

static void drop_all_flights(struct uplink *x)
{
    memset(x->flight, 0, sizeof x->flight);
}

static bool in_range(const struct uplink_flight *f, const struct uplink_event *e)
{
    return f->seq != 0 && tag_of(f->install) == e->tag && f->seq >= e->first && f->seq <= e->last;
}

// ---- timing -------------------------------------------------------------------------------------

// value x U(1, 1.25), so that a fleet does not answer a failure in step
static int64_t jittered(struct uplink *x, int64_t value)
{
    return value + (int64_t)rn_rand_below(&x->rand, (uint64_t)(value / 4 + 1));
}

static int64_t ack_timeout(struct uplink *x, uint32_t tries)
{
    int64_t wait = uplink_window_patience(&x->window, tries, x->conf.ack_timeout_min_ms,
                                          x->conf.ack_timeout_max_ms);
    return jittered(x, x->conf.ack_by_ms + wait); // ack_by is the bridge's, however long
}

// A repeated row says nothing about the round trip (Karn).
static void measure(struct uplink *x, const struct uplink_flight *f, int64_t now)
{
    if (f->tries == 0 && !f->probe)
        uplink_window_measure(&x->window, now - f->sent_ms - x->conf.ack_by_ms);
}

static void plan_probe(struct uplink *x, int64_t now)
{
    int64_t wait = 2 * x->conf.ack_timeout_min_ms << (x->probes < 6 ? x->probes : 6);
    // What became durable just after an answer may wait for the next one.
    x->probe_ms =
        now + jittered(x, 2 * x->conf.ack_by_ms + least(wait, x->conf.ack_timeout_max_ms));
}

// ---- what is sent next --------------------------------------------------------------------------

// Everything that is pending is to be looked at again: newest row first, backlog from the oldest.
static void rescan(struct uplink *x)
{
    drop_all_flights(x);
    uplink_scan_restart(&x->scan, x->at.low, x->at.next);
    x->freezing = false;
}

static void announce(struct uplink *x, int64_t now, struct uplink_actions *a)
{
    int64_t wait = x->conf.hello_timeout_ms << (x->hellos < 10 ? x->hellos : 10);
    x->hello_ms = now + jittered(x, least(wait, x->conf.ack_timeout_max_ms));
    x->hellos++;
    x->stats.announces++;
    uplink_act(a, UPLINK_ANNOUNCE);
}

static uint32_t window_for(const struct uplink *x, bool live)
{
    return uplink_window_now(&x->window, live ? x->conf.live : 0);
}

// Asks for the next row.
static void fetch(struct uplink *x, struct uplink_actions *a)
{
    uint32_t flights = count_flights(x, false);
    if (flights >= window_for(x, true))
        return;
    bool backlog = flights < window_for(x, false);
    if (!uplink_scan_next(&x->scan, x->at.low, x->at.next, backlog, &x->received))
        return;
    struct uplink_action *get = uplink_act(a, UPLINK_FETCH);
    get->first = x->scan.first;
    get->last = x->scan.end;
}

// ---- sending ------------------------------------------------------------------------------------

static void send_row(struct uplink *x, struct uplink_flight *f, int64_t now,
                     struct uplink_actions *a)
{
    uplink_keys_send(x, f, now, a);
    f->out = true;
    f->sent_ms = now;
    f->deadline_ms = now + ack_timeout(x, f->tries);
    x->stats.sent++;
    x->stats.resent += f->tries > 0;
    struct uplink_action *send = uplink_act(a, UPLINK_SEND);
    send->seq = f->seq;
    send->low = x->at.low < f->seq ? x->at.low : f->seq;
}

// Sends what is due while the window allows, freezes what waits for it.
static void send_due(struct uplink *x, int64_t now, struct uplink_actions *a)
{
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (f->seq == 0 || f->out)
            continue;
        if (f->state == ROW_COMMITTED && !x->freezing) {
            x->freezing = true;
            uplink_act(a, UPLINK_FREEZE)->seq = x->at.next - 1;
        } else if (f->state == ROW_FROZEN &&
                   uplink_in_flight(x) < window_for(x, f->seq >= x->scan.live_from)) {
            send_row(x, f, now, a);
        }
    }
}

static void pump(struct uplink *x, int64_t now, struct uplink_actions *a)
{
    if (x->phase != UPLINK_PHASE_OPEN || x->hold_ms || x->blocked_ms)
        return;
    send_due(x, now, a);
    fetch(x, a);
}

// ---- events: connection and identity ------------------------------------------------------------

static void on_connected(struct uplink *x, int64_t now, struct uplink_actions *a)
{
    x->phase = UPLINK_PHASE_HELLO;
    uplink_window_restart(&x->window);
    x->hellos = x->relabels = 0;
    x->hold_ms = x->blocked_ms = 0;
    x->acks_count = false;
    rescan(x);
    announce(x, now, a);
}

static void on_disconnected(struct uplink *x)
{
    x->phase = UPLINK_PHASE_OFF;
    drop_all_flights(x);
    uplink_scan_stop(&x->scan);
    x->freezing = false;
    x->hello_ms = 0;
}

// A log that is not the one before holds nothing of ours.
static void forget_log(struct uplink *x)
{
    rn_ranges_clear(&x->received);
    memset(x->bound, 0, sizeof x->bound);
    x->probe_ms = 0;
    x->probes = 0;
    rescan(x);
}

// Rows of an older install take the current one: the store makes a new one for others only.
static void relabel(struct uplink *x, uint32_t tag, uint64_t first, uint64_t last,
                    struct uplink_actions *a)
{
    bool renew = first > last || tag == tag_of(x->at.install);
    if (renew && x->relabels >= UPLINK_RELABEL_MAX)
        return;
    x->relabels += renew;
    x->stats.relabels += renew;
    x->phase = UPLINK_PHASE_MOVING;
    struct uplink_action *move = uplink_act(a, UPLINK_RELABEL);
    move->tag = tag;
    move->first = first;
    move->last = last;
}

static void adopt(struct uplink *x, uint64_t log_id, struct uplink_actions *a)
{
    x->phase = UPLINK_PHASE_MOVING;
    x->objects_known = 0;
    if (x->at.log_id != 0)
        forget_log(x);
    x->at.log_id = log_id;
    uplink_act(a, UPLINK_ADOPT)->log_id = log_id;
}

// Somebody else has used names of this install that we never used: an older copy of this buffer was
// restored, or another machine runs a copy.
static bool is_copy(const struct uplink *x, const struct rn_hello *hello)
{
    bool other_machine =
        hello->fingerprint && x->conf.fingerprint && hello->fingerprint != x->conf.fingerprint;
    return hello->max_seq > x->at.published || other_machine;
}

static void on_hello(struct uplink *x, const struct uplink_event *e, struct uplink_actions *a)
{
    if (x->phase == UPLINK_PHASE_OFF || x->phase == UPLINK_PHASE_MOVING ||
        e->hello.install != x->at.install) {
        x->stats.foreign++;
        return;
    }
    x->hellos = 0;
    x->hello_ms = 0;
    if (is_copy(x, &e->hello) && x->relabels < UPLINK_RELABEL_MAX) {
        relabel(x, 0, 1, 0, a);
        return;
    }
    if (e->log_id != x->at.log_id)
        adopt(x, e->log_id, a);
    else
        x->phase = UPLINK_PHASE_OPEN;
}

static void on_relabelled(struct uplink *x, const struct uplink_event *e, int64_t now,
                          struct uplink_actions *a)
{
    bool renewed = x->at.install != e->install;
    x->at.install = e->install;
    if (x->phase != UPLINK_PHASE_MOVING)
        return;
    x->phase = renewed ? UPLINK_PHASE_HELLO : UPLINK_PHASE_OPEN;
    rescan(x);
    if (renewed)
        announce(x, now, a);
}

static void on_adopted(struct uplink *x)
{
    if (x->phase != UPLINK_PHASE_MOVING)
        return;
    x->phase = UPLINK_PHASE_OPEN;
    rescan(x);
}

// ---- events: answers of the bridge --------------------------------------------------------------

static void on_ack(struct uplink *x, const struct uplink_event *e, int64_t now,
                   struct uplink_actions *a)
{
    if (x->phase == UPLINK_PHASE_OPEN && e->log_id != x->at.log_id) {
        adopt(x, e->log_id, a);
        announce(x, now, a);
    }
    x->acks_count = x->phase != UPLINK_PHASE_OFF && e->log_id == x->at.log_id;
    x->stats.foreign += !x->acks_count;
    if (!x->acks_count)
        return;
    if (e->window)
        x->window.peer = e->window;
    if (e->hold_ms > 0)
        x->hold_ms = now + least(e->hold_ms, hold_max_ms);
}

// Answered rows leave the window, which grows by one for each answer that frees something.
static void free_flights(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    bool any = false;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (!in_range(f, e))
            continue;
        if (f->out) {
            measure(x, f, now);
            x->stats.answered++;
        }
        uplink_keys_heard(x, f);
        any = true;
        drop_flight(f);
    }
    if (any)
        uplink_window_answered(&x->window, x->conf.window);
}

// Only names that may have been sent can have been received; anything else is not ours.
static bool plausible(struct uplink *x, const struct uplink_event *e)
{
    bool good = x->acks_count && e->first > 0 && e->first <= e->last && e->last <= x->at.published;
    x->stats.foreign += !good;
    return good;
}

static void on_received(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    if (!plausible(x, e))
        return;
    // Other installs' rows are marked one by one, as they are seen in flight: a range of one
    // install says nothing about what lies between.
    if (e->tag == tag_of(x->at.install)) {
        if (rn_ranges_add(&x->received, e->first, e->last) < 0)
            x->stats.foreign++; // no room: such a row is sent again later
    } else {
        for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
            if (in_range(&x->flight[i], e) &&
                rn_ranges_add(&x->received, x->flight[i].seq, x->flight[i].seq) < 0)
                x->stats.foreign++;
    }
    rn_ranges_forget_below(&x->received, x->at.low);
    x->stats.received++;
    free_flights(x, e, now);
    if (x->probe_ms == 0)
        plan_probe(x, now);
}

static void settle(struct uplink *x, const struct uplink_event *e, enum row_state fate,
                   struct uplink_actions *a)
{
    if (!plausible(x, e))
        return;
    struct uplink_action *done = uplink_act(a, UPLINK_SETTLE);
    done->tag = e->tag;
    done->first = e->first;
    done->last = e->last;
    done->crc = e->crc;
    done->reason = e->reason;
    done->fate = fate;
}

static void on_settled(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    if (!e->ok) {
        x->stats.mismatches++;
        return;
    }
    bool probed = false;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        probed |= in_range(&x->flight[i], e) && x->flight[i].probe;
    x->at.low = e->low;
    rn_ranges_forget_below(&x->received, x->at.low);
    x->stats.durable++;
    free_flights(x, e, now);
    x->probes = 0;
    x->probe_batch = 1;
    if (x->at.low >= x->at.next) {
        x->probe_ms = 0; // the next row that is received plans it
    } else if (probed) { // answers were lost: more of them at once
        x->probe_batch = x->window.rows;
        x->probe_ms = now;
    } else {
        plan_probe(x, now);
    }
}

// The bridge does not know the encoding. Rows that are not in flight now will be sent, refused and
// encoded anew later: so one answer causes no more work than the window has rows.
static void reencode(struct uplink *x, const struct uplink_event *e, struct uplink_actions *a)
{
    if (!plausible(x, e))
        return;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        const struct uplink_flight *f = &x->flight[i];
        if (!in_range(f, e) || !row_step(f->state, ROW_REENCODE).possible)
            continue;
        struct uplink_action *anew = uplink_act(a, UPLINK_REENCODE);
        anew->seq = f->seq;
        anew->tag = e->tag;
        anew->reason = e->reason;
    }
}

static void on_refused(struct uplink *x, const struct uplink_event *e, struct uplink_actions *a)
{
    x->stats.refused++;
    if (e->reason == RN_REFUSED_ENCODING)
        reencode(x, e, a);
    else
        settle(x, e, ROW_REFUSED, a);
}

static void on_reencoded(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    struct uplink_event old = *e;
    old.last = e->first;
    x->stats.reencoded++;
    x->at.next = e->last + 1;
    x->at.low = e->low;
    rn_ranges_forget_below(&x->received, x->at.low);
    free_flights(x, &old, now);
}

static bool any_in_flight(const struct uplink *x, const struct uplink_event *e)
{
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        if (in_range(&x->flight[i], e))
            return true;
    return false;
}

// A copy of a row that is settled long since may come late to the bridge, which cannot compare it
// any more and says conflict. That is about nothing that waits here.
static void on_conflict(struct uplink *x, const struct uplink_event *e, struct uplink_actions *a)
{
    if (!plausible(x, e) || x->phase != UPLINK_PHASE_OPEN || !any_in_flight(x, e))
        return;
    x->stats.conflicts++;
    relabel(x, e->tag, e->first, e->last, a);
}

// ---- events: the buffer -------------------------------------------------------------------------

static void on_committed(struct uplink *x, const struct uplink_event *e)
{
    x->at.next = e->seq + 1;
    if (e->up_to > x->at.published)
        x->at.published = e->up_to;
    if (x->at.low > e->seq)
        x->at.low = e->seq;
}

static void on_row(struct uplink *x, const struct uplink_event *e)
{
    bool probe;
    if (!uplink_scan_found(&x->scan, e->seq, &probe))
        return;
    if (probe)
        rn_ranges_forget_below(&x->received, e->seq + 1);
    if (flight_of(x, e->seq) || rn_ranges_has(&x->received, e->seq))
        return;
    struct uplink_flight *f = flight_of(x, 0);
    if (f)
        *f = (struct uplink_flight){
            .seq = e->seq,
            .install = e->install,
            .names = e->names,
            .state = e->seq <= x->at.published ? ROW_FROZEN : ROW_COMMITTED,
            .probe = probe,
        };
}

static void on_frozen(struct uplink *x, const struct uplink_event *e)
{
    x->freezing = false;
    if (e->up_to > x->at.published)
        x->at.published = e->up_to;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (f->seq != 0 && f->seq <= x->at.published)
            f->state = row_step(f->state, ROW_SEND).next;
    }
}

static void on_blocked(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    x->blocked_ms = now + blocked_pause_ms;
    x->freezing = false;
    struct uplink_flight *f = e->seq ? flight_of(x, e->seq) : NULL;
    if (f)
        f->out = false;
}

static void on_gone(struct uplink *x, const struct uplink_event *e)
{
    x->at.low = e->low;
    rn_ranges_forget_below(&x->received, x->at.low);
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (f->seq != 0 && (f->seq < x->at.low || f->seq == e->seq))
            drop_flight(f);
    }
}

static int64_t soon(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    return now + 1 + (int64_t)rn_rand_below(&x->rand, (uint64_t)e->spread_ms);
}

// Waiting for its own timeouts would take minutes after a long outage.
static void on_bridge_back(struct uplink *x, const struct uplink_event *e, int64_t now)
{
    if (x->phase == UPLINK_PHASE_HELLO) {
        x->hellos = 0;
        x->hello_ms = least(x->hello_ms, soon(x, e, now));
    }
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (!f->out)
            continue;
        f->deadline_ms = least(f->deadline_ms, soon(x, e, now));
        f->tries = 0;
    }
    x->probes = 0;
    if (x->probe_ms)
        x->probe_ms = least(x->probe_ms, soon(x, e, now));
}

// ---- events: time -------------------------------------------------------------------------------

static void time_out(struct uplink *x, struct uplink_flight *f, int64_t now)
{
    f->out = false;
    f->tries++;
    f->state = row_step(f->state, ROW_TIMEOUT).next;
    x->stats.timeouts++;
    uplink_window_timeout(&x->window, f->sent_ms, now);
}

// The bridge answers nothing: perhaps it never saw our birth. Say it again after 1, 2, 4, 8, ...
// losses.
static void announce_if_deaf(struct uplink *x, uint32_t before, int64_t now,
                             struct uplink_actions *a)
{
    uint32_t n = x->window.timeouts_in_row;
    if (n != before && (n & (n - 1)) == 0)
        announce(x, now, a);
}

// Answers are sent without acknowledgement and may be lost: ask about the oldest rows again.
static void probe_if_due(struct uplink *x, int64_t now)
{
    if (x->probe_ms == 0 || now < x->probe_ms || count_flights(x, false) > 0)
        return;
    if (x->at.low >= x->at.next) {
        x->probe_ms = 0;
        return;
    }
    if (x->hold_ms || x->blocked_ms) { // nothing can be asked now
        plan_probe(x, now);
        return;
    }
    uplink_scan_probe(&x->scan, x->at.low, x->at.next, x->probe_batch ? x->probe_batch : 1);
    x->probes++;
    x->probe_batch = 1;
    plan_probe(x, now);
}

static void on_time(struct uplink *x, int64_t now, struct uplink_actions *a)
{
    if (x->phase == UPLINK_PHASE_HELLO && x->hello_ms && now >= x->hello_ms)
        announce(x, now, a);
    if (x->phase != UPLINK_PHASE_OPEN)
        return;
    uint32_t before = x->window.timeouts_in_row;
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        if (x->flight[i].out && x->flight[i].deadline_ms <= now)
            time_out(x, &x->flight[i], now);
    announce_if_deaf(x, before, now, a);
    probe_if_due(x, now);
}

// ---- the machine --------------------------------------------------------------------------------

void uplink_reconf(struct uplink *x, const struct uplink_conf *conf)
{
    x->conf = *conf;
    if (x->conf.window < 1)
        x->conf.window = 1;
    if (x->conf.window > UPLINK_WINDOW_MAX)
        x->conf.window = UPLINK_WINDOW_MAX;
    if (x->window.rows > x->conf.window)
        x->window.rows = x->conf.window;
    if (x->conf.live > x->conf.window)
        x->conf.live = x->conf.window;
}

void uplink_init(struct uplink *x, const struct uplink_conf *conf, const struct uplink_saved *saved)
{
    *x = (struct uplink){
        .at = *saved, .window = {.rows = 1}, .probe_batch = 1, .objects_known = saved->objects};
    uplink_reconf(x, conf);
    rn_rand_init(&x->rand, conf->seed);
    rn_ranges_init(&x->received, x->storage, UPLINK_RANGES);
    rescan(x);
}

// What comes from the bridge and the connection to it; false: something else.
static bool from_bridge(struct uplink *x, const struct uplink_event *e, int64_t now,
                        struct uplink_actions *a)
{
    switch (e->type) {
    case UPLINK_CONNECTED:
        on_connected(x, now, a);
        return true;
    case UPLINK_DISCONNECTED:
        on_disconnected(x);
        return true;
    case UPLINK_BRIDGE_BACK:
        on_bridge_back(x, e, now);
        return true;
    case UPLINK_GOT_HELLO:
        on_hello(x, e, a);
        return true;
    case UPLINK_GOT_ACK:
        on_ack(x, e, now, a);
        return true;
    case UPLINK_GOT_RECEIVED:
        on_received(x, e, now);
        return true;
    case UPLINK_GOT_DURABLE:
        settle(x, e, ROW_DURABLE, a);
        return true;
    case UPLINK_GOT_REFUSED:
        on_refused(x, e, a);
        return true;
    case UPLINK_GOT_NEED:
        uplink_keys_need(x, e, now, a);
        return true;
    case UPLINK_GOT_CONFLICT:
        on_conflict(x, e, a);
        return true;
    default:
        return false;
    }
}

// What comes from the clock and the buffer, answers to actions above all.
static void from_here(struct uplink *x, const struct uplink_event *e, int64_t now,
                      struct uplink_actions *a)
{
    switch (e->type) {
    case UPLINK_TIME:
        on_time(x, now, a);
        break;
    case UPLINK_COMMITTED:
        on_committed(x, e);
        break;
    case UPLINK_ROW:
        on_row(x, e);
        break;
    case UPLINK_NO_ROW:
        uplink_scan_nothing(&x->scan);
        break;
    case UPLINK_FROZEN:
        on_frozen(x, e);
        break;
    case UPLINK_SETTLED:
        on_settled(x, e, now);
        break;
    case UPLINK_REENCODED:
        on_reencoded(x, e, now);
        break;
    case UPLINK_RELABELLED:
        on_relabelled(x, e, now, a);
        break;
    case UPLINK_ADOPTED:
        on_adopted(x);
        break;
    case UPLINK_BLOCKED:
        on_blocked(x, e, now);
        break;
    case UPLINK_GONE:
        on_gone(x, e);
        break;
    default:
        break;
    }
}

void uplink_step(struct uplink *x, const struct uplink_event *event, int64_t mono_ms,
                 struct uplink_actions *actions)
{
    actions->n = 0;
    if (mono_ms >= x->hold_ms)
        x->hold_ms = 0;
    if (mono_ms >= x->blocked_ms)
        x->blocked_ms = 0;
    if (!from_bridge(x, event, mono_ms, actions))
        from_here(x, event, mono_ms, actions);
    if (!event->more)
        pump(x, mono_ms, actions);
}

static void sooner(int64_t *wake, int64_t at)
{
    if (at > 0 && at < *wake)
        *wake = at;
}

int64_t uplink_wake(const struct uplink *x)
{
    int64_t wake = never;
    if (x->phase == UPLINK_PHASE_HELLO)
        sooner(&wake, x->hello_ms);
    if (x->phase != UPLINK_PHASE_OPEN)
        return wake;
    sooner(&wake, x->hold_ms);
    sooner(&wake, x->blocked_ms);
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++)
        if (x->flight[i].out)
            sooner(&wake, x->flight[i].deadline_ms);
    if (count_flights(x, false) == 0)
        sooner(&wake, x->probe_ms);
    return wake;
}
