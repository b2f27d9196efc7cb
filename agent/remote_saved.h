// What must survive of the remote configuration, in state.db: the core's saved state and the bytes
// of two documents. Everything is written in one transaction.
#ifndef AGENT_REMOTE_SAVED_H
#define AGENT_REMOTE_SAVED_H

#include "agent/remote.h"
#include "agent/state.h"
#include <runnel/buf.h>

struct remote_docs {
    struct remote_saved saved;
    struct rn_buf candidate, good; // payloads; empty: none
};

void remote_docs_init(struct remote_docs *docs);
void remote_docs_release(struct remote_docs *docs);
// 1: read, 0: nothing is stored, RN_ECORRUPT: what is stored is damaged (docs are then empty, only
// report_n may be known), or an error of the database.
RN_MUST_CHECK int remote_docs_read(struct remote_docs *docs, struct state *state,
                                   struct rn_err *err);
// candidate, good: write these too (they have changed).
RN_MUST_CHECK int remote_docs_write(const struct remote_docs *docs, struct state *state,
                                    bool candidate, bool good, struct rn_err *err);

#endif
