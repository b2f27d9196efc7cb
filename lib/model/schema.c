// See runnel/schema.h. What must not occur twice is found by sorting: comparing each with each
// would take milliseconds for the largest schema that a device can send.
#include <runnel/schema.h>

#include <string.h>

// C1 controls are two bytes in UTF-8: 0xc2 0x80..0x9f.
static bool is_control(const uint8_t *at, const uint8_t *end)
{
    return *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at + 1 < end && at[1] < 0xa0);
}

static bool text_clean(struct rn_span text)
{
    const uint8_t *end = text.data + text.len;
    for (const uint8_t *at = text.data; at < end; at++)
        if (is_control(at, end))
            return false;
    return rn_utf8_valid(text.data, text.len);
}

bool rn_name_valid(struct rn_span name)
{
    return name.len >= 1 && name.len <= RN_NAME_MAX && text_clean(name);
}

bool rn_schema_column(const struct rn_schema *schema, uint32_t index, struct rn_column_ref *out)
{
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        const struct rn_group *group = &schema->groups[g];
        uint64_t columns = (uint64_t)group->nfields * group->nseries;
        if (index < columns) {
            out->group = group;
            out->group_index = g;
            out->series = &group->series[index / group->nfields];
            out->field = &group->fields[index % group->nfields];
            return true;
        }
        index -= (uint32_t)columns;
    }
    return false;
}

int rn_field_check(const struct rn_field *field, struct rn_err *err)
{
    if (!rn_name_valid(field->name))
        return rn_fail(err, RN_EFORMAT, "bad field name");
    if (field->type > RN_TEXT || field->kind > RN_STATE)
        return rn_fail(err, RN_EFORMAT, "unknown value type or kind");
    if (field->decimals > 15 || (field->decimals && field->type != RN_FLOAT))
        return rn_fail(err, RN_EFORMAT, "decimals do not fit the value type");
    bool number = field->type == RN_INT || field->type == RN_UINT || field->type == RN_FLOAT;
    if (field->mul < 1 || (field->mul > 1 && !number))
        return rn_fail(err, RN_EFORMAT, "multiplier does not fit the value type");
    if (field->unit.len > RN_NAME_MAX || (field->unit.len && !text_clean(field->unit)))
        return rn_fail(err, RN_EFORMAT, "bad unit");
    return RN_OK;
}

int rn_tags_check(const struct rn_tag *tags, uint32_t ntags, struct rn_err *err)
{
    if (ntags > RN_SCHEMA_MAX_TAGS)
        return rn_fail(err, RN_ELIMIT, "more than %d tags", RN_SCHEMA_MAX_TAGS);
    for (uint32_t i = 0; i < ntags; i++) {
        if (!rn_name_valid(tags[i].key) || !rn_name_valid(tags[i].value))
            return rn_fail(err, RN_EFORMAT, "bad tag");
        if (i && rn_span_cmp(tags[i - 1].key, tags[i].key) >= 0)
            return rn_fail(err, RN_EFORMAT, "tags are not in ascending order");
    }
    return RN_OK;
}

// How two fields, or series, of a group compare in some order.
struct order {
    const struct rn_group *group;
    int (*compare)(const struct rn_group *group, uint32_t a, uint32_t b);
};

static int compare_fields(const struct rn_group *group, uint32_t a, uint32_t b)
{
    return rn_span_cmp(group->fields[a].name, group->fields[b].name);
}

static int compare_series(const struct rn_group *group, uint32_t a, uint32_t b)
{
    const struct rn_series *x = &group->series[a], *y = &group->series[b];
    int result = (x->ntags > y->ntags) - (x->ntags < y->ntags);
    for (uint32_t i = 0; !result && i < x->ntags; i++) {
        result = rn_span_cmp(x->tags[i].value, y->tags[i].value);
        if (!result)
            result = rn_span_cmp(x->tags[i].key, y->tags[i].key);
    }
    return result;
}

// from[begin..middle) and from[middle..end), each sorted, become one in `to`.
static void merge(const struct order *order, const uint16_t *from, uint16_t *to, uint32_t begin,
                  uint32_t middle, uint32_t end)
{
    uint32_t a = begin, b = middle;
    for (uint32_t at = begin; at < end; at++) {
        bool first =
            b == end || (a < middle && order->compare(order->group, from[a], from[b]) <= 0);
        to[at] = first ? from[a++] : from[b++];
    }
}

// Whether two of the first n are the same.
static bool has_twins(const struct order *order, uint32_t n)
{
    uint16_t one[RN_SCHEMA_MAX_COLUMNS], other[RN_SCHEMA_MAX_COLUMNS], *from = one, *to = other;
    for (uint32_t i = 0; i < n; i++)
        one[i] = (uint16_t)i;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t begin = 0; begin < n; begin += 2 * width) {
            uint32_t middle = begin + width < n ? begin + width : n;
            merge(order, from, to, begin, middle, middle + width < n ? middle + width : n);
        }
        uint16_t *sorted = to;
        to = from;
        from = sorted;
    }
    for (uint32_t i = 1; i < n; i++)
        if (order->compare(order->group, from[i - 1], from[i]) == 0)
            return true;
    return false;
}

static int fields_check(const struct rn_group *group, struct rn_err *err)
{
    for (uint32_t f = 0; f < group->nfields; f++) {
        int rc = rn_field_check(&group->fields[f], err);
        if (rc < 0)
            return rc;
    }
    if (has_twins(&(struct order){group, compare_fields}, group->nfields))
        return rn_fail(err, RN_EFORMAT, "a field name occurs twice in a group");
    return RN_OK;
}

static int series_check(const struct rn_group *group, struct rn_err *err)
{
    for (uint32_t s = 0; s < group->nseries; s++) {
        int rc = rn_tags_check(group->series[s].tags, group->series[s].ntags, err);
        if (rc < 0)
            return rc;
    }
    if (has_twins(&(struct order){group, compare_series}, group->nseries))
        return rn_fail(err, RN_EFORMAT, "a tag set occurs twice in a group");
    return RN_OK;
}

static bool unit_known(uint64_t unit_ns)
{
    return unit_ns == 1 || unit_ns == 1000 || unit_ns == 1000000 || unit_ns == 1000000000;
}

// Sizes only, before anything is walked.
static int sizes_check(const struct rn_schema *schema, struct rn_err *err)
{
    if (!unit_known(schema->unit_ns))
        return rn_fail(err, RN_EFORMAT, "unknown time unit");
    if (schema->step > INT64_MAX / schema->unit_ns)
        return rn_fail(err, RN_ELIMIT, "step is too long");
    if (schema->ngroups < 1 || schema->ngroups > RN_SCHEMA_MAX_COLUMNS)
        return rn_fail(err, RN_ELIMIT, "a schema has 1 to %d groups", RN_SCHEMA_MAX_COLUMNS);
    uint64_t columns = 0;
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        const struct rn_group *group = &schema->groups[g];
        if (!group->nfields || !group->nseries || !group->every)
            return rn_fail(err, RN_EFORMAT, "a group without fields, series or period");
        columns += (uint64_t)group->nfields * group->nseries;
        if (columns > RN_SCHEMA_MAX_COLUMNS)
            return rn_fail(err, RN_ELIMIT, "more than %d columns", RN_SCHEMA_MAX_COLUMNS);
    }
    if (columns != schema->ncolumns)
        return rn_fail(err, RN_EFORMAT, "wrong number of columns");
    return RN_OK;
}

// Columns that a rule may refer to: without a rule, or with one that came before.
struct known {
    uint8_t bits[RN_SCHEMA_MAX_COLUMNS / 8];
};

static bool is_known(const struct known *known, uint32_t column)
{
    return known->bits[column / 8] >> (column % 8) & 1;
}

static int linear_check(const struct rn_linear *linear, uint32_t ncolumns,
                        const struct known *known, struct rn_err *err)
{
    for (uint32_t i = 0; i < linear->nterms; i++) {
        uint32_t column = linear->terms[i].column;
        if (column >= ncolumns || !is_known(known, column))
            return rn_fail(err, RN_EFORMAT, "a rule refers to a column that comes later");
        if (i && column <= linear->terms[i - 1].column)
            return rn_fail(err, RN_EFORMAT, "terms of a rule do not ascend");
    }
    return RN_OK;
}

// A divisor that is a number is positive; one that has terms is looked at where it is used.
static int rule_check(const struct rn_rule *rule, uint32_t ncolumns, const struct known *known,
                      struct rn_err *err)
{
    if (rule->den.nterms == 0 && rule->den.time == 0 && rule->den.constant < 1)
        return rn_fail(err, RN_EFORMAT, "divisor of a rule is not positive");
    int rc = linear_check(&rule->num, ncolumns, known, err);
    return rc < 0 ? rc : linear_check(&rule->den, ncolumns, known, err);
}

static int rules_check(const struct rn_schema *schema, struct rn_err *err)
{
    struct known known;
    uint64_t terms = 0;
    memset(&known, 0xff, sizeof known);
    for (uint32_t i = 0; i < schema->nrules; i++) {
        uint32_t column = schema->rules[i].column;
        if (column >= schema->ncolumns || !is_known(&known, column))
            return rn_fail(err, RN_EFORMAT, "a rule's column has a rule already, or is none");
        known.bits[column / 8] = (uint8_t)(known.bits[column / 8] & ~(1U << column % 8));
        terms += schema->rules[i].num.nterms + schema->rules[i].den.nterms;
    }
    if (terms > (uint64_t)schema->ncolumns * RN_RULE_TERMS_PER_COLUMN)
        return rn_fail(err, RN_ELIMIT, "rules have too many terms");
    for (uint32_t i = 0; i < schema->nrules; i++) {
        uint32_t column = schema->rules[i].column;
        int rc = rule_check(&schema->rules[i], schema->ncolumns, &known, err);
        if (rc < 0)
            return rc;
        known.bits[column / 8] = (uint8_t)(known.bits[column / 8] | 1U << column % 8);
    }
    return RN_OK;
}

int rn_schema_check(const struct rn_schema *schema, struct rn_err *err)
{
    int rc = sizes_check(schema, err);
    for (uint32_t g = 0; rc == RN_OK && g < schema->ngroups; g++) {
        if (!rn_name_valid(schema->groups[g].measurement))
            return rn_fail(err, RN_EFORMAT, "bad measurement name");
        rc = fields_check(&schema->groups[g], err);
        if (rc == RN_OK)
            rc = series_check(&schema->groups[g], err);
    }
    return rc < 0 ? rc : rules_check(schema, err);
}
