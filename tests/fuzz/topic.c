// Topics: what is accepted is exactly what would be written for that name.
#include <runnel/wire.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dev[RN_DEV_MAX + 1], text[RN_TOPIC_MAX];
    enum rn_topic topic = rn_topic_parse((const char *)data, size, "rn", dev);
    if (topic == RN_TOPIC_NONE)
        return 0;
    if (rn_topic_write(text, "rn", topic, dev) || strlen(text) != size ||
        memcmp(text, data, size) != 0)
        abort();
    return 0;
}
