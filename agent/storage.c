// See storage.h.
#include "agent/storage.h"

#include "agent/walltime.h"
#include <runnel/clock.h>
#include <runnel/crc.h>
#include <runnel/log.h>

#include <stdlib.h>

enum {
    RAM_BUFFER_BYTES = 1 << 20, // where the disk refuses
    DISK_RETRY_MS = 60000,
    SALVAGE_PAUSE_MAX = 60, // of those
};

struct storage {
    const struct agent_settings *settings;
    struct storage_hooks hooks;
    struct encoder *encoder;
    struct store *store;
    struct rn_timer *retry;
    uint64_t fingerprint;
    uint64_t journaled; // samples of the open window that the journal has
    // After a salvage that came to no end: each reads and writes the whole file.
    uint32_t pause, left; // in calls of storage_look: until the next one, of these still left
    struct rn_complaint disk_full;
};

struct store *storage_store(const struct storage *storage)
{
    return storage->store;
}

// ---- opening ------------------------------------------------------------------------------------

static void tell_opened(const struct storage *x, const struct store_report *r)
{
    if (r->quarantined)
        rn_log(RN_LOG_ERROR, "buffer_damaged", "aside=%s salvaged_batches=%llu lost_samples=%llu",
               RN_Q(r->aside), (unsigned long long)r->salvaged_rows,
               (unsigned long long)r->lost_samples);
    if (r->relabelled)
        rn_log(RN_LOG_WARN, "install_renewed",
               "new=%016llx why=\"this buffer was made on another machine\"",
               (unsigned long long)store_state(x->store)->install);
    if (r->journal_samples)
        rn_log(RN_LOG_INFO, "journal_recovered", "samples=%llu",
               (unsigned long long)r->journal_samples);
}

static void pause_salvage(struct storage *x, bool failed)
{
    uint32_t longer = x->pause ? 2 * x->pause : 1;
    x->pause = !failed ? 0 : longer < SALVAGE_PAUSE_MAX ? longer : SALVAGE_PAUSE_MAX;
    x->left = x->pause;
}

static int open_store(struct storage *x, bool disk, struct rn_err *err)
{
    const struct agent_settings *s = x->settings;
    struct store_conf conf = {.folder = disk ? s->data : NULL,
                              .max_bytes = disk ? s->buffer_max_bytes : RAM_BUFFER_BYTES,
                              .max_age_ms = s->buffer_max_age_ms,
                              .fingerprint = x->fingerprint};
    struct store_report report;
    int rc = store_open(&x->store, &conf, &report, err);
    if (rc >= 0)
        tell_opened(x, &report);
    if (disk)
        pause_salvage(x, rc < 0 && report.quarantined);
    return rc;
}

// The disk refuses: go on in memory, and look from time to time whether it is back.
static int open_ram(struct storage *x, const struct rn_err *why, struct rn_err *err)
{
    rn_complain(&x->disk_full, rn_clock_mono_ms(), 3600000, RN_LOG_ERROR, "buffer_in_memory",
                "data=%s err=%s advice=\"mend the disk; until then at most %d kB are kept\"",
                RN_Q(x->settings->data), RN_Q(why->text), RAM_BUFFER_BYTES / 1024);
    return open_store(x, false, err);
}

void storage_failed(struct storage *x, const struct rn_err *why)
{
    struct rn_err err;
    bool damaged = why->code == RN_ECORRUPT && !store_in_memory(x->store);
    rn_log(RN_LOG_ERROR, "buffer_failed", "err=%s", RN_Q(why->text));
    store_close(x->store);
    x->store = NULL;
    int rc = damaged ? open_store(x, true, &err) : RN_EIO;
    if (rc < 0)
        rc = open_ram(x, damaged ? &err : why, &err);
    if (rc < 0) {
        x->hooks.fatal(x->hooks.arg, &err);
        return;
    }
    x->journaled = 0;
    x->hooks.changed(x->hooks.arg);
}

void storage_look(struct storage *x)
{
    struct rn_err err;
    struct store *ram = x->store;
    if (x->left > 1) {
        x->left--;
        return;
    }
    if (!ram || !store_in_memory(ram) || store_state(ram)->rows > 0)
        return;
    x->store = NULL;
    int rc = open_store(x, true, &err);
    if (rc >= 0)
        rc = store_publish(x->store, 0, &err); // a commit shows that it takes writes
    if (rc < 0) {
        store_close(x->store);
        x->store = ram;
        return;
    }
    store_close(ram);
    rn_recovered(&x->disk_full, "buffer_on_disk");
    x->journaled = 0;
    x->hooks.changed(x->hooks.arg);
}

static void on_retry(void *arg)
{
    storage_look(arg);
}

// ---- from the window to the buffer --------------------------------------------------------------

// plain: for the journal, which is written often and never sent as it is.
static int encode_row(struct storage *x, const struct sampler_batch *b, bool plain,
                      struct store_row *row, struct rn_err *err)
{
    *row = (struct store_row){.samples = b->samples,
                              .t_first = b->t_first_ms,
                              .t_last = b->t_last_ms,
                              .boot_ms = rn_clock_boot_ms(),
                              .trusted = walltime_trusted(rn_clock_utc_ms())};
    int rc = store_schema_id(x->store, b->hash, b->object, &row->schema, err);
    if (rc < 0)
        return rc;
    if (plain)
        rc = encoder_plain(x->encoder, b->schema, row->schema, b->grid, &row->body, err);
    else
        rc = encoder_smallest(x->encoder, b->schema, row->schema, b->grid, &row->body, err);
    if (rc < 0)
        return rc;
    row->crc = rn_crc32c(0, row->body.data, row->body.len);
    return RN_OK;
}

static bool is_storage(int code)
{
    return code == RN_EIO || code == RN_ENOSPC || code == RN_EACCESS || code == RN_ECORRUPT ||
           code == RN_EAGAIN;
}

static int append(struct storage *x, const struct sampler_batch *b, struct store_row *row,
                  struct rn_err *err)
{
    int64_t utc = rn_clock_utc_ms();
    int rc = encode_row(x, b, false, row, err);
    if (rc >= 0)
        rc = store_append(x->store, row, x->hooks.sends(x->hooks.arg),
                          walltime_trusted(utc) ? utc : 0, err);
    if (rc >= 0)
        x->journaled = 0;
    return rc;
}

int storage_append(struct storage *x, const struct sampler_batch *batch, struct store_row *row,
                   struct rn_err *err)
{
    struct tee *tee = x->hooks.tee;
    if (tee)
        tee_begin(tee, x->settings->device, batch);
    int rc = append(x, batch, row, err);
    if (rc < 0 && is_storage(rc)) {
        storage_failed(x, err);
        rc = x->store ? append(x, batch, row, err) : rc;
    }
    if (rc >= 0 && tee)
        tee_commit(tee, x->settings->device, row->install, row->seq, row->samples);
    return rc;
}

void storage_journal(struct storage *x, struct sampler *sampler)
{
    struct sampler_batch batch;
    struct store_row row;
    struct rn_err err;
    uint64_t open = sampler_open_samples(sampler);
    if (!x->store || open == 0 || open == x->journaled || sampler_peek(sampler, &batch, &err) < 0)
        return;
    int rc = encode_row(x, &batch, true, &row, &err);
    if (rc >= 0)
        rc = store_journal(x->store, &row, &err);
    if (rc >= 0)
        x->journaled = open;
    else if (is_storage(rc))
        storage_failed(x, &err);
}

// ---- life ---------------------------------------------------------------------------------------

int storage_new(struct storage **out, struct rn_loop *loop, const struct agent_settings *settings,
                struct encoder *encoder, uint64_t fingerprint, const struct storage_hooks *hooks,
                struct rn_err *err)
{
    struct rn_err why;
    struct storage *x = calloc(1, sizeof *x);
    if (!x)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    x->settings = settings;
    x->encoder = encoder;
    x->fingerprint = fingerprint;
    x->hooks = *hooks;
    int rc = open_store(x, true, &why);
    if (rc == RN_EEXIST)
        (void)!rn_fail(err, RN_EEXIST, "%s", why.text);
    else if (rc < 0)
        rc = open_ram(x, &why, err);
    if (rc >= 0)
        rc = rn_timer_new(&x->retry, loop, on_retry, x, err);
    if (rc < 0) {
        storage_free(x);
        return rc;
    }
    *out = x;
    return RN_OK;
}

void storage_free(struct storage *x)
{
    if (!x)
        return;
    rn_timer_free(x->retry);
    store_close(x->store);
    free(x);
}

void storage_tell_start(const struct storage *x)
{
    const struct store_state *s = store_state(x->store);
    rn_log(RN_LOG_INFO, "agent_started",
           "device=%s version=%s install=%016llx batches=%llu samples_pending=%llu",
           x->settings->device, RUNNEL_VERSION, (unsigned long long)s->install,
           (unsigned long long)s->rows, (unsigned long long)s->ledger.pending);
}

void storage_tell_end(const struct storage *x)
{
    if (!x->store)
        return;
    const struct rn_ledger *l = &store_state(x->store)->ledger;
    rn_log(RN_LOG_INFO, "agent_stopped",
           "device=%s produced=%llu delivered=%llu pending=%llu evicted=%llu refused=%llu "
           "lost=%llu",
           x->settings->device, (unsigned long long)l->produced, (unsigned long long)l->delivered,
           (unsigned long long)l->pending, (unsigned long long)l->evicted,
           (unsigned long long)l->refused, (unsigned long long)l->lost);
}

void storage_start(struct storage *x)
{
    rn_timer_start(x->retry, DISK_RETRY_MS, DISK_RETRY_MS);
}

void storage_stop(struct storage *x)
{
    rn_timer_stop(x->retry);
}

void storage_reconf(struct storage *x, const struct agent_settings *settings)
{
    x->settings = settings;
    if (x->store && !store_in_memory(x->store))
        store_reconf(x->store, settings->buffer_max_bytes, settings->buffer_max_age_ms);
}
