// See point.h.
#include "agent/collect/point.h"

#include <assert.h>

void point_tag(struct point *p, const char *key, const char *value)
{
    assert(p->ntags < POINT_MAX_TAGS);
    p->tag[p->ntags++] = (struct rn_tag){rn_span_text(key), rn_span_text(value)};
}

void point_int(struct point *p, const struct rn_field_desc *field, int64_t scaled)
{
    assert(p->nvalues < RN_POINT_MAX_FIELDS);
    p->value[p->nvalues++] = (struct rn_point_value){.field = field, .scaled = scaled};
}

void point_uint(struct point *p, const struct rn_field_desc *field, uint64_t scaled)
{
    uint64_t most = (uint64_t)INT64_MAX / (field->mul ? field->mul : 1);
    point_int(p, field, (int64_t)(scaled < most ? scaled : most));
}

void point_report(const struct point *p, const char *measurement, const struct rn_samples *out)
{
    struct rn_point point = {.measurement = measurement,
                             .tags = p->tag,
                             .ntags = p->ntags,
                             .values = p->value,
                             .nvalues = p->nvalues};
    rn_samples_add(out, &point);
}
