// CBOR (RFC 8949): deterministic encoding, and a pull decoder with hard caps over libcbor's
// streaming API. Neither allocates. The only file that includes libcbor is lib/wire/cbor.c.
//
// Written: core deterministic encoding (RFC 8949, 4.2.1): shortest heads, definite lengths, map
// keys ascending (the callers write them so; rn_cbor_put_map asserts nothing), shortest float that
// keeps the value. Accepted: definite lengths only, depth <= 8, items <= bytes left, strings <= the
// caller's maximum; tags only where the caller asks. Anything else is RN_EFORMAT. More items than
// RN_CBOR_MAX_ITEMS are RN_ELIMIT.
#ifndef RUNNEL_CBOR_H
#define RUNNEL_CBOR_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RN_CBOR_MAX_DEPTH 8
#define RN_CBOR_MAX_ITEMS 40000 // of a message: a batch of 16,384 cells and ticks has 32,790

void rn_cbor_put_uint(struct rn_buf *out, uint64_t value);
void rn_cbor_put_int(struct rn_buf *out, int64_t value);
void rn_cbor_put_bytes(struct rn_buf *out, struct rn_span bytes);
void rn_cbor_put_bytes_head(struct rn_buf *out, size_t len); // the caller appends len bytes
void rn_cbor_put_text(struct rn_buf *out, struct rn_span text);
void rn_cbor_put_array(struct rn_buf *out, size_t items);
void rn_cbor_put_map(struct rn_buf *out, size_t pairs);
void rn_cbor_put_bool(struct rn_buf *out, bool value);
void rn_cbor_put_null(struct rn_buf *out);
void rn_cbor_put_double(struct rn_buf *out, double value); // as half or single where exact
void rn_cbor_put_tag(struct rn_buf *out, uint64_t tag);

enum rn_cbor_type {
    RN_CBOR_UINT,
    RN_CBOR_NINT, // -1 - u
    RN_CBOR_BYTES,
    RN_CBOR_TEXT,
    RN_CBOR_ARRAY, // u items follow
    RN_CBOR_MAP,   // u pairs follow
    RN_CBOR_TAG,
    RN_CBOR_BOOL,
    RN_CBOR_NULL,
    RN_CBOR_DOUBLE, // half, single or double
};

struct rn_cbor_item {
    enum rn_cbor_type type;
    uint64_t u;
    double d;
    bool b;
    struct rn_span bytes; // BYTES, TEXT: borrowed from the input
};

// A reader over borrowed bytes. After the first error every call returns the same error.
struct rn_cbor_in {
    const uint8_t *start, *at, *end;
    int failed; // the first error's code
    int depth;
    uint32_t items;                   // read so far
    uint64_t left[RN_CBOR_MAX_DEPTH]; // items left in each open container
    struct rn_err *err;
};

void rn_cbor_in_init(struct rn_cbor_in *in, struct rn_span bytes, struct rn_err *err);
RN_MUST_CHECK int rn_cbor_next(struct rn_cbor_in *in, struct rn_cbor_item *item);
// For callers that find an item's meaning wrong: "byte N: words", and the reader has failed.
int rn_cbor_fail(struct rn_cbor_in *in, int code, const char *words);
// Typed reads: RN_EFORMAT with position and what was expected, RN_ELIMIT above the given maximum.
RN_MUST_CHECK int rn_cbor_get_uint(struct rn_cbor_in *in, uint64_t max, uint64_t *value);
RN_MUST_CHECK int rn_cbor_get_int(struct rn_cbor_in *in, int64_t *value);
RN_MUST_CHECK int rn_cbor_get_bytes(struct rn_cbor_in *in, size_t max, struct rn_span *bytes);
RN_MUST_CHECK int rn_cbor_get_text(struct rn_cbor_in *in, size_t max,
                                   struct rn_span *text); // UTF-8
RN_MUST_CHECK int rn_cbor_get_bool(struct rn_cbor_in *in, bool *value);
RN_MUST_CHECK int rn_cbor_get_array(struct rn_cbor_in *in, uint64_t max, uint64_t *items);
RN_MUST_CHECK int rn_cbor_get_map(struct rn_cbor_in *in, uint64_t max, uint64_t *pairs);
RN_MUST_CHECK int rn_cbor_skip(struct rn_cbor_in *in); // one whole item, depth-checked
RN_MUST_CHECK int rn_cbor_end(struct rn_cbor_in *in);  // nothing left over
// The bytes from a mark to where the reader stands (mark = in->at before).
static inline struct rn_span rn_cbor_since(const struct rn_cbor_in *in, const uint8_t *mark)
{
    return (struct rn_span){mark, (size_t)(in->at - mark)};
}

#endif
