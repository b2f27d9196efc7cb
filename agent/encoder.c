// See encoder.h.
#include "agent/encoder.h"

#include <runnel/wire.h>

#include <stdlib.h>

struct encoder {
    unsigned allowed, refused;
    void *work;
    size_t work_size;
    struct rn_buf best, trial;
};

// Only deflate takes the larger part.
static size_t work_for(unsigned allowed)
{
    if (allowed & 1u << RN_ENC_DEFLATE)
        return RN_ENCODE_WORK;
    return allowed & 1u << RN_ENC_RANGE ? RN_RANGE_WORK : 0;
}

int encoder_reconf(struct encoder *e, unsigned allowed, struct rn_err *err)
{
    size_t size = work_for(allowed);
    if (size != e->work_size) {
        void *work = size ? malloc(size) : NULL;
        if (size && !work)
            return rn_fail(err, RN_ENOMEM, "out of memory");
        free(e->work);
        e->work = work;
        e->work_size = size;
    }
    e->allowed = allowed;
    return RN_OK;
}

int encoder_new(struct encoder **out, unsigned allowed, struct rn_err *err)
{
    struct encoder *e = calloc(1, sizeof *e);
    if (!e)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rn_buf_init(&e->best, RN_BATCH_MAX_BYTES);
    rn_buf_init(&e->trial, RN_BATCH_MAX_BYTES);
    int rc = encoder_reconf(e, allowed, err);
    if (rc < 0) {
        encoder_free(e);
        return rc;
    }
    *out = e;
    return RN_OK;
}

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    free(e->work);
    rn_buf_release(&e->best);
    rn_buf_release(&e->trial);
    free(e);
}

void encoder_refused(struct encoder *e, uint32_t enc)
{
    if (enc != RN_ENC_PLAIN && enc <= RN_ENC_MAX)
        e->refused |= 1u << enc;
}

void encoder_connected(struct encoder *e)
{
    e->refused = 0;
}

int encoder_plain(struct encoder *e, const struct rn_schema *schema, uint32_t schema_id,
                  const struct rn_grid *grid, struct rn_span *body, struct rn_err *err)
{
    rn_buf_clear(&e->best);
    int rc = rn_batch_encode_body(schema, schema_id, grid, &e->best, err);
    *body = rn_buf_span(&e->best);
    return rc;
}

static void keep_trial(struct encoder *e)
{
    struct rn_buf worse = e->best;
    e->best = e->trial;
    e->trial = worse;
}

int encoder_smallest(struct encoder *e, const struct rn_schema *schema, uint32_t schema_id,
                     const struct rn_grid *grid, struct rn_span *body, struct rn_err *err)
{
    unsigned may = e->allowed & ~e->refused;
    bool any = false;
    for (uint32_t enc = 0; enc <= RN_ENC_MAX; enc++) {
        if (!(may & 1u << enc))
            continue;
        rn_buf_clear(&e->trial);
        int rc = rn_batch_encode_as(enc, schema, schema_id, NULL, grid, e->work, e->work_size,
                                    &e->trial, err);
        if (rc < 0 || (any && e->trial.len >= e->best.len))
            continue;
        keep_trial(e);
        any = true;
    }
    if (!any)
        return encoder_plain(e, schema, schema_id, grid, body, err);
    *body = rn_buf_span(&e->best);
    return RN_OK;
}

static int renew(struct encoder *e, const struct rn_schema *schema,
                 const struct rn_batch_info *info, struct rn_span *body, struct rn_err *err)
{
    struct rn_grid grid;
    size_t size = rn_batch_grid_bytes(schema, info);
    void *storage = malloc(size ? size : 1);
    if (!storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = rn_batch_decode(schema, info, &grid, storage, size, err);
    if (rc >= 0)
        rc = encoder_plain(e, schema, info->schema_id, &grid, body, err);
    free(storage);
    return rc;
}

int encoder_renew(struct encoder *e, struct rn_span object, struct rn_span old, uint32_t *enc,
                  struct rn_span *body, struct rn_err *err)
{
    struct rn_batch_info info;
    struct rn_schema schema;
    int rc = rn_batch_open_body(old, &info, err);
    if (rc < 0)
        return rc;
    *enc = info.enc;
    if (info.enc == RN_ENC_PLAIN)
        return rn_fail(err, RN_EINVAL, "it is in encoding 0 already");
    size_t size = object.len * (RN_SCHEMA_STORAGE / RN_SCHEMA_MAX_BYTES) + 1024;
    void *storage = malloc(size);
    if (!storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rc = rn_schema_decode(object, &schema, storage, size, err);
    if (rc >= 0)
        rc = renew(e, &schema, &info, body, err);
    free(storage);
    return rc;
}
