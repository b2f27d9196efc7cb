// See rulebook.h.
#include "lib/model/rulebook.h"

#include <stdlib.h>
#include <string.h>

struct rulebook {
    const struct rn_schema *schema;
    size_t bytes_left;
    uint32_t terms_left;
    struct rn_term *next_term;
    uint32_t nrules;
    uint8_t ruled[RN_SCHEMA_MAX_COLUMNS / 8];
    struct rn_rule rules[]; // and then the terms
};

struct rulebook *rulebook_open(const struct rn_schema *schema, size_t max_bytes)
{
    size_t rules = schema->ncolumns * sizeof(struct rn_rule);
    uint32_t terms = schema->ncolumns * RN_RULE_TERMS_PER_COLUMN;
    struct rulebook *book = malloc(sizeof *book + rules + terms * sizeof(struct rn_term));
    if (!book)
        return NULL;
    memset(book, 0, sizeof *book);
    book->schema = schema;
    book->bytes_left = max_bytes;
    book->terms_left = terms;
    book->next_term = (struct rn_term *)(book->rules + schema->ncolumns);
    return book;
}

// ---- finding ------------------------------------------------------------------------------------

// A series in its place in the schema.
struct place {
    const struct rn_group *group;
    const struct rn_series *series;
    uint32_t column; // its first
};

// The next series of the measurement; begin with a zeroed place. False when there is none.
static bool next_series(const struct rn_schema *schema, const char *measurement,
                        struct place *place)
{
    bool passed = place->series == NULL;
    uint32_t column = 0;
    for (uint32_t g = 0; g < schema->ngroups; g++) {
        const struct rn_group *group = &schema->groups[g];
        bool wanted = rn_span_eq_text(group->measurement, measurement);
        for (uint32_t s = 0; s < group->nseries; s++, column += group->nfields) {
            if (passed && wanted) {
                *place = (struct place){group, &group->series[s], column};
                return true;
            }
            passed = passed || &group->series[s] == place->series;
        }
    }
    return false;
}

static bool find_field(const struct place *place, const char *field, uint32_t *column)
{
    for (uint32_t f = 0; f < place->group->nfields; f++)
        if (rn_span_eq_text(place->group->fields[f].name, field)) {
            *column = place->column + f;
            return true;
        }
    return false;
}

static bool has_tag_value(const struct rn_series *series, const char *value)
{
    for (uint32_t t = 0; t < series->ntags; t++)
        if (rn_span_eq_text(series->tags[t].value, value))
            return true;
    return false;
}

static uint32_t count_series(const struct rn_schema *schema, const char *measurement)
{
    struct place place = {0};
    uint32_t count = 0;
    while (next_series(schema, measurement, &place))
        count++;
    return count;
}

// ---- making -------------------------------------------------------------------------------------

// Keeps the terms of a sum ascending by column.
static bool add_term(struct rulebook *book, struct rn_linear *linear, struct rn_term *terms,
                     struct rn_term term)
{
    if (linear->nterms == book->terms_left)
        return false;
    uint32_t at = linear->nterms++;
    for (; at > 0 && terms[at - 1].column > term.column; at--)
        terms[at] = terms[at - 1];
    terms[at] = term;
    return true;
}

static bool add_others(struct rulebook *book, const struct place *self,
                       const struct rn_term_desc *desc, const char *measurement,
                       struct rn_linear *linear, struct rn_term *terms)
{
    struct place place = {0};
    bool added = false;
    while (next_series(book->schema, measurement, &place)) {
        uint32_t column;
        if (place.series == self->series)
            continue;
        if (!find_field(&place, desc->field, &column) ||
            !add_term(book, linear, terms, (struct rn_term){column, desc->coefficient}))
            return false;
        added = true;
    }
    return added;
}

static bool add_desc(struct rulebook *book, const struct place *self,
                     const struct rn_term_desc *desc, const char *measurement,
                     struct rn_linear *linear, struct rn_term *terms)
{
    struct place place = *self;
    uint32_t column;
    if (desc->of == RN_OF_OTHERS)
        return add_others(book, self, desc, measurement, linear, terms);
    if (desc->of == RN_OF_ONLY) {
        place = (struct place){0};
        if (count_series(book->schema, desc->measurement) != 1 ||
            !next_series(book->schema, desc->measurement, &place))
            return false;
    }
    return find_field(&place, desc->field, &column) &&
           add_term(book, linear, terms, (struct rn_term){column, desc->coefficient});
}

// The terms go behind those that are settled already; `after` counts those of this rule's num.
static bool add_descs(struct rulebook *book, const struct place *self, const char *measurement,
                      const struct rn_term_desc *descs, struct rn_linear *linear, uint32_t after)
{
    struct rn_term *terms = book->next_term + after;
    linear->terms = terms;
    book->terms_left -= after;
    bool fits = true;
    for (size_t i = 0; fits && descs && descs[i].field; i++)
        fits = add_desc(book, self, &descs[i], measurement, linear, terms);
    book->terms_left += after;
    return fits;
}

static size_t number_bytes(int64_t value)
{
    uint64_t size = value < 0 ? ~(uint64_t)value : (uint64_t)value;
    return size < 24 ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : size < 0x100000000 ? 5 : 9;
}

static size_t linear_bytes(const struct rn_linear *linear)
{
    size_t bytes = 3 + number_bytes(linear->constant) + number_bytes(linear->time);
    for (uint32_t i = 0; i < linear->nterms; i++)
        bytes += number_bytes(linear->terms[i].column) + number_bytes(linear->terms[i].coefficient);
    return bytes;
}

static void add_rule(struct rulebook *book, const struct rn_rule_desc *desc,
                     const struct place *place)
{
    uint32_t column;
    struct rn_rule rule = {.num = {.constant = desc->constant, .time = desc->time},
                           .den = {.constant = desc->per}};
    if (!find_field(place, desc->field, &column) || book->ruled[column / 8] >> (column % 8) & 1)
        return;
    if (!add_descs(book, place, desc->measurement, desc->num, &rule.num, 0) ||
        !add_descs(book, place, desc->measurement, desc->den, &rule.den, rule.num.nterms))
        return;
    if (desc->per_others)
        rule.den.constant = count_series(book->schema, desc->measurement) - 1;
    else if (rule.den.nterms == 0 && rule.den.constant == 0)
        rule.den.constant = 1;
    size_t bytes = 4 + linear_bytes(&rule.num) + linear_bytes(&rule.den);
    if (bytes > book->bytes_left)
        return;
    rule.column = column;
    book->ruled[column / 8] = (uint8_t)(book->ruled[column / 8] | 1U << column % 8);
    book->bytes_left -= bytes;
    book->next_term += rule.num.nterms + rule.den.nterms;
    book->terms_left -= rule.num.nterms + rule.den.nterms;
    book->rules[book->nrules++] = rule;
}

void rulebook_apply(struct rulebook *book, const struct rn_rule_desc *descs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct place place = {0};
        if (descs[i].time && book->schema->unit_ns != 1000000000)
            continue;
        while (next_series(book->schema, descs[i].measurement, &place))
            if (!descs[i].tag_value || has_tag_value(place.series, descs[i].tag_value))
                add_rule(book, &descs[i], &place);
    }
}

void rulebook_close(struct rulebook *book, struct rn_schema *schema)
{
    schema->rules = book->rules;
    schema->nrules = book->nrules;
    if (rn_schema_check(schema, NULL) < 0)
        schema->nrules = 0;
}
