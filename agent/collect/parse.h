// Reading the kernel's texts: lines, words, numbers. Pure: nothing is copied, nothing allocated,
// nothing read beyond the span. A word borrows from its span.
#ifndef AGENT_COLLECT_PARSE_H
#define AGENT_COLLECT_PARSE_H

#include <runnel/buf.h>
#include <runnel/opt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Takes the next line, without its newline, off the front of *rest. False at the end. A last line
// without a newline counts.
bool parse_line(struct rn_span *rest, struct rn_span *line);
// Takes the next word (bytes between blanks and tabs) off the front of *rest. False if there is
// none.
bool parse_word(struct rn_span *rest, struct rn_span *word);
// Drops `count` words. False if there were fewer.
bool parse_skip(struct rn_span *rest, unsigned count);
// The bytes before the first `byte`, which is dropped too; false, and *rest untouched, if it is not
// there.
bool parse_until(struct rn_span *rest, char byte, struct rn_span *before);

// A word that is a decimal number and nothing else. False for anything else and for what does not
// fit 64 bits; *out is then untouched.
bool parse_u64(struct rn_span word, uint64_t *out);
bool parse_i64(struct rn_span word, int64_t *out);
// Takes the next word and reads it as a number.
bool parse_next_u64(struct rn_span *rest, uint64_t *out);
// "12.34" scaled by 10^decimals (0..9); further digits are cut off, missing ones are zeros. No
// sign.
bool parse_decimal(struct rn_span word, unsigned decimals, uint64_t *out);

bool parse_starts(struct rn_span text, const char *prefix);
struct rn_span parse_trim(struct rn_span text); // without white space at both ends
// True if `word` is one of the elements of a comma-separated list.
bool parse_listed(struct rn_span list, const char *word);

// Copies as terminated text of at most size - 1 bytes; false (and "") if it does not fit.
bool parse_copy(char *out, size_t size, struct rn_span text);
// The same with the octal escapes of mount tables ("\040") resolved.
bool parse_unescape(char *out, size_t size, struct rn_span text);
// Makes a text fit for a tag value: control characters and bytes of malformed UTF-8 become '_'.
void parse_clean(char *text);
// True if the list is empty or one of its shell patterns (*, ?, [...]) fits the name.
bool parse_wanted(const struct rn_opt_list *patterns, const char *name);
bool parse_in_list(const struct rn_opt_list *list, const char *name); // exact

// 100 * part / whole in hundredths, rounded half up: 0..10000. part above whole counts as whole;
// 0 if whole is 0.
uint64_t parse_percent(uint64_t part, uint64_t whole);

#endif
