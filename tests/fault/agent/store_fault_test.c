// The buffer when things break: killed at any moment, bytes flipped, cut short, no room, no right
// to write.
#include "agent/store.h"
#include "tests/support/faults.h"
#include <runnel/crc.h>
#include <runnel/crypto.h>
#include <runnel/db.h>
#include <runnel/file.h>
#include <runnel/rand.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLES = 10, KILLS = 25, FLIPS = 50, PAGE = 512, SCHEMA_PAGES = 16, PATIENCE_MS = 30000 };
enum { APPENDS = 60 }; // of a child: where its parent stands still, it must not fill the buffer

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/store_fault.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    struct rn_err err;
    faults_lose_sector(NULL);
    return rn_remove_tree(folder, &err);
}

static struct store *open_store(struct store_report *report)
{
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct rn_err err = {.text = ""};
    struct store *s = NULL;
    if (store_open(&s, &conf, report, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static int add(struct store *s, uint64_t number, struct rn_err *err)
{
    char body[300];
    uint8_t hash[RN_HASH_BYTES];
    uint32_t schema;
    memset(body, 'x', sizeof body);
    memcpy(body, &number, sizeof number);
    rn_sha256(hash, "s", 1);
    int rc = store_schema_id(s, hash, rn_span_text("s"), &schema, err);
    struct store_row row = {.schema = schema,
                            .samples = SAMPLES,
                            .crc = rn_crc32c(0, body, sizeof body),
                            .body = {(const uint8_t *)body, sizeof body}};
    return rc < 0 ? rc : store_append(s, &row, false, 0, err);
}

// Appends and waits to be killed; tells in shared memory how many appends returned.
static void child(uint64_t *done, int64_t max_bytes,
                  int (*append)(struct store *s, uint64_t number, struct rn_err *err))
{
    struct store_report report;
    struct store_conf conf = {.folder = folder, .max_bytes = max_bytes};
    struct store *s;
    struct rn_err err;
    prctl(PR_SET_PDEATHSIG, SIGKILL); // also if the test itself is ended
    if (store_open(&s, &conf, &report, &err) < 0)
        _exit(1);
    for (int i = 0; i < APPENDS; i++, ++*done)
        if (append(s, *done, &err) < 0)
            _exit(2);
    for (;;)
        pause();
}

// Kills it at some moment after it has done so much; with 0 it may still be opening the buffer.
static void kill_after(pid_t pid, const volatile uint64_t *done, uint64_t so_much,
                       struct rn_rand *rand)
{
    int status, ms = 0;
    for (; *done < so_much && ms < PATIENCE_MS; ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = (long)rn_rand_below(rand, 5000000)}, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_true(*done >= so_much);
}

static void a_kill_at_any_moment_loses_nothing_that_was_committed(void **state)
{
    (void)state;
    uint64_t *done =
        mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    struct rn_rand rand;
    rn_rand_init(&rand, 1);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        uint64_t so_much = kill_number % 5 ? *done + 1 + rn_rand_below(&rand, 20) : 0;
        pid_t pid = fork();
        if (pid == 0)
            child(done, 8 << 20, add);
        kill_after(pid, done, so_much, &rand);
        struct store_report report;
        struct store *s = open_store(&report);
        const struct store_state *st = store_state(s);
        // What was committed after the last count is a bonus, at most one row a kill.
        assert_in_range(st->rows, *done, *done + (uint64_t)kill_number + 1);
        assert_false(report.quarantined);
        assert_int_equal(st->ledger.produced, st->rows * SAMPLES);
        assert_true(ledger_balanced(&st->ledger));
        *done = st->rows;
        store_close(s);
    }
    assert_true(*done > 10);
    munmap(done, sizeof *done);
}

static uint32_t crc_over(struct store *s, uint64_t first, uint64_t last)
{
    struct store_row row;
    struct rn_err err;
    uint32_t crc = 0;
    for (uint64_t seq = first; seq <= last; seq++) {
        assert_int_equal(store_next(s, seq, seq + 1, &row, &err), 1);
        const uint8_t b[4] = {(uint8_t)(row.crc >> 24), (uint8_t)(row.crc >> 16),
                              (uint8_t)(row.crc >> 8), (uint8_t)row.crc};
        crc = rn_crc32c(crc, b, 4);
    }
    return crc;
}

// Settles rows 1 and 2 of 3, then does something and dies without a close.
static void settle_and_die(void (*then)(struct store *s))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct store_report report;
        struct store *s = open_store(&report);
        uint32_t tag = (uint32_t)store_state(s)->install;
        uint32_t crc = crc_over(s, 1, 2);
        bool good = store_settle(s, tag, 1, 2, crc, ROW_DURABLE, NULL) == 1 && store_waits(s) &&
                    store_state(s)->low == 3 && store_safe_low(s) == 1;
        then(s);
        good = good && store_safe_low(s) == (store_waits(s) ? 1 : 3);
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void then_nothing(struct store *s)
{
    (void)s;
}

static void then_flush(struct store *s)
{
    (void)!store_flush(s, NULL);
}

static void then_append(struct store *s)
{
    struct rn_err err;
    (void)!add(s, 7, &err);
}

static void fill(uint64_t rows)
{
    struct store_report report;
    struct rn_err err;
    struct store *s = open_store(&report);
    for (uint64_t i = 0; i < rows; i++)
        assert_int_equal(add(s, i, &err), RN_OK);
    store_close(s);
}

static void what_was_settled_goes_with_the_next_commit_and_comes_back_before_it(void **state)
{
    (void)state;
    static const struct {
        void (*then)(struct store *s);
        uint64_t low, rows, delivered;
    } cases[] = {{then_nothing, 1, 3, 0}, {then_flush, 3, 1, 2}, {then_append, 3, 2, 2}};
    for (int i = 0; i < 3; i++) {
        struct store_report report;
        fill(3);
        settle_and_die(cases[i].then);
        struct store *s = open_store(&report);
        const struct store_state *st = store_state(s);
        assert_false(report.quarantined);
        assert_int_equal(st->low, cases[i].low);
        assert_int_equal(st->rows, cases[i].rows);
        assert_int_equal(st->ledger.delivered, cases[i].delivered * SAMPLES);
        assert_int_equal(st->ledger.pending, cases[i].rows * SAMPLES);
        assert_true(ledger_balanced(&st->ledger));
        store_close(s);
        drop_folder(NULL);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
}

static void path_of(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", folder, name);
}

// Opens, checks that the ledger still tells of every sample, and that the buffer goes on working.
static void mended(uint64_t rows, const char *what)
{
    struct store_report report;
    struct rn_err err = {.text = ""};
    struct store *s = open_store(&report);
    const struct store_state *st = store_state(s);
    uint64_t first = 0;
    struct store_row row;
    while (store_next(s, first, UINT64_MAX >> 1, &row, &err) == 1) {
        uint64_t number;
        memcpy(&number, row.body.data, sizeof number);
        if (number + 1 != row.seq)
            fail_msg("%s: row %llu has the content of another", what, (unsigned long long)row.seq);
        first = row.seq + 1;
    }
    // Every sample has a fate; only a file whose ledger is gone begins a new one with what it has.
    bool anew = report.quarantined && st->ledger.produced == st->rows * SAMPLES;
    if (!ledger_balanced(&st->ledger) || (st->ledger.produced < rows * SAMPLES && !anew))
        fail_msg("%s: samples are missing without a count", what);
    if (add(s, 0, &err) < 0)
        fail_msg("%s: %s", what, err.text);
    store_close(s);
}

static void flipped_bytes_anywhere_never_stop_the_buffer(void **state)
{
    (void)state;
    struct rn_rand rand;
    rn_rand_init(&rand, 2);
    int salvaged = 0;
    for (int round = 0; round < 60; round++) {
        char path[128], what[64], aside[128];
        struct stat info;
        fill(60);
        path_of(path, "buffer.db");
        assert_int_equal(stat(path, &info), 0);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        off_t at = (off_t)rn_rand_below(&rand, (uint64_t)info.st_size - 64);
        char noise[64];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)rn_rand_below(&rand, 256);
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), sizeof noise);
        close(fd);
        snprintf(what, sizeof what, "round %d, 64 bytes at %lld", round, (long long)at);
        mended(60, what);
        path_of(aside, "buffer.db.damaged");
        salvaged += access(aside, F_OK) == 0;
        drop_folder(NULL);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    assert_true(salvaged > 5);
}

static void put_back(const struct rn_buf *damaged)
{
    char path[128];
    (void)!rn_remove_tree(folder, NULL);
    assert_int_equal(mkdir(folder, 0700), 0);
    path_of(path, "buffer.db");
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, damaged->data, damaged->len), damaged->len);
    close(fd);
}

// The pages that tell which tables there are: made before any other but the tables' first ones.
static uint32_t find_schema(uint32_t page[SCHEMA_PAGES])
{
    char path[128], sql[80];
    uint32_t n = 0;
    struct rn_db *db;
    path_of(path, "buffer.db");
    assert_int_equal(rn_db_open(&db, &(struct rn_db_conf){.path = path}, NULL), RN_OK);
    int64_t last = rn_db_int(db, "SELECT max(rootpage) FROM sqlite_master", 0);
    for (uint32_t i = 1; i < last && n < SCHEMA_PAGES; i++) {
        snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_master WHERE rootpage=%u", i);
        if (rn_db_int(db, sql, 0) == 0)
            page[n++] = i;
    }
    rn_db_close(db);
    return n;
}

// Names of tables and columns, the file's format: SQLite takes most of that for another schema.
static void a_flipped_bit_in_the_schema_never_stops_the_buffer(void **state)
{
    (void)state;
    static const uint64_t of_format[] = {18, 47}; // fileformat2.html, 1.3
    char path[128];
    struct store_report report;
    struct rn_err err = {.text = ""};
    uint32_t page[SCHEMA_PAGES];
    struct rn_buf whole;
    struct rn_rand rand;
    rn_rand_init(&rand, 5);
    fill(40);
    uint32_t pages = find_schema(page);
    assert_in_range(pages, 4, SCHEMA_PAGES - 1);
    path_of(path, "buffer.db");
    rn_buf_init(&whole, 1 << 20);
    assert_int_equal(rn_file_read(path, &whole, NULL), RN_OK);
    for (int round = 0; round < FLIPS; round++) {
        uint64_t at = (page[rn_rand_below(&rand, pages)] - 1) * PAGE + rn_rand_below(&rand, PAGE);
        uint8_t bit = (uint8_t)(1 << rn_rand_below(&rand, 8));
        if (round < 2) {
            at = of_format[round];
            bit = 0x40;
        }
        whole.data[at] ^= bit;
        put_back(&whole);
        whole.data[at] ^= bit;
        struct store *s = open_store(&report);
        if (add(s, 0, &err) < 0)
            fail_msg("bit %02x at %llu: %s", bit, (unsigned long long)at, err.text);
        store_close(s);
    }
    rn_buf_release(&whole);
}

// SQLite cannot even tell that it is a database.
static void a_file_without_its_first_sector_is_set_aside_and_the_buffer_begins_anew(void **state)
{
    (void)state;
    char path[128], aside[128];
    struct store_report report;
    struct rn_err err = {.text = ""};
    fill(40);
    path_of(path, "buffer.db");
    path_of(aside, "buffer.db.damaged");
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct store *s = NULL;
    faults_arm(FAULT_READ, 1, EIO); // a read that fails once: nothing is set aside
    assert_int_equal(store_open(&s, &conf, &report, NULL), RN_EIO);
    assert_true(faults_disarm());
    assert_false(report.quarantined);
    faults_lose_sector(path);
    s = open_store(&report);
    faults_lose_sector(NULL);
    assert_true(report.quarantined);
    assert_string_equal(report.aside, aside);
    assert_int_equal(access(aside, F_OK), 0);
    assert_int_equal(store_state(s)->rows, 0);
    assert_int_equal(add(s, 0, &err), RN_OK);
    store_close(s);
}

static void a_file_cut_short_gives_back_what_is_left(void **state)
{
    (void)state;
    char path[128];
    struct stat info;
    fill(200);
    path_of(path, "buffer.db");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size / 2), 0);
    struct store_report report;
    struct store *s = open_store(&report);
    assert_true(report.quarantined);
    assert_true(report.salvaged_rows > 40);
    assert_true(report.lost_samples > 0);
    assert_int_equal(store_state(s)->ledger.produced, 200 * SAMPLES);
    assert_int_equal(store_state(s)->next, 201); // no name is used twice
    assert_true(ledger_balanced(&store_state(s)->ledger));
    store_close(s);
}

// A buffer of 40 rows of which one page is none any more.
static void make_damaged(struct rn_buf *out)
{
    char path[128];
    fill(40);
    path_of(path, "buffer.db");
    rn_buf_init(out, 1 << 20);
    assert_int_equal(rn_file_read(path, out, NULL), RN_OK);
    memcpy(out->data + (ptrdiff_t)20 * 1024, "no page", 7);
}

static void interrupt_each(const struct rn_buf *damaged, uint64_t rows, unsigned what, int error)
{
    int failures = 0;
    bool fired = true;
    for (long n = 1; fired; n += 1 + n / 3) {
        struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
        struct store_report report;
        struct store *s = NULL;
        put_back(damaged);
        faults_arm(what, n, error);
        failures += store_open(&s, &conf, &report, NULL) < 0;
        fired = faults_disarm();
        store_close(s);
        s = open_store(&report);
        const struct store_state *st = store_state(s);
        if (st->rows != rows || st->next != 41 || st->ledger.lost != (40 - rows) * SAMPLES)
            fail_msg("call %ld: %llu of %llu rows, next %llu, %llu samples lost", n,
                     (unsigned long long)st->rows, (unsigned long long)rows,
                     (unsigned long long)st->next, (unsigned long long)st->ledger.lost);
        store_close(s);
    }
    assert_true(failures > 3);
}

// A disk that is full, a failing allocation: neither is the rows' damage, nor the end of them.
static void a_salvage_that_came_to_no_end_is_begun_again(void **state)
{
    (void)state;
    struct store_report report;
    struct rn_buf damaged;
    make_damaged(&damaged);
    put_back(&damaged);
    struct store *s = open_store(&report);
    uint64_t rows = store_state(s)->rows;
    assert_true(report.quarantined);
    assert_in_range(rows, 30, 39);
    store_close(s);
    interrupt_each(&damaged, rows, FAULT_WRITE | FAULT_STICKY, ENOSPC);
    interrupt_each(&damaged, rows, FAULT_ALLOC, 0);
    interrupt_each(&damaged, rows, FAULT_SQL, 0);
    rn_buf_release(&damaged);
}

// On a small disk there may be room for one damaged file only: the older one goes first.
static void an_older_damaged_file_takes_no_room_from_a_salvage(void **state)
{
    (void)state;
    char older[128];
    struct rn_buf damaged;
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct store_report report;
    struct store *s = NULL;
    make_damaged(&damaged);
    put_back(&damaged);
    path_of(older, "buffer.db.damaged");
    assert_int_equal(rn_file_replace(older, rn_span_text("older"), 0600, NULL), RN_OK);
    faults_arm(FAULT_WRITE | FAULT_STICKY, 1, ENOSPC);
    int rc = store_open(&s, &conf, &report, NULL);
    assert_true(faults_disarm());
    assert_int_equal(rc, RN_ENOSPC);
    assert_int_equal(access(older, F_OK), -1);
    s = open_store(&report);
    assert_true(report.quarantined && report.salvaged_rows > 30);
    store_close(s);
    rn_buf_release(&damaged);
}

static void *no_shared_mapping(void *at, size_t len, int protection, int flags, int fd,
                               off_t offset)
{
    if (flags & MAP_SHARED) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    return mmap(at, len, protection, flags, fd, offset);
}

// By SQLite's own door: sanitizers need the process's mmap for themselves. NULL: the usual one.
static void set_mmap_of_sqlite(void *(*call)(void *, size_t, int, int, int, off_t))
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    assert_int_equal(vfs->xSetSystemCall(vfs, "mmap", (sqlite3_syscall_ptr)call), SQLITE_OK);
}

// Some file systems of small devices cannot map a file for writing (JFFS2).
static void a_salvage_needs_no_shared_memory(void **state)
{
    (void)state;
    struct rn_buf damaged;
    struct store_report report;
    make_damaged(&damaged);
    put_back(&damaged);
    set_mmap_of_sqlite(no_shared_mapping);
    struct store *s = open_store(&report);
    set_mmap_of_sqlite(NULL);
    assert_true(report.quarantined && report.salvaged_rows > 30);
    store_close(s);
    rn_buf_release(&damaged);
}

static void a_file_that_is_no_database_is_set_aside(void **state)
{
    (void)state;
    char path[128];
    struct rn_err err;
    path_of(path, "buffer.db");
    static const char text[] = "this was never a database, but it is long enough to look at";
    assert_int_equal(
        rn_file_replace(path, (struct rn_span){(const uint8_t *)text, sizeof text}, 0600, &err), 0);
    struct store_report report;
    struct store *s = open_store(&report);
    assert_true(report.quarantined);
    assert_int_equal(access(report.aside, F_OK), 0);
    assert_int_equal(add(s, 0, &err), RN_OK);
    store_close(s);
}

static void fail_each_at_the_start(unsigned what, int error)
{
    bool fired = true;
    int failures = 0;
    for (long n = 1; fired; n++) {
        struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
        struct store_report report;
        struct rn_err err = {.text = ""};
        struct store *s = NULL;
        faults_arm(what, n, error);
        int rc = store_open(&s, &conf, &report, &err);
        fired = faults_disarm();
        if (rc < 0 && rc != RN_EIO && rc != RN_ENOMEM && rc != RN_EACCESS)
            fail_msg("call %ld: %d, %s", n, rc, err.text);
        failures += rc < 0;
        if (rc < 0)
            continue;
        const struct store_state *st = store_state(s);
        if (report.quarantined || report.created || st->rows != 60 || st->next != 61 ||
            st->low != 1 || st->ledger.lost || st->ledger.pending != 60 * SAMPLES)
            fail_msg("call %ld: %llu rows, next %llu, %llu samples lost", n,
                     (unsigned long long)st->rows, (unsigned long long)st->next,
                     (unsigned long long)st->ledger.lost);
        store_close(s);
    }
    assert_true(failures > 3);
}

static void what_fails_at_the_start_loses_nothing_and_uses_no_name_twice(void **state)
{
    (void)state;
    fill(60);
    fail_each_at_the_start(FAULT_READ, ENOMEM);
    fail_each_at_the_start(FAULT_OPEN, EACCES);
    fail_each_at_the_start(FAULT_ALLOC, 0);
    fail_each_at_the_start(FAULT_SQL, 0);
}

// A batch that names hints and a base of which a new one is made for every third row.
static int add_referring(struct store *s, uint64_t number, struct rn_err *err)
{
    (void)number;
    static const uint8_t envelope[] = {1, 0, 1, 2, 0x41, 0, 0xa2, 1, 0x19, 0, 0, 2, 0x19, 0, 0};
    uint8_t hash[RN_HASH_BYTES], body[sizeof envelope];
    uint32_t schema, id = 0, named[2];
    uint64_t next = store_state(s)->next;
    struct rn_span object;
    rn_sha256(hash, "s", 1);
    int rc = store_schema_id(s, hash, rn_span_text("s"), &schema, err);
    memcpy(body, envelope, sizeof body);
    for (int i = 0; rc >= 0 && i < 2; i++) {
        enum rn_object kind = i ? RN_OBJECT_HINTS : RN_OBJECT_BASE;
        if (next % 3 == 0 || store_newest_object(s, kind, schema, &id, &object, err) < 0) {
            rn_sha256(hash, &next, sizeof next);
            rc = store_keep_object(s, kind, schema, hash,
                                   (struct rn_span){(const uint8_t *)&next, sizeof next}, &id, err);
            if (rc == RN_ELIMIT)
                rc = store_newest_object(s, kind, schema, &id, &object, err);
        }
        named[i] = id;
        body[9 + 4 * i] = (uint8_t)(named[i] >> 8);
        body[10 + 4 * i] = (uint8_t)named[i];
    }
    struct store_row row = {.schema = schema,
                            .samples = SAMPLES,
                            .crc = rn_crc32c(0, body, sizeof body),
                            .body = {body, sizeof body}};
    return rc < 0 ? rc : store_append(s, &row, false, 0, err);
}

// Each row can be decoded: what it names is there, whole.
static uint64_t count_whole(struct store *s)
{
    struct store_row row;
    struct rn_batch_info info;
    struct rn_span object;
    uint8_t hash[RN_HASH_BYTES], now[RN_HASH_BYTES];
    uint64_t n = 0;
    for (uint64_t first = 0; store_next(s, first, UINT64_MAX >> 1, &row, NULL) == 1; n++) {
        first = row.seq + 1;
        assert_int_equal(rn_batch_open_body(row.body, &info, NULL), RN_OK);
        assert_true(info.has_base && info.has_hints);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(store_object(s, i ? RN_OBJECT_HINTS : RN_OBJECT_BASE,
                                          i ? info.hints_id : info.base_id, hash, &object, NULL),
                             RN_OK);
            rn_sha256(now, object.data, object.len);
            assert_memory_equal(now, hash, sizeof now);
        }
    }
    return n;
}

static void after_a_kill_every_row_still_has_what_it_names(void **state)
{
    (void)state;
    uint64_t *done =
        mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    struct rn_rand rand;
    uint32_t numbers = 0;
    rn_rand_init(&rand, 3);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        uint64_t so_much = *done + 1 + rn_rand_below(&rand, 4);
        pid_t pid = fork();
        if (pid == 0)
            child(done, 96 << 10, add_referring); // it evicts, too
        kill_after(pid, done, so_much, &rand);
        struct store_report report;
        struct store *s = open_store(&report);
        assert_false(report.quarantined);
        assert_int_equal(count_whole(s), store_state(s)->rows);
        assert_true(store_state(s)->objects >= numbers); // none is given again
        numbers = store_state(s)->objects;
        store_close(s);
    }
    assert_true(*done > 10 && numbers > 4);
    munmap(done, sizeof *done);
}

// One base was altered, and then a page of the file is not one any more.
static void salvage_keeps_the_rows_whose_hints_and_base_are_whole(void **state)
{
    (void)state;
    char path[128];
    struct store_report report;
    struct rn_err err = {.text = ""};
    struct store *s = open_store(&report);
    for (int i = 0; i < 30; i++)
        assert_int_equal(add_referring(s, 0, &err), RN_OK);
    uint32_t numbers = store_state(s)->objects;
    store_close(s);
    path_of(path, "buffer.db");
    struct rn_db *db;
    struct rn_db_conf conf = {.path = path};
    assert_int_equal(rn_db_open(&db, &conf, &err), RN_OK);
    assert_int_equal(rn_db_exec(db, "UPDATE object SET object=x'00' WHERE id=1", &err), RN_OK);
    int64_t root = rn_db_int(db, "SELECT rootpage FROM sqlite_master WHERE name='boot'", 0);
    int64_t page = rn_db_int(db, "PRAGMA page_size", 0);
    assert_int_equal(rn_db_checkpoint(db, &err), RN_OK);
    rn_db_close(db);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && root > 1);
    assert_int_equal(pwrite(fd, "no page", 7, (root - 1) * page), 7);
    close(fd);
    s = open_store(&report);
    assert_true(report.quarantined);
    assert_int_equal(report.salvaged_rows, 28); // rows 1 and 2 named the base
    assert_int_equal(report.lost_samples, 2 * SAMPLES);
    assert_int_equal(count_whole(s), 28);
    assert_int_equal(store_state(s)->objects, numbers);
    assert_int_equal(add_referring(s, 0, &err), RN_OK);
    assert_true(store_state(s)->objects > numbers);
    assert_int_equal(count_whole(s), 29);
    store_close(s);
}

// In a child: its limit on file sizes stands for a disk without room.
static int full_disk_child(void)
{
    struct store_report report;
    struct store_conf conf = {.folder = folder, .max_bytes = 1 << 20};
    struct store *s;
    struct rn_err err;
    if (store_open(&s, &conf, &report, &err) < 0)
        return 10;
    for (uint64_t i = 0; i < 50; i++)
        if (add(s, i, &err) < 0)
            return 11;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 64 << 10, .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 12;
    struct rn_ledger last = store_state(s)->ledger;
    int rc = 0;
    for (uint64_t i = 50; i < 1000 && rc >= 0; i++) {
        last = store_state(s)->ledger;
        rc = add(s, i, &err);
    }
    if (rc >= 0)
        return 13;
    // The refused batch left no trace, and the room's return is noticed.
    if (memcmp(&last, &store_state(s)->ledger, sizeof last) != 0)
        return 14;
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || add(s, 5, &err) < 0)
        return 15;
    store_close(s);
    return 0;
}

static void a_full_disk_refuses_cleanly_and_recovers(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_disk_child());
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_folder_that_cannot_be_made_is_an_error_with_words(void **state)
{
    (void)state;
    struct store_conf conf = {.folder = "/proc/nothing/here", .max_bytes = 1 << 20};
    struct store_report report;
    struct rn_err err = {.text = ""};
    struct store *s = NULL;
    assert_true(store_open(&s, &conf, &report, &err) < 0);
    assert_non_null(strstr(err.text, "/proc/nothing"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_kill_at_any_moment_loses_nothing_that_was_committed),
        IN_FOLDER(what_was_settled_goes_with_the_next_commit_and_comes_back_before_it),
        IN_FOLDER(flipped_bytes_anywhere_never_stop_the_buffer),
        IN_FOLDER(a_flipped_bit_in_the_schema_never_stops_the_buffer),
        IN_FOLDER(a_file_without_its_first_sector_is_set_aside_and_the_buffer_begins_anew),
        IN_FOLDER(a_file_cut_short_gives_back_what_is_left),
        IN_FOLDER(what_fails_at_the_start_loses_nothing_and_uses_no_name_twice),
        IN_FOLDER(a_salvage_that_came_to_no_end_is_begun_again),
        IN_FOLDER(an_older_damaged_file_takes_no_room_from_a_salvage),
        IN_FOLDER(a_salvage_needs_no_shared_memory),
        IN_FOLDER(a_file_that_is_no_database_is_set_aside),
        IN_FOLDER(after_a_kill_every_row_still_has_what_it_names),
        IN_FOLDER(salvage_keeps_the_rows_whose_hints_and_base_are_whole),
        IN_FOLDER(a_full_disk_refuses_cleanly_and_recovers),
        IN_FOLDER(a_folder_that_cannot_be_made_is_an_error_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
