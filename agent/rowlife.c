// See rowlife.h.
#include "agent/rowlife.h"

#include <stddef.h>

enum { PERSIST = 1, SENDS = 2 };

struct cell {
    enum row_state from;
    enum row_event event;
    enum row_state next;
    int flags;
};

// What is not listed is not possible. Order: by state, then by event.
static const struct cell cells[] = {
    {ROW_OPEN, ROW_CUT, ROW_COMMITTED, PERSIST},
    {ROW_OPEN, ROW_DAMAGE, ROW_LOST, PERSIST},

    {ROW_COMMITTED, ROW_SEND, ROW_FROZEN, PERSIST | SENDS},
    {ROW_COMMITTED, ROW_RELABEL, ROW_COMMITTED, PERSIST},
    {ROW_COMMITTED, ROW_OTHER_LOG, ROW_COMMITTED, 0},
    {ROW_COMMITTED, ROW_THIN, ROW_THINNED, PERSIST},
    {ROW_COMMITTED, ROW_EVICT, ROW_EVICTED, PERSIST},
    {ROW_COMMITTED, ROW_DAMAGE, ROW_LOST, PERSIST},

    {ROW_FROZEN, ROW_SEND, ROW_FROZEN, SENDS},
    {ROW_FROZEN, ROW_GOT, ROW_RECEIVED, 0},
    {ROW_FROZEN, ROW_ACKED, ROW_DURABLE, PERSIST},
    {ROW_FROZEN, ROW_MISMATCH, ROW_FROZEN, 0},
    {ROW_FROZEN, ROW_REFUSE, ROW_REFUSED, PERSIST},
    {ROW_FROZEN, ROW_REENCODE, ROW_VOID, PERSIST},
    {ROW_FROZEN, ROW_CLASH, ROW_CONFLICT, 0},
    {ROW_FROZEN, ROW_RELABEL, ROW_COMMITTED, PERSIST},
    {ROW_FROZEN, ROW_TIMEOUT, ROW_FROZEN, SENDS},
    {ROW_FROZEN, ROW_OTHER_LOG, ROW_FROZEN, 0},
    {ROW_FROZEN, ROW_EVICT, ROW_EVICTED, PERSIST},
    {ROW_FROZEN, ROW_DAMAGE, ROW_LOST, PERSIST},

    {ROW_RECEIVED, ROW_GOT, ROW_RECEIVED, 0},
    {ROW_RECEIVED, ROW_ACKED, ROW_DURABLE, PERSIST},
    {ROW_RECEIVED, ROW_MISMATCH, ROW_RECEIVED, 0},
    {ROW_RECEIVED, ROW_REFUSE, ROW_REFUSED, PERSIST},
    {ROW_RECEIVED, ROW_REENCODE, ROW_VOID, PERSIST},
    {ROW_RECEIVED, ROW_CLASH, ROW_CONFLICT, 0},
    {ROW_RECEIVED, ROW_TIMEOUT, ROW_FROZEN, SENDS},
    {ROW_RECEIVED, ROW_OTHER_LOG, ROW_FROZEN, 0},
    {ROW_RECEIVED, ROW_EVICT, ROW_EVICTED, PERSIST},
    {ROW_RECEIVED, ROW_DAMAGE, ROW_LOST, PERSIST},

    {ROW_CONFLICT, ROW_CLASH, ROW_CONFLICT, 0},
    {ROW_CONFLICT, ROW_RELABEL, ROW_COMMITTED, PERSIST},
    {ROW_CONFLICT, ROW_TIMEOUT, ROW_FROZEN, SENDS},
    {ROW_CONFLICT, ROW_OTHER_LOG, ROW_FROZEN, 0},
    {ROW_CONFLICT, ROW_EVICT, ROW_EVICTED, PERSIST},
    {ROW_CONFLICT, ROW_DAMAGE, ROW_LOST, PERSIST},
};

struct row_step row_step(enum row_state state, enum row_event event)
{
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        const struct cell *c = &cells[i];
        if (c->from == state && c->event == event)
            return (struct row_step){.next = c->next,
                                     .possible = true,
                                     .persist = (c->flags & PERSIST) != 0,
                                     .sends = (c->flags & SENDS) != 0};
    }
    return (struct row_step){.next = state};
}

bool row_settled(enum row_state state)
{
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++)
        if (cells[i].from == state)
            return false;
    return true;
}

const char *row_state_name(enum row_state state)
{
    static const char *const names[] = {"open",    "committed", "frozen", "received",
                                        "durable", "refused",   "void",   "conflict",
                                        "thinned", "evicted",   "lost"};
    return state < ROW_STATES ? names[state] : "?";
}

const char *row_event_name(enum row_event event)
{
    static const char *const names[] = {"cut",       "send",      "received", "durable", "mismatch",
                                        "refuse",    "re-encode", "conflict", "relabel", "timeout",
                                        "other log", "thin",      "evict",    "damage"};
    return event < ROW_EVENTS ? names[event] : "?";
}
