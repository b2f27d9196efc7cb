// See cpu.h.
#include "agent/collect/cpu.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <stdio.h>
#include <string.h>

#define SHARE(name_, help_)                                                                        \
    {                                                                                              \
        .name = "usage_" name_, .type = RN_FLOAT, .kind = RN_GAUGE, .decimals = 2, .unit = "%",    \
        .help = help_                                                                              \
    }

static const struct rn_field_desc fields[CPU_TIMES] = {
    [CPU_USER] = SHARE("user", "Programs in user mode, guests not counted."),
    [CPU_NICE] = SHARE("nice", "Programs of low priority in user mode, guests not counted."),
    [CPU_SYSTEM] = SHARE("system", "The kernel."),
    [CPU_IDLE] = SHARE("idle", "Nothing to do."),
    [CPU_IOWAIT] = SHARE("iowait", "Nothing to do while input or output was outstanding."),
    [CPU_IRQ] = SHARE("irq", "Hardware interrupts."),
    [CPU_SOFTIRQ] = SHARE("softirq", "Deferred interrupt work."),
    [CPU_STEAL] = SHARE("steal", "Taken by the hypervisor for other machines."),
    [CPU_GUEST] = SHARE("guest", "Virtual machines that this one hosts."),
    [CPU_GUEST_NICE] = SHARE("guest_nice", "The same, of low priority."),
};

static const struct rn_opt opts[] = {
    {.key = "per_core",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct cpu_conf, per_core),
     .def = "true",
     .flags = RN_OPT_REMOTE,
     .help = "Report each core."},
    {.key = "total",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct cpu_conf, total),
     .def = "true",
     .flags = RN_OPT_REMOTE,
     .help = "Report all cores together, as cpu-total."},
};

// Slot 0 is all cores together, slot N + 1 core N.
struct state {
    bool known[CPU_MAX_CORES + 1];
    struct cpu_ticks before[CPU_MAX_CORES + 1];
};

bool cpu_parse(struct rn_span line, int64_t *core, struct cpu_ticks *ticks)
{
    struct rn_span name;
    if (!parse_starts(line, "cpu") || !parse_word(&line, &name))
        return false;
    *core = -1;
    struct rn_span number = {name.data + 3, name.len - 3};
    if (number.len > 0 && (!parse_i64(number, core) || *core < 0))
        return false;
    *ticks = (struct cpu_ticks){0};
    for (int i = 0; i < CPU_TIMES; i++) {
        struct rn_span word;
        if (!parse_word(&line, &word))
            return i > CPU_IDLE;
        if (!parse_u64(word, &ticks->time[i]))
            return false;
    }
    return true;
}

// Counters wrap in no machine's life, so that overflow here is garbage and may give any sum.
static uint64_t sum(const struct cpu_ticks *ticks)
{
    uint64_t total = 0;
    for (int i = 0; i <= CPU_STEAL; i++)
        total += ticks->time[i];
    return total;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

bool cpu_shares(const struct cpu_ticks *before, const struct cpu_ticks *now,
                uint64_t share[CPU_TIMES])
{
    struct cpu_ticks passed;
    for (int i = 0; i < CPU_TIMES; i++)
        passed.time[i] = less(now->time[i], before->time[i]);
    uint64_t whole = sum(&passed);
    if (sum(now) <= sum(before) || whole == 0)
        return false;
    passed.time[CPU_USER] = less(passed.time[CPU_USER], passed.time[CPU_GUEST]);
    passed.time[CPU_NICE] = less(passed.time[CPU_NICE], passed.time[CPU_GUEST_NICE]);
    for (int i = 0; i < CPU_TIMES; i++)
        share[i] = parse_percent(passed.time[i], whole);
    return true;
}

static void emit(int64_t core, const uint64_t share[CPU_TIMES], const struct rn_samples *out)
{
    char name[24] = "cpu-total";
    if (core >= 0)
        snprintf(name, sizeof name, "cpu%d", (int)core);
    struct point p;
    point_clear(&p);
    point_tag(&p, "cpu", name);
    for (int i = 0; i < CPU_TIMES; i++)
        point_uint(&p, &fields[i], share[i]);
    point_report(&p, "cpu", out);
}

static void take(struct state *s, const struct cpu_conf *conf, int64_t core,
                 const struct cpu_ticks *now, const struct rn_samples *out)
{
    uint64_t share[CPU_TIMES];
    size_t slot = (size_t)(core + 1);
    bool wanted = core < 0 ? conf->total : conf->per_core;
    if (wanted && s->known[slot] && cpu_shares(&s->before[slot], now, share))
        emit(core, share, out);
    s->before[slot] = *now;
    s->known[slot] = true;
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)boot_ms;
    struct rn_span text, line;
    int code = collect_read(env, env->procfs, "stat", &text, err);
    if (code < 0)
        return code;
    bool found = false;
    while (parse_line(&text, &line) && parse_starts(line, "cpu")) {
        int64_t core;
        struct cpu_ticks now;
        if (!cpu_parse(line, &core, &now))
            continue;
        found = true;
        if (core < CPU_MAX_CORES)
            take(state, conf, core, &now, out);
        else
            collect_left_out(env, 1);
    }
    return found ? 0 : rn_fail(err, RN_EFORMAT, "no cpu line in %s/stat", env->procfs);
}

// What all cores did is the mean of what each did.
#define MEAN(name_)                                                                                \
    {                                                                                              \
        .measurement = "cpu", .field = "usage_" name_, .tag_value = "cpu-total",                   \
        .num = RN_TERMS({.field = "usage_" name_, .coefficient = 1, .of = RN_OF_OTHERS}),          \
        .per_others = true                                                                         \
    }

static const struct rn_rule_desc rules[] = {
    MEAN("user"),
    MEAN("nice"),
    MEAN("system"),
    MEAN("iowait"),
    MEAN("irq"),
    MEAN("softirq"),
    MEAN("steal"),
    MEAN("guest"),
    MEAN("guest_nice"),
    {.measurement = "cpu",
     .field = "usage_idle",
     .constant = 10000,
     .num = RN_TERMS(
         {.field = "usage_user", .coefficient = -1}, {.field = "usage_nice", .coefficient = -1},
         {.field = "usage_system", .coefficient = -1}, {.field = "usage_iowait", .coefficient = -1},
         {.field = "usage_irq", .coefficient = -1}, {.field = "usage_softirq", .coefficient = -1},
         {.field = "usage_steal", .coefficient = -1})},
};

const struct rn_collector collect_cpu = {
    .name = "cpu",
    .help = "Share of time that each core spends on what.",
    .state_size = sizeof(struct state),
    .conf_size = sizeof(struct cpu_conf),
    .opts = opts,
    .nopts = RN_OPT_COUNT(opts),
    .fields = fields,
    .nfields = CPU_TIMES,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "cpu",
    .sample = sample,
};
