// See statuses.h.
#include "bridge/statuses.h"

#define COMPLAINT_MS 60000

static void greet(const struct arrival *a, struct fleet_install *in, const struct rn_status *status)
{
    const struct intake_hooks *hooks = a->hooks;
    struct rn_hello *hello = &in->words.hello;
    in->words.has_hello = true;
    in->greeted_epoch = status->epoch;
    in->talks = false;
    *hello = (struct rn_hello){.install = status->install,
                               .epoch = status->epoch,
                               .max_seq = in->batches->max_seq,
                               .max_epoch = in->max_epoch,
                               .fleet = a->parts->fleet->count,
                               .duplicate = a->dev->live.duplicate_until_ms != 0,
                               .fingerprint = in->fingerprint};
    if (hooks->desired)
        (void)hooks->desired(hooks->arg, a->name, &hello->config_revision, hello->config_hash);
    dedupe_say_all(in->batches);
    answers_now(a->parts->answers, a->dev, a->now.mono_ms);
    if (hooks->born)
        hooks->born(hooks->arg, a->name, status);
}

// The hello says that this install is known from now on, and only the newest one is announced again
// after a restart (its birth is retained): the others are known from the disk. A device's first one
// waits for the next save.
static bool is_saved(struct statuses *statuses, const struct arrival *a,
                     const struct fleet_install *in)
{
    struct rn_err err;
    if (in->saved || a->dev->ninstalls == 1)
        return true;
    if (fleet_save_device(a->dev, &err) == RN_OK) {
        rn_recovered(&statuses->unsaved, "fleet_saved_again");
        return true;
    }
    rn_complain(&statuses->unsaved, a->now.mono_ms, COMPLAINT_MS, RN_LOG_ERROR, "fleet_not_saved",
                "device=%s err=%s", a->name, RN_Q(err.text));
    return false;
}

// An agent is announced: its install may send from now on.
static struct fleet_install *announce(struct statuses *statuses, const struct arrival *a,
                                      const struct rn_status *status)
{
    uint64_t gone = 0;
    struct fleet_install *in = fleet_announce(a->dev, status->install, a->now.utc_ms, &gone);
    if (gone)
        keys_forget(statuses->keys, a, gone);
    if (!in) {
        arrival_refuse(a, BAD_INSTALLS, "the device has too many installs that are alive");
        return NULL;
    }
    if (status->epoch > in->max_epoch)
        in->max_epoch = status->epoch;
    if (!in->fingerprint)
        in->fingerprint = status->fingerprint;
    return in;
}

static void tell_of_twins(const struct fleet_device *dev, bool before)
{
    if (before || !dev->live.duplicate_until_ms)
        return;
    rn_log(RN_LOG_WARN, "device_duplicate",
           "device=%s install=%016llx fingerprint=%016llx other_install=%016llx"
           " other_fingerprint=%016llx advice=\"two agents use this name: stop or rename one\"",
           dev->name, (unsigned long long)dev->live.install,
           (unsigned long long)dev->live.fingerprint, (unsigned long long)dev->live.other_install,
           (unsigned long long)dev->live.other_fingerprint);
}

static void take_birth(struct statuses *statuses, const struct arrival *a,
                       const struct rn_status *status, const struct live_status *live)
{
    struct live_fleet *fleet = &a->parts->fleet->live;
    bool duplicate = a->dev->live.duplicate_until_ms != 0;
    struct fleet_install *in = announce(statuses, a, status);
    if (!in)
        return;
    a->parts->counters->births++;
    if (live_birth(fleet, &a->dev->live, live, a->now.mono_ms))
        fleet_note_status(a->dev, status, a->now.utc_ms);
    else
        a->parts->counters->stale++;
    answers_now(a->parts->answers, a->dev, a->now.mono_ms); // whatever waits to be said
    if (!a->retained)
        a->dev->heard_ms = a->now.utc_ms;
    tell_of_twins(a->dev, duplicate);
    if (in->talks && in->greeted_epoch == status->epoch && status->n > 1 && !in->news) {
        in->news = true;
        return; // no birth but news of an agent that was greeted
    }
    if (!is_saved(statuses, a, in))
        return; // the birth is repeated
    if (fleet_bucket_take(&a->dev->hellos, a->now.mono_ms, 32, 250))
        greet(a, in, status);
    else
        arrival_refuse(a, BAD_RATE, "too many births");
}

static void take_gone(const struct arrival *a, const struct rn_status *status,
                      const struct live_status *live)
{
    struct live_fleet *fleet = &a->parts->fleet->live;
    bool stop = status->presence == RN_PRESENCE_STOPPED;
    bool mine = stop ? live_stop(fleet, &a->dev->live, live, a->now.mono_ms)
                     : live_will(fleet, &a->dev->live, live, a->now.mono_ms);
    a->parts->counters->stops += stop;
    a->parts->counters->wills += !stop;
    if (!mine)
        a->parts->counters->stale++;
    else if (stop)
        fleet_note_status(a->dev, status, a->now.utc_ms);
    a->dev->dirty = true;
}

void statuses_take(struct statuses *statuses, const struct arrival *a)
{
    struct rn_status status;
    struct rn_err err = {0};
    if (rn_status_decode(a->payload, &status, &err) < 0) {
        arrival_refuse(a, BAD_FORM, err.text);
        return;
    }
    int64_t interval = status.interval_ms > 86400000 ? 86400000 : (int64_t)status.interval_ms;
    struct live_status live = {.install = status.install,
                               .epoch = status.epoch,
                               .n = status.n,
                               .fingerprint = status.fingerprint,
                               .interval_ms = interval,
                               .retained = a->retained};
    if (status.time_ms && !a->retained)
        a->dev->clock_offset_ms = (int64_t)status.time_ms - a->now.utc_ms;
    if (status.presence == RN_PRESENCE_ONLINE)
        take_birth(statuses, a, &status, &live);
    else
        take_gone(a, &status, &live);
}
