// See kernel.h.
#include "agent/collect/kernel.h"

#include "agent/collect/named.h"
#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

enum {
    BOOT_TIME,
    CONTEXT_SWITCHES,
    INTERRUPTS,
    PROCESSES_FORKED,
    DISK_PAGES_IN,
    DISK_PAGES_OUT,
    ENTROPY_AVAIL,
    FIELDS
};

#define COUNTER(name_, unit_, help_)                                                               \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .unit = unit_, .help = help_            \
    }

static const struct rn_field_desc fields[FIELDS] = {
    [BOOT_TIME] = {.name = "boot_time",
                   .type = RN_INT,
                   .kind = RN_STATE,
                   .unit = "s",
                   .help = "When the machine was started, in seconds since 1970."},
    [CONTEXT_SWITCHES] = COUNTER("context_switches", NULL, "Context switches since boot."),
    [INTERRUPTS] = COUNTER("interrupts", NULL, "Interrupts since boot."),
    [PROCESSES_FORKED] = COUNTER("processes_forked", NULL, "Processes made since boot."),
    [DISK_PAGES_IN] = COUNTER("disk_pages_in", "KiBy", "Read from disks since boot."),
    [DISK_PAGES_OUT] = COUNTER("disk_pages_out", "KiBy", "Written to disks since boot."),
    [ENTROPY_AVAIL] = {.name = "entropy_avail",
                       .type = RN_INT,
                       .kind = RN_GAUGE,
                       .unit = "bit",
                       .help = "Entropy that the kernel's random generator estimates to have."},
};

static void add(struct point *p, int field, const struct named_counter *counter)
{
    if (counter->found)
        point_uint(p, &fields[field], counter->value);
}

static int report_stat(const struct collect_env *env, struct point *p, struct rn_err *err)
{
    struct named_counter counters[] = {
        {.name = "btime"}, {.name = "ctxt"}, {.name = "intr"}, {.name = "processes"}};
    struct rn_span text;
    int code = collect_read(env, env->procfs, "stat", &text, err);
    if (code < 0)
        return code;
    named_counters(text, counters, 4);
    for (int i = 0; i < 4; i++)
        add(p, BOOT_TIME + i, &counters[i]);
    return p->nvalues ? 0 : rn_fail(err, RN_EFORMAT, "no counter of ours in %s/stat", env->procfs);
}

static void report_pages(const struct collect_env *env, struct point *p)
{
    struct named_counter counters[] = {{.name = "pgpgin"}, {.name = "pgpgout"}};
    struct rn_span text;
    if (collect_read(env, env->procfs, "vmstat", &text, NULL) < 0)
        return;
    named_counters(text, counters, 2);
    add(p, DISK_PAGES_IN, &counters[0]);
    add(p, DISK_PAGES_OUT, &counters[1]);
}

static void report_entropy(const struct collect_env *env, struct point *p)
{
    char line[32];
    uint64_t bits;
    if (collect_read_line(env->procfs, "sys/kernel/random/entropy_avail", line, sizeof line) == 0 &&
        parse_u64(rn_span_text(line), &bits))
        point_uint(p, &fields[ENTROPY_AVAIL], bits);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)conf, (void)boot_ms;
    struct point p;
    point_clear(&p);
    int code = report_stat(env, &p, err);
    if (code < 0)
        return code;
    report_pages(env, &p);
    report_entropy(env, &p);
    point_report(&p, "kernel", out);
    return 0;
}

// Kilobytes, from sectors.
static const struct rn_rule_desc rules[] = {
    {.measurement = "kernel",
     .field = "disk_pages_in",
     .num = RN_TERMS(
         {.field = "read_bytes", .coefficient = 1, .of = RN_OF_ONLY, .measurement = "diskio"}),
     .per = 2},
    {.measurement = "kernel",
     .field = "disk_pages_out",
     .num = RN_TERMS(
         {.field = "write_bytes", .coefficient = 1, .of = RN_OF_ONLY, .measurement = "diskio"}),
     .per = 2},
};

const struct rn_collector collect_kernel = {
    .name = "kernel",
    .help = "Counters of the kernel.",
    .fields = fields,
    .nfields = FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "",
    .sample = sample,
};
