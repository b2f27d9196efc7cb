// What the files of a cursor's worker share. The worker is a small machine: `phase` says what it is
// about to do or waits for. cursor.c turns it; cursor_read.c fetches what is to be written,
// cursor_write.c gives it to the sink and commits, cursor_say.c tells others. All of it runs on the
// worker's thread.
#ifndef BRIDGE_CURSOR_PRIVATE_H
#define BRIDGE_CURSOR_PRIVATE_H

#include "bridge/cursor.h"
#include "bridge/cursor_db.h"
#include "bridge/group.h"
#include "bridge/log.h"
#include "bridge/replay.h"
#include <pthread.h>
#include <runnel/log.h>
#include <runnel/loop.h>

#define CURSOR_STORE_RETRY_MS 250
#define CURSOR_COMPLAIN_MS    60000
#define CURSOR_TICK_MS        1000
#define CURSOR_PENDING_MAX    256
#define CURSOR_REPLAY_AT_ONCE 64

enum cursor_phase {
    PHASE_START, // open the cursor's file, the log, dead.db
    PHASE_OPEN,  // open the sink
    PHASE_READY, // look for something to do
    PHASE_BURY,  // store dead letters, then act on `action`
    PHASE_WRITE, // give action.set to the sink
    PHASE_OUT,   // a write is out
    PHASE_FLUSH, // ask the sink to flush
    PHASE_FLUSH_OUT,
    PHASE_COMMIT, // move the cursor to flush_upto
    PHASE_WAIT,   // for the wait timer, then `after_wait`
};

// What was written but not yet committed.
struct cursor_pending {
    uint64_t position;
    int64_t due_ms; // may be flushed from then on
    bool letters;   // the replayed letters are among it
};

struct cursor {
    const struct cursor_conf *conf;
    const struct cursor_env *env;
    const struct cursor_hooks *hooks;
    struct cursor_shared shared;
    pthread_t thread;
    bool started; // and not joined
    struct rn_loop *loop;
    struct rn_wake *wake;
    struct rn_timer *wait, *gather, *settle, *tick;
    _Atomic bool stop, replay_asked;

    struct cursor_db db;
    struct log_reader *reader;
    struct deadletters *dead;
    struct sink_host host;
    void *sink;
    bool sink_open;

    enum cursor_phase phase, after_wait;
    bool pumping, hungry, gathering, letters_waiting;
    struct rn_complaint trouble, burials;
    int64_t said_ms;      // when trouble of the sink was last logged
    enum policy_say said; // and which
    uint32_t unsaid;      // troubles since then that were not
    bool recovery_is_due; // the last trouble was logged: its end will be

    // The chunk that was read: runs[next..nruns) are still to be grouped.
    struct log_run *owned[GROUP_RUNS];
    const struct rn_run *runs[GROUP_RUNS];
    uint32_t nowned, nruns, next;
    uint64_t read_upto; // of the log, by reading; beyond the commit
    // Letters that are being replayed instead of a chunk.
    struct replay_run *replay[CURSOR_REPLAY_AT_ONCE];
    uint32_t nreplay;
    bool replaying; // the group is made of them

    struct group *group; // the group being written; n = 0: none
    struct policy *policy;
    struct policy_action action;
    const struct policy_set *to_bury;
    char reason[240];
    bool begun;                                        // the policy has the group
    struct cursor_pending pending[CURSOR_PENDING_MAX]; // oldest first
    uint32_t npending;
    uint64_t flush_upto;
    uint32_t flush_n; // entries of pending that the flush is for
    uint32_t rewinds; // since the last commit
    bool rewind;
};

// cursor_say.c
void cursor_set_state(struct cursor *c, enum cursor_state state, const char *text);
void cursor_publish_position(struct cursor *c);
// Nothing is done until then but waiting; then this phase goes on.
void cursor_wait_until(struct cursor *c, int64_t mono_ms, enum cursor_phase then);
// Trouble of our own (log, disk): said, counted, the phase is tried again.
void cursor_own_trouble(struct cursor *c, const struct rn_err *err, int64_t after_ms);
void cursor_own_recovery(struct cursor *c);
// What the policy wants to be said of the sink.
void cursor_say(struct cursor *c, enum policy_say what, const char *text);

// cursor_read.c
void cursor_drop_chunk(struct cursor *c);
void cursor_drop_replay(struct cursor *c);
// Reads the next chunk; false if there is nothing.
bool cursor_read_chunk(struct cursor *c);
// True if letters were loaded (or one of them was found broken): there is more to do.
bool cursor_load_letters(struct cursor *c);
void cursor_begin_group(struct cursor *c);
void cursor_finish_group(struct cursor *c);
void cursor_rewind(struct cursor *c); // to what is committed

// cursor_write.c
void cursor_bury(struct cursor *c);
void cursor_write_set(struct cursor *c);
void cursor_written(struct cursor *c, const struct sink_result *result);
uint32_t cursor_due(const struct cursor *c, int64_t mono_ms); // how many pending entries are due
void cursor_begin_flush(struct cursor *c, uint32_t n);
void cursor_flushed(struct cursor *c, const struct sink_result *result);
void cursor_commit(struct cursor *c);

#endif
