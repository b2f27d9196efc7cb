// Byte buffer with a maximum, and a span that borrows bytes.
//
// A buffer is created with the most that it may ever hold. Appending beyond it, or running out of
// memory, sets `failed` and changes nothing else: write everything, then check once with
// rn_buf_ok() or rn_buf_status(). Caller's storage, not thread-safe.
#ifndef RUNNEL_BUF_H
#define RUNNEL_BUF_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Borrowed bytes: who lends them is said where the span is handed out. data may be NULL if len is
// 0.
struct rn_span {
    const uint8_t *data;
    size_t len;
};

struct rn_buf {
    uint8_t *data;
    size_t len;
    size_t cap; // allocated, or the size of fixed storage
    size_t max; // never more than this
    bool fixed; // data is the caller's storage: never reallocated, never freed
    int failed; // RN_ELIMIT: an append did not fit, RN_ENOMEM: memory ran out; else RN_OK
};

void rn_buf_init(struct rn_buf *buf, size_t max);                       // on the heap, empty
void rn_buf_init_fixed(struct rn_buf *buf, void *storage, size_t size); // over caller's storage
void rn_buf_release(struct rn_buf *buf);                                // accepts a zeroed buffer
void rn_buf_clear(struct rn_buf *buf); // len 0, not failed, memory kept

void rn_buf_append(struct rn_buf *buf, const void *bytes, size_t len);
void rn_buf_byte(struct rn_buf *buf, uint8_t byte);
void rn_buf_text(struct rn_buf *buf, const char *text); // without the terminator
void rn_buf_printf(struct rn_buf *buf, const char *format, ...) RN_PRINTF(2, 3);
// Makes room for len more bytes and returns where they go (NULL and failed if it can't); the caller
// writes at most len bytes there and adds what it wrote to buf->len.
uint8_t *rn_buf_reserve(struct rn_buf *buf, size_t len);
// Terminates the content with a NUL that is not counted and returns it as text ("" on failure).
const char *rn_buf_cstr(struct rn_buf *buf);

static inline bool rn_buf_ok(const struct rn_buf *buf)
{
    return !buf->failed;
}

// RN_OK, RN_ELIMIT: the content is too large, RN_ENOMEM: it may do later.
static inline int rn_buf_status(const struct rn_buf *buf)
{
    return buf->failed;
}

static inline struct rn_span rn_buf_span(const struct rn_buf *buf)
{
    return (struct rn_span){buf->data, buf->len};
}

struct rn_span rn_span_text(const char *text); // borrowed, without the terminator
bool rn_span_eq(struct rn_span a, struct rn_span b);
bool rn_span_eq_text(struct rn_span a, const char *text);
int rn_span_cmp(struct rn_span a, struct rn_span b); // bytewise, shorter first; <0, 0, >0

// True if the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool rn_utf8_valid(const uint8_t *bytes, size_t len);

// Lower-case hex. out holds 2 * len + 1 characters.
void rn_hex(char *out, const void *bytes, size_t len);
// Exactly 2 * len hex digits of either case.
RN_MUST_CHECK int rn_unhex(void *out, size_t len, const char *text);

#endif
