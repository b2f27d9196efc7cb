// What a log reader keeps of schemas, hints and bases: looked up in segments by number, checked
// against their hashes, schemas parsed. Within a byte budget the least recently used go first; what
// a run still uses stays. One reader, one thread.
#ifndef BRIDGE_LOG_OBJECTS_H
#define BRIDGE_LOG_OBJECTS_H

#include "bridge/segment.h"
#include <runnel/map.h>
#include <runnel/schema.h>

struct log_object {
    struct log_object *newer, *older; // by use
    uint64_t segment;                 // its first position
    int64_t number;
    uint32_t users;
    size_t bytes;            // that it takes here
    struct rn_span body;     // as it came
    struct rn_schema schema; // if it was asked for as one
    const char *error;       // it cannot be used: why
    uint8_t storage[] __attribute__((aligned(16)));
};

struct log_objects {
    struct rn_map map; // by segment and number
    struct log_object *newest, *oldest;
    size_t bytes, max_bytes;
    struct rn_buf buf;
};

void log_objects_init(struct log_objects *objects, size_t max_bytes);
void log_objects_release(struct log_objects *objects);
// The object that rows of this segment name so, parsed if it is a schema; *out has `error` if it is
// not there, damaged or no schema. Borrowed until the next call, longer with `users` counted up.
// Negative: it could not be looked up now.
RN_MUST_CHECK int log_objects_get(struct log_objects *objects, struct segment *segment,
                                  int64_t number, bool schema, struct log_object **out,
                                  struct rn_err *err);

#endif
