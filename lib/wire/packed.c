// Encodings 1 and 2 of columns: see packed.h, and docs/PROTOCOL.md for the format.
//
// One walk over the columns serves both encodings and both directions, so that writer and reader
// cannot disagree: each primitive of packed_walk.h (a bit, a number, a text ...) puts or gets. The
// *plain bytes* are what encoding 1 deflates; encoding 2 only takes their CRC, and codes the same
// facts with the range coder.
#include "lib/wire/packed_walk.h"

#include <string.h>

#define CRC_BYTES 4

static int set_up(struct packed *c, uint32_t enc, const struct rn_schema *schema,
                  const struct rn_coding *with)
{
    c->schema = schema;
    c->with = with;
    c->ranged = enc == RN_ENC_RANGE;
    c->last_column = UINT32_MAX;
    c->text_left = c->ranged ? RANGED_TEXT_MAX : PACKED_TEXT_MAX;
    c->plain_left = c->ranged ? UINT32_MAX : PACKED_PLAIN_MAX;
    if ((with->base && with->base->ncolumns != schema->ncolumns) ||
        (with->hints && with->hints->ncolumns != schema->ncolumns))
        return rn_fail(c->err, RN_EINVAL, "base or hints are another schema's");
    if (with->base)
        c->crc = with->base->crc;
    return RN_OK;
}

static bool load_model(struct packed *c, void *work, size_t size)
{
    struct model *model = work;
    if (size < sizeof *model)
        return false;
    memcpy(model->p, model_prior_p, sizeof model->p);
    memcpy(model->seen, model_prior_seen, sizeof model->seen);
    memset(model->near, 0, sizeof model->near);
    memset(model->learned, 0, sizeof model->learned); // of fields whose first series has a rule
    memset(model->known, 0xff, sizeof model->known);  // MODEL_NOT_KNOWN
    memset(model->places, 0, sizeof model->places);
    c->model = model;
    c->odds = (struct range_odds){model->p, model->seen};
    return true;
}

static void put_crc(uint8_t to[CRC_BYTES], uint32_t crc)
{
    for (int i = 0; i < CRC_BYTES; i++)
        to[i] = (uint8_t)(crc >> (24 - 8 * i));
}

int packed_put(uint32_t enc, const struct rn_schema *schema, const struct rn_coding *with,
               struct rn_grid *grid, void *work, size_t work_size, struct rn_buf *out,
               struct rn_err *err)
{
    struct packed c = {.grid = grid, .err = err, .putting = true, .out = out};
    size_t start = out->len;
    int rc = set_up(&c, enc, schema, with);
    if (rc < 0)
        return rc;
    rn_buf_append(out, (uint8_t[CRC_BYTES]){0}, CRC_BYTES);
    if (c.ranged)
        range_out_begin(&c.range_out, out);
    else
        c.deflate = rn_deflate_begin(work, work_size, 9);
    if (c.ranged ? !load_model(&c, work, work_size) : !c.deflate)
        return rn_fail(err, RN_EINVAL, "work memory of %zu bytes is too small", work_size);
    code_columns(&c);
    packed_limit(&c);
    packed_flush(&c, true);
    if (c.ranged && rn_buf_ok(out))
        range_out_end(&c.range_out);
    if (!c.failed && !rn_buf_ok(out))
        packed_fail(&c, RN_ELIMIT, "too many bytes");
    if (!c.failed)
        put_crc(out->data + start, c.crc);
    return c.failed;
}

static void check_end(struct packed *c, const uint8_t *crc)
{
    uint8_t beyond, found[CRC_BYTES];
    if (c->ranged) {
        packed_flush(c, true);
        if (!c->failed && !range_in_ended(&c->range_in))
            packed_fail(c, RN_EFORMAT, "bytes are left over");
    } else if (!c->failed && (c->used < c->filled || rn_inflate_get(c->inflate, &beyond, 1) != 0 ||
                              !rn_inflate_ended(c->inflate))) {
        packed_fail(c, RN_EFORMAT, "bytes are left over");
    }
    put_crc(found, c->crc);
    if (!c->failed && memcmp(found, crc, CRC_BYTES) != 0)
        packed_fail(c, RN_EFORMAT, "CRC is wrong: damage, or another base, hints or schema");
}

int packed_get(uint32_t enc, const struct rn_schema *schema, const struct rn_coding *with,
               struct rn_span bytes, struct rn_grid *grid, void *work, size_t work_size,
               struct rn_err *err)
{
    struct packed c = {.grid = grid, .err = err};
    int rc = set_up(&c, enc, schema, with);
    if (rc < 0)
        return rc;
    if (bytes.len < CRC_BYTES)
        return rn_fail(err, RN_EFORMAT, "columns: no CRC");
    struct rn_span stream = {bytes.data + CRC_BYTES, bytes.len - CRC_BYTES};
    if (c.ranged)
        range_in_begin(&c.range_in, stream);
    else
        c.inflate = rn_inflate_begin(work, work_size, stream);
    if (c.ranged ? !load_model(&c, work, work_size) : !c.inflate)
        return rn_fail(err, RN_EINVAL, "work memory of %zu bytes is too small", work_size);
    code_columns(&c);
    packed_limit(&c);
    check_end(&c, bytes.data);
    return c.failed;
}
