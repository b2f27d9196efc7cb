// See refs.h.
#include "bridge/refs.h"

#include <string.h>

bool ref_lacking(const struct ref *ref)
{
    return ref->named && (!ref->info.row || !ref->info.complete);
}

bool refs_disputed(const struct refs *refs)
{
    for (int i = 0; i < NREFS; i++)
        if (refs->ref[i].info.disputed)
            return true;
    return false;
}

void refs_forget(struct fleet_install *in)
{
    memset(in->binding, 0, sizeof in->binding);
}

// The binding, from the install's small cache or schemas.db.
static int find_one(struct ref *ref, struct schemas *schemas, const char *dev,
                    struct fleet_install *in, struct rn_err *err)
{
    for (int i = 0; i < FLEET_BINDINGS; i++)
        if (in->binding[i].info.row && in->binding[i].kind == ref->kind &&
            in->binding[i].id == ref->id) {
            ref->info = in->binding[i].info;
            ref->kept = &in->binding[i];
            return RN_OK;
        }
    int rc = schemas_lookup(schemas, dev, in->id, ref->kind, ref->id, &ref->info, err);
    if (rc == RN_OK && ref->info.complete) {
        ref->kept = &in->binding[in->next_binding++ % FLEET_BINDINGS];
        *ref->kept = (struct fleet_binding){.kind = ref->kind, .id = ref->id, .info = ref->info};
    }
    return rc == RN_ENOENT ? RN_OK : rc;
}

int refs_find(struct refs *refs, struct schemas *schemas, const char *dev, struct fleet_install *in,
              const struct rn_batch_info *batch, struct rn_err *err)
{
    *refs = (struct refs){{
        [REF_SCHEMA] = {.kind = RN_OBJECT_SCHEMA, .id = batch->schema_id, .named = true},
        [REF_HINTS] = {.kind = RN_OBJECT_HINTS, .id = batch->hints_id, .named = batch->has_hints},
        [REF_BASE] = {.kind = RN_OBJECT_BASE, .id = batch->base_id, .named = batch->has_base},
    }};
    for (int i = 0; i < NREFS; i++) {
        int rc = refs->ref[i].named ? find_one(&refs->ref[i], schemas, dev, in, err) : RN_OK;
        if (rc)
            return rc;
    }
    return RN_OK;
}

static int copy_object(struct ref *ref, struct schemas *schemas, struct log *log, int64_t *number,
                       struct rn_err *err)
{
    struct rn_buf body;
    rn_buf_init(&body, RN_SCHEMA_MAX_BYTES);
    int rc = schemas_content(schemas, &ref->info, &body, err);
    if (rc == RN_ENOENT)
        ref->info.complete = false;
    else if (rc == RN_OK)
        rc = log_put_object(log, ref->info.hash, rn_buf_span(&body), number, err);
    rn_buf_release(&body);
    return rc;
}

// Another reference of the same batch may have taken its place.
static bool remembered(const struct ref *ref)
{
    return ref->kept && ref->kept->info.row == ref->info.row;
}

static int place_one(struct ref *ref, struct schemas *schemas, struct log *log, int64_t *number,
                     struct rn_err *err)
{
    uint64_t numbers = log_numbers(log);
    if (remembered(ref) && ref->kept->numbers == numbers) {
        *number = ref->kept->number;
        return RN_OK;
    }
    int rc = log_find_object(log, ref->info.hash, number, err);
    if (rc == RN_ENOENT)
        rc = copy_object(ref, schemas, log, number, err);
    if (rc == RN_OK && remembered(ref)) {
        ref->kept->number = *number;
        ref->kept->numbers = numbers;
    }
    return rc;
}

int refs_place(struct refs *refs, struct schemas *schemas, struct log *log, struct log_row *row,
               struct rn_err *err)
{
    int64_t *const number[NREFS] = {&row->schema, &row->hints, &row->base};
    for (int i = 0; i < NREFS; i++) {
        *number[i] = 0;
        int rc =
            refs->ref[i].named ? place_one(&refs->ref[i], schemas, log, number[i], err) : RN_OK;
        if (rc)
            return rc;
    }
    return RN_OK;
}
