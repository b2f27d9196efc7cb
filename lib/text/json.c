// Numbers and JSON, see runnel/text.h.
#include <runnel/text.h>

#include "lib/text/chars.h"
#include "lib/text/place.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// 15 digits are always kept by a double, 17 always keep a double. LC_NUMERIC is "C": no program of
// ours calls setlocale.
static void format_double(char text[32], double value)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof back) == 0)
            return;
    }
}

void rn_text_double(struct rn_buf *out, double value)
{
    char text[32];
    format_double(text, value);
    rn_buf_text(out, text);
}

static const char short_escape[] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                    ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

static void put_json_char(struct rn_buf *out, uint8_t c)
{
    char escape = c < sizeof short_escape ? short_escape[c] : 0;
    if (escape) {
        rn_buf_byte(out, '\\');
        rn_buf_byte(out, (uint8_t)escape);
    } else if (c < 0x20 || c == 0x7f) {
        rn_buf_printf(out, "\\u%04x", c);
    } else {
        rn_buf_byte(out, c);
    }
}

void rn_text_json_string(struct rn_buf *out, struct rn_span text)
{
    rn_buf_byte(out, '"');
    while (text.len) {
        struct rn_span c = chars_take(&text);
        if (c.len == 1)
            put_json_char(out, c.data[0]);
        else if (c.len)
            rn_buf_append(out, c.data, c.len);
        else
            rn_buf_text(out, CHARS_REPLACEMENT);
    }
    rn_buf_byte(out, '"');
}

static void put_json_double(struct rn_buf *out, double value)
{
    if (!isfinite(value)) {
        rn_buf_text(out, "null");
        return;
    }
    char text[32];
    format_double(text, value);
    rn_buf_text(out, text);
    if (!strpbrk(text, ".e"))
        rn_buf_text(out, ".0");
}

void rn_text_json_value(struct rn_buf *out, const struct rn_value *value)
{
    switch (value->type) {
    case RN_INT:
        rn_buf_printf(out, "%" PRId64, value->i);
        break;
    case RN_UINT:
        rn_buf_printf(out, "%" PRIu64, value->u);
        break;
    case RN_FLOAT:
        put_json_double(out, value->d);
        break;
    case RN_BOOL:
        rn_buf_text(out, value->b ? "true" : "false");
        break;
    case RN_TEXT:
        rn_text_json_string(out, value->text);
        break;
    }
}

static void put_json_tags(struct rn_buf *out, const struct rn_series *series)
{
    rn_buf_text(out, "\"tags\":{");
    for (uint32_t i = 0; i < series->ntags; i++) {
        if (i)
            rn_buf_byte(out, ',');
        rn_text_json_string(out, series->tags[i].key);
        rn_buf_byte(out, ':');
        rn_text_json_string(out, series->tags[i].value);
    }
    rn_buf_byte(out, '}');
}

// Fields of the series whose first column this is; returns how many have a value.
static uint32_t put_json_fields(struct rn_buf *out, const struct rn_group *group,
                                const struct rn_grid *grid, uint32_t column, uint32_t tick)
{
    uint32_t written = 0;
    rn_buf_text(out, ",\"fields\":{");
    for (uint32_t f = 0; f < group->nfields; f++) {
        struct rn_value value;
        if (!rn_grid_value(grid, &group->fields[f], column + f, tick, &value))
            continue;
        if (written++)
            rn_buf_byte(out, ',');
        rn_text_json_string(out, group->fields[f].name);
        rn_buf_byte(out, ':');
        rn_text_json_value(out, &value);
    }
    rn_buf_byte(out, '}');
    return written;
}

static uint32_t put_json_point(struct rn_buf *out, const struct rn_schema *schema,
                               const struct place *at, const struct rn_grid *grid, uint32_t tick,
                               struct rn_span dev)
{
    int64_t time_ns;
    if (__builtin_mul_overflow(grid->times[tick], schema->unit_ns, &time_ns))
        return 0;
    size_t mark = out->len;
    rn_buf_byte(out, '{');
    if (dev.len) {
        rn_buf_text(out, "\"device\":");
        rn_text_json_string(out, dev);
        rn_buf_byte(out, ',');
    }
    rn_buf_text(out, "\"measurement\":");
    rn_text_json_string(out, at->group->measurement);
    rn_buf_byte(out, ',');
    put_json_tags(out, at->series);
    uint32_t written = put_json_fields(out, at->group, grid, at->column, tick);
    rn_buf_printf(out, ",\"time_ns\":%" PRId64 "}\n", time_ns);
    if (written && rn_buf_ok(out))
        return written;
    out->len = mark;
    return 0;
}

uint32_t rn_json_point(struct rn_buf *out, const struct rn_schema *schema,
                       const struct rn_grid *grid, uint32_t group, uint32_t series, uint32_t tick,
                       struct rn_span dev)
{
    struct place at = place_of(schema, group, series);
    return put_json_point(out, schema, &at, grid, tick, dev);
}

uint64_t rn_json_grid(struct rn_buf *out, const struct rn_schema *schema,
                      const struct rn_grid *grid, struct rn_span dev)
{
    uint64_t written = 0;
    for (uint32_t tick = 0; tick < grid->n; tick++) {
        struct place at = {0};
        for (uint32_t g = 0; g < schema->ngroups; g++) {
            at.group = &schema->groups[g];
            for (uint32_t s = 0; s < at.group->nseries; s++, at.column += at.group->nfields) {
                at.series = &at.group->series[s];
                written += put_json_point(out, schema, &at, grid, tick, dev);
            }
        }
    }
    return written;
}

static void put_json_field(struct rn_buf *out, const struct rn_field *field)
{
    static const char *const types[] = {"int", "uint", "float", "bool", "text"};
    static const char *const kinds[] = {"gauge", "counter", "state"};
    rn_buf_text(out, "{\"name\":");
    rn_text_json_string(out, field->name);
    rn_buf_printf(out, ",\"type\":\"%s\",\"kind\":\"%s\",\"decimals\":%u,\"mul\":%u,\"unit\":",
                  types[field->type], kinds[field->kind], field->decimals, field->mul);
    rn_text_json_string(out, field->unit);
    rn_buf_byte(out, '}');
}

static void put_json_group(struct rn_buf *out, const struct rn_group *group)
{
    rn_buf_text(out, "{\"measurement\":");
    rn_text_json_string(out, group->measurement);
    rn_buf_printf(out, ",\"every\":%u,\"fields\":[", group->every);
    for (uint32_t f = 0; f < group->nfields; f++) {
        if (f)
            rn_buf_byte(out, ',');
        put_json_field(out, &group->fields[f]);
    }
    rn_buf_text(out, "],\"series\":[");
    for (uint32_t s = 0; s < group->nseries; s++) {
        rn_buf_text(out, s ? ",{" : "{");
        put_json_tags(out, &group->series[s]);
        rn_buf_byte(out, '}');
    }
    rn_buf_text(out, "]}");
}

void rn_json_schema(struct rn_buf *out, const struct rn_schema *schema)
{
    rn_buf_printf(out, "{\"unit_ns\":%" PRIu64 ",\"step\":%" PRIu64 ",\"columns\":%u,\"groups\":[",
                  schema->unit_ns, schema->step, schema->ncolumns);
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        if (g)
            rn_buf_byte(out, ',');
        put_json_group(out, &schema->groups[g]);
    }
    rn_buf_text(out, "]}");
}
