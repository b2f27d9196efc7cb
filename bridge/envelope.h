// May a batch be stored, as far as its envelope tells? Pure: its columns are not looked at.
#ifndef BRIDGE_ENVELOPE_H
#define BRIDGE_ENVELOPE_H

#include "bridge/refs.h"

struct envelope_window {
    int64_t oldest_ms, newest_ms; // wall clock; a batch wholly outside is refused
};

// 0: it may; else the reason of the refusal, and words. What it refers to is complete.
enum rn_refusal envelope_check(const struct rn_batch_info *batch, const struct refs *refs,
                               const struct envelope_window *window, const char **words);

#endif
