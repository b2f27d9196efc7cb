// JSON in: a parsed document to read from; jansson behind one file of ours. Input is bounded before
// it is parsed (bytes and depth); duplicate keys are an error. Borrowed values live as long as the
// document. Missing or wrong things read as NULL, 0 or the given default, so that a chain of
// rn_json_get needs no checks between.
#ifndef RUNNEL_JSON_H
#define RUNNEL_JSON_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RN_JSON_MAX_DEPTH 32

struct rn_json; // a value; the document is its root

enum rn_json_type {
    RN_JSON_NONE, // not there
    RN_JSON_NULL,
    RN_JSON_BOOL,
    RN_JSON_INT,
    RN_JSON_DOUBLE,
    RN_JSON_TEXT,
    RN_JSON_ARRAY,
    RN_JSON_OBJECT,
};

// Any value may be the root. RN_ELIMIT above max_bytes or too deep, RN_EFORMAT with line and
// column.
RN_MUST_CHECK int rn_json_parse(struct rn_json **out, struct rn_span text, size_t max_bytes,
                                struct rn_err *err);
void rn_json_free(struct rn_json *root); // accepts NULL

enum rn_json_type rn_json_type(const struct rn_json *value); // RN_JSON_NONE for NULL
const struct rn_json *rn_json_get(const struct rn_json *object, const char *key);
size_t rn_json_len(const struct rn_json *value); // of an array or object
const struct rn_json *rn_json_at(const struct rn_json *array, size_t index);
const char *rn_json_text(const struct rn_json *value); // terminated (\u0000 is refused); or NULL
const char *rn_json_text_or(const struct rn_json *value, const char *otherwise);
int64_t rn_json_int(const struct rn_json *value, int64_t otherwise);  // of an integer
double rn_json_double(const struct rn_json *value, double otherwise); // of a number
bool rn_json_bool(const struct rn_json *value, bool otherwise);
// Visits the members of an object in their order; stops when visit returns false.
void rn_json_each(const struct rn_json *object,
                  bool (*visit)(void *arg, const char *key, const struct rn_json *value),
                  void *arg);

#endif
