// Dead letters: what could not be placed, with the reason, so that nobody loses it in silence.
//
// Two kinds in dead.db: points that a sink's database refused or that lie outside the time window
// (line protocol without the host tag, which the sink adds), and whole batches that the intake or
// `verify` refused (their bytes). Bounded in bytes and age: the oldest go first and are counted.
// Each thread opens a handle of its own.
#ifndef BRIDGE_DEADLETTERS_H
#define BRIDGE_DEADLETTERS_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

struct deadletters_conf {
    const char *folder; // holds dead.db
    int64_t max_bytes;  // of the letters' content; default 64 MB
    int64_t max_age_ms; // 0: no limit
};

enum dead_kind { DEAD_POINT = 0, DEAD_BATCH = 1 };

struct dead_letter {
    int64_t id; // filled by the store
    enum dead_kind kind;
    const char *sink; // whose it is: a sink's name, "verify" or "intake"
    const char *dev;
    uint64_t install, seq;
    char type;           // of data
    int64_t time_ms;     // when it was put here
    struct rn_span body; // a line without its newline, or a batch
    const char *reason;
    uint32_t attempts; // replays that failed
    bool replay;       // waits for its sink to take it
};

struct deadletters;
RN_MUST_CHECK int deadletters_open(struct deadletters **out, const struct deadletters_conf *conf,
                                   struct rn_err *err);
void deadletters_close(struct deadletters *store);

// put any number, then commit: one transaction. The same point or batch again only renews its
// reason (so that a crash between this commit and the cursor's leaves no double).
RN_MUST_CHECK int deadletters_put(struct deadletters *store, const struct dead_letter *letter,
                                  struct rn_err *err);
RN_MUST_CHECK int deadletters_commit(struct deadletters *store, struct rn_err *err);
void deadletters_rollback(struct deadletters *store);

// Visits at most max letters with an id above `after`, in order; sink "" or NULL: all. What the
// letter points to is borrowed for the call. visit returns false to stop. Returns how many.
RN_MUST_CHECK int deadletters_list(struct deadletters *store, const char *sink, int64_t after,
                                   uint32_t max,
                                   bool (*visit)(void *arg, const struct dead_letter *), void *arg,
                                   struct rn_err *err);
// The same for those that wait for replay.
RN_MUST_CHECK int deadletters_waiting(struct deadletters *store, const char *sink, uint32_t max,
                                      bool (*visit)(void *arg, const struct dead_letter *),
                                      void *arg, struct rn_err *err);
// Marks points for replay; then call cursors_replay(). id 0: all of the sink; sink NULL or "": of
// every sink. Batches are not replayed: RN_EUNSUPPORTED for the id of one. Returns how many.
RN_MUST_CHECK int deadletters_replay(struct deadletters *store, int64_t id, const char *sink,
                                     struct rn_err *err);
// One letter (id), or all of a sink, or all (id 0, sink NULL). Returns how many.
RN_MUST_CHECK int deadletters_delete(struct deadletters *store, int64_t id, const char *sink,
                                     struct rn_err *err);
// A replay failed again: clears the mark, counts the attempt.
RN_MUST_CHECK int deadletters_failed(struct deadletters *store, int64_t id, const char *reason,
                                     struct rn_err *err);

struct deadletters_counts {
    int64_t letters, bytes;
    int64_t dropped; // went because of the bounds, since the file was made
};
RN_MUST_CHECK int deadletters_counts(struct deadletters *store, struct deadletters_counts *out,
                                     struct rn_err *err);

#endif
