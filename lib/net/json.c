// See runnel/json.h. A struct rn_json is a json_t under another name: the two are never mixed.
#include <runnel/json.h>

#include <jansson.h>

static const json_t *as_json(const struct rn_json *value)
{
    return (const json_t *)value;
}

static const struct rn_json *as_value(const json_t *json)
{
    return (const struct rn_json *)json;
}

// Depth of brackets outside strings, so that the parser's recursion is bounded before it starts.
static bool too_deep(struct rn_span text)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > RN_JSON_MAX_DEPTH)
                return true;
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return false;
}

int rn_json_parse(struct rn_json **out, struct rn_span text, size_t max_bytes, struct rn_err *err)
{
    if (text.len > max_bytes)
        return rn_fail(err, RN_ELIMIT, "JSON of %zu bytes, at most %zu", text.len, max_bytes);
    if (too_deep(text))
        return rn_fail(err, RN_ELIMIT, "JSON nested more than %d deep", RN_JSON_MAX_DEPTH);
    json_error_t error;
    json_t *json = json_loadb((const char *)text.data, text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!json)
        return rn_fail(err, RN_EFORMAT, "JSON, line %d, column %d: %s", error.line, error.column,
                       error.text);
    *out = (struct rn_json *)json;
    return RN_OK;
}

void rn_json_free(struct rn_json *root)
{
    json_decref((json_t *)root);
}

enum rn_json_type rn_json_type(const struct rn_json *value)
{
    static const enum rn_json_type types[] = {
        [JSON_OBJECT] = RN_JSON_OBJECT, [JSON_ARRAY] = RN_JSON_ARRAY, [JSON_STRING] = RN_JSON_TEXT,
        [JSON_INTEGER] = RN_JSON_INT,   [JSON_REAL] = RN_JSON_DOUBLE, [JSON_TRUE] = RN_JSON_BOOL,
        [JSON_FALSE] = RN_JSON_BOOL,    [JSON_NULL] = RN_JSON_NULL,
    };
    return value ? types[json_typeof(as_json(value))] : RN_JSON_NONE;
}

const struct rn_json *rn_json_get(const struct rn_json *object, const char *key)
{
    return as_value(json_object_get(as_json(object), key));
}

size_t rn_json_len(const struct rn_json *value)
{
    const json_t *json = as_json(value);
    return json_is_array(json) ? json_array_size(json) : json_object_size(json);
}

const struct rn_json *rn_json_at(const struct rn_json *array, size_t index)
{
    return as_value(json_array_get(as_json(array), index));
}

const char *rn_json_text(const struct rn_json *value)
{
    return json_string_value(as_json(value));
}

const char *rn_json_text_or(const struct rn_json *value, const char *otherwise)
{
    const char *text = rn_json_text(value);
    return text ? text : otherwise;
}

int64_t rn_json_int(const struct rn_json *value, int64_t otherwise)
{
    const json_t *json = as_json(value);
    return json_is_integer(json) ? json_integer_value(json) : otherwise;
}

double rn_json_double(const struct rn_json *value, double otherwise)
{
    const json_t *json = as_json(value);
    return json_is_number(json) ? json_number_value(json) : otherwise;
}

bool rn_json_bool(const struct rn_json *value, bool otherwise)
{
    const json_t *json = as_json(value);
    return json_is_boolean(json) ? json_is_true(json) : otherwise;
}

void rn_json_each(const struct rn_json *object,
                  bool (*visit)(void *arg, const char *key, const struct rn_json *value), void *arg)
{
    json_t *json = (json_t *)(uintptr_t)as_json(object); // the iterator's functions take no const
    for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at))
        if (!visit(arg, json_object_iter_key(at), as_value(json_object_iter_value(at))))
            return;
}
