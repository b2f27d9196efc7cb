// See system.h.
#include "agent/collect/system.h"

#include "agent/collect/cpu.h"
#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <stdio.h>
#include <string.h>
#include <utmp.h>

enum { LOAD1, LOAD5, LOAD15, N_CPUS, N_PHYSICAL_CPUS, N_USERS, N_UNIQUE_USERS, UPTIME, FIELDS };

#define LOAD(name_, help_)                                                                         \
    {                                                                                              \
        .name = name_, .type = RN_FLOAT, .kind = RN_GAUGE, .decimals = 2, .help = help_            \
    }
#define COUNT(name_, kind_, help_)                                                                 \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = kind_, .help = help_                                \
    }

static const struct rn_field_desc fields[FIELDS] = {
    [LOAD1] = LOAD("load1", "Processes that run or wait for a processor or a disk, over 1 minute."),
    [LOAD5] = LOAD("load5", "The same over 5 minutes."),
    [LOAD15] = LOAD("load15", "The same over 15 minutes."),
    [N_CPUS] = {.name = "n_cpus",
                .type = RN_INT,
                .kind = RN_STATE,
                .news = RN_NEWS_VALUE,
                .help = "Processors (threads of cores) that are online."},
    [N_PHYSICAL_CPUS] = COUNT("n_physical_cpus", RN_STATE, "Cores that are online."),
    [N_USERS] = COUNT("n_users", RN_GAUGE, "Sessions of users who are logged in."),
    [N_UNIQUE_USERS] = COUNT("n_unique_users", RN_GAUGE, "Different users who are logged in."),
    [UPTIME] = {.name = "uptime",
                .type = RN_INT,
                .kind = RN_COUNTER,
                .unit = "s",
                .help = "Whole seconds since boot."},
};

struct state {
    uint64_t cpus, cores; // cores are counted when the number of processors changes
};

bool system_parse_load(struct rn_span text, uint64_t load[3])
{
    struct rn_span word;
    for (int i = 0; i < 3; i++)
        if (!parse_word(&text, &word) || !parse_decimal(word, 2, &load[i]))
            return false;
    return true;
}

uint64_t system_count_cpus(struct rn_span text)
{
    struct rn_span line;
    struct cpu_ticks ticks;
    int64_t core;
    uint64_t count = 0;
    while (parse_line(&text, &line) && parse_starts(line, "cpu"))
        count += cpu_parse(line, &core, &ticks) && core >= 0;
    return count;
}

static bool seen(char names[][UT_NAMESIZE], uint64_t count, const char *name)
{
    for (uint64_t i = 0; i < count; i++)
        if (strncmp(names[i], name, UT_NAMESIZE) == 0)
            return true;
    return false;
}

void system_parse_users(struct rn_span records, struct system_users *users)
{
    char names[SYSTEM_MAX_USERS][UT_NAMESIZE];
    struct utmp record;
    *users = (struct system_users){0};
    for (; records.len >= sizeof record; records.len -= sizeof record) {
        memcpy(&record, records.data, sizeof record);
        records.data += sizeof record;
        if (record.ut_type != USER_PROCESS)
            continue;
        users->sessions++;
        if (seen(names, users->unique, record.ut_user))
            continue;
        if (users->unique < SYSTEM_MAX_USERS)
            memcpy(names[users->unique++], record.ut_user, UT_NAMESIZE);
        else
            users->left_out++;
    }
}

// A core is counted at the first processor of its list of siblings, "0,4" or "0-3".
static bool first_of_core(const struct collect_env *env, int cpu)
{
    char path[96], text[64];
    uint64_t first;
    snprintf(path, sizeof path, "devices/system/cpu/cpu%d/topology/core_cpus_list", cpu);
    int code = collect_read_line(env->sysfs, path, text, sizeof text);
    if (code == RN_ENOENT) { // before Linux 5.3
        snprintf(path, sizeof path, "devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        code = collect_read_line(env->sysfs, path, text, sizeof text);
    }
    if (code < 0)
        return false;
    text[strcspn(text, ",-")] = '\0';
    return parse_u64(rn_span_text(text), &first) && first == (uint64_t)cpu;
}

static uint64_t count_cores(const struct collect_env *env)
{
    uint64_t count = 0;
    for (int cpu = 0; cpu < CPU_MAX_CORES; cpu++)
        count += first_of_core(env, cpu);
    return count;
}

static void report_cpus(struct state *s, const struct collect_env *env, struct point *p)
{
    struct rn_span text;
    if (collect_read(env, env->procfs, "stat", &text, NULL) < 0)
        return;
    uint64_t cpus = system_count_cpus(text);
    if (cpus != s->cpus)
        s->cores = count_cores(env);
    s->cpus = cpus;
    if (cpus)
        point_uint(p, &fields[N_CPUS], cpus);
    if (s->cores)
        point_uint(p, &fields[N_PHYSICAL_CPUS], s->cores);
}

static void report_users(const struct collect_env *env, struct point *p)
{
    struct rn_span records;
    struct system_users users;
    if (collect_read(env, env->rootfs, "var/run/utmp", &records, NULL) < 0)
        return;
    system_parse_users(records, &users);
    collect_left_out(env, users.left_out);
    point_uint(p, &fields[N_USERS], users.sessions);
    point_uint(p, &fields[N_UNIQUE_USERS], users.unique);
}

static void report_uptime(const struct collect_env *env, struct point *p)
{
    char text[64];
    struct rn_span rest, word;
    uint64_t seconds;
    if (collect_read_line(env->procfs, "uptime", text, sizeof text) < 0)
        return;
    rest = rn_span_text(text);
    if (parse_word(&rest, &word) && parse_decimal(word, 0, &seconds))
        point_uint(p, &fields[UPTIME], seconds);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)conf, (void)boot_ms;
    char text[128];
    uint64_t load[3];
    if (collect_read_line(env->procfs, "loadavg", text, sizeof text) < 0 ||
        !system_parse_load(rn_span_text(text), load))
        return rn_fail(err, RN_EFORMAT, "no load averages in %s/loadavg", env->procfs);
    struct point p;
    point_clear(&p);
    for (int i = 0; i < 3; i++)
        point_uint(&p, &fields[LOAD1 + i], load[i]);
    report_cpus(state, env, &p);
    report_users(env, &p);
    report_uptime(env, &p);
    point_report(&p, "system", out);
    return 0;
}

static const struct rn_rule_desc rules[] = {
    {.measurement = "system",
     .field = "uptime",
     .time = 1,
     .num = RN_TERMS(
         {.field = "boot_time", .coefficient = -1, .of = RN_OF_ONLY, .measurement = "kernel"})},
};

const struct rn_collector collect_system = {
    .name = "system",
    .help = "Load, processors, users, uptime.",
    .state_size = sizeof(struct state),
    .fields = fields,
    .nfields = FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "",
    .sample = sample,
};
