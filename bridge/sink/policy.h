// Retry policy of a sink: a pure core. Given what came of a write and the time, it says what to do
// next: write this set of points, wait, give these points up, done.
//
// It works on the points of one group of runs, numbered from 0 and kept as bitmaps. A stack of sets
// is still to be written; the top one is being written.
//
//   outcome      what happens
//   DONE         the set is off the stack
//   RETRY        full-jitter backoff between retry_min and retry_max, or what the other side asked
//   for HOLD         the same set again every hold_ms; said once; recovery is told TOO_LARGE    the
//   set is halved and its half remembered as the most to write at once POISON       points that
//   were named die and the rest is written again; a set that was dropped
//                whole, or is a single point, dies; else suspects come first, else it is halved
//
// So a single bad point among n costs about 2 log2(n) writes. When one point after the other dies
// and none was named or written, the fault is hardly theirs (a wrong server that answers 400 to
// everything): then it is held as HOLD is, and only a few more die for each try.
#ifndef BRIDGE_SINK_POLICY_H
#define BRIDGE_SINK_POLICY_H

#include "bridge/sink/sink.h"
#include <runnel/rand.h>
#include <stdbool.h>
#include <stdint.h>

#define POLICY_MAX_POINTS 32768
#define POLICY_SET_BYTES  (POLICY_MAX_POINTS / 8)
#define POLICY_DEPTH      40 // 15 halvings, one choice of suspects, 15 halvings, and some

struct policy_conf {
    int64_t retry_min_ms, retry_max_ms, hold_ms;
    uint64_t seed;
};

struct policy_set {
    uint32_t count;
    bool suspects; // has been chosen by suspicion: not to be chosen again
    uint8_t bits[POLICY_SET_BYTES];
};

enum policy_state { POLICY_OK, POLICY_RETRYING, POLICY_HELD };

struct policy {
    struct policy_conf conf;
    struct rn_rand rand;
    enum policy_state state;
    uint32_t failures;     // in a row
    uint32_t limit;        // most points of one write
    uint32_t good_writes;  // since the limit changed
    uint32_t unnamed_dead; // in a row
    uint32_t depth;
    uint64_t retries, splits, dead_points; // since init
    struct policy_set dead;                // of the last action
    struct policy_set scratch;             // a part on its way to the stack
    struct policy_set set[POLICY_DEPTH];
};

// What came of the write, with the sink's points already turned into the group's numbers.
struct policy_result {
    enum sink_outcome outcome;
    int64_t retry_after_ms;
    uint64_t dropped;
    const uint32_t *bad;
    uint32_t nbad;
    const uint8_t *suspects; // bitmap or NULL
};

enum policy_do { POLICY_WRITE, POLICY_WAIT, POLICY_DONE };
enum policy_say { POLICY_SAY_NOTHING, POLICY_SAY_TROUBLE, POLICY_SAY_HELD, POLICY_SAY_RECOVERED };
struct policy_action {
    enum policy_do what;
    const struct policy_set *set;  // WRITE: these points
    int64_t until_ms;              // WAIT: then policy_again()
    const struct policy_set *dead; // to be dead-lettered before anything else; NULL: none
    enum policy_say say;
};

void policy_init(struct policy *p, const struct policy_conf *conf);
static inline void policy_set_add(struct policy_set *set, uint32_t point)
{
    uint8_t bit = (uint8_t)(1U << (point & 7));
    set->count += !(set->bits[point >> 3] & bit);
    set->bits[point >> 3] |= bit;
}
static inline bool policy_set_has(const struct policy_set *set, uint32_t point)
{
    return set->bits[point >> 3] & (1U << (point & 7));
}

// A new group: everything in `all` is to be written. What was left of the last one is forgotten.
void policy_begin(struct policy *p, const struct policy_set *all, struct policy_action *action);
void policy_result(struct policy *p, const struct policy_result *result, int64_t mono_ms,
                   struct policy_action *action);
void policy_again(struct policy *p, struct policy_action *action); // a wait is over
// The same backoff for something without points (open, flush): until_ms, and what to say.
void policy_trouble(struct policy *p, enum sink_outcome outcome, int64_t retry_after_ms,
                    int64_t mono_ms, struct policy_action *action);
enum policy_say policy_success(struct policy *p); // of something without points

// Restarts of the database in a row, without the cursor having moved: what it took is written again
// at once three times, then after a pause of `settle`, twice as long each time. After the last one
// it is believed, or something that looks like a restart at every check (a proxy that closes each
// connection) would stop the cursor for good.
#define POLICY_REWINDS_AT_ONCE     3
#define POLICY_REWINDS_MAX         8
#define POLICY_REWIND_PAUSE_MAX_MS 300000
// The pause before the nth of them, 1..POLICY_REWINDS_MAX.
int64_t policy_rewind_pause_ms(uint32_t nth, int64_t settle_ms);

#endif
