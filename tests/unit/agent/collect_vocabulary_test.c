// The tables of all collectors are sound, and docs/METRICS.md says what they say.
// To bring the page up to date: RUNNEL_WRITE_METRICS=1
// build/dev/tests/unit_agent_collect_vocabulary_test
#include "collect_fixture.h"

#define PAGE PROJECT_SOURCE_DIR "/docs/METRICS.md"
#define MARK "<!-- From here on the page is made from the collectors' tables. -->\n"

static const char *const types[] = {"int", "uint", "float", "bool", "text"};
static const char *const kinds[] = {"gauge", "counter", "state"};

static void print_fields(struct rn_buf *out, const struct rn_collector *c)
{
    rn_buf_text(out, "\n| field | type | unit | kind | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < c->nfields; i++) {
        const struct rn_field_desc *f = &c->fields[i];
        rn_buf_printf(out, "| `%s` | %s", f->name, types[f->type]);
        if (f->decimals)
            rn_buf_printf(out, ", %u decimals", f->decimals);
        rn_buf_printf(out, " | %s | %s | %s |\n", f->unit ? f->unit : "", kinds[f->kind], f->help);
    }
}

static void print_options(struct rn_buf *out, const struct rn_collector *c)
{
    if (c->nopts == 0)
        return;
    rn_buf_text(out, "\n| option | default | meaning |\n|---|---|---|\n");
    for (size_t i = 0; i < c->nopts; i++) {
        const struct rn_opt *o = &c->opts[i];
        rn_buf_printf(out, "| `collect.%s.%s` | %s | %s |\n", c->name, o->key, o->def ? o->def : "",
                      o->help);
    }
}

static void print_page(struct rn_buf *out)
{
    for (size_t i = 0; i < collect_table_count; i++) {
        const struct rn_collector *c = collect_table[i];
        rn_buf_printf(out, "\n## %s\n\n%s Tags: %s.\n", c->name, c->help,
                      c->tags && c->tags[0] ? c->tags : "none");
        print_fields(out, c);
        print_options(out, c);
    }
}

static void read_page(struct rn_buf *out)
{
    FILE *file = fopen(PAGE, "r");
    assert_non_null(file);
    out->len = fread(rn_buf_reserve(out, 100000), 1, 99999, file);
    fclose(file);
}

static void the_page_of_metrics_is_up_to_date(void **state)
{
    (void)state;
    struct rn_buf made, page;
    rn_buf_init(&made, 200000);
    rn_buf_init(&page, 200000);
    print_page(&made);
    assert_true(rn_buf_ok(&made));
    read_page(&page);
    assert_true(rn_buf_cstr(&page)[0]);
    char *mark = strstr((char *)page.data, MARK);
    assert_non_null(mark);
    size_t head = (size_t)(mark - (char *)page.data) + strlen(MARK);
    if (getenv("RUNNEL_WRITE_METRICS")) {
        FILE *file = fopen(PAGE, "w");
        assert_non_null(file);
        fwrite(page.data, 1, head, file);
        fwrite(made.data, 1, made.len, file);
        assert_int_equal(fclose(file), 0);
    } else if (strcmp((char *)page.data + head, rn_buf_cstr(&made)) != 0) {
        fail_msg("docs/METRICS.md is out of date; run RUNNEL_WRITE_METRICS=1 with this test");
    }
    rn_buf_release(&made);
    rn_buf_release(&page);
}

static bool is_name(const char *name)
{
    return name && name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static bool is_sentence(const char *help)
{
    return help && strlen(help) > 4 && help[strlen(help) - 1] == '.' && !strchr(help, '|');
}

static void check_fields(const struct rn_collector *c)
{
    assert_true(c->nfields > 0 && c->nfields <= RN_POINT_MAX_FIELDS);
    for (size_t i = 0; i < c->nfields; i++) {
        const struct rn_field_desc *f = &c->fields[i];
        assert_true(is_name(f->name) && is_sentence(f->help));
        assert_true(f->decimals <= 15 && f->type <= RN_TEXT && f->kind <= RN_STATE);
        assert_true(f->decimals == 0 || f->type == RN_FLOAT);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(f->name, c->fields[j].name);
    }
}

static void check_options(const struct rn_collector *c)
{
    struct rn_err err;
    char *conf = calloc(1, c->conf_size + 1);
    assert_non_null(conf);
    assert_int_equal(rn_opt_defaults(c->opts, c->nopts, conf, &err), 0);
    for (size_t i = 0; i < c->nopts; i++) {
        assert_true(is_name(c->opts[i].key) && is_sentence(c->opts[i].help));
        assert_true(c->opts[i].offset < c->conf_size);
        assert_string_not_equal(c->opts[i].key, "period"); // is the agent's
    }
    free(conf);
}

static void every_table_is_sound(void **state)
{
    (void)state;
    assert_true(collect_table_count >= 10);
    for (size_t i = 0; i < collect_table_count; i++) {
        const struct rn_collector *c = collect_table[i];
        assert_true(is_name(c->name) && is_sentence(c->help) && c->sample);
        check_fields(c);
        check_options(c);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(c->name, collect_table[j]->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_is_sound),
        cmocka_unit_test(the_page_of_metrics_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
