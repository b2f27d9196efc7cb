// Encoder: turns a window into the body of a batch, in the smallest of the encodings that may be
// used and with the hints and base that pay (refs.h), and the body of a refused batch into one in
// encoding 0. Pure but for its memory, all of which is there from the start or from the first batch
// of a schema; only renewing a refused batch takes more, and gives it back.
//
// An encoding that the bridge refused is left out until the next connection; so are hints and base.
// One thread.
#ifndef AGENT_ENCODER_H
#define AGENT_ENCODER_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/schema.h>
#include <runnel/wire.h>
#include <stdint.h>

struct encoder;

// Where hints and bases are kept; without, none is made. Spans are borrowed until the next call.
struct encoder_objects {
    void *arg;
    // Gives a new object its number: batches of this schema name it in place of the one before.
    int (*keep)(void *arg, enum rn_object kind, uint32_t schema_id, struct rn_span object,
                uint32_t *id);
    // The object that batches of this schema named last. RN_ENOENT.
    int (*current)(void *arg, enum rn_object kind, uint32_t schema_id, uint32_t *id,
                   struct rn_span *object);
    int (*find)(void *arg, enum rn_object kind, uint32_t id, struct rn_span *object); // RN_ENOENT
};

// allowed: bit k stands for encoding k. Encoding 0 is used where no other can be.
RN_MUST_CHECK int encoder_new(struct encoder **out, unsigned allowed, struct rn_err *err);
void encoder_free(struct encoder *encoder); // accepts NULL
// RN_ENOMEM: nothing has changed.
RN_MUST_CHECK int encoder_reconf(struct encoder *encoder, unsigned allowed, struct rn_err *err);
// Another buffer: what was learnt is forgotten.
void encoder_attach(struct encoder *encoder, const struct encoder_objects *objects);
void encoder_connected(struct encoder *encoder);

// *body is borrowed until the next call.
RN_MUST_CHECK int encoder_smallest(struct encoder *encoder, const struct rn_schema *schema,
                                   uint32_t schema_id, const struct rn_grid *grid,
                                   struct rn_span *body, struct rn_err *err);
RN_MUST_CHECK int encoder_plain(struct encoder *encoder, const struct rn_schema *schema,
                                uint32_t schema_id, const struct rn_grid *grid,
                                struct rn_span *body, struct rn_err *err);
// The bridge of this connection refused a batch that was encoded like this one: if it names hints
// or a base, perhaps only for them.
void encoder_refused(struct encoder *encoder, const struct rn_batch_info *info);
// The same batch in encoding 0; object: its schema's encoding; *info: what it was. RN_EINVAL: it
// is in encoding 0 already.
RN_MUST_CHECK int encoder_renew(struct encoder *encoder, struct rn_span object, struct rn_span old,
                                struct rn_batch_info *info, struct rn_span *body,
                                struct rn_err *err);

#endif
