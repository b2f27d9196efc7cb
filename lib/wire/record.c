// See record.h.
#include "lib/wire/record.h"

#include <runnel/wire.h>
#include <string.h>

#define REC_MAX_PAIRS 64

static uint64_t number_of(const struct rec_row *row, const void *at)
{
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    switch (row->type) {
    case REC_U64:
        memcpy(&u64, at, sizeof u64);
        return u64;
    case REC_U32:
    case REC_ENUM:
        memcpy(&u32, at, sizeof u32);
        return u32;
    default:
        return *(const uint8_t *)at;
    }
}

static void set_number(const struct rec_row *row, void *at, uint64_t value)
{
    uint32_t u32 = (uint32_t)value;
    switch (row->type) {
    case REC_U64:
        memcpy(at, &value, sizeof value);
        break;
    case REC_U32:
    case REC_ENUM:
        memcpy(at, &u32, sizeof u32);
        break;
    default:
        *(uint8_t *)at = (uint8_t)value;
    }
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

static bool has_default(const struct rec_row *row, const void *msg)
{
    const uint8_t *at = (const uint8_t *)msg + row->offset;
    struct rn_span span;
    switch (row->type) {
    case REC_TEXT:
    case REC_BYTES:
        memcpy(&span, at, sizeof span);
        return span.len == 0;
    case REC_HASH:
        return all_zero(at, RN_HASH_BYTES);
    case REC_BOOL:
        return !*(const bool *)at;
    case REC_CUSTOM:
        return row->custom->has && !row->custom->has(msg);
    default:
        return number_of(row, at) == row->absent;
    }
}

static void put_member(const struct rec_row *row, const void *msg, struct rn_buf *out)
{
    const uint8_t *at = (const uint8_t *)msg + row->offset;
    struct rn_span span;
    rn_cbor_put_uint(out, row->key);
    switch (row->type) {
    case REC_TEXT:
        memcpy(&span, at, sizeof span);
        rn_cbor_put_text(out, span);
        break;
    case REC_BYTES:
        memcpy(&span, at, sizeof span);
        rn_cbor_put_bytes(out, span);
        break;
    case REC_HASH:
        rn_cbor_put_bytes(out, (struct rn_span){at, RN_HASH_BYTES});
        break;
    case REC_BOOL:
        rn_cbor_put_bool(out, *(const bool *)at);
        break;
    case REC_CUSTOM:
        row->custom->put(msg, out);
        break;
    default:
        rn_cbor_put_uint(out, number_of(row, at));
    }
}

void rec_put(const struct rec *rec, const void *msg, struct rn_buf *out)
{
    size_t pairs = 0;
    for (size_t i = 0; i < rec->count; i++)
        pairs += rec->rows[i].required || !has_default(&rec->rows[i], msg);
    rn_cbor_put_map(out, pairs);
    for (size_t i = 0; i < rec->count; i++)
        if (rec->rows[i].required || !has_default(&rec->rows[i], msg))
            put_member(&rec->rows[i], msg, out);
}

static int get_number(const struct rec_row *row, struct rn_cbor_in *in, void *at)
{
    uint64_t value;
    int result = rn_cbor_get_uint(in, row->type == REC_ENUM ? UINT64_MAX : row->max, &value);
    if (result)
        return result;
    if (value > row->max)
        return rn_cbor_fail(in, RN_EUNSUPPORTED, "number means nothing to this program");
    set_number(row, at, value);
    return RN_OK;
}

static int get_hash(struct rn_cbor_in *in, uint8_t *at)
{
    struct rn_span span;
    int result = rn_cbor_get_bytes(in, RN_HASH_BYTES, &span);
    if (result)
        return result;
    if (span.len != RN_HASH_BYTES)
        return rn_cbor_fail(in, RN_EFORMAT, "a hash has 32 bytes");
    memcpy(at, span.data, RN_HASH_BYTES);
    return RN_OK;
}

static int get_member(const struct rec_row *row, struct rn_cbor_in *in, void *msg)
{
    uint8_t *at = (uint8_t *)msg + row->offset;
    struct rn_span span = {0};
    int result;
    switch (row->type) {
    case REC_TEXT:
        result = rn_cbor_get_text(in, (size_t)row->max, &span);
        memcpy(at, &span, sizeof span);
        return result;
    case REC_BYTES:
        result = rn_cbor_get_bytes(in, (size_t)row->max, &span);
        memcpy(at, &span, sizeof span);
        return result;
    case REC_HASH:
        return get_hash(in, at);
    case REC_BOOL:
        return rn_cbor_get_bool(in, (bool *)at);
    case REC_CUSTOM:
        return row->custom->get(in, msg);
    default:
        return get_number(row, in, at);
    }
}

int rec_key(struct rn_cbor_in *in, int64_t *last_key)
{
    uint64_t key;
    int result = rn_cbor_get_uint(in, INT64_MAX, &key);
    if (result)
        return result;
    if ((int64_t)key <= *last_key)
        return rn_cbor_fail(in, RN_EFORMAT, "keys of a map must ascend");
    *last_key = (int64_t)key;
    return RN_OK;
}

static const struct rec_row *find_row(const struct rec *rec, int64_t key)
{
    for (size_t i = 0; i < rec->count; i++)
        if (rec->rows[i].key == key)
            return &rec->rows[i];
    return NULL;
}

static int get_known(const struct rec *rec, const struct rec_row *row, struct rn_cbor_in *in,
                     void *msg)
{
    int result = get_member(row, in, msg);
    if (result)
        return rn_err_prefix(in->err, "%s", row->name), result;
    if (rec->strict && !row->required && has_default(row, msg))
        return rn_cbor_fail(in, RN_EFORMAT, "a default must be left out");
    return RN_OK;
}

static int check_required(const struct rec *rec, struct rn_cbor_in *in, uint64_t seen)
{
    for (size_t i = 0; i < rec->count; i++)
        if (rec->rows[i].required && !(seen >> rec->rows[i].key & 1)) {
            int result = rn_cbor_fail(in, RN_EFORMAT, "is missing");
            return rn_err_prefix(in->err, "%s", rec->rows[i].name), result;
        }
    return RN_OK;
}

int rec_get(const struct rec *rec, struct rn_cbor_in *in, void *msg)
{
    for (size_t i = 0; i < rec->count; i++)
        if (rec->rows[i].absent)
            set_number(&rec->rows[i], (uint8_t *)msg + rec->rows[i].offset, rec->rows[i].absent);
    uint64_t pairs, seen = 0;
    int result = rn_cbor_get_map(in, REC_MAX_PAIRS, &pairs);
    int64_t key = -1;
    for (uint64_t i = 0; i < pairs && !result; i++) {
        result = rec_key(in, &key);
        if (result)
            break;
        const struct rec_row *row = find_row(rec, key);
        result = row ? get_known(rec, row, in, msg) : rn_cbor_skip(in);
        if (row)
            seen |= 1ULL << row->key;
    }
    return result ? result : check_required(rec, in, seen);
}

int rec_encode(const struct rec *rec, const void *msg, struct rn_buf *out)
{
    rec_put(rec, msg, out);
    return rn_buf_ok(out) ? RN_OK : RN_ELIMIT;
}

int rec_decode(const struct rec *rec, struct rn_span bytes, void *msg, size_t size,
               struct rn_err *err)
{
    memset(msg, 0, size);
    if (bytes.len > RN_MESSAGE_MAX)
        return rn_fail(err, RN_ELIMIT, "message of %zu bytes is over %d", bytes.len,
                       RN_MESSAGE_MAX);
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, bytes, err);
    int result = rec_get(rec, &in, msg);
    return result ? result : rn_cbor_end(&in);
}
