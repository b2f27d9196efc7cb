// Writes JSON into a buffer: commas by itself, texts escaped. Numbers that name things (63 bits) go
// out as hexadecimal text, since JSON readers may round them.
#ifndef BRIDGE_HTTP_JSON_OUT_H
#define BRIDGE_HTTP_JSON_OUT_H

#include <runnel/buf.h>
#include <stdbool.h>
#include <stdint.h>

struct json_out {
    struct rn_buf *buf;
    bool comma; // something stands before at this level
};

// key NULL: an element of an array, or the root.
void json_begin(struct json_out *out, const char *key, char bracket); // '{' or '['
void json_end(struct json_out *out, char bracket);                    // '}' or ']'
void json_text(struct json_out *out, const char *key, const char *value);
void json_span(struct json_out *out, const char *key, struct rn_span value);
void json_int(struct json_out *out, const char *key, int64_t value);
void json_count(struct json_out *out, const char *key, uint64_t value);
void json_name(struct json_out *out, const char *key, uint64_t value); // 16 hex digits
void json_bytes(struct json_out *out, const char *key, const uint8_t *bytes, size_t len); // hex
void json_bool(struct json_out *out, const char *key, bool value);
void json_null(struct json_out *out, const char *key);
void json_time(struct json_out *out, const char *key, int64_t utc_ms); // RFC 3339, null for 0

#endif
