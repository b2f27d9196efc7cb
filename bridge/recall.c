// See recall.h.
#include "bridge/recall.h"

struct recalling {
    struct fleet *fleet;
    struct rn_err *err;
};

static int no_memory(const struct recalling *r)
{
    return rn_fail(r->err, RN_ENOMEM, "no memory for what is known of the log's batches");
}

// No room for a device or an install is no error: they are refused also later on. Without memory
// their batches would come into the log a second time.
static int left_out(const struct recalling *r, uint64_t refused_before, uint64_t refused)
{
    return refused > refused_before ? RN_OK : no_memory(r);
}

static int replay_saved(void *arg, const char *name, struct rn_span state)
{
    const struct recalling *r = arg;
    struct fleet *fleet = r->fleet;
    uint64_t gone, refused = fleet->refused;
    struct fleet_device *dev = fleet_get(fleet, name, 0, 0);
    if (!dev)
        return left_out(r, refused, fleet->refused);
    int rc = dedupe_load(&fleet->dedupe, &dev->dedupe, state, r->err);
    for (uint32_t i = 0; rc == RN_OK && i < dev->dedupe.ninstalls; i++) {
        const struct dedupe_install *in = dev->dedupe.install[i];
        if (!fleet_announce(dev, in->install, in->heard_ms, &gone))
            return no_memory(r);
    }
    return rc;
}

static int replay_row(void *arg, const struct log_head_row *row)
{
    const struct recalling *r = arg;
    struct fleet *fleet = r->fleet;
    uint64_t gone, refused = fleet->refused, installs = fleet->dedupe.installs_refused;
    struct fleet_device *dev = fleet_get(fleet, row->dev, 0, 0);
    if (!dev)
        return left_out(r, refused, fleet->refused);
    struct fleet_install *in = fleet_install_find(dev, row->install);
    if (!in)
        in = fleet_announce(dev, row->install, 0, &gone);
    if (!in)
        return left_out(r, installs, fleet->dedupe.installs_refused);
    int rc = dedupe_restore(&fleet->dedupe, &dev->dedupe, in->batches, row->seq, row->crc);
    return rc ? no_memory(r) : RN_OK;
}

static int save(void *arg,
                int (*put)(void *to, const char *dev, struct rn_span state, struct rn_err *err),
                void *to, struct rn_err *err)
{
    const struct fleet *fleet = arg;
    struct rn_buf buf;
    int rc = RN_OK;
    rn_buf_init(&buf, DEDUPE_SAVED_MAX);
    for (uint32_t i = 0; rc == RN_OK && i < fleet->count; i++) {
        const struct fleet_device *dev = fleet->device[i];
        if (!dev->dedupe.ninstalls)
            continue;
        rn_buf_clear(&buf);
        dedupe_save(&dev->dedupe, &buf);
        rc = rn_buf_ok(&buf)
                 ? put(to, dev->name, rn_buf_span(&buf), err)
                 : rn_fail(err, RN_ELIMIT, "dedupe state of %s is too large", dev->name);
    }
    rn_buf_release(&buf);
    return rc;
}

int recall(struct fleet *fleet, struct log *log, struct rn_err *err)
{
    log_on_seal(log, &(struct log_saver){fleet, save});
    struct recalling r = {fleet, err};
    return log_replay(log, &r, replay_saved, replay_row, err);
}
