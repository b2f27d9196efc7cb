// See runnel/gzip.h.
#include <runnel/gzip.h>

#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#define CHUNK 16384

// Runs one direction of zlib until the stream ends or does not fit. `step` is deflate or inflate.
static int run(z_stream *z, struct rn_buf *out, struct rn_span in, int (*step)(z_stream *, int),
               int flush, struct rn_err *err)
{
    if (in.len > UINT32_MAX)
        return rn_fail(err, RN_ELIMIT, "too long for gzip");
    z->next_in = in.data;
    z->avail_in = (uInt)in.len;
    int rc = Z_OK;
    while (rc == Z_OK) {
        size_t room = out->max - out->len < CHUNK ? out->max - out->len : CHUNK;
        uint8_t *to = room ? rn_buf_reserve(out, room) : NULL;
        if (!to)
            return rn_fail(err, RN_ELIMIT, "more than %zu bytes after gzip", out->max);
        z->next_out = to;
        z->avail_out = (uInt)room;
        rc = step(z, flush);
        out->len += room - z->avail_out;
    }
    if (rc != Z_STREAM_END)
        return rn_fail(err, RN_EFORMAT, "gzip: %s", z->msg ? z->msg : "incomplete or damaged");
    return RN_OK;
}

int rn_gzip(struct rn_buf *out, struct rn_span in, int level, struct rn_err *err)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return rn_fail(err, RN_ENOMEM, "out of memory for gzip");
    int rc = run(&z, out, in, deflate, Z_FINISH, err);
    (void)deflateEnd(&z);
    return rc;
}

int rn_gunzip(struct rn_buf *out, struct rn_span in, struct rn_err *err)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return rn_fail(err, RN_ENOMEM, "out of memory for gzip");
    int rc = run(&z, out, in, inflate, Z_NO_FLUSH, err);
    (void)inflateEnd(&z);
    return rc;
}
