// See swap.h.
#include "agent/collect/swap.h"

#include "agent/collect/mem.h"
#include "agent/collect/named.h"
#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#define PAGE 4096 // the unit of in and out: no Linux has smaller pages, and larger are multiples

enum { TOTAL, USED, FREE, USED_PERCENT, IN, OUT, FIELDS };

#define KB(name_, help_)                                                                           \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .mul = 1024, .unit = "By", .help = help_  \
    }
#define PAGES(name_, help_)                                                                        \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .mul = PAGE, .unit = "By",              \
        .help = help_                                                                              \
    }

static const struct rn_field_desc fields[FIELDS] = {
    [TOTAL] = KB("total", "Size of all swap areas."),
    [USED] = KB("used", "Used of them."),
    [FREE] = KB("free", "Free of them."),
    [USED_PERCENT] = {.name = "used_percent",
                      .type = RN_FLOAT,
                      .kind = RN_GAUGE,
                      .decimals = 2,
                      .unit = "%",
                      .help = "used of total; 0 without swap."},
    [IN] = PAGES("in", "Read back from swap since boot."),
    [OUT] = PAGES("out", "Written to swap since boot."),
};

static int report_areas(const struct collect_env *env, struct point *p, struct rn_err *err)
{
    struct rn_span text;
    struct mem_values mem;
    int code = collect_read(env, env->procfs, "meminfo", &text, err);
    if (code < 0)
        return code;
    (void)mem_parse(text, &mem); // swap may be listed where memory is not
    uint64_t total = mem.value[MEM_SWAP_TOTAL], left = mem.value[MEM_SWAP_FREE];
    uint64_t used = total > left ? total - left : 0;
    point_uint(p, &fields[TOTAL], total);
    point_uint(p, &fields[USED], used);
    point_uint(p, &fields[FREE], left);
    point_uint(p, &fields[USED_PERCENT], parse_percent(used, total));
    return 0;
}

// Not reported where the kernel does not count it.
static void report_traffic(const struct collect_env *env, struct point *p)
{
    struct rn_span text;
    struct named_counter counters[] = {{.name = "pswpin"}, {.name = "pswpout"}};
    if (collect_read(env, env->procfs, "vmstat", &text, NULL) < 0)
        return;
    named_counters(text, counters, 2);
    uint64_t pages = env->page_bytes > PAGE ? (uint64_t)env->page_bytes / PAGE : 1;
    for (int i = 0; i < 2; i++) {
        uint64_t value;
        if (counters[i].found && !__builtin_mul_overflow(counters[i].value, pages, &value))
            point_uint(p, &fields[IN + i], value);
    }
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)conf, (void)boot_ms;
    struct point p;
    point_clear(&p);
    int code = report_areas(env, &p, err);
    if (code < 0)
        return code;
    report_traffic(env, &p);
    point_report(&p, "swap", out);
    return 0;
}

// Percentages are rounded to the nearest hundredth: (2 * part * 10000 + whole) / (2 * whole).
static const struct rn_rule_desc rules[] = {
    {.measurement = "swap",
     .field = "used",
     .num = RN_TERMS({.field = "total", .coefficient = 1}, {.field = "free", .coefficient = -1})},
    {.measurement = "swap",
     .field = "used_percent",
     .num = RN_TERMS({.field = "used", .coefficient = 20000}, {.field = "total", .coefficient = 1}),
     .den = RN_TERMS({.field = "total", .coefficient = 2})},
};

const struct rn_collector collect_swap = {
    .name = "swap",
    .help = "Swap areas and what went in and out.",
    .fields = fields,
    .nfields = FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "",
    .sample = sample,
};
