// Characters of UTF-8 one by one, for whoever escapes text. Private to lib/text.
#ifndef LIB_TEXT_CHARS_H
#define LIB_TEXT_CHARS_H

#include <runnel/buf.h>

#define CHARS_REPLACEMENT "\xef\xbf\xbd" // U+FFFD

// Length of the well-formed character at the front of text (len >= 1); 0 if there is none.
static inline size_t chars_step(struct rn_span text)
{
    uint8_t lead = text.data[0];
    size_t need = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return need <= text.len && rn_utf8_valid(text.data, need) ? need : 0;
}

// Takes the character at the front off text and returns it; empty if the byte taken was not UTF-8.
static inline struct rn_span chars_take(struct rn_span *text)
{
    struct rn_span taken = {text->data, chars_step(*text)};
    size_t gone = taken.len ? taken.len : 1;
    text->data += gone;
    text->len -= gone;
    return taken;
}

#endif
