// A point under construction: one measurement, its tags and values, in caller's fixed storage. What
// is added must live until point_report.
#ifndef AGENT_COLLECT_POINT_H
#define AGENT_COLLECT_POINT_H

#include <runnel/samples.h>
#include <stdint.h>

#define POINT_MAX_TAGS 8

struct point {
    struct rn_tag tag[POINT_MAX_TAGS];
    struct rn_point_value value[RN_POINT_MAX_FIELDS];
    uint32_t ntags, nvalues;
};

// The arrays stay uninitialised: only what is counted is ever read.
static inline void point_clear(struct point *p)
{
    p->ntags = 0;
    p->nvalues = 0;
}

void point_tag(struct point *p, const char *key, const char *value); // in ascending order of key
// A number that the kernel counts without sign; what would not fit an int64 times `mul` saturates.
void point_uint(struct point *p, const struct rn_field_desc *field, uint64_t scaled);
void point_int(struct point *p, const struct rn_field_desc *field, int64_t scaled);
void point_report(const struct point *p, const char *measurement, const struct rn_samples *out);

#endif
