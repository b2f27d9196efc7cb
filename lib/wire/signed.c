// COSE_Sign1 around a configuration, see runnel/wire.h, schemas/signed.cddl and RFC 9052,
// section 4.
#include "lib/wire/record.h"

#include <runnel/wire.h>

#include <string.h>

#define TAG_COSE_SIGN1  18
#define SIGNATURE_BYTES 64
#define HEADERS_MAX     16

static const uint8_t protected_headers[] = {0xa1, 0x01, 0x27}; // {1: -8}: the algorithm is EdDSA

static struct rn_span protected_span(void)
{
    return (struct rn_span){protected_headers, sizeof protected_headers};
}

int rn_signed_tbs(struct rn_span payload, struct rn_buf *out)
{
    rn_cbor_put_array(out, 4);
    rn_cbor_put_text(out, rn_span_text("Signature1"));
    rn_cbor_put_bytes(out, protected_span());
    rn_cbor_put_bytes(out, (struct rn_span){0}); // no external data
    rn_cbor_put_bytes(out, payload);
    return rn_buf_status(out);
}

int rn_signed_encode(const struct rn_signed *msg, struct rn_buf *out)
{
    if (msg->signature.len != 0 && msg->signature.len != SIGNATURE_BYTES)
        return RN_EINVAL;
    rn_cbor_put_array(out, 4);
    rn_cbor_put_bytes(out, protected_span());
    rn_cbor_put_map(out, 0);
    rn_cbor_put_bytes(out, msg->payload);
    rn_cbor_put_bytes(out, msg->signature);
    return rn_buf_ok(out) ? RN_OK : RN_ELIMIT;
}

static int get_array_of_4(struct rn_cbor_in *in)
{
    struct rn_cbor_item item;
    int result = rn_cbor_next(in, &item);
    if (!result && item.type == RN_CBOR_TAG && item.u == TAG_COSE_SIGN1)
        result = rn_cbor_next(in, &item);
    if (!result && (item.type != RN_CBOR_ARRAY || item.u != 4))
        result = rn_cbor_fail(in, RN_EFORMAT, "expected a COSE_Sign1 of 4 items");
    return result;
}

// Nothing in the unprotected headers means anything to us: they are not signed.
static int skip_headers(struct rn_cbor_in *in)
{
    uint64_t pairs;
    int64_t key = -1;
    int result = rn_cbor_get_map(in, HEADERS_MAX, &pairs);
    for (uint64_t i = 0; !result && i < pairs; i++) {
        result = rec_key(in, &key);
        if (!result)
            result = rn_cbor_skip(in);
    }
    return result;
}

int rn_signed_decode(struct rn_span bytes, struct rn_signed *msg, struct rn_err *err)
{
    struct rn_cbor_in in;
    struct rn_span headers = {0};
    struct rn_signed got = {0};
    if (bytes.len > RN_MESSAGE_MAX)
        return rn_fail(err, RN_ELIMIT, "signed document of %zu bytes", bytes.len);
    rn_cbor_in_init(&in, bytes, err);
    int result = get_array_of_4(&in);
    if (!result)
        result = rn_cbor_get_bytes(&in, RN_NAME_MAX, &headers);
    if (!result && !rn_span_eq(headers, protected_span()))
        result = rn_cbor_fail(&in, RN_EUNSUPPORTED, "signature algorithm is not EdDSA alone");
    if (!result)
        result = skip_headers(&in);
    if (!result)
        result = rn_cbor_get_bytes(&in, RN_CONFIG_MAX_BYTES, &got.payload);
    if (!result)
        result = rn_cbor_get_bytes(&in, SIGNATURE_BYTES, &got.signature);
    if (!result && got.signature.len != 0 && got.signature.len != SIGNATURE_BYTES)
        result = rn_cbor_fail(&in, RN_EFORMAT, "a signature has 64 bytes or none");
    if (!result)
        result = rn_cbor_end(&in);
    if (!result)
        *msg = got;
    return result;
}
