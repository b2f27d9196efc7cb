// Window: gathers points into columns until a batch is cut. Keeps the series' order stable from
// batch to batch, so that the schema stays the same as long as the series do.
//
// A point's series is found without hashing as long as collectors report in the same order as last
// time. Steady state allocates nothing: storage grows (up to the maxima given) when series appear
// and is kept. Caller: one thread.
#ifndef RUNNEL_WINDOW_H
#define RUNNEL_WINDOW_H

#include <runnel/grid.h>
#include <runnel/samples.h>
#include <runnel/schema.h>
#include <stdint.h>

struct rn_window;

struct rn_window_conf {
    uint64_t unit_ns;
    uint64_t step;        // in units; 0: irregular
    uint32_t max_columns; // <= RN_SCHEMA_MAX_COLUMNS
    uint32_t max_ticks;
    uint32_t max_text;    // bytes of text values a window may hold
};

RN_MUST_CHECK int rn_window_new(struct rn_window **out, const struct rn_window_conf *conf,
                                struct rn_err *err);
void rn_window_free(struct rn_window *window);

// Starts the tick at time t (units; greater than the last tick's). RN_ELIMIT: cut a batch first.
RN_MUST_CHECK int rn_window_tick(struct rn_window *window, int64_t t, struct rn_err *err);
// Adds a point to the tick that was started. `every` is that of the point's collector. Refusals
// (too many columns, bad names, text space) are counted in rn_window_refused, by values.
void rn_window_add(struct rn_window *window, const struct rn_point *point, uint32_t every);
// The same for a double that came from outside (line protocol): kept scaled if exact, else literal.
void rn_window_add_double(struct rn_window *window, const char *measurement,
                          const struct rn_tag *tags, uint32_t ntags, const char *field,
                          double value);
uint32_t rn_window_ticks(const struct rn_window *window);
uint64_t rn_window_samples(const struct rn_window *window); // values in the open window
uint64_t rn_window_refused(const struct rn_window *window); // values, since the beginning
// Series that had no value in a whole window leave the schema at the next cut.
// Cut: the window's schema and grid, both borrowed until the next call that changes the window.
// *schema_changed tells that it differs from the last cut's. With 0 ticks: RN_ENOENT.
RN_MUST_CHECK int rn_window_cut(struct rn_window *window, const struct rn_schema **schema,
                                const struct rn_grid **grid, bool *schema_changed,
                                struct rn_err *err);
void rn_window_clear(struct rn_window *window); // after a cut: next window begins, series are kept

#endif
