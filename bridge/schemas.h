// schemas.db: what batches are decoded with (schemas, hints, bases) by hash, and which small number
// of which install means which of them. Owned by the intake's thread. The log has copies of its own
// (segment.h): what is lost here is asked for again.
//
// A binding may come before its object: the object's row then waits for its content. Bounds: an
// install has at most SCHEMAS_MAX_BINDINGS live bindings of each kind; the one made longest ago
// goes, so the newest schema, hints and base are always bound, and no device's bindings push out
// another's. All objects that a device has bound are at most SCHEMAS_MAX_BYTES: beyond that, its
// oldest bindings go, too. An object goes with its last binding.
#ifndef BRIDGE_SCHEMAS_H
#define BRIDGE_SCHEMAS_H

#include <runnel/err.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEMAS_MAX_BINDINGS 32
#define SCHEMAS_MAX_BYTES    (1 << 20)

// What the intake has to know of an object to judge a batch's envelope.
struct schemas_info {
    int64_t row;            // never 0, never used again
    bool complete;          // its content is here
    bool disputed;          // the number that it was looked up by was given to two objects
    uint32_t ncolumns;      // of the schema, or that hints and base are for
    uint64_t unit_ns, step; // of a schema
    uint8_t hash[RN_HASH_BYTES];
};

struct schemas;
// A damaged schemas.db is put aside, one of another version begun anew.
RN_MUST_CHECK int schemas_open(struct schemas **out, const char *folder, struct rn_err *err);
void schemas_close(struct schemas *schemas);
// The new name of a damaged file that schemas_open put aside, or "".
const char *schemas_quarantined(const struct schemas *schemas);

// What id means for this install; RN_ENOENT: nothing yet.
RN_MUST_CHECK int schemas_lookup(struct schemas *schemas, const char *dev, uint64_t install,
                                 enum rn_object kind, uint32_t id, struct schemas_info *out,
                                 struct rn_err *err);
struct schemas_taken {
    struct schemas_info info;
    uint64_t bytes; // of newly stored content, 0 if it was known
    bool replaced;  // an older binding of the device made room
};
// Takes a key message: checks the content against the hash and that it decodes, stores, binds.
// RN_EFORMAT, RN_ELIMIT, RN_EUNSUPPORTED: the content is wrong; RN_ECONFLICT: the id means
// something else already.
RN_MUST_CHECK int schemas_take(struct schemas *schemas, const char *dev,
                               const struct rn_key_msg *msg, struct schemas_taken *out,
                               struct rn_err *err);
// After RN_ECONFLICT: nothing that names the number can be trusted from now on.
RN_MUST_CHECK int schemas_dispute(struct schemas *schemas, const char *dev,
                                  const struct rn_key_msg *msg, struct rn_err *err);
// The content of an object, whose hash it has. RN_ENOENT: it is not here (any more), or it was
// damaged: it is then forgotten.
RN_MUST_CHECK int schemas_content(struct schemas *schemas, const struct schemas_info *info,
                                  struct rn_buf *out, struct rn_err *err);
// Forgets the bindings of an install that made room.
RN_MUST_CHECK int schemas_forget(struct schemas *schemas, const char *dev, uint64_t install,
                                 struct rn_err *err);

struct schemas_counts {
    int64_t objects, bytes, bindings;
};
void schemas_counts(struct schemas *schemas, struct schemas_counts *out);

#endif
