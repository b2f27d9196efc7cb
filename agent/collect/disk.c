// See disk.h.
#include "agent/collect/disk.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

// A file system that comes, or turns read-only (tag mode), is a new series.
#define SIZE(name_, mul_, help_)                                                                   \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .mul = mul_, .unit = "By", .help = help_, \
        .news = RN_NEWS_SERIES                                                                     \
    }
#define BYTES(name_, mul_, help_)                                                                  \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .mul = mul_, .unit = "By", .help = help_  \
    }
#define COUNT(name_, help_)                                                                        \
    {                                                                                              \
        .name = name_, .type = RN_INT, .kind = RN_GAUGE, .help = help_                             \
    }
#define PERCENT(name_, help_)                                                                      \
    {                                                                                              \
        .name = name_, .type = RN_FLOAT, .kind = RN_GAUGE, .decimals = 2, .unit = "%",             \
        .help = help_                                                                              \
    }
#define FIELDS_IN(mul_)                                                                            \
    {                                                                                              \
        [DISK_TOTAL] = SIZE("total", mul_, "Size."),                                               \
        [DISK_FREE] = BYTES("free", mul_, "Free for programs without privileges."),                \
        [DISK_USED] = BYTES("used", mul_, "Used."),                                                \
        [DISK_USED_PERCENT] = PERCENT("used_percent", "used of used and free."),                   \
        [DISK_INODES_TOTAL] = COUNT("inodes_total", "Inodes."),                                    \
        [DISK_INODES_FREE] = COUNT("inodes_free", "Free inodes."),                                 \
        [DISK_INODES_USED] = COUNT("inodes_used", "Used inodes."),                                 \
        [DISK_INODES_USED_PERCENT] = PERCENT("inodes_used_percent", "inodes_used of all inodes."), \
    }

static const struct rn_field_desc fields[DISK_FIELDS] = FIELDS_IN(4096);
static const struct rn_field_desc fields_of_sectors[DISK_FIELDS] = FIELDS_IN(512);
static const struct rn_field_desc fields_of_bytes[DISK_FIELDS] = FIELDS_IN(1);

static const struct rn_opt opts[] = {
    {.key = "mount_points",
     .type = RN_OPT_LIST,
     .offset = offsetof(struct disk_conf, mount_points),
     .flags = RN_OPT_REMOTE,
     .help = "Report these mount points only; empty: all."},
    {.key = "ignore_fs",
     .type = RN_OPT_LIST,
     .offset = offsetof(struct disk_conf, ignore_fs),
     .def = "[tmpfs, devtmpfs, devfs, iso9660, overlay, aufs, squashfs]",
     .flags = RN_OPT_REMOTE,
     .help = "Types of filesystems that are not reported."},
    {.key = "network",
     .type = RN_OPT_BOOL,
     .offset = offsetof(struct disk_conf, network),
     .def = "false",
     .flags = RN_OPT_REMOTE,
     .help = "Report filesystems on other machines too; one that hangs stops the agent."},
};

// Not worth a question: they have no size.
static const char *const pseudo[] = {
    "proc",   "sysfs",      "cgroup",      "cgroup2",  "devpts",    "securityfs", "debugfs",
    "bpf",    "tracefs",    "pstore",      "mqueue",   "configfs",  "fusectl",    "nsfs",
    "autofs", "rpc_pipefs", "binfmt_misc", "efivarfs", "selinuxfs",
};
static const char *const remote[] = {
    "nfs",         "nfs4",        "cifs", "smb3",  "smbfs",      "ceph",           "glusterfs",
    "lustre",      "afs",         "9p",   "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs",
    "fuse.rclone", "fuse.davfs2",
};

static bool among(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

// Every "/dev/" is taken out, as Telegraf does it.
static void cut_dev(char *device)
{
    for (char *at; (at = strstr(device, "/dev/"));)
        memmove(at, at + 5, strlen(at + 5) + 1);
    if (!device[0])
        strcpy(device, "none");
}

static const char *mode_of(struct rn_span mount_options, struct rn_span super_options)
{
    if (parse_listed(mount_options, "ro") || parse_listed(super_options, "ro"))
        return "ro";
    return parse_listed(mount_options, "rw") ? "rw" : "unknown";
}

// The source names the device if it is a path; "tmpfs" and the like do not say which part of a
// filesystem a bind mount shows, its root does.
static bool set_device(struct disk_mount *mount, struct rn_span source, struct rn_span root)
{
    bool by_source = parse_starts(source, "/") || rn_span_eq_text(root, "/");
    if (!parse_unescape(mount->device, sizeof mount->device, by_source ? source : root))
        return false;
    if (!mount->device[0] || strcmp(mount->device, "none") == 0)
        snprintf(mount->device, sizeof mount->device, "%s", mount->fstype);
    return true;
}

// "36 35 98:0 /root /mount/point options [optional ...] - type source super-options"
bool disk_parse(struct rn_span line, struct disk_mount *mount)
{
    struct rn_span number, root, path, options, word, fstype, source, super = {NULL, 0};
    if (!parse_skip(&line, 2) || !parse_word(&line, &number) || !parse_word(&line, &root) ||
        !parse_word(&line, &path) || !parse_word(&line, &options))
        return false;
    do
        if (!parse_word(&line, &word))
            return false;
    while (!rn_span_eq_text(word, "-"));
    if (!parse_word(&line, &fstype) || !parse_word(&line, &source))
        return false;
    (void)parse_word(&line, &super);
    mount->mode = mode_of(options, super);
    return parse_copy(mount->number, sizeof mount->number, number) &&
           parse_copy(mount->fstype, sizeof mount->fstype, fstype) &&
           parse_unescape(mount->path, sizeof mount->path, path) && mount->path[0] == '/' &&
           set_device(mount, source, root);
}

void disk_usage(const struct statvfs *fs, uint64_t value[DISK_FIELDS], uint32_t *mul)
{
    uint64_t unit = fs->f_frsize ? fs->f_frsize : fs->f_bsize;
    *mul = unit % 4096 == 0 ? 4096 : unit % 512 == 0 ? 512 : 1;
    uint64_t each = unit / *mul;
    uint64_t used = fs->f_blocks > fs->f_bfree ? fs->f_blocks - fs->f_bfree : 0;
    uint64_t inodes_used = fs->f_files > fs->f_ffree ? fs->f_files - fs->f_ffree : 0;
    uint64_t reachable;
    if (__builtin_mul_overflow(fs->f_blocks, each, &value[DISK_TOTAL]))
        value[DISK_TOTAL] = UINT64_MAX;
    if (__builtin_mul_overflow(fs->f_bavail, each, &value[DISK_FREE]))
        value[DISK_FREE] = UINT64_MAX;
    if (__builtin_mul_overflow(used, each, &value[DISK_USED]))
        value[DISK_USED] = UINT64_MAX;
    if (__builtin_add_overflow(used, fs->f_bavail, &reachable))
        reachable = UINT64_MAX;
    value[DISK_USED_PERCENT] = parse_percent(used, reachable);
    value[DISK_INODES_TOTAL] = fs->f_files;
    value[DISK_INODES_FREE] = fs->f_ffree;
    value[DISK_INODES_USED] = inodes_used;
    value[DISK_INODES_USED_PERCENT] = parse_percent(inodes_used, fs->f_files);
}

// ---- state: the mounts of this tick ------------------------------------------------------------

struct state {
    struct disk_mount mount[DISK_MAX_MOUNTS];
    int count;
};

static bool wanted(const struct disk_conf *conf, const struct disk_mount *mount)
{
    if (conf->mount_points.count && !parse_in_list(&conf->mount_points, mount->path))
        return false;
    if (among(pseudo, sizeof pseudo / sizeof pseudo[0], mount->fstype) ||
        parse_in_list(&conf->ignore_fs, mount->fstype))
        return false;
    return conf->network || !among(remote, sizeof remote / sizeof remote[0], mount->fstype);
}

// What a later mount covers goes.
static void cover(struct state *s, const char *path)
{
    for (int i = 0; i < s->count; i++) {
        if (strcmp(s->mount[i].path, path) != 0)
            continue;
        size_t after = (size_t)(s->count - i - 1);
        memmove(&s->mount[i], &s->mount[i + 1], after * sizeof s->mount[0]);
        s->count--;
        return;
    }
}

static void list_mounts(struct state *s, const struct disk_conf *conf,
                        const struct collect_env *env, struct rn_span text)
{
    struct rn_span line;
    struct disk_mount mount;
    s->count = 0;
    while (parse_line(&text, &line)) {
        if (!disk_parse(line, &mount)) {
            collect_left_out(env, line.len > 0);
            continue;
        }
        cover(s, mount.path);
        if (!wanted(conf, &mount))
            continue;
        if (s->count < DISK_MAX_MOUNTS)
            s->mount[s->count++] = mount;
        else
            collect_left_out(env, 1);
    }
}

// ---- emit --------------------------------------------------------------------------------------

// "/dev/root" and "/dev/mapper/..." are other names of a device that /sys knows by its number.
static void resolve_device(const struct collect_env *env, struct disk_mount *mount)
{
    char path[PATH_MAX], target[PATH_MAX];
    if (strcmp(mount->device, "/dev/root") != 0 && strncmp(mount->device, "/dev/mapper/", 12) != 0)
        return;
    int len = snprintf(path, sizeof path, "%s/dev/block/%s", env->sysfs, mount->number);
    if (len < 0 || (size_t)len >= sizeof path)
        return;
    ssize_t got = readlink(path, target, sizeof target - 1);
    if (got <= 0)
        return;
    target[got] = '\0';
    const char *slash = strrchr(target, '/');
    const char *base = slash ? slash + 1 : target;
    if (*base && strlen(base) < sizeof mount->device)
        snprintf(mount->device, sizeof mount->device, "%.*s", (int)sizeof mount->device - 1, base);
}

// The name of a device-mapper volume; "" if it is none.
static void read_label(const struct collect_env *env, const char *device, char *label, size_t size)
{
    char path[192];
    label[0] = '\0';
    if (strncmp(device, "dm-", 3) != 0 || strchr(device, '/'))
        return;
    snprintf(path, sizeof path, "block/%s/dm/name", device);
    if (collect_read_line(env->sysfs, path, label, size) < 0)
        label[0] = '\0';
}

static const struct rn_field_desc *fields_by(uint32_t mul)
{
    return mul == 4096 ? fields : mul == 512 ? fields_of_sectors : fields_of_bytes;
}

static void emit(const struct collect_env *env, struct disk_mount *mount, const struct statvfs *fs,
                 const struct rn_samples *out)
{
    uint64_t value[DISK_FIELDS];
    uint32_t mul;
    char label[128];
    disk_usage(fs, value, &mul);
    resolve_device(env, mount);
    cut_dev(mount->device);
    read_label(env, mount->device, label, sizeof label);
    parse_clean(label);
    parse_clean(mount->device);
    parse_clean(mount->fstype);
    parse_clean(mount->path);
    struct point p;
    point_clear(&p);
    point_tag(&p, "device", mount->device);
    point_tag(&p, "fstype", mount->fstype);
    if (label[0])
        point_tag(&p, "label", label);
    point_tag(&p, "mode", mount->mode);
    point_tag(&p, "path", mount->path);
    for (int i = 0; i < DISK_FIELDS; i++)
        point_uint(&p, &fields_by(mul)[i], value[i]);
    point_report(&p, "disk", out);
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)boot_ms;
    struct state *s = state;
    struct rn_span text;
    if (collect_read(env, env->procfs, "1/mountinfo", &text, NULL) < 0) {
        int code = collect_read(env, env->procfs, "self/mountinfo", &text, err);
        if (code < 0)
            return code;
    }
    list_mounts(s, conf, env, text);
    for (int i = 0; i < s->count; i++) {
        char path[PATH_MAX];
        struct statvfs fs;
        int len = snprintf(path, sizeof path, "%s%s", env->rootfs, s->mount[i].path);
        if (len > 0 && (size_t)len < sizeof path && env->statvfs(path, &fs) == 0 && fs.f_blocks > 0)
            emit(env, &s->mount[i], &fs, out);
    }
    return 0;
}

// Percentages are rounded to the nearest hundredth: (2 * part * 10000 + whole) / (2 * whole).
static const struct rn_rule_desc rules[] = {
    {.measurement = "disk",
     .field = "used",
     .num = RN_TERMS({.field = "total", .coefficient = 1}, {.field = "free", .coefficient = -1})},
    {.measurement = "disk",
     .field = "used_percent",
     .num = RN_TERMS({.field = "used", .coefficient = 20001}, {.field = "free", .coefficient = 1}),
     .den = RN_TERMS({.field = "used", .coefficient = 2}, {.field = "free", .coefficient = 2})},
    {.measurement = "disk",
     .field = "inodes_used",
     .num = RN_TERMS({.field = "inodes_total", .coefficient = 1},
                     {.field = "inodes_free", .coefficient = -1})},
    {.measurement = "disk",
     .field = "inodes_used_percent",
     .num = RN_TERMS({.field = "inodes_used", .coefficient = 20000},
                     {.field = "inodes_total", .coefficient = 1}),
     .den = RN_TERMS({.field = "inodes_total", .coefficient = 2})},
};

const struct rn_collector collect_disk = {
    .name = "disk",
    .help = "How full each mounted filesystem is.",
    .state_size = sizeof(struct state),
    .conf_size = sizeof(struct disk_conf),
    .opts = opts,
    .nopts = RN_OPT_COUNT(opts),
    .fields = fields,
    .nfields = DISK_FIELDS,
    .rules = rules,
    .nrules = RN_RULE_COUNT(rules),
    .tags = "device fstype label mode path",
    .sample = sample,
};
