// Uplink: which buffered row is sent when, and what an answer means. The pure core of delivery.
//
// Promises: nothing is settled that the bridge did not report durable under the log that answers;
// a row's name is committed as used before its first transmission; no data before a hello; at most
// `window` rows unanswered; every row that is in the buffer is sent in the end, for as long as the
// bridge answers. It sees names of rows, never their bytes, and only a window of them: its memory
// does not grow with the backlog.
//
// The shell (uplink_io) feeds events, executes the actions in order and feeds back what came of
// those that can fail. One thread.
//
//   OFF --connected--> HELLO --hello--> OPEN --disconnected--> OFF
//                        ^---- moving (a new install is being committed) <-- hello, conflict
#ifndef AGENT_UPLINK_H
#define AGENT_UPLINK_H

#include "agent/rowlife.h"
#include "agent/uplink_scan.h"
#include "agent/uplink_window.h"
#include <runnel/rand.h>
#include <runnel/ranges.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

#define UPLINK_WINDOW_MAX  16
#define UPLINK_RANGES      64
#define UPLINK_BOUND       64
#define UPLINK_ACTIONS_MAX 80 // each of the window with three key messages, and what else there is
#define UPLINK_RELABEL_MAX 8  // new installs per connection: bounds what a hostile bridge can cause

struct uplink_conf {
    int64_t ack_by_ms;          // what the bridge may take to answer
    int64_t ack_timeout_min_ms; // beyond ack_by
    int64_t ack_timeout_max_ms;
    int64_t hello_timeout_ms; // first repetition of a birth that is not answered; doubles
    uint32_t window;          // 1..UPLINK_WINDOW_MAX
    uint32_t live;            // so many may wait for an answer whatever the window is, if the next
                              // is a live one; at most `window`
    uint64_t fingerprint;     // of this machine, 0: unknown
    uint64_t seed;            // of the jitter
};

// What the buffer says at the start.
struct uplink_saved {
    uint64_t install;   // names new rows
    uint64_t low;       // lowest pending seq, next if there is none
    uint64_t next;      // seq of the next row
    uint64_t published; // every row up to here may have been sent
    uint64_t log_id;    // that answered last, 0: none yet
    uint32_t objects;   // highest number that hints or a base had so far
};

// Which objects a row names, by their local numbers.
struct uplink_names {
    uint32_t schema, hints, base; // hints, base: 0: none
};

enum uplink_event_type {
    UPLINK_CONNECTED,
    UPLINK_DISCONNECTED,
    UPLINK_TIME,         // nothing but the time
    UPLINK_BRIDGE_BACK,  // a bridge came (back): what waits is asked again within spread_ms
    UPLINK_COMMITTED,    // seq was committed; up_to: the published mark after that commit
    UPLINK_GOT_HELLO,    // hello, log_id
    UPLINK_GOT_ACK,      // log_id, window, hold_ms; its ranges follow as events of their own
    UPLINK_GOT_RECEIVED, // tag, first, last
    UPLINK_GOT_DURABLE,  // tag, first, last, crc
    UPLINK_GOT_REFUSED,  // tag, first, last, reason
    UPLINK_GOT_NEED,     // tag, kind, id, object; more: another one follows
    UPLINK_GOT_CONFLICT, // tag, first, last
    // Answers to actions:
    UPLINK_ROW,        // FETCH: seq, install, names
    UPLINK_NO_ROW,     // FETCH: there is none in the range
    UPLINK_FROZEN,     // FREEZE: up_to is committed
    UPLINK_SETTLED,    // SETTLE: first, last, low; ok: false if the CRCs differ
    UPLINK_REENCODED,  // REENCODE: tag, first (the old row), last (the new one), low
    UPLINK_RELABELLED, // RELABEL: install
    UPLINK_ADOPTED,    // ADOPT
    UPLINK_BLOCKED,    // SEND or FREEZE: not now; seq (0: FREEZE)
    UPLINK_GONE,       // rows left the buffer: low, and seq if one is known (0: not)
};

struct uplink_event {
    enum uplink_event_type type;
    uint64_t seq, install, up_to, low, log_id;
    uint64_t first, last;
    uint32_t tag, crc, reason, window;
    struct uplink_names names;
    int64_t hold_ms, spread_ms;
    enum rn_object kind;
    uint32_t id;
    bool object, more, ok;
    struct rn_hello hello;
};

enum uplink_action_type {
    UPLINK_ANNOUNCE, // publish the birth (again)
    UPLINK_FETCH,    // lowest row with first <= seq < last: ROW or NO_ROW
    UPLINK_FREEZE,   // commit "published up to seq": FROZEN or BLOCKED
    UPLINK_SEND,     // seq with low; GONE or BLOCKED if it can't
    UPLINK_KEY,      // bind object `kind` `id` of `install`; object: send it along; asked: the
                     // bridge said need. GONE if rows are lost because it cannot be had
    UPLINK_SETTLE,   // rows of install tag in first..last: fate; DURABLE checks crc. SETTLED
    UPLINK_REENCODE, // row seq anew in encoding 0: REENCODED; SETTLED as refused or GONE if it
                     // can't
    UPLINK_RELABEL,  // new install for what is unpublished and for tag, first..last, or the current
                     // one if tag is older: RELABELLED
    UPLINK_ADOPT,    // log_id answers now: remember it; rows of older installs take the current one
};

struct uplink_action {
    enum uplink_action_type type;
    uint64_t seq, low, install, log_id;
    uint64_t first, last;
    uint32_t tag, crc, id, reason;
    enum rn_object kind;
    bool object, asked;
    enum row_state fate; // ROW_DURABLE, ROW_REFUSED
};

struct uplink_actions {
    uint32_t n;
    struct uplink_action item[UPLINK_ACTIONS_MAX];
};

enum uplink_phase { UPLINK_PHASE_OFF, UPLINK_PHASE_HELLO, UPLINK_PHASE_MOVING, UPLINK_PHASE_OPEN };

struct uplink_flight {
    uint64_t seq; // 0: free
    uint64_t install;
    struct uplink_names names;
    enum row_state state; // ROW_COMMITTED: waits for its freeze; ROW_FROZEN
    bool out;             // sent, no answer yet; else to be sent
    bool probe;           // asks again about a row that was received
    uint32_t tries;
    int64_t sent_ms, deadline_ms;
};

struct uplink_bound {
    uint64_t install; // 0: free
    enum rn_object kind;
    uint32_t id;
    bool object;    // the last key message carried the object
    bool given;     // one did
    uint32_t asked; // how often the bridge asked since a row that names it was answered
    int64_t sent_ms;
};

struct uplink_stats {
    uint64_t sent, resent, timeouts, received, durable, refused, reencoded, conflicts, mismatches,
        keys, objects, // key messages, and those of them that carried the object
        needs, announces, relabels,
        foreign,  // answers about another install or log
        answered; // batches that were sent on this connection and had their first answer
};

struct uplink {
    struct uplink_conf conf;
    struct uplink_saved at; // as in the buffer now
    enum uplink_phase phase;
    struct rn_rand rand;
    struct rn_range storage[UPLINK_RANGES];
    struct rn_ranges received;
    struct uplink_flight flight[UPLINK_WINDOW_MAX];
    struct uplink_bound bound[UPLINK_BOUND];
    uint32_t bound_next;
    uint32_t objects_known; // hints and bases up to this number may be in the log that answers
    struct uplink_window window;
    struct uplink_scan scan;
    bool freezing, acks_count;
    uint32_t probe_batch; // how many rows the next probe takes
    uint32_t probes;      // unanswered in a row
    int64_t probe_ms;     // when; 0: not planned
    uint32_t hellos;      // births sent without an answer
    int64_t hello_ms, hold_ms, blocked_ms;
    uint32_t relabels;
    struct uplink_stats stats;
};

void uplink_init(struct uplink *x, const struct uplink_conf *conf,
                 const struct uplink_saved *saved);
// Changed timing: takes effect with the next transmission.
void uplink_reconf(struct uplink *x, const struct uplink_conf *conf);
// actions is emptied first. Every event that answers an action must be fed before other events.
void uplink_step(struct uplink *x, const struct uplink_event *event, int64_t mono_ms,
                 struct uplink_actions *actions);
// When UPLINK_TIME is due next (mono_ms); INT64_MAX: not needed.
int64_t uplink_wake(const struct uplink *x);
uint32_t uplink_in_flight(const struct uplink *x);

#endif
