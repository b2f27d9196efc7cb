// Rulebook: turns what collectors declare about their fields (struct rn_rule_desc) into the rules
// of one schema. Private to lib/model. One block of memory, the caller's to free(); it must outlive
// the schema that it was closed into.
#ifndef LIB_MODEL_RULEBOOK_H
#define LIB_MODEL_RULEBOOK_H

#include <runnel/samples.h>

struct rulebook;

// max_bytes: what the rules may take in the encoded schema. NULL when memory runs out.
struct rulebook *rulebook_open(const struct rn_schema *schema, size_t max_bytes);
// Adds the rules for all series that have what a description names. One that would be a column's
// second, or does not fit, is left out.
void rulebook_apply(struct rulebook *book, const struct rn_rule_desc *descs, size_t count);
// Gives the schema its rules; none if they would not be valid together.
void rulebook_close(struct rulebook *book, struct rn_schema *schema);

#endif
