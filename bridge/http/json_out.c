// See json_out.h.
#include "bridge/http/json_out.h"

#include <runnel/clock.h>
#include <runnel/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void lead(struct json_out *out, const char *key)
{
    if (out->comma)
        rn_buf_byte(out->buf, ',');
    out->comma = true;
    if (key) {
        rn_text_json_string(out->buf, rn_span_text(key));
        rn_buf_byte(out->buf, ':');
    }
}

void json_begin(struct json_out *out, const char *key, char bracket)
{
    lead(out, key);
    rn_buf_byte(out->buf, (uint8_t)bracket);
    out->comma = false;
}

void json_end(struct json_out *out, char bracket)
{
    rn_buf_byte(out->buf, (uint8_t)bracket);
    out->comma = true;
}

void json_span(struct json_out *out, const char *key, struct rn_span value)
{
    lead(out, key);
    rn_text_json_string(out->buf, value);
}

void json_text(struct json_out *out, const char *key, const char *value)
{
    json_span(out, key, rn_span_text(value));
}

void json_int(struct json_out *out, const char *key, int64_t value)
{
    lead(out, key);
    rn_buf_printf(out->buf, "%" PRId64, value);
}

void json_count(struct json_out *out, const char *key, uint64_t value)
{
    lead(out, key);
    rn_buf_printf(out->buf, "%" PRIu64, value);
}

void json_name(struct json_out *out, const char *key, uint64_t value)
{
    lead(out, key);
    rn_buf_printf(out->buf, "\"%016" PRIx64 "\"", value);
}

void json_bytes(struct json_out *out, const char *key, const uint8_t *bytes, size_t len)
{
    lead(out, key);
    rn_buf_byte(out->buf, '"');
    for (size_t i = 0; i < len; i++)
        rn_buf_printf(out->buf, "%02x", bytes[i]);
    rn_buf_byte(out->buf, '"');
}

void json_bool(struct json_out *out, const char *key, bool value)
{
    lead(out, key);
    rn_buf_text(out->buf, value ? "true" : "false");
}

void json_null(struct json_out *out, const char *key)
{
    lead(out, key);
    rn_buf_text(out->buf, "null");
}

void json_time(struct json_out *out, const char *key, int64_t utc_ms)
{
    char text[32];
    if (utc_ms)
        json_text(out, key, rn_clock_rfc3339(text, utc_ms));
    else
        json_null(out, key);
}
