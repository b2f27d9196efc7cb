// Topics, see runnel/wire.h. A topic is written and read by one table: class letter, kind letter.
#include <runnel/crc.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <string.h>

// kind 0: the topic ends with the name.
static const struct {
    char class, kind;
} shapes[] = {
    [RN_TOPIC_METRICS] = {'u', 'm'},   [RN_TOPIC_LOGS] = {'u', 'l'}, [RN_TOPIC_EVENTS] = {'u', 'e'},
    [RN_TOPIC_INVENTORY] = {'u', 'i'}, [RN_TOPIC_KEY] = {'u', 'k'},  [RN_TOPIC_REPORT] = {'u', 'r'},
    [RN_TOPIC_STATUS] = {'s', 0},      [RN_TOPIC_ACK] = {'d', 'a'},  [RN_TOPIC_CONFIG] = {'d', 'c'},
    [RN_TOPIC_QUERY] = {'d', 'q'},     [RN_TOPIC_BRIDGE] = {'b', 0},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static bool is_lower(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}

static bool name_tail_valid(struct rn_span name, bool capitals)
{
    for (size_t i = 1; i < name.len; i++) {
        uint8_t c = name.data[i];
        if (!is_lower(c) && !(capitals && is_upper(c)) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

bool rn_dev_valid(struct rn_span dev)
{
    return dev.len >= 1 && dev.len <= RN_DEV_MAX && is_lower(dev.data[0]) &&
           name_tail_valid(dev, false);
}

bool rn_bridge_valid(struct rn_span name)
{
    return name.len >= 1 && name.len <= RN_DEV_MAX && is_upper(name.data[0]) &&
           name_tail_valid(name, true);
}

uint8_t rn_dev_shard(struct rn_span dev)
{
    return (uint8_t)(rn_crc32(0, dev.data, dev.len) & 0xff);
}

int rn_topic_write(char out[RN_TOPIC_MAX], const char *prefix, enum rn_topic topic, const char *dev)
{
    if (topic <= RN_TOPIC_NONE || topic >= SHAPES)
        return RN_EINVAL;
    struct rn_span name = rn_span_text(dev);
    char class = shapes[topic].class, kind = shapes[topic].kind;
    int len;
    if (topic == RN_TOPIC_BRIDGE) {
        if (!rn_bridge_valid(name))
            return RN_EINVAL;
        len = snprintf(out, RN_TOPIC_MAX, "%s/%c/%s", prefix, class, dev);
    } else {
        if (!rn_dev_valid(name))
            return RN_EINVAL;
        char tail[3] = {kind ? '/' : '\0', kind, '\0'};
        len = snprintf(out, RN_TOPIC_MAX, "%s/%c/%02x/%s%s", prefix, class, rn_dev_shard(name), dev,
                       tail);
    }
    return len < RN_TOPIC_MAX ? RN_OK : RN_EINVAL;
}

// Cuts off the next level; false when there is none.
static bool next_level(struct rn_span *rest, struct rn_span *level)
{
    if (!rest->data)
        return false;
    const uint8_t *slash = rest->len ? memchr(rest->data, '/', rest->len) : NULL;
    level->data = rest->data;
    level->len = slash ? (size_t)(slash - rest->data) : rest->len;
    rest->data = slash ? slash + 1 : NULL;
    rest->len -= slash ? level->len + 1 : rest->len;
    return true;
}

static enum rn_topic find_shape(char class, char kind)
{
    for (size_t i = RN_TOPIC_NONE + 1; i < SHAPES; i++)
        if (shapes[i].class == class && shapes[i].kind == kind)
            return (enum rn_topic)i;
    return RN_TOPIC_NONE;
}

static bool shard_right(struct rn_span level, struct rn_span dev)
{
    char text[3];
    snprintf(text, sizeof text, "%02x", rn_dev_shard(dev));
    return rn_span_eq_text(level, text);
}

// What follows the prefix.
static enum rn_topic parse_levels(struct rn_span rest, struct rn_span *name)
{
    struct rn_span class, shard, kind = {0};
    if (!next_level(&rest, &class) || class.len != 1)
        return RN_TOPIC_NONE;
    char letter = (char)class.data[0];
    if (letter == 'b')
        return next_level(&rest, name) && !rest.data && rn_bridge_valid(*name) ? RN_TOPIC_BRIDGE
                                                                               : RN_TOPIC_NONE;
    if (!next_level(&rest, &shard) || !next_level(&rest, name))
        return RN_TOPIC_NONE;
    if (next_level(&rest, &kind) && (kind.len != 1 || kind.data[0] == 0 || rest.data))
        return RN_TOPIC_NONE;
    if (!rn_dev_valid(*name) || !shard_right(shard, *name))
        return RN_TOPIC_NONE;
    return find_shape(letter, kind.len ? (char)kind.data[0] : '\0');
}

enum rn_topic rn_topic_parse(const char *topic, size_t len, const char *prefix,
                             char dev[RN_DEV_MAX + 1])
{
    size_t skip = strlen(prefix);
    if (len <= skip || memcmp(topic, prefix, skip) != 0 || topic[skip] != '/')
        return RN_TOPIC_NONE;
    struct rn_span name = {0};
    struct rn_span rest = {(const uint8_t *)topic + skip + 1, len - skip - 1};
    enum rn_topic found = parse_levels(rest, &name);
    if (found != RN_TOPIC_NONE) {
        memcpy(dev, name.data, name.len);
        dev[name.len] = '\0';
    }
    return found;
}
