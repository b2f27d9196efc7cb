// gzip (RFC 1952) for HTTP bodies: zlib behind one file of ours.
#ifndef RUNNEL_GZIP_H
#define RUNNEL_GZIP_H

#include <runnel/buf.h>
#include <runnel/err.h>

// Appends the compressed form; level 1 (fast) .. 9. RN_ELIMIT if it does not fit into out's
// maximum.
RN_MUST_CHECK int rn_gzip(struct rn_buf *out, struct rn_span in, int level, struct rn_err *err);
// The reverse, never beyond out's maximum.
RN_MUST_CHECK int rn_gunzip(struct rn_buf *out, struct rn_span in, struct rn_err *err);

#endif
