// Topics: written and read by the same rules; anything odd is nothing.
#include <runnel/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char letters[] = "?mleikr?acq";

static void every_topic_reads_back_as_it_was_written(void **state)
{
    (void)state;
    for (enum rn_topic topic = RN_TOPIC_METRICS; topic <= RN_TOPIC_BRIDGE; topic++) {
        const char *name = topic == RN_TOPIC_BRIDGE ? "Bridge-1" : "pump-07";
        char out[RN_TOPIC_MAX], dev[RN_DEV_MAX + 1] = "";
        assert_int_equal(rn_topic_write(out, "rn", topic, name), RN_OK);
        assert_int_equal(rn_topic_parse(out, strlen(out), "rn", dev), topic);
        assert_string_equal(dev, name);
        if (topic != RN_TOPIC_STATUS && topic != RN_TOPIC_BRIDGE)
            assert_int_equal(out[strlen(out) - 1], letters[topic]);
    }
}

static void topics_look_as_the_protocol_says(void **state)
{
    (void)state;
    char out[RN_TOPIC_MAX];
    // CRC-32 of "123456789" is cbf43926.
    assert_int_equal(rn_dev_shard(rn_span_text("123456789")), 0x26);
    assert_int_equal(rn_topic_write(out, "rn", RN_TOPIC_METRICS, "123456789"), RN_OK);
    assert_string_equal(out, "rn/u/26/123456789/m");
    assert_int_equal(rn_topic_write(out, "site/a", RN_TOPIC_STATUS, "123456789"), RN_OK);
    assert_string_equal(out, "site/a/s/26/123456789");
    assert_int_equal(rn_topic_write(out, "rn", RN_TOPIC_BRIDGE, "Main"), RN_OK);
    assert_string_equal(out, "rn/b/Main");
}

static void names_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-a",
                                      ".a",
                                      "_a",
                                      "A",
                                      "aB",
                                      "a b",
                                      "a/b",
                                      "a+",
                                      "a#",
                                      "a\n",
                                      "\xc3\xb6",
                                      "a23456789012345678901234567890123"};
    static const char *const good[] = {"a", "0", "a-b_c.d", "a2345678901234567890123456789012"};
    char out[RN_TOPIC_MAX];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(rn_dev_valid(rn_span_text(bad[i])));
        assert_int_equal(rn_topic_write(out, "rn", RN_TOPIC_ACK, bad[i]), RN_EINVAL);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(rn_dev_valid(rn_span_text(good[i])));
    assert_false(rn_dev_valid((struct rn_span){(const uint8_t *)"a\0b", 3}));
    assert_int_equal(rn_topic_write(out, "rn", RN_TOPIC_BRIDGE, "main"), RN_EINVAL);
    assert_int_equal(rn_topic_write(out, "rn", RN_TOPIC_NONE, "a"), RN_EINVAL);
    char prefix[RN_TOPIC_MAX];
    memset(prefix, 'p', sizeof prefix);
    prefix[RN_TOPIC_MAX - 9] = '\0';
    assert_int_equal(rn_topic_write(out, prefix, RN_TOPIC_ACK, "a"), RN_EINVAL);
}

static void odd_topics_are_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "rn",
        "rn/",
        "rn/u",
        "rn/u/26",
        "rn/u/26/123456789",
        "rn/u/26/123456789/",
        "rn/u/26/123456789/x",
        "rn/u/26/123456789/mm",
        "rn/u/26/123456789/m/",
        "rn/u/26/123456789/m/x",
        "rn/u/27/123456789/m",
        "rn/u/2/123456789/m",
        "rn/u/026/123456789/m",
        "rn/u//26/123456789/m",
        "/rn/u/26/123456789/m",
        "rx/u/26/123456789/m",
        "rnu/26/123456789/m",
        "rn/U/26/123456789/m",
        "rn/us/26/123456789/m",
        "rn/d/26/123456789/m",
        "rn/u/26/123456789/a",
        "rn/s/26/123456789/",
        "rn/s/26/123456789/m",
        "rn/s/26",
        "rn/d/26/123456789",
        "rn/b",
        "rn/b/",
        "rn/b/main",
        "rn/b/Main/",
        "rn/b/Main/x",
        "rn/u/26/+/m",
        "rn/u/26/123456789/../m",
        "x1/u/26/../x/26/123456789/m",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char dev[RN_DEV_MAX + 1] = "untouched";
        if (rn_topic_parse(bad[i], strlen(bad[i]), "rn", dev) != RN_TOPIC_NONE)
            fail_msg("accepted %s", bad[i]);
        assert_string_equal(dev, "untouched");
    }
    char dev[RN_DEV_MAX + 1];
    assert_int_equal(rn_topic_parse("rn/u/26/123456789/\0", 19, "rn", dev), RN_TOPIC_NONE);
    assert_int_equal(rn_topic_parse("rn/s/26/123456789/\0", 19, "rn", dev), RN_TOPIC_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_topic_reads_back_as_it_was_written),
        cmocka_unit_test(topics_look_as_the_protocol_says),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(odd_topics_are_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
