// See uplink_scan.h.
#include "agent/uplink_scan.h"

void uplink_scan_restart(struct uplink_scan *s, uint64_t low, uint64_t next)
{
    uint64_t newest = next > low ? next - 1 : next;
    *s = (struct uplink_scan){
        .live_from = newest, .live_next = newest, .back_next = low, .live_turn = true};
}

void uplink_scan_stop(struct uplink_scan *s)
{
    s->asked = false;
}

void uplink_scan_probe(struct uplink_scan *s, uint64_t low, uint64_t next, uint32_t rows)
{
    s->probing = rows;
    s->back_next = low;
    s->live_from = s->live_next = next;
}

// A row that waits and was received already need not be looked at.
static uint64_t skip(const struct rn_ranges *received, uint64_t from)
{
    for (uint32_t i = 0; i < received->count; i++) {
        const struct rn_range *r = &received->item[i];
        if (from >= r->first && from <= r->last)
            return r->last + 1;
    }
    return from;
}

bool uplink_scan_next(struct uplink_scan *s, uint64_t low, uint64_t next, bool backlog,
                      const struct rn_ranges *received)
{
    if (s->asked)
        return false;
    if (s->back_next < low)
        s->back_next = low;
    if (!s->probing)
        s->back_next = skip(received, s->back_next);
    s->live_next = skip(received, s->live_next);
    bool live = s->live_next < next;
    bool back = backlog && s->back_next < s->live_from;
    if (!live && !back)
        return false;
    s->asked = true;
    s->live = live && (s->live_turn || !back);
    s->live_turn = !s->live;
    s->first = s->live ? s->live_next : s->back_next;
    s->end = s->live ? next : s->live_from;
    return true;
}

bool uplink_scan_found(struct uplink_scan *s, uint64_t seq, bool *probe)
{
    if (!s->asked)
        return false;
    s->asked = false;
    *probe = s->probing > 0 && !s->live;
    if (s->live)
        s->live_next = seq + 1;
    else
        s->back_next = seq + 1;
    s->probing -= *probe;
    return true;
}

void uplink_scan_nothing(struct uplink_scan *s)
{
    if (!s->asked)
        return;
    s->asked = false;
    if (s->live) {
        s->live_next = s->end;
    } else {
        s->back_next = s->end;
        s->probing = 0;
    }
}
