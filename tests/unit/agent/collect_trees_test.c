// Every collector over captured trees, against figures that a script of its own works out.
#include "collect_fixture.h"

#include <math.h>

#define DATA TEST_SOURCE_DIR "/data/collect"

static char usage[8192]; // the tree's statvfs list
static const char *usage_root;

// "path frsize blocks bfree bavail files ffree", the path escaped as in mountinfo.
static int listed_statvfs(const char *path, struct statvfs *out)
{
    path += strlen(usage_root);
    char copy[sizeof usage];
    memcpy(copy, usage, sizeof copy);
    char *rest;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char name[256], plain[256];
        unsigned long v[6];
        assert_int_equal(sscanf(line, "%255s %lu %lu %lu %lu %lu %lu", name, v, v + 1, v + 2, v + 3,
                                v + 4, v + 5),
                         7);
        size_t len = 0;
        for (const char *at = name; *at; len++) {
            plain[len] =
                *at == '\\' ? (char)strtol((char[]){at[1], at[2], at[3], 0}, NULL, 8) : *at;
            at += *at == '\\' ? 4 : 1;
        }
        plain[len] = '\0';
        if (strcmp(plain, path) != 0)
            continue;
        *out = (struct statvfs){.f_bsize = v[0],
                                .f_frsize = v[0],
                                .f_blocks = v[1],
                                .f_bfree = v[2],
                                .f_bavail = v[3],
                                .f_files = v[4],
                                .f_ffree = v[5]};
        return 0;
    }
    return -1;
}

static size_t slurp(FILE *file, char *out, size_t size)
{
    size_t len = fread(out, 1, size - 1, file);
    out[len] = '\0';
    return len;
}

static void slurp_path(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(slurp(file, out, size) > 0);
    fclose(file);
}

// "a=1i,b=2.5": the text of field `name`, NULL if there is none.
static const char *value_in(const char *fields, const char *name, size_t name_len)
{
    for (const char *at = fields; *at; at += strcspn(at, ",\n")) {
        at += *at == ',';
        if (strncmp(at, name, name_len) == 0 && at[name_len] == '=')
            return at + name_len + 1;
        if (*at == '\n')
            return NULL;
    }
    return NULL;
}

static size_t count_fields(const char *fields, size_t len)
{
    size_t count = 1;
    for (size_t i = 0; i < len; i++)
        count += fields[i] == ',';
    return count;
}

static void check_value(const char *name, const char *got, const char *want)
{
    size_t got_len = strcspn(got, ",\n"), want_len = strcspn(want, ",\n");
    bool same;
    if (memchr(want, 'i', want_len) && !memchr(want, '.', want_len))
        same = got_len == want_len && memcmp(got, want, got_len) == 0;
    else
        same =
            !memchr(got, 'i', got_len) && fabs(strtod(got, NULL) - strtod(want, NULL)) < 0.00500001;
    if (!same)
        fail_msg("%s: got %.*s, want %.*s", name, (int)got_len, got, (int)want_len, want);
}

// Where the fields start: after the last blank, since a tag may hold one.
static const char *fields_of(const char *line, size_t len)
{
    const char *blank = memrchr(line, ' ', len);
    assert_non_null(blank);
    return blank + 1;
}

static const char *find_line(const char *text, const char *start, size_t len)
{
    for (const char *line = text; *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, start, len) == 0)
            return line;
    return NULL;
}

static void compare(const char *got, const char *want)
{
    int lines = 0;
    for (const char *line = want; *line; line += strcspn(line, "\n") + 1, lines++) {
        size_t len = strcspn(line, "\n");
        const char *fields = fields_of(line, len);
        const char *other = find_line(got, line, (size_t)(fields - line));
        if (!other)
            fail_msg("not reported: %.*s", (int)len, line);
        const char *other_fields = other + (fields - line);
        assert_int_equal(count_fields(other_fields, strcspn(other_fields, "\n")),
                         count_fields(fields, strcspn(fields, "\n")));
        for (const char *at = fields; at < line + len; at += strcspn(at, ",\n") + 1) {
            size_t name_len = strcspn(at, "=");
            const char *value = value_in(other_fields, at, name_len);
            if (!value)
                fail_msg("no such field: %.*s", (int)(at + name_len - line), line);
            check_value(at, value, at + name_len + 1);
        }
    }
    for (const char *line = got; *line; line = strchr(line, '\n') + 1)
        lines--;
    if (lines != 0)
        fail_msg("%d points too many:\n%s", -lines, got);
}

static void run_tree(const char *tree, bool first_only)
{
    struct fixture f;
    char path[256], proc[2][256], sys[256], root[256];
    static char want[65536], fresh[65536];
    fixture_init(&f);
    snprintf(path, sizeof path, DATA "/%s/statvfs", tree);
    slurp_path(path, usage, sizeof usage);
    snprintf(proc[0], sizeof proc[0], DATA "/%s/t0/proc", tree);
    snprintf(proc[1], sizeof proc[1], DATA "/%s/t1/proc", tree);
    snprintf(sys, sizeof sys, DATA "/%s/t1/sys", tree);
    snprintf(root, sizeof root, DATA "/%s/t1", tree);
    f.env.sysfs = sys;
    f.env.rootfs = usage_root = root;
    f.env.statvfs = listed_statvfs;
    for (size_t i = 0; i < collect_table_count; i++) {
        const struct rn_collector *c = collect_table[i];
        if (strcmp(c->name, "runnel_agent") == 0)
            continue;
        struct subject s = subject_open(&f, c);
        f.env.procfs = proc[0];
        if (strcmp(c->name, "cpu") == 0)
            assert_int_equal(subject_sample(&f, &s, 1000), 0);
        assert_int_equal(strcmp(c->name, "cpu") == 0 ? f.points : 0, 0);
        f.env.procfs = proc[1];
        if (!first_only)
            assert_int_equal(subject_sample(&f, &s, 11000), 0);
        subject_close(&s);
    }
    if (!first_only) {
        snprintf(path, sizeof path, DATA "/%s/expected.txt", tree);
        slurp_path(path, want, sizeof want);
        compare(f.out, want);
        snprintf(path, sizeof path, "/usr/bin/python3 " DATA "/expect.py " DATA "/%s", tree);
        FILE *script = popen(path, "r");
        assert_non_null(script);
        slurp(script, fresh, sizeof fresh);
        assert_int_equal(pclose(script), 0);
        compare(f.out, fresh);
    }
    fixture_release(&f);
}

static void a_captured_machine_is_reported_as_the_script_says(void **state)
{
    (void)state;
    run_tree("machine", false);
}

static void an_odd_machine_is_reported_as_the_script_says(void **state)
{
    (void)state;
    run_tree("odd", false);
}

static void the_first_tick_says_nothing_of_the_processors(void **state)
{
    (void)state;
    run_tree("odd", true);
}

static void an_empty_world_gives_errors_with_words_and_no_points(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    for (size_t i = 0; i < collect_table_count; i++) {
        const struct rn_collector *c = collect_table[i];
        if (strcmp(c->name, "runnel_agent") == 0)
            continue;
        struct subject s = subject_open(&f, c);
        int code = subject_sample(&f, &s, 1000);
        bool content = strcmp(c->name, "temp") == 0 || strcmp(c->name, "processes") == 0;
        assert_true(content ? code == 0 : code < 0);
        subject_close(&s);
    }
    assert_int_equal(f.points, 1); // no process
    assert_string_equal(fixture_value(&f, "processes", "total"), "0i");
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_captured_machine_is_reported_as_the_script_says),
        cmocka_unit_test(an_odd_machine_is_reported_as_the_script_says),
        cmocka_unit_test(the_first_tick_says_nothing_of_the_processors),
        cmocka_unit_test(an_empty_world_gives_errors_with_words_and_no_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
