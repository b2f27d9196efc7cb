// Dictionary of a window: its series, the fields that they have, and the groups of series that
// share a field list; from it a schema is built. It knows names and columns, never values.
//
// Order is that of first appearance, and stays. Fields are shared by all series of a measurement
// that declare them alike. Private to lib/model; owner: one window.
#ifndef LIB_MODEL_DICT_H
#define LIB_MODEL_DICT_H

#include <runnel/map.h>
#include <runnel/schema.h>

struct dict_field {
    struct rn_span measurement; // whose field it is
    struct rn_field field;
    bool outside;  // not declared by a collector: its decimals follow the values
    bool settled;  // its decimals do not change any more in this window
    uint32_t refs; // groups that have it
};

struct dict_group {
    struct rn_span measurement;
    uint32_t every;
    uint32_t nseries; // that belong to it
    uint32_t ordinal; // in the schema being built
    uint32_t nfields;
    struct dict_field *fields[];
};

struct dict_series {
    struct rn_span measurement;
    struct rn_tag *tags;
    uint32_t ntags, every;
    struct dict_group *group;
    uint32_t *column;         // of the window's rows, by position in the group's field list
    uint32_t base;            // its first column in the last schema
    uint64_t values;          // in the open window
    struct dict_series *next; // the one that followed it last time
    struct rn_span key;
};

// Who is meant: measurement, sorted tags, period.
struct dict_id {
    struct rn_span measurement;
    const struct rn_tag *tags;
    uint32_t ntags, every;
};

struct dict {
    uint64_t unit_ns, step;
    uint32_t max_columns;
    struct dict_series **series;
    struct dict_group **groups;
    struct dict_field **fields;
    uint32_t nseries, ngroups, nfields; // arrays of max_columns entries, grown on demand
    uint32_t cap_series, cap_groups, cap_fields;
    uint32_t ncolumns;
    uint32_t names_bytes; // bound of what the names take in an encoded schema
    bool changed;         // since the last schema was built
    struct dict_series *last;
    struct rn_map map;
    uint8_t *key;       // scratch for a lookup
    void *schema_block; // everything that the schema points to
    struct rn_schema schema;
};

RN_MUST_CHECK int dict_init(struct dict *dict, uint64_t unit_ns, uint64_t step,
                            uint32_t max_columns, struct rn_err *err);
void dict_release(struct dict *dict);

// The series, remembered as the last one; NULL if it is not known. The one that followed the last
// one last time is tried first; only a miss costs a hash.
struct dict_series *dict_find(struct dict *dict, const struct dict_id *id);
// True if a series with nfields fields more, taking name_bytes, can be added or extended.
bool dict_has_room(const struct dict *dict, const struct dict_id *id,
                   const struct dict_series *series, uint32_t nfields, size_t name_bytes);
// A series without fields. RN_EINVAL for bad names or tags, RN_ENOMEM.
RN_MUST_CHECK int dict_add(struct dict *dict, const struct dict_id *id, struct dict_series **out,
                           struct rn_err *err);
// Position of the field in the series' list, hint tried first; -1 if it has none of this name.
int dict_position(const struct dict_series *series, struct rn_span name, uint32_t hint);
// Gives the series one more field, in a column of its own. All or nothing.
RN_MUST_CHECK int dict_extend(struct dict *dict, struct dict_series *series,
                              const struct rn_field *field, bool outside, struct rn_err *err);
// Forgets series without values, numbers the columns anew, sets all counts to 0.
void dict_sweep(struct dict *dict);
// The schema of all series that have fields; rebuilt only if it is another one than last time.
RN_MUST_CHECK int dict_schema(struct dict *dict, bool *changed, struct rn_err *err);

#endif
