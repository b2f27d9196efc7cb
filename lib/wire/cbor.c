// See runnel/cbor.h. libcbor is used for heads and numbers only: its stream decoder reports one
// item at a time and neither allocates nor recurses.
#include <runnel/cbor.h>

#include <cbor.h>
#include <math.h>
#include <string.h>

// ---- writing ------------------------------------------------------------------------------------

#define HEAD_MAX 9

static void put_head(struct rn_buf *out, size_t (*encode)(uint64_t, unsigned char *, size_t),
                     uint64_t value)
{
    unsigned char head[HEAD_MAX];
    rn_buf_append(out, head, encode(value, head, sizeof head));
}

void rn_cbor_put_uint(struct rn_buf *out, uint64_t value)
{
    put_head(out, cbor_encode_uint, value);
}

void rn_cbor_put_int(struct rn_buf *out, int64_t value)
{
    if (value < 0)
        put_head(out, cbor_encode_negint, ~(uint64_t)value); // -1 - value
    else
        put_head(out, cbor_encode_uint, (uint64_t)value);
}

void rn_cbor_put_bytes_head(struct rn_buf *out, size_t len)
{
    put_head(out, cbor_encode_bytestring_start, len);
}

void rn_cbor_put_bytes(struct rn_buf *out, struct rn_span bytes)
{
    rn_cbor_put_bytes_head(out, bytes.len);
    if (bytes.len)
        rn_buf_append(out, bytes.data, bytes.len);
}

void rn_cbor_put_text(struct rn_buf *out, struct rn_span text)
{
    put_head(out, cbor_encode_string_start, text.len);
    if (text.len)
        rn_buf_append(out, text.data, text.len);
}

void rn_cbor_put_array(struct rn_buf *out, size_t items)
{
    put_head(out, cbor_encode_array_start, items);
}

void rn_cbor_put_map(struct rn_buf *out, size_t pairs)
{
    put_head(out, cbor_encode_map_start, pairs);
}

void rn_cbor_put_tag(struct rn_buf *out, uint64_t tag)
{
    put_head(out, cbor_encode_tag, tag);
}

void rn_cbor_put_bool(struct rn_buf *out, bool value)
{
    unsigned char head[HEAD_MAX];
    rn_buf_append(out, head, cbor_encode_bool(value, head, sizeof head));
}

void rn_cbor_put_null(struct rn_buf *out)
{
    unsigned char head[HEAD_MAX];
    rn_buf_append(out, head, cbor_encode_null(head, sizeof head));
}

// The half (IEEE 754 binary16) with the very value of `value`, if there is one.
static bool exact_half(float value, uint16_t *half)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, mantissa = bits & 0x7fffff;
    int exponent = (int)(bits >> 23 & 0xff) - 127;
    uint32_t rest;
    if ((bits & 0x7fffffff) == 0) {
        rest = 0;
    } else if (exponent >= -14 && exponent <= 15 && !(mantissa & 0x1fff)) {
        rest = (uint32_t)(exponent + 15) << 10 | mantissa >> 13;
    } else if (exponent >= -24 && exponent < -14) { // subnormal: units of 2^-24
        unsigned shift = (unsigned)(-exponent - 1); // 14..23
        uint32_t whole = mantissa | 0x800000;
        if (whole & ((1U << shift) - 1))
            return false;
        rest = whole >> shift;
    } else {
        return false;
    }
    *half = (uint16_t)(sign | rest);
    return true;
}

void rn_cbor_put_double(struct rn_buf *out, double value)
{
    unsigned char head[HEAD_MAX];
    // Outside the range of float the conversion is undefined.
    bool fits = fabs(value) <= 3.4028234663852886e38;
    float single = fits ? (float)value : 0.0F;
    uint16_t half;
    if (!fits || memcmp(&(double){(double)single}, &value, sizeof value) != 0) {
        rn_buf_append(out, head, cbor_encode_double(value, head, sizeof head));
    } else if (exact_half(single, &half)) {
        unsigned char three[3] = {0xf9, (unsigned char)(half >> 8), (unsigned char)(half & 0xff)};
        rn_buf_append(out, three, sizeof three);
    } else {
        rn_buf_append(out, head, cbor_encode_single(single, head, sizeof head));
    }
}

// ---- reading ------------------------------------------------------------------------------------

// What libcbor's callbacks fill: `known` stays false for what we do not accept (indefinite lengths,
// breaks, undefined).
struct seen {
    struct rn_cbor_item *item;
    bool known;
};

static void see(void *arg, enum rn_cbor_type type, uint64_t u)
{
    struct seen *seen = arg;
    seen->item->type = type;
    seen->item->u = u;
    seen->known = true;
}

static void see_string(void *arg, enum rn_cbor_type type, const uint8_t *data, size_t len)
{
    see(arg, type, len);
    ((struct seen *)arg)->item->bytes = (struct rn_span){data, len};
}

static void on_uint8(void *arg, uint8_t value)
{
    see(arg, RN_CBOR_UINT, value);
}

static void on_uint16(void *arg, uint16_t value)
{
    see(arg, RN_CBOR_UINT, value);
}

static void on_uint32(void *arg, uint32_t value)
{
    see(arg, RN_CBOR_UINT, value);
}

static void on_uint64(void *arg, uint64_t value)
{
    see(arg, RN_CBOR_UINT, value);
}

static void on_nint8(void *arg, uint8_t value)
{
    see(arg, RN_CBOR_NINT, value);
}

static void on_nint16(void *arg, uint16_t value)
{
    see(arg, RN_CBOR_NINT, value);
}

static void on_nint32(void *arg, uint32_t value)
{
    see(arg, RN_CBOR_NINT, value);
}

static void on_nint64(void *arg, uint64_t value)
{
    see(arg, RN_CBOR_NINT, value);
}

static void on_bytes(void *arg, cbor_data data, size_t len)
{
    see_string(arg, RN_CBOR_BYTES, data, len);
}

static void on_text(void *arg, cbor_data data, size_t len)
{
    see_string(arg, RN_CBOR_TEXT, data, len);
}

static void on_array(void *arg, size_t items)
{
    see(arg, RN_CBOR_ARRAY, items);
}

static void on_map(void *arg, size_t pairs)
{
    see(arg, RN_CBOR_MAP, pairs);
}

static void on_tag(void *arg, uint64_t tag)
{
    see(arg, RN_CBOR_TAG, tag);
}

static void on_double(void *arg, double value)
{
    see(arg, RN_CBOR_DOUBLE, 0);
    ((struct seen *)arg)->item->d = value;
}

static void on_float(void *arg, float value)
{
    on_double(arg, (double)value);
}

static void on_null(void *arg)
{
    see(arg, RN_CBOR_NULL, 0);
}

static void on_bool(void *arg, bool value)
{
    see(arg, RN_CBOR_BOOL, value);
    ((struct seen *)arg)->item->b = value;
}

static const struct cbor_callbacks callbacks = {
    .uint8 = on_uint8,
    .uint16 = on_uint16,
    .uint32 = on_uint32,
    .uint64 = on_uint64,
    .negint8 = on_nint8,
    .negint16 = on_nint16,
    .negint32 = on_nint32,
    .negint64 = on_nint64,
    .byte_string_start = cbor_null_byte_string_start_callback,
    .byte_string = on_bytes,
    .string = on_text,
    .string_start = cbor_null_string_start_callback,
    .indef_array_start = cbor_null_indef_array_start_callback,
    .array_start = on_array,
    .indef_map_start = cbor_null_indef_map_start_callback,
    .map_start = on_map,
    .tag = on_tag,
    .float2 = on_float,
    .float4 = on_float,
    .float8 = on_double,
    .undefined = cbor_null_undefined_callback,
    .null = on_null,
    .boolean = on_bool,
    .indef_break = cbor_null_indef_break_callback,
};

void rn_cbor_in_init(struct rn_cbor_in *in, struct rn_span bytes, struct rn_err *err)
{
    static const uint8_t nothing[1];
    memset(in, 0, sizeof *in);
    in->start = in->at = bytes.len ? bytes.data : nothing;
    in->end = in->start + bytes.len;
    in->err = err;
}

int rn_cbor_fail(struct rn_cbor_in *in, int code, const char *words)
{
    if (!in->failed)
        in->failed = rn_fail(in->err, code, "byte %zu: %s", (size_t)(in->at - in->start), words);
    return in->failed;
}

// Keeps the books of open containers for an item that was just read.
static int account(struct rn_cbor_in *in, const struct rn_cbor_item *item)
{
    if (item->type == RN_CBOR_TAG)
        return RN_OK; // belongs to the item that follows
    if (in->depth > 0)
        in->left[in->depth - 1]--;
    if (item->type == RN_CBOR_ARRAY || item->type == RN_CBOR_MAP) {
        uint64_t bytes = (uint64_t)(in->end - in->at);
        bool map = item->type == RN_CBOR_MAP;
        if (item->u > (map ? bytes / 2 : bytes))
            return rn_cbor_fail(in, RN_EFORMAT, "container claims more items than bytes are left");
        if (item->u) {
            if (in->depth == RN_CBOR_MAX_DEPTH)
                return rn_cbor_fail(in, RN_EFORMAT, "nested too deeply");
            in->left[in->depth++] = map ? 2 * item->u : item->u;
        }
    }
    while (in->depth > 0 && in->left[in->depth - 1] == 0)
        in->depth--;
    return RN_OK;
}

// Tags 0 to 23 lie in the head; libcbor 0.8 takes those that were once unassigned (6 to 20) for
// damage.
static bool is_short_tag(uint8_t head)
{
    return head >= 0xc0 && head < 0xc0 + 24;
}

int rn_cbor_next(struct rn_cbor_in *in, struct rn_cbor_item *item)
{
    memset(item, 0, sizeof *item);
    if (in->failed)
        return in->failed;
    if (in->at == in->end)
        return rn_cbor_fail(in, RN_EFORMAT, "ends too early");
    if (in->items++ == RN_CBOR_MAX_ITEMS)
        return rn_cbor_fail(in, RN_ELIMIT, "more items than a message has");
    if (is_short_tag(*in->at)) {
        item->type = RN_CBOR_TAG;
        item->u = *in->at++ & 0x1f;
        return RN_OK;
    }
    struct seen seen = {item, false};
    struct cbor_decoder_result result =
        cbor_stream_decode(in->at, (size_t)(in->end - in->at), &callbacks, &seen);
    if (result.status == CBOR_DECODER_NEDATA)
        return rn_cbor_fail(in, RN_EFORMAT, "item is longer than what is left");
    if (result.status != CBOR_DECODER_FINISHED || !seen.known)
        return rn_cbor_fail(in, RN_EFORMAT, "not an item that is accepted here");
    in->at += result.read;
    return account(in, item);
}

static int next_of(struct rn_cbor_in *in, enum rn_cbor_type type, const char *expected,
                   struct rn_cbor_item *item)
{
    const uint8_t *before = in->at;
    int result = rn_cbor_next(in, item);
    if (result)
        return result;
    if (item->type == type)
        return RN_OK;
    in->at = before; // for the position in the words
    return rn_cbor_fail(in, RN_EFORMAT, expected);
}

int rn_cbor_get_uint(struct rn_cbor_in *in, uint64_t max, uint64_t *value)
{
    struct rn_cbor_item item;
    int result = next_of(in, RN_CBOR_UINT, "expected an unsigned integer", &item);
    if (result)
        return result;
    if (item.u > max)
        return rn_cbor_fail(in, RN_ELIMIT, "integer is over its maximum");
    *value = item.u;
    return RN_OK;
}

int rn_cbor_get_int(struct rn_cbor_in *in, int64_t *value)
{
    struct rn_cbor_item item;
    int result = rn_cbor_next(in, &item);
    if (result)
        return result;
    if (item.type != RN_CBOR_UINT && item.type != RN_CBOR_NINT)
        return rn_cbor_fail(in, RN_EFORMAT, "expected an integer");
    if (item.u > INT64_MAX)
        return rn_cbor_fail(in, RN_ELIMIT, "integer does not fit 64 bits with a sign");
    *value = item.type == RN_CBOR_UINT ? (int64_t)item.u : -1 - (int64_t)item.u;
    return RN_OK;
}

int rn_cbor_get_bytes(struct rn_cbor_in *in, size_t max, struct rn_span *bytes)
{
    struct rn_cbor_item item;
    int result = next_of(in, RN_CBOR_BYTES, "expected a byte string", &item);
    if (result)
        return result;
    if (item.bytes.len > max)
        return rn_cbor_fail(in, RN_ELIMIT, "byte string is over its maximum");
    *bytes = item.bytes;
    return RN_OK;
}

int rn_cbor_get_text(struct rn_cbor_in *in, size_t max, struct rn_span *text)
{
    struct rn_cbor_item item;
    int result = next_of(in, RN_CBOR_TEXT, "expected a text string", &item);
    if (result)
        return result;
    if (item.bytes.len > max)
        return rn_cbor_fail(in, RN_ELIMIT, "text is over its maximum");
    if (!rn_utf8_valid(item.bytes.data, item.bytes.len))
        return rn_cbor_fail(in, RN_EFORMAT, "text is not UTF-8");
    *text = item.bytes;
    return RN_OK;
}

int rn_cbor_get_bool(struct rn_cbor_in *in, bool *value)
{
    struct rn_cbor_item item;
    int result = next_of(in, RN_CBOR_BOOL, "expected true or false", &item);
    if (!result)
        *value = item.b;
    return result;
}

static int get_container(struct rn_cbor_in *in, enum rn_cbor_type type, const char *expected,
                         uint64_t max, uint64_t *count)
{
    struct rn_cbor_item item;
    int result = next_of(in, type, expected, &item);
    if (result)
        return result;
    if (item.u > max)
        return rn_cbor_fail(in, RN_ELIMIT, "more items than the maximum");
    *count = item.u;
    return RN_OK;
}

int rn_cbor_get_array(struct rn_cbor_in *in, uint64_t max, uint64_t *items)
{
    return get_container(in, RN_CBOR_ARRAY, "expected an array", max, items);
}

int rn_cbor_get_map(struct rn_cbor_in *in, uint64_t max, uint64_t *pairs)
{
    return get_container(in, RN_CBOR_MAP, "expected a map", max, pairs);
}

int rn_cbor_skip(struct rn_cbor_in *in)
{
    int depth = in->depth;
    do {
        struct rn_cbor_item item;
        int result = rn_cbor_next(in, &item);
        if (result)
            return result;
        if (item.type == RN_CBOR_TAG)
            return rn_cbor_fail(in, RN_EFORMAT, "a tag is not accepted here");
    } while (in->depth > depth);
    return RN_OK;
}

int rn_cbor_end(struct rn_cbor_in *in)
{
    if (in->failed)
        return in->failed;
    if (in->depth > 0)
        return rn_cbor_fail(in, RN_EFORMAT, "ends inside a container");
    if (in->at != in->end)
        return rn_cbor_fail(in, RN_EFORMAT, "bytes are left over");
    return RN_OK;
}
