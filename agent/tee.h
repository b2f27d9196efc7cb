// Tee: a file of what agents committed to their buffers, for tests (`run --tee FILE`). Line
// protocol, written apart from the way that the data takes, so that the two can be compared:
//
//   # begin DEVICE SAMPLES                  the batch is about to be committed; its lines follow
//   # commit DEVICE INSTALL SEQ SAMPLES     it was
//
// A begin without a commit is in doubt: the process was killed between, or the commit failed. Each
// of the two parts is one write to a file opened for appending, so it survives a SIGKILL whole.
#ifndef AGENT_TEE_H
#define AGENT_TEE_H

#include "agent/sampler.h"
#include <runnel/err.h>

struct tee;

RN_MUST_CHECK int tee_open(struct tee **out, const char *path, struct rn_err *err);
void tee_close(struct tee *tee); // accepts NULL
void tee_begin(struct tee *tee, const char *device, const struct sampler_batch *batch);
void tee_commit(struct tee *tee, const char *device, uint64_t install, uint64_t seq,
                uint64_t samples);

#endif
