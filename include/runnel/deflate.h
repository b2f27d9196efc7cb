// Raw deflate (RFC 1951) in memory that the caller lends: no allocation, no I/O. A stream is fed
// piece by piece. zlib is included by lib/base/zlib.c alone.
#ifndef RUNNEL_DEFLATE_H
#define RUNNEL_DEFLATE_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stddef.h>

#define RN_DEFLATE_WORK 40960 // window of 4 kB, memLevel 5
#define RN_INFLATE_WORK 13312
// Blocks of a stream, at most. Ours hold 2,047 symbols each; empty ones would cost and give
// nothing.
#define RN_INFLATE_BLOCKS 96

struct rn_deflate; // lives in the work memory, aligned to 8

// Level 1..9. NULL if the memory is too small.
struct rn_deflate *rn_deflate_begin(void *work, size_t size, int level);
// Appends what comes out to `out`; last: and ends the stream. RN_ELIMIT: out is full.
RN_MUST_CHECK int rn_deflate_put(struct rn_deflate *stream, struct rn_span in, bool last,
                                 struct rn_buf *out);

struct rn_inflate;

// `in` is borrowed until the last call. NULL if the memory is too small.
struct rn_inflate *rn_inflate_begin(void *work, size_t size, struct rn_span in);
// Up to len bytes; fewer only at the end of the stream. Returns how many, or RN_EFORMAT (also for
// too many blocks).
RN_MUST_CHECK int rn_inflate_get(struct rn_inflate *stream, void *bytes, size_t len);
// True if the stream ended, and with it the input.
bool rn_inflate_ended(const struct rn_inflate *stream);

#endif
