// A collector reads one source of the machine and reports points. One file, one table row, one
// test.
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

struct statvfs;

// The most that one file of /proc or /sys may take in the scratch buffer.
#define COLLECT_SCRATCH_MAX (256 * 1024)

// What the world looks like to a collector: everything it may ask for.
struct collect_env {
    const char *procfs, *sysfs; // "/proc", "/sys", or a captured tree
    const char *rootfs;         // prefix for statvfs of mount points and for utmp; "" normally
    long page_bytes;            // of /proc/vmstat (sysconf(_SC_PAGESIZE))
    int (*statvfs)(const char *path, struct statvfs *out); // statvfs(3), or a test's
    struct rn_buf *scratch; // for reading files: cleared by each user, bounded
    uint64_t *left_out;     // counts what a maximum kept out of the report; may be NULL
};

// The machine that runs us: the usual roots, its page size and statvfs(3).
void collect_env_init(struct collect_env *env, struct rn_buf *scratch);

#define COLLECT_PENDING 1 // sample() will complete later

struct rn_collector {
    const char *name; // also the key of its section: collect.<name>.*
    const char *help;
    size_t state_size; // bytes of private state, zeroed before open
    size_t conf_size;  // bytes of private configuration
    const struct rn_opt
        *opts; // keys relative to collect.<name>., offsets into the conf; may be NULL
    size_t nopts;
    // Everything it may report, for the vocabulary. A point may refer to another descriptor of the
    // same name that differs in `mul` only: the one in the point says how its number is read.
    const struct rn_field_desc *fields;
    size_t nfields;
    const struct rn_rule_desc *rules; // what is known of its fields beforehand; may be NULL
    size_t nrules;
    const char *tags; // keys of its tags, separated by blanks, for the vocabulary; "" if none
    // Called once; may read what does not change. May be NULL. Not called again after an error: the
    // agent tries again with backoff. May block only as long as /proc and /sys do.
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
