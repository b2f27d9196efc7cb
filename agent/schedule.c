// See schedule.h.
#include "agent/schedule.h"

void schedule_init(struct schedule *s, int64_t step_ms, int64_t batch_ms, uint64_t spread)
{
    int64_t ticks = (batch_ms + step_ms - 1) / step_ms;
    if (ticks < 1)
        ticks = 1;
    *s = (struct schedule){.step_ms = step_ms, .batch_ms = ticks * step_ms};
    s->phase_ms = (int64_t)(spread % (uint64_t)ticks) * step_ms;
}

// Ticks between the last one taken and this one went by unread.
static void count_missed(struct schedule *s, int64_t tick)
{
    if (s->last_ms > 0 && tick > s->last_ms)
        s->missed += (uint64_t)((tick - s->last_ms) / s->step_ms - 1);
}

struct schedule_tick schedule_at(struct schedule *s, int64_t utc_ms)
{
    int64_t tick = utc_ms - utc_ms % s->step_ms;
    struct schedule_tick out = {.time_ms = tick, .wait_ms = tick + s->step_ms - utc_ms};
    if (s->last_ms == 0)
        s->last_ms = tick;
    if (tick == s->last_ms || utc_ms - tick > s->step_ms / 2)
        return out;
    out.due = true;
    out.back = tick < s->last_ms;
    count_missed(s, tick);
    s->last_ms = tick;
    s->taken++;
    return out;
}

bool schedule_cuts(const struct schedule *s, int64_t time_ms)
{
    return (time_ms + s->step_ms + s->phase_ms) % s->batch_ms == 0;
}

uint32_t schedule_every(int64_t step_ms, int64_t period_ms)
{
    int64_t every = (period_ms + step_ms / 2) / step_ms;
    return every < 1 ? 1 : (uint32_t)every;
}
