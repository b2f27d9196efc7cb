// Record: a CBOR map with small unsigned keys, described by one table that drives both directions.
//
// Written: keys ascending, a member that has its default left out unless it is required. Read: keys
// strictly ascending (so none comes twice), unknown keys skipped, a missing required key refused.
// A strict record (part of a content-addressed object) also refuses members that say their default.
#ifndef WIRE_RECORD_H
#define WIRE_RECORD_H

#include <runnel/cbor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rec_type {
    REC_U64,
    REC_U32,
    REC_U8,
    REC_ENUM,   // an enum of ours; a number over max is RN_EUNSUPPORTED
    REC_BOOL,   // written only when true, unless required
    REC_TEXT,   // struct rn_span; empty is the default
    REC_BYTES,  // the same
    REC_HASH,   // 32 bytes in place; all zero is the default
    REC_CUSTOM, // the functions of `custom`
};

struct rec_custom {
    bool (*has)(const void *msg);
    void (*put)(const void *msg, struct rn_buf *out);
    int (*get)(struct rn_cbor_in *in, void *msg);
};

struct rec_row {
    const char *name; // in the words of errors
    uint8_t key;      // < 64
    enum rec_type type : 8;
    bool required;
    uint32_t offset;
    uint64_t max;    // of the number, or of the bytes
    uint64_t absent; // the number that a missing key stands for
    const struct rec_custom *custom;
};

struct rec {
    const struct rec_row *rows; // ascending by key
    size_t count;
    bool strict;
};

void rec_put(const struct rec *rec, const void *msg, struct rn_buf *out);
// Sets every row's member, from the input or to its default.
RN_MUST_CHECK int rec_get(const struct rec *rec, struct rn_cbor_in *in, void *msg);

// A whole message: bounds, the record, nothing left over. The message is zeroed first.
RN_MUST_CHECK int rec_encode(const struct rec *rec, const void *msg, struct rn_buf *out);
RN_MUST_CHECK int rec_decode(const struct rec *rec, struct rn_span bytes, void *msg, size_t size,
                             struct rn_err *err);

// Goes through a map's keys: call with *last_key = -1 first. Keys ascend strictly.
RN_MUST_CHECK int rec_key(struct rn_cbor_in *in, int64_t *last_key);

#endif
