// See mem.h.
#include "agent/collect/mem.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <string.h>

#define KB(name_, help_)                                                                           \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .mul = 1024, .unit = "By", .help = help_  \
    }
#define COUNT(name_, help_)                                                                        \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .help = help_                             \
    }
#define PERCENT(name_, help_)                                                                      \
    {                                                                                              \
        .name = name_, .type = RN_FLOAT, .kind = RN_GAUGE, .decimals = 2, .unit = "%",             \
        .help = help_                                                                              \
    }

static const struct rn_field_desc fields[MEM_FIELDS] = {
    [MEM_ACTIVE] = KB("active", "Used recently; reclaimed last."),
    [MEM_AVAILABLE] = KB("available", "Estimate of what new programs can get without swapping."),
    [MEM_BUFFERED] = KB("buffered", "Buffers of raw block devices."),
    [MEM_CACHED] = KB("cached", "Page cache and what of the slab can be reclaimed."),
    [MEM_COMMIT_LIMIT] = KB("commit_limit", "Most that may be promised under strict accounting."),
    [MEM_COMMITTED_AS] = KB("committed_as", "Promised to programs."),
    [MEM_DIRTY] = KB("dirty", "Waiting to be written to disk."),
    [MEM_FREE] = KB("free", "Not used for anything."),
    [MEM_HIGH_FREE] = KB("high_free", "Free high memory (32-bit machines)."),
    [MEM_HIGH_TOTAL] = KB("high_total", "High memory (32-bit machines)."),
    [MEM_HUGE_PAGE_SIZE] = KB("huge_page_size", "Size of a huge page."),
    [MEM_HUGE_PAGES_FREE] = COUNT("huge_pages_free", "Huge pages not in use."),
    [MEM_HUGE_PAGES_TOTAL] = COUNT("huge_pages_total", "Huge pages set aside."),
    [MEM_INACTIVE] = KB("inactive", "Not used recently; reclaimed first."),
    [MEM_LOW_FREE] = KB("low_free", "Free low memory (32-bit machines)."),
    [MEM_LOW_TOTAL] = KB("low_total", "Low memory (32-bit machines)."),
    [MEM_MAPPED] = KB("mapped", "Files mapped into programs."),
    [MEM_PAGE_TABLES] = KB("page_tables", "Page tables."),
    [MEM_SHARED] = KB("shared", "Shared memory and tmpfs."),
    [MEM_SLAB] = KB("slab", "Data structures of the kernel."),
    [MEM_SRECLAIMABLE] = KB("sreclaimable", "Of the slab: what can be reclaimed."),
    [MEM_SUNRECLAIM] = KB("sunreclaim", "Of the slab: what cannot be reclaimed."),
    [MEM_SWAP_CACHED] = KB("swap_cached", "In memory and in swap."),
    [MEM_SWAP_FREE] = KB("swap_free", "Swap not in use."),
    [MEM_SWAP_TOTAL] = KB("swap_total", "Swap."),
    [MEM_TOTAL] = KB("total", "Memory that the kernel can use."),
    [MEM_VMALLOC_CHUNK] = KB("vmalloc_chunk", "Largest free block of the vmalloc area."),
    [MEM_VMALLOC_TOTAL] = KB("vmalloc_total", "Size of the vmalloc area."),
    [MEM_VMALLOC_USED] = KB("vmalloc_used", "Used of the vmalloc area."),
    [MEM_WRITE_BACK] = KB("write_back", "Being written to disk."),
    [MEM_WRITE_BACK_TMP] = KB("write_back_tmp", "Temporary buffers of FUSE for writing."),
    [MEM_USED] = KB("used", "total less available."),
    [MEM_USED_PERCENT] = PERCENT("used_percent", "used of total."),
    [MEM_AVAILABLE_PERCENT] = PERCENT("available_percent", "available of total."),
};

static const char *const keys[MEM_SOURCES] = {
    [MEM_ACTIVE] = "Active",
    [MEM_AVAILABLE] = "MemAvailable",
    [MEM_BUFFERED] = "Buffers",
    [MEM_CACHED] = "Cached",
    [MEM_COMMIT_LIMIT] = "CommitLimit",
    [MEM_COMMITTED_AS] = "Committed_AS",
    [MEM_DIRTY] = "Dirty",
    [MEM_FREE] = "MemFree",
    [MEM_HIGH_FREE] = "HighFree",
    [MEM_HIGH_TOTAL] = "HighTotal",
    [MEM_HUGE_PAGE_SIZE] = "Hugepagesize",
    [MEM_HUGE_PAGES_FREE] = "HugePages_Free",
    [MEM_HUGE_PAGES_TOTAL] = "HugePages_Total",
    [MEM_INACTIVE] = "Inactive",
    [MEM_LOW_FREE] = "LowFree",
    [MEM_LOW_TOTAL] = "LowTotal",
    [MEM_MAPPED] = "Mapped",
    [MEM_PAGE_TABLES] = "PageTables",
    [MEM_SHARED] = "Shmem",
    [MEM_SLAB] = "Slab",
    [MEM_SRECLAIMABLE] = "SReclaimable",
    [MEM_SUNRECLAIM] = "SUnreclaim",
    [MEM_SWAP_CACHED] = "SwapCached",
    [MEM_SWAP_FREE] = "SwapFree",
    [MEM_SWAP_TOTAL] = "SwapTotal",
    [MEM_TOTAL] = "MemTotal",
    [MEM_VMALLOC_CHUNK] = "VmallocChunk",
    [MEM_VMALLOC_TOTAL] = "VmallocTotal",
    [MEM_VMALLOC_USED] = "VmallocUsed",
    [MEM_WRITE_BACK] = "Writeback",
    [MEM_WRITE_BACK_TMP] = "WritebackTmp",
};

static int field_of(struct rn_span key)
{
    for (int i = 0; i < MEM_SOURCES; i++)
        if (rn_span_eq_text(key, keys[i]))
            return i;
    return -1;
}

// Sums stay within 64 bits as long as no part is absurd.
static uint64_t capped(uint64_t value)
{
    return value < UINT64_MAX / 4096 ? value : UINT64_MAX / 4096;
}

static void derive(struct mem_values *mem, bool has_available)
{
    uint64_t *v = mem->value;
    v[MEM_CACHED] += v[MEM_SRECLAIMABLE];
    if (!has_available)
        v[MEM_AVAILABLE] = v[MEM_FREE] + v[MEM_CACHED];
    if (v[MEM_AVAILABLE] > v[MEM_TOTAL])
        v[MEM_AVAILABLE] = v[MEM_TOTAL];
    v[MEM_USED] = v[MEM_TOTAL] - v[MEM_AVAILABLE];
    v[MEM_USED_PERCENT] = parse_percent(v[MEM_USED], v[MEM_TOTAL]);
    v[MEM_AVAILABLE_PERCENT] = parse_percent(v[MEM_AVAILABLE], v[MEM_TOTAL]);
}

bool mem_parse(struct rn_span text, struct mem_values *mem)
{
    struct rn_span line, key;
    bool has_total = false, has_available = false;
    *mem = (struct mem_values){0};
    while (parse_line(&text, &line)) {
        uint64_t value;
        if (!parse_until(&line, ':', &key) || !parse_next_u64(&line, &value))
            continue;
        int field = field_of(key);
        if (field < 0)
            continue;
        mem->value[field] = capped(value);
        has_total |= field == MEM_TOTAL && value > 0;
        has_available |= field == MEM_AVAILABLE;
    }
    derive(mem, has_available);
    return has_total;
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)conf, (void)boot_ms;
    struct rn_span text;
    int code = collect_read(env, env->procfs, "meminfo", &text, err);
    if (code < 0)
        return code;
    struct mem_values mem;
    if (!mem_parse(text, &mem))
        return rn_fail(err, RN_EFORMAT, "no MemTotal in %s/meminfo", env->procfs);
    struct point p;
    point_clear(&p);
    for (int i = 0; i < MEM_FIELDS; i++)
        point_uint(&p, &fields[i], mem.value[i]);
    point_report(&p, "mem", out);
    return 0;
}

// What is free, available and inactive moves together. Percentages are rounded to the nearest
// hundredth: (2 * part * 10000 + whole) / (2 * whole).
static const struct rn_rule_desc rules[] = {
    {.measurement = "mem",
     .field = "used",
     .num =
         RN_TERMS({.field = "total", .coefficient = 1}, {.field = "available", .coefficient = -1})},
    {.measurement = "mem",
     .field = "used_percent",
     .num = RN_TERMS({.field = "used", .coefficient = 20000}, {.field = "total", .coefficient = 1}),
     .den = RN_TERMS({.field = "total", .coefficient = 2})},
    {.measurement = "mem",
     .field = "available_percent",
     .num = RN_TERMS({.field = "available", .coefficient = 20000},
                     {.field = "total", .coefficient = 1}),
     .den = RN_TERMS({.field = "total", .coefficient = 2})},
    {.measurement = "mem",
     .field = "slab",
     .num = RN_TERMS({.field = "sreclaimable", .coefficient = 1},
                     {.field = "sunreclaim", .coefficient = 1})},
    {.measurement = "mem",
     .field = "free",
     .num = RN_TERMS({.field = "available", .coefficient = 1})},
    {.measurement = "mem",
     .field = "inactive",
     .num = RN_TERMS({.field = "free", .coefficient = -1})},
};

const struct rn_collector collect_mem = {
    .name = "mem",
    .help = "What the main memory is used for.",
    .fields = fields,
    .nfields = MEM_FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "",
    .sample = sample,
};
