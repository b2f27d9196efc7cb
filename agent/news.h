// News: a change that is worth a batch of its own. Collectors declare the fields that matter so
// (rn_field_desc.news): the link of an interface going down, a file system turning read-only. Pure.
//
// Promises: at most one early cut in each gap, whatever flaps; a change within it is counted as
// held and goes with the next regular batch. It watches NEWS_MAX values, more are counted only.
#ifndef AGENT_NEWS_H
#define AGENT_NEWS_H

#include <runnel/samples.h>
#include <stdbool.h>
#include <stdint.h>

#define NEWS_MAX 128

struct news { // zero-initialise
    struct {
        uint64_t key; // of measurement, tags and field
        int64_t value;
    } item[NEWS_MAX];
    uint32_t count;
    bool changed;    // since the last call of news_cut
    int64_t next_ms; // no early cut before
    uint64_t cuts, held, unwatched;
};

// A point is reported. known: its collector reported before, so a series that is new came just now.
void news_see(struct news *news, const struct rn_point *point, bool known);
// After a tick: is the batch to be cut now? boot_ms: a clock that does not jump.
bool news_cut(struct news *news, int64_t boot_ms, int64_t gap_ms);

#endif
