// See keys.h.
#include "bridge/keys.h"

#define COMPLAINT_MS 60000
#define ASK_AGAIN_MS 5000 // then another device may be asked, and who waits for it is
// Those: a few at once, then one after the other.
#define MORE_BURST    16
#define MORE_EVERY_MS 500

// ---- asking ------------------------------------------------------------------------------------

// For one schema one device is asked at a time; another may be after a while.
static bool may_ask(struct keys *keys, int64_t object, const struct fleet_device *dev,
                    int64_t now_ms)
{
    struct keys_asked *slot = &keys->asked[0];
    for (int i = 0; i < KEYS_ASKED; i++) {
        struct keys_asked *at = &keys->asked[i];
        if (at->object == object && now_ms < at->until_ms)
            return at->dev == dev;
        if (at->until_ms < slot->until_ms)
            slot = at;
    }
    *slot = (struct keys_asked){object, dev, now_ms + ASK_AGAIN_MS};
    return true;
}

static void need(const struct arrival *a, struct fleet_install *in, enum rn_object kind,
                 uint32_t id, bool object)
{
    a->parts->counters->needs++;
    acker_need(&in->words, kind, id, object);
    arrival_answer_soon(a);
}

// A device that never gives what it is asked for keeps nobody else from giving it. Of a whole fleet
// that waits some are asked, and the same one not again before it has waited anew.
static bool waits_long(struct keys *keys, const struct arrival *a, struct fleet_install *in,
                       int64_t object)
{
    if (in->waits_for != object || a->now.mono_ms - in->waits_ms < ASK_AGAIN_MS ||
        !fleet_bucket_take(&keys->more, a->now.mono_ms, MORE_BURST, MORE_EVERY_MS))
        return false;
    in->waits_ms = a->now.mono_ms;
    return true;
}

// The content of an object that many devices may have (a schema: then one of them is asked) or this
// one only.
static void need_content(struct keys *keys, const struct arrival *a, struct fleet_install *in,
                         enum rn_object kind, uint32_t id, int64_t object)
{
    if (kind != RN_OBJECT_SCHEMA || may_ask(keys, object, a->dev, a->now.mono_ms) ||
        waits_long(keys, a, in, object))
        need(a, in, kind, id, true);
}

bool keys_lacking(struct keys *keys, const struct arrival *a, struct fleet_install *in,
                  const struct refs *refs)
{
    bool lacking = false;
    for (int i = 0; i < NREFS; i++) {
        const struct ref *ref = &refs->ref[i];
        if (!ref_lacking(ref))
            continue;
        lacking = true;
        if (!ref->info.row) {
            need(a, in, ref->kind, ref->id, false);
            continue;
        }
        if (ref->kind == RN_OBJECT_SCHEMA) {
            if (in->waits_for != ref->info.row)
                in->waits_ms = a->now.mono_ms;
            in->waits_for = ref->info.row;
            in->waits_id = ref->id;
        }
        need_content(keys, a, in, ref->kind, ref->id, ref->info.row);
    }
    return lacking;
}

// A schema has come: devices whose batches were dropped for want of it are asked for the binding,
// which makes them send again without waiting for their timeout.
static void wake_waiters(const struct arrival *a, int64_t object)
{
    struct fleet *fleet = a->parts->fleet;
    for (uint32_t i = 0; i < fleet->count; i++)
        for (uint32_t k = 0; k < fleet->device[i]->ninstalls; k++) {
            struct fleet_install *in = fleet->device[i]->install[k];
            if (in->waits_for != object)
                continue;
            in->waits_for = 0;
            if (fleet->device[i] == a->dev)
                continue;
            a->parts->counters->needs++;
            acker_need(&in->words, RN_OBJECT_SCHEMA, in->waits_id, false);
            answers_schedule(a->parts->answers, fleet->device[i], true, a->now.mono_ms);
        }
}

// ---- schemas.db --------------------------------------------------------------------------------

static void not_written(struct keys *keys, const struct arrival *a, const struct rn_err *err)
{
    rn_complain(&keys->schemas, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "schemas_refuse",
                "err=%s", RN_Q(err->text));
}

bool keys_find(struct keys *keys, const struct arrival *a, struct fleet_install *in,
               const struct rn_batch_info *batch, struct refs *refs)
{
    struct rn_err err;
    if (refs_find(refs, a->parts->schemas, a->name, in, batch, &err) == RN_OK)
        return true;
    rn_complain(&keys->schemas, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "schemas_unreadable",
                "err=%s", RN_Q(err.text));
    return false;
}

void keys_forget(struct keys *keys, const struct arrival *a, uint64_t install)
{
    struct rn_err err;
    if (schemas_forget(a->parts->schemas, a->name, install, &err) < 0)
        not_written(keys, a, &err);
}

// Only a buffer that was restored from an older copy gives a number twice. The batches that name it
// are answered with `conflict`, so that the agent moves to a new install with numbers of its own.
static int dispute(const struct arrival *a, struct fleet_install *in, const struct rn_key_msg *msg,
                   struct rn_err *err)
{
    int rc = schemas_dispute(a->parts->schemas, a->name, msg, err);
    refs_forget(in);
    return rc < 0 ? rc : RN_ECONFLICT;
}

static void store(struct keys *keys, const struct arrival *a, struct fleet_install *in,
                  const struct rn_key_msg *msg)
{
    struct counters *counters = a->parts->counters;
    struct schemas_taken taken;
    struct rn_err err = {0};
    int rc = schemas_take(a->parts->schemas, a->name, msg, &taken, &err);
    if (rc == RN_ECONFLICT)
        rc = dispute(a, in, msg, &err);
    if (rc == RN_EFORMAT || rc == RN_ECONFLICT || rc == RN_ELIMIT || rc == RN_EUNSUPPORTED) {
        arrival_refuse(a, BAD_KEY, err.text);
        return;
    }
    if (rc < 0) {
        not_written(keys, a, &err);
        return;
    }
    rn_recovered(&keys->schemas, "schemas_accept_again");
    counters->key_messages++;
    counters->schemas_stored += taken.bytes > 0;
    counters->schema_bytes += taken.bytes;
    counters->bindings_replaced += taken.replaced;
    a->dev->schema_bytes += a->payload.len;
    refs_forget(in);
    if (taken.bytes && msg->kind == RN_OBJECT_SCHEMA)
        wake_waiters(a, taken.info.row);
    if (!taken.info.complete)
        need_content(keys, a, in, msg->kind, msg->id, taken.info.row);
}

void keys_take(struct keys *keys, const struct arrival *a)
{
    struct rn_key_msg msg;
    struct rn_err err = {0};
    if (a->retained) {
        arrival_refuse(a, BAD_RETAINED, "key messages are not to be retained");
        return;
    }
    if (!fleet_bucket_take(&a->dev->keys, a->now.mono_ms, 64, 500)) {
        arrival_refuse(a, BAD_RATE, "too many key messages");
        return;
    }
    if (rn_key_decode(a->payload, &msg, &err) < 0) {
        arrival_refuse(a, BAD_FORM, err.text);
        return;
    }
    struct fleet_install *in = fleet_install_find(a->dev, msg.install);
    if (in)
        store(keys, a, in, &msg);
    else
        arrival_refuse(a, BAD_INSTALL, "no birth announced the install of this key");
}
