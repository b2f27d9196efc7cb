// See offers.h.
#include "bridge/offers.h"

#include <runnel/clock.h>
#include <runnel/log.h>

#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX (RN_CONFIG_MAX_BYTES + 256)
#define AGAIN_MAX   1000

struct offers {
    struct offers_conf conf;
    uint8_t message[MESSAGE_MAX];
};

static bool on_desired(void *arg, const char *dev, uint64_t *revision, uint8_t hash[RN_HASH_BYTES])
{
    const struct offers *offers = arg;
    struct desired_state state;
    struct rn_err err;
    if (desired_state(offers->conf.desired, dev, &state, &err) < 0 || state.revision == 0)
        return false;
    *revision = state.revision;
    memcpy(hash, state.hash, RN_HASH_BYTES);
    return true;
}

// A device that does not run what is desired is sent it, whatever it may have retained; it answers
// with the same verdict as before if it has judged that document already.
static void on_born(void *arg, const char *dev, const struct rn_status *status)
{
    struct offers *offers = arg;
    uint64_t revision;
    uint8_t hash[RN_HASH_BYTES];
    struct rn_err err;
    if (!on_desired(offers, dev, &revision, hash) ||
        memcmp(hash, status->config_hash, RN_HASH_BYTES) == 0)
        return;
    if (offers_publish(offers, dev, &err) < 0)
        rn_log(RN_LOG_ERROR, "config_not_sent", "device=%s err=%s", dev, RN_Q(err.text));
}

static bool on_report(void *arg, const char *dev, const struct rn_report *report)
{
    static const char *const words[] = {"none",     "probation",    "confirmed",
                                        "rejected", "undetermined", "conflict"};
    struct offers *offers = arg;
    struct rn_err err;
    if (desired_report(offers->conf.desired, dev, report, rn_clock_utc_ms(), &err) < 0) {
        rn_log(RN_LOG_ERROR, "report_not_stored", "device=%s err=%s", dev, RN_Q(err.text));
        return false;
    }
    if ((unsigned)report->state < sizeof words / sizeof words[0])
        rn_log(RN_LOG_INFO, "config_report", "device=%s revision=%llu state=%s path=%s reason=%s",
               dev, (unsigned long long)report->offered, words[report->state],
               rn_log_quote_n(report->path.data, report->path.len),
               rn_log_quote_n(report->reason.data, report->reason.len));
    return true;
}

int offers_new(struct offers **out, const struct offers_conf *conf, struct rn_err *err)
{
    struct offers *offers = calloc(1, sizeof *offers);
    if (!offers)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    offers->conf = *conf;
    *out = offers;
    return 0;
}

void offers_free(struct offers *offers)
{
    free(offers);
}

struct intake_hooks offers_hooks(struct offers *offers)
{
    return (struct intake_hooks){
        .arg = offers, .desired = on_desired, .born = on_born, .report = on_report};
}

int offers_publish(struct offers *offers, const char *dev, struct rn_err *err)
{
    struct rn_buf out;
    rn_buf_init_fixed(&out, offers->message, sizeof offers->message);
    int rc = desired_message(offers->conf.desired, dev, 0, &out, err);
    if (rc < 0)
        return rc;
    if (offers->conf.publish(offers->conf.arg, dev, rn_buf_span(&out)) < 0)
        rn_log(RN_LOG_INFO, "config_waits", "device=%s reason=\"no connection\"", dev);
    return 0;
}

static void again(void *arg, const char *dev)
{
    struct rn_err err;
    if (offers_publish(arg, dev, &err) < 0)
        rn_log(RN_LOG_ERROR, "config_not_sent", "device=%s err=%s", dev, RN_Q(err.text));
}

void offers_again(struct offers *offers)
{
    struct rn_err err;
    if (desired_unanswered(offers->conf.desired, AGAIN_MAX, again, offers, &err) < 0)
        rn_log(RN_LOG_ERROR, "config_not_sent", "device=all err=%s", RN_Q(err.text));
}
