// The shell of remote.h: checks what the bridge offers, keeps it in state.db, puts it in force over
// the local configuration, reports. One thread, the loop's. What it acts on comes as hooks: the
// agent's functions, or a test's.
//
// The local configuration is a snapshot of its own, taken at the start and at each reload: a
// rollback does not depend on what became of the files meanwhile.
#ifndef AGENT_REMOTE_IO_H
#define AGENT_REMOTE_IO_H

#include "agent/config.h"
#include "agent/remote.h"
#include "agent/state.h"

struct remote_io;

struct remote_io_hooks {
    void *arg;
    // Would apply take it? The text is "key: words".
    int (*check)(void *arg, const struct config *config, struct rn_err *err);
    // Puts it in force and takes it; on failure it stays the caller's.
    int (*apply)(void *arg, struct config *config, struct rn_err *err);
    // What runs, for statuses; revision 0: the local files alone.
    void (*running)(void *arg, uint64_t revision, const uint8_t hash[RN_HASH_BYTES]);
    int (*report)(void *arg, struct rn_span payload); // negative: not now, it is asked for again
    void (*flush)(void *arg);
    // A verdict is waited for: answers are wanted at once, or (again) not. May be NULL.
    void (*hurry)(void *arg, bool on);
    uint64_t (*install)(void *arg);
    // The document there was no verdict on is wanted once more. May be NULL.
    void (*again)(void *arg);
};

// local: the configuration that runs now (a copy is made). state: NULL where there is no disk; then
// every document is refused. Both hooks and state must outlive it.
RN_MUST_CHECK int remote_io_new(struct remote_io **out, const struct config *local,
                                struct state *state, const struct remote_io_hooks *hooks,
                                int64_t utc_ms, struct rn_err *err);
void remote_io_free(struct remote_io *io);
// What was kept is put in force; before the first connection.
void remote_io_start(struct remote_io *io, int64_t mono_ms);
void remote_io_connection(struct remote_io *io, bool connected, int64_t mono_ms);
// The bridge answered something that was sent on this connection.
void remote_io_received(struct remote_io *io, int64_t mono_ms);
void remote_io_report_seen(struct remote_io *io, uint64_t n, int64_t mono_ms);
void remote_io_tick(struct remote_io *io, int64_t mono_ms); // about every second
// A signed document as it came. utc_ms 0: the clock is not trusted.
void remote_io_offer(struct remote_io *io, struct rn_span message, int64_t utc_ms, int64_t mono_ms);
// The local files were read again: puts them in force together with the document that runs. Takes
// local on success; on failure nothing has changed.
RN_MUST_CHECK int remote_io_reload(struct remote_io *io, struct config *local, int64_t mono_ms,
                                   struct rn_err *err);

// For `status` and `check`, from a data folder that an agent may be using: the document that is in
// force by what was kept, and, with config, what it makes of it (config is replaced).
// RN_ENOENT: nothing was kept.
struct remote_seen {
    struct remote_name running, judged;
    enum rn_config_state verdict;
    char path[REMOTE_TEXT], reason[REMOTE_TEXT];
};
RN_MUST_CHECK int remote_io_inspect(const char *folder, struct remote_seen *seen,
                                    struct config **config, struct rn_err *err);
const char *remote_state_name(enum rn_config_state state);

#endif
