// How many rows may wait for an answer, and how long an answer is waited for: the window grows with
// answers and is halved with losses, the time follows the round trips. Pure.
#ifndef AGENT_UPLINK_WINDOW_H
#define AGENT_UPLINK_WINDOW_H

#include <stdint.h>

struct uplink_window {
    uint32_t rows; // that may wait
    uint32_t peer; // the bridge's bound; 0: none said
    uint32_t timeouts_in_row;
    int64_t halved_ms;
    int64_t srtt_ms; // smoothed round trip; 0: not measured
};

// A new connection begins with one row.
void uplink_window_restart(struct uplink_window *w);
// So many may wait. live: so many if the next one is a live row; those come at the pace of the
// interval and may be answered several together, so they do not wait for the window to open.
uint32_t uplink_window_now(const struct uplink_window *w, uint32_t live);
void uplink_window_answered(struct uplink_window *w, uint32_t most);
// A row that was sent at sent_ms had no answer.
void uplink_window_timeout(struct uplink_window *w, int64_t sent_ms, int64_t now_ms);
// A round trip beyond what the bridge may wait.
void uplink_window_measure(struct uplink_window *w, int64_t rtt_ms);
// How long the answer of a row may take that was sent `tries` times before.
int64_t uplink_window_patience(const struct uplink_window *w, uint32_t tries, int64_t min_ms,
                               int64_t max_ms);

#endif
