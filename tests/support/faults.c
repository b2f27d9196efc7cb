// See faults.h.
#undef _FORTIFY_SOURCE // with it the C library's headers define read and its kin themselves
#include "tests/support/faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    unsigned what;
    long left; // calls until the fault
    int error;
    bool fired;
} armed = {.lock = PTHREAD_MUTEX_INITIALIZER};

void faults_arm(unsigned what, long nth, int error)
{
    pthread_mutex_lock(&armed.lock);
    armed.what = what;
    armed.left = nth;
    armed.error = error;
    armed.fired = false;
    pthread_mutex_unlock(&armed.lock);
}

bool faults_disarm(void)
{
    pthread_mutex_lock(&armed.lock);
    bool fired = armed.fired;
    armed.what = 0;
    pthread_mutex_unlock(&armed.lock);
    return fired;
}

static bool fails(enum fault kind)
{
    pthread_mutex_lock(&armed.lock);
    bool due = (armed.what & kind) && --armed.left <= 0;
    bool failing = due && (armed.left == 0 || (armed.what & FAULT_STICKY));
    if (failing) {
        armed.fired = true;
        errno = armed.error;
    }
    pthread_mutex_unlock(&armed.lock);
    return failing;
}

static struct stat lost; // file without a first sector; st_ino is 0: none

void faults_lose_sector(const char *path)
{
    if (!path || stat(path, &lost) < 0)
        lost.st_ino = 0;
}

static bool is_lost(int fd, off64_t at)
{
    struct stat st;
    if (!lost.st_ino || at >= 512 || fstat(fd, &st) < 0 || st.st_ino != lost.st_ino ||
        st.st_dev != lost.st_dev)
        return false;
    errno = EIO;
    return true;
}

// --- allocations: the linker's --wrap renames ours to these ---------------------------------

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
    return fails(FAULT_ALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(FAULT_ALLOC) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails(FAULT_ALLOC) ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails(FAULT_ALLOC) ? NULL : __real_strdup(text);
}

// --- allocations of SQLite: it is told of ours before main ----------------------------------

static sqlite3_mem_methods sqlite_memory;

static void *sql_malloc(int size)
{
    return fails(FAULT_SQL) ? NULL : sqlite_memory.xMalloc(size);
}

static void *sql_realloc(void *old, int size)
{
    return fails(FAULT_SQL) ? NULL : sqlite_memory.xRealloc(old, size);
}

__attribute__((constructor)) static void take_over_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory);
    sqlite3_mem_methods sometimes = sqlite_memory;
    sometimes.xMalloc = sql_malloc;
    sometimes.xRealloc = sql_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &sometimes);
}

// --- writes and syncs: defined here, they are found before the C library's -------------------

// Disks fill up; an eventfd that wakes a loop does not (libuv aborts if it cannot write to one).
static bool is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    return is_file(fd) && fails(FAULT_WRITE) ? -1 : syscall(SYS_write, fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return fails(FAULT_WRITE) ? -1 : syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    return fails(FAULT_WRITE) ? -1 : syscall(SYS_pwrite64, fd, bytes, len, at);
}

int ftruncate(int fd, off_t len)
{
    return fails(FAULT_WRITE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return fails(FAULT_WRITE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int fsync(int fd)
{
    return fails(FAULT_SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails(FAULT_SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

// --- reads and openings ----------------------------------------------------------------------

ssize_t read(int fd, void *bytes, size_t len)
{
    return is_file(fd) && fails(FAULT_READ) ? -1 : syscall(SYS_read, fd, bytes, len);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t at)
{
    return is_lost(fd, at) || fails(FAULT_READ) ? -1 : syscall(SYS_pread64, fd, bytes, len, at);
}

ssize_t pread64(int fd, void *bytes, size_t len, off64_t at)
{
    return is_lost(fd, at) || fails(FAULT_READ) ? -1 : syscall(SYS_pread64, fd, bytes, len, at);
}

// On 64-bit machines both kinds of entries are the same.
struct dirent *readdir(DIR *dir)
{
    return fails(FAULT_READ) ? NULL : (struct dirent *)(void *)readdir64(dir);
}

static int open_file(const char *path, int flags, mode_t mode)
{
    return fails(FAULT_OPEN) ? -1
                             : (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_file(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_file(path, flags, mode);
}

int access(const char *path, int mode)
{
    return fails(FAULT_OPEN) ? -1 : (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}
