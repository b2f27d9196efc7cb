// See replay.h.
#include "bridge/replay.h"

#include <runnel/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 262144 // a text of 65,535 quotes, and names, fit

// Everything that the run points to, in one piece. The line's bytes carry names and texts.
struct made {
    struct replay_run out;
    struct rn_schema schema;
    struct rn_group group;
    struct rn_series series;
    struct rn_grid grid;
    struct rn_lp_line line;
    struct rn_field field[RN_LP_MAX_FIELDS];
    char dev[40];
    char *text; // behind the cells
    uint8_t cells[] __attribute__((aligned(8)));
};

static void make_schema(struct made *m)
{
    for (uint32_t i = 0; i < m->line.nfields; i++)
        m->field[i] = (struct rn_field){
            .name = m->line.fields[i].name, .type = m->line.fields[i].value.type, .mul = 1};
    m->series = (struct rn_series){m->line.tags, m->line.ntags};
    m->group = (struct rn_group){.measurement = m->line.measurement,
                                 .every = 1,
                                 .fields = m->field,
                                 .nfields = m->line.nfields,
                                 .series = &m->series,
                                 .nseries = 1};
    m->schema = (struct rn_schema){
        .unit_ns = 1, .groups = &m->group, .ngroups = 1, .ncolumns = m->line.nfields};
}

static int make_grid(struct made *m, uint32_t text_cap, size_t size, struct rn_err *err)
{
    int rc = rn_grid_init(&m->grid, 1, m->line.nfields, text_cap, m->cells, size, err);
    if (rc < 0)
        return rc;
    m->grid.times[0] = m->line.time_ns;
    for (uint32_t i = 0; i < m->line.nfields && rc == RN_OK; i++) {
        const struct rn_value *value = &m->line.fields[i].value;
        union rn_cell *cell = &m->grid.cells[i];
        m->grid.states[i] = value->type == RN_FLOAT ? RN_CELL_DOUBLE : RN_CELL_SCALED;
        switch (value->type) {
        case RN_INT:
            cell->i = value->i;
            break;
        case RN_UINT:
            cell->i = (int64_t)value->u;
            break;
        case RN_FLOAT:
            cell->d = value->d;
            break;
        case RN_BOOL:
            cell->i = value->b;
            break;
        case RN_TEXT:
            rc = rn_grid_set_text(&m->grid, i, 0, value->text);
            break;
        }
    }
    return rc;
}

int replay_run_new(struct replay_run **out, const struct dead_letter *letter, struct rn_err *err)
{
    if (letter->body.len >= LINE_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "a line of %zu bytes", letter->body.len);
    uint32_t len = (uint32_t)letter->body.len;
    size_t cells = rn_grid_bytes(1, RN_LP_MAX_FIELDS, len);
    struct made *m = calloc(1, sizeof *m + cells + len + 1);
    if (!m)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    m->text = (char *)m->cells + cells;
    if (len)
        memcpy(m->text, letter->body.data, len);
    int rc = rn_lp_parse(m->text, len, &m->line, err);
    if (rc == RN_OK && !m->line.has_time)
        rc = rn_fail(err, RN_EFORMAT, "the line has no time");
    if (rc == RN_OK) {
        make_schema(m);
        rc = make_grid(m, len, cells, err);
    }
    if (rc < 0) {
        free(m);
        return rc;
    }
    snprintf(m->dev, sizeof m->dev, "%s", letter->dev);
    m->out.letter = letter->id;
    m->out.run = (struct rn_run){.dev = m->dev,
                                 .install = letter->install,
                                 .seq = letter->seq,
                                 .type = letter->type,
                                 .received_ms = letter->time_ms,
                                 .schema = &m->schema,
                                 .grid = &m->grid};
    *out = &m->out;
    return RN_OK;
}
