// See log_objects.h.
#include "bridge/log_objects.h"

#include <stdlib.h>
#include <string.h>

#define OBJECTS_MAX (1u << 20)

struct key {
    uint64_t segment;
    int64_t number;
};

void log_objects_init(struct log_objects *objects, size_t max_bytes)
{
    *objects = (struct log_objects){.max_bytes = max_bytes};
    rn_map_init(&objects->map, OBJECTS_MAX, 0); // nobody outside chooses the keys
    rn_buf_init(&objects->buf, RN_SCHEMA_MAX_BYTES);
}

void log_objects_release(struct log_objects *objects)
{
    while (objects->newest) {
        struct log_object *older = objects->newest->older;
        free(objects->newest);
        objects->newest = older;
    }
    rn_map_release(&objects->map);
    rn_buf_release(&objects->buf);
}

static void unlink_object(struct log_objects *objects, struct log_object *o)
{
    *(o->newer ? &o->newer->older : &objects->newest) = o->older;
    *(o->older ? &o->older->newer : &objects->oldest) = o->newer;
}

static void link_newest(struct log_objects *objects, struct log_object *o)
{
    o->newer = NULL;
    o->older = objects->newest;
    *(o->older ? &o->older->newer : &objects->oldest) = o;
    objects->newest = o;
}

static void evict(struct log_objects *objects, const struct log_object *keep)
{
    struct log_object *next;
    for (struct log_object *o = objects->oldest; o && objects->bytes > objects->max_bytes;
         o = next) {
        next = o->newer;
        if (o->users || o == keep)
            continue;
        struct key key = {o->segment, o->number};
        rn_map_take(&objects->map, (struct rn_span){(const uint8_t *)&key, sizeof key});
        unlink_object(objects, o);
        objects->bytes -= o->bytes;
        free(o);
    }
}

// The bytes, then room for the parsed form.
static struct log_object *make(struct rn_span body, const uint8_t *hash, bool schema)
{
    size_t kept = (body.len + 15) & ~(size_t)15;
    size_t parsed = schema ? RN_SCHEMA_STORAGE / RN_SCHEMA_MAX_BYTES * body.len + 1024 : 0;
    size_t bytes = sizeof(struct log_object) + kept + parsed;
    struct log_object *made = calloc(1, bytes);
    if (!made)
        return NULL;
    made->bytes = bytes;
    if (body.len)
        memcpy(made->storage, body.data, body.len);
    made->body = (struct rn_span){made->storage, body.len};
    if (!schema)
        return made;
    if (rn_schema_decode(made->body, &made->schema, made->storage + kept, parsed, NULL) != RN_OK)
        made->error = "its schema cannot be read";
    memcpy(made->schema.hash, hash, RN_HASH_BYTES);
    return made;
}

static int load(struct log_objects *objects, struct segment *segment, int64_t number, bool schema,
                struct log_object **out, struct rn_err *err)
{
    uint8_t hash[RN_HASH_BYTES] = {0};
    const char *error = NULL;
    int rc = segment_get_object(segment, number, hash, &objects->buf, err);
    if (rc == RN_ENOENT)
        error = "what it is decoded with is not in the log";
    else if (rc == RN_EFORMAT || rc == RN_ECORRUPT)
        error = "what it is decoded with is damaged in the log";
    else if (rc)
        return rc;
    struct log_object *made = error ? make((struct rn_span){0}, hash, false)
                                    : make(rn_buf_span(&objects->buf), hash, schema);
    if (!made)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    if (error)
        made->error = error;
    made->segment = segment_first(segment);
    made->number = number;
    *out = made;
    return RN_OK;
}

int log_objects_get(struct log_objects *objects, struct segment *segment, int64_t number,
                    bool schema, struct log_object **out, struct rn_err *err)
{
    struct key key = {segment_first(segment), number};
    struct rn_span span = {(const uint8_t *)&key, sizeof key};
    struct log_object *o = rn_map_get(&objects->map, span);
    if (o) {
        unlink_object(objects, o);
    } else {
        int rc = load(objects, segment, number, schema, &o, err);
        if (rc)
            return rc;
        if (rn_map_put(&objects->map, span, o) < 0) {
            free(o);
            return rn_fail(err, RN_ENOMEM, "out of memory");
        }
        objects->bytes += o->bytes;
    }
    link_newest(objects, o);
    evict(objects, o);
    *out = o;
    return RN_OK;
}
