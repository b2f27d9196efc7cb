// Key message, see runnel/wire.h and schemas/key.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>

static bool has_object(const void *msg)
{
    return ((const struct rn_key_msg *)msg)->has_object;
}

static void put_object(const void *msg, struct rn_buf *out)
{
    rn_cbor_put_bytes(out, ((const struct rn_key_msg *)msg)->object);
}

static int get_object(struct rn_cbor_in *in, void *msg)
{
    struct rn_key_msg *key = msg;
    int result = rn_cbor_get_bytes(in, RN_SCHEMA_MAX_BYTES, &key->object);
    if (!result && key->object.len == 0)
        result = rn_cbor_fail(in, RN_EFORMAT, "object is empty");
    key->has_object = true;
    return result;
}

static const struct rec_custom object_custom = {has_object, put_object, get_object};
static const struct rec_row rows[] = {
    {"install", 1, REC_U64, true, offsetof(struct rn_key_msg, install), RN_ID_MAX, 0, NULL},
    {"kind", 2, REC_ENUM, true, offsetof(struct rn_key_msg, kind), RN_OBJECT_BASE, 0, NULL},
    {"id", 3, REC_U32, true, offsetof(struct rn_key_msg, id), 65535, 0, NULL},
    {"hash", 4, REC_HASH, true, offsetof(struct rn_key_msg, hash), 0, 0, NULL},
    {"object", 5, REC_CUSTOM, false, 0, 0, 0, &object_custom},
};
static const struct rec key_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_key_encode(const struct rn_key_msg *msg, struct rn_buf *out)
{
    return rec_encode(&key_rec, msg, out);
}

int rn_key_decode(struct rn_span bytes, struct rn_key_msg *msg, struct rn_err *err)
{
    int result = rec_decode(&key_rec, bytes, msg, sizeof *msg, err);
    if (!result && (uint32_t)msg->kind == 0)
        return rn_fail(err, RN_EUNSUPPORTED, "kind 0 means nothing");
    return result;
}
