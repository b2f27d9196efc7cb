// See envelope.h.
#include "bridge/envelope.h"

static bool to_ms(int64_t time, uint64_t unit_ns, int64_t *ms)
{
    if (unit_ns >= 1000000)
        return !__builtin_mul_overflow(time, (int64_t)(unit_ns / 1000000), ms);
    *ms = time / (int64_t)(1000000 / unit_ns);
    return true;
}

// Wholly outside the window? Batches without a step carry their times inside: only their first is
// known here.
static bool outside(const struct rn_batch_info *batch, const struct schemas_info *schema,
                    const struct envelope_window *window)
{
    int64_t first, last, span;
    if (!schema->unit_ns || !to_ms(batch->t0, schema->unit_ns, &first))
        return true;
    if (first > window->newest_ms)
        return true;
    if (!schema->step)
        return false;
    if (__builtin_mul_overflow((int64_t)(batch->n - 1), (int64_t)schema->step, &span) ||
        __builtin_add_overflow(batch->t0, span, &last) || !to_ms(last, schema->unit_ns, &last))
        return true;
    return last < window->oldest_ms;
}

// Hints and a base belong to a schema's columns.
static bool fits(const struct ref *ref, const struct schemas_info *schema)
{
    return !ref->named || ref->info.ncolumns == schema->ncolumns;
}

enum rn_refusal envelope_check(const struct rn_batch_info *batch, const struct refs *refs,
                               const struct envelope_window *window, const char **words)
{
    const struct schemas_info *schema = &refs->ref[REF_SCHEMA].info;
    *words = "the encoding of its columns is not known";
    if (batch->enc > RN_ENC_MAX)
        return RN_REFUSED_ENCODING;
    *words = "ticks x columns is out of bounds";
    if (batch->n < 1 || (uint64_t)batch->n * schema->ncolumns > RN_BATCH_MAX_CELLS)
        return RN_REFUSED_SCHEMA;
    *words = "its hints are for another number of columns";
    if (!fits(&refs->ref[REF_HINTS], schema))
        return RN_REFUSED_SCHEMA;
    *words = "its base is for another number of columns";
    if (!fits(&refs->ref[REF_BASE], schema))
        return RN_REFUSED_SCHEMA;
    *words = "all of it lies outside the time window";
    return outside(batch, schema, window) ? RN_REFUSED_TIME : (enum rn_refusal)0;
}
