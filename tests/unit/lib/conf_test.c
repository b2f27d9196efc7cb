// Configuration files into option rows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/conf.h>
#include <runnel/file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    char name[32], password[64], ca[32];
    int64_t keepalive;
    struct rn_opt_list brokers;
};
struct cpu {
    bool enabled;
    int64_t period;
};

#define AT(field) offsetof(struct settings, field)
static const struct rn_opt main_rows[] = {
    {"name", RN_OPT_TEXT, AT(name), 32, 0, 0, NULL, RN_OPT_REQUIRED, NULL, "Device name."},
    {"mqtt.password", RN_OPT_SECRET, AT(password), 64, 0, 0, NULL, RN_OPT_REMOTE, NULL,
     "Password."},
    {"mqtt.ca", RN_OPT_TEXT, AT(ca), 32, 0, 0, NULL, RN_OPT_REMOTE | RN_OPT_PATH, NULL, "CA file."},
    {"mqtt.keepalive", RN_OPT_DURATION, AT(keepalive), 0, 1000, 600000, "60s", 0, NULL, "Pings."},
    {"mqtt.brokers", RN_OPT_LIST, AT(brokers), 0, 1, 4, "[x]", 0, NULL, "Addresses."},
};
static const struct rn_opt cpu_rows[] = {
    {"enabled", RN_OPT_BOOL, offsetof(struct cpu, enabled), 0, 0, 0, "true", 0, NULL, "Whether."},
    {"period", RN_OPT_DURATION, offsetof(struct cpu, period), 0, 0, 0, "10s", RN_OPT_REMOTE, NULL,
     "How often."},
};

struct fixture {
    char folder[64], path[96];
    struct settings settings;
    struct cpu cpu;
    struct rn_conf_origin main_origin[RN_OPT_COUNT(main_rows)];
    struct rn_conf_section sections[2];
    struct rn_conf conf;
    struct rn_err err;
};

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/runnel-conf-XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/agent.yaml", f->folder);
    f->sections[0] = (struct rn_conf_section){"", main_rows, RN_OPT_COUNT(main_rows), &f->settings,
                                              f->main_origin};
    f->sections[1] =
        (struct rn_conf_section){"collect.cpu.", cpu_rows, RN_OPT_COUNT(cpu_rows), &f->cpu, NULL};
    f->conf = (struct rn_conf){.sections = f->sections, .nsections = 2};
    return rn_conf_init(&f->conf, &f->err);
}

static int stop(void **state)
{
    struct fixture *f = *state;
    int rc = rn_remove_tree(f->folder, NULL);
    free(f);
    return rc;
}

static int load_n(struct fixture *f, const char *yaml, size_t len)
{
    struct rn_span content = {(const uint8_t *)yaml, len};
    assert_int_equal(rn_file_replace(f->path, content, 0600, &f->err), RN_OK);
    return rn_conf_file(&f->conf, f->path, &f->err);
}

static int load(struct fixture *f, const char *yaml)
{
    return load_n(f, yaml, strlen(yaml));
}

static void must_load(struct fixture *f, const char *yaml)
{
    if (load(f, yaml) < 0)
        fail_msg("%s", f->err.text);
}

// The error's text behind "<path>:".
static const char *complaint(struct fixture *f, const char *yaml)
{
    if (load(f, yaml) >= 0)
        return "accepted";
    size_t len = strlen(f->path);
    if (strncmp(f->err.text, f->path, len) != 0)
        return f->err.text;
    return f->err.text + len + 1;
}

static void nested_and_dotted_keys_set_rows_of_the_right_section(void **state)
{
    struct fixture *f = *state;
    must_load(f, "# comment\n"
                 "name: pump-7\n"
                 "mqtt:\n"
                 "  keepalive: 2m\n"
                 "  brokers: [tcp://a:1, \"b, c\"]\n"
                 "collect.cpu: {enabled: no}\n"
                 "collect:\n");
    assert_string_equal(f->settings.name, "pump-7");
    assert_int_equal(f->settings.keepalive, 120000);
    assert_int_equal(f->settings.brokers.count, 2);
    assert_string_equal(f->settings.brokers.item[1], "b, c");
    assert_false(f->cpu.enabled);
    assert_int_equal(f->cpu.period, 10000);
}

static void the_origin_names_file_and_line(void **state)
{
    struct fixture *f = *state;
    char expected[160];
    assert_string_equal(f->main_origin[0].source, "default");
    must_load(f, "\nname: x\nmqtt: {brokers: [a]}\n");
    snprintf(expected, sizeof expected, "%s:2", f->path);
    assert_string_equal(f->main_origin[0].source, expected);
    snprintf(expected, sizeof expected, "%s:3", f->path);
    assert_string_equal(f->main_origin[4].source, expected);
    assert_string_equal(f->main_origin[3].source, "default");
    assert_int_equal(rn_conf_set(&f->conf, "name", "y", "--set", false, &f->err), RN_OK);
    assert_string_equal(f->main_origin[0].source, "--set");
}

static void errors_say_where_which_key_and_what_was_expected(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *yaml, *words;
    } example[] = {
        {"mqtt:\n  keepalive: 5\n", "2:14: mqtt.keepalive: expected a duration between 1s and 10m, "
                                    "such as 60s, not \"5\""},
        {"mqtt:\n  kepalive: 5s\n",
         "2:3: mqtt.kepalive: there is no such key; did you mean mqtt.keepalive?"},
        {"collect: {cpu: {perod: 5s}}",
         "1:17: collect.cpu.perod: there is no such key; did you mean collect.cpu.period?"},
        {"colour: red\n", "1:1: colour: there is no such key"},
        {"colour: [red]\n", "1:1: colour: there is no such key"},
        {"colour:\n", "1:1: colour: there is no such key"},
        {"name: [a]\n", "1:7: name: expected a single value, not a list"},
        {"name: a\nmqtt: {ca: b}\nname: c\n", "3:1: name: set twice; first in line 1"},
        {"mqtt: {ca: b}\nmqtt: {ca: c}\n", "2:1: mqtt: set twice; first in line 1"},
        {"mqtt: {ca: b}\nmqtt.ca: c\n", "2:1: mqtt.ca: set twice; first in line 1"},
        {"mqtt.brokers: [a, b, c, d, e]\n",
         "1:28: mqtt.brokers: expected a list of 1 to 4 texts shorter than 128 bytes, such as [x], "
         "not \"e\""},
        {"mqtt.brokers: []\n", "1:16: mqtt.brokers: expected at least 1 elements"},
        {"mqtt.brokers: [[a]]\n", "1:16: mqtt.brokers: expected a list of single values"},
        {"mqtt.brokers: [{a: b}]\n", "1:16: mqtt.brokers: expected a list of single values"},
        {"name: &a x\n", "1:7: name: anchors and aliases (& and *) are not supported; write the "
                         "value out, or quote it"},
        {"name: *a\n",
         "1:7: name: anchors and aliases (& and *) are not supported; write the value "
         "out, or quote it"},
        {"name: !!str x\n", "1:7: name: tags (!) are not supported; quote the value"},
        {"mqtt: !x {ca: b}\n", "1:7: mqtt: tags (!) are not supported; quote the value"},
        {"--- \nname: a\n--- \nname: b\n",
         "3:1: expected one document a file; remove the second `---`"},
        {"- a\n", "1:1: expected keys with values, such as `name: value`"},
        {"text\n", "1:1: expected keys with values, such as `name: value`"},
        {"? [a]\n: b\n", "1:3: expected a key, such as `name: value`"},
        {"\"\": b\n", "1:1: expected a key of 1 to 200 bytes with all it stands in"},
        {"name: \"a\\0b\"\n", "1:7: name: a NUL character is not allowed"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n",
         "1:32: a.b.c.d.e.f.g.h: nested deeper than 8"},
    };
    for (size_t i = 0; i < sizeof example / sizeof example[0]; i++)
        assert_string_equal(complaint(f, example[i].yaml), example[i].words);
}

static void broken_yaml_is_told_with_its_place(void **state)
{
    struct fixture *f = *state;
    const char *words = complaint(f, "name: a\nmqtt: {brokers: [\n");
    assert_memory_equal(words, "3:1: not valid YAML: ", 21);
    words = complaint(f, "name: a\n\tca: b\n");
    assert_memory_equal(words, "2:1: not valid YAML: ", 21);
    words = complaint(f, "name: \xff\n");
    assert_non_null(strstr(words, "not valid YAML: "));
    assert_int_equal(rn_conf_file(&f->conf, "/nonexistent/agent.yaml", &f->err), RN_ENOENT);
}

static void empty_files_change_nothing(void **state)
{
    struct fixture *f = *state;
    must_load(f, "");
    must_load(f, "# only a comment\n");
    must_load(f, "---\n");
    must_load(f, "{}\n");
    assert_string_equal(f->main_origin[0].source, "default");
}

static void limits_hold_for_file_scalar_key_and_count(void **state)
{
    struct fixture *f = *state;
    size_t size = 300 * 1024;
    char *big = malloc(size);
    memset(big, '#', size);
    assert_int_equal(load_n(f, big, size), RN_ELIMIT);
    memset(big, 'x', size);
    memcpy(big, "name: ", 6);
    assert_int_equal(load_n(f, big, 6 + 4097), RN_ELIMIT);
    assert_non_null(strstr(f->err.text, "name: longer than 4096 bytes"));
    memset(big, 'x', 6);
    memcpy(big + 201, ": a", 3);
    assert_int_equal(load_n(f, big, 204), RN_ELIMIT);
    memset(big, '[', size);
    memcpy(big, "name: ", 6);
    assert_true(load_n(f, big, 200 * 1024) < 0);
    size_t len = 0;
    for (int i = 0; i < 2100; i++)
        len += (size_t)snprintf(big + len, size - len, "collect.cpu.x%d: {}\n", i);
    assert_int_equal(load_n(f, big, len), RN_ELIMIT);
    assert_non_null(strstr(f->err.text, "no room for more than 2000 keys"));
    free(big);
}

static void variables_are_expanded_inside_scalars_only(void **state)
{
    struct fixture *f = *state;
    setenv("RN_TEST_A", "x\"y: [z", 1);
    setenv("RN_TEST_EMPTY", "", 1);
    unsetenv("RN_TEST_NONE");
    must_load(f, "name: a${RN_TEST_A}b\n");
    assert_string_equal(f->settings.name, "ax\"y: [zb"); // not parsed again
    must_load(f, "name: '${RN_TEST_NONE:-d e}${RN_TEST_EMPTY:-f}${RN_TEST_EMPTY}'\n");
    assert_string_equal(f->settings.name, "d ef");
    must_load(f, "name: $$5 $x $\n");
    assert_string_equal(f->settings.name, "$5 $x $");
    must_load(f, "mqtt.brokers: ['${RN_TEST_NONE:-one}']\n");
    assert_string_equal(f->settings.brokers.item[0], "one");
    assert_string_equal(complaint(f, "name: ${RN_TEST_NONE}\n"),
                        "1:7: name: the environment variable RN_TEST_NONE is not set; set it or "
                        "write ${RN_TEST_NONE:-default}");
    static const char *const wrong[] = {"${", "${}", "${A", "${1}", "${A:-x", "${A-b}", "${A B}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char yaml[64];
        snprintf(yaml, sizeof yaml, "name: '%s'\n", wrong[i]);
        assert_non_null(strstr(complaint(f, yaml), "expected ${NAME} or ${NAME:-default}"));
    }
    char *large = malloc(5000);
    memset(large, 'x', 4999);
    large[4999] = 0;
    setenv("RN_TEST_A", large, 1);
    assert_non_null(strstr(complaint(f, "name: ${RN_TEST_A}\n"), "longer than 4096 bytes"));
    free(large);
    unsetenv("RN_TEST_A");
}

static void a_secret_may_come_from_a_file_and_is_never_shown(void **state)
{
    struct fixture *f = *state;
    char secret[96], yaml[200];
    snprintf(secret, sizeof secret, "%s/pw", f->folder);
    snprintf(yaml, sizeof yaml, "mqtt: {password_file: %s}\n", secret);
    assert_int_equal(load(f, yaml), RN_ENOENT);
    assert_non_null(strstr(f->err.text, "mqtt.password_file: open "));
    assert_int_equal(rn_file_replace(secret, rn_span_text("pass word\n\n"), 0600, &f->err), RN_OK);
    must_load(f, yaml);
    assert_string_equal(f->settings.password, "pass word\n"); // one newline is cut
    assert_non_null(strstr(f->main_origin[1].source, "agent.yaml:1"));
    char too_long[80];
    memset(too_long, 'p', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = 0;
    assert_int_equal(rn_file_replace(secret, rn_span_text(too_long), 0600, &f->err), RN_OK);
    assert_int_equal(load(f, yaml), RN_EINVAL);
    assert_null(strstr(f->err.text, "ppp"));
    assert_non_null(strstr(complaint(f, "name_file: /x\n"), "there is no such key"));
}

static void a_folder_is_read_in_order_of_name(void **state)
{
    struct fixture *f = *state;
    char folder[96], path[128];
    snprintf(folder, sizeof folder, "%s/agent.d", f->folder);
    assert_int_equal(rn_conf_folder(&f->conf, folder, &f->err), RN_OK); // not there
    assert_int_equal(rn_mkdirs(folder, 0700, &f->err), RN_OK);
    static const char *const files[][2] = {{"20-b.yaml", "name: b\n"},
                                           {"10-a.yaml", "name: a\nmqtt.ca: a\n"},
                                           {"30.txt", "name: c\n"}};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        assert_int_equal(rn_file_replace(path, rn_span_text(files[i][1]), 0600, &f->err), RN_OK);
    }
    assert_int_equal(rn_conf_folder(&f->conf, folder, &f->err), RN_OK);
    assert_string_equal(f->settings.name, "b");
    assert_string_equal(f->settings.ca, "a");
    snprintf(path, sizeof path, "%s/05.yaml", folder);
    assert_int_equal(rn_file_replace(path, rn_span_text("nam: x"), 0600, &f->err), RN_OK);
    assert_int_equal(rn_conf_folder(&f->conf, folder, &f->err), RN_ENOENT);
    assert_non_null(strstr(f->err.text, "agent.d/05.yaml:1:1: nam: there is no such key"));
}

static void remote_documents_set_what_is_marked_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct rn_conf *conf = &f->conf;
    assert_int_equal(rn_conf_set(conf, "collect.cpu.period", "2s", "remote r1", true, &f->err), 0);
    assert_int_equal(f->cpu.period, 2000);
    assert_int_equal(rn_conf_set(conf, "name", "x", "remote r1", true, &f->err), RN_EACCESS);
    assert_string_equal(f->err.text, "name: may be set by the local configuration only");
    assert_int_equal(rn_conf_set(conf, "mqtt.ca", "/x", "remote r1", true, &f->err), RN_EACCESS);
    conf->remote_paths = true;
    assert_int_equal(rn_conf_set(conf, "mqtt.ca", "/x", "remote r1", true, &f->err), RN_OK);
    assert_int_equal(
        rn_conf_set(conf, "mqtt.password_file", "/etc/shadow", "remote r1", true, &f->err),
        RN_ENOENT);
    assert_int_equal(rn_conf_set(conf, "mqtt.password", "${HOME}", "remote r1", true, &f->err), 0);
    assert_string_equal(f->settings.password, "${HOME}"); // not expanded
    assert_int_equal(rn_conf_set(conf, "collect.cpu.period", "2", "remote r1", true, &f->err),
                     RN_EINVAL);
    assert_non_null(strstr(f->err.text, "collect.cpu.period: expected a duration"));
    assert_int_equal(rn_conf_set(conf, "mqtt.brokers", "[a, b]", "--set", false, &f->err), RN_OK);
    assert_int_equal(f->settings.brokers.count, 2);
}

static void what_is_required_must_be_set(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rn_conf_check(&f->conf, &f->err), RN_EINVAL);
    assert_string_equal(f->err.text, "name must be set: Device name.");
    must_load(f, "name: x\n");
    assert_int_equal(rn_conf_check(&f->conf, &f->err), RN_OK);
}

static int remember(void *arg, const char *key, const char *text)
{
    char *out = arg;
    size_t len = strlen(out);
    snprintf(out + len, 200 - len, "%s=%s;", key, text);
    return strcmp(text, "stop") == 0 ? RN_EINVAL : RN_OK;
}

static void every_scalar_can_be_visited_without_a_table(void **state)
{
    struct fixture *f = *state;
    char seen[200] = "";
    struct rn_span yaml =
        rn_span_text("sinks:\n  a: {type: influx}\n  b: {type: file, l: [x, y]}\n");
    assert_int_equal(rn_file_replace(f->path, yaml, 0600, &f->err), RN_OK);
    assert_int_equal(rn_conf_visit(f->path, remember, seen, &f->err), RN_OK);
    assert_string_equal(seen, "sinks.a.type=influx;sinks.b.type=file;sinks.b.l=x;sinks.b.l=y;");
    seen[0] = 0;
    assert_int_equal(rn_file_replace(f->path, rn_span_text("a: stop\nb: c\n"), 0600, &f->err), 0);
    assert_int_equal(rn_conf_visit(f->path, remember, seen, &f->err), RN_EINVAL);
    assert_string_equal(seen, "a=stop;");
    assert_non_null(strstr(f->err.text, ":1:4: a: not acceptable here"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nested_and_dotted_keys_set_rows_of_the_right_section),
        CASE(the_origin_names_file_and_line),
        CASE(errors_say_where_which_key_and_what_was_expected),
        CASE(broken_yaml_is_told_with_its_place),
        CASE(empty_files_change_nothing),
        CASE(limits_hold_for_file_scalar_key_and_count),
        CASE(variables_are_expanded_inside_scalars_only),
        CASE(a_secret_may_come_from_a_file_and_is_never_shown),
        CASE(a_folder_is_read_in_order_of_name),
        CASE(remote_documents_set_what_is_marked_and_nothing_else),
        CASE(what_is_required_must_be_set),
        CASE(every_scalar_can_be_visited_without_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
