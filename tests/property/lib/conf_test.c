// Configuration files damaged at random, from a seed: RUNNEL_SEED repeats a failure. Whatever
// comes, the reader ends, reads nothing outside its bounds (the sanitizers judge), and its refusal
// has a place; what it accepts is within the rows' limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/conf.h>
#include <runnel/file.h>
#include <runnel/rand.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 1500, MAX = 1000 };

struct settings {
    char name[16];
    int64_t period, room;
    int level;
    struct rn_opt_list hosts;
};

#define AT(field) offsetof(struct settings, field)
static const struct rn_opt rows[] = {
    {"name", RN_OPT_TEXT, AT(name), 16, 1, 12, "x", 0, NULL, "Who."},
    {"a.b.period", RN_OPT_DURATION, AT(period), 0, 1000, 60000, "10s", 0, NULL, "When."},
    {"a.room", RN_OPT_SIZE, AT(room), 0, 1, 1 << 20, "4k", 0, NULL, "How much."},
    {"level", RN_OPT_ENUM, AT(level), 0, 0, 0, "no", 0, "no|log|sink", "What."},
    {"hosts", RN_OPT_LIST, AT(hosts), 0, 1, 3, "[a]", 0, NULL, "Where."},
};

static const char sound[] = "# sound\n"
                            "name: \"pump ${HOME:-x} $$\"\n"
                            "a:\n"
                            "  b: {period: 2s}\n"
                            "  room: 64k\n"
                            "level: 'log'\n"
                            "hosts:\n"
                            "  - one\n"
                            "  - ${RN_NONE:-two}\n";

// Pieces that mean something to YAML or to us.
static const char *const pieces[] = {"{",
                                     "}",
                                     "[",
                                     "]",
                                     ":",
                                     " ",
                                     "\n",
                                     "- ",
                                     "\"",
                                     "'",
                                     "&a",
                                     "*a",
                                     "!!str ",
                                     "---\n",
                                     "...",
                                     "${",
                                     "}",
                                     "$",
                                     "\\0",
                                     "\t",
                                     "\xff",
                                     "? ",
                                     "|\n",
                                     ">\n",
                                     "%YAML 1.1\n",
                                     "name: y\n",
                                     "<<: ",
                                     "a.b",
                                     "\xef\xbb\xbf",
                                     "99999999999999999999",
                                     "hosts: []\n"};

static size_t damage(struct rn_rand *rand, char *text, size_t len)
{
    size_t at = rn_rand_below(rand, len + 1);
    const char *piece = pieces[rn_rand_below(rand, sizeof pieces / sizeof pieces[0])];
    size_t add = strlen(piece);
    switch (rn_rand_below(rand, 4)) {
    case 0: // cut out
        add = len - at < 5 ? len - at : 5;
        memmove(text + at, text + at + add, len - at - add);
        return len - add;
    case 1: // another byte
        if (at < len)
            text[at] = (char)rn_rand_below(rand, 256);
        return len;
    case 2: // end here
        return rn_rand_below(rand, 10) == 0 ? at : len;
    default:
        if (len + add > MAX)
            return len;
        memmove(text + at + add, text + at, len - at);
        memcpy(text + at, piece, add);
        return len + add;
    }
}

static void check_accepted(const struct settings *s)
{
    assert_in_range(strlen(s->name), 1, 12);
    assert_in_range(s->period, 1000, 60000);
    assert_in_range(s->room, 1, 1 << 20);
    assert_in_range(s->level, 0, 2);
    assert_in_range(s->hosts.count, 1, 3);
}

static void damaged_files_are_refused_with_a_place_or_read_within_the_limits(void **state)
{
    const char *path = *state;
    const char *given = getenv("RUNNEL_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("RUNNEL_SEED=%" PRIu64 "\n", seed);
    struct rn_rand rand;
    rn_rand_init(&rand, seed);
    int accepted = 0, refused = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char text[MAX];
        size_t len = sizeof sound - 1;
        memcpy(text, sound, len);
        for (uint64_t i = rn_rand_below(&rand, 6); i > 0; i--)
            len = damage(&rand, text, len);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, len, file), len);
        fclose(file);
        struct settings settings;
        struct rn_conf_section section = {"", rows, RN_OPT_COUNT(rows), &settings, NULL};
        struct rn_conf conf = {.sections = &section, .nsections = 1};
        struct rn_err err = {0};
        assert_int_equal(rn_conf_init(&conf, &err), RN_OK);
        if (rn_conf_file(&conf, path, &err) == RN_OK) {
            accepted++;
            check_accepted(&settings);
        } else {
            refused++;
            if (strncmp(err.text, path, strlen(path)) != 0 || err.text[strlen(path)] != ':')
                fail_msg("no place in \"%s\", RUNNEL_SEED=%" PRIu64, err.text, seed);
        }
    }
    assert_true(accepted > ROUNDS / 20 && refused > ROUNDS / 4); // both sides were met
}

static int start(void **state)
{
    char *path = strdup("/tmp/runnel-conf-XXXXXX");
    *state = path;
    setenv("HOME", "/h", 1);
    int fd = path ? mkstemp(path) : -1;
    return fd < 0 ? -1 : close(fd);
}

static int stop(void **state)
{
    int rc = unlink(*state);
    free(*state);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            damaged_files_are_refused_with_a_place_or_read_within_the_limits, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
