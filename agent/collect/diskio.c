// See diskio.h.
#include "agent/collect/diskio.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#define COUNTER(name_, mul_, unit_, help_)                                                         \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .mul = mul_, .unit = unit_,             \
        .help = help_                                                                              \
    }

static const struct rn_field_desc fields[DISKIO_FIELDS] = {
    [DISKIO_READS] = COUNTER("reads", 1, NULL, "Reads completed."),
    [DISKIO_MERGED_READS] = COUNTER("merged_reads", 1, NULL, "Reads joined with a neighbour."),
    [DISKIO_READ_BYTES] = COUNTER("read_bytes", 512, "By", "Read."),
    [DISKIO_READ_TIME] = COUNTER("read_time", 1, "ms", "Time of all reads, from queue to end."),
    [DISKIO_WRITES] = COUNTER("writes", 1, NULL, "Writes completed."),
    [DISKIO_MERGED_WRITES] = COUNTER("merged_writes", 1, NULL, "Writes joined with a neighbour."),
    [DISKIO_WRITE_BYTES] = COUNTER("write_bytes", 512, "By", "Written."),
    [DISKIO_WRITE_TIME] = COUNTER("write_time", 1, "ms", "Time of all writes, from queue to end."),
    [DISKIO_IOPS_IN_PROGRESS] = {.name = "iops_in_progress",
                                 .type = RN_INT,
                                 .kind = RN_GAUGE,
                                 .help = "Requests given to the driver and not completed yet."},
    [DISKIO_IO_TIME] = COUNTER("io_time", 1, "ms", "Time during which requests were queued."),
    [DISKIO_WEIGHTED_IO_TIME] =
        COUNTER("weighted_io_time", 1, "ms", "The same, times the number of requests."),
};

static const struct rn_opt opts[] = {
    {.key = "devices",
     .type = RN_OPT_LIST,
     .offset = offsetof(struct diskio_conf, devices),
     .flags = RN_OPT_REMOTE,
     .help = "Names or patterns; empty: all devices and partitions that were ever used."},
};

bool diskio_parse(struct rn_span line, struct diskio_counters *counters)
{
    struct rn_span name;
    if (!parse_skip(&line, 2) || !parse_word(&line, &name) ||
        !parse_copy(counters->name, sizeof counters->name, name))
        return false;
    counters->used = false;
    for (int i = 0; i < DISKIO_FIELDS; i++) {
        if (!parse_next_u64(&line, &counters->value[i]))
            return false;
        counters->used |= counters->value[i] > 0;
    }
    return true;
}

static void emit(struct diskio_counters *counters, const struct rn_samples *out)
{
    struct point p;
    point_clear(&p);
    for (int i = 0; i < DISKIO_FIELDS; i++)
        point_uint(&p, &fields[i], counters->value[i]);
    parse_clean(counters->name);
    point_tag(&p, "name", counters->name);
    point_report(&p, "diskio", out);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)boot_ms;
    const struct diskio_conf *c = conf;
    struct rn_span text, line;
    int code = collect_read(env, env->procfs, "diskstats", &text, err);
    if (code < 0)
        return code;
    int reported = 0;
    while (parse_line(&text, &line)) {
        struct diskio_counters counters;
        if (!diskio_parse(line, &counters) || !counters.used ||
            !parse_wanted(&c->devices, counters.name))
            continue;
        if (reported++ < DISKIO_MAX_DEVICES)
            emit(&counters, out);
        else
            collect_left_out(env, 1);
    }
    return 0;
}

const struct rn_collector collect_diskio = {
    .name = "diskio",
    .help = "Traffic of each block device.",
    .conf_size = sizeof(struct diskio_conf),
    .opts = opts,
    .nopts = RN_OPT_COUNT(opts),
    .fields = fields,
    .nfields = DISKIO_FIELDS,
    .tags = "name",
    .sample = sample,
};
