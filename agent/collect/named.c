// See named.h.
#include "agent/collect/named.h"

#include "agent/collect/parse.h"

static bool take(struct named_counter *counter, struct rn_span name, struct rn_span rest)
{
    if (!rn_span_eq_text(name, counter->name))
        return false;
    counter->found = parse_next_u64(&rest, &counter->value);
    return true;
}

void named_counters(struct rn_span text, struct named_counter *counters, size_t count)
{
    struct rn_span line, name;
    while (parse_line(&text, &line)) {
        if (!parse_word(&line, &name))
            continue;
        for (size_t i = 0; i < count; i++)
            if (take(&counters[i], name, line))
                break;
    }
}
