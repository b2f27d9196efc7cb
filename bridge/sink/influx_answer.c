// See influx_answer.h.
#include "bridge/sink/influx_answer.h"

#include <runnel/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (1024 * 1024)
#define WORDS_MAX 170

static const struct {
    int status;
    enum sink_outcome outcome;
} meanings[] = {
    {400, SINK_POISON}, {422, SINK_POISON},    {408, SINK_RETRY}, {425, SINK_RETRY},
    {429, SINK_RETRY},  {413, SINK_TOO_LARGE}, // everything else below 500 somebody has to mend
};

static enum sink_outcome outcome_of(int status)
{
    if (status / 100 == 2)
        return SINK_DONE;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].status == status)
            return meanings[i].outcome;
    return status >= 500 || status < 300 ? SINK_RETRY : SINK_HOLD;
}

// What somebody has to look at before it can work again.
static const char *advice(const struct influx_answer *out, int status)
{
    if (out->outcome != SINK_HOLD)
        return "";
    if (status == 401 || status == 403)
        return " (check token, username and password)";
    return status == 404 ? " (check url, version, and that the database exists)"
                         : " (check url and version)";
}

// The words of the answer on one line.
static void set_text(struct influx_answer *out, int status, const char *words, size_t len)
{
    int n = snprintf(out->text, sizeof out->text, "%d %.*s%s", status,
                     (int)(len < WORDS_MAX ? len : WORDS_MAX), words, advice(out, status));
    for (int i = 0; i < n && out->text[i]; i++)
        if ((unsigned char)out->text[i] < 0x20)
            out->text[i] = ' ';
}

static void add_line(struct influx_answer *out, uint32_t line)
{
    for (uint32_t i = 0; i < out->nlines; i++)
        if (out->line[i] == line)
            return;
    if (out->nlines < SINK_RESULT_POINTS)
        out->line[out->nlines++] = line;
}

// 3.x: {"error": "...", "data": [{"line_number": 2, "error_message": "...", ...}, ...]}
static void read_line_numbers(struct influx_answer *out, const struct rn_json *data)
{
    for (size_t i = 0; i < rn_json_len(data); i++) {
        const struct rn_json *item = rn_json_at(data, i);
        int64_t number = rn_json_int(rn_json_get(item, "line_number"), 0);
        if (number > 0 && number <= UINT32_MAX)
            add_line(out, (uint32_t)number - 1);
    }
}

// Number of the written line that `quoted` begins with, up to a quote; -1: none.
static int64_t find_line(struct rn_span written, const char *quoted)
{
    const char *at = (const char *)written.data, *end = at + written.len;
    size_t room = strlen(quoted);
    for (int64_t number = 0; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        if (len < room && memcmp(at, quoted, len) == 0 && quoted[len] == '\'')
            return number;
        at += len + 1;
    }
    return -1;
}

// 1.x, 2.x: unable to parse 'LINE': why
static void read_quoted_lines(struct influx_answer *out, const char *words, struct rn_span written)
{
    static const char mark[] = "unable to parse '";
    for (const char *at = strstr(words, mark); at; at = strstr(at + 1, mark)) {
        int64_t number = find_line(written, at + sizeof mark - 1);
        if (number >= 0)
            add_line(out, (uint32_t)number);
    }
}

// Copies the quoted name behind `mark`, its backslashes resolved.
static void read_name(char out[INFLUX_NAME_MAX], const char *words, const char *mark)
{
    const char *at = strstr(words, mark);
    size_t n = 0;
    if (!at)
        return;
    for (at += strlen(mark); *at && *at != '"' && n < INFLUX_NAME_MAX - 1; at++) {
        if (*at == '\\' && at[1])
            at++;
        out[n++] = *at;
    }
    out[*at == '"' ? n : 0] = 0;
}

// The last one: words of a device might hold another before it.
static uint64_t read_dropped(const char *words)
{
    static const char mark[] = "dropped=";
    const char *last = NULL;
    for (const char *at = strstr(words, mark); at; at = strstr(at + 1, mark))
        last = at;
    return last ? strtoull(last + sizeof mark - 1, NULL, 10) : 0;
}

static void read_poison(struct influx_answer *out, const struct rn_json *reply, const char *words,
                        struct rn_span written)
{
    read_line_numbers(out, rn_json_get(reply, "data"));
    if (out->nlines)
        return;
    read_quoted_lines(out, words, written);
    if (out->nlines)
        return;
    out->dropped = read_dropped(words);
    read_name(out->field, words, "input field \"");
    read_name(out->measurement, words, "on measurement \"");
    const char *type = strstr(words, "\" is type ");
    if (type)
        (void)sscanf(type, "\" is type %15[a-z]", out->type);
}

// 3.x says in general what happened and per line why; the first reason says more.
static const char *words_of(const struct rn_json *reply)
{
    const char *error = rn_json_text(rn_json_get(reply, "error"));
    const char *first =
        rn_json_text(rn_json_get(rn_json_at(rn_json_get(reply, "data"), 0), "error_message"));
    return first ? first : error ? error : rn_json_text(rn_json_get(reply, "message"));
}

void influx_answer_read(struct influx_answer *out, int status, struct rn_span reply,
                        struct rn_span written)
{
    struct rn_json *json = NULL;
    memset(out, 0, sizeof *out);
    out->outcome = outcome_of(status);
    if (out->outcome == SINK_DONE)
        return;
    if (rn_json_parse(&json, reply, REPLY_MAX, NULL) < 0)
        json = NULL;
    const char *words = words_of(json);
    if (words)
        set_text(out, status, words, strlen(words));
    else
        set_text(out, status, (const char *)reply.data, reply.len);
    if (out->outcome == SINK_POISON && words)
        read_poison(out, json, words, written);
    rn_json_free(json);
}
