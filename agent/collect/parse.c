// See parse.h.
#include "agent/collect/parse.h"

#include <fnmatch.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

static void drop(struct rn_span *span, size_t count)
{
    if (count) {
        span->data += count;
        span->len -= count;
    }
}

static bool blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static bool space(uint8_t byte)
{
    return blank(byte) || byte == '\n' || byte == '\r';
}

static bool digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

bool parse_until(struct rn_span *rest, char byte, struct rn_span *before)
{
    const uint8_t *found = rest->len ? memchr(rest->data, byte, rest->len) : NULL;
    if (!found)
        return false;
    size_t len = (size_t)(found - rest->data);
    *before = (struct rn_span){rest->data, len};
    drop(rest, len + 1);
    return true;
}

bool parse_line(struct rn_span *rest, struct rn_span *line)
{
    if (rest->len == 0)
        return false;
    if (!parse_until(rest, '\n', line)) {
        *line = *rest;
        drop(rest, rest->len);
    }
    return true;
}

bool parse_word(struct rn_span *rest, struct rn_span *word)
{
    size_t start = 0;
    while (start < rest->len && blank(rest->data[start]))
        start++;
    drop(rest, start);
    size_t len = 0;
    while (len < rest->len && !blank(rest->data[len]))
        len++;
    *word = (struct rn_span){rest->data, len};
    drop(rest, len);
    return len > 0;
}

bool parse_skip(struct rn_span *rest, unsigned count)
{
    struct rn_span word;
    while (count-- > 0)
        if (!parse_word(rest, &word))
            return false;
    return true;
}

bool parse_u64(struct rn_span word, uint64_t *out)
{
    uint64_t value = 0;
    if (word.len == 0)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (!digit(word.data[i]))
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(word.data[i] - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

bool parse_i64(struct rn_span word, int64_t *out)
{
    uint64_t value;
    bool negative = word.len > 0 && word.data[0] == '-';
    drop(&word, negative);
    if (!parse_u64(word, &value) || value > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

bool parse_next_u64(struct rn_span *rest, uint64_t *out)
{
    struct rn_span word;
    return parse_word(rest, &word) && parse_u64(word, out);
}

bool parse_decimal(struct rn_span word, unsigned decimals, uint64_t *out)
{
    struct rn_span whole = word, fraction = {NULL, 0};
    if (parse_until(&word, '.', &whole))
        fraction = word;
    uint64_t value;
    if (!parse_u64(whole, &value))
        return false;
    for (size_t i = 0; i < fraction.len; i++)
        if (!digit(fraction.data[i]))
            return false;
    for (unsigned i = 0; i < decimals; i++) {
        uint64_t next = i < fraction.len ? (uint64_t)(fraction.data[i] - '0') : 0;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, next, &value))
            return false;
    }
    *out = value;
    return true;
}

bool parse_starts(struct rn_span text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && (len == 0 || memcmp(text.data, prefix, len) == 0);
}

struct rn_span parse_trim(struct rn_span text)
{
    while (text.len > 0 && space(text.data[0]))
        drop(&text, 1);
    while (text.len > 0 && space(text.data[text.len - 1]))
        text.len--;
    return text;
}

bool parse_listed(struct rn_span list, const char *word)
{
    struct rn_span item;
    while (parse_until(&list, ',', &item))
        if (rn_span_eq_text(item, word))
            return true;
    return rn_span_eq_text(list, word);
}

bool parse_copy(char *out, size_t size, struct rn_span text)
{
    out[0] = '\0';
    if (text.len >= size || (text.len > 0 && memchr(text.data, 0, text.len)))
        return false;
    if (text.len > 0)
        memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

// The value of "\ooo" at the front of the text, or -1.
static int octal_escape(struct rn_span text)
{
    if (text.len < 4 || text.data[0] != '\\')
        return -1;
    int value = 0;
    for (size_t i = 1; i < 4; i++) {
        if (text.data[i] < '0' || text.data[i] > '7')
            return -1;
        value = value * 8 + (text.data[i] - '0');
    }
    return value > 0 && value < 256 ? value : -1;
}

bool parse_unescape(char *out, size_t size, struct rn_span text)
{
    size_t len = 0;
    while (text.len > 0) {
        int escaped = octal_escape(text);
        if (len + 1 >= size || text.data[0] == 0) {
            out[0] = '\0';
            return false;
        }
        out[len++] = (char)(escaped > 0 ? escaped : text.data[0]);
        drop(&text, escaped > 0 ? 4 : 1);
    }
    out[len] = '\0';
    return true;
}

// Length of the well-formed UTF-8 character at the front, 0 if there is none. `left` > 0.
static size_t utf8_length(const uint8_t *at, size_t left)
{
    for (size_t len = 1; len <= 4 && len <= left; len++)
        if (rn_utf8_valid(at, len))
            return len;
    return 0;
}

void parse_clean(char *text)
{
    uint8_t *at = (uint8_t *)text;
    size_t left = strlen(text);
    while (left > 0) {
        size_t len = utf8_length(at, left);
        if (len == 0 || *at < 0x20 || *at == 0x7f) {
            *at = '_';
            len = 1;
        }
        at += len;
        left -= len;
    }
}

bool parse_wanted(const struct rn_opt_list *patterns, const char *name)
{
    for (int i = 0; i < patterns->count; i++)
        if (fnmatch(patterns->item[i], name, 0) == 0)
            return true;
    return patterns->count == 0;
}

bool parse_in_list(const struct rn_opt_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->item[i], name) == 0)
            return true;
    return false;
}

uint64_t parse_percent(uint64_t part, uint64_t whole)
{
    if (whole == 0)
        return 0;
    if (part > whole)
        part = whole;
    return (uint64_t)(((wide)part * 10000 + whole / 2) / whole);
}
