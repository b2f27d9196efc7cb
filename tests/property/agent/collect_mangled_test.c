// Texts of the kernel, cut and mangled at random: every parser stays within them, and what it
// returns keeps its promises. Run under AddressSanitizer too: each text is a heap block of exactly
// its length. RUNNEL_SEED repeats a run.
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/collect/cpu.h"
#include "agent/collect/disk.h"
#include "agent/collect/diskio.h"
#include "agent/collect/mem.h"
#include "agent/collect/named.h"
#include "agent/collect/net.h"
#include "agent/collect/parse.h"
#include "agent/collect/processes.h"
#include "agent/collect/system.h"
#include "agent/collect/temp.h"

#define ROUNDS 3000

static uint64_t random_state;

// xorshift64* (Marsaglia, Vigna)
static uint64_t next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717u;
}

static const char *const texts[] = {
    "cpu  1777 300 400 4123 499 11 25 33 900 90\ncpu0 1033 133 107 1001 100 6 13 16 601 41\nintr 5 "
    "6\n",
    "MemTotal:  515992 kB\nMemFree: 20012 kB\nMemAvailable: 300 kB\nCached: 5 kB\nSReclaimable: 7 "
    "kB\n",
    " 259 0 nvme0n1 9007 1 18014 3 4 5 6 7 0 9 10 11 12 13 14\n 8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n",
    "  eth0: 1844674407 2 3 4 5 6 7 8 9223372036 10 11 12 13 14 15 16\nlo:1 2 3 4 5 6 7 8 9 10 11 "
    "12\n",
    "27 26 259:1 / /a\\040b rw,noatime shared:2 - vfat /dev/sda1 rw\n28 1 0:5 /x /y ro - zfs none "
    "ro\n",
    "30 (a) R (b) D 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 5 6 7\n",
    "12.34 0.05 100.00 2/345 6789\n",
    "temp12_input\ntemp1_label\n",
};

// A mangled copy of one of the texts, in a block of its own.
static uint8_t *mangle(size_t *len)
{
    const char *text = texts[next() % (sizeof texts / sizeof texts[0])];
    size_t full = strlen(text);
    *len = next() % 4 ? full : next() % (full + 1);
    uint8_t *copy = malloc(*len + (*len == 0));
    if (!copy)
        abort();
    memcpy(copy, text, *len);
    static const char likely[] = " \t\n:()-.\\0189/,\xff";
    for (uint64_t i = next() % 8; i > 0 && *len > 0; i--)
        copy[next() % *len] =
            (uint8_t)(next() % 3 ? (uint64_t)(uint8_t)likely[next() % (sizeof likely - 1)]
                                 : next());
    return copy;
}

static void check_clean(char *text)
{
    parse_clean(text);
    assert_true(rn_utf8_valid((const uint8_t *)text, strlen(text)));
    for (; *text; text++)
        assert_true((uint8_t)*text >= 0x20 && *text != 0x7f);
}

static void check_whole(struct rn_span text)
{
    struct mem_values mem;
    struct system_users users;
    struct named_counter counters[] = {{.name = "intr"}, {.name = "cpu"}};
    uint64_t load[3];
    (void)mem_parse(text, &mem);
    assert_true(mem.value[MEM_USED] <= mem.value[MEM_TOTAL]);
    assert_true(mem.value[MEM_USED_PERCENT] <= 10000);
    named_counters(text, counters, 2);
    assert_true(system_count_cpus(text) <= text.len);
    (void)system_parse_load(text, load);
    system_parse_users(text, &users);
    assert_true(users.unique <= users.sessions);
}

static void check_line(struct rn_span line, struct cpu_ticks *before)
{
    struct cpu_ticks ticks;
    struct net_counters net;
    struct diskio_counters diskio;
    struct disk_mount mount;
    uint64_t share[CPU_TIMES], threads;
    int64_t core;
    char letter;
    if (cpu_parse(line, &core, &ticks)) {
        assert_true(core >= -1);
        for (int i = 0; cpu_shares(before, &ticks, share) && i < CPU_TIMES; i++)
            assert_true(share[i] <= 10000);
        *before = ticks;
    }
    if (net_parse(line, &net)) {
        assert_true(net.name[0] && !strchr(net.name, '/'));
        check_clean(net.name);
    }
    if (diskio_parse(line, &diskio)) {
        assert_true(diskio.name[0]);
        check_clean(diskio.name);
    }
    if (disk_parse(line, &mount)) {
        assert_true(mount.path[0] == '/' && mount.device[0] && mount.fstype[0] && mount.mode);
        check_clean(mount.path);
        check_clean(mount.device);
    }
    if (processes_parse(line, &letter, &threads))
        assert_true(letter != ' ');
}

static void no_parser_leaves_its_text_or_breaks_a_promise(void **state)
{
    (void)state;
    const char *seed = getenv("RUNNEL_SEED");
    random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)getpid() * 7919 + 1;
    print_message("RUNNEL_SEED=%" PRIu64 "\n", random_state);
    struct cpu_ticks before = {{0}};
    for (int round = 0; round < ROUNDS; round++) {
        size_t len;
        uint8_t *copy = mangle(&len);
        struct rn_span text = {copy, len}, rest = text, line;
        check_whole(text);
        while (parse_line(&rest, &line)) {
            char name[64], sensor[32];
            int number = 0;
            check_line(line, &before);
            if (!parse_copy(name, sizeof name, line))
                continue;
            (void)temp_parse_input(name, &number);
            temp_sensor_name(sensor, sizeof sensor, name, number % 2 ? name : "");
            check_clean(sensor);
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_parser_leaves_its_text_or_breaks_a_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
