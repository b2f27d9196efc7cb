// diskio: what was read from and written to each block device since boot. From /proc/diskstats
// (kernel document admin-guide/iostats).
//
// Without `devices`: all, partitions too, that have ever been used (loop and ram devices mostly
// have not). With it: those whose name fits one of its patterns. Averages of a tick (io_await,
// io_svctm, io_util) are not reported: they follow from the counters.
#ifndef AGENT_COLLECT_DISKIO_H
#define AGENT_COLLECT_DISKIO_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define DISKIO_MAX_DEVICES 64
#define DISKIO_NAME_MAX    64

// In the order of /proc/diskstats.
enum diskio_field {
    DISKIO_READS,
    DISKIO_MERGED_READS,
    DISKIO_READ_BYTES, // sectors of 512 bytes
    DISKIO_READ_TIME,
    DISKIO_WRITES,
    DISKIO_MERGED_WRITES,
    DISKIO_WRITE_BYTES,
    DISKIO_WRITE_TIME,
    DISKIO_IOPS_IN_PROGRESS,
    DISKIO_IO_TIME,
    DISKIO_WEIGHTED_IO_TIME,
    DISKIO_COUNTERS, // the rest is computed
    DISKIO_IO_AWAIT = DISKIO_COUNTERS,
    DISKIO_IO_SVCTM,
    DISKIO_IO_UTIL,
    DISKIO_FIELDS
};

struct diskio_counters {
    char name[DISKIO_NAME_MAX];
    uint64_t value[DISKIO_COUNTERS];
    bool used; // some counter is not 0
};

// A line "major minor name 11 or more numbers". False if it is none.
bool diskio_parse(struct rn_span line, struct diskio_counters *counters);

// Over the time between two ticks, in hundredths: of a millisecond a request, of a per cent.
struct diskio_averages {
    bool has_requests; // await and svctm are there
    uint64_t await, svctm, util;
};

// False if a counter went back or no time passed.
bool diskio_average(const struct diskio_counters *before, const struct diskio_counters *now,
                    int64_t passed_ms, struct diskio_averages *out);

struct diskio_conf {
    struct rn_opt_list devices;
    bool averages;
};

extern const struct rn_collector collect_diskio;

#endif
