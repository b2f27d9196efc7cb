// See uplink_private.h.
#include "agent/uplink_private.h"

static const int64_t key_repeat_ms = 1000; // a key message is not repeated faster; doubles

// What a row names of one kind; 0: nothing.
static uint32_t named(const struct uplink_names *names, enum rn_object kind)
{
    return kind == RN_OBJECT_HINTS  ? names->hints
           : kind == RN_OBJECT_BASE ? names->base
                                    : names->schema;
}

static bool names_it(const struct uplink_flight *f, enum rn_object kind, uint32_t id)
{
    bool none = kind != RN_OBJECT_SCHEMA && id == 0;
    return f->seq != 0 && !none && named(&f->names, kind) == id;
}

static struct uplink_bound *bound_of(struct uplink *x, uint64_t install, enum rn_object kind,
                                     uint32_t id)
{
    for (int i = 0; i < UPLINK_BOUND; i++) {
        struct uplink_bound *b = &x->bound[i];
        if (b->install == install && b->kind == kind && b->id == id)
            return b;
    }
    return NULL;
}

// Nobody but us can have given hints or a base to the log. Given them it has for all installs.
static bool was_given(const struct uplink *x, enum rn_object kind, uint32_t id)
{
    if (kind == RN_OBJECT_SCHEMA || id <= x->objects_known)
        return true;
    for (int i = 0; i < UPLINK_BOUND; i++) {
        const struct uplink_bound *b = &x->bound[i];
        if (b->install != 0 && b->kind == kind && b->id == id && b->given)
            return true;
    }
    return false;
}

static struct uplink_bound *send_key(struct uplink *x, uint64_t install, enum rn_object kind,
                                     uint32_t id, bool object, int64_t now,
                                     struct uplink_actions *a)
{
    struct uplink_bound *b = bound_of(x, install, kind, id);
    if (!b) {
        b = &x->bound[x->bound_next++ % UPLINK_BOUND];
        *b = (struct uplink_bound){.install = install, .kind = kind, .id = id};
    }
    b->sent_ms = now;
    b->object = object;
    b->given |= object;
    x->stats.keys++;
    x->stats.objects += object;
    struct uplink_action *key = uplink_act(a, UPLINK_KEY);
    key->install = install;
    key->id = id;
    key->kind = kind;
    key->object = object;
    return b;
}

void uplink_keys_send(struct uplink *x, const struct uplink_flight *f, int64_t now,
                      struct uplink_actions *a)
{
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++) {
        uint32_t id = named(&f->names, kind);
        if (names_it(f, kind, id) && !bound_of(x, f->install, kind, id))
            send_key(x, f->install, kind, id, !was_given(x, kind, id), now, a);
    }
}

void uplink_keys_heard(struct uplink *x, const struct uplink_flight *f)
{
    for (enum rn_object kind = RN_OBJECT_SCHEMA; kind <= RN_OBJECT_BASE; kind++) {
        struct uplink_bound *b = bound_of(x, f->install, kind, named(&f->names, kind));
        if (b)
            b->asked = 0;
    }
}

// The same again has to wait, longer each time: a bridge that forgets what it is told, or does not
// take it, must not use up the device's traffic. An object brings its binding along.
static bool must_wait(const struct uplink *x, const struct uplink_bound *b, bool object,
                      int64_t now, int64_t *until)
{
    if (!b)
        return false;
    uint32_t doublings = b->asked < 1 ? 0 : b->asked < 12 ? b->asked - 1 : 11;
    *until = b->sent_ms + least(key_repeat_ms << doublings, x->conf.ack_timeout_max_ms);
    return (b->object || !object) && now < *until;
}

static uint64_t needed_by(const struct uplink *x, const struct uplink_event *e)
{
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        const struct uplink_flight *f = &x->flight[i];
        if (tag_of(f->install) == e->tag && names_it(f, e->kind, e->id))
            return f->install;
    }
    return 0;
}

void uplink_keys_need(struct uplink *x, const struct uplink_event *e, int64_t now,
                      struct uplink_actions *a)
{
    uint64_t install = x->acks_count ? needed_by(x, e) : 0;
    int64_t until = now;
    if (install == 0) {
        x->stats.foreign++;
        return;
    }
    x->stats.needs++;
    bool wait = must_wait(x, bound_of(x, install, e->kind, e->id), e->object, now, &until);
    if (!wait) {
        send_key(x, install, e->kind, e->id, e->object, now, a)->asked++;
        a->item[a->n - 1].asked = true;
    }
    for (int i = 0; i < UPLINK_WINDOW_MAX; i++) {
        struct uplink_flight *f = &x->flight[i];
        if (f->out && f->install == install && names_it(f, e->kind, e->id)) {
            f->out = wait; // perhaps the key is under way: they go again a moment later
            f->deadline_ms = least(f->deadline_ms, until);
        }
    }
}
