// agent/collect/net.h
#include "collect_fixture.h"

#include "agent/collect/net.h"

static bool parse(const char *line, struct net_counters *counters)
{
    return net_parse(rn_span_text(line), counters);
}

static void names_end_at_the_last_colon(void **state)
{
    (void)state;
    struct net_counters c;
    assert_true(parse("  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", &c));
    assert_string_equal(c.name, "eth0");
    assert_int_equal(c.value[NET_BYTES_RECV], 1);
    assert_int_equal(c.value[NET_DROP_IN], 4);
    assert_int_equal(c.value[NET_BYTES_SENT], 9);
    assert_int_equal(c.value[NET_DROP_OUT], 12);
    assert_true(parse("eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12", &c));
    assert_string_equal(c.name, "eth0:1");
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":",
        "eth0",
        "eth0:",
        ": 1 2 3 4 5 6 7 8 9 10 11 12",
        "eth0: 1 2 3 4 5 6 7 8 9 10 11",
        "eth0: 1 2 3 4 5 6 7 8 9 10 11 x",
        "../x: 1 2 3 4 5 6 7 8 9 10 11 12",
        "..: 1 2 3 4 5 6 7 8 9 10 11 12",
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes",
        "a-name-that-is-longer-than-any-interface: 1 2 3 4 5 6 7 8 9 10 11 12"};
    struct net_counters c;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(bad[i], &c));
}

#define NUMBERS " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"

static void the_option_replaces_the_choice_by_flags(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    struct subject s = subject_open(&f, &collect_net);
    struct net_conf *conf = s.conf;
    fixture_write(&f, "proc/net/dev",
                  "x|y\nface|\n lo:" NUMBERS "eth0:" NUMBERS "eth1:" NUMBERS "new0:" NUMBERS);
    fixture_write(&f, "sys/class/net/lo/flags", "0x9\n");
    fixture_write(&f, "sys/class/net/eth0/flags", "0x1003\n");
    fixture_write(&f, "sys/class/net/eth0/speed", "2500\n");
    fixture_write(&f, "sys/class/net/eth1/flags", "0x1002\n");
    fixture_write(&f, "sys/class/net/eth1/speed", "-1\n");
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, 2);
    assert_string_equal(fixture_value(&f, "net,interface=eth0 ", "speed"), "2500i");
    assert_string_equal(fixture_value(&f, "net,interface=new0 ", "speed"), "-1i");
    strcpy(conf->interfaces.item[0], "lo");
    strcpy(conf->interfaces.item[1], "eth1");
    conf->interfaces.count = 2;
    fixture_clear(&f);
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, 2);
    assert_non_null(fixture_value(&f, "net,interface=lo ", "bytes_recv"));
    assert_non_null(fixture_value(&f, "net,interface=eth1 ", "bytes_recv"));
    subject_close(&s);
    fixture_release(&f);
}

static void a_thousand_interfaces_are_bounded_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct rn_buf text;
    fixture_init_tree(&f);
    rn_buf_init(&text, 1 << 20);
    for (int i = 0; i < 1000; i++)
        rn_buf_printf(&text, "veth%d:" NUMBERS, i);
    fixture_write_bytes(&f, "proc/net/dev", text.data, text.len);
    rn_buf_release(&text);
    struct subject s = subject_open(&f, &collect_net);
    assert_int_equal(subject_sample(&f, &s, 0), 0);
    assert_int_equal(f.points, NET_MAX_INTERFACES);
    assert_int_equal(f.left_out, 1000 - NET_MAX_INTERFACES);
    subject_close(&s);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_end_at_the_last_colon),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(the_option_replaces_the_choice_by_flags),
        cmocka_unit_test(a_thousand_interfaces_are_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
