// A group of runs that is written together: its points get one common numbering for the policy, and
// any set of points can be shown to a sink as runs whose other cells are missing. No I/O, no clock.
#ifndef BRIDGE_GROUP_H
#define BRIDGE_GROUP_H

#include "bridge/sink/policy.h"
#include "bridge/sink/sink.h"
#include <runnel/buf.h>

#define GROUP_RUNS 256

struct group_window {
    int64_t from_ns, to_ns; // points outside are not written but listed in `outside`
};

struct group {
    uint32_t n;
    const struct rn_run *run[GROUP_RUNS];
    uint32_t base[GROUP_RUNS + 1]; // number of the first point of each run
    uint32_t present[GROUP_RUNS];  // points with values inside the window
    bool clipped[GROUP_RUNS];      // some of its points are outside
    uint64_t samples, bytes;
    struct policy_set all, outside;
    // The view that a sink was given last.
    uint32_t nview;
    const struct rn_run *view[GROUP_RUNS];
    uint32_t view_of[GROUP_RUNS]; // index into run
    struct group_mask *mask[GROUP_RUNS];
};

// Takes as many of the runs, from the first, as fit; at least one. Returns how many. The runs are
// borrowed until the next fill.
uint32_t group_fill(struct group *group, const struct rn_run *const *runs, uint32_t n,
                    const struct group_window *window);
// Makes group->view show exactly the points of the set. RN_ENOMEM.
RN_MUST_CHECK int group_show(struct group *group, const struct policy_set *set);
void group_hide(struct group *group); // frees the copies of the view
// The group's number of a point of the view; UINT32_MAX if there is none such.
uint32_t group_number(const struct group *group, struct sink_point point);
// Fills the bitmap with the points of the view that the sink suspects.
void group_suspects(const struct group *group, const struct sink_result *result, void *sink_state,
                    uint8_t bits[POLICY_SET_BYTES]);
// Appends the point as line protocol without the host tag and without a newline; *run is its run.
// 0: line protocol can carry nothing of it; RN_ENOMEM.
RN_MUST_CHECK int group_line(const struct group *group, uint32_t point, struct rn_buf *line,
                             const struct rn_run **run);

#endif
