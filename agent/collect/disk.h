// disk: how full each mounted filesystem is. From /proc/1/mountinfo, or /proc/self/mountinfo where
// that may not be read (proc_pid_mountinfo(5)), and statvfs(3).
//
// Of mounts on the same path only the topmost is reported: the others cannot be asked. Without
// `network`, filesystems on other machines are left out, since a server that hangs would stop the
// agent. autofs is always left out, since asking would mount. Filesystems of size 0 are not
// reported.
#ifndef AGENT_COLLECT_DISK_H
#define AGENT_COLLECT_DISK_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define DISK_MAX_MOUNTS 64

struct disk_mount {
    char path[256];   // mount point
    char device[128]; // as mounted, without "/dev/"
    char fstype[32];
    char number[16];  // "major:minor"
    const char *mode; // "rw", "ro", "unknown"
};

// One line of mountinfo. False if it is malformed or a name does not fit.
bool disk_parse(struct rn_span line, struct disk_mount *mount);

enum disk_field {
    DISK_TOTAL,
    DISK_FREE,
    DISK_USED,
    DISK_USED_PERCENT,
    DISK_INODES_TOTAL,
    DISK_INODES_FREE,
    DISK_INODES_USED,
    DISK_INODES_USED_PERCENT,
    DISK_FIELDS
};

// In blocks of *mul bytes: the largest of 4096, 512 and 1 that divides the filesystem's unit.
void disk_usage(const struct statvfs *fs, uint64_t value[DISK_FIELDS], uint32_t *mul);

struct disk_conf {
    struct rn_opt_list mount_points, ignore_fs;
    bool network;
};

extern const struct rn_collector collect_disk;

#endif
