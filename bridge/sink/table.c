// All sinks: a new one is a row here.
#include "bridge/sink/sink.h"

#include <string.h>

extern const struct rn_sink sink_file;
extern const struct rn_sink sink_influx;
extern const struct rn_sink sink_null;

const struct rn_sink *const sink_table[] = {
    &sink_influx,
    &sink_file,
    &sink_null,
};
const size_t sink_table_count = sizeof sink_table / sizeof sink_table[0];

const struct rn_sink *sink_find(const char *type)
{
    for (size_t i = 0; i < sink_table_count; i++)
        if (strcmp(sink_table[i]->type, type) == 0)
            return sink_table[i];
    return NULL;
}
