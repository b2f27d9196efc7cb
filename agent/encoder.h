// Encoder: turns a window into the body of a batch, in the smallest of the encodings that may be
// used, and the body of a refused batch into one in encoding 0. Pure but for its memory, all of
// which is there from the start; only renewing a refused batch takes more, and gives it back.
//
// An encoding that the bridge refused is left out until the next connection. One thread.
#ifndef AGENT_ENCODER_H
#define AGENT_ENCODER_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/schema.h>
#include <stdint.h>

struct encoder;

// allowed: bit k stands for encoding k. Encoding 0 is used where no other can be.
RN_MUST_CHECK int encoder_new(struct encoder **out, unsigned allowed, struct rn_err *err);
void encoder_free(struct encoder *encoder); // accepts NULL
// RN_ENOMEM: nothing has changed.
RN_MUST_CHECK int encoder_reconf(struct encoder *encoder, unsigned allowed, struct rn_err *err);
// The bridge of this connection refuses enc.
void encoder_refused(struct encoder *encoder, uint32_t enc);
void encoder_connected(struct encoder *encoder);

// *body is borrowed until the next call.
RN_MUST_CHECK int encoder_smallest(struct encoder *encoder, const struct rn_schema *schema,
                                   uint32_t schema_id, const struct rn_grid *grid,
                                   struct rn_span *body, struct rn_err *err);
RN_MUST_CHECK int encoder_plain(struct encoder *encoder, const struct rn_schema *schema,
                                uint32_t schema_id, const struct rn_grid *grid,
                                struct rn_span *body, struct rn_err *err);
// The same batch in encoding 0; object: its schema's encoding; *enc: what it was in. RN_EINVAL: it
// is in encoding 0 already.
RN_MUST_CHECK int encoder_renew(struct encoder *encoder, struct rn_span object, struct rn_span old,
                                uint32_t *enc, struct rn_span *body, struct rn_err *err);

#endif
