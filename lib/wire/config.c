// Configuration document, see runnel/wire.h and schemas/config.cddl.
#include "lib/wire/record.h"

#include <runnel/wire.h>
#include <string.h>

// Order of deterministic CBOR for text keys: the length is in the head, so shorter ones come first.
static int key_cmp(struct rn_span a, struct rn_span b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len ? memcmp(a.data, b.data, a.len) : 0;
}

// Indices of the items in the order of their keys. False if a key comes twice.
static bool sort_items(const struct rn_config_doc *doc, uint16_t order[RN_CONFIG_MAX_KEYS])
{
    for (uint32_t i = 0; i < doc->nitems; i++) {
        uint32_t to = i;
        int cmp = 1;
        while (to > 0 && (cmp = key_cmp(doc->items[i].key, doc->items[order[to - 1]].key)) < 0) {
            order[to] = order[to - 1];
            to--;
        }
        if (cmp == 0)
            return false;
        order[to] = (uint16_t)i;
    }
    return true;
}

static void put_items(const void *msg, struct rn_buf *out)
{
    const struct rn_config_doc *doc = msg;
    uint16_t order[RN_CONFIG_MAX_KEYS] = {0};
    (void)sort_items(doc, order);
    rn_cbor_put_map(out, doc->nitems);
    for (uint32_t i = 0; i < doc->nitems; i++) {
        rn_cbor_put_text(out, doc->items[order[i]].key);
        rn_cbor_put_text(out, doc->items[order[i]].value);
    }
}

static int get_items(struct rn_cbor_in *in, void *msg)
{
    struct rn_config_doc *doc = msg;
    uint64_t pairs;
    int result = rn_cbor_get_map(in, RN_CONFIG_MAX_KEYS, &pairs);
    if (result)
        return result;
    doc->nitems = (uint32_t)pairs;
    for (uint32_t i = 0; !result && i < doc->nitems; i++) {
        struct rn_config_item *item = &doc->items[i];
        result = rn_cbor_get_text(in, RN_NAME_MAX, &item->key);
        if (!result && item->key.len == 0)
            result = rn_cbor_fail(in, RN_EFORMAT, "a key is empty");
        if (!result && i > 0 && key_cmp(item->key, doc->items[i - 1].key) <= 0)
            result = rn_cbor_fail(in, RN_EFORMAT, "keys must ascend");
        if (!result)
            result = rn_cbor_get_text(in, RN_CONFIG_MAX_BYTES, &item->value);
    }
    return result;
}

static const struct rec_custom items_custom = {NULL, put_items, get_items};
static const struct rec_row rows[] = {
    {"dev", 1, REC_TEXT, true, offsetof(struct rn_config_doc, dev), RN_DEV_MAX, 0, NULL},
    {"revision", 2, REC_U64, true, offsetof(struct rn_config_doc, revision), RN_ID_MAX, 0, NULL},
    {"expires_ms", 3, REC_U64, false, offsetof(struct rn_config_doc, expires_ms), RN_ID_MAX, 0,
     NULL},
    {"items", 4, REC_CUSTOM, true, 0, 0, 0, &items_custom},
};
static const struct rec config_rec = {rows, sizeof rows / sizeof *rows, false};

int rn_config_encode(const struct rn_config_doc *doc, struct rn_buf *out)
{
    uint16_t order[RN_CONFIG_MAX_KEYS];
    if (doc->nitems > RN_CONFIG_MAX_KEYS)
        return RN_ELIMIT;
    if (!rn_dev_valid(doc->dev) || doc->revision == 0 || !sort_items(doc, order))
        return RN_EINVAL;
    size_t start = out->len;
    int result = rec_encode(&config_rec, doc, out);
    return !result && out->len - start > RN_CONFIG_MAX_BYTES ? RN_ELIMIT : result;
}

int rn_config_decode(struct rn_span bytes, struct rn_config_doc *doc, struct rn_err *err)
{
    if (bytes.len > RN_CONFIG_MAX_BYTES)
        return rn_fail(err, RN_ELIMIT, "configuration of %zu bytes is over %d", bytes.len,
                       RN_CONFIG_MAX_BYTES);
    int result = rec_decode(&config_rec, bytes, doc, sizeof *doc, err);
    if (result)
        return result;
    if (!rn_dev_valid(doc->dev) || doc->revision == 0)
        return rn_fail(err, RN_EFORMAT, "configuration without a valid device or revision");
    return RN_OK;
}
