// See dict.h.
#include "lib/model/dict.h"

#include <stdlib.h>
#include <string.h>

// Bounds of what CBOR adds to the names in an encoded schema.
enum { SCHEMA_HEAD = 64, GROUP_HEAD = 24, FIELD_HEAD = 24, SERIES_HEAD = 8, TAG_HEAD = 6 };
#define KEY_MAX (8 + RN_NAME_MAX + RN_SCHEMA_MAX_TAGS * 2 * (2 + RN_NAME_MAX))
// The names come from the machine itself or from the user's own file: nobody gains by collisions.
#define MAP_SEED 0x72756e6e656cULL

int dict_init(struct dict *dict, uint64_t unit_ns, uint64_t step, uint32_t max_columns,
              struct rn_err *err)
{
    *dict = (struct dict){.unit_ns = unit_ns, .step = step, .max_columns = max_columns};
    dict->names_bytes = SCHEMA_HEAD;
    rn_map_init(&dict->map, max_columns, MAP_SEED);
    dict->key = malloc(KEY_MAX);
    return dict->key ? RN_OK : rn_fail(err, RN_ENOMEM, "out of memory");
}

// Makes room for one more pointer.
static int reserve(void ***array, uint32_t count, uint32_t *cap)
{
    if (count < *cap)
        return RN_OK;
    uint32_t larger = *cap ? *cap * 2 : 16;
    void **grown = realloc(*array, larger * sizeof *grown);
    if (!grown)
        return RN_ENOMEM;
    *array = grown;
    *cap = larger;
    return RN_OK;
}

static uint8_t *copy_span(uint8_t *at, struct rn_span from, struct rn_span *to)
{
    if (from.len)
        memcpy(at, from.data, from.len);
    *to = (struct rn_span){at, from.len};
    return at + from.len;
}

// ---- fields ------------------------------------------------------------------------------------

static bool same_field(const struct dict_field *known, struct rn_span measurement,
                       const struct rn_field *field, bool outside)
{
    const struct rn_field *f = &known->field;
    return known->outside == outside && f->type == field->type && f->kind == field->kind &&
           f->mul == field->mul && (outside || f->decimals == field->decimals) &&
           rn_span_eq(f->name, field->name) && rn_span_eq(f->unit, field->unit) &&
           rn_span_eq(known->measurement, measurement);
}

static size_t field_bytes(const struct rn_field *field)
{
    return FIELD_HEAD + field->name.len + field->unit.len;
}

static int field_intern(struct dict *dict, struct rn_span measurement, const struct rn_field *field,
                        bool outside, struct dict_field **out)
{
    for (uint32_t i = 0; i < dict->nfields; i++)
        if (same_field(dict->fields[i], measurement, field, outside)) {
            *out = dict->fields[i];
            return RN_OK;
        }
    if (reserve((void ***)&dict->fields, dict->nfields, &dict->cap_fields) < 0)
        return RN_ENOMEM;
    struct dict_field *made =
        malloc(sizeof *made + measurement.len + field->name.len + field->unit.len);
    if (!made)
        return RN_ENOMEM;
    *made = (struct dict_field){.field = *field, .outside = outside};
    uint8_t *at = (uint8_t *)(made + 1);
    at = copy_span(at, measurement, &made->measurement);
    at = copy_span(at, field->name, &made->field.name);
    copy_span(at, field->unit, &made->field.unit);
    dict->fields[dict->nfields++] = made;
    *out = made;
    return RN_OK;
}

// Order matters to nobody but the schema, which keeps it: close the gap.
static void take_pointer(void **array, uint32_t *count, const void *item)
{
    uint32_t i = 0;
    while (i < *count && array[i] != item)
        i++;
    if (i == *count)
        return;
    memmove(&array[i], &array[i + 1], (*count - i - 1) * sizeof *array);
    --*count;
}

static void field_drop_unused(struct dict *dict, struct dict_field *field)
{
    if (field->refs)
        return;
    take_pointer((void **)dict->fields, &dict->nfields, field);
    free(field);
}

// ---- groups ------------------------------------------------------------------------------------

static uint32_t group_bytes(const struct dict_group *group)
{
    size_t bytes = GROUP_HEAD + group->measurement.len;
    for (uint32_t i = 0; i < group->nfields; i++)
        bytes += field_bytes(&group->fields[i]->field);
    return (uint32_t)bytes;
}

static bool group_has(const struct dict_group *group, const struct dict_field *field)
{
    for (uint32_t i = 0; i < group->nfields; i++)
        if (group->fields[i] == field)
            return true;
    return false;
}

// The fields of `old` (may be NULL) and one more, in any order.
static bool group_is(const struct dict_group *group, const struct dict_group *old,
                     const struct dict_series *series, const struct dict_field *more)
{
    uint32_t nold = old ? old->nfields : 0;
    if (group->nfields != nold + 1 || group->every != series->every ||
        !rn_span_eq(group->measurement, series->measurement) || !group_has(group, more))
        return false;
    for (uint32_t i = 0; i < nold; i++)
        if (!group_has(group, old->fields[i]))
            return false;
    return true;
}

static struct dict_group *group_new(struct dict *dict, const struct dict_series *series,
                                    struct dict_field *more)
{
    uint32_t nold = series->group ? series->group->nfields : 0;
    size_t fields = (nold + 1) * sizeof(struct dict_field *);
    struct dict_group *made = malloc(sizeof *made + fields + series->measurement.len);
    if (!made || reserve((void ***)&dict->groups, dict->ngroups, &dict->cap_groups) < 0) {
        free(made);
        return NULL;
    }
    *made = (struct dict_group){.every = series->every, .nfields = nold + 1};
    for (uint32_t i = 0; i < nold; i++)
        made->fields[i] = series->group->fields[i];
    made->fields[nold] = more;
    copy_span((uint8_t *)&made->fields[nold + 1], series->measurement, &made->measurement);
    for (uint32_t i = 0; i < made->nfields; i++)
        made->fields[i]->refs++;
    dict->groups[dict->ngroups++] = made;
    dict->names_bytes += group_bytes(made);
    return made;
}

static struct dict_group *group_intern(struct dict *dict, const struct dict_series *series,
                                       struct dict_field *more)
{
    for (uint32_t i = 0; i < dict->ngroups; i++)
        if (group_is(dict->groups[i], series->group, series, more))
            return dict->groups[i];
    return group_new(dict, series, more);
}

static void group_leave(struct dict *dict, struct dict_group *group)
{
    if (!group || --group->nseries)
        return;
    dict->names_bytes -= group_bytes(group);
    for (uint32_t i = 0; i < group->nfields; i++) {
        group->fields[i]->refs--;
        field_drop_unused(dict, group->fields[i]);
    }
    take_pointer((void **)dict->groups, &dict->ngroups, group);
    free(group);
}

// ---- series ------------------------------------------------------------------------------------

static uint8_t *put_key(uint8_t *at, struct rn_span text)
{
    *at++ = (uint8_t)text.len;
    if (text.len)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

// False: no series can have this identity.
static bool make_key(uint8_t *out, const struct dict_id *id, struct rn_span *key)
{
    if (id->measurement.len > RN_NAME_MAX || id->ntags > RN_SCHEMA_MAX_TAGS)
        return false;
    memcpy(out, &id->every, sizeof id->every);
    uint8_t *at = put_key(out + sizeof id->every, id->measurement);
    for (uint32_t i = 0; i < id->ntags; i++) {
        if (id->tags[i].key.len > RN_NAME_MAX || id->tags[i].value.len > RN_NAME_MAX)
            return false;
        at = put_key(at, id->tags[i].key);
        at = put_key(at, id->tags[i].value);
    }
    *key = (struct rn_span){out, (size_t)(at - out)};
    return true;
}

static bool is_meant(const struct dict_series *series, const struct dict_id *id)
{
    if (series->ntags != id->ntags || series->every != id->every ||
        !rn_span_eq(series->measurement, id->measurement))
        return false;
    for (uint32_t i = 0; i < id->ntags; i++)
        if (!rn_span_eq(series->tags[i].value, id->tags[i].value) ||
            !rn_span_eq(series->tags[i].key, id->tags[i].key))
            return false;
    return true;
}

struct dict_series *dict_find(struct dict *dict, const struct dict_id *id)
{
    struct dict_series *guess = dict->last ? dict->last->next : NULL;
    if (guess && is_meant(guess, id)) {
        dict->last = guess;
        return guess;
    }
    struct rn_span key;
    struct dict_series *found = NULL;
    if (make_key(dict->key, id, &key))
        found = rn_map_get(&dict->map, key);
    if (found) {
        if (dict->last)
            dict->last->next = found;
        dict->last = found;
    }
    return found;
}

static size_t series_bytes(const struct rn_tag *tags, uint32_t ntags)
{
    size_t bytes = SERIES_HEAD;
    for (uint32_t i = 0; i < ntags; i++)
        bytes += TAG_HEAD + tags[i].key.len + tags[i].value.len;
    return bytes;
}

bool dict_has_room(const struct dict *dict, const struct dict_id *id,
                   const struct dict_series *series, uint32_t nfields, size_t name_bytes)
{
    if (nfields > dict->max_columns - dict->ncolumns)
        return false;
    size_t bytes = dict->names_bytes + nfields * (size_t)FIELD_HEAD + name_bytes;
    if (!series)
        bytes += GROUP_HEAD + id->measurement.len + series_bytes(id->tags, id->ntags);
    else if (series->group) // in the worst case it needs a group of its own
        bytes += group_bytes(series->group);
    return bytes <= RN_SCHEMA_MAX_BYTES;
}

static struct dict_series *series_new(const struct dict_id *id, struct rn_span key)
{
    struct dict_series *made = malloc(sizeof *made + id->ntags * sizeof(struct rn_tag) + key.len);
    if (!made)
        return NULL;
    *made = (struct dict_series){.ntags = id->ntags, .every = id->every};
    made->tags = (struct rn_tag *)(made + 1);
    copy_span((uint8_t *)(made->tags + id->ntags), key, &made->key);
    // The names lie in the key, each behind its length.
    const uint8_t *at = made->key.data + sizeof id->every;
    made->measurement = (struct rn_span){at + 1, *at};
    at += 1 + *at;
    for (uint32_t i = 0; i < id->ntags; i++) {
        made->tags[i].key = (struct rn_span){at + 1, *at};
        at += 1 + *at;
        made->tags[i].value = (struct rn_span){at + 1, *at};
        at += 1 + *at;
    }
    return made;
}

int dict_add(struct dict *dict, const struct dict_id *id, struct dict_series **out,
             struct rn_err *err)
{
    struct rn_span key;
    if (!rn_name_valid(id->measurement))
        return rn_fail(err, RN_EINVAL, "bad measurement name");
    if (rn_tags_check(id->tags, id->ntags, err) < 0 || !make_key(dict->key, id, &key))
        return RN_EINVAL;
    if (reserve((void ***)&dict->series, dict->nseries, &dict->cap_series) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct dict_series *made = series_new(id, key);
    if (!made)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = rn_map_put(&dict->map, made->key, made);
    if (rc < 0) {
        free(made);
        return rn_fail(err, rc, "no room for another series");
    }
    dict->series[dict->nseries++] = made;
    dict->names_bytes += (uint32_t)series_bytes(made->tags, made->ntags);
    if (dict->last)
        dict->last->next = made;
    dict->last = made;
    *out = made;
    return RN_OK;
}

int dict_position(const struct dict_series *series, struct rn_span name, uint32_t hint)
{
    if (!series->group)
        return -1;
    uint32_t n = series->group->nfields;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (hint + i) % n;
        if (rn_span_eq(series->group->fields[at]->field.name, name))
            return (int)at;
    }
    return -1;
}

// Columns of the series in the order of its new group's list.
static uint32_t *columns_for(const struct dict *dict, const struct dict_series *series,
                             const struct dict_group *group)
{
    uint32_t *column = malloc(group->nfields * sizeof *column);
    for (uint32_t i = 0; column && i < group->nfields; i++) {
        int old = dict_position(series, group->fields[i]->field.name, i);
        column[i] = old < 0 ? dict->ncolumns : series->column[old];
    }
    return column;
}

int dict_extend(struct dict *dict, struct dict_series *series, const struct rn_field *field,
                bool outside, struct rn_err *err)
{
    struct dict_field *more;
    if (field_intern(dict, series->measurement, field, outside, &more) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct dict_group *group = group_intern(dict, series, more);
    if (!group) {
        field_drop_unused(dict, more);
        return rn_fail(err, RN_ENOMEM, "out of memory");
    }
    group->nseries++;
    uint32_t *column = columns_for(dict, series, group);
    if (!column) {
        group_leave(dict, group);
        return rn_fail(err, RN_ENOMEM, "out of memory");
    }
    group_leave(dict, series->group);
    free(series->column);
    series->group = group;
    series->column = column;
    dict->ncolumns++;
    dict->changed = true;
    return RN_OK;
}

static void series_free(struct dict *dict, struct dict_series *series)
{
    dict->names_bytes -= (uint32_t)series_bytes(series->tags, series->ntags);
    group_leave(dict, series->group);
    free(series->column);
    free(series);
}

void dict_sweep(struct dict *dict)
{
    uint32_t kept = 0, before = dict->nseries;
    for (uint32_t i = 0; i < before; i++) {
        struct dict_series *series = dict->series[i];
        if (series->values) {
            series->values = 0;
            dict->series[kept++] = series;
        } else {
            (void)rn_map_take(&dict->map, series->key);
            series_free(dict, series);
        }
    }
    dict->nseries = kept;
    dict->changed = dict->changed || kept < before;
    for (uint32_t i = 0; i < dict->nfields; i++)
        dict->fields[i]->settled = false;
    if (kept == before)
        return;
    dict->last = NULL;
    dict->ncolumns = 0;
    for (uint32_t i = 0; i < kept; i++) {
        struct dict_series *series = dict->series[i];
        series->next = dict->series[(i + 1) % kept];
        for (uint32_t f = 0; f < series->group->nfields; f++)
            series->column[f] = dict->ncolumns++;
    }
}

void dict_release(struct dict *dict)
{
    for (uint32_t i = 0; i < dict->nseries; i++)
        series_free(dict, dict->series[i]);
    free(dict->series);
    free(dict->groups);
    free(dict->fields);
    free(dict->key);
    free(dict->schema_block);
    rn_map_release(&dict->map);
}

// ---- schema ------------------------------------------------------------------------------------

// How much of everything the schema needs; also numbers the groups in the order of their series.
struct measure {
    uint32_t groups, series, tags, fields, columns;
    size_t names;
};

#define NO_ORDINAL UINT32_MAX

static void measure_group(struct dict_group *group, struct measure *m)
{
    if (group->ordinal != NO_ORDINAL)
        return;
    group->ordinal = m->groups++;
    m->fields += group->nfields;
    m->names += group->measurement.len;
    for (uint32_t f = 0; f < group->nfields; f++)
        m->names += group->fields[f]->field.name.len + group->fields[f]->field.unit.len;
}

static struct measure measure_all(struct dict *dict)
{
    struct measure m = {0};
    for (uint32_t i = 0; i < dict->ngroups; i++)
        dict->groups[i]->ordinal = NO_ORDINAL;
    for (uint32_t i = 0; i < dict->nseries; i++) {
        const struct dict_series *series = dict->series[i];
        if (!series->group)
            continue;
        measure_group(series->group, &m);
        m.series++;
        m.tags += series->ntags;
        m.columns += series->group->nfields;
        m.names += series->key.len; // more than its names
    }
    return m;
}

// The schema under construction: arrays filled from the front, names behind them.
struct build {
    struct rn_group *groups;
    struct rn_series *series;
    struct rn_field *fields;
    struct rn_tag *tags;
    uint8_t *names;
    uint32_t columns;
};

static void build_series(struct build *b, struct dict_series *from)
{
    struct rn_tag *tags = b->tags;
    for (uint32_t t = 0; t < from->ntags; t++) {
        b->names = copy_span(b->names, from->tags[t].key, &tags[t].key);
        b->names = copy_span(b->names, from->tags[t].value, &tags[t].value);
    }
    b->tags += from->ntags;
    *b->series++ = (struct rn_series){tags, from->ntags};
    from->base = b->columns;
    b->columns += from->group->nfields;
}

static void build_group(struct build *b, const struct dict *dict, const struct dict_group *from)
{
    struct rn_group *to = b->groups++;
    *to = (struct rn_group){
        .every = from->every, .fields = b->fields, .nfields = from->nfields, .series = b->series};
    b->names = copy_span(b->names, from->measurement, &to->measurement);
    for (uint32_t f = 0; f < from->nfields; f++) {
        struct rn_field *field = b->fields++;
        *field = from->fields[f]->field;
        b->names = copy_span(b->names, field->name, &field->name);
        b->names = copy_span(b->names, field->unit, &field->unit);
    }
    for (uint32_t i = 0; i < dict->nseries; i++)
        if (dict->series[i]->group == from) {
            build_series(b, dict->series[i]);
            to->nseries++;
        }
}

static int build(struct dict *dict, struct rn_err *err)
{
    struct measure m = measure_all(dict);
    size_t size = m.groups * sizeof(struct rn_group) + m.series * sizeof(struct rn_series) +
                  m.fields * sizeof(struct rn_field) + m.tags * sizeof(struct rn_tag) + m.names;
    void *block = malloc(size);
    if (!block)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct build b = {.groups = block};
    b.series = (struct rn_series *)(b.groups + m.groups);
    b.fields = (struct rn_field *)(b.series + m.series);
    b.tags = (struct rn_tag *)(b.fields + m.fields);
    b.names = (uint8_t *)(b.tags + m.tags);
    dict->schema = (struct rn_schema){.unit_ns = dict->unit_ns,
                                      .step = dict->step,
                                      .groups = block,
                                      .ngroups = m.groups,
                                      .ncolumns = m.columns};
    uint32_t next = 0; // groups come in the order of their first series
    for (uint32_t i = 0; i < dict->nseries; i++)
        if (dict->series[i]->group && dict->series[i]->group->ordinal == next) {
            build_group(&b, dict, dict->series[i]->group);
            next++;
        }
    free(dict->schema_block);
    dict->schema_block = block;
    return RN_OK;
}

int dict_schema(struct dict *dict, bool *changed, struct rn_err *err)
{
    *changed = dict->changed;
    if (!dict->changed)
        return RN_OK;
    int rc = build(dict, err);
    if (rc == RN_OK)
        dict->changed = false;
    return rc;
}
