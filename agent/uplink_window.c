// See uplink_window.h.
#include "agent/uplink_window.h"

void uplink_window_restart(struct uplink_window *w)
{
    w->rows = 1;
    w->peer = 0;
    w->timeouts_in_row = 0;
}

static uint32_t bounded(const struct uplink_window *w, uint32_t rows)
{
    return w->peer && w->peer < rows ? w->peer : rows;
}

uint32_t uplink_window_now(const struct uplink_window *w, uint32_t live)
{
    uint32_t now = bounded(w, w->rows);
    return live > now ? bounded(w, live) : now;
}

void uplink_window_answered(struct uplink_window *w, uint32_t most)
{
    w->timeouts_in_row = 0;
    if (w->rows < most)
        w->rows++;
}

void uplink_window_timeout(struct uplink_window *w, int64_t sent_ms, int64_t now_ms)
{
    if (sent_ms < w->halved_ms)
        return; // part of the loss that halved the window already
    w->halved_ms = now_ms;
    w->rows = w->rows > 1 ? w->rows / 2 : 1;
    w->timeouts_in_row++;
}

// RFC 6298's smoothing.
void uplink_window_measure(struct uplink_window *w, int64_t rtt_ms)
{
    if (rtt_ms < 0)
        rtt_ms = 0;
    w->srtt_ms = w->srtt_ms ? w->srtt_ms + (rtt_ms - w->srtt_ms) / 8 : rtt_ms;
}

int64_t uplink_window_patience(const struct uplink_window *w, uint32_t tries, int64_t min_ms,
                               int64_t max_ms)
{
    int64_t base = 2 * w->srtt_ms > min_ms ? 2 * w->srtt_ms : min_ms;
    base = base < max_ms ? base : max_ms;
    int64_t wait = base << (tries < 10 ? tries : 10);
    return wait < max_ms ? wait : max_ms;
}
