// See log.h. The writer's side: a list of sealed segments and the one that is appended to.
#include "bridge/log.h"

#include "bridge/segment.h"
#include <inttypes.h>
#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sealed {
    uint64_t first, last;
    int64_t bytes, utc_ms; // utc_ms: when it was sealed; 0: unknown
};

struct log {
    char folder[SEGMENT_PATH_MAX];
    struct log_conf conf;
    struct log_saver saver;
    uint64_t id;
    struct sealed *sealed; // ascending
    int nsealed, sealed_room;
    int64_t sealed_bytes;
    struct segment *open;
    uint64_t head;          // highest committed
    uint64_t next;          // position of the next append
    struct segment *behind; // a sealed segment that log_heads reads, opened when needed
    uint64_t numbers;       // of objects: how often they were given out anew
    bool full;
    char quarantined[SEGMENT_PATH_MAX + 16];
};

// ---- opening -----------------------------------------------------------------------------------

static int id_path(const struct log *log, char out[SEGMENT_PATH_MAX], struct rn_err *err)
{
    return rn_path_join(out, SEGMENT_PATH_MAX, log->folder, "log/id", err);
}

static int make_id(struct log *log, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX], text[24];
    int rc = id_path(log, path, err);
    if (rc == RN_OK)
        rc = rn_random_id(&log->id, err);
    if (rc)
        return rc;
    snprintf(text, sizeof text, "%016" PRIx64 "\n", log->id);
    return rn_file_replace(path, rn_span_text(text), 0640, err);
}

static int load_id(struct log *log, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX], text[64];
    struct rn_buf buf;
    int rc = id_path(log, path, err);
    if (rc)
        return rc;
    rn_buf_init_fixed(&buf, text, sizeof text);
    rc = rn_file_read(path, &buf, err);
    if (rc == RN_OK)
        log->id = strtoull(rn_buf_cstr(&buf), NULL, 16) & RN_ID_MAX;
    else if (rc != RN_ENOENT && rc != RN_ELIMIT) // it may be there
        return rc;
    return log->id ? RN_OK : make_id(log, err);
}

// Room for one more.
static int reserve_sealed(struct log *log, struct rn_err *err)
{
    if (log->nsealed < log->sealed_room)
        return RN_OK;
    struct sealed *list = realloc(log->sealed, ((size_t)log->nsealed + 1) * sizeof *list);
    if (!list)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    log->sealed = list;
    log->sealed_room = log->nsealed + 1;
    return RN_OK;
}

static int add_sealed(struct log *log, uint64_t first, uint64_t last, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    int rc = segment_path(path, log->folder, first, err);
    if (rc == RN_OK)
        rc = reserve_sealed(log, err);
    if (rc)
        return rc;
    int64_t bytes = segment_file_bytes(path);
    log->sealed[log->nsealed++] = (struct sealed){first, last, bytes, segment_file_utc_ms(path)};
    log->sealed_bytes += bytes;
    return RN_OK;
}

static int open_new(struct log *log, uint64_t first, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    int rc = segment_path(path, log->folder, first, err);
    if (rc == RN_OK)
        rc = segment_open(&log->open, path, first, err);
    if (rc == RN_OK) {
        log->head = first - 1;
        log->next = first;
        log->numbers++;
    }
    return rc;
}

static int put_aside(struct log *log, const char *path, struct rn_err *err)
{
    snprintf(log->quarantined, sizeof log->quarantined, "%s.damaged", path);
    if (rename(path, log->quarantined) != 0)
        return rn_fail_errno(err, "cannot put aside the damaged segment %s", path);
    segment_remove(path); // its WAL must not be applied to another file
    return RN_OK;
}

// The damaged newest segment is renamed and a new one begun beyond any position that it can have
// given out, also if it was cut short. The log's new identity makes the agents send again
// what was not durable.
static int quarantine(struct log *log, const char *path, uint64_t first, struct rn_err *err)
{
    uint64_t beyond = first + SEGMENT_MAX_ROWS;
    int rc = make_id(log, err); // first: without it the positions would be given out again
    if (rc)
        return rc;
    rc = put_aside(log, path, err);
    return rc == RN_OK ? open_new(log, beyond, err) : rc;
}

// The newest sealed one is read at the start for what it has saved. One that cannot be opened would
// keep the bridge from starting, and cursors from what is behind it. Its positions are not given
// out again, so the log stays the same.
static int check_newest_sealed(struct log *log, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    while (log->nsealed) {
        const struct sealed *newest = &log->sealed[log->nsealed - 1];
        int rc = segment_path(path, log->folder, newest->first, err);
        if (rc == RN_OK)
            rc = segment_check_sealed(path, newest->first, err);
        if (rc != RN_ECORRUPT)
            return rc;
        rc = put_aside(log, path, err);
        if (rc)
            return rc;
        log->sealed_bytes -= newest->bytes;
        log->nsealed--;
    }
    return RN_OK;
}

static int open_newest(struct log *log, uint64_t first, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    int rc = segment_path(path, log->folder, first, err);
    if (rc)
        return rc;
    rc = segment_open(&log->open, path, first, err);
    if (rc == RN_ECORRUPT)
        return quarantine(log, path, first, err);
    if (rc)
        return rc;
    bool sealed = false;
    rc = segment_last(log->open, &log->head, err);
    if (rc == RN_OK)
        rc = segment_sealed(log->open, &sealed, err);
    log->next = log->head + 1;
    if (rc || !sealed)
        return rc;
    segment_close(log->open); // killed between sealing and the next segment's first row
    log->open = NULL;
    rc = add_sealed(log, first, log->head, err);
    return rc == RN_OK ? open_new(log, log->next, err) : rc;
}

static int open_segments(struct log *log, struct rn_err *err)
{
    uint64_t *firsts;
    int count;
    int rc = segment_list(log->folder, &firsts, &count, err);
    if (rc)
        return rc;
    for (int i = 0; rc == RN_OK && i + 1 < count; i++)
        rc = add_sealed(log, firsts[i], firsts[i + 1] - 1, err);
    if (rc == RN_OK)
        rc = count ? open_newest(log, firsts[count - 1], err) : open_new(log, 1, err);
    if (rc == RN_OK)
        rc = check_newest_sealed(log, err);
    free(firsts);
    return rc;
}

int log_open(struct log **out, const struct log_conf *conf, struct rn_err *err)
{
    struct log *log = calloc(1, sizeof *log);
    char path[SEGMENT_PATH_MAX];
    if (!log)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    log->conf = *conf;
    log->numbers = 1;
    snprintf(log->folder, sizeof log->folder, "%s", conf->folder);
    log->conf.folder = log->folder;
    int rc = rn_path_join(path, sizeof path, log->folder, "log", err);
    if (rc == RN_OK)
        rc = rn_mkdirs(path, 0750, err);
    if (rc == RN_OK)
        rc = load_id(log, err);
    if (rc == RN_OK)
        rc = open_segments(log, err);
    if (rc) {
        log_close(log);
        return rc;
    }
    *out = log;
    return RN_OK;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    segment_close(log->behind);
    segment_close(log->open);
    free(log->sealed);
    free(log);
}

uint64_t log_id(const struct log *log)
{
    return log->id;
}

uint64_t log_head(const struct log *log)
{
    return log->head;
}

uint64_t log_tail(const struct log *log)
{
    return log->nsealed ? log->sealed[0].first : segment_first(log->open);
}

int64_t log_bytes(const struct log *log)
{
    return log->sealed_bytes + segment_bytes(log->open);
}

bool log_full(const struct log *log)
{
    return log->full;
}

const char *log_quarantined(const struct log *log)
{
    return log->quarantined;
}

void log_on_seal(struct log *log, const struct log_saver *saver)
{
    log->saver = *saver;
}

// ---- appending ---------------------------------------------------------------------------------

static int check_room(const struct log *log, struct rn_err *err)
{
    if (log->full)
        return rn_fail(err, RN_ENOSPC, "the log has used up the space kept for cursors");
    return RN_OK;
}

int log_find_object(struct log *log, const uint8_t hash[RN_HASH_BYTES], int64_t *number,
                    struct rn_err *err)
{
    return segment_find_object(log->open, hash, number, err);
}

// A group without rows is never committed: what has become of its transaction ends here. One with
// rows that lost them fails with each further row and, as a whole, with the commit.
static int put_failed(struct log *log, int rc)
{
    if (rc && log->next == log->head + 1)
        log_rollback(log);
    return rc;
}

int log_put_object(struct log *log, const uint8_t hash[RN_HASH_BYTES], struct rn_span body,
                   int64_t *number, struct rn_err *err)
{
    int rc = check_room(log, err);
    return rc == RN_OK ? put_failed(log, segment_put_object(log->open, hash, body, number, err))
                       : rc;
}

uint64_t log_numbers(const struct log *log)
{
    return log->numbers;
}

int log_append(struct log *log, const struct log_row *row, uint64_t *position, struct rn_err *err)
{
    int rc = check_room(log, err);
    if (rc)
        return rc;
    rc = segment_append(log->open, log->next, row, err);
    if (rc == RN_OK)
        *position = log->next++;
    return put_failed(log, rc);
}

void log_rollback(struct log *log)
{
    segment_rollback(log->open);
    log->next = log->head + 1;
    log->numbers++;
}

static int roll(struct log *log, struct rn_err *err)
{
    uint64_t first = segment_first(log->open), last = log->head;
    int rc = reserve_sealed(log, err); // once it is sealed nothing may keep it from being listed
    if (rc == RN_OK)
        rc = segment_seal(log->open, &log->saver, err);
    if (rc)
        return rc;
    struct segment *done = log->open;
    rc = open_new(log, last + 1, err);
    if (rc) {
        log->open = done;
        log->head = last;
        log->next = last + 1;
        return rc;
    }
    segment_close(done);
    return add_sealed(log, first, last, err);
}

int log_commit(struct log *log, struct rn_err *err)
{
    int rc = segment_commit(log->open, err);
    if (rc) {
        log->next = log->head + 1;
        log->numbers++;
        return rc;
    }
    log->head = log->next - 1;
    if (segment_bytes(log->open) >= log->conf.segment_bytes)
        rc = roll(log, NULL);
    return rc ? RN_OK : rc; // the rows are safe: sealing that failed (full disk) is tried again
}

// ---- retention ---------------------------------------------------------------------------------

static int drop_oldest(struct log *log, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    int rc = segment_path(path, log->folder, log->sealed[0].first, err);
    if (rc)
        return rc;
    if (log->behind && segment_first(log->behind) == log->sealed[0].first) {
        segment_close(log->behind);
        log->behind = NULL;
    }
    segment_remove(path);
    log->sealed_bytes -= log->sealed[0].bytes;
    memmove(log->sealed, log->sealed + 1, (size_t)--log->nsealed * sizeof *log->sealed);
    return RN_OK;
}

static bool may_go(const struct log *log, uint64_t needed, int64_t utc_ms)
{
    const struct sealed *oldest = &log->sealed[0];
    if (!log->nsealed || oldest->last > needed)
        return false;
    bool old =
        log->conf.max_age_ms && oldest->utc_ms && utc_ms - oldest->utc_ms > log->conf.max_age_ms;
    return old || log_bytes(log) > log->conf.history_bytes;
}

static int64_t unread_bytes(const struct log *log, uint64_t needed)
{
    int64_t bytes = segment_bytes(log->open);
    for (int i = log->nsealed - 1; i >= 0 && log->sealed[i].last > needed; i--)
        bytes += log->sealed[i].bytes;
    return needed >= log->head ? 0 : bytes;
}

int64_t log_retain(struct log *log, uint64_t needed, int64_t utc_ms, struct rn_err *err)
{
    int64_t dropped = 0;
    while (may_go(log, needed, utc_ms)) {
        int64_t rows = (int64_t)(log->sealed[0].last - log->sealed[0].first + 1);
        int rc = drop_oldest(log, err);
        if (rc)
            return rc;
        dropped += rows;
    }
    log->full = log->conf.cursor_bytes && unread_bytes(log, needed) > log->conf.cursor_bytes;
    return dropped;
}

// ---- reading back ------------------------------------------------------------------------------

// The newest sealed one: what was saved, and the rows that came after that because the next segment
// could not be made (a full disk).
static int replay_sealed(struct log *log, void *arg,
                         int (*saved)(void *arg, const char *dev, struct rn_span state),
                         int (*row)(void *arg, const struct log_head_row *row), struct rn_err *err)
{
    struct segment *last;
    char path[SEGMENT_PATH_MAX];
    uint64_t first = log->sealed[log->nsealed - 1].first, upto = 0;
    int rc = segment_path(path, log->folder, first, err);
    if (rc == RN_OK)
        rc = segment_open_read(&last, path, first, err);
    if (rc)
        return rc;
    rc = segment_saved(last, arg, saved, err);
    if (rc) {
        segment_close(last);
        return rc;
    }
    rc = segment_sealed_upto(last, &upto, err);
    if (rc == RN_OK)
        rc = segment_heads(last, upto, RN_ID_MAX, UINT32_MAX, arg, row, err);
    segment_close(last);
    // What is damaged there is lost as in any segment: it keeps no bridge from starting.
    return rc < 0 && rc != RN_ECORRUPT ? rc : RN_OK;
}

int log_replay(struct log *log, void *arg,
               int (*saved)(void *arg, const char *dev, struct rn_span state),
               int (*row)(void *arg, const struct log_head_row *row), struct rn_err *err)
{
    int rc = log->nsealed ? replay_sealed(log, arg, saved, row, err) : RN_OK;
    if (rc)
        return rc;
    rc = segment_heads(log->open, 0, RN_ID_MAX, UINT32_MAX, arg, row, err);
    return rc < 0 ? rc : RN_OK;
}

struct heads_visit {
    void *arg;
    void (*row)(void *arg, const struct log_head_row *row);
};

static int visit_head(void *arg, const struct log_head_row *row)
{
    struct heads_visit *visit = arg;
    visit->row(visit->arg, row);
    return RN_OK;
}

// The sealed segment that holds the first position > after; NULL: none does.
static const struct sealed *sealed_after(const struct log *log, uint64_t after)
{
    for (int i = 0; i < log->nsealed; i++)
        if (log->sealed[i].last > after)
            return &log->sealed[i];
    return NULL;
}

static int open_behind(struct log *log, uint64_t first, struct rn_err *err)
{
    char path[SEGMENT_PATH_MAX];
    if (log->behind && segment_first(log->behind) == first)
        return RN_OK;
    segment_close(log->behind);
    log->behind = NULL;
    int rc = segment_path(path, log->folder, first, err);
    return rc == RN_OK ? segment_open_read(&log->behind, path, first, err) : rc;
}

int log_heads(struct log *log, uint64_t after, uint64_t upto, uint32_t max, void *arg,
              void (*row)(void *arg, const struct log_head_row *row), struct rn_err *err)
{
    struct heads_visit visit = {arg, row};
    if (upto > log->head)
        upto = log->head;
    for (;;) {
        const struct sealed *behind = sealed_after(log, after);
        if (!behind)
            return segment_heads(log->open, after, upto, max, &visit, visit_head, err);
        int rc = open_behind(log, behind->first, err);
        if (rc == RN_OK)
            rc = segment_heads(log->behind, after, upto, max, &visit, visit_head, err);
        if (rc || upto <= behind->last)
            return rc;
        after = behind->last;
    }
}
