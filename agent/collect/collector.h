// A collector reads one source of the machine and reports points. One file, one table row, one test.
//
// The file has three parts that never mix: parse (text -> plain struct, pure), state (what is kept
// between ticks), emit (struct -> points). It reads only below the roots that it is given, so that
// a captured tree is a test.
#ifndef AGENT_COLLECT_COLLECTOR_H
#define AGENT_COLLECT_COLLECTOR_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/opt.h>
#include <runnel/samples.h>
#include <stddef.h>
#include <stdint.h>

// What the world looks like to a collector: everything it may ask for.
struct collect_env {
    const char *procfs, *sysfs; // "/proc", "/sys", or a captured tree
    const char *rootfs;         // prefix for statvfs of mount points and for utmp; "" normally
    long clock_ticks;           // per second, of /proc/stat (sysconf(_SC_CLK_TCK))
    struct rn_buf *scratch;     // for reading files: cleared by each user, bounded
};

#define COLLECT_PENDING 1 // sample() will complete later

struct rn_collector {
    const char *name; // also the key of its section: collect.<name>.*
    const char *help;
    size_t state_size; // bytes of private state, zeroed before open
    size_t conf_size;  // bytes of private configuration
    const struct rn_opt *opts; // keys relative to collect.<name>., offsets into the conf; may be NULL
    size_t nopts;
    const struct rn_field_desc *fields; // everything it may report, for the vocabulary
    size_t nfields;
    // Called once; may read what does not change. Not called again after an error: the agent tries
    // again with backoff. May block only as long as /proc and /sys do.
    int (*open)(void *state, const void *conf, const struct collect_env *env, struct rn_err *err);
    // Reports one tick. boot_ms (CLOCK_BOOTTIME) is when; differences between ticks use it.
    // Returns 0, COLLECT_PENDING, or a negative error: then what was reported already stands.
    int (*sample)(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err);
    void (*close)(void *state); // accepts a half-opened state; may be NULL
};

// All collectors, in the order in which they report. agent/collect/table.c.
extern const struct rn_collector *const collect_table[];
extern const size_t collect_table_count;

#endif
