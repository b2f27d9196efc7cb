// See runnel/buf.h.
#include <runnel/buf.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 64 };

void rn_buf_init(struct rn_buf *buf, size_t max)
{
    *buf = (struct rn_buf){.max = max};
}

void rn_buf_init_fixed(struct rn_buf *buf, void *storage, size_t size)
{
    *buf = (struct rn_buf){.data = storage, .cap = size, .max = size, .fixed = true};
}

void rn_buf_release(struct rn_buf *buf)
{
    if (!buf->fixed)
        free(buf->data);
    *buf = (struct rn_buf){.max = buf->max};
}

void rn_buf_clear(struct rn_buf *buf)
{
    buf->len = 0;
    buf->failed = RN_OK;
}

static bool fail(struct rn_buf *buf, int why)
{
    buf->failed = why;
    return false;
}

// Makes cap at least `need`. Heap storage may hold one byte more than max: the terminator.
static bool grow(struct rn_buf *buf, size_t need)
{
    if (need <= buf->cap)
        return true;
    size_t limit = buf->max < SIZE_MAX ? buf->max + 1 : SIZE_MAX;
    if (buf->fixed || need > limit)
        return fail(buf, RN_ELIMIT);
    size_t cap = buf->cap < FIRST_CAP ? FIRST_CAP : buf->cap;
    while (cap < need)
        cap = cap > limit / 2 ? limit : cap * 2;
    if (cap > limit)
        cap = limit;
    uint8_t *data = realloc(buf->data, cap);
    if (!data)
        return fail(buf, RN_ENOMEM);
    buf->data = data;
    buf->cap = cap;
    return true;
}

uint8_t *rn_buf_reserve(struct rn_buf *buf, size_t len)
{
    if (buf->failed)
        return NULL;
    if (len > buf->max - buf->len) {
        fail(buf, RN_ELIMIT);
        return NULL;
    }
    // An empty heap buffer has no storage yet, and NULL means failure.
    size_t need = buf->len + len;
    return grow(buf, need || buf->data ? need : 1) ? buf->data + buf->len : NULL;
}

void rn_buf_append(struct rn_buf *buf, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    uint8_t *to = rn_buf_reserve(buf, len);
    if (!to)
        return;
    memcpy(to, bytes, len);
    buf->len += len;
}

void rn_buf_byte(struct rn_buf *buf, uint8_t byte)
{
    uint8_t *to = rn_buf_reserve(buf, 1);
    if (!to)
        return;
    *to = byte;
    buf->len++;
}

void rn_buf_text(struct rn_buf *buf, const char *text)
{
    rn_buf_append(buf, text, strlen(text));
}

void rn_buf_printf(struct rn_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    // vsnprintf writes a terminator, for which storage is needed too.
    if (len < 0) {
        fail(buf, RN_ELIMIT);
    } else if (rn_buf_reserve(buf, (size_t)len) && grow(buf, buf->len + (size_t)len + 1)) {
        vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

const char *rn_buf_cstr(struct rn_buf *buf)
{
    if (buf->failed || !grow(buf, buf->len + 1))
        return "";
    buf->data[buf->len] = 0;
    return (const char *)buf->data;
}

struct rn_span rn_span_text(const char *text)
{
    return (struct rn_span){(const uint8_t *)text, strlen(text)};
}

bool rn_span_eq(struct rn_span a, struct rn_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool rn_span_eq_text(struct rn_span a, const char *text)
{
    return rn_span_eq(a, rn_span_text(text));
}

int rn_span_cmp(struct rn_span a, struct rn_span b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

// Length of the well-formed sequence at the start of the bytes, 0 if there is none.
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    // Bounds of the second byte for each lead byte: RFC 3629, section 4.
    static const struct {
        uint8_t lead_first, lead_last, second_first, second_last, length;
    } form[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (at[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
        if (at[0] < form[i].lead_first || at[0] > form[i].lead_last)
            continue;
        if (left < form[i].length || at[1] < form[i].second_first || at[1] > form[i].second_last)
            return 0;
        for (size_t k = 2; k < form[i].length; k++)
            if ((at[k] & 0xc0) != 0x80)
                return 0;
        return form[i].length;
    }
    return 0;
}

bool rn_utf8_valid(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t step = utf8_sequence(bytes + i, len - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

void rn_hex(char *out, const void *bytes, size_t len)
{
    static const char digit[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digit[from[i] >> 4];
        out[2 * i + 1] = digit[from[i] & 15];
    }
    out[2 * len] = 0;
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

int rn_unhex(void *out, size_t len, const char *text)
{
    uint8_t *to = out;
    if (strlen(text) != 2 * len)
        return RN_EFORMAT;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return RN_EFORMAT;
        to[i] = (uint8_t)(high * 16 + low);
    }
    return RN_OK;
}
