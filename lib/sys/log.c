// See runnel/log.h. A line is made on the stack and leaves by one write(2) of at most PIPE_BUF
// bytes, which pipes, sockets and appended files keep whole: lines of two threads never mix, and
// no lock is needed.
#include <runnel/buf.h>
#include <runnel/clock.h>
#include <runnel/log.h>

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUOTE_BYTES = 512, QUOTE_SLOTS = 8 };

// The one setting of the process; where lines go is always standard error.
static _Atomic int threshold = RN_LOG_INFO;

void rn_log_level_set(enum rn_log_level level)
{
    atomic_store(&threshold, (int)level);
}

// systemd puts the device and inode of the journal's socket there. Compared, because a child whose
// standard error was redirected inherits the variable all the same.
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(own, stream) == 0;
}

static size_t begin_line(char *line, size_t size, enum rn_log_level level, const char *event)
{
    static const struct {
        const char *name;
        int priority; // syslog(3)
    } levels[] = {
        [RN_LOG_ERROR] = {"error", 3},
        [RN_LOG_WARN] = {"warn", 4},
        [RN_LOG_INFO] = {"info", 6},
        [RN_LOG_DEBUG] = {"debug", 7},
    };
    int len;
    if (stderr_is_journal()) {
        len = snprintf(line, size, "<%d>event=%s", levels[level].priority, event);
    } else {
        char ts[32];
        len = snprintf(line, size, "ts=%s level=%s event=%s",
                       rn_clock_rfc3339(ts, rn_clock_utc_ms()), levels[level].name, event);
    }
    return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
}

static void send_line(char *line, size_t len)
{
    // Whatever a caller forgot to quote: still one line, and no terminal escapes.
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[len++] = '\n';
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        ;
}

static bool wanted(enum rn_log_level level)
{
    return (int)level <= atomic_load(&threshold);
}

static void RN_PRINTF(3, 0) emit(enum rn_log_level level, const char *event, const char *format,
                                 va_list args, uint32_t repeated)
{
    char line[PIPE_BUF];
    char tail[32] = "";
    if (repeated)
        snprintf(tail, sizeof tail, " repeated=%u", repeated);
    size_t room = sizeof line - sizeof tail; // what the newline and the tail need
    size_t len = begin_line(line, room, level, event);
    if (format && *format && len + 1 < room) {
        line[len++] = ' ';
        int more = vsnprintf(line + len, room - len, format, args);
        if (more > 0)
            len = (size_t)more < room - len ? len + (size_t)more : room - 1;
        else
            len--; // nothing followed the space
    }
    size_t tail_len = strlen(tail);
    memcpy(line + len, tail, tail_len);
    send_line(line, len + tail_len);
}

void rn_log(enum rn_log_level level, const char *event, const char *format, ...)
{
    if (!wanted(level))
        return;
    va_list args;
    va_start(args, format);
    emit(level, event, format, args, 0);
    va_end(args);
}

// --- quoting --------------------------------------------------------------------------------

// Bytes of the UTF-8 sequence at the start that may be shown as they are; 0: escape one byte.
static size_t showable(const uint8_t *at, size_t left)
{
    if (at[0] < 0x80)
        return at[0] >= 0x20 && at[0] != 0x7f;
    size_t len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (len > left || !rn_utf8_valid(at, len))
        return 0;
    bool c1_control = at[0] == 0xc2 && at[1] < 0xa0;
    bool line_separator =
        len == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9);
    return c1_control || line_separator ? 0 : len;
}

static bool needs_no_quotes(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= 0x20 || bytes[i] >= 0x7f || strchr("\"=\\", bytes[i]))
            return false;
    return len > 0 && len < QUOTE_BYTES;
}

// One character into out (at least 5 bytes); returns how many bytes of input it took.
static size_t escape(char *out, size_t *out_len, const uint8_t *at, size_t left)
{
    static const char from[] = "\"\\\n\r\t", to[] = "\"\\nrt";
    const char *special = at[0] ? strchr(from, at[0]) : NULL;
    if (special) {
        out[0] = '\\';
        out[1] = to[special - from];
        *out_len = 2;
        return 1;
    }
    size_t len = showable(at, left);
    if (len == 0) {
        memcpy(out, "\\x", 2);
        rn_hex(out + 2, at, 1);
        *out_len = 4;
        return 1;
    }
    memcpy(out, at, len);
    *out_len = len;
    return len;
}

const char *rn_log_quote_n(const void *bytes, unsigned long len)
{
    static _Thread_local char slot[QUOTE_SLOTS][QUOTE_BYTES];
    static _Thread_local unsigned next;
    static const char cut[] = "…\"";
    const uint8_t *at = bytes;
    char *out = slot[next++ % QUOTE_SLOTS];
    if (needs_no_quotes(at, len)) {
        memcpy(out, at, len);
        out[len] = 0;
        return out;
    }
    size_t used = 0;
    out[used++] = '"';
    for (size_t i = 0; i < len;) {
        char piece[8];
        size_t piece_len, took = escape(piece, &piece_len, at + i, len - i);
        if (used + piece_len + sizeof cut > QUOTE_BYTES) {
            memcpy(out + used, cut, sizeof cut);
            return out;
        }
        memcpy(out + used, piece, piece_len);
        used += piece_len;
        i += took;
    }
    out[used++] = '"';
    out[used] = 0;
    return out;
}

const char *rn_log_quote(const char *text)
{
    return rn_log_quote_n(text, text ? strlen(text) : 0);
}

// --- repeated complaints --------------------------------------------------------------------

void rn_complain(struct rn_complaint *state, int64_t mono_ms, int64_t interval_ms,
                 enum rn_log_level level, const char *event, const char *format, ...)
{
    if (state->active && mono_ms - state->last_mono_ms < interval_ms) {
        state->suppressed++;
        return;
    }
    if (wanted(level)) {
        va_list args;
        va_start(args, format);
        emit(level, event, format, args, state->suppressed);
        va_end(args);
    }
    *state = (struct rn_complaint){.last_mono_ms = mono_ms, .active = 1};
}

void rn_recovered(struct rn_complaint *state, const char *event)
{
    if (!state->active)
        return;
    if (state->suppressed)
        rn_log(RN_LOG_INFO, event, "suppressed=%u", state->suppressed);
    else
        rn_log(RN_LOG_INFO, event, "%s", "");
    *state = (struct rn_complaint){0};
}
