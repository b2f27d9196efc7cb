// Line protocol out, see runnel/text.h. The escapes are those that InfluxDB 1.x, 2.x, 3.x and
// VictoriaMetrics read alike. They disagree about a backslash before a separator (an escape, or an
// escaped backslash and a bare separator) and about a quote in a field's name (VictoriaMetrics
// drops the line), and none can carry a newline in a name: such characters are shown by
// look-alikes.
#include <runnel/text.h>

#include "lib/text/chars.h"
#include "lib/text/place.h"

#include <inttypes.h>
#include <string.h>

#define FULLWIDTH_BACKSLASH "\xef\xbc\xbc" // U+FF3C
#define FULLWIDTH_HASH      "\xef\xbc\x83" // U+FF03
#define FULLWIDTH_QUOTE     "\xef\xbc\x82" // U+FF02

#define SEPARATORS       ",= "
#define IN_A_MEASUREMENT ", "

static bool among(uint8_t c, const char *set)
{
    return c && strchr(set, c);
}

// U+2400 and on show the controls 0..31, U+2421 shows DEL.
static void put_picture(struct rn_buf *out, uint8_t control)
{
    uint8_t last = control == 0x7f ? 0xa1 : (uint8_t)(0x80 + control);
    rn_buf_append(out, (const uint8_t[]){0xe2, 0x90, last}, 3);
}

static bool is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7f;
}

// One ASCII character of a name; `rest` is what follows it.
static void put_name_char(struct rn_buf *out, uint8_t c, struct rn_span rest, const char *escaped,
                          bool exact)
{
    if (exact ? c == '\n' : is_control(c)) {
        put_picture(out, c);
    } else if (c == '\\' && (!rest.len || (!exact && among(rest.data[0], SEPARATORS)))) {
        rn_buf_text(out, FULLWIDTH_BACKSLASH);
    } else {
        if (among(c, escaped))
            rn_buf_byte(out, '\\');
        rn_buf_byte(out, c);
    }
}

static void put_name(struct rn_buf *out, struct rn_span name, const char *escaped, bool exact)
{
    while (name.len) {
        struct rn_span c = chars_take(&name);
        bool c1 = c.len == 2 && c.data[0] == 0xc2 && c.data[1] < 0xa0;
        if (c.len == 1)
            put_name_char(out, c.data[0], name, escaped, exact);
        else if (c.len && (exact || !c1))
            rn_buf_append(out, c.data, c.len);
        else
            rn_buf_text(out, CHARS_REPLACEMENT);
    }
}

static void put_measurement(struct rn_buf *out, struct rn_span name, bool exact)
{
    if (name.len && name.data[0] == '#') { // else the line would be a comment
        rn_buf_text(out, FULLWIDTH_HASH);
        name.data++;
        name.len--;
    }
    put_name(out, name, IN_A_MEASUREMENT, exact);
}

static void put_field_name(struct rn_buf *out, struct rn_span name, bool exact)
{
    const uint8_t *quote;
    while (!exact && name.len && (quote = memchr(name.data, '"', name.len))) {
        struct rn_span before = {name.data, (size_t)(quote - name.data)};
        put_name(out, before, SEPARATORS, exact);
        rn_buf_text(out, FULLWIDTH_QUOTE);
        name.data += before.len + 1;
        name.len -= before.len + 1;
    }
    put_name(out, name, SEPARATORS, exact);
}

static void put_tag(struct rn_buf *out, struct rn_span key, struct rn_span value, bool exact)
{
    if (!key.len || !value.len)
        return;
    rn_buf_byte(out, ',');
    put_name(out, key, SEPARATORS, exact);
    rn_buf_byte(out, '=');
    put_name(out, value, SEPARATORS, exact);
}

// The series' tags in their order, the host's among them.
static void put_tags(struct rn_buf *out, const struct rn_series *series,
                     const struct rn_lp_conf *conf)
{
    bool host_due = conf->host_key.len > 0;
    for (uint32_t i = 0; i < series->ntags; i++) {
        const struct rn_tag *tag = &series->tags[i];
        int order = conf->host_key.len ? rn_span_cmp(tag->key, conf->host_key) : -1;
        if (host_due && order >= 0) {
            put_tag(out, conf->host_key, conf->host, conf->exact);
            host_due = false;
        }
        if (order != 0)
            put_tag(out, tag->key, tag->value, conf->exact);
    }
    if (host_due)
        put_tag(out, conf->host_key, conf->host, conf->exact);
}

static void put_text(struct rn_buf *out, struct rn_span text, bool exact)
{
    rn_buf_byte(out, '"');
    while (text.len) {
        struct rn_span c = chars_take(&text);
        if (!c.len) {
            rn_buf_text(out, CHARS_REPLACEMENT);
        } else if (!exact && c.len == 1 && is_control(c.data[0]) && c.data[0] != '\t') {
            put_picture(out, c.data[0]);
        } else {
            if (among(c.data[0], "\"\\"))
                rn_buf_byte(out, '\\');
            rn_buf_append(out, c.data, c.len);
        }
    }
    rn_buf_byte(out, '"');
}

static void put_value(struct rn_buf *out, const struct rn_value *value,
                      const struct rn_lp_conf *conf)
{
    switch (value->type) {
    case RN_INT:
        rn_buf_printf(out, "%" PRId64 "i", value->i);
        break;
    case RN_UINT:
        rn_buf_printf(out, "%" PRIu64 "%c", value->u,
                      conf->uint_form == RN_LP_UINT_AS_U ? 'u' : 'i');
        break;
    case RN_FLOAT:
        rn_text_double(out, value->d);
        break;
    case RN_BOOL:
        rn_buf_text(out, value->b ? "true" : "false");
        break;
    case RN_TEXT:
        put_text(out, value->text, conf->exact);
        break;
    }
}

static bool can_carry(const struct rn_field *field, const struct rn_value *value,
                      const struct rn_lp_conf *conf)
{
    bool too_large =
        value->type == RN_UINT && conf->uint_form == RN_LP_UINT_AS_INT && value->u > INT64_MAX;
    return field->name.len && !too_large;
}

static uint32_t put_fields(struct rn_buf *out, const struct place *at, const struct rn_grid *grid,
                           uint32_t tick, const struct rn_lp_conf *conf, uint64_t *skipped)
{
    uint32_t written = 0;
    for (uint32_t f = 0; f < at->group->nfields; f++) {
        const struct rn_field *field = &at->group->fields[f];
        struct rn_value value;
        if (!rn_grid_value(grid, field, at->column + f, tick, &value))
            continue;
        if (!can_carry(field, &value, conf)) {
            ++*skipped;
            continue;
        }
        rn_buf_byte(out, written++ ? ',' : ' ');
        put_field_name(out, field->name, conf->exact);
        rn_buf_byte(out, '=');
        put_value(out, &value, conf);
    }
    return written;
}

static uint64_t values_of(const struct place *at, const struct rn_grid *grid, uint32_t tick)
{
    uint64_t values = 0;
    for (uint32_t f = 0; f < at->group->nfields; f++)
        values += grid->states[rn_grid_at(grid, at->column + f, tick)] != RN_CELL_MISSING;
    return values;
}

static uint32_t put_point(struct rn_buf *out, const struct rn_schema *schema,
                          const struct place *at, const struct rn_grid *grid, uint32_t tick,
                          const struct rn_lp_conf *conf)
{
    uint64_t ignored = 0, *skipped = conf->skipped ? conf->skipped : &ignored;
    int64_t time_ns;
    if (__builtin_mul_overflow(grid->times[tick], schema->unit_ns, &time_ns) ||
        !at->group->measurement.len) {
        *skipped += values_of(at, grid, tick);
        return 0;
    }
    size_t mark = out->len;
    put_measurement(out, at->group->measurement, conf->exact);
    put_tags(out, at->series, conf);
    uint32_t written = put_fields(out, at, grid, tick, conf, skipped);
    rn_buf_printf(out, " %" PRId64 "\n", time_ns);
    if (written && rn_buf_ok(out))
        return written;
    out->len = mark;
    return 0;
}

uint32_t rn_lp_point(struct rn_buf *out, const struct rn_schema *schema, const struct rn_grid *grid,
                     uint32_t group, uint32_t series, uint32_t tick, const struct rn_lp_conf *conf)
{
    struct place at = place_of(schema, group, series);
    return put_point(out, schema, &at, grid, tick, conf);
}

uint64_t rn_lp_grid(struct rn_buf *out, const struct rn_schema *schema, const struct rn_grid *grid,
                    const struct rn_lp_conf *conf)
{
    uint64_t written = 0;
    for (uint32_t tick = 0; tick < grid->n; tick++) {
        struct place at = {0};
        for (uint32_t g = 0; g < schema->ngroups; g++) {
            at.group = &schema->groups[g];
            for (uint32_t s = 0; s < at.group->nseries; s++, at.column += at.group->nfields) {
                at.series = &at.group->series[s];
                written += put_point(out, schema, &at, grid, tick, conf);
            }
        }
    }
    return written;
}
