// Typed option rows: one table drives the configuration file, remote validation, --help, `check`,
// the manual page and the JSON schema. A module declares a `const struct rn_opt[]` over its own
// plain configuration struct.
#ifndef RUNNEL_OPT_H
#define RUNNEL_OPT_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rn_opt_type {
    RN_OPT_BOOL,     // bool: true/false/yes/no/on/off
    RN_OPT_INT,      // int64_t: decimal
    RN_OPT_DURATION, // int64_t in milliseconds: "500ms", "10s", "2m", "1h", "3d"; a bare number is
                     // refused
    RN_OPT_SIZE,     // int64_t in bytes: "512", "64k", "10M", "2G" (powers of 1024)
    RN_OPT_TEXT,     // char[size]
    RN_OPT_ENUM,     // int: one of `words`, separated by '|' ("none|log|sink": 0, 1, 2)
    RN_OPT_LIST,     // struct rn_opt_list: a sequence of scalars, kept as terminated texts
    RN_OPT_SECRET,   // char[size]; never printed; `<key>_file` names a file that holds it
};

enum rn_opt_flag {
    RN_OPT_REMOTE = 1,   // may be set by remote configuration
    RN_OPT_REQUIRED = 2, // must be set by someone
    RN_OPT_PATH = 4,     // a path: remote-settable only where the local file says so
};

// A list of texts: at most RN_OPT_LIST_MAX, in caller's fixed storage.
#define RN_OPT_LIST_MAX  16
#define RN_OPT_LIST_TEXT 128
struct rn_opt_list {
    int count;
    char item[RN_OPT_LIST_MAX][RN_OPT_LIST_TEXT];
};

struct rn_opt {
    const char *key; // dotted path in the file, e.g. "mqtt.keepalive"
    enum rn_opt_type type : 8;
    uint32_t offset : 24; // into the configuration struct
    uint32_t size;        // of the field, for TEXT and SECRET
    int64_t min, max;     // of the number, the text's length or the list's count; both 0: no limits
    const char *def;      // default as text, as it would stand in the file; NULL: empty or zero
    unsigned flags;       // enum rn_opt_flag
    const char *words;    // for ENUM
    const char *help;     // one sentence
};

#define RN_OPT_COUNT(table) (sizeof(table) / sizeof((table)[0]))

// Parses `text` as the row says and stores it into the struct at base. On failure the text of
// *err says what was expected ("expected a duration between 1s and 1h, such as 10s").
RN_MUST_CHECK int rn_opt_set(const struct rn_opt *row, void *base, const char *text,
                             struct rn_err *err);
// Appends one element to a LIST row.
RN_MUST_CHECK int rn_opt_append(const struct rn_opt *row, void *base, const char *text,
                                struct rn_err *err);
// Sets every row to its default. Fails only on a wrong table (a bug; tests walk all tables).
RN_MUST_CHECK int rn_opt_defaults(const struct rn_opt *rows, size_t count, void *base,
                                  struct rn_err *err);
const struct rn_opt *rn_opt_find(const struct rn_opt *rows, size_t count, const char *key);
// How far a mistyped key is from a known one: the edit distance, 1 for the right last part in the
// wrong place, UINT32_MAX if it is too far to be a typing error.
uint32_t rn_opt_distance(const char *known, const char *typed);
// The nearest key by that distance, for "did you mean"; NULL if nothing is near.
const char *rn_opt_nearest(const struct rn_opt *rows, size_t count, const char *key);
// The value as it would stand in the file ("10s", "64M", "[a, b]"); secrets print as "(secret)".
void rn_opt_print(const struct rn_opt *row, const void *base, struct rn_buf *out);

RN_MUST_CHECK int rn_duration_parse(const char *text, int64_t *ms, struct rn_err *err);
RN_MUST_CHECK int rn_size_parse(const char *text, int64_t *bytes, struct rn_err *err);

#endif
