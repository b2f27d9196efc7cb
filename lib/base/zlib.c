// See runnel/deflate.h and runnel/gzip.h: all of zlib that there is.
#include <runnel/deflate.h>
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

// ---- raw deflate in the caller's memory ---------------------------------------------------------

#define WINDOW_BITS 12
#define MEM_LEVEL   5
#define BLOCK_ENDED 128 // in data_type of z_stream

// Bump allocator: zlib asks for everything at the beginning.
struct lent {
    uint8_t *at;
    size_t left;
};

static voidpf lend(voidpf opaque, uInt items, uInt size)
{
    struct lent *lent = opaque;
    size_t bytes = ((size_t)items * size + 15) & ~(size_t)15;
    if (bytes > lent->left)
        return NULL;
    void *taken = lent->at;
    lent->at += bytes;
    lent->left -= bytes;
    return taken;
}

static void keep(voidpf opaque, voidpf memory)
{
    (void)opaque;
    (void)memory;
}

struct rn_deflate {
    struct lent lent;
    z_stream z;
};

struct rn_inflate {
    struct lent lent;
    z_stream z;
    bool ended;
    uint32_t blocks; // that have ended
};

static z_stream stream_over(struct lent *lent)
{
    return (z_stream){.zalloc = lend, .zfree = keep, .opaque = lent};
}

struct rn_deflate *rn_deflate_begin(void *work, size_t size, int level)
{
    struct rn_deflate *stream = work;
    if (size < sizeof *stream)
        return NULL;
    stream->lent = (struct lent){(uint8_t *)work + sizeof *stream, size - sizeof *stream};
    stream->z = stream_over(&stream->lent);
    int rc =
        deflateInit2(&stream->z, level, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY);
    return rc == Z_OK ? stream : NULL;
}

int rn_deflate_put(struct rn_deflate *stream, struct rn_span in, bool last, struct rn_buf *out)
{
    stream->z.next_in = in.data;
    stream->z.avail_in = (uInt)in.len;
    int rc = Z_OK;
    do {
        uint8_t chunk[256];
        stream->z.next_out = chunk;
        stream->z.avail_out = sizeof chunk;
        rc = deflate(&stream->z, last ? Z_FINISH : Z_NO_FLUSH);
        rn_buf_append(out, chunk, sizeof chunk - stream->z.avail_out);
    } while (rn_buf_ok(out) && rc == Z_OK && (last || stream->z.avail_in));
    return rn_buf_ok(out) ? RN_OK : RN_ELIMIT;
}

struct rn_inflate *rn_inflate_begin(void *work, size_t size, struct rn_span in)
{
    struct rn_inflate *stream = work;
    if (size < sizeof *stream || in.len > UINT32_MAX)
        return NULL;
    stream->lent = (struct lent){(uint8_t *)work + sizeof *stream, size - sizeof *stream};
    stream->z = stream_over(&stream->lent);
    stream->z.next_in = in.data;
    stream->z.avail_in = (uInt)in.len;
    stream->ended = false;
    stream->blocks = 0;
    return inflateInit2(&stream->z, -WINDOW_BITS) == Z_OK ? stream : NULL;
}

int rn_inflate_get(struct rn_inflate *stream, void *bytes, size_t len)
{
    stream->z.next_out = bytes;
    stream->z.avail_out = (uInt)len;
    while (stream->z.avail_out && !stream->ended) {
        int rc = inflate(&stream->z, Z_BLOCK); // stops after each block
        stream->ended = rc == Z_STREAM_END;
        stream->blocks += !stream->ended && stream->z.data_type & BLOCK_ENDED;
        if ((rc != Z_OK && rc != Z_STREAM_END) || stream->blocks > RN_INFLATE_BLOCKS)
            return RN_EFORMAT;
    }
    return (int)(len - stream->z.avail_out);
}

bool rn_inflate_ended(const struct rn_inflate *stream)
{
    return stream->ended && stream->z.avail_in == 0;
}
