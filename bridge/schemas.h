// schemas.db: schemas (and later hints and bases) by hash, and which small id of which install
// means which of them. Written by the intake alone; readers of the log open the file themselves and
// find an object by its row number, which log rows carry.
//
// A binding may come before its object: the object's row then waits for its content. Bounds: a
// device's install has at most SCHEMAS_MAX_BINDINGS live bindings (the one bound longest ago goes),
// a device brings at most SCHEMAS_MAX_OWNED objects that nobody had before.
#ifndef BRIDGE_SCHEMAS_H
#define BRIDGE_SCHEMAS_H

#include <runnel/err.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEMAS_MAX_BINDINGS 32
#define SCHEMAS_MAX_OWNED    1024

// What the intake has to know of an object to judge a batch's envelope.
struct schemas_info {
    int64_t row;
    bool complete;     // its content is here
    uint32_t ncolumns; // of a schema
    uint64_t unit_ns, step;
};

struct schemas;
RN_MUST_CHECK int schemas_open(struct schemas **out, const char *folder, struct rn_err *err);
void schemas_close(struct schemas *schemas);

// What id means for this install; RN_ENOENT: nothing yet.
RN_MUST_CHECK int schemas_lookup(struct schemas *schemas, const char *dev, uint64_t install,
                                 enum rn_object kind, uint32_t id, struct schemas_info *out,
                                 struct rn_err *err);
// Takes a key message: checks the content against the hash, parses a schema, stores, binds.
// RN_EFORMAT: the content is wrong; RN_ECONFLICT: the id means something else already; RN_ELIMIT:
// the device brought too many. *bytes: of newly stored content, 0 if it was known.
RN_MUST_CHECK int schemas_take(struct schemas *schemas, const char *dev,
                               const struct rn_key_msg *msg, struct schemas_info *out,
                               uint64_t *bytes, struct rn_err *err);
// Forgets the bindings of an install that made room.
RN_MUST_CHECK int schemas_forget(struct schemas *schemas, const char *dev, uint64_t install,
                                 struct rn_err *err);

struct schemas_counts {
    int64_t objects, bytes, bindings;
};
void schemas_counts(struct schemas *schemas, struct schemas_counts *out);

#endif
