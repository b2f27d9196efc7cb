// References: which hints and base the next batch names, and when a new object is worth its bytes.
//
// For each schema in use it keeps what batches name now (or nothing), the last numbers of the batch
// before and what the columns were like lately. From these it makes a candidate. How many bytes the
// candidate would have saved is added up over the batches; when the sum exceeds what sending it
// costs, it is to be sent. So what is spent is at most about twice what the best choice of moments
// would have spent, at any interval and with any kind of data; nobody sets anything. Base and hints
// are decided apart: hints hold for long, a base gets old (docs/decisions/references.md).
//
// Pure but for its memory: 70 kB of scratch, of which only the columns in use are ever touched, and
// 22 bytes a column for each of REFS_SCHEMAS schemas; the one that was not used for longest goes.
#ifndef AGENT_REFS_H
#define AGENT_REFS_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/schema.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

// What a key message costs beside its object: the QoS 1 publish with its PUBACK (226 bytes) and the
// message's own members (54).
enum { REFS_SCHEMAS = 4, REFS_OVERHEAD = 280 };

struct refs;

enum refs_use { REFS_NONE, REFS_CURRENT, REFS_CANDIDATE };

RN_MUST_CHECK int refs_new(struct refs **out, struct rn_err *err);
void refs_free(struct refs *refs); // accepts NULL
// Another buffer: numbers mean nothing any more.
void refs_forget(struct refs *refs);

// What follows is about this schema, by its local number. 1: it is new here, and what the buffer
// has of it can be loaded; 0: it is known. RN_ENOMEM.
RN_MUST_CHECK int refs_select(struct refs *refs, uint32_t schema_id, const struct rn_schema *schema,
                              struct rn_err *err);
// Batches name this object from now on. RN_EFORMAT: it is none of this schema's.
RN_MUST_CHECK int refs_load(struct refs *refs, enum rn_object kind, uint32_t id,
                            struct rn_span object);
// False if there is no such base or hints; else *out points into refs until the next call. A
// candidate is measured with the number of what it would replace, which is about as long.
bool refs_coding(struct refs *refs, enum refs_use base, enum refs_use hints, struct rn_coding *out);
// The candidate's object. RN_ENOENT: there is none; RN_ELIMIT: it is too long.
RN_MUST_CHECK int refs_object(struct refs *refs, enum rn_object kind, struct rn_buf *out);
// A batch of `now` bytes would have had `with` bytes with the candidate, whose object has `object`
// bytes. True: it is worth being sent.
bool refs_pays(struct refs *refs, enum rn_object kind, size_t now, size_t with, size_t object);
// The candidate is kept under number id: batches name it from now on.
void refs_take(struct refs *refs, enum rn_object kind, uint32_t id);
// After each batch.
void refs_learn(struct refs *refs, const struct rn_schema *schema, const struct rn_grid *grid);

// Decodes any object, for batches that were made earlier; *out as of refs_coding.
RN_MUST_CHECK int refs_open(struct refs *refs, enum rn_object kind, struct rn_span object,
                            struct rn_coding *out, struct rn_err *err);

#endif
