// Schema: the dictionary of a batch. Which columns there are, what they are called, how their
// numbers are to be read. Immutable once built; contains nothing of the device.
//
// A schema is a list of groups. A group is one measurement with a list of fields and a list of tag
// sets (its series); its columns are series-major: all fields of the first series, then of the
// second. A column's cells are `scaled` integers wherever the value allows:
//   value = scaled * mul / 10^decimals        (mul >= 1, 0 <= decimals <= 15)
// so that a percentage is 1234 with two decimals, and a size that the kernel counts in kB has mul
// 1024. For RN_FLOAT a cell may also be a literal double, for RN_TEXT it is text.
#ifndef RUNNEL_SCHEMA_H
#define RUNNEL_SCHEMA_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RN_SCHEMA_MAX_BYTES   16384 // of its encoding
#define RN_SCHEMA_MAX_COLUMNS 2048
#define RN_SCHEMA_MAX_TAGS    16    // of a series
#define RN_NAME_MAX           255   // bytes of a measurement, tag key, tag value or field name
#define RN_TEXT_MAX           65535 // bytes of a text value
#define RN_TEXT_SHORT         255   // the same in a batch that does not say that it has longer ones
#define RN_BATCH_MAX_CELLS    16384 // ticks x columns
#define RN_BATCH_MAX_BYTES    131072
#define RN_BATCH_MAX_TEXT     4194304 // bytes of its cells' texts, each as often as a cell has it
#define RN_HASH_BYTES         32      // SHA-256

// Value type: what a sink writes. Fixed numbers of the protocol.
enum rn_type { RN_INT = 0, RN_UINT = 1, RN_FLOAT = 2, RN_BOOL = 3, RN_TEXT = 4 };
// What the number is. Fixed numbers of the protocol.
enum rn_kind { RN_GAUGE = 0, RN_COUNTER = 1, RN_STATE = 2 };

struct rn_tag {
    struct rn_span key, value;
};

struct rn_field {
    struct rn_span name;
    enum rn_type type;
    enum rn_kind kind;
    uint8_t decimals;    // 0..15
    uint32_t mul;        // >= 1
    struct rn_span unit; // UCUM-like, may be empty: "By", "ms", "%"
};

struct rn_series {
    const struct rn_tag *tags; // sorted by key, unique
    uint32_t ntags;
};

struct rn_group {
    struct rn_span measurement;
    uint32_t every; // >= 1: the group has a value only at ticks that are multiples of every steps
    const struct rn_field *fields;
    uint32_t nfields; // >= 1
    const struct rn_series *series;
    uint32_t nseries; // >= 1
};

// Rules tell the encodings 1 and 2 what to expect of a column, so that only the difference costs
// bytes; they never change a value. Expected at a tick:
//   floor(num / den), each = constant + time * t + sum of coefficient * column at this tick
// with t the tick's time in units and columns read as signed 64-bit numbers. Where a column is
// missing or no scaled integer, where a sum leaves 128 bits or den is not positive, the expectation
// of the column's tick before stays (0 at first). A rule refers to columns that have no rule, or
// that an earlier rule of the list is about; terms ascend by column.
#define RN_RULE_TERMS_PER_COLUMN 4 // all terms of a schema: at most this times its columns

struct rn_term {
    uint32_t column;
    int64_t coefficient;
};

struct rn_linear {
    int64_t constant, time;
    const struct rn_term *terms;
    uint32_t nterms;
};

struct rn_rule {
    uint32_t column;
    uint32_t reserved; // 0
    struct rn_linear num, den;
};

struct rn_schema {
    uint64_t unit_ns; // length of the time unit: 1, 1000, 1000000 or 1000000000 ns
    uint64_t step;    // in units between ticks; 0: irregular, batches carry their times
    const struct rn_group *groups;
    uint32_t ngroups;
    uint32_t ncolumns;           // sum of nfields * nseries
    uint32_t nrules;             // <= ncolumns
    const struct rn_rule *rules; // in the order in which they apply
    uint8_t hash[RN_HASH_BYTES]; // of the deterministic encoding; filled by whoever has it
};

// Where column `index` lies. False if there is no such column.
struct rn_column_ref {
    const struct rn_group *group;
    const struct rn_series *series;
    const struct rn_field *field;
    uint32_t group_index;
};
bool rn_schema_column(const struct rn_schema *schema, uint32_t index, struct rn_column_ref *out);

// A measurement, tag key, tag value or field name: 1..RN_NAME_MAX bytes of UTF-8 without control
// characters (C0, DEL, C1).
bool rn_name_valid(struct rn_span name);
// One field by itself: name, unit, type, kind; decimals only for RN_FLOAT, mul only for numbers.
RN_MUST_CHECK int rn_field_check(const struct rn_field *field, struct rn_err *err);
// A tag set: at most RN_SCHEMA_MAX_TAGS, valid names, strictly ascending keys.
RN_MUST_CHECK int rn_tags_check(const struct rn_tag *tags, uint32_t ntags, struct rn_err *err);
// The whole schema, bounded work: counts and sums, units, every name, unique fields within a group
// and unique tag sets within a group, every rule.
RN_MUST_CHECK int rn_schema_check(const struct rn_schema *schema, struct rn_err *err);

// True if a group with this `every` is due at tick time t (in units) of a schema with this step.
static inline bool rn_tick_due(uint64_t t, uint64_t step, uint32_t every)
{
    return every <= 1 || step == 0 || (t / step) % every == 0;
}

#endif
