// See read.h.
#include "agent/collect/read.h"

#include "agent/collect/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CHUNK 4096

void collect_env_init(struct collect_env *env, struct rn_buf *scratch)
{
    *env = (struct collect_env){
        .procfs = "/proc",
        .sysfs = "/sys",
        .rootfs = "",
        .page_bytes = sysconf(_SC_PAGESIZE),
        .statvfs = statvfs,
        .scratch = scratch,
    };
}

void collect_left_out(const struct collect_env *env, uint64_t count)
{
    if (env->left_out)
        *env->left_out += count;
}

static int open_below(const char *root, const char *path, int flags)
{
    char full[PATH_MAX];
    int len = snprintf(full, sizeof full, "%s/%s", root, path);
    if (len < 0 || (size_t)len >= sizeof full) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(full, O_RDONLY | O_CLOEXEC | flags);
}

static ssize_t read_again(int fd, void *to, size_t len)
{
    ssize_t got;
    do
        got = read(fd, to, len);
    while (got < 0 && errno == EINTR);
    return got;
}

// Appends until the end of the file or until the buffer is full. -1: errno says why.
static int read_all(int fd, struct rn_buf *out, bool *cut)
{
    for (;;) {
        size_t left = out->max - out->len;
        if (left == 0) {
            char more;
            *cut = read_again(fd, &more, 1) > 0;
            return 0;
        }
        uint8_t *at = rn_buf_reserve(out, left < CHUNK ? left : CHUNK);
        if (!at) {
            errno = ENOMEM;
            return -1;
        }
        size_t room = out->cap - out->len < left ? out->cap - out->len : left;
        ssize_t got = read_again(fd, at, room);
        if (got <= 0)
            return (int)got;
        out->len += (size_t)got;
    }
}

static struct rn_span whole_lines(struct rn_span text)
{
    while (text.len > 0 && text.data[text.len - 1] != '\n')
        text.len--;
    return text;
}

int collect_read(const struct collect_env *env, const char *root, const char *path,
                 struct rn_span *text, struct rn_err *err)
{
    rn_buf_clear(env->scratch);
    int fd = open_below(root, path, 0);
    if (fd < 0)
        return rn_fail_errno(err, "cannot open %s/%s", root, path);
    bool cut = false;
    int result = read_all(fd, env->scratch, &cut);
    if (result < 0)
        result = rn_fail_errno(err, "cannot read %s/%s", root, path);
    close(fd);
    if (result < 0)
        return result;
    *text = rn_buf_span(env->scratch);
    if (cut) {
        *text = whole_lines(*text);
        collect_left_out(env, 1);
    }
    return 0;
}

int collect_read_line(const char *root, const char *path, char *out, size_t size)
{
    out[0] = '\0';
    int fd = open_below(root, path, O_NONBLOCK);
    if (fd < 0)
        return rn_fail_errno(NULL, "open");
    char line[512];
    ssize_t got = read_again(fd, line, sizeof line);
    int code = got < 0 ? rn_fail_errno(NULL, "read") : 0;
    close(fd);
    if (code < 0)
        return code;
    struct rn_span text = parse_trim((struct rn_span){(const uint8_t *)line, (size_t)got});
    return parse_copy(out, size, text) ? 0 : RN_ELIMIT;
}
