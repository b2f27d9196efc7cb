// See dedupe.h.
#include "bridge/dedupe.h"

#include <stdlib.h>
#include <string.h>

static void install_free(struct dedupe *dedupe, struct dedupe_device *dev,
                         struct dedupe_install *in)
{
    dedupe->items -= in->count;
    dev->items -= in->count;
    free(in->item);
    free(in);
}

void dedupe_device_release(struct dedupe *dedupe, struct dedupe_device *dev)
{
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        install_free(dedupe, dev, dev->install[i]);
    dev->ninstalls = 0;
}

struct dedupe_install *dedupe_find(const struct dedupe_device *dev, uint64_t install)
{
    for (uint32_t i = 0; i < dev->ninstalls; i++)
        if (dev->install[i]->install == install)
            return dev->install[i];
    return NULL;
}

// Frees the install that has been silent for longest, if one has been for long enough.
static bool make_room(struct dedupe *dedupe, struct dedupe_device *dev, int64_t utc_ms,
                      uint64_t *gone)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < dev->ninstalls; i++)
        if (dev->install[i]->heard_ms < dev->install[oldest]->heard_ms)
            oldest = i;
    if (utc_ms - dev->install[oldest]->heard_ms < dedupe->silent_ms)
        return false;
    *gone = dev->install[oldest]->install;
    install_free(dedupe, dev, dev->install[oldest]);
    dev->install[oldest] = dev->install[--dev->ninstalls];
    dedupe->installs_forgotten++;
    return true;
}

struct dedupe_install *dedupe_announce(struct dedupe *dedupe, struct dedupe_device *dev,
                                       uint64_t install, int64_t utc_ms, uint64_t *gone)
{
    *gone = 0;
    struct dedupe_install *in = dedupe_find(dev, install);
    if (in) {
        in->heard_ms = utc_ms;
        return in;
    }
    if (dev->ninstalls == DEDUPE_MAX_INSTALLS && !make_room(dedupe, dev, utc_ms, gone)) {
        dedupe->installs_refused++;
        return NULL;
    }
    in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    in->install = install;
    in->heard_ms = utc_ms;
    dev->install[dev->ninstalls++] = in;
    return in;
}

// Index of the first item whose seq is not below `seq`.
static uint32_t lower_bound(const struct dedupe_install *in, uint64_t seq)
{
    uint32_t low = 0, high = in->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (in->item[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct dedupe_item *dedupe_item(const struct dedupe_install *in, uint64_t seq)
{
    uint32_t at = lower_bound(in, seq);
    return at < in->count && in->item[at].seq == seq ? &in->item[at] : NULL;
}

static void remove_items(struct dedupe *dedupe, struct dedupe_device *dev,
                         struct dedupe_install *in, uint32_t at, uint32_t n)
{
    for (uint32_t i = at; i < at + n; i++)
        in->unsaid -= in->item[i].say;
    memmove(in->item + at, in->item + at + n, (in->count - at - n) * sizeof *in->item);
    in->count -= n;
    dev->items -= n;
    dedupe->items -= n;
}

static void raise_floor(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                        uint64_t floor)
{
    if (floor <= in->floor)
        return;
    in->floor = floor;
    if (in->count)
        remove_items(dedupe, dev, in, 0, lower_bound(in, floor));
    if (in->cap > 64 && in->count < in->cap / 4) { // give a drained backlog's memory back
        struct dedupe_item *item = realloc(in->item, (in->cap / 2) * sizeof *item);
        if (item) {
            in->item = item;
            in->cap /= 2;
        }
    }
}

static bool grow(struct dedupe_install *in)
{
    if (in->count < in->cap)
        return true;
    uint32_t cap = in->cap ? in->cap * 2 : 8;
    struct dedupe_item *item = realloc(in->item, cap * sizeof *item);
    if (!item)
        return false;
    in->item = item;
    in->cap = cap;
    return true;
}

static bool insert(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                   uint32_t at, struct dedupe_item item)
{
    if (!grow(in))
        return false;
    memmove(in->item + at + 1, in->item + at, (in->count - at) * sizeof *in->item);
    in->item[at] = item;
    in->count++;
    dev->items++;
    dedupe->items++;
    if (item.seq > in->max_seq)
        in->max_seq = item.seq;
    return true;
}

enum dedupe_verdict dedupe_offer(struct dedupe *dedupe, struct dedupe_device *dev,
                                 struct dedupe_install *in, uint64_t seq, uint64_t low,
                                 uint32_t crc)
{
    raise_floor(dedupe, dev, in, seq - low);
    if (seq < in->floor)
        return DEDUPE_CONFLICT;
    uint32_t at = lower_bound(in, seq);
    if (at < in->count && in->item[at].seq == seq)
        return in->item[at].crc == crc ? DEDUPE_SAME : DEDUPE_CONFLICT;
    bool full = dev->items >= dedupe->max_device || dedupe->items >= dedupe->max_items;
    if ((full && seq > in->floor) ||
        !insert(dedupe, dev, in, at, (struct dedupe_item){.seq = seq, .crc = crc})) {
        dedupe->full++;
        return DEDUPE_FULL;
    }
    return DEDUPE_NEW;
}

void dedupe_say(struct dedupe_install *in, struct dedupe_item *item, bool say)
{
    item->alone = item->alone && say;
    if (item->say == say)
        return;
    item->say = say;
    in->unsaid = say ? in->unsaid + 1 : in->unsaid - 1;
}

void dedupe_say_alone(struct dedupe_install *in, struct dedupe_item *item)
{
    dedupe_say(in, item, true);
    item->alone = true;
}

void dedupe_say_all(struct dedupe_install *in)
{
    for (uint32_t i = 0; i < in->count; i++)
        if (in->item[i].state != DEDUPE_OPEN)
            dedupe_say(in, &in->item[i], true);
}

bool dedupe_settle(struct dedupe_install *in, uint64_t seq, enum dedupe_state state, uint8_t reason)
{
    struct dedupe_item *item = dedupe_item(in, seq);
    if (!item)
        return false;
    if (item->state < DEDUPE_DURABLE && state > item->state) {
        item->state = (uint8_t)state;
        item->reason = reason;
    }
    dedupe_say(in, item, true);
    return true;
}

void dedupe_drop(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                 uint64_t seq)
{
    uint32_t at = lower_bound(in, seq);
    if (at < in->count && in->item[at].seq == seq)
        remove_items(dedupe, dev, in, at, 1);
}

int dedupe_restore(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                   uint64_t seq, uint32_t crc)
{
    if (in->count && (dev->items >= dedupe->max_device || dedupe->items >= dedupe->max_items)) {
        dedupe->items_forgotten++;
        raise_floor(dedupe, dev, in, in->item[0].seq + 1);
    }
    uint32_t at = lower_bound(in, seq);
    if (seq < in->floor || (at < in->count && in->item[at].seq == seq))
        return RN_OK;
    struct dedupe_item item = {.seq = seq, .crc = crc, .state = DEDUPE_DURABLE};
    return insert(dedupe, dev, in, at, item) ? RN_OK : RN_ENOMEM;
}

void dedupe_reopen(struct dedupe_install *in, uint64_t seq)
{
    struct dedupe_item *item = dedupe_item(in, seq);
    if (item && item->state == DEDUPE_DURABLE)
        item->state = DEDUPE_RECEIVED;
}

// ---- saved form: little-endian words ------------------------------------------------------------

// Version 1 had no reasons.
enum { SAVED_VERSION = 2, INSTALL_BYTES = 36, ITEM_BYTES = 13, ITEM_BYTES_1 = 12 };

static void put(struct rn_buf *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        rn_buf_byte(out, (uint8_t)(value >> (8 * i)));
}

static uint64_t get(const uint8_t **at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)(*at)[i] << (8 * i);
    *at += bytes;
    return value;
}

void dedupe_save(const struct dedupe_device *dev, struct rn_buf *out)
{
    put(out, SAVED_VERSION, 1);
    for (uint32_t i = 0; i < dev->ninstalls; i++) {
        const struct dedupe_install *in = dev->install[i];
        put(out, in->install, 8);
        put(out, in->floor, 8);
        put(out, in->max_seq, 8);
        put(out, (uint64_t)in->heard_ms, 8);
        put(out, in->count, 4);
        for (uint32_t k = 0; k < in->count; k++) {
            put(out, in->item[k].seq, 8);
            put(out, in->item[k].crc, 4);
            put(out, in->item[k].state == DEDUPE_REFUSED ? in->item[k].reason : 0, 1);
        }
    }
}

static int load_item(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                     const uint8_t **at, bool reasons)
{
    uint64_t seq = get(at, 8);
    uint32_t crc = (uint32_t)get(at, 4);
    uint8_t reason = reasons ? (uint8_t)get(at, 1) : 0;
    int rc = dedupe_restore(dedupe, dev, in, seq, crc);
    struct dedupe_item *item = reason ? dedupe_item(in, seq) : NULL;
    if (item) {
        item->state = DEDUPE_REFUSED;
        item->reason = reason;
    }
    return rc;
}

static int load_install(struct dedupe *dedupe, struct dedupe_device *dev, const uint8_t **at,
                        const uint8_t *end, uint32_t version)
{
    uint64_t item_bytes = version == 1 ? ITEM_BYTES_1 : ITEM_BYTES;
    if (end - *at < INSTALL_BYTES)
        return RN_ECORRUPT;
    uint64_t install = get(at, 8), floor = get(at, 8), max_seq = get(at, 8);
    int64_t heard_ms = (int64_t)get(at, 8);
    uint64_t count = get(at, 4), gone;
    if (count * item_bytes > (uint64_t)(end - *at))
        return RN_ECORRUPT;
    if (dev->ninstalls == DEDUPE_MAX_INSTALLS && !dedupe_find(dev, install)) {
        *at += count * item_bytes;
        return RN_OK; // since then it made room for one of those that are here
    }
    struct dedupe_install *in = dedupe_announce(dedupe, dev, install, heard_ms, &gone);
    if (!in)
        return RN_ENOMEM;
    in->floor = floor;
    in->max_seq = max_seq;
    for (uint64_t i = 0; i < count; i++) {
        int rc = load_item(dedupe, dev, in, at, version > 1);
        if (rc)
            return rc;
    }
    return RN_OK;
}

int dedupe_load(struct dedupe *dedupe, struct dedupe_device *dev, struct rn_span saved,
                struct rn_err *err)
{
    const uint8_t *at = saved.data, *end = saved.data + saved.len;
    uint32_t version = saved.len ? (uint32_t)get(&at, 1) : 0;
    if (version < 1 || version > SAVED_VERSION)
        return rn_fail(err, RN_ECORRUPT, "saved dedupe state: unknown version");
    while (at < end) {
        int rc = load_install(dedupe, dev, &at, end, version);
        if (rc)
            return rn_fail(err, rc,
                           rc == RN_ENOMEM ? "no memory for saved dedupe state"
                                           : "saved dedupe state is damaged");
    }
    return RN_OK;
}
