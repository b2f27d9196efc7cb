// In which order the uplink looks at the rows that wait: the newest first (live), and after each of
// those one of the backlog from its oldest on; rows that the bridge has received are passed over,
// unless they are probed. Pure; rows are fetched by the owner, one range at a time.
#ifndef AGENT_UPLINK_SCAN_H
#define AGENT_UPLINK_SCAN_H

#include <runnel/ranges.h>
#include <stdbool.h>
#include <stdint.h>

struct uplink_scan {
    uint64_t live_from; // rows from here on are live, those before are backlog
    uint64_t live_next, back_next;
    uint64_t first, end; // being looked at: first <= seq < end
    bool live_turn;      // the next one is to be live
    bool asked, live;    // a range is being looked at: a live one
    uint32_t probing;    // rows of the backlog still to probe
};

// Everything from low up to, not including, next is to be looked at again.
void uplink_scan_restart(struct uplink_scan *s, uint64_t low, uint64_t next);
void uplink_scan_stop(struct uplink_scan *s); // no answer comes any more
// The oldest rows are asked about again; what was live is backlog now.
void uplink_scan_probe(struct uplink_scan *s, uint64_t low, uint64_t next, uint32_t rows);
// The lowest row of first..end is to be fetched next; false: none now. backlog: may it be one of
// those?
bool uplink_scan_next(struct uplink_scan *s, uint64_t low, uint64_t next, bool backlog,
                      const struct rn_ranges *received);
// What was found there. False: nothing was asked for. *probe: it is a row to probe.
bool uplink_scan_found(struct uplink_scan *s, uint64_t seq, bool *probe);
void uplink_scan_nothing(struct uplink_scan *s);

#endif
