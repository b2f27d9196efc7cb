// Acknowledgement, see runnel/wire.h and schemas/ack.cddl. Ranges travel as [first, count, ...].
#include "lib/wire/record.h"

#include <runnel/wire.h>

// ---- hello --------------------------------------------------------------------------------------

#define HELLO(key, member, required)                                                               \
    {                                                                                              \
#member, key, REC_U64, required, offsetof(struct rn_hello, member), RN_ID_MAX, 0, NULL     \
    }
static const struct rec_row hello_rows[] = {
    HELLO(1, install, true),
    HELLO(2, epoch, true),
    HELLO(3, max_seq, false),
    HELLO(4, max_epoch, false),
    HELLO(5, config_revision, false),
    {"config_hash", 6, REC_HASH, false, offsetof(struct rn_hello, config_hash), 0, 0, NULL},
    HELLO(7, fleet, false),
    {"duplicate", 8, REC_BOOL, false, offsetof(struct rn_hello, duplicate), 0, 0, NULL},
    HELLO(9, fingerprint, false),
};
static const struct rec hello_rec = {hello_rows, sizeof hello_rows / sizeof *hello_rows, false};

static bool has_hello(const void *msg)
{
    return ((const struct rn_ack *)msg)->has_hello;
}

static void put_hello(const void *msg, struct rn_buf *out)
{
    rec_put(&hello_rec, &((const struct rn_ack *)msg)->hello, out);
}

static int get_hello(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    ack->has_hello = true;
    return rec_get(&hello_rec, in, &ack->hello);
}

// ---- lists --------------------------------------------------------------------------------------

static void put_range(struct rn_buf *out, size_t items, uint64_t first, uint64_t last)
{
    rn_cbor_put_array(out, items);
    rn_cbor_put_uint(out, first);
    rn_cbor_put_uint(out, last - first + 1);
}

static int get_exact_array(struct rn_cbor_in *in, uint64_t expected)
{
    uint64_t items;
    int result = rn_cbor_get_array(in, UINT64_MAX, &items);
    if (!result && items != expected)
        result = rn_cbor_fail(in, RN_EFORMAT, "wrong number of items");
    return result;
}

// after: the end of the range before it in the list, 0 for the first. Ranges that could overlap
// would let one message make its reader go through the same rows 64 times.
static int get_range(struct rn_cbor_in *in, uint64_t items, uint64_t after, uint64_t *first,
                     uint64_t *last)
{
    uint64_t from = 0, count = 0;
    int result = get_exact_array(in, items);
    if (!result)
        result = rn_cbor_get_uint(in, RN_ID_MAX, &from);
    if (!result)
        result = rn_cbor_get_uint(in, RN_ID_MAX, &count);
    if (result)
        return result;
    if (from == 0 || count == 0 || count - 1 > RN_ID_MAX - from)
        return rn_cbor_fail(in, RN_EFORMAT, "impossible range");
    if (from <= after)
        return rn_cbor_fail(in, RN_EFORMAT, "ranges that do not ascend");
    *first = from;
    *last = from + count - 1;
    return RN_OK;
}

static int get_list(struct rn_cbor_in *in, uint32_t *count)
{
    uint64_t items;
    int result = rn_cbor_get_array(in, RN_ACK_MAX, &items);
    if (result)
        return result;
    if (items == 0)
        return rn_cbor_fail(in, RN_EFORMAT, "an empty list must be left out");
    *count = (uint32_t)items;
    return RN_OK;
}

static void put_ranges(const struct rn_range *ranges, uint32_t count, struct rn_buf *out)
{
    rn_cbor_put_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        put_range(out, 2, ranges[i].first, ranges[i].last);
}

static int get_ranges(struct rn_cbor_in *in, struct rn_range *ranges, uint32_t *count)
{
    int result = get_list(in, count);
    for (uint32_t i = 0; !result && i < *count; i++)
        result = get_range(in, 2, i ? ranges[i - 1].last : 0, &ranges[i].first, &ranges[i].last);
    return result;
}

static bool has_received(const void *msg)
{
    return ((const struct rn_ack *)msg)->nreceived > 0;
}

static void put_received(const void *msg, struct rn_buf *out)
{
    const struct rn_ack *ack = msg;
    put_ranges(ack->received, ack->nreceived, out);
}

static int get_received(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    return get_ranges(in, ack->received, &ack->nreceived);
}

static bool has_conflict(const void *msg)
{
    return ((const struct rn_ack *)msg)->nconflict > 0;
}

static void put_conflict(const void *msg, struct rn_buf *out)
{
    const struct rn_ack *ack = msg;
    put_ranges(ack->conflict, ack->nconflict, out);
}

static int get_conflict(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    return get_ranges(in, ack->conflict, &ack->nconflict);
}

static bool has_durable(const void *msg)
{
    return ((const struct rn_ack *)msg)->ndurable > 0;
}

static void put_durable(const void *msg, struct rn_buf *out)
{
    const struct rn_ack *ack = msg;
    rn_cbor_put_array(out, ack->ndurable);
    for (uint32_t i = 0; i < ack->ndurable; i++) {
        put_range(out, 3, ack->durable[i].first, ack->durable[i].last);
        rn_cbor_put_uint(out, ack->durable[i].crc);
    }
}

static int get_durable(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    int result = get_list(in, &ack->ndurable);
    for (uint32_t i = 0; !result && i < ack->ndurable; i++) {
        uint64_t crc = 0;
        result = get_range(in, 3, i ? ack->durable[i - 1].last : 0, &ack->durable[i].first,
                           &ack->durable[i].last);
        if (!result)
            result = rn_cbor_get_uint(in, UINT32_MAX, &crc);
        ack->durable[i].crc = (uint32_t)crc;
    }
    return result;
}

static bool has_refused(const void *msg)
{
    return ((const struct rn_ack *)msg)->nrefused > 0;
}

static void put_refused(const void *msg, struct rn_buf *out)
{
    const struct rn_ack *ack = msg;
    rn_cbor_put_array(out, ack->nrefused);
    for (uint32_t i = 0; i < ack->nrefused; i++) {
        put_range(out, 3, ack->refused[i].first, ack->refused[i].last);
        rn_cbor_put_uint(out, ack->refused[i].reason);
    }
}

static int get_refused(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    int result = get_list(in, &ack->nrefused);
    for (uint32_t i = 0; !result && i < ack->nrefused; i++) {
        uint64_t reason = 0;
        result = get_range(in, 3, i ? ack->refused[i - 1].last : 0, &ack->refused[i].first,
                           &ack->refused[i].last);
        if (!result)
            result = rn_cbor_get_uint(in, UINT32_MAX, &reason);
        ack->refused[i].reason = (uint32_t)reason;
    }
    return result;
}

static bool has_need(const void *msg)
{
    return ((const struct rn_ack *)msg)->nneed > 0;
}

static void put_need(const void *msg, struct rn_buf *out)
{
    const struct rn_ack *ack = msg;
    rn_cbor_put_array(out, ack->nneed);
    for (uint32_t i = 0; i < ack->nneed; i++) {
        rn_cbor_put_array(out, 3);
        rn_cbor_put_uint(out, ack->need[i].kind);
        rn_cbor_put_uint(out, ack->need[i].id);
        rn_cbor_put_bool(out, ack->need[i].object);
    }
}

static int get_one_need(struct rn_cbor_in *in, struct rn_ack_need *need)
{
    uint64_t kind = 0, id = 0;
    int result = get_exact_array(in, 3);
    if (!result)
        result = rn_cbor_get_uint(in, UINT64_MAX, &kind);
    if (!result && (kind < RN_OBJECT_SCHEMA || kind > RN_OBJECT_BASE))
        result = rn_cbor_fail(in, RN_EUNSUPPORTED, "kind is not known to this program");
    if (!result)
        result = rn_cbor_get_uint(in, 65535, &id);
    need->kind = (enum rn_object)kind;
    need->id = (uint32_t)id;
    return result ? result : rn_cbor_get_bool(in, &need->object);
}

static int get_need(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    int result = get_list(in, &ack->nneed);
    for (uint32_t i = 0; !result && i < ack->nneed; i++)
        result = get_one_need(in, &ack->need[i]);
    return result;
}

// ---- report -------------------------------------------------------------------------------------

static bool has_report(const void *msg)
{
    return ((const struct rn_ack *)msg)->has_report;
}

static void put_report(const void *msg, struct rn_buf *out)
{
    rn_cbor_put_uint(out, ((const struct rn_ack *)msg)->report_n);
}

static int get_report(struct rn_cbor_in *in, void *msg)
{
    struct rn_ack *ack = msg;
    ack->has_report = true;
    return rn_cbor_get_uint(in, RN_ID_MAX, &ack->report_n);
}

// ---- the message --------------------------------------------------------------------------------

static const struct rec_custom hello_custom = {has_hello, put_hello, get_hello};
static const struct rec_custom received_custom = {has_received, put_received, get_received};
static const struct rec_custom durable_custom = {has_durable, put_durable, get_durable};
static const struct rec_custom refused_custom = {has_refused, put_refused, get_refused};
static const struct rec_custom need_custom = {has_need, put_need, get_need};
static const struct rec_custom conflict_custom = {has_conflict, put_conflict, get_conflict};
static const struct rec_custom report_custom = {has_report, put_report, get_report};
static const struct rec_row rows[] = {
    {"tag", 1, REC_U32, true, offsetof(struct rn_ack, tag), UINT32_MAX, 0, NULL},
    {"log_id", 2, REC_U64, true, offsetof(struct rn_ack, log_id), RN_ID_MAX, 0, NULL},
    {"time_ms", 3, REC_U64, true, offsetof(struct rn_ack, time_ms), RN_ID_MAX, 0, NULL},
    {"hello", 4, REC_CUSTOM, false, 0, 0, 0, &hello_custom},
    {"received", 5, REC_CUSTOM, false, 0, 0, 0, &received_custom},
    {"durable", 6, REC_CUSTOM, false, 0, 0, 0, &durable_custom},
    {"refused", 7, REC_CUSTOM, false, 0, 0, 0, &refused_custom},
    {"need", 8, REC_CUSTOM, false, 0, 0, 0, &need_custom},
    {"conflict", 9, REC_CUSTOM, false, 0, 0, 0, &conflict_custom},
    {"window", 10, REC_U32, false, offsetof(struct rn_ack, window), UINT32_MAX, 0, NULL},
    {"hold_ms", 11, REC_U32, false, offsetof(struct rn_ack, hold_ms), UINT32_MAX, 0, NULL},
    {"report_n", 12, REC_CUSTOM, false, 0, 0, 0, &report_custom},
};
static const struct rec ack_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_ack_encode(const struct rn_ack *ack, struct rn_buf *out)
{
    if (ack->nreceived > RN_ACK_MAX || ack->ndurable > RN_ACK_MAX || ack->nrefused > RN_ACK_MAX ||
        ack->nneed > RN_ACK_MAX || ack->nconflict > RN_ACK_MAX)
        return RN_ELIMIT;
    return rec_encode(&ack_rec, ack, out);
}

int rn_ack_decode(struct rn_span bytes, struct rn_ack *ack, struct rn_err *err)
{
    return rec_decode(&ack_rec, bytes, ack, sizeof *ack, err);
}
