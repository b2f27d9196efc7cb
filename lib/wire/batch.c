// Batch envelope, see runnel/wire.h and schemas/batch.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>

#define BATCH_ITEMS   9
#define SCHEMA_ID_MAX 65535
#define EXT_BASE      1
#define EXT_HINTS     2
#define EXT_TEXT      3
// Keys of ext below this change how the columns are read and must be understood.
#define EXT_FIRST_OPTIONAL 16

void rn_batch_put_head(struct rn_buf *out, const struct rn_batch_head *head)
{
    rn_cbor_put_array(out, BATCH_ITEMS);
    rn_cbor_put_uint(out, head->tag);
    rn_cbor_put_uint(out, head->seq);
    rn_cbor_put_uint(out, head->low);
}

static int get_head(struct rn_cbor_in *in, struct rn_batch_head *head)
{
    uint64_t items, tag;
    int result = rn_cbor_get_array(in, UINT64_MAX, &items);
    if (!result && items != BATCH_ITEMS)
        result = rn_cbor_fail(in, RN_EFORMAT, "a batch has 9 items");
    if (!result)
        result = rn_cbor_get_uint(in, UINT32_MAX, &tag);
    if (!result)
        result = rn_cbor_get_uint(in, RN_ID_MAX, &head->seq);
    if (!result)
        result = rn_cbor_get_uint(in, RN_ID_MAX, &head->low);
    if (result)
        return result;
    if (head->seq == 0 || head->low > head->seq)
        return rn_cbor_fail(in, RN_EFORMAT, "seq or low is impossible");
    head->tag = (uint32_t)tag;
    return RN_OK;
}

// A local number that ext names; encoding 0 takes neither base nor hints.
static int get_named(struct rn_cbor_in *in, const struct rn_batch_info *info, bool *has,
                     uint32_t *id)
{
    uint64_t number = 0;
    if (info->enc == RN_ENC_PLAIN)
        return rn_cbor_fail(in, RN_EUNSUPPORTED, "encoding 0 has no base and no hints");
    int result = rn_cbor_get_uint(in, SCHEMA_ID_MAX, &number);
    *has = true;
    *id = (uint32_t)number;
    return result;
}

static int get_ext(struct rn_cbor_in *in, struct rn_batch_info *info)
{
    uint64_t pairs, bytes = RN_TEXT_SHORT;
    int64_t key = -1;
    int result = rn_cbor_get_map(in, UINT64_MAX, &pairs);
    for (uint64_t i = 0; !result && i < pairs; i++) {
        result = rec_key(in, &key);
        if (result)
            break;
        if (key == EXT_BASE)
            result = get_named(in, info, &info->has_base, &info->base_id);
        else if (key == EXT_HINTS)
            result = get_named(in, info, &info->has_hints, &info->hints_id);
        else if (key == EXT_TEXT)
            result = rn_cbor_get_uint(in, RN_TEXT_MAX, &bytes);
        else if (key < EXT_FIRST_OPTIONAL)
            result = rn_cbor_fail(in, RN_EUNSUPPORTED, "extension is not known to this program");
        else
            result = rn_cbor_skip(in);
    }
    info->text_max = (uint32_t)bytes;
    return result;
}

static int get_body(struct rn_cbor_in *in, struct rn_batch_info *info)
{
    uint64_t schema_id = 0, t0 = 0, n = 0, enc = 0;
    int result = rn_cbor_get_uint(in, SCHEMA_ID_MAX, &schema_id);
    if (!result)
        result = rn_cbor_get_uint(in, INT64_MAX, &t0);
    if (!result)
        result = rn_cbor_get_uint(in, RN_BATCH_MAX_CELLS, &n);
    if (!result && n == 0)
        result = rn_cbor_fail(in, RN_EFORMAT, "a batch has at least one tick");
    if (!result)
        result = rn_cbor_get_uint(in, UINT32_MAX, &enc);
    if (result)
        return result;
    const uint8_t *mark = in->at;
    result = rn_cbor_skip(in);
    if (result)
        return result;
    *info = (struct rn_batch_info){.schema_id = (uint32_t)schema_id,
                                   .t0 = (int64_t)t0,
                                   .n = (uint32_t)n,
                                   .enc = (uint32_t)enc,
                                   .columns = rn_cbor_since(in, mark)};
    return get_ext(in, info);
}

static int check_size(struct rn_span bytes, struct rn_err *err)
{
    if (bytes.len <= RN_BATCH_MAX_BYTES)
        return RN_OK;
    return rn_fail(err, RN_ELIMIT, "batch of %zu bytes is over %d", bytes.len, RN_BATCH_MAX_BYTES);
}

int rn_batch_open(struct rn_span bytes, struct rn_batch_head *head, struct rn_batch_info *info,
                  struct rn_span *body, struct rn_err *err)
{
    int result = check_size(bytes, err);
    if (result)
        return result;
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, bytes, err);
    result = get_head(&in, head);
    if (result)
        return result;
    const uint8_t *mark = in.at;
    result = get_body(&in, info);
    if (!result)
        result = rn_cbor_end(&in);
    if (!result)
        *body = rn_cbor_since(&in, mark);
    return result;
}

int rn_batch_open_body(struct rn_span body, struct rn_batch_info *info, struct rn_err *err)
{
    int result = check_size(body, err);
    if (result)
        return result;
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, body, err);
    result = get_body(&in, info);
    return result ? result : rn_cbor_end(&in);
}
