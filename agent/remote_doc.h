// A remote configuration document: is it for us and from whom it should be, and what it makes of
// the local configuration. No state; the decisions are remote.h's.
#ifndef AGENT_REMOTE_DOC_H
#define AGENT_REMOTE_DOC_H

#include "agent/config.h"
#include "agent/remote.h"

// Why a document is refused: the option (or the member of the document) and words.
struct remote_fault {
    char path[REMOTE_TEXT], reason[REMOTE_TEXT];
};

// Opens a signed message. RN_EFORMAT: this is no document at all; nothing can be said about it.
// Otherwise *payload (borrowed from message) and *name say which one it is, and the result is RN_OK
// or RN_EACCESS with *fault: wrong or no signature, other device, expired; or, without a verdict,
// what remote_doc_passing knows.
// utc_ms 0: the clock is not trusted, no document has expired.
RN_MUST_CHECK int remote_doc_open(struct rn_span message, const struct agent_settings *local,
                                  int64_t utc_ms, struct rn_span *payload, struct remote_name *name,
                                  struct remote_fault *fault, struct rn_err *err);

// A new complete configuration: the local one with the document's items on top, checked whole.
// payload.data NULL: the local one alone. RN_EINVAL with *fault: path and reason.
RN_MUST_CHECK int remote_doc_config(struct rn_span payload, const struct config *local,
                                    struct config **out, struct remote_fault *fault,
                                    struct rn_err *err);

// The document is not at fault: no memory, too many open files.
bool remote_doc_passing(int code);

// Takes "key: words" apart into path and reason.
void remote_fault_set(struct remote_fault *fault, const struct rn_err *err);

#endif
