// See runnel/window.h.
//
// Rows: one per tick, `stride` cells wide; a column is a place in the row and belongs to one field
// of one series. A cut turns rows into the grid's columns, in the schema's order. The grid's cells
// are a second area; its times and text bytes are the window's own.
#include <runnel/window.h>

#include "lib/model/dict.h"
#include "lib/model/rulebook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Bounds of the encoded batch: what a cell, a time and the rest may take in encoding 0.
enum { CELL_BYTES = 10, TIME_BYTES = 9, REST_BYTES = 8192 };
#define OUTSIDE_DECIMALS 9 // a double from outside is kept scaled with at most so many

struct rn_window {
    struct rn_window_conf conf;
    struct dict dict;
    uint32_t n; // ticks
    int64_t *times;
    union rn_cell *cells;
    uint8_t *states;
    uint32_t stride, cap_ticks; // of the rows allocated
    uint8_t *text;
    uint32_t text_len, text_cap;
    uint32_t tick_text;     // text bytes when the tick began
    uint32_t tick_text_max; // most that a tick has taken so far
    uint64_t samples, refused;
    bool full;       // something was refused for want of room: cut before the next tick
    int32_t *places; // scratch of one point: position of each value's field
    uint32_t cap_places;
    struct rn_grid grid;
    size_t cap_grid;
    struct rulebook *rules; // of the last schema
    struct {
        const struct rn_rule_desc *rules;
        size_t count;
    } tables[RN_WINDOW_RULE_TABLES];
    size_t ntables;
};

int rn_window_new(struct rn_window **out, const struct rn_window_conf *conf, struct rn_err *err)
{
    if (!conf->max_columns || conf->max_columns > RN_SCHEMA_MAX_COLUMNS || !conf->max_ticks ||
        conf->max_ticks > RN_BATCH_MAX_CELLS || conf->max_text > RN_BATCH_MAX_BYTES / 2 ||
        !conf->unit_ns || conf->step > INT64_MAX / conf->unit_ns)
        return rn_fail(err, RN_EINVAL, "a window's bounds are out of range");
    struct rn_window *window = calloc(1, sizeof *window);
    if (!window)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    window->conf = *conf;
    int rc = dict_init(&window->dict, conf->unit_ns, conf->step, conf->max_columns, err);
    if (rc < 0) {
        rn_window_free(window);
        return rc;
    }
    *out = window;
    return RN_OK;
}

void rn_window_free(struct rn_window *window)
{
    if (!window)
        return;
    free(window->rules);
    dict_release(&window->dict);
    free(window->times);
    free(window->cells);
    free(window->states);
    free(window->text);
    free(window->places);
    free(window->grid.cells);
    free(window->grid.states);
    free(window);
}

uint32_t rn_window_ticks(const struct rn_window *window)
{
    return window->n;
}

uint64_t rn_window_samples(const struct rn_window *window)
{
    return window->samples;
}

uint64_t rn_window_refused(const struct rn_window *window)
{
    return window->refused;
}

// ---- rows --------------------------------------------------------------------------------------

// Rows for so many ticks and columns; what is there is moved.
static int rows_reserve(struct rn_window *w, uint32_t ticks, uint32_t columns)
{
    if (ticks <= w->cap_ticks && columns <= w->stride)
        return RN_OK;
    uint32_t stride = w->stride, cap = w->cap_ticks;
    if (columns > stride)
        stride = columns + columns / 4 + 8;
    while (cap < ticks)
        cap = cap ? cap * 2 : 8;
    size_t area = (size_t)cap * stride;
    int64_t *times = calloc(cap, sizeof *times);
    union rn_cell *cells = calloc(area, sizeof *cells);
    uint8_t *states = calloc(area, 1);
    if (!times || !cells || !states) {
        free(times);
        free(cells);
        free(states);
        return RN_ENOMEM;
    }
    for (uint32_t row = 0; row < w->n; row++) {
        times[row] = w->times[row];
        memcpy(cells + (size_t)row * stride, w->cells + (size_t)row * w->stride,
               w->stride * sizeof *cells);
        memcpy(states + (size_t)row * stride, w->states + (size_t)row * w->stride, w->stride);
    }
    free(w->times);
    free(w->cells);
    free(w->states);
    w->times = times;
    w->cells = cells;
    w->states = states;
    w->stride = stride;
    w->cap_ticks = cap;
    return RN_OK;
}

static uint64_t bytes_bound(const struct rn_window *w, uint64_t ticks, uint64_t samples)
{
    return REST_BYTES + samples * CELL_BYTES + w->text_len +
           ticks * (w->conf.step ? 0 : TIME_BYTES);
}

// True if the window can hold so many ticks with every known column filled in the last of them.
static bool ticks_fit(const struct rn_window *w, uint64_t ticks)
{
    uint64_t columns = w->dict.ncolumns ? w->dict.ncolumns : 1;
    return ticks <= w->conf.max_ticks && ticks * columns <= RN_BATCH_MAX_CELLS &&
           bytes_bound(w, ticks, w->samples + columns) <= RN_BATCH_MAX_BYTES &&
           (uint64_t)w->text_len + w->tick_text_max <= w->conf.max_text;
}

static int start_row(struct rn_window *w, int64_t t, struct rn_err *err)
{
    if (rows_reserve(w, w->n + 1, w->dict.ncolumns) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    w->times[w->n] = t;
    memset(w->states + (size_t)w->n * w->stride, RN_CELL_MISSING, w->stride);
    w->n++;
    return RN_OK;
}

int rn_window_tick(struct rn_window *w, int64_t t, struct rn_err *err)
{
    int64_t step = (int64_t)w->conf.step;
    if (t < 0 || t > INT64_MAX / (int64_t)w->conf.unit_ns)
        return rn_fail(err, RN_EINVAL, "time %lld is before 1970 or after 2262", (long long)t);
    if (step && t % step)
        return rn_fail(err, RN_EINVAL, "time %lld is not a multiple of the step %lld", (long long)t,
                       (long long)step);
    if (!w->n)
        return start_row(w, t, err);
    int64_t last = w->times[w->n - 1];
    if (t <= last)
        return rn_fail(err, RN_EINVAL, "time %lld is not after %lld", (long long)t,
                       (long long)last);
    uint64_t more = step ? (uint64_t)((t - last) / step) : 1;
    if (w->full || more > w->conf.max_ticks || !ticks_fit(w, w->n + more))
        return rn_fail(err, RN_ELIMIT, "the window is full");
    if (w->text_len - w->tick_text > w->tick_text_max)
        w->tick_text_max = w->text_len - w->tick_text;
    w->tick_text = w->text_len;
    int rc = RN_OK;
    for (uint64_t i = 1; rc == RN_OK && i <= more; i++)
        rc = start_row(w, i == more ? t : last + (int64_t)i * step, err);
    return rc;
}

// ---- values ------------------------------------------------------------------------------------

// One value on its way in, whoever brings it.
struct incoming {
    struct rn_field field;
    bool outside; // FLOAT: the value is .d, not yet scaled
    int64_t i;
    double d;
    struct rn_span text;
};

// A point on its way in: `get` reads its values one by one.
struct arrival {
    struct dict_id id;
    const void *values;
    uint32_t nvalues;
    void (*get)(const void *values, uint32_t index, struct incoming *out);
};

static void get_declared(const void *values, uint32_t index, struct incoming *out)
{
    const struct rn_point_value *value = (const struct rn_point_value *)values + index;
    const struct rn_field_desc *desc = value->field;
    *out = (struct incoming){
        .field = {.name = rn_span_text(desc->name),
                  .type = desc->type,
                  .kind = desc->kind,
                  .decimals = desc->decimals,
                  .mul = desc->mul ? desc->mul : 1,
                  .unit = rn_span_text(desc->unit ? desc->unit : "")},
        .i = value->scaled,
        .text = value->text,
    };
}

static void get_outside(const void *values, uint32_t index, struct incoming *out)
{
    const struct rn_named_value *named = (const struct rn_named_value *)values + index;
    const struct rn_value *value = &named->value;
    *out = (struct incoming){
        .field = {.name = named->name, .type = value->type, .mul = 1},
        .outside = true,
    };
    switch (value->type) {
    case RN_INT:
        out->i = value->i;
        break;
    case RN_UINT:
        out->i = (int64_t)value->u;
        break;
    case RN_FLOAT:
        out->d = value->d;
        break;
    case RN_BOOL:
        out->i = value->b;
        break;
    case RN_TEXT:
        out->text = value->text;
        break;
    }
}

// NULL, or why this value can never be kept.
static const char *unfit(const struct incoming *in)
{
    const struct rn_field *f = &in->field;
    int64_t product;
    uint64_t unsigned_product;
    if (f->type == RN_TEXT) {
        if (in->text.len > RN_TEXT_MAX)
            return "text is over 65535 bytes; split it";
        return rn_utf8_valid(in->text.data, in->text.len) ? NULL : "text is not UTF-8";
    }
    if (f->type == RN_FLOAT && in->outside)
        return isfinite(in->d) ? NULL : "number is not finite";
    if (f->mul == 1)
        return NULL;
    bool over = f->type == RN_UINT
                    ? __builtin_mul_overflow((uint64_t)in->i, f->mul, &unsigned_product)
                    : __builtin_mul_overflow(in->i, f->mul, &product);
    return over ? "number is out of range" : NULL;
}

// May the value go into the column of this field?
static bool agrees(const struct dict_field *known, const struct incoming *in)
{
    const struct rn_field *f = &known->field, *g = &in->field;
    if (f->type != g->type)
        return false;
    if (in->outside)
        return f->type == RN_FLOAT || f->mul == 1;
    return !known->outside && f->kind == g->kind && f->decimals == g->decimals &&
           f->mul == g->mul && rn_span_eq(f->unit, g->unit);
}

static double value_of(int64_t scaled, uint8_t decimals)
{
    struct rn_grid one = {
        .n = 1, .cells = &(union rn_cell){.i = scaled}, .states = &(uint8_t){RN_CELL_SCALED}};
    struct rn_field field = {.type = RN_FLOAT, .decimals = decimals, .mul = 1};
    struct rn_value value = {.d = 0};
    return rn_grid_value(&one, &field, 0, 0, &value) ? value.d : 0;
}

// The cell of a column rescaled by 10^more, if it keeps its value (beyond 2^53 it may not).
static bool rescaled(int64_t scaled, uint8_t decimals, uint8_t more, int64_t *out)
{
    int64_t factor = 1;
    for (uint8_t i = 0; i < more; i++)
        factor *= 10;
    return !__builtin_mul_overflow(scaled, factor, out) &&
           value_of(scaled, decimals) == value_of(*out, (uint8_t)(decimals + more));
}

// Visits all scaled cells of a field in the window; with `apply` rescales them, else only checks.
static bool rescale_cells(struct rn_window *w, const struct dict_field *field, uint8_t more,
                          bool apply)
{
    for (uint32_t s = 0; s < w->dict.nseries; s++) {
        const struct dict_series *series = w->dict.series[s];
        int at = series->values ? dict_position(series, field->field.name, 0) : -1;
        if (at < 0 || series->group->fields[at] != field)
            continue;
        for (uint32_t row = 0; row < w->n; row++) {
            size_t cell = (size_t)row * w->stride + series->column[at];
            int64_t scaled;
            if (w->states[cell] != RN_CELL_SCALED)
                continue;
            if (!rescaled(w->cells[cell].i, field->field.decimals, more, &scaled))
                return false;
            if (apply)
                w->cells[cell].i = scaled;
        }
    }
    return true;
}

// The value needs more decimals than its field has: gives the field as many if every value of it in
// the window can follow. Otherwise its decimals stay for the rest of the window.
static bool raise_decimals(struct rn_window *w, struct dict_field *field, double value,
                           int64_t *scaled)
{
    if (!field->outside || field->settled)
        return false;
    for (uint8_t d = (uint8_t)(field->field.decimals + 1); d <= OUTSIDE_DECIMALS; d++) {
        if (!rn_scale_double(value, d, 1, scaled))
            continue;
        uint8_t more = (uint8_t)(d - field->field.decimals);
        if (!rescale_cells(w, field, more, false)) {
            field->settled = true;
            return false;
        }
        rescale_cells(w, field, more, true);
        field->field.decimals = d;
        w->dict.changed = true;
        return true;
    }
    return false;
}

static void store(struct rn_window *w, struct dict_series *series, uint32_t position,
                  const struct incoming *in)
{
    struct dict_field *field = series->group->fields[position];
    size_t at = (size_t)(w->n - 1) * w->stride + series->column[position];
    if (w->states[at] == RN_CELL_MISSING) {
        w->samples++;
        series->values++;
    }
    w->states[at] = RN_CELL_SCALED;
    if (in->field.type == RN_TEXT) {
        w->cells[at].text = (struct rn_cell_text){w->text_len, (uint32_t)in->text.len};
        w->states[at] = RN_CELL_TEXT;
        if (in->text.len)
            memcpy(w->text + w->text_len, in->text.data, in->text.len);
        w->text_len += (uint32_t)in->text.len;
    } else if (in->field.type != RN_FLOAT || !in->outside) {
        w->cells[at].i = in->i;
    } else {
        w->states[at] = RN_CELL_MISSING; // not among those that a raise rescales
        int64_t scaled;
        bool exact = rn_scale_double(in->d, field->field.decimals, field->field.mul, &scaled) ||
                     raise_decimals(w, field, in->d, &scaled);
        w->states[at] = exact ? RN_CELL_SCALED : RN_CELL_DOUBLE;
        if (exact)
            w->cells[at].i = scaled;
        else
            w->cells[at].d = in->d;
    }
}

// ---- points ------------------------------------------------------------------------------------

enum { PLACE_NEW = -1, PLACE_REFUSED = -2 };

// What a point needs beyond what is there.
struct need {
    uint32_t fields; // new ones
    size_t names;    // bytes of their names and units
    uint32_t text;
    uint32_t refused;
};

static int32_t place_of(const struct dict_series *series, const struct incoming *in, uint32_t hint,
                        const char **why)
{
    *why = unfit(in);
    if (*why)
        return PLACE_REFUSED;
    int at = series ? dict_position(series, in->field.name, hint) : -1;
    if (at >= 0) {
        if (agrees(series->group->fields[at], in))
            return at;
        *why = "field had another type, unit or scale so far";
        return PLACE_REFUSED;
    }
    if (rn_field_check(&in->field, NULL) < 0) {
        *why = "bad field name, type or unit";
        return PLACE_REFUSED;
    }
    return PLACE_NEW;
}

// Finds each value's place and sums up what the point needs; fills w->places.
static struct need survey(struct rn_window *w, const struct arrival *from,
                          const struct dict_series *series, struct rn_err *err)
{
    struct need need = {0};
    uint32_t hint = 0;
    for (uint32_t i = 0; i < from->nvalues; i++) {
        struct incoming in;
        const char *why;
        from->get(from->values, i, &in);
        w->places[i] = place_of(series, &in, hint, &why);
        if (w->places[i] == PLACE_REFUSED) {
            need.refused++;
            (void)rn_fail(err, RN_EINVAL, "%.*s: %s", (int)in.field.name.len,
                          (const char *)in.field.name.data, why);
            continue;
        }
        if (w->places[i] == PLACE_NEW) {
            need.fields++;
            need.names += in.field.name.len + in.field.unit.len;
        } else {
            hint = (uint32_t)w->places[i] + 1;
        }
        if (in.field.type == RN_TEXT)
            need.text += (uint32_t)in.text.len;
    }
    return need;
}

static int text_reserve(struct rn_window *w, uint32_t more)
{
    if (w->text_len + more <= w->text_cap)
        return RN_OK;
    uint32_t cap = w->text_cap ? w->text_cap : 256;
    while (cap < w->text_len + more)
        cap *= 2;
    uint8_t *grown = realloc(w->text, cap);
    if (!grown)
        return RN_ENOMEM;
    w->text = grown;
    w->text_cap = cap;
    return RN_OK;
}

// Is there room in this window, and in the memory that it may take?
static int make_room(struct rn_window *w, const struct arrival *from,
                     const struct dict_series *series, const struct need *need, struct rn_err *err)
{
    uint64_t columns = (uint64_t)w->dict.ncolumns + need->fields;
    if (need->fields && !dict_has_room(&w->dict, &from->id, series, need->fields, need->names))
        return rn_fail(err, RN_ELIMIT, "no room for more columns");
    if (columns * w->n > RN_BATCH_MAX_CELLS ||
        bytes_bound(w, w->n, w->samples + from->nvalues) + need->text > RN_BATCH_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "no room for more values");
    if ((uint64_t)w->text_len + need->text > w->conf.max_text)
        return rn_fail(err, RN_ELIMIT, "no room for more text");
    if (rows_reserve(w, w->n, (uint32_t)columns) < 0 || text_reserve(w, need->text) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    return RN_OK;
}

static int places_reserve(struct rn_window *w, uint32_t count)
{
    if (count <= w->cap_places)
        return RN_OK;
    int32_t *grown = realloc(w->places, count * sizeof *grown);
    if (!grown)
        return RN_ENOMEM;
    w->places = grown;
    w->cap_places = count;
    return RN_OK;
}

// Stores the values that have a place; a new field gets its column first. Returns how many were
// refused after all (out of memory, or named twice with different types).
static uint32_t settle(struct rn_window *w, const struct arrival *from, struct dict_series *series,
                       struct rn_err *err)
{
    uint32_t refused = 0;
    for (uint32_t i = 0; i < from->nvalues; i++) {
        struct incoming in;
        const char *why = "out of memory";
        int32_t place = w->places[i];
        if (place == PLACE_REFUSED)
            continue;
        from->get(from->values, i, &in);
        // A list grows while it is walked: look again, the same new name may occur twice.
        if (place == PLACE_NEW)
            place = place_of(series, &in, i, &why);
        else if (!series->group || (uint32_t)place >= series->group->nfields ||
                 !rn_span_eq(series->group->fields[place]->field.name, in.field.name))
            place = dict_position(series, in.field.name, 0);
        if (place == PLACE_NEW &&
            dict_extend(&w->dict, series, &in.field, in.outside, err) == RN_OK)
            place = dict_position(series, in.field.name, series->group->nfields - 1);
        if (place < 0) {
            refused++;
            (void)rn_fail(err, RN_EINVAL, "%s", why ? why : "out of memory");
            continue;
        }
        store(w, series, (uint32_t)place, &in);
    }
    return refused;
}

// Takes a whole point. RN_ELIMIT, RN_ENOMEM, RN_ESTATE: nothing of it; RN_EINVAL: not all of it.
// *refused: how many values were not taken.
static int take(struct rn_window *w, const struct arrival *from, uint32_t *refused,
                struct rn_err *err)
{
    *refused = from->nvalues;
    if (!w->n)
        return rn_fail(err, RN_ESTATE, "no tick was started");
    if (!rn_tick_due((uint64_t)w->times[w->n - 1], w->conf.step, from->id.every))
        return rn_fail(err, RN_EINVAL, "not due at this tick");
    if (places_reserve(w, from->nvalues) < 0)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    struct dict_series *series = dict_find(&w->dict, &from->id);
    struct need need = survey(w, from, series, err);
    if (need.refused == from->nvalues)
        return from->nvalues ? RN_EINVAL : RN_OK;
    int rc = make_room(w, from, series, &need, err);
    if (rc == RN_OK && !series)
        rc = dict_add(&w->dict, &from->id, &series, err);
    if (rc < 0)
        return rc;
    *refused = need.refused + settle(w, from, series, err);
    return *refused ? RN_EINVAL : RN_OK;
}

// For callers that cannot cut now: what is not taken is counted.
static void take_or_count(struct rn_window *w, const struct arrival *from)
{
    uint32_t refused;
    if (take(w, from, &refused, NULL) == RN_ELIMIT)
        w->full = true;
    w->refused += refused;
}

void rn_window_add(struct rn_window *window, const struct rn_point *point, uint32_t every)
{
    struct arrival from = {
        .id = {rn_span_text(point->measurement), point->tags, point->ntags, every ? every : 1},
        .values = point->values,
        .nvalues = point->nvalues,
        .get = get_declared,
    };
    take_or_count(window, &from);
}

static struct arrival arrival_outside(struct rn_span measurement, const struct rn_tag *tags,
                                      uint32_t ntags, const struct rn_named_value *values,
                                      uint32_t nvalues)
{
    return (struct arrival){.id = {measurement, tags, ntags, 1},
                            .values = values,
                            .nvalues = nvalues,
                            .get = get_outside};
}

void rn_window_add_double(struct rn_window *window, const char *measurement,
                          const struct rn_tag *tags, uint32_t ntags, const char *field,
                          double value)
{
    struct rn_named_value named = {rn_span_text(field), {.type = RN_FLOAT, .d = value}};
    struct arrival from = arrival_outside(rn_span_text(measurement), tags, ntags, &named, 1);
    take_or_count(window, &from);
}

int rn_window_add_values(struct rn_window *window, struct rn_span measurement,
                         const struct rn_tag *tags, uint32_t ntags,
                         const struct rn_named_value *values, uint32_t nvalues, struct rn_err *err)
{
    struct arrival from = arrival_outside(measurement, tags, ntags, values, nvalues);
    uint32_t refused;
    int rc = take(window, &from, &refused, err);
    if (rc != RN_ELIMIT)
        window->refused += refused;
    return rc;
}

// ---- cut ---------------------------------------------------------------------------------------

// Without memory for them, a schema has no rules: they only save bytes.
static void make_rules(struct rn_window *w)
{
    size_t room = RN_SCHEMA_MAX_BYTES - w->dict.names_bytes;
    free(w->rules);
    w->rules = w->ntables ? rulebook_open(&w->dict.schema, room) : NULL;
    for (size_t i = 0; w->rules && i < w->ntables; i++)
        rulebook_apply(w->rules, w->tables[i].rules, w->tables[i].count);
    if (w->rules)
        rulebook_close(w->rules, &w->dict.schema);
}

int rn_window_add_rules(struct rn_window *window, const struct rn_rule_desc *rules, size_t count)
{
    if (window->ntables == RN_WINDOW_RULE_TABLES)
        return RN_ELIMIT;
    window->tables[window->ntables].rules = rules;
    window->tables[window->ntables++].count = count;
    return RN_OK;
}

static int grid_reserve(struct rn_window *w, size_t cells, struct rn_err *err)
{
    if (cells <= w->cap_grid)
        return RN_OK;
    union rn_cell *grown = malloc(cells * sizeof *grown);
    uint8_t *states = malloc(cells);
    if (!grown || !states) {
        free(grown);
        free(states);
        return rn_fail(err, RN_ENOMEM, "out of memory");
    }
    free(w->grid.cells);
    free(w->grid.states);
    w->grid.cells = grown;
    w->grid.states = states;
    w->cap_grid = cells;
    return RN_OK;
}

static void fill_column(struct rn_window *w, uint32_t from, uint32_t to)
{
    union rn_cell *cells = w->grid.cells + (size_t)to * w->n;
    uint8_t *states = w->grid.states + (size_t)to * w->n;
    for (uint32_t row = 0; row < w->n; row++) {
        size_t at = (size_t)row * w->stride + from;
        cells[row] = w->cells[at];
        states[row] = w->states[at];
    }
}

int rn_window_cut(struct rn_window *w, const struct rn_schema **schema, const struct rn_grid **grid,
                  bool *schema_changed, struct rn_err *err)
{
    if (!w->samples)
        return rn_fail(err, RN_ENOENT, "there is no value in the window");
    bool changed;
    int rc = dict_schema(&w->dict, &changed, err);
    if (rc == RN_OK && changed)
        make_rules(w);
    if (rc == RN_OK)
        rc = grid_reserve(w, (size_t)w->n * w->dict.schema.ncolumns, err);
    if (rc < 0)
        return rc;
    w->grid.n = w->n;
    w->grid.ncolumns = w->dict.schema.ncolumns;
    w->grid.times = w->times;
    w->grid.text = w->text;
    w->grid.text_len = w->text_len;
    w->grid.text_cap = w->text_len;
    for (uint32_t s = 0; s < w->dict.nseries; s++) {
        const struct dict_series *series = w->dict.series[s];
        for (uint32_t f = 0; series->group && f < series->group->nfields; f++)
            fill_column(w, series->column[f], series->base + f);
    }
    *schema = &w->dict.schema;
    *grid = &w->grid;
    *schema_changed = changed;
    return RN_OK;
}

void rn_window_clear(struct rn_window *w)
{
    if (w->n)
        dict_sweep(&w->dict);
    w->n = 0;
    w->text_len = 0;
    w->tick_text = 0;
    w->samples = 0;
    w->full = false;
}
