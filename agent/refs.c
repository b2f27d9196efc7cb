// See refs.h.
#include "agent/refs.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY = 16 }; // batches that an average goes back

// One schema's columns.
struct slot {
    uint32_t schema, ncolumns; // ncolumns 0: free
    uint64_t used;             // when, counted in batches of all schemas
    uint32_t batches;
    uint32_t base_id, hints_id;        // what batches name now; 0: nothing
    int64_t base_regret, hints_regret; // bytes that the candidate would have saved so far
    int64_t *base, *last;              // by column, as are these:
    struct rn_hint *hints;
    uint16_t *first, *step; // averages of log2 in 1/256
    uint64_t memory[];      // for all of them
};

struct refs {
    struct slot *slot[REFS_SCHEMAS], *at; // at: the selected one
    uint64_t now;
    // The codec's forms, filled as needed. Only as many columns as a schema has are touched.
    struct rn_base base;
    struct rn_hints hints;
    struct rn_hints_sums sums;
};

int refs_new(struct refs **out, struct rn_err *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? RN_OK : rn_fail(err, RN_ENOMEM, "out of memory");
}

void refs_forget(struct refs *refs)
{
    for (int i = 0; i < REFS_SCHEMAS; i++) {
        free(refs->slot[i]);
        refs->slot[i] = NULL;
    }
    refs->at = NULL;
}

void refs_free(struct refs *refs)
{
    if (!refs)
        return;
    refs_forget(refs);
    free(refs);
}

// ---- schemas ------------------------------------------------------------------------------------

static struct slot *new_slot(uint32_t schema, uint32_t n)
{
    size_t column = 2 * sizeof(int64_t) + sizeof(struct rn_hint) + 2 * sizeof(uint16_t);
    struct slot *s = calloc(1, sizeof *s + n * column + sizeof(uint64_t));
    if (!s)
        return NULL;
    s->schema = schema;
    s->ncolumns = n;
    s->base = (int64_t *)(void *)s->memory;
    s->last = s->base + n;
    s->first = (uint16_t *)(void *)(s->last + n);
    s->step = s->first + n;
    s->hints = (struct rn_hint *)(void *)(s->step + n);
    return s;
}

int refs_select(struct refs *refs, uint32_t schema_id, const struct rn_schema *schema,
                struct rn_err *err)
{
    int oldest = 0;
    refs->now++;
    for (int i = 0; i < REFS_SCHEMAS; i++) {
        struct slot *s = refs->slot[i];
        if (s && s->schema == schema_id && s->ncolumns == schema->ncolumns) {
            s->used = refs->now;
            refs->at = s;
            return 0;
        }
        if (!s || (refs->slot[oldest] && s->used < refs->slot[oldest]->used))
            oldest = i;
    }
    struct slot *s = new_slot(schema_id, schema->ncolumns);
    if (!s)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    free(refs->slot[oldest]);
    refs->slot[oldest] = refs->at = s;
    s->used = refs->now;
    return 1;
}

// ---- the codec's forms --------------------------------------------------------------------------

int refs_open(struct refs *refs, enum rn_object kind, struct rn_span object, struct rn_coding *out,
              struct rn_err *err)
{
    bool base = kind == RN_OBJECT_BASE;
    int rc = base ? rn_base_decode(object, &refs->base, err)
                  : rn_hints_decode(object, &refs->hints, err);
    if (rc < 0)
        return rc;
    if (base)
        out->base = &refs->base;
    else
        out->hints = &refs->hints;
    return RN_OK;
}

int refs_load(struct refs *refs, enum rn_object kind, uint32_t id, struct rn_span object)
{
    struct slot *s = refs->at;
    struct rn_coding with = {0};
    int rc = refs_open(refs, kind, object, &with, NULL);
    if (rc < 0)
        return rc;
    if ((with.base ? refs->base.ncolumns : refs->hints.ncolumns) != s->ncolumns)
        return RN_EFORMAT;
    if (with.base) {
        memcpy(s->base, refs->base.column, s->ncolumns * sizeof *s->base);
        s->base_id = id;
    } else {
        memcpy(s->hints, refs->hints.column, s->ncolumns * sizeof *s->hints);
        s->hints_id = id;
    }
    return RN_OK;
}

// The base's CRC, which the coder needs, is that of its object.
static bool put_base(struct refs *refs, const int64_t *column)
{
    uint8_t bytes[RN_SCHEMA_MAX_BYTES];
    struct rn_buf out;
    rn_buf_init_fixed(&out, bytes, sizeof bytes);
    refs->base.ncolumns = refs->at->ncolumns;
    memcpy(refs->base.column, column, refs->at->ncolumns * sizeof *column);
    return rn_base_encode(&refs->base, &out) == RN_OK;
}

static void put_learnt(struct refs *refs)
{
    const struct slot *s = refs->at;
    const struct rn_schema columns = {.ncolumns = s->ncolumns};
    for (uint32_t i = 0; i < s->ncolumns; i++) {
        refs->sums.first[i] = s->first[i];
        refs->sums.step[i] = s->step[i];
        refs->sums.nfirsts[i] = refs->sums.nsteps[i] = 1;
    }
    rn_hints_from(&columns, &refs->sums, &refs->hints);
}

bool refs_coding(struct refs *refs, enum refs_use base, enum refs_use hints, struct rn_coding *out)
{
    const struct slot *s = refs->at;
    *out = (struct rn_coding){0};
    if ((base == REFS_CURRENT && !s->base_id) || (hints == REFS_CURRENT && !s->hints_id) ||
        ((base == REFS_CANDIDATE || hints == REFS_CANDIDATE) && s->batches == 0))
        return false;
    if (base != REFS_NONE) {
        if (!put_base(refs, base == REFS_CURRENT ? s->base : s->last))
            return false;
        out->base = &refs->base;
        out->base_id = s->base_id;
    }
    if (hints == REFS_CANDIDATE) {
        put_learnt(refs);
    } else if (hints == REFS_CURRENT) {
        refs->hints.ncolumns = s->ncolumns;
        memcpy(refs->hints.column, s->hints, s->ncolumns * sizeof *s->hints);
    }
    if (hints != REFS_NONE) {
        out->hints = &refs->hints;
        out->hints_id = s->hints_id;
    }
    return true;
}

// ---- what pays ----------------------------------------------------------------------------------

int refs_object(struct refs *refs, enum rn_object kind, struct rn_buf *out)
{
    struct rn_coding with;
    bool base = kind == RN_OBJECT_BASE;
    if (!refs_coding(refs, base ? REFS_CANDIDATE : REFS_NONE, base ? REFS_NONE : REFS_CANDIDATE,
                     &with))
        return refs->at->batches ? RN_ELIMIT : RN_ENOENT;
    return base ? rn_base_encode(&refs->base, out) : rn_hints_encode(&refs->hints, out);
}

bool refs_pays(struct refs *refs, enum rn_object kind, size_t now, size_t with, size_t object)
{
    struct slot *s = refs->at;
    int64_t *regret = kind == RN_OBJECT_BASE ? &s->base_regret : &s->hints_regret;
    int64_t cost = (int64_t)object + REFS_OVERHEAD;
    *regret += (int64_t)now - (int64_t)with;
    if (*regret < 0)
        *regret = 0;
    if (*regret <= cost)
        return false;
    *regret = cost; // if it cannot be kept now, the next batch asks again
    return true;
}

// What was regretted of the other one was regretted beside what is no longer there.
void refs_take(struct refs *refs, enum rn_object kind, uint32_t id)
{
    struct slot *s = refs->at;
    struct rn_coding with;
    s->base_regret = s->hints_regret = 0;
    if (kind == RN_OBJECT_BASE) {
        memcpy(s->base, s->last, s->ncolumns * sizeof *s->base);
        s->base_id = id;
    } else if (refs_coding(refs, REFS_NONE, REFS_CANDIDATE, &with)) {
        memcpy(s->hints, with.hints->column, s->ncolumns * sizeof *s->hints);
        s->hints_id = id;
    }
}

// ---- learning -----------------------------------------------------------------------------------

static void drift(uint16_t *average, uint64_t sum, uint32_t count, uint32_t batches)
{
    if (count == 0)
        return;
    int64_t now = (int64_t)(sum / count);
    int64_t share = batches < MEMORY ? batches : MEMORY;
    *average = (uint16_t)(*average + (now - *average) / share);
}

void refs_learn(struct refs *refs, const struct rn_schema *schema, const struct rn_grid *grid)
{
    struct slot *s = refs->at;
    uint32_t n = s->ncolumns;
    struct rn_coding with;
    memset(refs->sums.first, 0, n * sizeof refs->sums.first[0]);
    memset(refs->sums.step, 0, n * sizeof refs->sums.step[0]);
    memset(refs->sums.nfirsts, 0, n * sizeof refs->sums.nfirsts[0]);
    memset(refs->sums.nsteps, 0, n * sizeof refs->sums.nsteps[0]);
    if (!refs_coding(refs, s->base_id ? REFS_CURRENT : REFS_CANDIDATE, REFS_NONE, &with))
        with.base = NULL;
    rn_hints_add(schema, with.base, grid, &refs->sums);
    s->batches++;
    for (uint32_t i = 0; i < n; i++) {
        if (s->batches > 1) // the first one had nothing to be far from
            drift(&s->first[i], refs->sums.first[i], refs->sums.nfirsts[i], s->batches - 1);
        drift(&s->step[i], refs->sums.step[i], refs->sums.nsteps[i], s->batches);
    }
    rn_base_from(schema, grid, &refs->base);
    memcpy(s->last, refs->base.column, n * sizeof *s->last);
}
