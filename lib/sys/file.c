// See runnel/file.h.
#include <runnel/file.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK = 4096, TREE_DEPTH = 64 };

static ssize_t read_some(int fd, void *to, size_t len)
{
    ssize_t got;
    do
        got = read(fd, to, len);
    while (got < 0 && errno == EINTR);
    return got;
}

static int read_all(int fd, const char *path, struct rn_buf *out, struct rn_err *err)
{
    for (;;) {
        // The size that stat tells is not asked: files of /proc say 0, and others may grow.
        uint8_t chunk[READ_CHUNK];
        ssize_t got = read_some(fd, chunk, sizeof chunk);
        if (got < 0)
            return rn_fail_errno(err, "read %s", path);
        if (got == 0)
            return RN_OK;
        if ((size_t)got > out->max - out->len)
            return rn_fail(err, RN_ELIMIT, "%s is larger than the %zu bytes allowed", path,
                           out->max);
        rn_buf_append(out, chunk, (size_t)got);
        if (!rn_buf_ok(out))
            return rn_fail(err, RN_ENOMEM, "no memory to read %s", path);
    }
}

int rn_file_read(const char *path, struct rn_buf *out, struct rn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rn_fail_errno(err, "open %s", path);
    int rc = read_all(fd, path, out, err);
    close(fd);
    return rc;
}

static int write_all(int fd, struct rn_span content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.data, content.len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        content.data += put;
        content.len -= (size_t)put;
    }
    return 0;
}

// fsync of the folder that holds path: without it a power cut may undo the rename.
static int sync_folder(const char *path, struct rn_err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else if (slash == path)
        snprintf(folder, sizeof folder, "/");
    else
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rn_fail_errno(err, "open %s", folder);
    int rc = fsync(fd) < 0 ? rn_fail_errno(err, "fsync %s", folder) : RN_OK;
    close(fd);
    return rc;
}

int rn_file_replace(const char *path, struct rn_span content, mode_t mode, struct rn_err *err)
{
    // A fixed name: what a crash leaves behind is overwritten by the next attempt. One owner a
    // file.
    char temporary[PATH_MAX];
    int len = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (len < 0 || (size_t)len >= sizeof temporary)
        return rn_fail(err, RN_ELIMIT, "path too long: %.100s", path);
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return rn_fail_errno(err, "create %s", temporary);
    int rc = RN_OK;
    if (write_all(fd, content) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0)
        rc = rn_fail_errno(err, "write %s", temporary);
    close(fd);
    if (rc == RN_OK && rename(temporary, path) < 0)
        rc = rn_fail_errno(err, "rename %s to %s", temporary, path);
    if (rc < 0) {
        unlink(temporary);
        return rc;
    }
    return sync_folder(path, err);
}

static int make_one(const char *path, mode_t mode, struct rn_err *err)
{
    if (mkdir(path, mode) == 0)
        return RN_OK;
    int number = errno;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) // EEXIST, or EROFS and EACCES above it
        return RN_OK;
    errno = number;
    return rn_fail_errno(err, "create folder %s", path);
}

int rn_mkdirs(const char *path, mode_t mode, struct rn_err *err)
{
    char part[PATH_MAX];
    int len = snprintf(part, sizeof part, "%s", path);
    if (len <= 0 || (size_t)len >= sizeof part)
        return rn_fail(err, RN_EINVAL, "not a path: \"%.100s\"", path);
    for (char *at = part + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        int rc = make_one(part, mode, err);
        *at = '/';
        if (rc < 0)
            return rc;
    }
    return make_one(part, mode, err);
}

static int remove_entry(int folder, const char *name, int depth);

// Takes fd over. 0, or -1 and errno.
static int remove_content(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -1;
    }
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = remove_entry(dirfd(dir), entry->d_name, depth);
    int number = errno;
    closedir(dir);
    errno = number;
    return rc;
}

static int remove_entry(int folder, const char *name, int depth)
{
    if (unlinkat(folder, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM) // a folder gives one or the other
        return -1;
    if (depth == 0) {
        errno = ELOOP;
        return -1;
    }
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || remove_content(fd, depth - 1) < 0)
        return -1;
    return unlinkat(folder, name, AT_REMOVEDIR);
}

int rn_remove_tree(const char *path, struct rn_err *err)
{
    if (remove_entry(AT_FDCWD, path, TREE_DEPTH) < 0 && errno != ENOENT)
        return rn_fail_errno(err, "remove %s", path);
    return RN_OK;
}

int rn_path_join(char *out, size_t size, const char *folder, const char *name, struct rn_err *err)
{
    int len = snprintf(out, size, "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= size)
        return rn_fail(err, RN_ELIMIT, "path too long: %.80s/%.80s", folder, name);
    return RN_OK;
}

// --- names of a folder ----------------------------------------------------------------------

static bool ends_in(const char *name, const char *suffix)
{
    size_t len = strlen(name), tail = strlen(suffix);
    return len > tail && strcmp(name + len - tail, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int collect(DIR *dir, const char *folder, const char *suffix, int max, char **names,
                   int *count, struct rn_err *err)
{
    for (;;) {
        errno = 0; // readdir tells the end and an error alike
        const struct dirent *entry = readdir(dir);
        if (!entry && errno)
            return rn_fail_errno(err, "list folder %s", folder);
        if (!entry)
            break;
        if (entry->d_name[0] == '.' || !ends_in(entry->d_name, suffix))
            continue;
        if (*count == max)
            return rn_fail(err, RN_ELIMIT, "%s holds more than %d files named *%s", folder, max,
                           suffix);
        names[*count] = strdup(entry->d_name);
        if (!names[*count])
            return rn_fail(err, RN_ENOMEM, "no memory for the names in %s", folder);
        ++*count;
    }
    qsort(names, (size_t)*count, sizeof *names, by_name);
    return RN_OK;
}

int rn_names_list(const char *folder, const char *suffix, int max, char ***names, int *count,
                  struct rn_err *err)
{
    if (max <= 0)
        return rn_fail(err, RN_EINVAL, "at most %d names of %s make no sense", max, folder);
    DIR *dir = opendir(folder);
    if (!dir)
        return rn_fail_errno(err, "open folder %s", folder);
    int found = 0;
    char **list = calloc((size_t)max, sizeof *list);
    int rc = list ? collect(dir, folder, suffix, max, list, &found, err)
                  : rn_fail(err, RN_ENOMEM, "no memory for the names in %s", folder);
    closedir(dir);
    if (rc < 0) {
        rn_names_free(list, found);
        return rc;
    }
    *names = list;
    *count = found;
    return RN_OK;
}

void rn_names_free(char **names, int count)
{
    for (int i = 0; names && i < count; i++)
        free(names[i]);
    free(names);
}
