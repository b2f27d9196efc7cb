// Text forms of samples: InfluxDB line protocol in and out, JSON out, and number formatting that
// gives back the very same bits. Escaping here is what keeps one device from forging another's
// points: see docs/PROTOCOL.md.
#ifndef RUNNEL_TEXT_H
#define RUNNEL_TEXT_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/schema.h>
#include <stdbool.h>
#include <stdint.h>

// Shortest decimal form of a finite double that reads back to the same bits.
void rn_text_double(struct rn_buf *out, double value);
void rn_text_json_string(struct rn_buf *out, struct rn_span text); // quoted; bad UTF-8 as U+FFFD
// RN_FLOAT: with a point or an exponent; not finite: null.
void rn_text_json_value(struct rn_buf *out, const struct rn_value *value);

// How unsigned integers are written: InfluxDB 1.x (without uint support) takes only `i`.
enum rn_lp_uint { RN_LP_UINT_AS_INT, RN_LP_UINT_AS_U };

// What goes into every line beside the schema's own.
struct rn_lp_conf {
    struct rn_span host_key, host; // extra tag, e.g. host=<dev>; empty key: none. Wins over a
                                   // series' own tag of the same key
    enum rn_lp_uint uint_form;     // AS_INT: values above 2^63-1 are left out and counted
    bool exact;                    // no look-alikes where the grammar has a form of its own
    uint64_t *skipped;             // may be NULL: values that line protocol cannot carry
};
// One point (all fields of one series at one tick) as a line with a nanosecond timestamp and "\n".
// Commas, spaces and equals signs in names and tag values are escaped. What has no safe form is
// shown by a look-alike, so that no line can be broken or forged in any database: control
// characters by their pictures (U+2400 and on), a backslash before a separator or at the end by
// U+FF3C, a leading # of a measurement by U+FF03, a quote in a field's name by U+FF02, bytes that
// are not UTF-8 by U+FFFD. Empty tags are left out. Text values are quoted; they keep tabs, other
// control characters are shown by their pictures.
// `exact`: for a reader that keeps to the grammar, as rn_lp_parse does, and not for a database:
// what was read by it comes out as it was, newlines within a text included. Look-alikes are left
// for a newline or a last backslash in a name and a leading #, which it cannot have read. Returns
// the number of values written (0: nothing written). A line that does not fit the buffer is left
// out whole; the buffer is failed then.
uint32_t rn_lp_point(struct rn_buf *out, const struct rn_schema *schema, const struct rn_grid *grid,
                     uint32_t group, uint32_t series, uint32_t tick, const struct rn_lp_conf *conf);
// All points of a grid, tick by tick. Returns the number of values written.
uint64_t rn_lp_grid(struct rn_buf *out, const struct rn_schema *schema, const struct rn_grid *grid,
                    const struct rn_lp_conf *conf);
// The same points as JSON lines, nothing replaced but bytes that are not UTF-8:
// {"device":..,"measurement":..,"tags":{..},"fields":{..},"time_ns":..}; no device if dev is empty.
// A float always has a point or an exponent, an integer never. Points whose time does not fit in
// 64 bits of nanoseconds are left out.
uint64_t rn_json_grid(struct rn_buf *out, const struct rn_schema *schema,
                      const struct rn_grid *grid, struct rn_span dev);
// One of these lines, on the terms of rn_lp_point.
uint32_t rn_json_point(struct rn_buf *out, const struct rn_schema *schema,
                       const struct rn_grid *grid, uint32_t group, uint32_t series, uint32_t tick,
                       struct rn_span dev);
// The schema itself as one JSON object: {"unit_ns":..,"step":..,"columns":..,"groups":[..]}.
void rn_json_schema(struct rn_buf *out, const struct rn_schema *schema);

// One parsed line. Spans point into `line`, which is unescaped in place.
#define RN_LP_MAX_FIELDS RN_SCHEMA_MAX_COLUMNS
struct rn_lp_line {
    struct rn_span measurement;
    struct rn_tag tags[RN_SCHEMA_MAX_TAGS]; // sorted by key
    uint32_t ntags;
    struct rn_named_value fields[RN_LP_MAX_FIELDS];
    uint32_t nfields;
    bool has_time;
    int64_t time_ns;
};
// Grammar of InfluxDB 1.8, plus `u` for unsigned integers. A backslash escapes a comma, equals sign
// or space in a name (in a measurement a comma or space), a quote or backslash in a text; any other
// backslash is itself. line: without its newline, changed in place. RN_ENOENT for an empty line or
// a comment, RN_EFORMAT, RN_ELIMIT for too many tags or fields. Names and texts are not checked
// otherwise: see rn_name_valid.
RN_MUST_CHECK int rn_lp_parse(char *line, size_t len, struct rn_lp_line *out, struct rn_err *err);

#endif
