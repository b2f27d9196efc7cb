// See processes.h.
#include "agent/collect/processes.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCKED,
    DEAD,
    IDLE,
    PAGING,
    PARKED,
    RUNNING,
    SLEEPING,
    STOPPED,
    ZOMBIES,
    UNKNOWN,
    STATES,
    TOTAL = STATES,
    TOTAL_THREADS,
    FIELDS
};

#define COUNT(name_, help_)                                                                        \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .help = help_                             \
    }

static const struct rn_field_desc fields[FIELDS] = {
    [BLOCKED] = COUNT("blocked", "Waiting without the possibility of interruption (D)."),
    [DEAD] = COUNT("dead", "Being removed (X)."),
    [IDLE] = COUNT("idle", "Idle threads of the kernel (I)."),
    [PAGING] = COUNT("paging", "Paging, or waking up (W)."),
    [PARKED] = COUNT("parked", "Parked threads of the kernel (P)."),
    [RUNNING] = COUNT("running", "Running or ready to run (R)."),
    [SLEEPING] = COUNT("sleeping", "Waiting for something (S)."),
    [STOPPED] = COUNT("stopped", "Stopped by a signal or a debugger (T, t)."),
    [ZOMBIES] = COUNT("zombies", "Ended, and not yet asked for by the parent (Z)."),
    [UNKNOWN] = COUNT("unknown", "In a state that is none of these."),
    [TOTAL] = COUNT("total", "All processes."),
    [TOTAL_THREADS] = COUNT("total_threads", "Threads of all processes."),
};

static const char letters[] = "DXIWPRSTZ"; // in the order of the fields

bool processes_parse(struct rn_span line, char *state, uint64_t *threads)
{
    const uint8_t *end = line.len ? memrchr(line.data, ')', line.len) : NULL;
    if (!end)
        return false;
    line.len -= (size_t)(end + 1 - line.data);
    line.data = end + 1;
    struct rn_span word;
    if (!parse_word(&line, &word) || word.len != 1)
        return false;
    *state = (char)word.data[0];
    return parse_skip(&line, 16) && parse_next_u64(&line, threads);
}

static int field_of(char state)
{
    const char *at = strchr(letters, state == 't' ? 'T' : state == 'x' ? 'X' : state);
    return at && *at ? (int)(at - letters) : UNKNOWN;
}

// One process; one that has just ended is none.
static void count(int folder, const char *pid, uint64_t value[FIELDS])
{
    char path[32], text[512], state;
    uint64_t threads;
    int len = snprintf(path, sizeof path, "%s/stat", pid);
    if (len < 0 || (size_t)len >= sizeof path)
        return;
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = read(fd, text, sizeof text);
    close(fd);
    if (got <= 0 ||
        !processes_parse((struct rn_span){(const uint8_t *)text, (size_t)got}, &state, &threads))
        return;
    value[field_of(state)]++;
    value[TOTAL]++;
    value[TOTAL_THREADS] += threads < UINT32_MAX ? threads : UINT32_MAX;
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)conf, (void)boot_ms;
    DIR *folder = opendir(env->procfs);
    if (!folder)
        return rn_fail_errno(err, "cannot open %s", env->procfs);
    uint64_t value[FIELDS] = {0};
    int seen = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        if (seen++ < PROCESSES_MAX)
            count(dirfd(folder), entry->d_name, value);
        else
            collect_left_out(env, 1);
    }
    closedir(folder);
    struct point p;
    point_clear(&p);
    for (int i = 0; i < FIELDS; i++)
        point_uint(&p, &fields[i], value[i]);
    point_report(&p, "processes", out);
    return 0;
}

static const struct rn_rule_desc rules[] = {
    {.measurement = "processes",
     .field = "total",
     .num =
         RN_TERMS({.field = "blocked", .coefficient = 1}, {.field = "dead", .coefficient = 1},
                  {.field = "idle", .coefficient = 1}, {.field = "paging", .coefficient = 1},
                  {.field = "parked", .coefficient = 1}, {.field = "running", .coefficient = 1},
                  {.field = "sleeping", .coefficient = 1}, {.field = "stopped", .coefficient = 1},
                  {.field = "zombies", .coefficient = 1}, {.field = "unknown", .coefficient = 1})},
};

const struct rn_collector collect_processes = {
    .name = "processes",
    .help = "Processes by state, and threads.",
    .fields = fields,
    .nfields = FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "",
    .sample = sample,
};
