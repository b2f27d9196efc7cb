// See lines.h.
#include "cli/lines.h"

#include <stdlib.h>
#include <string.h>

int lines_init(struct lines *in, FILE *file, struct rn_err *err)
{
    *in = (struct lines){.file = file, .data = malloc(LINES_MAX)};
    return in->data ? RN_OK : rn_fail(err, RN_ENOMEM, "out of memory");
}

void lines_release(struct lines *in)
{
    free(in->data);
}

enum place { AT_START, IN_COMMENT, IN_SERIES, IN_FIELDS, IN_TEXT };

static enum place place_after(enum place now, char before, char c)
{
    switch (now) {
    case AT_START:
        return c == ' ' || c == '\t' ? AT_START : c == '#' ? IN_COMMENT : IN_SERIES;
    case IN_SERIES:
        return c == ' ' ? IN_FIELDS : IN_SERIES;
    case IN_FIELDS:
        return c == '"' && before == '=' ? IN_TEXT : IN_FIELDS;
    case IN_TEXT:
        return c == '"' ? IN_FIELDS : IN_TEXT;
    case IN_COMMENT:
        break;
    }
    return now;
}

// What a backslash makes mean nothing, as rn_lp_parse has it.
static bool is_escaped(enum place place, char c)
{
    return place == IN_TEXT ? c == '"' || c == '\\' : c == ',' || c == '=' || c == ' ';
}

// Where the newline is that ends the line; len if it is not there yet.
static size_t line_end(const char *text, size_t len)
{
    enum place place = AT_START;
    char before = 0; // escaped characters are none
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' && place != IN_TEXT)
            return i;
        if (text[i] == '\\' && i + 1 < len && is_escaped(place, text[i + 1])) {
            place = place == AT_START ? IN_SERIES : place;
            i++; // the next character means nothing
            before = 0;
            continue;
        }
        place = place_after(place, before, text[i]);
        before = text[i];
    }
    return len;
}

static int refill(struct lines *in, struct rn_err *err)
{
    memmove(in->data, in->data + in->at, in->len - in->at);
    in->len -= in->at;
    in->at = 0;
    in->len += fread(in->data + in->len, 1, LINES_MAX - in->len, in->file);
    in->eof = feof(in->file) != 0;
    return ferror(in->file) ? rn_fail_errno(err, "standard input") : RN_OK;
}

// Leaves out the rest of a line that does not fit.
static int skip_line(struct lines *in, struct rn_err *err)
{
    for (;;) {
        const char *newline = memchr(in->data + in->at, '\n', in->len - in->at);
        in->at = newline ? (size_t)(newline - in->data) + 1 : in->len;
        if (newline || in->eof)
            break;
        int rc = refill(in, err);
        if (rc < 0)
            return rc;
    }
    return rn_fail(err, RN_ELIMIT, "line is longer than %d bytes", LINES_MAX);
}

int lines_next(struct lines *in, char **line, size_t *len, uint64_t *number, struct rn_err *err)
{
    *number = in->number + 1;
    size_t end = line_end(in->data + in->at, in->len - in->at);
    if (end == in->len - in->at && !in->eof) {
        int rc = refill(in, err);
        if (rc < 0)
            return rc;
        end = line_end(in->data, in->len);
        if (end == LINES_MAX) {
            in->number++;
            return skip_line(in, err);
        }
    }
    if (in->at == in->len)
        return 0;
    *line = in->data + in->at;
    *len = end;
    for (size_t i = 0; i < end; i++)
        in->number += (*line)[i] == '\n';
    in->number++;
    in->at += end;
    in->at += in->at < in->len; // the newline
    return 1;
}
