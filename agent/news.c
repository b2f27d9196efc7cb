// See news.h.
#include "agent/news.h"

// FNV-1a, 64 bits: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
static uint64_t mix(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    return (hash ^ 0xff) * UINT64_C(0x100000001b3); // ends a part: no text has this byte
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    size_t len = 0;
    while (text[len])
        len++;
    return mix(hash, text, len);
}

static uint64_t key_of(const struct rn_point *point, const char *field)
{
    uint64_t hash = mix_text(UINT64_C(0xcbf29ce484222325), point->measurement);
    for (uint32_t i = 0; i < point->ntags; i++) {
        hash = mix(hash, (const char *)point->tags[i].key.data, point->tags[i].key.len);
        hash = mix(hash, (const char *)point->tags[i].value.data, point->tags[i].value.len);
    }
    return mix_text(hash, field);
}

static void see(struct news *news, uint64_t key, const struct rn_point_value *value, bool known)
{
    for (uint32_t i = 0; i < news->count; i++) {
        if (news->item[i].key != key)
            continue;
        if (value->field->news == RN_NEWS_VALUE && news->item[i].value != value->scaled)
            news->changed = true;
        news->item[i].value = value->scaled;
        return;
    }
    if (news->count == NEWS_MAX) {
        news->unwatched++;
        return;
    }
    news->item[news->count].key = key;
    news->item[news->count++].value = value->scaled;
    news->changed = news->changed || known;
}

void news_see(struct news *news, const struct rn_point *point, bool known)
{
    for (uint32_t i = 0; i < point->nvalues; i++)
        if (point->values[i].field->news)
            see(news, key_of(point, point->values[i].field->name), &point->values[i], known);
}

bool news_cut(struct news *news, int64_t boot_ms, int64_t gap_ms)
{
    if (!news->changed)
        return false;
    news->changed = false;
    if (boot_ms < news->next_ms) {
        news->held++;
        return false;
    }
    news->next_ms = boot_ms + gap_ms;
    news->cuts++;
    return true;
}
