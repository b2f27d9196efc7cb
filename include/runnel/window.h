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
    uint32_t max_text; // bytes of text values a window may hold
};

RN_MUST_CHECK int rn_window_new(struct rn_window **out, const struct rn_window_conf *conf,
                                struct rn_err *err);
void rn_window_free(struct rn_window *window);

// Rules for the schemas that the window makes, borrowed for its life. Those of earlier calls come
// first; a rule refers to columns without one or with one that comes before. RN_ELIMIT: too many
// calls.
#define RN_WINDOW_RULE_TABLES 32
RN_MUST_CHECK int rn_window_add_rules(struct rn_window *window, const struct rn_rule_desc *rules,
                                      size_t count);

// Starts the tick at time t (units; greater than the window's last). With a step, t is a multiple
// of it, and ticks left out since the last one are filled in as missing. RN_ELIMIT: the window is
// full, or the gap does not fit: cut a batch first. RN_EINVAL: t is not a time for a tick.
RN_MUST_CHECK int rn_window_tick(struct rn_window *window, int64_t t, struct rn_err *err);
// Adds a point to the tick that was started. `every` (0 counts as 1) is that of the point's
// collector. A point of the same measurement, tags and `every` at the same tick adds to the series'
// fields; a value that is there already is replaced. Refusals (no room, bad names, not due, a field
// that was of another type, unit or scale so far, text space) are counted in rn_window_refused, by
// values. After a refusal for want of room rn_window_tick asks for a cut.
void rn_window_add(struct rn_window *window, const struct rn_point *point, uint32_t every);
// The same for a double that came from outside (line protocol): kept scaled if exact, else literal.
// NaN and infinities are refused.
void rn_window_add_double(struct rn_window *window, const char *measurement,
                          const struct rn_tag *tags, uint32_t ntags, const char *field,
                          double value);
// A whole point that came from outside, values of any type; nothing is lost for want of room.
// RN_ELIMIT: no room in this window; nothing of the point was kept or counted: cut, clear, try
// again. RN_EINVAL: some values were refused and counted (err: the last reason), the rest kept.
RN_MUST_CHECK int rn_window_add_values(struct rn_window *window, struct rn_span measurement,
                                       const struct rn_tag *tags, uint32_t ntags,
                                       const struct rn_named_value *values, uint32_t nvalues,
                                       struct rn_err *err);
uint32_t rn_window_ticks(const struct rn_window *window);
uint64_t rn_window_samples(const struct rn_window *window); // values in the open window
uint64_t rn_window_refused(const struct rn_window *window); // values, since the beginning
// Cut: the window's schema and grid, both borrowed until the next call that changes the window.
// *schema_changed tells that it differs from the last cut's. Its hash is not filled. RN_ENOENT:
// there is no value in the window.
RN_MUST_CHECK int rn_window_cut(struct rn_window *window, const struct rn_schema **schema,
                                const struct rn_grid **grid, bool *schema_changed,
                                struct rn_err *err);
// After a cut: the next window begins. Series are kept, but those that had no value in the whole
// window that ends; so a slow one does not come and go, and a cut in between changes nothing.
void rn_window_clear(struct rn_window *window);

#endif
