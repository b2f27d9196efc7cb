// Bridge presence, see runnel/wire.h and schemas/bridge-status.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>

#define NUMBER(key, member, required)                                                              \
    {                                                                                              \
#member, key, REC_U64, required, offsetof(struct rn_bridge_status, member), RN_ID_MAX, 0,  \
            NULL                                                                                   \
    }
static const struct rec_row rows[] = {
    {"online", 1, REC_BOOL, true, offsetof(struct rn_bridge_status, online), 0, 0, NULL},
    NUMBER(2, log_id, true),
    NUMBER(3, since_ms, false),
    NUMBER(4, fence, false),
};
static const struct rec bridge_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_bridge_status_encode(const struct rn_bridge_status *s, struct rn_buf *out)
{
    return rec_encode(&bridge_rec, s, out);
}

int rn_bridge_status_decode(struct rn_span bytes, struct rn_bridge_status *s, struct rn_err *err)
{
    return rec_decode(&bridge_rec, bytes, s, sizeof *s, err);
}
