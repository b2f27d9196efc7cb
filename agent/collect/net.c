// See net.h.
#include "agent/collect/net.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER(name_, unit_, help_)                                                               \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_COUNTER, .unit = unit_, .help = help_            \
    }

static const struct rn_field_desc fields[NET_FIELDS] = {
    [NET_BYTES_RECV] = COUNTER("bytes_recv", "By", "Received since boot."),
    [NET_PACKETS_RECV] = COUNTER("packets_recv", NULL, "Packets received since boot."),
    [NET_ERR_IN] = COUNTER("err_in", NULL, "Errors in receiving since boot."),
    [NET_DROP_IN] = COUNTER("drop_in", NULL, "Received packets dropped since boot."),
    [NET_BYTES_SENT] = COUNTER("bytes_sent", "By", "Sent since boot."),
    [NET_PACKETS_SENT] = COUNTER("packets_sent", NULL, "Packets sent since boot."),
    [NET_ERR_OUT] = COUNTER("err_out", NULL, "Errors in sending since boot."),
    [NET_DROP_OUT] = COUNTER("drop_out", NULL, "Packets to be sent dropped since boot."),
    [NET_SPEED] = {.name = "speed",
                   .type = RN_INT,
                   .kind = RN_STATE,
                   .unit = "Mbit/s",
                   .news = RN_NEWS_VALUE, // the link came or went
                   .help = "Speed of the link; -1 where there is none to tell."},
};

static const struct rn_opt opts[] = {
    {.key = "interfaces",
     .type = RN_OPT_LIST,
     .offset = offsetof(struct net_conf, interfaces),
     .flags = RN_OPT_REMOTE,
     .help = "Names or patterns; empty: all that are up, without loopback."},
};

static bool good_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

// The name ends at the last colon: an alias is called "eth0:1".
static bool split_name(struct rn_span *line, struct net_counters *counters)
{
    const uint8_t *colon = line->len ? memrchr(line->data, ':', line->len) : NULL;
    if (!colon)
        return false;
    size_t len = (size_t)(colon - line->data);
    struct rn_span name = parse_trim((struct rn_span){line->data, len});
    line->data += len + 1;
    line->len -= len + 1;
    return parse_copy(counters->name, sizeof counters->name, name) && good_name(counters->name);
}

// bytes packets errs drop, four that we leave out, and the same for sending.
bool net_parse(struct rn_span line, struct net_counters *counters)
{
    if (!split_name(&line, counters))
        return false;
    for (int i = 0; i < NET_COUNTERS; i++) {
        if (i == NET_BYTES_SENT && !parse_skip(&line, 4))
            return false;
        if (!parse_next_u64(&line, &counters->value[i]))
            return false;
    }
    return true;
}

static int read_attribute(const struct collect_env *env, const char *interface, const char *name,
                          char *out, size_t size)
{
    char path[64 + NET_NAME_MAX];
    snprintf(path, sizeof path, "class/net/%s/%s", interface, name);
    return collect_read_line(env->sysfs, path, out, size);
}

static bool up(const struct collect_env *env, const char *interface)
{
    char text[32];
    if (read_attribute(env, interface, "flags", text, sizeof text) < 0)
        return strcmp(interface, "lo") != 0;
    unsigned long flags = strtoul(text, NULL, 16);
    return (flags & IFF_UP) && !(flags & IFF_LOOPBACK);
}

static int64_t speed(const struct collect_env *env, const char *interface)
{
    char text[32];
    int64_t mbit;
    if (read_attribute(env, interface, "speed", text, sizeof text) < 0 ||
        !parse_i64(rn_span_text(text), &mbit) || mbit < 0)
        return -1;
    return mbit;
}

static void emit(const struct collect_env *env, struct net_counters *counters,
                 const struct rn_samples *out)
{
    struct point p;
    point_clear(&p);
    for (int i = 0; i < NET_COUNTERS; i++)
        point_uint(&p, &fields[i], counters->value[i]);
    point_int(&p, &fields[NET_SPEED], speed(env, counters->name));
    parse_clean(counters->name);
    point_tag(&p, "interface", counters->name);
    point_report(&p, "net", out);
}

static bool wanted(const struct net_conf *conf, const struct collect_env *env, const char *name)
{
    return conf->interfaces.count ? parse_wanted(&conf->interfaces, name) : up(env, name);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)state, (void)boot_ms;
    struct rn_span text, line;
    int code = collect_read(env, env->procfs, "net/dev", &text, err);
    if (code < 0)
        return code;
    int reported = 0;
    while (parse_line(&text, &line)) {
        struct net_counters counters;
        if (!net_parse(line, &counters) || !wanted(conf, env, counters.name))
            continue;
        if (reported++ < NET_MAX_INTERFACES)
            emit(env, &counters, out);
        else
            collect_left_out(env, 1);
    }
    return 0;
}

const struct rn_collector collect_net = {
    .name = "net",
    .help = "Traffic of each network interface.",
    .conf_size = sizeof(struct net_conf),
    .opts = opts,
    .nopts = RN_OPT_COUNT(opts),
    .fields = fields,
    .nfields = NET_FIELDS,
    .tags = "interface",
    .sample = sample,
};
