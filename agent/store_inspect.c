// Looking into a buffer from another process. The agent holds its file alone: the index of the WAL
// is in its memory, since a shared one would cost as much flash as the data. So what is looked at
// is a copy in memory.
//
// The copy is whole if the WAL did not change while both files were read: a checkpoint only moves
// pages that the WAL still has.
#include "agent/store_private.h"
#include <runnel/crc.h>
#include <runnel/file.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 8192, TRIES = 50, PAUSE_MS = 20 };

static bool folder_in_use(const char *folder)
{
    char path[512];
    if (rn_path_join(path, sizeof path, folder, "lock", NULL) < 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool used = flock(fd, LOCK_SH | LOCK_NB) < 0;
    close(fd);
    return used;
}

// The CRC of what is read from `in` and, unless `out` is negative, written to it.
static int pass_on(int in, int out, uint32_t *crc, struct rn_err *err)
{
    uint8_t chunk[CHUNK];
    ssize_t n;
    *crc = 0;
    while ((n = read(in, chunk, sizeof chunk)) > 0) {
        *crc = rn_crc32c(*crc, chunk, (size_t)n);
        if (out >= 0 && write(out, chunk, (size_t)n) != n)
            return rn_fail_errno(err, "the buffer cannot be copied");
    }
    return n < 0 ? rn_fail_errno(err, "the buffer cannot be read") : RN_OK;
}

// to NULL: reads only. A file that is not there has the CRC 0, and no copy.
static int copy(const char *from, const char *to, uint32_t *crc, struct rn_err *err)
{
    *crc = 0;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc = RN_OK;
    if (in < 0)
        return errno == ENOENT ? RN_OK : rn_fail_errno(err, "%s", from);
    if (to && (out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        rc = rn_fail_errno(err, "%s", to);
    if (rc >= 0)
        rc = pass_on(in, out, crc, err);
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

struct paths {
    char db[512], wal[512], db_copy[512], wal_copy[512];
};

static int name_paths(struct paths *p, const char *folder, const char *copies, struct rn_err *err)
{
    int rc = rn_path_join(p->db, sizeof p->db, folder, "buffer.db", err);
    if (rc >= 0)
        rc = rn_path_join(p->wal, sizeof p->wal, folder, "buffer.db-wal", err);
    if (rc >= 0)
        rc = rn_path_join(p->db_copy, sizeof p->db_copy, copies, "buffer.db", err);
    if (rc >= 0)
        rc = rn_path_join(p->wal_copy, sizeof p->wal_copy, copies, "buffer.db-wal", err);
    return rc;
}

static int copy_both(const struct paths *p, struct rn_err *err)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t before, after, ignored;
        unlink(p->wal_copy);
        int rc = copy(p->wal, p->wal_copy, &before, err);
        if (rc >= 0)
            rc = copy(p->db, p->db_copy, &ignored, err);
        if (rc >= 0)
            rc = copy(p->wal, NULL, &after, err);
        if (rc < 0 || before == after)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
    return rn_fail(err, RN_EAGAIN, "%s is being written without a pause", p->db);
}

static int look(const char *path, struct store_state *state, struct rn_err *err)
{
    struct store store = {.lock_fd = -1};
    struct rn_db_conf conf = {.path = path, .read_only = true, .cache_kib = 32};
    int rc = rn_db_open(&store.db, &conf, err);
    if (rc >= 0)
        rc =
            rn_db_prepare(&store.stmt[SQL_META_GET], store.db, store_statements[SQL_META_GET], err);
    if (rc >= 0)
        rc = store_get_meta(&store, err);
    bool used = rc > 0;
    int64_t low = 0;
    if (used)
        rc = store_count_rows(&store, err);
    if (used && rc >= 0)
        rc = rn_db_get_int(store.db, "SELECT min(seq) FROM batch", (int64_t)store.now.state.next,
                           &low, err);
    if (used && rc >= 0) {
        store.now.state.low = (uint64_t)low;
        *state = store.now.state;
    }
    rn_stmt_free(store.stmt[SQL_META_GET]);
    rn_db_close(store.db);
    return rc < 0 ? rc : used;
}

int store_inspect(const char *folder, struct store_state *state, bool *running, struct rn_err *err)
{
    struct paths p;
    char copies[STORE_RAM_PATH];
    int rc = store_ram_folder(copies, err);
    if (rc < 0)
        return rc;
    rc = name_paths(&p, folder, copies, err);
    if (rc >= 0 && access(p.db, R_OK) < 0)
        rc = rn_fail_errno(err, "%s", p.db);
    if (rc >= 0)
        rc = copy_both(&p, err);
    if (rc >= 0)
        rc = look(p.db_copy, state, err);
    if (rc == 0)
        rc = rn_fail(err, RN_ENOENT, "%s: no agent has used this buffer yet", p.db);
    *running = folder_in_use(folder);
    (void)!rn_remove_tree(copies, NULL);
    return rc < 0 ? rc : RN_OK;
}
