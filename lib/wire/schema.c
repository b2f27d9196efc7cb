// Schema to bytes and back, see runnel/wire.h and schemas/schema.cddl. A schema is named by the
// hash of its bytes, so there must be one way to write it: decoding refuses every other.
#include "lib/wire/record.h"

#include <runnel/wire.h>
#include <string.h>

#define SCHEMA_VERSION 1

// Bump allocator over the caller's storage. Every structure is a multiple of 8 bytes.
struct arena {
    uint8_t *at;
    size_t left;
};

static void *arena_take(struct arena *arena, uint64_t count, size_t size)
{
    if (count > arena->left / size)
        return NULL;
    void *taken = arena->at;
    memset(taken, 0, (size_t)count * size);
    arena->at += (size_t)count * size;
    arena->left -= (size_t)count * size;
    return taken;
}

// While decoding, a group or schema is followed by where its parts go.
struct group_in {
    struct rn_group group;
    struct arena *arena;
};

struct schema_in {
    struct rn_schema schema;
    uint32_t version;
    struct arena *arena;
};

// ---- field --------------------------------------------------------------------------------------

static const struct rec_row field_rows[] = {
    {"name", 1, REC_TEXT, true, offsetof(struct rn_field, name), RN_NAME_MAX, 0, NULL},
    {"type", 2, REC_ENUM, true, offsetof(struct rn_field, type), RN_TEXT, 0, NULL},
    {"kind", 3, REC_ENUM, false, offsetof(struct rn_field, kind), RN_STATE, 0, NULL},
    {"decimals", 4, REC_U8, false, offsetof(struct rn_field, decimals), 15, 0, NULL},
    {"unit", 5, REC_TEXT, false, offsetof(struct rn_field, unit), RN_NAME_MAX, 0, NULL},
    {"mul", 6, REC_U32, false, offsetof(struct rn_field, mul), UINT32_MAX, 1, NULL},
};
static const struct rec field_rec = {field_rows, sizeof field_rows / sizeof *field_rows, true};

// ---- group --------------------------------------------------------------------------------------

static void put_fields(const void *msg, struct rn_buf *out)
{
    const struct rn_group *group = msg;
    rn_cbor_put_array(out, group->nfields);
    for (uint32_t i = 0; i < group->nfields; i++)
        rec_put(&field_rec, &group->fields[i], out);
}

static int get_fields(struct rn_cbor_in *in, void *msg)
{
    struct group_in *to = msg;
    uint64_t count;
    int result = rn_cbor_get_array(in, RN_SCHEMA_MAX_COLUMNS, &count);
    if (result)
        return result;
    struct rn_field *fields = arena_take(to->arena, count, sizeof *fields);
    if (!fields)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    for (uint64_t i = 0; i < count && !result; i++)
        result = rec_get(&field_rec, in, &fields[i]);
    to->group.fields = fields;
    to->group.nfields = (uint32_t)count;
    return result;
}

static void put_series(const void *msg, struct rn_buf *out)
{
    const struct rn_group *group = msg;
    rn_cbor_put_array(out, group->nseries);
    for (uint32_t i = 0; i < group->nseries; i++) {
        const struct rn_series *series = &group->series[i];
        rn_cbor_put_array(out, 2 * (size_t)series->ntags);
        for (uint32_t j = 0; j < series->ntags; j++) {
            rn_cbor_put_text(out, series->tags[j].key);
            rn_cbor_put_text(out, series->tags[j].value);
        }
    }
}

static int get_tags(struct rn_cbor_in *in, struct arena *arena, struct rn_series *series)
{
    uint64_t items;
    int result = rn_cbor_get_array(in, 2 * RN_SCHEMA_MAX_TAGS, &items);
    if (result)
        return result;
    if (items % 2)
        return rn_cbor_fail(in, RN_EFORMAT, "a tag key has no value");
    struct rn_tag *tags = arena_take(arena, items / 2, sizeof *tags);
    if (!tags)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    for (uint64_t i = 0; i < items / 2 && !result; i++) {
        result = rn_cbor_get_text(in, RN_NAME_MAX, &tags[i].key);
        if (!result)
            result = rn_cbor_get_text(in, RN_NAME_MAX, &tags[i].value);
    }
    series->tags = tags;
    series->ntags = (uint32_t)(items / 2);
    return result;
}

static int get_series(struct rn_cbor_in *in, void *msg)
{
    struct group_in *to = msg;
    uint64_t count;
    int result = rn_cbor_get_array(in, RN_SCHEMA_MAX_COLUMNS, &count);
    if (result)
        return result;
    struct rn_series *series = arena_take(to->arena, count, sizeof *series);
    if (!series)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    for (uint64_t i = 0; i < count && !result; i++)
        result = get_tags(in, to->arena, &series[i]);
    to->group.series = series;
    to->group.nseries = (uint32_t)count;
    return result;
}

static const struct rec_custom fields_custom = {NULL, put_fields, get_fields};
static const struct rec_custom series_custom = {NULL, put_series, get_series};
static const struct rec_row group_rows[] = {
    {"measurement", 1, REC_TEXT, true, offsetof(struct rn_group, measurement), RN_NAME_MAX, 0,
     NULL},
    {"every", 2, REC_U32, false, offsetof(struct rn_group, every), UINT32_MAX, 1, NULL},
    {"fields", 3, REC_CUSTOM, true, 0, 0, 0, &fields_custom},
    {"series", 4, REC_CUSTOM, true, 0, 0, 0, &series_custom},
};
static const struct rec group_rec = {group_rows, sizeof group_rows / sizeof *group_rows, true};

// ---- schema -------------------------------------------------------------------------------------

static void put_groups(const void *msg, struct rn_buf *out)
{
    const struct rn_schema *schema = &((const struct schema_in *)msg)->schema;
    rn_cbor_put_array(out, schema->ngroups);
    for (uint32_t i = 0; i < schema->ngroups; i++)
        rec_put(&group_rec, &schema->groups[i], out);
}

static int get_groups(struct rn_cbor_in *in, void *msg)
{
    struct schema_in *to = msg;
    uint64_t count, columns = 0;
    int result = rn_cbor_get_array(in, RN_SCHEMA_MAX_COLUMNS, &count);
    if (result)
        return result;
    struct rn_group *groups = arena_take(to->arena, count, sizeof *groups);
    if (!groups)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    for (uint64_t i = 0; i < count && !result; i++) {
        struct group_in group = {.arena = to->arena};
        result = rec_get(&group_rec, in, &group);
        groups[i] = group.group;
        columns += (uint64_t)group.group.nfields * group.group.nseries;
    }
    if (!result && columns > RN_SCHEMA_MAX_COLUMNS)
        result = rn_cbor_fail(in, RN_ELIMIT, "too many columns");
    to->schema.groups = groups;
    to->schema.ngroups = (uint32_t)count;
    to->schema.ncolumns = (uint32_t)columns;
    return result;
}

// ---- rules --------------------------------------------------------------------------------------

static bool has_rules(const void *msg)
{
    return ((const struct schema_in *)msg)->schema.nrules > 0;
}

static bool is_one(const struct rn_linear *linear)
{
    return linear->constant == 1 && linear->time == 0 && linear->nterms == 0;
}

static void put_linear(const struct rn_linear *linear, struct rn_buf *out)
{
    rn_cbor_put_array(out, 2 + 2 * (size_t)linear->nterms);
    rn_cbor_put_int(out, linear->constant);
    rn_cbor_put_int(out, linear->time);
    for (uint32_t i = 0; i < linear->nterms; i++) {
        rn_cbor_put_uint(out, linear->terms[i].column);
        rn_cbor_put_int(out, linear->terms[i].coefficient);
    }
}

static void put_rules(const void *msg, struct rn_buf *out)
{
    const struct rn_schema *schema = &((const struct schema_in *)msg)->schema;
    rn_cbor_put_array(out, schema->nrules);
    for (uint32_t i = 0; i < schema->nrules; i++) {
        const struct rn_rule *rule = &schema->rules[i];
        rn_cbor_put_array(out, is_one(&rule->den) ? 2 : 3);
        rn_cbor_put_uint(out, rule->column);
        put_linear(&rule->num, out);
        if (!is_one(&rule->den))
            put_linear(&rule->den, out);
    }
}

static int get_terms(struct rn_cbor_in *in, struct rn_term *terms, uint64_t count)
{
    int result = RN_OK;
    for (uint64_t i = 0; i < count && !result; i++) {
        uint64_t column = 0;
        result = rn_cbor_get_uint(in, RN_SCHEMA_MAX_COLUMNS - 1, &column);
        if (!result)
            result = rn_cbor_get_int(in, &terms[i].coefficient);
        terms[i].column = (uint32_t)column;
    }
    return result;
}

static int get_linear(struct rn_cbor_in *in, struct arena *arena, struct rn_linear *linear)
{
    uint64_t items;
    int result = rn_cbor_get_array(in, 2 + 2 * RN_SCHEMA_MAX_COLUMNS, &items);
    if (!result && (items < 2 || items % 2))
        result = rn_cbor_fail(in, RN_EFORMAT, "a sum has a constant, a time and pairs");
    if (!result)
        result = rn_cbor_get_int(in, &linear->constant);
    if (!result)
        result = rn_cbor_get_int(in, &linear->time);
    if (result)
        return result;
    struct rn_term *terms = arena_take(arena, items / 2 - 1, sizeof *terms);
    if (!terms)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    linear->terms = terms;
    linear->nterms = (uint32_t)(items / 2 - 1);
    return get_terms(in, terms, items / 2 - 1);
}

static int get_rule(struct rn_cbor_in *in, struct arena *arena, struct rn_rule *rule)
{
    uint64_t items, column = 0;
    int result = rn_cbor_get_array(in, 3, &items);
    if (!result && items < 2)
        result = rn_cbor_fail(in, RN_EFORMAT, "a rule has 2 or 3 items");
    if (!result)
        result = rn_cbor_get_uint(in, RN_SCHEMA_MAX_COLUMNS - 1, &column);
    if (!result)
        result = get_linear(in, arena, &rule->num);
    rule->column = (uint32_t)column;
    rule->den.constant = 1;
    if (result || items == 2)
        return result;
    result = get_linear(in, arena, &rule->den);
    if (!result && is_one(&rule->den))
        result = rn_cbor_fail(in, RN_EFORMAT, "a divisor says its default");
    return result;
}

static int get_rules(struct rn_cbor_in *in, void *msg)
{
    struct schema_in *to = msg;
    uint64_t count;
    int result = rn_cbor_get_array(in, RN_SCHEMA_MAX_COLUMNS, &count);
    if (!result && count == 0)
        result = rn_cbor_fail(in, RN_EFORMAT, "a list of no rules");
    if (result)
        return result;
    struct rn_rule *rules = arena_take(to->arena, count, sizeof *rules);
    if (!rules)
        return rn_cbor_fail(in, RN_ELIMIT, "does not fit the storage");
    for (uint64_t i = 0; i < count && !result; i++)
        result = get_rule(in, to->arena, &rules[i]);
    to->schema.rules = rules;
    to->schema.nrules = (uint32_t)count;
    return result;
}

static int get_version(struct rn_cbor_in *in, void *msg)
{
    struct schema_in *to = msg;
    uint64_t version;
    int result = rn_cbor_get_uint(in, UINT64_MAX, &version);
    if (!result && version != SCHEMA_VERSION)
        result = rn_cbor_fail(in, RN_EUNSUPPORTED, "version is not known to this program");
    to->version = SCHEMA_VERSION;
    return result;
}

static void put_version(const void *msg, struct rn_buf *out)
{
    rn_cbor_put_uint(out, ((const struct schema_in *)msg)->version);
}

static const struct rec_custom version_custom = {NULL, put_version, get_version};
static const struct rec_custom groups_custom = {NULL, put_groups, get_groups};
static const struct rec_custom rules_custom = {has_rules, put_rules, get_rules};
static const struct rec_row schema_rows[] = {
    {"version", 1, REC_CUSTOM, true, 0, 0, 0, &version_custom},
    {"unit", 2, REC_U64, true, offsetof(struct schema_in, schema.unit_ns), RN_ID_MAX, 0, NULL},
    {"step", 3, REC_U64, true, offsetof(struct schema_in, schema.step), RN_ID_MAX, 0, NULL},
    {"groups", 4, REC_CUSTOM, true, 0, 0, 0, &groups_custom},
    {"rules", 5, REC_CUSTOM, false, 0, 0, 0, &rules_custom},
};
static const struct rec schema_rec = {schema_rows, sizeof schema_rows / sizeof *schema_rows, true};

int rn_schema_encode(const struct rn_schema *schema, struct rn_buf *out, struct rn_err *err)
{
    int result = rn_schema_check(schema, err);
    if (result)
        return result;
    size_t start = out->len;
    struct schema_in msg = {.schema = *schema, .version = SCHEMA_VERSION};
    rec_put(&schema_rec, &msg, out);
    if (rn_buf_status(out) == RN_ENOMEM)
        result = rn_fail(err, RN_ENOMEM, "no memory for a schema");
    else if (!rn_buf_ok(out) || out->len - start > RN_SCHEMA_MAX_BYTES)
        result = rn_fail(err, RN_ELIMIT, "schema is over %d bytes", RN_SCHEMA_MAX_BYTES);
    if (result)
        out->len = start;
    return result;
}

static uint64_t head_bytes(uint64_t value)
{
    return value < 24 ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : value < 0x100000000 ? 5 : 9;
}

// One more pass over bytes that are known to be well-formed: every head is the shortest.
static int check_shortest(struct rn_span bytes, struct rn_err *err)
{
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, bytes, err);
    while (in.at < in.end) {
        const uint8_t *before = in.at;
        struct rn_cbor_item item;
        int result = rn_cbor_next(&in, &item);
        if (result)
            return result;
        bool number =
            item.type != RN_CBOR_BOOL && item.type != RN_CBOR_NULL && item.type != RN_CBOR_DOUBLE;
        uint64_t head = (uint64_t)(in.at - before) - item.bytes.len;
        if (number && head != head_bytes(item.u))
            return rn_cbor_fail(&in, RN_EFORMAT, "a head is longer than needed");
    }
    return RN_OK;
}

int rn_schema_decode(struct rn_span bytes, struct rn_schema *schema, void *storage, size_t size,
                     struct rn_err *err)
{
    if (bytes.len > RN_SCHEMA_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "schema of %zu bytes is over %d", bytes.len,
                       RN_SCHEMA_MAX_BYTES);
    struct arena arena = {storage, size};
    struct schema_in msg = {.arena = &arena};
    struct rn_cbor_in in;
    rn_cbor_in_init(&in, bytes, err);
    int result = rec_get(&schema_rec, &in, &msg);
    if (!result)
        result = rn_cbor_end(&in);
    if (!result)
        result = check_shortest(bytes, err);
    if (!result)
        result = rn_schema_check(&msg.schema, err);
    if (!result)
        *schema = msg.schema;
    return result;
}
