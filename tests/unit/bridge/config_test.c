// The bridge's configuration: sinks found in files, routes, what is refused, what the documents
// list.
#include "bridge/config.h"
#include "bridge/counters.h"

#include <runnel/file.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/runnel-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    struct rn_err err;
    (void)state;
    return rn_remove_tree(folder, &err);
}

static const char *file(const char *name, const char *content)
{
    static char path[4][128];
    static int at;
    struct rn_err err;
    char *out = path[at++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    assert_int_equal(rn_file_replace(out, rn_span_text(content), 0600, &err), RN_OK);
    return out;
}

static int load(struct config **config, const char *path, const char *set, struct rn_err *err)
{
    const char *sets[] = {set};
    struct config_sources sources = {path, sets, set ? 1 : 0};
    return config_load(config, &sources, err);
}

static void defaults_are_acceptable(void **state)
{
    (void)state;
    struct config *config;
    struct rn_err err;
    const char *path = file("bridge.yaml", "log:\n  level: warn\n");
    assert_int_equal(load(&config, path, NULL, &err), RN_OK);
    assert_string_equal(config->settings.name, "Bridge");
    assert_string_equal(config->settings.ack_after, "log");
    assert_int_equal(config->settings.log_segment_bytes, 256 << 20);
    assert_int_equal(config->settings.commit_interval_ms, 20);
    assert_int_equal(config->nsinks, 0);
    config_free(config);
}

static void sinks_are_found_in_the_file_in_the_folder_and_on_the_command_line(void **state)
{
    (void)state;
    struct config *config;
    struct rn_err err;
    char path[128];
    const char *main_file = file("bridge.yaml", "sinks:\n  one: {type: \"null\"}\n");
    snprintf(path, sizeof path, "%s/bridge.d", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    file("bridge.d/10.yaml", "sinks:\n  two:\n    type: \"null\"\n    types: mi\nack_after: two\n");
    assert_int_equal(load(&config, main_file, "sinks.three.type=null", &err), RN_OK);
    assert_int_equal(config->nsinks, 3);
    assert_string_equal(config->sinks[1].name, "two");
    assert_string_equal(config->sinks[1].opts.types, "mi");
    assert_ptr_equal(config->sinks[2].sink, sink_find("null"));
    assert_true(config_sink_holds(config, &config->sinks[1])); // acknowledgement waits for it
    assert_false(config_sink_holds(config, &config->sinks[0]));
    struct rn_buf text;
    rn_buf_init(&text, 1 << 20);
    config_print(config, true, &text);
    assert_non_null(strstr(rn_buf_cstr(&text), "sinks.three.type: null  # --set"));
    assert_non_null(strstr(rn_buf_cstr(&text), "10.yaml:5"));
    rn_buf_release(&text);
    config_free(config);
}

static void a_route_decides_who_takes_a_type(void **state)
{
    (void)state;
    struct config *config;
    struct rn_err err;
    const char *path = file("bridge.yaml", "sinks:\n"
                                           "  one: {type: \"null\"}\n"
                                           "  two: {type: \"null\"}\n"
                                           "routes: {m: [two], l: [one, two]}\n");
    assert_int_equal(load(&config, path, NULL, &err), RN_OK);
    assert_null(strchr(config->sinks[0].opts.types, 'm'));
    assert_non_null(strchr(config->sinks[0].opts.types, 'l'));
    assert_non_null(strchr(config->sinks[1].opts.types, 'm'));
    assert_non_null(strchr(config->sinks[0].opts.types, 'e'));
    config_free(config);
}

static void acknowledgement_waits_for_the_first_database_of_the_metrics(void **state)
{
    (void)state;
    static const struct {
        const char *sets, *expected;
    } cases[] = {{"routes: {m: [lines]}", "log"},
                 {"routes: {m: [lines, second]}", "second"},
                 {"log: {level: info}", "first"},
                 {"ack_after: log", "log"},
                 {"ack_after: second", "second"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        struct config *config;
        struct rn_err err;
        snprintf(text, sizeof text,
                 "sinks:\n  lines: {type: file, path: here}\n"
                 "  first: {type: influx, url: \"http://127.0.0.1:8086\", database: d}\n"
                 "  second: {type: influx, url: \"http://127.0.0.1:8087\", database: d}\n%s\n",
                 cases[i].sets);
        if (load(&config, file("bridge.yaml", text), NULL, &err) < 0)
            fail_msg("%s", err.text);
        assert_string_equal(config->settings.ack_after, cases[i].expected);
        config_free(config);
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *set, *words;
    } cases[] = {
        {"name=lower", "name: expected"},
        {"ack_after=nobody", "ack_after: expected auto, log or the name of a sink"},
        {"routes.m=nobody", "routes.m: there is no sink nobody"},
        {"sinks.x.type=oracle", "expected one of"},
        {"sinks.verytoolongnameofasinkthatnobodywants.type=null", "too many sinks or a bad name"},
        {"mqtt.backoff_max=100ms", "mqtt.backoff_max"},
        {"log.segment_bytes=5", "log.segment_bytes"},
        {"nonsense", "expected KEY=VALUE"},
        {"sinks.x.url=here", "sinks.x.url"},
    };
    const char *path = file("bridge.yaml", "log: {level: info}\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config *config;
        struct rn_err err;
        assert_true(load(&config, path, cases[i].set, &err) < 0);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s: %s", cases[i].set, err.text);
    }
}

static void every_counter_is_documented(void **state)
{
    (void)state;
    struct rn_buf doc;
    struct rn_err err;
    char name[200];
    rn_buf_init(&doc, 1 << 20);
    assert_int_equal(rn_file_read(PROJECT_SOURCE_DIR "/docs/OPERATIONS.md", &doc, &err), RN_OK);
    const char *text = rn_buf_cstr(&doc);
    for (size_t i = 0; i < counter_count; i++) {
        snprintf(name, sizeof name, "| `%s` | %s |", counter_rows[i].name, counter_rows[i].help);
        if (!strstr(text, name))
            fail_msg("docs/OPERATIONS.md lacks: %s", name);
    }
    rn_buf_release(&doc);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_acceptable),
        TEST(sinks_are_found_in_the_file_in_the_folder_and_on_the_command_line),
        TEST(a_route_decides_who_takes_a_type),
        TEST(acknowledgement_waits_for_the_first_database_of_the_metrics),
        TEST(what_is_wrong_is_named),
        TEST(every_counter_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
