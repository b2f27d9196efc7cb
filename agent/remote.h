// Remote configuration: the pure core that decides what is applied, kept, rolled back, reported.
//
// A document is offered by the bridge. The shell (remote_io) has checked its signature and
// validated it whole against the option tables; the core decides:
//
//   waiting    accepted, but nothing sent under the old configuration was acknowledged since the
//              connection was made: a broken link must not be blamed on the new document
//   probation  applied; its report must be stored by the bridge before a deadline
//   confirmed  it is the last good one now
//   settling   rolled back; if the last good one gets through now, the document was at fault
//   and then   rejected, or undetermined (nothing gets through either way: tried again later)
//
// "Gets through" alone would blame a document for an outage that ends just after the rollback. So a
// document is tried again, three times at most, where the failure can hardly be its own: it changes
// nothing about the connection, or the last good one did not get through promptly (within 5 s or a
// quarter of the deadlines). One that was restarted out of probation is not.
//
// A report is repeated until the bridge has it, ever more slowly while the connection lasts.
//
// The deadlines count running time, connected and unconnected apart; both are part of what is
// saved, so a kill in between changes nothing. Two restarts in probation roll back too.
// Everything that must survive is in struct remote_saved: REMOTE_PERSIST comes before the actions
// that rely on it, in the order of the array.
#ifndef AGENT_REMOTE_H
#define AGENT_REMOTE_H

#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

struct remote_conf {
    int64_t deadline_connected_ms;   // of a probation, connected running time; default 120 s
    int64_t deadline_unconnected_ms; // running time without a connection; default 300 s
    int64_t persist_every_ms;        // how much counted time may be forgotten by a kill
    int64_t report_every_ms;         // first repetition of a report that was not answered
};

// A document's name. revision 0: none (the local files alone).
struct remote_name {
    uint64_t revision;
    uint8_t hash[RN_HASH_BYTES]; // SHA-256 of the payload
};

enum remote_phase {
    REMOTE_IDLE,
    REMOTE_WAITING,
    REMOTE_PROBATION,
    REMOTE_SETTLING,
    REMOTE_UNDETERMINED,
};

#define REMOTE_TEXT 160

struct remote_saved {
    enum remote_phase phase;
    struct remote_name good;              // last good one
    struct remote_name candidate;         // in the phases after idle
    struct remote_name condemned;         // was tried and rejected last
    int64_t connected_ms, unconnected_ms; // used of the deadlines, in probation and settling
    uint32_t restarts;                    // in probation
    uint32_t failures;                    // probations of the candidate that the last good outlived
    bool moves;                           // the candidate changes the connection
    bool good_had_connection;             // when the probation began
    // The verdict that was reported last, so that the same offer gets the same answer.
    enum rn_config_state verdict;
    struct remote_name judged;
    char path[REMOTE_TEXT], reason[REMOTE_TEXT];
    uint64_t report_n; // of the last report
};

enum remote_event_type {
    REMOTE_START, // after remote_init; the saved state may be in any phase
    REMOTE_OFFER, // a document arrived
    REMOTE_CONNECTED,
    REMOTE_DISCONNECTED,
    REMOTE_RECEIVED,     // the bridge answered something that was sent on this connection
    REMOTE_REPORT_SEEN,  // the bridge has stored report n
    REMOTE_TICK,         // every second, with or without news
    REMOTE_APPLY_FAILED, // the document that REMOTE_APPLY named could not be put in force
    REMOTE_RELOADED,     // what runs was put in force again, over changed local files
};

struct remote_event {
    enum remote_event_type type;
    struct remote_name name; // OFFER
    bool acceptable;         // OFFER: signed, ours, not expired, valid; APPLY_FAILED: so it is not
                             // the document's fault, it may be offered again
    bool moves;              // OFFER: under it the connection would be another one
    const char *path;        // OFFER not acceptable, APPLY_FAILED; may be ""
    const char *reason;      // OFFER not acceptable, APPLY_FAILED
    uint64_t n;              // REPORT_SEEN
};

enum remote_action_type {
    REMOTE_PERSIST,        // save x->saved; the rest of the array waits for it
    REMOTE_KEEP_CANDIDATE, // store the offered document's bytes as the candidate, in one
                           // transaction with the PERSIST that follows
    REMOTE_KEEP_GOOD,      // the candidate's bytes become the last good ones, likewise
    REMOTE_APPLY,          // put the named document in force (revision 0: local files alone)
    REMOTE_REPORT,         // send a report of x->saved's verdict with number report_n
    REMOTE_FLUSH,          // cut and send a batch now, so that the verdict comes soon
};

struct remote_action {
    enum remote_action_type type;
    struct remote_name name; // APPLY
};

#define REMOTE_MAX_ACTIONS 8
struct remote_actions {
    uint32_t count;
    struct remote_action item[REMOTE_MAX_ACTIONS];
};

struct remote {
    struct remote_conf conf;
    struct remote_saved saved;
    bool connected;
    bool got_through;   // something was acknowledged on this connection, under what runs now
    int64_t counted_at; // mono_ms up to which running time is counted
    int64_t unsaved_ms; // counted since the last PERSIST
    bool good_failed;   // the last good one cannot be put over the local files of now
    uint64_t seen_n;    // the highest report that the bridge said it has
    int64_t reported_at, report_wait_ms; // of the last report
};

// saved: NULL for a fresh state.
void remote_init(struct remote *x, const struct remote_conf *conf,
                 const struct remote_saved *saved);
// Never fails. mono_ms must not go backwards. Fills *out.
void remote_step(struct remote *x, const struct remote_event *event, int64_t mono_ms,
                 struct remote_actions *out);
// The document that is in force by the core's decisions.
struct remote_name remote_running(const struct remote *x);

#endif
