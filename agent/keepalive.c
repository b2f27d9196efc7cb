// See keepalive.h.
#include "agent/keepalive.h"

#define STRIKES 3

static const int64_t hold_min_ms = 3600000;
static const int64_t hold_max_ms = INT64_C(7) * 24 * 3600000;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t keepalive_ms(const struct keepalive *x)
{
    if (x->learned.value_ms == 0)
        return x->conf.max_ms;
    return least(most(x->learned.value_ms, x->conf.min_ms), x->conf.max_ms);
}

void keepalive_reconf(struct keepalive *x, const struct keepalive_conf *conf)
{
    x->conf = *conf;
}

void keepalive_init(struct keepalive *x, const struct keepalive_conf *conf,
                    const struct keepalive_learned *saved)
{
    *x = (struct keepalive){.conf = *conf, .learned = *saved};
}

static bool same(const struct keepalive_learned *a, const struct keepalive_learned *b)
{
    return a->value_ms == b->value_ms && a->hold_ms == b->hold_ms && a->step_ms == b->step_ms &&
           a->strike_ms == b->strike_ms && a->strikes == b->strikes;
}

bool keepalive_connected(struct keepalive *x, int64_t mono_ms)
{
    bool changed = x->doubtful && !same(&x->learned, &x->before);
    x->doubtful = false;
    x->connected = true;
    x->used_ms = keepalive_ms(x);
    x->since_ms = x->last_ms = mono_ms;
    x->unanswered_ms = 0;
    return changed;
}

// It is not the idleness that ended the last connection.
void keepalive_failed(struct keepalive *x)
{
    if (x->doubtful)
        x->learned = x->before;
    x->doubtful = false;
}

// Pings end a gap after the keepalive.
static int64_t gap(const struct keepalive *x, int64_t mono_ms)
{
    return least(mono_ms - x->last_ms, x->used_ms);
}

void keepalive_sent(struct keepalive *x, int64_t mono_ms)
{
    x->unanswered_ms = most(x->unanswered_ms, gap(x, mono_ms));
    x->last_ms = mono_ms;
}

void keepalive_heard(struct keepalive *x, int64_t mono_ms)
{
    int64_t survived = most(x->unanswered_ms, gap(x, mono_ms));
    x->safe_ms = most(x->safe_ms, survived);
    if (survived >= x->learned.strike_ms)
        x->learned.strikes = 0;
    x->unanswered_ms = 0;
    x->last_ms = mono_ms;
}

// Below a gap that was deadly, but not below half of it.
static void lower(struct keepalive *x, int64_t deadly_ms)
{
    int64_t safe = x->safe_ms < deadly_ms ? x->safe_ms : 0;
    int64_t value = least(most(safe, deadly_ms / 2), deadly_ms * 3 / 4);
    value = most(value - value % 1000, x->conf.min_ms); // MQTT counts in seconds
    int64_t hold = x->learned.value_ms ? 2 * x->learned.hold_ms : hold_min_ms;
    x->learned = (struct keepalive_learned){.value_ms = value,
                                            .hold_ms = least(most(hold, hold_min_ms), hold_max_ms),
                                            .step_ms = value / 8};
    x->safe_ms = least(x->safe_ms, value);
}

static void raise_if_proven(struct keepalive *x, int64_t mono_ms)
{
    struct keepalive_learned *l = &x->learned;
    if (l->value_ms == 0 || mono_ms - x->since_ms < l->hold_ms || x->safe_ms < x->used_ms * 4 / 5)
        return;
    l->value_ms += l->step_ms;
    l->step_ms *= 2;
    if (l->value_ms >= x->conf.max_ms)
        *l = (struct keepalive_learned){0};
}

void keepalive_lost(struct keepalive *x, int64_t mono_ms)
{
    int64_t idle = mono_ms - x->last_ms;
    int64_t deadly = most(x->unanswered_ms, idle > x->used_ms ? x->used_ms : 0);
    if (!x->connected)
        return;
    x->connected = false;
    x->before = x->learned;
    x->doubtful = true;
    if (deadly <= x->conf.min_ms) {
        raise_if_proven(x, mono_ms);
        return;
    }
    struct keepalive_learned *l = &x->learned;
    l->strike_ms = l->strikes ? least(l->strike_ms, deadly) : deadly;
    if (++l->strikes >= STRIKES)
        lower(x, l->strike_ms);
}
