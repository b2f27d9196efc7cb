// Times, and columns: shape, presence, cells. See packed_walk.h.
#include "lib/wire/packed_walk.h"

#include <string.h>

#define UNIT_WORTH 12 // differences times bits of the unit that make it worth its bytes

// ---- times --------------------------------------------------------------------------------------

void code_times(struct packed *c)
{
    int64_t *times = c->grid->times, max = time_max(c->schema);
    uint64_t pace = 0;
    for (uint32_t i = 1; i < c->grid->n && !c->failed; i++) {
        uint64_t before = (uint64_t)times[i - 1];
        int64_t change = (int64_t)((uint64_t)times[i] - before - pace);
        if (c->ranged) {
            change = code_odd(c, ODD_TIME, change);
            put_varint(c, zigzag(change));
        } else {
            change = code_number(c, NULL, change);
        }
        packed_limit(c);
        pace += (uint64_t)change;
        if (c->putting)
            continue;
        times[i] = (int64_t)(before + pace);
        if (times[i] < times[0] || times[i] > max)
            packed_fail(c, RN_EFORMAT, "a time is out of range");
    }
}

// ---- one column's shape -------------------------------------------------------------------------

static void set_due(const struct packed *c, struct line *line)
{
    uint64_t step = c->schema->step, every = line->column->group->every;
    line->first = 0;
    line->stride = 1;
    if (step == 0 || every <= 1)
        return;
    uint64_t late = (uint64_t)c->grid->times[0] / step % every;
    uint64_t first = late ? every - late : 0;
    line->first = first < c->grid->n ? (uint32_t)first : c->grid->n;
    line->stride = (uint32_t)every;
}

static uint32_t count_due(const struct packed *c, const struct line *line)
{
    uint32_t n = c->grid->n;
    return line->first < n ? (n - 1 - line->first) / line->stride + 1 : 0;
}

// The next due tick, n when there is none.
static inline uint32_t next_due(const struct packed *c, const struct line *line, uint32_t tick)
{
    return c->grid->n - tick > line->stride ? tick + line->stride : c->grid->n;
}

// Before the first cell.
static void rewind_line(const struct packed *c, struct line *line)
{
    line->begun = line->number = false;
    line->expected = 0;
    line->before = c->with->base ? (uint64_t)c->with->base->column[line->column->index] : 0;
}

// Numbers are compared by their rests, everything else by itself.
static bool varies(const struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (c->grid->states[at] == RN_CELL_SCALED) {
        uint64_t rest = rest_of(c, line, tick, at);
        bool other = line->begun && (!line->number || rest != line->before);
        line->before = rest;
        line->number = true;
        return other;
    }
    return line->begun && (line->number || !cell_same(c->grid, line->text, at));
}

// Encoding: finds the shape, and refuses what could not be decoded.
static void find_shape(struct packed *c, struct line *line, uint32_t due)
{
    uint32_t present = 0, there = 0;
    const uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column->index, 0);
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        size_t at = rn_grid_at(c->grid, line->column->index, tick);
        if (states[tick] == RN_CELL_MISSING) {
            line->shape |= SHAPE_MISSING;
            continue;
        }
        present++;
        if (!cell_fits(c->grid, line->column->field, at))
            packed_fail(c, RN_EINVAL, "a cell does not fit its field");
        else if (due > 1 && !(line->shape & SHAPE_VARIES) && varies(c, line, tick, at))
            line->shape |= SHAPE_VARIES;
        if (states[tick] == RN_CELL_DOUBLE)
            line->shape |= SHAPE_LITERALS;
        line->text = at;
        line->begun = true;
    }
    for (uint32_t tick = 0; line->stride > 1 && tick < c->grid->n; tick++)
        there += states[tick] != RN_CELL_MISSING;
    if (line->stride > 1 && there != present)
        packed_fail(c, RN_EINVAL, "a cell is there though it is not due");
}

// Whether the column's differences may have a unit that they are all multiples of.
static bool may_have_unit(const struct line *line)
{
    enum rn_type type = line->column->field->type;
    return !line->rule && type != RN_BOOL && type != RN_TEXT;
}

static uint64_t common(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Encoding: pages, sectors, sixteenths of a degree ... Worth it from a few differences on.
static void find_unit(const struct packed *c, struct line *line)
{
    uint64_t unit = 0, before = 0;
    uint32_t moves = 0;
    bool begun = false;
    for (uint32_t tick = line->first; tick < c->grid->n && unit != 1;
         tick = next_due(c, line, tick)) {
        size_t at = rn_grid_at(c->grid, line->column->index, tick);
        if (c->grid->states[at] != RN_CELL_SCALED)
            continue;
        uint64_t value = (uint64_t)c->grid->cells[at].i;
        if (begun && value != before) {
            unit = common(size_of((int64_t)(value - before)), unit);
            moves++;
        }
        before = value;
        begun = true;
    }
    if (unit > 1 && unit <= UINT32_MAX && moves * bits_of(unit) >= UNIT_WORTH) {
        line->shape |= SHAPE_UNIT;
        line->unit = unit;
    }
}

static void code_shape(struct packed *c, struct line *line, uint32_t due)
{
    uint8_t shape = line->shape;
    bool is_float = line->column->field->type == RN_FLOAT;
    if (c->ranged) {
        bool missing = range_bit(c, AT_MISSING + c->last_missing, shape & SHAPE_MISSING);
        bool literals =
            is_float && range_bit(c, AT_LITERALS + c->last_literals, shape & SHAPE_LITERALS);
        uint32_t habit = line->hint.step < 63 ? line->hint.step : 63;
        bool varying = due > 1 && range_bit(c, AT_VARIES + habit, shape & SHAPE_VARIES);
        bool unit = varying && may_have_unit(line) &&
                    range_bit(c, AT_UNITS + c->last_unit, shape & SHAPE_UNIT);
        shape = (uint8_t)((missing ? SHAPE_MISSING : 0) | (literals ? SHAPE_LITERALS : 0) |
                          (varying ? SHAPE_VARIES : 0) | (unit ? SHAPE_UNIT : 0));
    }
    shape = code_byte(c, shape);
    if (shape > 15 || (shape & SHAPE_LITERALS && !is_float) || (shape & SHAPE_VARIES && due < 2) ||
        (shape & SHAPE_UNIT && !(shape & SHAPE_VARIES && may_have_unit(line))))
        packed_fail(c, RN_EFORMAT, "shape does not fit its column");
    if (shape & SHAPE_VARIES && may_have_unit(line))
        c->last_unit = shape & SHAPE_UNIT;
    line->shape = shape;
    c->last_missing = shape & SHAPE_MISSING;
    c->last_literals = shape & SHAPE_LITERALS;
}

static void code_unit(struct packed *c, struct line *line)
{
    uint64_t unit = line->unit;
    if (c->ranged)
        unit = (uint64_t)code_odd(c, ODD_UNIT, (int64_t)unit);
    if (c->ranged || c->putting)
        put_varint(c, unit);
    else
        unit = get_varint(c);
    if (unit < 2 || unit > UINT32_MAX) {
        packed_fail(c, RN_EFORMAT, "a unit is out of range");
        return;
    }
    line->unit = unit;
    int32_t level = line->level - log_of(unit - 1);
    line->level = level < 0 ? 0 : level;
}

static bool present_in_last(const struct packed *c, uint32_t tick)
{
    return c->last_column != UINT32_MAX &&
           c->grid->states[rn_grid_at(c->grid, c->last_column, tick)] != RN_CELL_MISSING;
}

// Decoding marks present cells as what the column's type says; literals come after.
static void code_presence(struct packed *c, const struct line *line)
{
    uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column->index, 0);
    uint8_t mark = line->column->field->type == RN_TEXT ? RN_CELL_TEXT : RN_CELL_SCALED;
    struct bit_run run = {0};
    bool present = true;
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        if (line->shape & SHAPE_MISSING) {
            uint32_t at = AT_PRESENT + 2U * present_in_last(c, tick) + present;
            present = code_bit(c, &run, at, states[tick] != RN_CELL_MISSING);
        }
        if (!c->putting)
            states[tick] = present ? mark : RN_CELL_MISSING;
    }
    end_bits(c, &run);
}

// One bit for each value that is written: is it a literal?
static void code_literals(struct packed *c, const struct line *line)
{
    uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column->index, 0);
    struct bit_run run = {0};
    bool literal = false;
    for (uint32_t tick = line->first; tick < c->grid->n; tick = next_due(c, line, tick)) {
        if (states[tick] == RN_CELL_MISSING)
            continue;
        literal = code_bit(c, &run, AT_LITERAL + literal, states[tick] == RN_CELL_DOUBLE);
        if (!c->putting)
            states[tick] = literal ? RN_CELL_DOUBLE : RN_CELL_SCALED;
        if (!(line->shape & SHAPE_VARIES))
            break;
    }
    end_bits(c, &run);
}

// ---- columns ------------------------------------------------------------------------------------

static void code_cell(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    uint8_t state = c->grid->states[at];
    if (state == RN_CELL_SCALED)
        code_cell_number(c, line, tick, at);
    else if (state == RN_CELL_DOUBLE)
        code_cell_literal(c, line, at);
    else
        code_cell_text(c, line, tick, at);
    line->text = at;
    line->begun = true;
}

// Decoding: a further cell of a column that does not vary.
static void repeat_cell(struct packed *c, struct line *line, uint32_t tick, size_t at)
{
    if (c->putting)
        return;
    if (line->number && line->rule) {
        (void)rest_of(c, line, tick, at);
        set_number(c, line, at);
    } else {
        copy_cell(c->grid, at, line->text);
    }
}

static void code_values(struct packed *c, struct line *line)
{
    const uint8_t *states = c->grid->states + rn_grid_at(c->grid, line->column->index, 0);
    for (uint32_t tick = line->first; tick < c->grid->n && !c->failed;
         tick = next_due(c, line, tick)) {
        size_t at = rn_grid_at(c->grid, line->column->index, tick);
        if (states[tick] == RN_CELL_MISSING)
            continue;
        packed_limit(c);
        if (line->begun && !(line->shape & SHAPE_VARIES))
            repeat_cell(c, line, tick, at);
        else
            code_cell(c, line, tick, at);
    }
}

// Without hints: as the same field of the series before was, or a guess for the first series.
static struct rn_hint usual(const struct packed *c, const struct line *line)
{
    const struct rn_field *field = line->column->field;
    if (c->with->hints)
        return c->with->hints->column[line->column->index];
    if (line->rule)
        return (struct rn_hint){0, 2};
    if (line->column->series > 0 && c->model)
        return c->model->learned[line->column->position % MODEL_LEARNED];
    if (field->type == RN_BOOL || field->kind == RN_STATE)
        return (struct rn_hint){1, 0};
    return field->kind == RN_COUNTER ? (struct rn_hint){24, 16} : (struct rn_hint){12, 8};
}

static void learn_column(struct packed *c, const struct line *line)
{
    if (!c->model || line->rule)
        return;
    bool varies_on = line->shape & SHAPE_VARIES;
    uint8_t *step = &c->model->learned[line->column->position % MODEL_LEARNED].step;
    *step = varies_on ? (uint8_t)((line->level + log_of(line->unit - 1) + 64) >> 7) : 0;
}

// What a rule takes is bounded as what is read and coded is.
static void count_rule(struct packed *c, const struct rn_rule *rule, uint32_t due)
{
    uint32_t cost = due * (RULE_COST + rule->num.nterms + rule->den.nterms);
    if (!c->ranged)
        packed_take_plain(c, cost);
    else if (c->putting)
        c->range_out.steps += cost;
    else
        c->range_in.steps += cost;
    packed_limit(c);
}

static void code_column(struct packed *c, const struct column *column, const struct rn_rule *rule)
{
    struct line line = {.column = column, .rule = rule, .unit = 1};
    set_due(c, &line);
    uint32_t due = count_due(c, &line);
    if (rule)
        count_rule(c, rule, due);
    if (due == 0 || c->failed)
        return;
    c->ntexts = 0;
    line.hint = usual(c, &line);
    if (c->model && column->series == 0 && !rule)
        c->model->learned[column->position % MODEL_LEARNED] = line.hint;
    line.level = line.hint.step * 128;
    rewind_line(c, &line);
    if (c->putting) {
        find_shape(c, &line, due);
        rewind_line(c, &line);
    }
    if (c->putting && line.shape & SHAPE_VARIES && may_have_unit(&line))
        find_unit(c, &line);
    code_shape(c, &line, due);
    if (line.shape & SHAPE_UNIT)
        code_unit(c, &line);
    code_presence(c, &line);
    if (line.shape & SHAPE_LITERALS)
        code_literals(c, &line);
    code_values(c, &line);
    learn_column(c, &line);
    c->last_column = column->index;
}

static bool is_ruled(const struct packed *c, uint32_t column)
{
    return c->ruled[column / 8] >> (column % 8) & 1;
}

// First the columns without a rule, then those with one, as the rules come.
void code_columns(struct packed *c)
{
    const struct rn_schema *schema = c->schema;
    for (uint32_t i = 0; i < schema->nrules; i++) {
        uint32_t column = schema->rules[i].column;
        c->ruled[column / 8] = (uint8_t)(c->ruled[column / 8] | 1U << column % 8);
    }
    if (!schema->step)
        code_times(c);
    struct walk walk = {.schema = schema};
    struct column column;
    while (!c->failed && walk_next(&walk, &column))
        if (!is_ruled(c, column.index))
            code_column(c, &column, NULL);
    struct finder finder;
    if (schema->nrules)
        finder_init(&finder, schema);
    for (uint32_t i = 0; i < schema->nrules && !c->failed; i++)
        if (find_column(&finder, schema->rules[i].column, &column))
            code_column(c, &column, &schema->rules[i]);
}
