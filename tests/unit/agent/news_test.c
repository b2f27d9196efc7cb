// Which changes are worth a batch of their own, and how often.
#include "agent/news.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const struct rn_field_desc speed = {
    .name = "speed", .type = RN_INT, .kind = RN_STATE, .news = RN_NEWS_VALUE};
static const struct rn_field_desc total = {
    .name = "total", .type = RN_INT, .kind = RN_GAUGE, .news = RN_NEWS_SERIES};
static const struct rn_field_desc other = {.name = "used", .type = RN_INT, .kind = RN_GAUGE};

static void see(struct news *news, const struct rn_field_desc *field, const char *tag,
                int64_t value, bool known)
{
    const struct rn_tag tags[] = {{rn_span_text("name"), rn_span_text(tag)}};
    const struct rn_point_value values[] = {{.field = field, .scaled = value}};
    const struct rn_point point = {
        .measurement = "m", .tags = tags, .ntags = 1, .values = values, .nvalues = 1};
    news_see(news, &point, known);
}

static void a_link_that_goes_down_is_news_and_what_is_there_at_the_start_is_not(void **state)
{
    struct news news = {0};
    (void)state;
    see(&news, &speed, "eth0", 1000, false);
    assert_false(news_cut(&news, 1000, 60000));
    see(&news, &speed, "eth0", 1000, true);
    assert_false(news_cut(&news, 2000, 60000));
    see(&news, &speed, "eth0", -1, true);
    assert_true(news_cut(&news, 3000, 60000));
    see(&news, &speed, "eth0", -1, true);
    assert_false(news_cut(&news, 4000, 60000));
}

static void a_series_that_comes_is_news_but_its_value_only_where_it_says_so(void **state)
{
    struct news news = {0};
    (void)state;
    see(&news, &total, "rw", 100, false);
    see(&news, &total, "rw", 200, true); // grew
    assert_false(news_cut(&news, 1000, 60000));
    see(&news, &total, "ro", 200, true); // its tag says read-only now
    assert_true(news_cut(&news, 2000, 60000));
    see(&news, &other, "x", 1, true);
    assert_false(news_cut(&news, 200000, 60000));
}

static void a_link_that_flaps_cuts_once_a_gap_and_the_rest_is_counted(void **state)
{
    struct news news = {0};
    uint32_t cuts = 0;
    (void)state;
    see(&news, &speed, "eth0", 0, false);
    for (int64_t t = 1000; t <= 3600000; t += 1000) {
        see(&news, &speed, "eth0", t, true);
        cuts += news_cut(&news, t, 240000);
    }
    assert_int_equal(cuts, 15);
    assert_int_equal(news.cuts, 15);
    assert_int_equal(news.held, 3600 - 15);
}

static void more_values_than_it_watches_are_counted_and_cut_nothing(void **state)
{
    struct news news = {0};
    char tag[16];
    (void)state;
    for (int i = 0; i < NEWS_MAX + 10; i++) {
        snprintf(tag, sizeof tag, "eth%d", i);
        see(&news, &speed, tag, i, false);
    }
    assert_int_equal(news.unwatched, 10);
    see(&news, &speed, "eth5", 5, true);
    assert_false(news_cut(&news, 1000, 1));
    see(&news, &speed, "eth5", 6, true);
    assert_true(news_cut(&news, 1000, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_that_goes_down_is_news_and_what_is_there_at_the_start_is_not),
        cmocka_unit_test(a_series_that_comes_is_news_but_its_value_only_where_it_says_so),
        cmocka_unit_test(a_link_that_flaps_cuts_once_a_gap_and_the_rest_is_counted),
        cmocka_unit_test(more_values_than_it_watches_are_counted_and_cut_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
