// See encoder.h.
#include "agent/encoder.h"

#include "agent/refs.h"

#include <stdlib.h>

struct encoder {
    unsigned allowed, refused;
    void *work;
    size_t work_size;
    bool no_refs; // the bridge refused hints and base
    struct rn_buf best, trial;
    struct encoder_objects objects;
    struct refs *refs; // from the first batch that may have some
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
    refs_free(e->refs);
    free(e);
}

void encoder_attach(struct encoder *e, const struct encoder_objects *objects)
{
    e->objects = *objects;
    if (e->refs)
        refs_forget(e->refs);
}

void encoder_refused(struct encoder *e, const struct rn_batch_info *info)
{
    if (info->has_base || info->has_hints)
        e->no_refs = true;
    else if (info->enc != RN_ENC_PLAIN && info->enc <= RN_ENC_MAX)
        e->refused |= 1u << info->enc;
}

void encoder_connected(struct encoder *e)
{
    e->refused = 0;
    e->no_refs = false;
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

// What is to be encoded, and how.
struct job {
    const struct rn_schema *schema;
    uint32_t schema_id;
    const struct rn_grid *grid;
    unsigned may; // encodings
    bool any;     // e->best has one
};

// Tries the encodings of `may`. Returns the smallest size, SIZE_MAX if there is none; e->best takes
// it if it is the smallest so far and `keep`.
static size_t try_with(struct encoder *e, struct job *job, const struct rn_coding *with, bool keep)
{
    size_t least = SIZE_MAX;
    for (uint32_t enc = with ? RN_ENC_DEFLATE : RN_ENC_PLAIN; enc <= RN_ENC_MAX; enc++) {
        if (!(job->may & 1u << enc))
            continue;
        rn_buf_clear(&e->trial);
        if (rn_batch_encode_as(enc, job->schema, job->schema_id, with, job->grid, e->work,
                               e->work_size, &e->trial, NULL) < 0)
            continue;
        if (e->trial.len < least)
            least = e->trial.len;
        if (keep && (!job->any || e->trial.len < e->best.len)) {
            keep_trial(e);
            job->any = true;
        }
    }
    return least;
}

// ---- hints and base -----------------------------------------------------------------------------

static void load(struct encoder *e, enum rn_object kind, uint32_t schema_id)
{
    uint32_t id;
    struct rn_span object;
    if (e->objects.current(e->objects.arg, kind, schema_id, &id, &object) == RN_OK)
        (void)!refs_load(e->refs, kind, id, object); // one that does not fit is replaced in time
}

static int select_refs(struct encoder *e, const struct job *job, struct rn_err *err)
{
    int rc = e->refs ? RN_OK : refs_new(&e->refs, err);
    if (rc >= 0)
        rc = refs_select(e->refs, job->schema_id, job->schema, err);
    if (rc == 1) {
        load(e, RN_OBJECT_BASE, job->schema_id);
        load(e, RN_OBJECT_HINTS, job->schema_id);
    }
    return rc;
}

// Naming one of them only may be better than both when the other one has got old.
static void try_current(struct encoder *e, struct job *job)
{
    static const enum refs_use use[3][2] = {
        {REFS_CURRENT, REFS_CURRENT}, {REFS_CURRENT, REFS_NONE}, {REFS_NONE, REFS_CURRENT}};
    struct rn_coding with;
    for (int i = 0; i < 3; i++)
        if (refs_coding(e->refs, use[i][0], use[i][1], &with))
            (void)try_with(e, job, &with, true);
}

// The candidate beside what is named of the other kind.
static bool candidate(struct encoder *e, enum rn_object kind, struct rn_coding *with)
{
    if (kind == RN_OBJECT_BASE)
        return refs_coding(e->refs, REFS_CANDIDATE, REFS_CURRENT, with) ||
               refs_coding(e->refs, REFS_CANDIDATE, REFS_NONE, with);
    return refs_coding(e->refs, REFS_CURRENT, REFS_CANDIDATE, with) ||
           refs_coding(e->refs, REFS_NONE, REFS_CANDIDATE, with);
}

// Weighs a new object. True: it is kept, and to be named from now on.
static bool renew_object(struct encoder *e, struct job *job, enum rn_object kind)
{
    struct rn_coding with;
    uint32_t id;
    if (!candidate(e, kind, &with))
        return false;
    size_t size = try_with(e, job, &with, false);
    rn_buf_clear(&e->trial);
    if (size == SIZE_MAX || refs_object(e->refs, kind, &e->trial) < 0 ||
        !refs_pays(e->refs, kind, e->best.len, size, e->trial.len) ||
        e->objects.keep(e->objects.arg, kind, job->schema_id, rn_buf_span(&e->trial), &id) < 0)
        return false;
    refs_take(e->refs, kind, id);
    return true;
}

static void use_refs(struct encoder *e, struct job *job)
{
    if (select_refs(e, job, NULL) < 0)
        return;
    try_current(e, job);
    if (renew_object(e, job, RN_OBJECT_BASE) || renew_object(e, job, RN_OBJECT_HINTS)) {
        job->any = false; // what it took the place of is kept for the rows before only
        (void)try_with(e, job, NULL, true);
        try_current(e, job);
    }
    refs_learn(e->refs, job->schema, job->grid);
}

int encoder_smallest(struct encoder *e, const struct rn_schema *schema, uint32_t schema_id,
                     const struct rn_grid *grid, struct rn_span *body, struct rn_err *err)
{
    struct job job = {
        .schema = schema, .schema_id = schema_id, .grid = grid, .may = e->allowed & ~e->refused};
    (void)try_with(e, &job, NULL, true);
    if (job.any && e->objects.keep && !e->no_refs && job.may & ~(1u << RN_ENC_PLAIN))
        use_refs(e, &job);
    if (!job.any)
        return encoder_plain(e, schema, schema_id, grid, body, err);
    *body = rn_buf_span(&e->best);
    return RN_OK;
}

// ---- refused batches ----------------------------------------------------------------------------

static int open_object(struct encoder *e, enum rn_object kind, uint32_t id, struct rn_coding *with,
                       struct rn_err *err)
{
    struct rn_span object;
    int rc = e->objects.find ? e->objects.find(e->objects.arg, kind, id, &object) : RN_ENOENT;
    if (rc < 0)
        return rn_fail(err, rc, "hints or base %u cannot be had", id);
    return refs_open(e->refs, kind, object, with, err);
}

static int open_objects(struct encoder *e, const struct rn_batch_info *info, struct rn_coding *with,
                        struct rn_err *err)
{
    int rc = RN_OK;
    *with = (struct rn_coding){.base_id = info->base_id, .hints_id = info->hints_id};
    if ((info->has_base || info->has_hints) && !e->refs)
        rc = refs_new(&e->refs, err);
    if (rc >= 0 && info->has_base)
        rc = open_object(e, RN_OBJECT_BASE, info->base_id, with, err);
    if (rc >= 0 && info->has_hints)
        rc = open_object(e, RN_OBJECT_HINTS, info->hints_id, with, err);
    return rc;
}

static int renew(struct encoder *e, const struct rn_schema *schema,
                 const struct rn_batch_info *info, struct rn_span *body, struct rn_err *err)
{
    struct rn_grid grid;
    struct rn_coding with;
    size_t size = rn_batch_grid_bytes(schema, info);
    uint64_t *storage = malloc(RN_DECODE_WORK + size);
    if (!storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = open_objects(e, info, &with, err);
    if (rc >= 0)
        rc = rn_batch_decode_with(schema, info, &with, &grid,
                                  storage + RN_DECODE_WORK / sizeof *storage, size, storage,
                                  RN_DECODE_WORK, err);
    if (rc >= 0)
        rc = encoder_plain(e, schema, info->schema_id, &grid, body, err);
    free(storage);
    return rc;
}

int encoder_renew(struct encoder *e, struct rn_span object, struct rn_span old,
                  struct rn_batch_info *info, struct rn_span *body, struct rn_err *err)
{
    struct rn_schema schema;
    *info = (struct rn_batch_info){0};
    int rc = rn_batch_open_body(old, info, err);
    if (rc < 0)
        return rc;
    if (info->enc == RN_ENC_PLAIN)
        return rn_fail(err, RN_EINVAL, "it is in encoding 0 already");
    size_t size = object.len * (RN_SCHEMA_STORAGE / RN_SCHEMA_MAX_BYTES) + 1024;
    void *storage = malloc(size);
    if (!storage)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    rc = rn_schema_decode(object, &schema, storage, size, err);
    if (rc >= 0)
        rc = renew(e, &schema, info, body, err);
    free(storage);
    return rc;
}
