// Line protocol in, see runnel/text.h. One pass over the line; names and texts are unescaped where
// they stand, since what is written is never longer than what was read.
#include <runnel/text.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 128 // characters of a number

struct scan {
    char *at, *end;
    struct rn_err *err;
};

static bool among(char c, const char *set)
{
    return c && strchr(set, c);
}

static void skip_blanks(struct scan *in)
{
    while (in->at < in->end && among(*in->at, " \t"))
        in->at++;
}

// Reads a name up to an unescaped character of `stops`, which is consumed and returned; 0 at the
// end of the line. A backslash before a character of `escaped` is taken off.
static char scan_name(struct scan *in, const char *stops, const char *escaped, struct rn_span *out)
{
    char *to = in->at, stop = 0;
    out->data = (const uint8_t *)to;
    while (in->at < in->end) {
        char c = *in->at++;
        if (c == '\\' && in->at < in->end && among(*in->at, escaped)) {
            c = *in->at++;
        } else if (among(c, stops)) {
            stop = c;
            break;
        }
        *to++ = c;
    }
    out->len = (size_t)(to - (const char *)out->data);
    return stop;
}

// ---- tags --------------------------------------------------------------------------------------

static int insert_tag(struct rn_lp_line *line, struct rn_tag tag, struct rn_err *err)
{
    if (line->ntags == RN_SCHEMA_MAX_TAGS)
        return rn_fail(err, RN_ELIMIT, "more than %d tags", RN_SCHEMA_MAX_TAGS);
    uint32_t at = line->ntags;
    for (; at > 0; at--) {
        int order = rn_span_cmp(line->tags[at - 1].key, tag.key);
        if (order == 0)
            return rn_fail(err, RN_EFORMAT, "a tag occurs twice");
        if (order < 0)
            break;
        line->tags[at] = line->tags[at - 1];
    }
    line->tags[at] = tag;
    line->ntags++;
    return RN_OK;
}

// Measurement and tags, with the space behind them.
static int scan_series(struct scan *in, struct rn_lp_line *line)
{
    char stop = scan_name(in, ", ", ", ", &line->measurement);
    if (!line->measurement.len)
        return rn_fail(in->err, RN_EFORMAT, "no measurement");
    while (stop == ',') {
        struct rn_tag tag;
        if (scan_name(in, "=, ", "=, ", &tag.key) != '=' || !tag.key.len)
            return rn_fail(in->err, RN_EFORMAT, "a tag is not key=value");
        stop = scan_name(in, ", =", "=, ", &tag.value);
        if (stop == '=')
            return rn_fail(in->err, RN_EFORMAT, "an equals sign in a tag value is not escaped");
        if (!tag.value.len)
            return rn_fail(in->err, RN_EFORMAT, "a tag value is empty");
        int rc = insert_tag(line, tag, in->err);
        if (rc < 0)
            return rc;
    }
    return stop == ' ' ? RN_OK : rn_fail(in->err, RN_EFORMAT, "no fields");
}

// ---- values ------------------------------------------------------------------------------------

// Behind the opening quote.
static int scan_text(struct scan *in, struct rn_span *out)
{
    char *to = in->at;
    out->data = (const uint8_t *)to;
    while (in->at < in->end) {
        char c = *in->at++;
        if (c == '"') {
            out->len = (size_t)(to - (const char *)out->data);
            return RN_OK;
        }
        if (c == '\\' && in->at < in->end && among(*in->at, "\"\\"))
            c = *in->at++;
        *to++ = c;
    }
    return rn_fail(in->err, RN_EFORMAT, "a text has no closing quote");
}

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

static bool parse_int(const char *text, struct rn_value *out)
{
    const char *number = text + (*text == '-');
    char *end;
    errno = 0;
    out->type = RN_INT;
    out->i = strtoll(text, &end, 10);
    return digits(number) && !errno && strcmp(end, "i") == 0;
}

static bool parse_uint(const char *text, struct rn_value *out)
{
    char *end;
    errno = 0;
    out->type = RN_UINT;
    out->u = strtoull(text, &end, 10);
    return digits(text) && !errno && strcmp(end, "u") == 0;
}

// -?digits[.digits][e[+-]digits], one side of the point may be empty: no hexadecimal, inf or nan.
static bool looks_like_float(const char *text)
{
    text += *text == '-';
    size_t whole = digits(text), fraction = 0;
    text += whole;
    if (*text == '.') {
        fraction = digits(++text);
        text += fraction;
    }
    if (!whole && !fraction)
        return false;
    if (*text == 'e' || *text == 'E') {
        text += 1 + (text[1] == '+' || text[1] == '-');
        size_t exponent = digits(text);
        text += exponent;
        return exponent && !*text;
    }
    return !*text;
}

static bool parse_float(const char *text, struct rn_value *out)
{
    if (!looks_like_float(text))
        return false;
    out->type = RN_FLOAT;
    out->d = strtod(text, NULL);
    return isfinite(out->d);
}

static bool parse_bool(const char *text, struct rn_value *out)
{
    static const char *const words[] = {"f", "F", "false", "False", "FALSE",
                                        "t", "T", "true",  "True",  "TRUE"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) {
            out->type = RN_BOOL;
            out->b = i >= 5;
            return true;
        }
    return false;
}

// Copies what comes before a comma, a space or the end, terminated. False if it is too long.
static bool scan_word(struct scan *in, char out[NUMBER_MAX + 1])
{
    size_t len = 0;
    while (in->at + len < in->end && !among(in->at[len], ", \t"))
        len++;
    if (!len || len > NUMBER_MAX || memchr(in->at, 0, len))
        return false;
    memcpy(out, in->at, len);
    out[len] = 0;
    in->at += len;
    return true;
}

static int scan_value(struct scan *in, struct rn_value *out)
{
    if (in->at < in->end && *in->at == '"') {
        in->at++;
        out->type = RN_TEXT;
        return scan_text(in, &out->text);
    }
    char word[NUMBER_MAX + 1];
    if (!scan_word(in, word))
        return rn_fail(in->err, RN_EFORMAT, "a field has no value, or one that is too long");
    if (parse_float(word, out) || parse_int(word, out) || parse_uint(word, out) ||
        parse_bool(word, out))
        return RN_OK;
    return rn_fail(in->err, RN_EFORMAT, "'%s' is not a value", word);
}

static int scan_fields(struct scan *in, struct rn_lp_line *line)
{
    do {
        if (line->nfields == RN_LP_MAX_FIELDS)
            return rn_fail(in->err, RN_ELIMIT, "more than %d fields", RN_LP_MAX_FIELDS);
        struct rn_named_value *field = &line->fields[line->nfields];
        if (scan_name(in, "=, ", "=, ", &field->name) != '=' || !field->name.len)
            return rn_fail(in->err, RN_EFORMAT, "a field is not name=value");
        int rc = scan_value(in, &field->value);
        if (rc < 0)
            return rc;
        line->nfields++;
    } while (in->at < in->end && *in->at == ',' && in->at++);
    if (in->at < in->end && !among(*in->at, " \t"))
        return rn_fail(in->err, RN_EFORMAT, "a field's value is followed by '%c'", *in->at);
    return RN_OK;
}

static int scan_time(struct scan *in, struct rn_lp_line *line)
{
    skip_blanks(in);
    if (in->at == in->end)
        return RN_OK;
    char word[NUMBER_MAX + 1], *end;
    if (!scan_word(in, word) || !digits(word + (*word == '-')))
        return rn_fail(in->err, RN_EFORMAT, "bad timestamp");
    errno = 0;
    line->time_ns = strtoll(word, &end, 10);
    skip_blanks(in);
    if (errno || *end || in->at != in->end)
        return rn_fail(in->err, RN_EFORMAT, "bad timestamp");
    line->has_time = true;
    return RN_OK;
}

int rn_lp_parse(char *line, size_t len, struct rn_lp_line *out, struct rn_err *err)
{
    struct scan in = {line, line + len, err};
    out->ntags = out->nfields = 0;
    out->has_time = false;
    out->time_ns = 0;
    if (len && line[len - 1] == '\r')
        in.end--;
    skip_blanks(&in);
    if (in.at == in.end || *in.at == '#')
        return rn_fail(err, RN_ENOENT, "no point in this line");
    int rc = scan_series(&in, out);
    if (rc < 0)
        return rc;
    skip_blanks(&in);
    rc = scan_fields(&in, out);
    return rc < 0 ? rc : scan_time(&in, out);
}
