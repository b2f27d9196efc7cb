// Any bytes as a line of line protocol: no crash, and whatever is accepted lies within the line.
#include <runnel/text.h>

#include <stdlib.h>
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
    char *line = malloc(size ? size : 1); // exactly as long as the input: an overrun is seen
    if (!line)
        return 0;
    if (size)
        memcpy(line, data, size);
    if (rn_lp_parse(line, size, &out, NULL) == RN_OK) {
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
    }
    free(line);
    return 0;
}
