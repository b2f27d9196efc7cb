// Schedule: when a tick is taken, and when a batch is cut. Pure.
//
// A tick is a multiple of the step on the wall clock, and its samples bear its time. A tick that is
// not read within half a step is missing and counted; it is never shifted. The first tick is the
// one after the first look: the present one may have been taken before a restart or a reload, and
// of two samples for one time a database keeps one. When the wall clock steps back, ticks go on
// from there: the caller cuts its window, since times in one batch ascend.
#ifndef AGENT_SCHEDULE_H
#define AGENT_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule {
    int64_t step_ms;
    int64_t batch_ms; // a multiple of the step
    int64_t phase_ms; // 0..batch_ms-1: spreads the fleet's batches over the interval
    int64_t last_ms;  // last tick taken, or the one of the first look; 0: not looked yet
    uint64_t missed;  // ticks that were not read in time
    uint64_t taken;
};

// step_ms >= 1; batch_ms is rounded up to a multiple of it. spread: any number, such as a hash.
void schedule_init(struct schedule *s, int64_t step_ms, int64_t batch_ms, uint64_t spread);

struct schedule_tick {
    bool due;        // take a tick now, at time_ms
    bool back;       // the clock stepped back: this tick is not after the last one
    int64_t time_ms; // wall clock, a multiple of the step
    int64_t wait_ms; // until the next tick, >= 1
};
// What to do at this wall-clock time. A tick that is due counts as taken.
struct schedule_tick schedule_at(struct schedule *s, int64_t utc_ms);

// Is a batch to be cut after the tick at time_ms?
bool schedule_cuts(const struct schedule *s, int64_t time_ms);

// A collector's period in ticks: rounded to the nearest multiple of the step, at least 1.
uint32_t schedule_every(int64_t step_ms, int64_t period_ms);

#endif
