// Any bytes as a line of line protocol: no crash, and whatever is accepted lies within the line.
#include "room.h"

#include <runnel/text.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const char *line, size_t size, struct rn_span span)
{
    const char *from = (const char *)span.data;
    if (from < line || from + span.len > line + size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rn_lp_line out;
    static struct room room;
    char *line = room_take(&room, size);
    if (size)
        memcpy(line, data, size);
    if (rn_lp_parse(line, size, &out, NULL) != RN_OK)
        return 0;
    inside(line, size, out.measurement);
    for (uint32_t i = 0; i < out.ntags; i++) {
        inside(line, size, out.tags[i].key);
        inside(line, size, out.tags[i].value);
    }
    for (uint32_t i = 0; i < out.nfields; i++) {
        inside(line, size, out.fields[i].name);
        if (out.fields[i].value.type == RN_TEXT)
            inside(line, size, out.fields[i].value.text);
    }
    return 0;
}
