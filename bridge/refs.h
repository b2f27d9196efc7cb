// What a batch refers to: its schema, and hints and a base if it names them. Found through the
// install's bindings, and placed in the log beside the batch. Intake's thread.
#ifndef BRIDGE_REFS_H
#define BRIDGE_REFS_H

#include "bridge/fleet.h"
#include "bridge/log.h"
#include "bridge/schemas.h"

enum { REF_SCHEMA, REF_HINTS, REF_BASE, NREFS };

struct ref {
    enum rn_object kind;
    uint32_t id;                // that the batch names it by
    bool named;                 // the batch has one
    struct schemas_info info;   // row 0: there is no such binding
    struct fleet_binding *kept; // where that is remembered; NULL: nowhere
};
struct refs {
    struct ref ref[NREFS];
};

// Looks up what the batch names; what is lacking shows in `info`. Negative: it cannot be read now.
RN_MUST_CHECK int refs_find(struct refs *refs, struct schemas *schemas, const char *dev,
                            struct fleet_install *in, const struct rn_batch_info *batch,
                            struct rn_err *err);
bool ref_lacking(const struct ref *ref);
// One of its numbers was given to two objects: which one the batch means cannot be known.
bool refs_disputed(const struct refs *refs);
// Sees to it that the log's open segment has the objects, and fills in their numbers. RN_ENOENT:
// one has vanished or was damaged; ref_lacking then says so of it. Else as log_append.
RN_MUST_CHECK int refs_place(struct refs *refs, struct schemas *schemas, struct log *log,
                             struct log_row *row, struct rn_err *err);
// Bindings have changed: looked-up ones are forgotten.
void refs_forget(struct fleet_install *in);

#endif
