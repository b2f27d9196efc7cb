// See diskio.h.
#include "agent/collect/diskio.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <string.h>

#define COUNTER(name_, mul_, unit_, help_)                                                         \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .mul = mul_, .unit = unit_,             \
        .help = help_                                                                              \
    }

#define AVERAGE(name_, unit_, help_)                                                               \
    {                                                                                              \
        .name = name_, .type = RN_FLOAT, .kind = RN_GAUGE, .decimals = 2, .unit = unit_,           \
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
    [DISKIO_IO_AWAIT] = AVERAGE("io_await", "ms", "Time of a request since the last tick."),
    [DISKIO_IO_SVCTM] = AVERAGE("io_svctm", "ms", "The same without waiting in the queue."),
    [DISKIO_IO_UTIL] = AVERAGE("io_util", "%", "Share of time with requests since the last tick."),
};

static const struct rn_opt opts[] = {
    {.key = "devices",
     .type = RN_OPT_LIST,
     .offset = offsetof(struct diskio_conf, devices),
     .flags = RN_OPT_REMOTE,
     .help = "Names or patterns; empty: all devices and partitions that were ever used."},
    {.key = "averages",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct diskio_conf, averages),
     .def = "false",
     .flags = RN_OPT_REMOTE,
     .help = "Report io_await, io_svctm and io_util too."},
};

// The devices of the last tick and of this one, by turns.
struct state {
    struct diskio_counters tick[2][DISKIO_MAX_DEVICES];
    int count[2];
    int now; // which of the two is this tick's
    int64_t before_ms;
};

bool diskio_parse(struct rn_span line, struct diskio_counters *counters)
{
    struct rn_span name;
    if (!parse_skip(&line, 2) || !parse_word(&line, &name) ||
        !parse_copy(counters->name, sizeof counters->name, name))
        return false;
    counters->used = false;
    for (int i = 0; i < DISKIO_COUNTERS; i++) {
        if (!parse_next_u64(&line, &counters->value[i]))
            return false;
        counters->used |= counters->value[i] > 0;
    }
    return true;
}

// What a counter has grown by; false if it went back.
static bool grown(const struct diskio_counters *before, const struct diskio_counters *now,
                  enum diskio_field field, uint64_t *by)
{
    *by = now->value[field] - before->value[field];
    return now->value[field] >= before->value[field];
}

// Hundredths of part / whole, rounded half up. Parts beyond what fits are absurd, and held there.
static uint64_t hundredths(uint64_t part, uint64_t whole)
{
    uint64_t most = UINT64_MAX / 200;
    part = part < most ? part : most;
    whole = whole < most ? whole : most;
    return (part * 100 + whole / 2) / whole;
}

bool diskio_average(const struct diskio_counters *before, const struct diskio_counters *now,
                    int64_t passed_ms, struct diskio_averages *out)
{
    uint64_t reads, writes, read_time, write_time, io_time, requests, time;
    if (passed_ms <= 0 || !grown(before, now, DISKIO_READS, &reads) ||
        !grown(before, now, DISKIO_WRITES, &writes) ||
        !grown(before, now, DISKIO_READ_TIME, &read_time) ||
        !grown(before, now, DISKIO_WRITE_TIME, &write_time) ||
        !grown(before, now, DISKIO_IO_TIME, &io_time) ||
        __builtin_add_overflow(reads, writes, &requests) ||
        __builtin_add_overflow(read_time, write_time, &time))
        return false;
    out->has_requests = requests > 0;
    out->await = requests ? hundredths(time, requests) : 0;
    out->svctm = requests ? hundredths(io_time, requests) : 0;
    out->util = parse_percent(io_time, (uint64_t)passed_ms);
    return true;
}

// The same device at the last tick; NULL if there was none. It is mostly at the same place.
static const struct diskio_counters *at_last_tick(const struct state *s, const char *name, int hint)
{
    const struct diskio_counters *before = s->tick[!s->now];
    int count = s->count[!s->now];
    for (int i = 0; i < count; i++) {
        int at = (hint + i) % count;
        if (strcmp(before[at].name, name) == 0)
            return &before[at];
    }
    return NULL;
}

static void add_averages(struct point *p, const struct state *s, int index, int64_t passed_ms)
{
    const struct diskio_counters *now = &s->tick[s->now][index];
    const struct diskio_counters *before = at_last_tick(s, now->name, index);
    struct diskio_averages average;
    if (!before || !diskio_average(before, now, passed_ms, &average))
        return;
    if (average.has_requests) {
        point_uint(p, &fields[DISKIO_IO_AWAIT], average.await);
        point_uint(p, &fields[DISKIO_IO_SVCTM], average.svctm);
    }
    point_uint(p, &fields[DISKIO_IO_UTIL], average.util);
}

static void emit(const struct state *s, int index, bool averages, int64_t passed_ms,
                 const struct rn_samples *out)
{
    const struct diskio_counters *counters = &s->tick[s->now][index];
    struct point p;
    point_clear(&p);
    for (int i = 0; i < DISKIO_COUNTERS; i++)
        point_uint(&p, &fields[i], counters->value[i]);
    if (averages)
        add_averages(&p, s, index, passed_ms);
    point_tag(&p, "name", counters->name);
    point_report(&p, "diskio", out);
}

// This tick's devices into the state.
static void list_devices(struct state *s, const struct diskio_conf *conf,
                         const struct collect_env *env, struct rn_span text)
{
    struct rn_span line;
    int *count = &s->count[s->now];
    *count = 0;
    while (parse_line(&text, &line)) {
        struct diskio_counters counters;
        if (!diskio_parse(line, &counters) || !counters.used ||
            !parse_wanted(&conf->devices, counters.name))
            continue;
        parse_clean(counters.name);
        if (*count < DISKIO_MAX_DEVICES)
            s->tick[s->now][(*count)++] = counters;
        else
            collect_left_out(env, 1);
    }
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    struct state *s = state;
    const struct diskio_conf *c = conf;
    struct rn_span text;
    int code = collect_read(env, env->procfs, "diskstats", &text, err);
    if (code < 0)
        return code;
    s->now = !s->now;
    list_devices(s, c, env, text);
    for (int i = 0; i < s->count[s->now]; i++)
        emit(s, i, c->averages, boot_ms - s->before_ms, out);
    s->before_ms = boot_ms;
    return 0;
}

static const struct rn_rule_desc rules[] = {
    {.measurement = "diskio",
     .field = "weighted_io_time",
     .num = RN_TERMS({.field = "read_time", .coefficient = 1},
                     {.field = "write_time", .coefficient = 1})},
};

const struct rn_collector collect_diskio = {
    .name = "diskio",
    .help = "Traffic of each block device.",
    .state_size = sizeof(struct state),
    .conf_size = sizeof(struct diskio_conf),
    .opts = opts,
    .nopts = RN_OPT_COUNT(opts),
    .fields = fields,
    .nfields = DISKIO_FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "name",
    .sample = sample,
};
