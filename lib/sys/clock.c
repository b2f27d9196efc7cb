// See runnel/clock.h.
#include <runnel/clock.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now); // cannot fail with these clocks
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t rn_clock_mono_ms(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t rn_clock_boot_ms(void)
{
    return now_ns(CLOCK_BOOTTIME) / 1000000;
}

int64_t rn_clock_utc_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}

int64_t rn_clock_utc_ns(void)
{
    return now_ns(CLOCK_REALTIME);
}

int rn_clock_boot_id(char out[33], struct rn_err *err)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[64];
    out[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rn_fail_errno(err, "open %s", path);
    ssize_t len = read(fd, text, sizeof text);
    close(fd);
    if (len < 0)
        return rn_fail_errno(err, "read %s", path);
    char id[33];
    size_t digits = 0;
    for (ssize_t i = 0; i < len && digits < 32; i++)
        if (strchr("0123456789abcdef", text[i]))
            id[digits++] = text[i];
    if (digits != 32)
        return rn_fail(err, RN_EFORMAT, "%s holds no boot id", path);
    id[32] = 0;
    memcpy(out, id, sizeof id);
    return RN_OK;
}

const char *rn_clock_rfc3339(char out[32], int64_t utc_ms)
{
    int64_t ms = utc_ms % 1000, seconds = utc_ms / 1000;
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    time_t at = (time_t)seconds;
    struct tm tm;
    // RFC 3339 knows the years 0 to 9999 only.
    if (!gmtime_r(&at, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099)
        snprintf(out, 32, "%lld", (long long)utc_ms);
    else
        snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
                 (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
                 (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
                 (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u, (unsigned)ms % 1000u);
    return out;
}
