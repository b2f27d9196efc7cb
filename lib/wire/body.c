// Body of a batch: what surrounds the columns, in whichever encoding they are. See runnel/wire.h.
#include "lib/wire/packed.h"

#include <runnel/cbor.h>

#include <string.h>

#define TAIL_MAX  32 // head of a batch and what surrounds the columns in its body, at most
#define EXT_BASE  1
#define EXT_HINTS 2
#define EXT_TEXT  3

static void put_ext(const struct rn_coding *with, uint32_t enc, uint32_t longest,
                    struct rn_buf *out)
{
    bool hints = with->hints && enc == RN_ENC_RANGE, base = with->base && enc != RN_ENC_PLAIN;
    bool text = longest > RN_TEXT_SHORT;
    rn_cbor_put_map(out, (size_t)hints + base + text);
    if (base) {
        rn_cbor_put_uint(out, EXT_BASE);
        rn_cbor_put_uint(out, with->base_id);
    }
    if (hints) {
        rn_cbor_put_uint(out, EXT_HINTS);
        rn_cbor_put_uint(out, with->hints_id);
    }
    if (text) {
        rn_cbor_put_uint(out, EXT_TEXT);
        rn_cbor_put_uint(out, longest);
    }
}

// The bytes first, then their head in front of them: their number is not known before.
static int put_packed(uint32_t enc, const struct rn_schema *schema, const struct rn_coding *with,
                      const struct rn_grid *grid, void *work, size_t work_size, struct rn_buf *out,
                      struct rn_err *err)
{
    struct rn_grid view = *grid; // is not written to
    size_t start = out->len;
    int result = packed_put(enc, schema, with, &view, work, work_size, out, err);
    size_t len = out->len - start;
    uint8_t head[9];
    struct rn_buf heads;
    rn_buf_init_fixed(&heads, head, sizeof head);
    rn_cbor_put_bytes_head(&heads, len);
    uint8_t *room = result ? NULL : rn_buf_reserve(out, heads.len);
    if (!room)
        return result;
    memmove(out->data + start + heads.len, out->data + start, len);
    memcpy(out->data + start, head, heads.len);
    out->len += heads.len;
    return RN_OK;
}

int rn_batch_encode_as(uint32_t enc, const struct rn_schema *schema, uint32_t schema_id,
                       const struct rn_coding *with, const struct rn_grid *grid, void *work,
                       size_t work_size, struct rn_buf *out, struct rn_err *err)
{
    static const struct rn_coding without;
    size_t start = out->len;
    with = with ? with : &without;
    if (enc > RN_ENC_MAX || schema_id > UINT16_MAX || with->base_id > UINT16_MAX ||
        with->hints_id > UINT16_MAX)
        return rn_fail(err, RN_EINVAL, "encoding or a number is out of range");
    int result = check_grid(schema, grid, err);
    if (result)
        return result;
    int longest = longest_text(grid, RN_TEXT_MAX, err);
    if (longest < 0)
        return longest;
    rn_cbor_put_uint(out, schema_id);
    rn_cbor_put_int(out, grid->times[0]);
    rn_cbor_put_uint(out, grid->n);
    rn_cbor_put_uint(out, enc);
    if (enc == RN_ENC_PLAIN)
        result = columns_put_plain(schema, grid, out, err);
    else
        result = put_packed(enc, schema, with, grid, work, work_size, out, err);
    put_ext(with, enc, (uint32_t)longest, out);
    if (!result && rn_buf_status(out) == RN_ENOMEM)
        result = rn_fail(err, RN_ENOMEM, "no memory for a batch");
    if (!result && (!rn_buf_ok(out) || out->len - start > RN_BATCH_MAX_BYTES - TAIL_MAX))
        result = rn_fail(err, RN_ELIMIT, "batch is over %d bytes", RN_BATCH_MAX_BYTES);
    if (result)
        out->len = start;
    return result;
}

int rn_batch_encode_body(const struct rn_schema *schema, uint32_t schema_id,
                         const struct rn_grid *grid, struct rn_buf *out, struct rn_err *err)
{
    return rn_batch_encode_as(RN_ENC_PLAIN, schema, schema_id, NULL, grid, NULL, 0, out, err);
}

size_t rn_batch_grid_bytes(const struct rn_schema *schema, const struct rn_batch_info *info)
{
    if (too_many_cells(schema, info->n))
        return 0;
    return rn_grid_bytes(info->n, schema->ncolumns, text_space(schema, info));
}

static int get_packed(const struct rn_schema *schema, const struct rn_batch_info *info,
                      const struct rn_coding *with, struct rn_grid *grid, void *work,
                      size_t work_size, struct rn_err *err)
{
    struct rn_cbor_in in;
    struct rn_span bytes = {0};
    struct rn_coding named = {.base = info->has_base ? with->base : NULL,
                              .hints = info->has_hints ? with->hints : NULL};
    if ((info->has_base && !named.base) || (info->has_hints && !named.hints))
        return rn_fail(err, RN_ENOENT, "the base or hints of the batch are not known");
    rn_cbor_in_init(&in, info->columns, err);
    int result = rn_cbor_get_bytes(&in, RN_BATCH_MAX_BYTES, &bytes);
    if (!result)
        result = rn_cbor_end(&in);
    return result ? result
                  : packed_get(info->enc, schema, &named, bytes, grid, work, work_size, err);
}

int rn_batch_decode_with(const struct rn_schema *schema, const struct rn_batch_info *info,
                         const struct rn_coding *with, struct rn_grid *grid, void *storage,
                         size_t size, void *work, size_t work_size, struct rn_err *err)
{
    if (too_many_cells(schema, info->n) || info->columns.len > RN_BATCH_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "%u ticks of %u columns are too many or none", info->n,
                       schema->ncolumns);
    if (info->enc > RN_ENC_MAX)
        return rn_fail(err, RN_EUNSUPPORTED, "encoding %u is not known to this program", info->enc);
    int result =
        rn_grid_init(grid, info->n, schema->ncolumns, text_space(schema, info), storage, size, err);
    if (!result)
        result = fill_times(schema, info, grid, err);
    if (result)
        return result;
    if (info->enc == RN_ENC_PLAIN)
        result = columns_get_plain(schema, info->columns, grid, err);
    else
        result = get_packed(schema, info, with, grid, work, work_size, err);
    if (!result)
        result = longest_text(grid, info->text_max, err);
    return result < 0 ? result : RN_OK;
}

int rn_batch_decode(const struct rn_schema *schema, const struct rn_batch_info *info,
                    struct rn_grid *grid, void *storage, size_t size, struct rn_err *err)
{
    static const struct rn_coding without;
    uint64_t work[RN_DECODE_WORK / sizeof(uint64_t)];
    if (info->has_base || info->has_hints)
        return rn_fail(err, RN_EUNSUPPORTED, "batches with a base or hints are not known here");
    return rn_batch_decode_with(schema, info, &without, grid, storage, size, work, sizeof work,
                                err);
}
