// See runnel/opt.h. One row of `kind` a type: how it is parsed, printed and described.
#include <runnel/opt.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *suffix;
    int64_t factor;
};

// Ascending, so that printing takes the last one that divides.
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};
static const struct unit size_units[] = {
    {"", 1},        {"k", 1 << 10}, {"K", 1 << 10},
    {"M", 1 << 20}, {"G", 1 << 30}, {"T", INT64_C(1) << 40},
};
enum {
    DURATION_UNITS = sizeof duration_units / sizeof duration_units[0],
    SIZE_UNITS = sizeof size_units / sizeof size_units[0],
    NEAREST_MAX = 64, // longer keys get no suggestion
};

// --- numbers --------------------------------------------------------------------------------

static bool parse_int(const char *text, const char **end, int64_t *out)
{
    const char *digits = text + (*text == '-');
    if (*digits < '0' || *digits > '9')
        return false;
    char *stop = NULL;
    errno = 0;
    long long value = strtoll(text, &stop, 10);
    *end = stop;
    *out = value;
    return errno == 0;
}

static bool parse_scaled(const char *text, const struct unit *units, int count, int64_t *out)
{
    const char *suffix = NULL;
    int64_t value = 0;
    if (!parse_int(text, &suffix, &value) || value < 0)
        return false;
    for (int i = 0; i < count; i++)
        if (strcmp(suffix, units[i].suffix) == 0)
            return !__builtin_mul_overflow(value, units[i].factor, out);
    return false;
}

static bool parse_duration(const char *text, int64_t *out)
{
    return parse_scaled(text, duration_units, DURATION_UNITS, out);
}

static bool parse_size(const char *text, int64_t *out)
{
    return parse_scaled(text, size_units, SIZE_UNITS, out);
}

int rn_duration_parse(const char *text, int64_t *ms, struct rn_err *err)
{
    if (!parse_duration(text, ms))
        return rn_fail(err, RN_EINVAL,
                       "expected a duration with its unit, such as 500ms, 10s, 2m, "
                       "1h or 3d");
    return RN_OK;
}

int rn_size_parse(const char *text, int64_t *bytes, struct rn_err *err)
{
    if (!parse_size(text, bytes))
        return rn_fail(err, RN_EINVAL, "expected a size in bytes, such as 512, 64k, 10M or 2G");
    return RN_OK;
}

static void print_scaled(struct rn_buf *out, const struct unit *units, int count, int64_t value)
{
    const struct unit *best = &units[0];
    for (int i = 0; i < count && value != 0; i++)
        if (value % units[i].factor == 0 && units[i].factor > best->factor)
            best = &units[i];
    rn_buf_printf(out, "%" PRId64 "%s", value / best->factor, best->suffix);
}

static void print_duration(struct rn_buf *out, int64_t value)
{
    if (value == 0)
        rn_buf_text(out, "0s");
    else
        print_scaled(out, duration_units, DURATION_UNITS, value);
}

static void print_size(struct rn_buf *out, int64_t value)
{
    print_scaled(out, size_units, SIZE_UNITS, value);
}

static void print_int(struct rn_buf *out, int64_t value)
{
    rn_buf_printf(out, "%" PRId64, value);
}

// --- what was expected ----------------------------------------------------------------------

static void expect_limits(const struct rn_opt *row, struct rn_buf *out,
                          void (*print)(struct rn_buf *out, int64_t value))
{
    if (row->min == 0 && row->max == 0)
        return;
    rn_buf_text(out, " between ");
    print(out, row->min);
    rn_buf_text(out, " and ");
    print(out, row->max);
}

static void expect_text(const struct rn_opt *row, struct rn_buf *out)
{
    int64_t longest = row->size ? (int64_t)row->size - 1 : 0;
    if (row->max && row->max < longest)
        longest = row->max;
    rn_buf_printf(out, "%s of %" PRId64 " to %" PRId64 " bytes",
                  row->type == RN_OPT_SECRET ? "a secret" : "a text without control characters",
                  row->min, longest);
}

static void expect_list(const struct rn_opt *row, struct rn_buf *out)
{
    int64_t most = row->max && row->max < RN_OPT_LIST_MAX ? row->max : RN_OPT_LIST_MAX;
    rn_buf_printf(out, "a list of %" PRId64 " to %" PRId64 " texts shorter than %d bytes", row->min,
                  most, RN_OPT_LIST_TEXT);
}

static void expect_words(const struct rn_opt *row, struct rn_buf *out)
{
    rn_buf_text(out, "one of ");
    for (const char *at = row->words; *at; at++)
        if (*at == '|')
            rn_buf_text(out, ", ");
        else
            rn_buf_byte(out, (uint8_t)*at);
}

static void describe(const struct rn_opt *row, struct rn_buf *out)
{
    const char *example = row->def;
    switch (row->type) {
    case RN_OPT_BOOL:
        rn_buf_text(out, "true or false");
        return;
    case RN_OPT_INT:
        rn_buf_text(out, "a whole number");
        expect_limits(row, out, print_int);
        break;
    case RN_OPT_DURATION:
        rn_buf_text(out, "a duration");
        expect_limits(row, out, print_duration);
        if (!example)
            example = "10s";
        break;
    case RN_OPT_SIZE:
        rn_buf_text(out, "a size");
        expect_limits(row, out, print_size);
        if (!example)
            example = "64k";
        break;
    case RN_OPT_TEXT:
        expect_text(row, out);
        break;
    case RN_OPT_ENUM:
        expect_words(row, out);
        return;
    case RN_OPT_LIST:
        expect_list(row, out);
        if (!example)
            example = "[a, b]";
        break;
    case RN_OPT_SECRET:
        expect_text(row, out);
        return;
    }
    if (example && *example)
        rn_buf_printf(out, ", such as %s", example);
}

static int unexpected(const struct rn_opt *row, const char *text, struct rn_err *err)
{
    char storage[160], shown[40];
    struct rn_buf words;
    rn_buf_init_fixed(&words, storage, sizeof storage);
    describe(row, &words);
    words.failed = RN_OK; // a description that is too long is cut
    if (words.len == words.cap)
        words.len--;
    if (row->type == RN_OPT_SECRET)
        return rn_fail(err, RN_EINVAL, "expected %s", rn_buf_cstr(&words));
    snprintf(shown, sizeof shown, "%s", text);
    return rn_fail(err, RN_EINVAL, "expected %s, not \"%s\"", rn_buf_cstr(&words), shown);
}

// --- storing --------------------------------------------------------------------------------

static void *field_of(const struct rn_opt *row, void *base)
{
    return (char *)base + row->offset;
}

static bool in_limits(const struct rn_opt *row, int64_t value)
{
    return (row->min == 0 && row->max == 0) || (value >= row->min && value <= row->max);
}

static bool clean_text(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return rn_utf8_valid((const uint8_t *)text, len);
}

static int store_number(const struct rn_opt *row, void *base, const char *text, bool parsed,
                        int64_t value, struct rn_err *err)
{
    if (!parsed || !in_limits(row, value))
        return unexpected(row, text, err);
    memcpy(field_of(row, base), &value, sizeof value);
    return RN_OK;
}

static int set_int(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    int64_t value = 0;
    const char *end = NULL;
    bool parsed = parse_int(text, &end, &value) && *end == 0;
    return store_number(row, base, text, parsed, value, err);
}

static int set_duration(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    int64_t value = 0;
    bool parsed = parse_duration(text, &value);
    return store_number(row, base, text, parsed, value, err);
}

static int set_size(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    int64_t value = 0;
    bool parsed = parse_size(text, &value);
    return store_number(row, base, text, parsed, value, err);
}

static int set_bool(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            bool value = i % 2 == 1;
            memcpy(field_of(row, base), &value, sizeof value);
            return RN_OK;
        }
    }
    return unexpected(row, text, err);
}

static int set_text(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    size_t len = strlen(text);
    bool clean = row->type == RN_OPT_SECRET || clean_text(text); // a secret may be a whole PEM file
    if (len >= row->size || !clean || !in_limits(row, (int64_t)len))
        return unexpected(row, text, err);
    memcpy(field_of(row, base), text, len + 1);
    return RN_OK;
}

// The n-th word of "a|b|c": its length, 0 when there are no more.
static size_t word_at(const char **at)
{
    return strcspn(*at, "|");
}

static int set_enum(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    const char *at = row->words;
    for (int value = 0; *at; value++) {
        size_t len = word_at(&at);
        if (strlen(text) == len && strncmp(text, at, len) == 0) {
            memcpy(field_of(row, base), &value, sizeof value);
            return RN_OK;
        }
        at += len + (at[len] == '|');
    }
    return unexpected(row, text, err);
}

static bool list_add(const struct rn_opt *row, struct rn_opt_list *list, const char *text,
                     size_t len)
{
    char item[RN_OPT_LIST_TEXT];
    if (list->count >= RN_OPT_LIST_MAX || (row->max && list->count >= row->max))
        return false;
    if (len == 0 || len >= sizeof item)
        return false;
    memcpy(item, text, len);
    item[len] = 0;
    if (!clean_text(item))
        return false;
    memcpy(list->item[list->count++], item, len + 1);
    return true;
}

// "[a, b]", or "a" for a list of one, or "" and "[]" for an empty one.
static int set_list(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    struct rn_opt_list list = {0};
    size_t len = strlen(text);
    bool many = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    const char *at = many ? text + 1 : text;
    const char *end = many ? text + len - 1 : text + len;
    while (at < end) {
        const char *comma = many ? memchr(at, ',', (size_t)(end - at)) : NULL;
        const char *stop = comma ? comma : end, *next = comma ? comma + 1 : end;
        while (at < stop && *at == ' ')
            at++;
        while (stop > at && stop[-1] == ' ')
            stop--;
        if (at == stop && !comma && list.count == 0)
            break;
        if (!list_add(row, &list, at, (size_t)(stop - at)))
            return unexpected(row, text, err);
        at = next;
    }
    if (list.count < row->min)
        return unexpected(row, text, err);
    memcpy(field_of(row, base), &list, sizeof list);
    return RN_OK;
}

int rn_opt_append(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    if (row->type != RN_OPT_LIST)
        return rn_fail(err, RN_EINVAL, "expected a single value, not a list");
    if (!list_add(row, field_of(row, base), text, strlen(text)))
        return unexpected(row, text, err);
    return RN_OK;
}

// --- printing -------------------------------------------------------------------------------

static int64_t number_of(const struct rn_opt *row, const void *base)
{
    int64_t value;
    memcpy(&value, (const char *)base + row->offset, sizeof value);
    return value;
}

static void show_int(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    print_int(out, number_of(row, base));
}

static void show_duration(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    print_duration(out, number_of(row, base));
}

static void show_size(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    print_size(out, number_of(row, base));
}

static void show_bool(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    bool value;
    memcpy(&value, (const char *)base + row->offset, sizeof value);
    rn_buf_text(out, value ? "true" : "false");
}

static void show_text(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    rn_buf_text(out, (const char *)base + row->offset);
}

static void show_secret(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    if (((const char *)base)[row->offset])
        rn_buf_text(out, "(secret)");
}

static void show_enum(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    int value;
    memcpy(&value, (const char *)base + row->offset, sizeof value);
    const char *at = row->words;
    for (; value > 0 && *at; value--) {
        size_t len = word_at(&at);
        at += len + (at[len] == '|');
    }
    rn_buf_append(out, at, word_at(&at));
}

static void show_list(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    const struct rn_opt_list *list = (const void *)((const char *)base + row->offset);
    rn_buf_byte(out, '[');
    for (int i = 0; i < list->count; i++)
        rn_buf_printf(out, "%s%s", i ? ", " : "", list->item[i]);
    rn_buf_byte(out, ']');
}

// --- the table ------------------------------------------------------------------------------

static const struct {
    int (*set)(const struct rn_opt *row, void *base, const char *text, struct rn_err *err);
    void (*show)(const struct rn_opt *row, const void *base, struct rn_buf *out);
    size_t size; // of the field; 0: the row says
} kind[] = {
    [RN_OPT_BOOL] = {set_bool, show_bool, sizeof(bool)},
    [RN_OPT_INT] = {set_int, show_int, sizeof(int64_t)},
    [RN_OPT_DURATION] = {set_duration, show_duration, sizeof(int64_t)},
    [RN_OPT_SIZE] = {set_size, show_size, sizeof(int64_t)},
    [RN_OPT_TEXT] = {set_text, show_text, 0},
    [RN_OPT_ENUM] = {set_enum, show_enum, sizeof(int)},
    [RN_OPT_LIST] = {set_list, show_list, sizeof(struct rn_opt_list)},
    [RN_OPT_SECRET] = {set_text, show_secret, 0},
};

int rn_opt_set(const struct rn_opt *row, void *base, const char *text, struct rn_err *err)
{
    return kind[row->type].set(row, base, text, err);
}

void rn_opt_print(const struct rn_opt *row, const void *base, struct rn_buf *out)
{
    kind[row->type].show(row, base, out);
}

int rn_opt_defaults(const struct rn_opt *rows, size_t count, void *base, struct rn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct rn_opt *row = &rows[i];
        size_t size = kind[row->type].size ? kind[row->type].size : row->size;
        memset(field_of(row, base), 0, size);
        if (row->def && rn_opt_set(row, base, row->def, err) < 0)
            return rn_err_prefix(err, "default of %s", row->key);
    }
    return RN_OK;
}

const struct rn_opt *rn_opt_find(const struct rn_opt *rows, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

// Levenshtein's distance by rows; both at most NEAREST_MAX long.
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NEAREST_MAX + 1];
    size_t lb = strlen(b);
    for (unsigned j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < lb; j++) {
            unsigned above = row[j + 1];
            row[j + 1] = least(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[lb];
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

uint32_t rn_opt_distance(const char *known, const char *typed)
{
    size_t len = strlen(typed);
    if (len > NEAREST_MAX || strlen(known) > NEAREST_MAX)
        return UINT32_MAX;
    unsigned most = len < 6 ? 1 : 3; // further away is another word
    unsigned d = distance(known, typed);
    if (d > 1 && strcmp(last_part(known), last_part(typed)) == 0)
        d = 1;
    return d <= most ? d : UINT32_MAX;
}

const char *rn_opt_nearest(const struct rn_opt *rows, size_t count, const char *key)
{
    const char *best = NULL;
    uint32_t nearest = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        uint32_t d = rn_opt_distance(rows[i].key, key);
        if (d < nearest) {
            nearest = d;
            best = rows[i].key;
        }
    }
    return best;
}
