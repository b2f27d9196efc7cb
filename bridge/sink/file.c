// Sink `file`: line protocol or JSON lines in numbered files PATH.000001, PATH.000002, ...
//
// Transactional: the number of the file and its length are committed with the cursor. At open the
// file is cut back to that length and files with a higher number are removed, so what a crash left
// behind is undone and written again. A file is never renamed; when it is full or old enough the
// next number begins. `keep` limits how many stay.
#include "bridge/sink/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <runnel/clock.h>
#include <runnel/file.h>
#include <runnel/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY_MAX  (16 * 1024 * 1024)
#define PATH_SIZE 512
#define FILES_MAX 100000
#define DIGITS    6

enum format { FORMAT_LINE, FORMAT_NDJSON };

struct file_conf {
    char path[PATH_SIZE - 16];
    int format;
    int64_t max_bytes, max_age_ms, keep;
    char host_tag[64];
};

struct file_sink {
    const struct file_conf *conf;
    const struct sink_host *host;
    int fd; // valid if opened
    bool opened;
    uint32_t number;
    int64_t length, born_utc_ms;
    struct rn_buf body;
    char folder[PATH_SIZE];
    const char *base; // name within the folder, points into conf
};

// What is committed with the cursor, as text: "number length born".
static void file_save(void *state, struct rn_buf *out)
{
    const struct file_sink *f = state;
    rn_buf_printf(out, "%u %lld %lld", f->number, (long long)f->length, (long long)f->born_utc_ms);
}

static bool read_saved(struct file_sink *f, struct rn_span saved)
{
    char text[80];
    long long length, born;
    if (saved.len == 0 || saved.len >= sizeof text)
        return false;
    memcpy(text, saved.data, saved.len);
    text[saved.len] = 0;
    if (sscanf(text, "%u %lld %lld", &f->number, &length, &born) != 3)
        return false;
    f->length = length;
    f->born_utc_ms = born;
    return true;
}

static int file_path(const struct file_sink *f, uint32_t number, char out[PATH_SIZE],
                     struct rn_err *err)
{
    int n = snprintf(out, PATH_SIZE, "%s.%0*u", f->conf->path, DIGITS, number);
    return n < PATH_SIZE ? RN_OK : rn_fail(err, RN_ELIMIT, "the path is too long");
}

// Number of a file of ours by its name; 0: it is not one.
static uint32_t number_of(const struct file_sink *f, const char *name)
{
    size_t len = strlen(f->base);
    if (strncmp(name, f->base, len) != 0 || name[len] != '.')
        return 0;
    char *end;
    unsigned long number = strtoul(name + len + 1, &end, 10);
    bool digits = strlen(name + len + 1) >= DIGITS && name[len + 1] >= '0' && name[len + 1] <= '9';
    return *end || !digits || number > UINT32_MAX ? 0 : (uint32_t)number;
}

// Removes files with lo <= number <= hi; returns the highest number that is left.
static int remove_files(const struct file_sink *f, uint32_t lo, uint32_t hi, uint32_t *highest,
                        struct rn_err *err)
{
    char **names;
    int count, rc = rn_names_list(f->folder, "", FILES_MAX, &names, &count, err);
    if (rc < 0)
        return rc;
    *highest = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_SIZE];
        uint32_t number = number_of(f, names[i]);
        if (number >= lo && number <= hi && number &&
            rn_path_join(path, sizeof path, f->folder, names[i], NULL) == RN_OK)
            (void)unlink(path);
        else if (number > *highest)
            *highest = number;
    }
    rn_names_free(names, count);
    return RN_OK;
}

static int open_number(struct file_sink *f, struct rn_err *err)
{
    char path[PATH_SIZE];
    struct stat st;
    int rc = file_path(f, f->number, path, err);
    if (rc < 0)
        return rc;
    f->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (f->fd < 0)
        return rn_fail_errno(err, "open %s", path);
    f->opened = true;
    if (fstat(f->fd, &st) < 0)
        return rn_fail_errno(err, "stat %s", path);
    if (st.st_size < f->length) // somebody emptied or replaced it: go on at its end
        f->length = st.st_size;
    if (ftruncate(f->fd, f->length) < 0)
        return rn_fail_errno(err, "truncate %s", path);
    return RN_OK;
}

static void close_number(struct file_sink *f)
{
    if (f->opened)
        close(f->fd);
    f->opened = false;
}

static int sync_folder(const struct file_sink *f, struct rn_err *err)
{
    int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rn_fail_errno(err, "open %s", f->folder);
    int rc = fsync(fd) < 0 ? rn_fail_errno(err, "fsync %s", f->folder) : RN_OK;
    close(fd);
    return rc;
}

static int begin_number(struct file_sink *f, uint32_t number, struct rn_err *err)
{
    close_number(f);
    f->number = number;
    f->length = 0;
    f->born_utc_ms = rn_clock_utc_ms();
    int rc = open_number(f, err);
    return rc < 0 ? rc : sync_folder(f, err);
}

static void split_path(struct file_sink *f)
{
    const char *path = f->conf->path;
    const char *slash = strrchr(path, '/');
    f->base = slash ? slash + 1 : path;
    if (slash)
        snprintf(f->folder, sizeof f->folder, "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
    else
        snprintf(f->folder, sizeof f->folder, ".");
}

static int file_open(void *state, const void *conf, struct rn_loop *loop,
                     const struct sink_host *host, struct rn_err *err)
{
    (void)loop;
    struct file_sink *f = state;
    f->conf = conf;
    f->host = host;
    split_path(f);
    rn_buf_init(&f->body, BODY_MAX);
    int rc = rn_mkdirs(f->folder, 0750, err);
    uint32_t highest = 0;
    bool known = read_saved(f, host->saved);
    if (rc == RN_OK)
        rc = remove_files(f, known ? f->number + 1 : 1, known ? UINT32_MAX : 0, &highest, err);
    if (rc < 0)
        return rc;
    return known ? open_number(f, err) : begin_number(f, highest + 1, err);
}

static void finish(struct file_sink *f, int rc, const struct rn_err *err)
{
    struct sink_result result = {.outcome = rc < 0 ? SINK_RETRY : SINK_DONE,
                                 .text = rc < 0 ? err->text : NULL};
    f->host->complete(f->host->arg, &result);
}

static int drop_old_files(const struct file_sink *f, struct rn_err *err)
{
    uint32_t highest;
    if (f->conf->keep == 0 || f->number <= f->conf->keep)
        return RN_OK;
    return remove_files(f, 1, f->number - (uint32_t)f->conf->keep, &highest, err);
}

static int rotate_if_due(struct file_sink *f, struct rn_err *err)
{
    bool full = f->conf->max_bytes && f->length >= f->conf->max_bytes;
    bool old = f->conf->max_age_ms && rn_clock_utc_ms() - f->born_utc_ms >= f->conf->max_age_ms;
    if (f->opened && (f->length == 0 || (!full && !old)))
        return RN_OK;
    // What is in the full file must be there before the next one can be committed.
    if (f->opened && fdatasync(f->fd) < 0)
        return rn_fail_errno(err, "fsync %s.%0*u", f->conf->path, DIGITS, f->number);
    int rc = begin_number(f, f->number + 1, err);
    return rc < 0 ? rc : drop_old_files(f, err);
}

static int write_body(struct file_sink *f, struct rn_err *err)
{
    size_t done = 0;
    while (done < f->body.len) {
        ssize_t n =
            pwrite(f->fd, f->body.data + done, f->body.len - done, f->length + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return rn_fail_errno(err, "write %s.%0*u", f->conf->path, DIGITS, f->number);
        done += (size_t)n;
    }
    f->length += (int64_t)done;
    return RN_OK;
}

static void format_run(struct file_sink *f, const struct rn_run *run)
{
    struct rn_span dev = rn_span_text(run->dev);
    struct rn_lp_conf lp = {
        .host_key = rn_span_text(f->conf->host_tag), .host = dev, .uint_form = RN_LP_UINT_AS_U};
    if (f->conf->format == FORMAT_NDJSON)
        (void)rn_json_grid(&f->body, run->schema, run->grid, dev);
    else
        (void)rn_lp_grid(&f->body, run->schema, run->grid, &lp);
}

static void file_write(void *state, const struct rn_run *const *runs, uint32_t n)
{
    struct file_sink *f = state;
    struct rn_err err;
    rn_buf_clear(&f->body);
    for (uint32_t i = 0; i < n; i++)
        format_run(f, runs[i]);
    if (rn_buf_status(&f->body) == RN_ENOMEM) {
        finish(f, rn_fail(&err, RN_ENOMEM, "out of memory"), &err);
        return;
    }
    if (!rn_buf_ok(&f->body)) {
        struct sink_result result = {.outcome = SINK_TOO_LARGE, .text = "too much for one write"};
        f->host->complete(f->host->arg, &result);
        return;
    }
    int rc = rotate_if_due(f, &err);
    if (rc == RN_OK)
        rc = write_body(f, &err);
    finish(f, rc, &err);
}

static void file_flush(void *state)
{
    struct file_sink *f = state;
    struct rn_err err;
    int rc = RN_OK;
    if (f->opened && fdatasync(f->fd) < 0)
        rc = rn_fail_errno(&err, "fsync %s.%0*u", f->conf->path, DIGITS, f->number);
    finish(f, rc, &err);
}

static void file_close(void *state)
{
    struct file_sink *f = state;
    close_number(f);
    rn_buf_release(&f->body);
}

static const struct rn_opt file_opts[] = {
    {.key = "path",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct file_conf, path),
     .size = sizeof(((struct file_conf *)0)->path),
     .flags = RN_OPT_REQUIRED | RN_OPT_PATH,
     .help = "files are PATH.000001, PATH.000002 and so on"},
    {.key = "format",
     .type = RN_OPT_ENUM,
     .offset = offsetof(struct file_conf, format),
     .words = "line|ndjson",
     .def = "line",
     .help = "InfluxDB line protocol or JSON lines"},
    {.key = "max_bytes",
     .type = RN_OPT_SIZE,
     .offset = offsetof(struct file_conf, max_bytes),
     .max = INT64_C(1) << 50,
     .def = "256M",
     .help = "begins a new file at this size; 0: never"},
    {.key = "max_age",
     .type = RN_OPT_DURATION,
     .offset = offsetof(struct file_conf, max_age_ms),
     .max = INT64_C(1) << 50,
     .def = "1d",
     .help = "begins a new file at this age; 0s: never"},
    {.key = "keep",
     .type = RN_OPT_INT,
     .offset = offsetof(struct file_conf, keep),
     .max = FILES_MAX,
     .def = "0",
     .help = "how many files stay; 0: all"},
    {.key = "host_tag",
     .type = RN_OPT_TEXT,
     .offset = offsetof(struct file_conf, host_tag),
     .size = sizeof(((struct file_conf *)0)->host_tag),
     .def = "host",
     .help = "tag that carries the device's name in line protocol; empty: none"},
};

extern const struct rn_sink sink_file;
const struct rn_sink sink_file = {
    .type = "file",
    .help = "numbered files of line protocol or JSON lines",
    .state_size = sizeof(struct file_sink),
    .conf_size = sizeof(struct file_conf),
    .opts = file_opts,
    .nopts = RN_OPT_COUNT(file_opts),
    .promise = SINK_TRANSACTIONAL,
    .open = file_open,
    .write = file_write,
    .flush = file_flush,
    .save = file_save,
    .close = file_close,
};
