// Configuration report, see runnel/wire.h and schemas/report.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>

#define NUMBER(key, member, required)                                                              \
    {                                                                                              \
#member, key, REC_U64, required, offsetof(struct rn_report, member), RN_ID_MAX, 0, NULL    \
    }
static const struct rec_row rows[] = {
    NUMBER(1, install, true),
    NUMBER(2, n, true),
    NUMBER(3, running, false),
    {"running_hash", 4, REC_HASH, false, offsetof(struct rn_report, running_hash), 0, 0, NULL},
    NUMBER(5, offered, false),
    {"offered_hash", 6, REC_HASH, false, offsetof(struct rn_report, offered_hash), 0, 0, NULL},
    {"state", 7, REC_ENUM, true, offsetof(struct rn_report, state), RN_CONFIG_CONFLICT, 0, NULL},
    {"path", 8, REC_TEXT, false, offsetof(struct rn_report, path), RN_NAME_MAX, 0, NULL},
    {"reason", 9, REC_TEXT, false, offsetof(struct rn_report, reason), RN_NAME_MAX, 0, NULL},
};
static const struct rec report_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_report_encode(const struct rn_report *report, struct rn_buf *out)
{
    return rec_encode(&report_rec, report, out);
}

int rn_report_decode(struct rn_span bytes, struct rn_report *report, struct rn_err *err)
{
    return rec_decode(&report_rec, bytes, report, sizeof *report, err);
}
