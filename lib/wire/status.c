// Status, see runnel/wire.h and schemas/status.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>

#define VERSION_MAX 64
#define REASON_MAX  255

#define LEDGER(key, member)                                                                        \
    {                                                                                              \
#member, key, REC_U64, false, offsetof(struct rn_ledger, member), RN_ID_MAX, 0, NULL       \
    }
static const struct rec_row ledger_rows[] = {
    LEDGER(1, produced), LEDGER(2, delivered), LEDGER(3, pending), LEDGER(4, evicted),
    LEDGER(5, thinned),  LEDGER(6, refused),   LEDGER(7, lost),
};
static const struct rec ledger_rec = {ledger_rows, sizeof ledger_rows / sizeof *ledger_rows, false};

static bool has_ledger(const void *msg)
{
    return ((const struct rn_status *)msg)->has_ledger;
}

static void put_ledger(const void *msg, struct rn_buf *out)
{
    rec_put(&ledger_rec, &((const struct rn_status *)msg)->ledger, out);
}

static int get_ledger(struct rn_cbor_in *in, void *msg)
{
    struct rn_status *status = msg;
    status->has_ledger = true;
    return rec_get(&ledger_rec, in, &status->ledger);
}

static const struct rec_custom ledger_custom = {has_ledger, put_ledger, get_ledger};

#define NUMBER(key, member, required)                                                              \
    {                                                                                              \
#member, key, REC_U64, required, offsetof(struct rn_status, member), RN_ID_MAX, 0, NULL    \
    }
static const struct rec_row rows[] = {
    {"presence", 1, REC_ENUM, true, offsetof(struct rn_status, presence), RN_PRESENCE_STOPPED, 0,
     NULL},
    NUMBER(2, install, true),
    NUMBER(3, epoch, true),
    NUMBER(4, n, true),
    NUMBER(5, time_ms, false),
    NUMBER(6, interval_ms, false),
    NUMBER(7, next_seq, false),
    NUMBER(8, fingerprint, false),
    NUMBER(9, config_revision, false),
    {"config_hash", 10, REC_HASH, false, offsetof(struct rn_status, config_hash), 0, 0, NULL},
    {"ledger", 11, REC_CUSTOM, false, 0, 0, 0, &ledger_custom},
    {"version", 12, REC_TEXT, false, offsetof(struct rn_status, version), VERSION_MAX, 0, NULL},
    {"reason", 13, REC_TEXT, false, offsetof(struct rn_status, reason), REASON_MAX, 0, NULL},
    NUMBER(14, away_ms, false),
    NUMBER(17, ack_by_ms, false),
};
static const struct rec status_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_status_encode(const struct rn_status *status, struct rn_buf *out)
{
    return rec_encode(&status_rec, status, out);
}

int rn_status_decode(struct rn_span bytes, struct rn_status *status, struct rn_err *err)
{
    return rec_decode(&status_rec, bytes, status, sizeof *status, err);
}
