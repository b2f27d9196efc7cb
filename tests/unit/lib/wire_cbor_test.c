// CBOR: the examples of RFC 8949, appendix A, the caps of the reader, and the shortest float.
#include <runnel/cbor.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint8_t storage[1024];

static struct rn_buf fresh(void)
{
    struct rn_buf out;
    rn_buf_init_fixed(&out, storage, sizeof storage);
    return out;
}

static void assert_hex(const struct rn_buf *out, const char *expected)
{
    char text[2 * sizeof storage + 1];
    assert_true(rn_buf_ok(out));
    rn_hex(text, out->data, out->len);
    assert_string_equal(text, expected);
}

static struct rn_cbor_in reader(const char *hex, struct rn_err *err)
{
    static uint8_t bytes[256];
    struct rn_cbor_in in;
    size_t len = strlen(hex) / 2;
    assert_int_equal(rn_unhex(bytes, len, hex), RN_OK);
    rn_cbor_in_init(&in, (struct rn_span){bytes, len}, err);
    return in;
}

static void writes_integers_with_the_shortest_head(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *hex;
    } cases[] = {
        {0, "00"},
        {23, "17"},
        {24, "1818"},
        {255, "18ff"},
        {256, "190100"},
        {65535, "19ffff"},
        {65536, "1a00010000"},
        {UINT32_MAX, "1affffffff"},
        {4294967296, "1b0000000100000000"},
        {INT64_MAX, "1b7fffffffffffffff"},
        {-1, "20"},
        {-24, "37"},
        {-25, "3818"},
        {-1000, "3903e7"},
        {INT64_MIN, "3b7fffffffffffffff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rn_buf out = fresh();
        rn_cbor_put_int(&out, cases[i].value);
        assert_hex(&out, cases[i].hex);
        int64_t back;
        struct rn_cbor_in in = reader(cases[i].hex, NULL);
        assert_int_equal(rn_cbor_get_int(&in, &back), RN_OK);
        assert_int_equal(back, cases[i].value);
    }
}

static void writes_floats_as_the_shortest_that_keeps_the_value(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *hex;
    } cases[] = {
        {0.0, "f90000"},
        {-0.0, "f98000"},
        {1.0, "f93c00"},
        {1.1, "fb3ff199999999999a"},
        {1.5, "f93e00"},
        {65504.0, "f97bff"},
        {65505.0, "fa477fe100"},
        {65536.0, "fa47800000"},
        {100000.0, "fa47c35000"},
        {3.4028234663852886e+38, "fa7f7fffff"},
        {1.0e+300, "fb7e37e43c8800759c"},
        {5.960464477539063e-8, "f90001"},
        {2.9802322387695312e-8, "fa33000000"},
        {0.00006103515625, "f90400"},
        {-4.0, "f9c400"},
        {-4.1, "fbc010666666666666"},
        {(double)INFINITY, "fb7ff0000000000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rn_buf out = fresh();
        rn_cbor_put_double(&out, cases[i].value);
        assert_hex(&out, cases[i].hex);
    }
}

static void reads_every_half_and_writes_it_back_as_a_half(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        uint8_t bytes[3] = {0xf9, (uint8_t)(half >> 8), (uint8_t)half};
        struct rn_cbor_in in;
        struct rn_cbor_item item;
        rn_cbor_in_init(&in, (struct rn_span){bytes, 3}, NULL);
        assert_int_equal(rn_cbor_next(&in, &item), RN_OK);
        assert_int_equal(item.type, RN_CBOR_DOUBLE);
        if (!isfinite(item.d))
            continue; // never written
        struct rn_buf out = fresh();
        rn_cbor_put_double(&out, item.d);
        assert_int_equal(out.len, 3);
        assert_memory_equal(out.data, bytes, 3);
    }
}

static void writes_strings_containers_tags_and_simple_values(void **state)
{
    (void)state;
    struct rn_buf out = fresh();
    rn_cbor_put_array(&out, 6);
    rn_cbor_put_text(&out, rn_span_text("IETF"));
    rn_cbor_put_bytes(&out, (struct rn_span){(const uint8_t *)"\1\2", 2});
    rn_cbor_put_map(&out, 1);
    rn_cbor_put_uint(&out, 1);
    rn_cbor_put_bool(&out, true);
    rn_cbor_put_bool(&out, false);
    rn_cbor_put_null(&out);
    rn_cbor_put_tag(&out, 18);
    rn_cbor_put_bytes_head(&out, 0);
    assert_hex(&out, "866449455446420102a101f5f4f6d240");
}

static void reads_nested_containers_and_knows_the_end(void **state)
{
    (void)state;
    struct rn_err err;
    struct rn_cbor_in in = reader("83018202036a"
                                  "616161616161616161"
                                  "61",
                                  &err);
    uint64_t items, value;
    struct rn_span text;
    assert_int_equal(rn_cbor_get_array(&in, 3, &items), RN_OK);
    assert_int_equal(items, 3);
    assert_int_equal(rn_cbor_get_uint(&in, 9, &value), RN_OK);
    assert_int_equal(rn_cbor_end(&in), RN_EFORMAT);
    in = reader("830182020361c3", &err);
    assert_int_equal(rn_cbor_get_array(&in, 3, &items), RN_OK);
    assert_int_equal(rn_cbor_skip(&in), RN_OK);
    assert_int_equal(rn_cbor_skip(&in), RN_OK);
    assert_int_equal(in.depth, 1);
    assert_int_equal(rn_cbor_get_text(&in, 9, &text), RN_EFORMAT); // not UTF-8
    assert_string_equal(err.text, "byte 7: text is not UTF-8");
    in = reader("82028000", &err);
    assert_int_equal(rn_cbor_skip(&in), RN_OK);
    assert_int_equal(rn_cbor_end(&in), RN_EFORMAT);
    assert_string_equal(err.text, "byte 3: bytes are left over");
}

static void refuses_what_is_not_accepted(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",                   // nothing
        "18",                 // head is cut
        "1c",                 // reserved head
        "9f00ff",             // indefinite array
        "bf0000ff",           // indefinite map
        "7f6161ff",           // indefinite text
        "5f4161ff",           // indefinite bytes
        "ff",                 // break
        "f7",                 // undefined
        "f0",                 // simple value
        "f8ff",               // simple value
        "c100",               // tag
        "d8ff00",             // tag
        "82c100",             // tag inside
        "8201",               // an item is missing
        "a101",               // a value is missing
        "9b7fffffffffffffff", // claims more than is there
        "9bffffffffffffffff", //
        "bbffffffffffffffff", //
        "bb8000000000000001"
        "00",                 //
        "9a04000000",         //
        "5b7fffffffffffffff", //
        "7bffffffffffffffff", //
        "818181818181818181"
        "00", // nine deep
        "a100a100a100a100a100a100a100a100a10000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rn_err err = {0};
        struct rn_cbor_in in = reader(bad[i], &err);
        if (rn_cbor_skip(&in) != RN_EFORMAT || !err.text[0])
            fail_msg("accepted %s", bad[i]);
    }
    struct rn_cbor_in in = reader("818181818181818100", NULL); // eight deep
    assert_int_equal(rn_cbor_skip(&in), RN_OK);
}

static void typed_reads_refuse_other_types_and_what_is_over_the_maximum(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;
    bool b;
    struct rn_span span;
    struct rn_err err;
    struct rn_cbor_in in = reader("20", &err);
    assert_int_equal(rn_cbor_get_uint(&in, 5, &u), RN_EFORMAT);
    assert_string_equal(err.text, "byte 0: expected an unsigned integer");
    in = reader("06", NULL);
    assert_int_equal(rn_cbor_get_uint(&in, 5, &u), RN_ELIMIT);
    in = reader("1b8000000000000000", NULL);
    assert_int_equal(rn_cbor_get_int(&in, &i), RN_ELIMIT);
    in = reader("3b8000000000000000", NULL);
    assert_int_equal(rn_cbor_get_int(&in, &i), RN_ELIMIT);
    in = reader("f90000", NULL);
    assert_int_equal(rn_cbor_get_int(&in, &i), RN_EFORMAT);
    in = reader("6161", NULL);
    assert_int_equal(rn_cbor_get_bytes(&in, 1, &span), RN_EFORMAT);
    in = reader("426161", NULL);
    assert_int_equal(rn_cbor_get_bytes(&in, 1, &span), RN_ELIMIT);
    in = reader("626161", NULL);
    assert_int_equal(rn_cbor_get_text(&in, 1, &span), RN_ELIMIT);
    in = reader("01", NULL);
    assert_int_equal(rn_cbor_get_bool(&in, &b), RN_EFORMAT);
    in = reader("820000", NULL);
    assert_int_equal(rn_cbor_get_array(&in, 1, &u), RN_ELIMIT);
    in = reader("a10000", NULL);
    assert_int_equal(rn_cbor_get_array(&in, 9, &u), RN_EFORMAT);
    in = reader("a10000", NULL);
    assert_int_equal(rn_cbor_get_map(&in, 0, &u), RN_ELIMIT);
}

static void an_error_stays(void **state)
{
    (void)state;
    struct rn_err err;
    struct rn_cbor_in in = reader("60010203", &err);
    uint64_t value = 7;
    struct rn_cbor_item item;
    assert_int_equal(rn_cbor_get_uint(&in, 9, &value), RN_EFORMAT);
    assert_int_equal(rn_cbor_get_uint(&in, 9, &value), RN_EFORMAT);
    assert_int_equal(rn_cbor_next(&in, &item), RN_EFORMAT);
    assert_int_equal(rn_cbor_skip(&in), RN_EFORMAT);
    assert_int_equal(rn_cbor_fail(&in, RN_ELIMIT, "later"), RN_EFORMAT);
    assert_int_equal(rn_cbor_end(&in), RN_EFORMAT);
    assert_int_equal(value, 7);
    assert_string_equal(err.text, "byte 0: expected an unsigned integer");
}

static void accepts_heads_that_are_longer_than_needed(void **state)
{
    (void)state;
    struct rn_cbor_in in = reader("9b00000000000000021b00000000000000053800", NULL);
    uint64_t items, u;
    int64_t i;
    assert_int_equal(rn_cbor_get_array(&in, 9, &items), RN_OK);
    assert_int_equal(rn_cbor_get_uint(&in, 9, &u), RN_OK);
    assert_int_equal(rn_cbor_get_int(&in, &i), RN_OK);
    assert_int_equal(rn_cbor_end(&in), RN_OK);
    assert_true(items == 2 && u == 5 && i == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_integers_with_the_shortest_head),
        cmocka_unit_test(writes_floats_as_the_shortest_that_keeps_the_value),
        cmocka_unit_test(reads_every_half_and_writes_it_back_as_a_half),
        cmocka_unit_test(writes_strings_containers_tags_and_simple_values),
        cmocka_unit_test(reads_nested_containers_and_knows_the_end),
        cmocka_unit_test(refuses_what_is_not_accepted),
        cmocka_unit_test(typed_reads_refuse_other_types_and_what_is_over_the_maximum),
        cmocka_unit_test(an_error_stays),
        cmocka_unit_test(accepts_heads_that_are_longer_than_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
