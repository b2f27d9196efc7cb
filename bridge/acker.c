// See acker.h.
#include "bridge/acker.h"

#include <runnel/crc.h>
#include <string.h>

#define MARGIN_MAX_MS 10000 // of ack_by, for the way back

void acker_need(struct acker_words *words, enum rn_object kind, uint32_t id, bool object)
{
    for (uint8_t i = 0; i < words->nneed; i++)
        if (words->need[i].kind == kind && words->need[i].id == id) {
            words->need[i].object = words->need[i].object || object;
            return;
        }
    if (words->nneed < ACKER_MAX_NEEDS)
        words->need[words->nneed++] = (struct rn_ack_need){kind, id, object};
}

void acker_conflict(struct acker_words *words, uint64_t seq)
{
    uint8_t at = words->nconflict;
    for (uint8_t i = 0; i < words->nconflict; i++)
        if (words->conflict[i] == seq)
            return;
    if (words->nconflict == ACKER_MAX_CONFLICTS)
        return;
    for (; at > 0 && words->conflict[at - 1] > seq; at--)
        words->conflict[at] = words->conflict[at - 1];
    words->conflict[at] = seq;
    words->nconflict++;
}

bool acker_pending(const struct dedupe_install *in, const struct acker_words *words)
{
    return in->unsaid || words->has_hello || words->has_report || words->nneed ||
           words->nconflict || words->hold_ms;
}

static void add_range(struct rn_range *ranges, uint32_t *count, uint64_t seq)
{
    if (*count && ranges[*count - 1].last + 1 == seq)
        ranges[*count - 1].last = seq;
    else if (*count < RN_ACK_MAX)
        ranges[(*count)++] = (struct rn_range){seq, seq};
}

// A device checks a range with the CRCs of all its batches. Of those that it settled before it was
// killed it has none: a range that spans them fits nothing, however often it is said.
static void add_durable(struct rn_ack *ack, const struct dedupe_item *item, bool joins)
{
    const uint8_t bytes[4] = {(uint8_t)(item->crc >> 24), (uint8_t)(item->crc >> 16),
                              (uint8_t)(item->crc >> 8), (uint8_t)item->crc};
    struct rn_ack_durable *last = ack->ndurable ? &ack->durable[ack->ndurable - 1] : NULL;
    if (joins && last && last->last + 1 == item->seq) {
        last->last = item->seq;
        last->crc = rn_crc32c(last->crc, bytes, sizeof bytes);
    } else if (ack->ndurable < RN_ACK_MAX) {
        ack->durable[ack->ndurable++] =
            (struct rn_ack_durable){item->seq, item->seq, rn_crc32c(0, bytes, sizeof bytes)};
    }
}

static void add_refused(struct rn_ack *ack, const struct dedupe_item *item)
{
    struct rn_ack_refused *last = ack->nrefused ? &ack->refused[ack->nrefused - 1] : NULL;
    if (last && last->last + 1 == item->seq && last->reason == item->reason)
        last->last = item->seq;
    else if (ack->nrefused < RN_ACK_MAX)
        ack->refused[ack->nrefused++] = (struct rn_ack_refused){item->seq, item->seq, item->reason};
}

static void add_item(struct rn_ack *ack, const struct dedupe_item *item, bool joins)
{
    if (item->state == DEDUPE_RECEIVED)
        add_range(ack->received, &ack->nreceived, item->seq);
    else if (item->state == DEDUPE_DURABLE)
        add_durable(ack, item, joins);
    else if (item->state == DEDUPE_REFUSED)
        add_refused(ack, item);
}

bool acker_compose(const struct dedupe_install *in, const struct acker_words *words,
                   struct rn_ack *out)
{
    memset(out, 0, sizeof *out);
    out->tag = (uint32_t)in->install;
    if (!acker_pending(in, words))
        return false;
    out->has_hello = words->has_hello;
    out->hello = words->hello;
    out->hold_ms = words->hold_ms;
    out->has_report = words->has_report;
    out->report_n = words->report_n;
    out->nneed = words->nneed;
    memcpy(out->need, words->need, words->nneed * sizeof words->need[0]);
    for (uint8_t i = 0; i < words->nconflict; i++)
        add_range(out->conflict, &out->nconflict, words->conflict[i]);
    bool after_alone = false;
    for (uint32_t i = 0; i < in->count; i++) {
        const struct dedupe_item *item = &in->item[i];
        if (item->say)
            add_item(out, item, !after_alone && !item->alone);
        after_alone = item->alone;
    }
    return true;
}

static bool in_ranges(const struct rn_range *ranges, uint32_t count, uint64_t seq)
{
    return count && seq <= ranges[count - 1].last;
}

// Ranges are filled in ascending order, so what lies up to the last one of its sort was said.
static bool was_said(const struct rn_ack *ack, const struct dedupe_item *item)
{
    if (item->state == DEDUPE_RECEIVED)
        return in_ranges(ack->received, ack->nreceived, item->seq);
    if (item->state == DEDUPE_DURABLE)
        return ack->ndurable && item->seq <= ack->durable[ack->ndurable - 1].last;
    return item->state == DEDUPE_REFUSED && ack->nrefused &&
           item->seq <= ack->refused[ack->nrefused - 1].last;
}

void acker_said(struct dedupe_install *in, struct acker_words *words, const struct rn_ack *ack)
{
    memset(words, 0, sizeof *words);
    for (uint32_t i = 0; i < in->count && in->unsaid; i++)
        if (in->item[i].say && was_said(ack, &in->item[i]))
            dedupe_say(in, &in->item[i], false);
}

int64_t acker_delay(int64_t delay_ms, uint64_t ack_by_ms, bool urgent)
{
    uint64_t margin = ack_by_ms / 10 < MARGIN_MAX_MS ? ack_by_ms / 10 : MARGIN_MAX_MS;
    int64_t patient = (int64_t)(ack_by_ms - margin);
    return urgent || patient < delay_ms ? delay_ms : patient;
}

bool acker_backlog(uint64_t pending, uint64_t interval_ms, uint64_t ack_by_ms)
{
    return interval_ms == 0 ? pending > 1 : pending > ack_by_ms / interval_ms + 1;
}

// ---- due times ---------------------------------------------------------------------------------

static int64_t slot_number(int64_t ms)
{
    return ms / ACKER_SLOT_MS;
}

void acker_cancel(struct acker_wheel *wheel, struct acker_node *node)
{
    if (!node->prev)
        return;
    *node->prev = node->next;
    if (node->next)
        node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
    wheel->count--;
}

void acker_schedule(struct acker_wheel *wheel, struct acker_node *node, int64_t now_ms,
                    int64_t due_ms)
{
    if (node->prev && node->due_ms <= due_ms)
        return;
    acker_cancel(wheel, node);
    if (!wheel->count) // nothing waits: look from now on
        wheel->done = slot_number(now_ms) - 1;
    int64_t slot = slot_number(due_ms);
    if (slot <= wheel->done)
        slot = wheel->done + 1;
    if (slot >= wheel->done + ACKER_SLOTS)
        slot = wheel->done + ACKER_SLOTS - 1;
    node->due_ms = due_ms;
    struct acker_node **head = &wheel->slot[slot % ACKER_SLOTS];
    node->next = *head;
    node->prev = head;
    if (node->next)
        node->next->prev = &node->next;
    *head = node;
    wheel->count++;
}

struct acker_node *acker_take(struct acker_wheel *wheel, int64_t now_ms)
{
    while (wheel->count && wheel->done < slot_number(now_ms)) {
        struct acker_node *node = wheel->slot[(wheel->done + 1) % ACKER_SLOTS];
        if (!node) {
            wheel->done++;
            continue;
        }
        acker_cancel(wheel, node);
        if (slot_number(node->due_ms) <= slot_number(now_ms))
            return node;
        acker_schedule(wheel, node, now_ms, node->due_ms); // for a later turn of the wheel
    }
    return NULL;
}

int64_t acker_wait(const struct acker_wheel *wheel, int64_t now_ms)
{
    if (!wheel->count)
        return -1;
    int64_t slot = wheel->done + 1;
    while (!wheel->slot[slot % ACKER_SLOTS])
        slot++;
    int64_t wait = slot * ACKER_SLOT_MS - now_ms;
    return wait > 1 ? wait : 1;
}
