// See arrival.h.
#include "bridge/arrival.h"

#include <runnel/log.h>
#include <stddef.h>

static const struct {
    const char *name;
    size_t counter;
} refusals[] = {
    [BAD_SIZE] = {"size", offsetof(struct counters, refused_size)},
    [BAD_FORM] = {"malformed", offsetof(struct counters, refused_malformed)},
    [BAD_INSTALL] = {"unannounced_install", offsetof(struct counters, refused_install)},
    [BAD_SCHEMA] = {"schema", offsetof(struct counters, refused_schema)},
    [BAD_ENCODING] = {"encoding", offsetof(struct counters, refused_encoding)},
    [BAD_TIME] = {"time", offsetof(struct counters, refused_time)},
    [BAD_KEY] = {"key", offsetof(struct counters, refused_key)},
    [BAD_RATE] = {"rate", offsetof(struct counters, refused_rate)},
    [BAD_INSTALLS] = {"installs", offsetof(struct counters, refused_installs)},
    [BAD_RETAINED] = {"retained", offsetof(struct counters, refused_retained)},
    [BAD_CONFLICT] = {"conflict", offsetof(struct counters, conflicts)},
};

void arrival_refuse(const struct arrival *a, enum refusal why, const char *words)
{
    uint64_t *counter = (uint64_t *)(void *)((char *)a->parts->counters + refusals[why].counter);
    ++*counter;
    a->dev->refused++;
    if (a->dev->complained & (1u << why))
        return;
    a->dev->complained |= 1u << why;
    rn_log(RN_LOG_WARN, "message_refused", "device=%s reason=%s err=%s", a->name,
           refusals[why].name, RN_Q(words));
}

void arrival_answer_soon(const struct arrival *a)
{
    answers_schedule(a->parts->answers, a->dev, true, a->now.mono_ms);
}
