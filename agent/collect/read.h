// Reading small files below a root into the scratch buffer.
#ifndef AGENT_COLLECT_READ_H
#define AGENT_COLLECT_READ_H

#include "agent/collect/collector.h"

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stddef.h>

// Reads root/path whole into env->scratch, which it clears first, and lends it as *text until the
// next use of the scratch buffer. What does not fit is cut off after the last whole line and
// counted in env->left_out. RN_ENOENT, RN_EACCESS, RN_EIO; RN_ELIMIT if the name is too long.
RN_MUST_CHECK int collect_read(const struct collect_env *env, const char *root, const char *path,
                               struct rn_span *text, struct rn_err *err);
// One line of at most size - 1 bytes, white space at both ends cut, into the caller's storage.
// Never waits for a sleeping device. Same errors, without words; RN_ELIMIT if it is longer.
RN_MUST_CHECK int collect_read_line(const char *root, const char *path, char *out, size_t size);

// Counts what a maximum kept out.
void collect_left_out(const struct collect_env *env, uint64_t count);

#endif
