// The life of a buffered row as one table: state x event -> next state, and what must be committed
// to the disk before the step counts. docs/PROTOCOL.md shows it, a test walks every cell.
//
// Received lives in memory only: after a restart such a row is frozen again, which costs one
// transmission and never a sample.
#ifndef AGENT_ROWLIFE_H
#define AGENT_ROWLIFE_H

#include <stdbool.h>

enum row_state {
    ROW_OPEN,      // samples of the open window; after a crash, what the journal has of it
    ROW_COMMITTED, // in the buffer, never handed to the transport
    ROW_FROZEN,    // its name may have been seen by the bridge: content and name never change
    ROW_RECEIVED,  // in the log of the bridge that answers now
    ROW_DURABLE,   // settled: the bridge has what ack_after asks for; deleted
    ROW_REFUSED,   // settled: dead-lettered by the bridge; deleted and counted
    ROW_VOID,      // settled: replaced by a new encoding under another name
    ROW_CONFLICT,  // its name is taken by other content; gets a new install
    ROW_THINNED,   // settled: replaced by coarser rows
    ROW_EVICTED,   // settled: dropped for space or age; counted
    ROW_LOST,      // settled: damaged on the disk; counted
    ROW_STATES
};

enum row_event {
    ROW_CUT,      // the window was cut
    ROW_SEND,     // to be handed to the transport
    ROW_GOT,      // received
    ROW_ACKED,    // durable, and the CRCs match
    ROW_MISMATCH, // durable, but the CRCs do not match
    ROW_REFUSE,
    ROW_REENCODE,  // refused for its encoding: a new row was made
    ROW_CLASH,     // the bridge has other content under this name
    ROW_RELABEL,   // a new install was committed for it
    ROW_TIMEOUT,   // no answer in time, or the connection was lost
    ROW_OTHER_LOG, // another log answers
    ROW_THIN,
    ROW_EVICT,
    ROW_DAMAGE, // found unreadable
    ROW_EVENTS
};

struct row_step {
    enum row_state next;
    bool possible; // false: such an event cannot reach a row in this state, it is dropped
    bool persist;  // a commit comes before the step counts
    bool sends;    // the row goes out (again)
};

struct row_step row_step(enum row_state state, enum row_event event);
// No event changes it any more.
bool row_settled(enum row_state state);
const char *row_state_name(enum row_state state);
const char *row_event_name(enum row_event event);

#endif
