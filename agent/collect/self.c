// See self.h.
#include "agent/collect/self.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <string.h>
#include <sys/resource.h>

#define COUNTER(name_, unit_, help_)                                                               \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .unit = unit_, .help = help_            \
    }
#define GAUGE(name_, unit_, mul_, help_)                                                           \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .unit = unit_, .mul = mul_, .help = help_ \
    }

enum {
    F_RSS,
    F_ANON,
    F_CPU,
    F_ROWS,
    F_WRITTEN,
    F_SENT,
    F_MESSAGES,
    F_CONNECTS,
    F_CONNECT_FAILURES,
    F_RESENT,
    F_TIMEOUTS,
    F_MISSED,
    F_VALUES_REFUSED,
    F_COLLECT_ERRORS,
    F_EARLY,
    F_HELD,
    F_PRODUCED,
    F_PENDING,
    F_DELIVERED,
    F_EVICTED,
    F_THINNED,
    F_REFUSED,
    F_LOST,
    F_COUNT
};

static const struct rn_field_desc fields[F_COUNT] = {
    [F_RSS] = GAUGE("rss", "By", 1024, "Resident memory of the agent's process."),
    [F_ANON] = GAUGE("anonymous", "By", 1024, "Of that: not backed by a file."),
    [F_CPU] = COUNTER("cpu_ms", "ms", "CPU time of the agent's process."),
    [F_ROWS] = GAUGE("buffer_batches", "", 1, "Batches in the buffer."),
    [F_WRITTEN] = COUNTER("bytes_written", "By", "Bytes of batches given to the disk."),
    [F_SENT] = COUNTER("bytes_sent", "By", "Bytes of payload given to the broker."),
    [F_MESSAGES] = COUNTER("messages_sent", "", "Messages given to the broker."),
    [F_CONNECTS] = COUNTER("connects", "", "Connections made."),
    [F_CONNECT_FAILURES] = COUNTER("connect_failures", "", "Connection attempts that failed."),
    [F_RESENT] = COUNTER("batches_resent", "", "Batches sent again."),
    [F_TIMEOUTS] = COUNTER("ack_timeouts", "", "Batches that were not answered in time."),
    [F_MISSED] = COUNTER("ticks_missed", "", "Ticks that were not read in time."),
    [F_VALUES_REFUSED] = COUNTER("values_refused", "", "Values that did not fit into a batch."),
    [F_COLLECT_ERRORS] = COUNTER("collect_errors", "", "Failed readings of collectors."),
    [F_EARLY] = COUNTER("batches_early", "", "Batches sent early because of a change."),
    [F_HELD] = COUNTER("changes_held", "", "Changes that waited for the next batch."),
    [F_PRODUCED] = COUNTER("samples_produced", "", "Samples committed to the buffer."),
    [F_PENDING] = GAUGE("samples_pending", "", 1, "Samples in the buffer."),
    [F_DELIVERED] = COUNTER("samples_delivered", "", "Samples that the bridge made durable."),
    [F_EVICTED] =
        GAUGE("samples_evicted", "", 1,
              "Samples dropped for space or age; falls if some turn out to have arrived."),
    [F_THINNED] = COUNTER("samples_thinned", "", "Samples replaced by coarser ones."),
    [F_REFUSED] = COUNTER("samples_refused", "", "Samples that the bridge dead-lettered."),
    [F_LOST] = COUNTER("samples_lost", "", "Samples lost with a damaged buffer."),
};

// "RssAnon:     1234 kB"
static void read_memory(const struct collect_env *env, uint64_t *rss, uint64_t *anon)
{
    struct rn_span text, line, word;
    struct rn_err err;
    if (collect_read(env, env->procfs, "self/status", &text, &err) < 0)
        return;
    while (parse_line(&text, &line)) {
        if (!parse_word(&line, &word))
            continue;
        if (rn_span_eq_text(word, "VmRSS:"))
            parse_next_u64(&line, rss);
        else if (rn_span_eq_text(word, "RssAnon:"))
            parse_next_u64(&line, anon);
    }
}

static uint64_t cpu_ms(void)
{
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) < 0)
        return 0;
    return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 +
           (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000;
}

static void emit(struct point *p, const struct self_stats *s)
{
    const uint64_t values[F_COUNT] = {
        [F_CPU] = cpu_ms(),
        [F_ROWS] = s->rows,
        [F_WRITTEN] = s->bytes_written,
        [F_SENT] = s->bytes_sent,
        [F_MESSAGES] = s->messages_sent,
        [F_CONNECTS] = s->connects,
        [F_CONNECT_FAILURES] = s->connect_failures,
        [F_RESENT] = s->resent,
        [F_TIMEOUTS] = s->timeouts,
        [F_MISSED] = s->ticks_missed,
        [F_VALUES_REFUSED] = s->values_refused,
        [F_COLLECT_ERRORS] = s->collect_errors,
        [F_EARLY] = s->batches_early,
        [F_HELD] = s->changes_held,
        [F_PRODUCED] = s->produced,
        [F_PENDING] = s->pending,
        [F_DELIVERED] = s->delivered,
        [F_EVICTED] = s->evicted,
        [F_THINNED] = s->thinned,
        [F_REFUSED] = s->refused,
        [F_LOST] = s->lost,
    };
    for (int i = F_CPU; i < F_COUNT; i++)
        point_uint(p, &fields[i], values[i]);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state;
    (void)boot_ms;
    (void)err;
    const struct self_conf *self = conf;
    struct self_stats stats = {0};
    if (!self->read)
        return RN_OK;
    self->read(self->arg, &stats);
    uint64_t rss = 0, anon = 0;
    read_memory(env, &rss, &anon);
    struct point p;
    point_clear(&p);
    point_uint(&p, &fields[F_RSS], rss);
    point_uint(&p, &fields[F_ANON], anon);
    emit(&p, &stats);
    point_report(&p, "runnel_agent", out);
    return RN_OK;
}

const struct rn_collector self_collector = {
    .name = "runnel_agent",
    .help = "The agent itself: memory, CPU, traffic, buffer, and where its samples went.",
    .conf_size = sizeof(struct self_conf),
    .fields = fields,
    .nfields = F_COUNT,
    .tags = "",
    .sample = sample,
};
