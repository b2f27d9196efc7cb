// Messages: members come out where they went in, limits of writing, and RFC 9052's structures. That
// the bytes are right is what wire_vectors_test shows.
#include <runnel/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint8_t storage[RN_MESSAGE_MAX];
static struct rn_err err;

static struct rn_buf fresh(void)
{
    struct rn_buf out;
    rn_buf_init_fixed(&out, storage, sizeof storage);
    return out;
}

static void a_status_keeps_every_member(void **state)
{
    (void)state;
    struct rn_status in = {.presence = RN_PRESENCE_STOPPED,
                           .install = 1,
                           .epoch = 2,
                           .n = 3,
                           .time_ms = 4,
                           .interval_ms = 5,
                           .next_seq = 6,
                           .fingerprint = 7,
                           .config_revision = 8,
                           .config_hash = {9},
                           .has_ledger = true,
                           .ledger = {10, 11, 12, 13, 14, 15, 16},
                           .version = rn_span_text("0.1.0"),
                           .reason = rn_span_text("SIGTERM"),
                           .away_ms = 17};
    struct rn_status back;
    struct rn_buf out = fresh();
    assert_int_equal(rn_status_encode(&in, &out), RN_OK);
    assert_int_equal(rn_status_decode(rn_buf_span(&out), &back, &err), RN_OK);
    assert_true(rn_span_eq(in.version, back.version) && rn_span_eq(in.reason, back.reason));
    assert_true(back.presence == RN_PRESENCE_STOPPED && back.has_ledger);
    assert_memory_equal(&in.install, &back.install, 8 * sizeof(uint64_t));
    assert_memory_equal(in.config_hash, back.config_hash, RN_HASH_BYTES);
    assert_memory_equal(&in.ledger, &back.ledger, sizeof in.ledger);
    assert_int_equal(back.away_ms, 17);
}

static void a_will_is_small(void **state)
{
    (void)state;
    struct rn_status will = {.install = RN_ID_MAX, .epoch = 5}, back;
    struct rn_buf out = fresh();
    assert_int_equal(rn_status_encode(&will, &out), RN_OK);
    assert_int_equal(out.len, 17);
    assert_int_equal(rn_status_decode(rn_buf_span(&out), &back, &err), RN_OK);
    assert_false(back.has_ledger);
}

static struct rn_ack full_ack(void)
{
    struct rn_ack ack = {.tag = 7,
                         .log_id = 8,
                         .time_ms = 9,
                         .nreceived = RN_ACK_MAX,
                         .ndurable = RN_ACK_MAX,
                         .nrefused = RN_ACK_MAX,
                         .nneed = RN_ACK_MAX,
                         .nconflict = RN_ACK_MAX};
    for (uint32_t i = 0; i < RN_ACK_MAX; i++) {
        ack.received[i] = (struct rn_range){10 * i + 1, 10 * i + 5};
        ack.conflict[i] = (struct rn_range){10 * i + 2, 10 * i + 2};
        ack.durable[i] =
            (struct rn_ack_durable){RN_ID_MAX - 127 + 2 * i, RN_ID_MAX - 126 + 2 * i, i};
        ack.refused[i] = (struct rn_ack_refused){i + 1, i + 1, RN_REFUSED_TIME};
        ack.need[i] = (struct rn_ack_need){RN_OBJECT_BASE, 65535 - i, i % 2};
    }
    return ack;
}

static void a_full_acknowledgement_keeps_every_range(void **state)
{
    (void)state;
    static struct rn_ack in, back;
    in = full_ack();
    in.has_hello = true;
    in.hello = (struct rn_hello){.install = 1, .epoch = 2, .duplicate = true, .fingerprint = 3};
    in.window = UINT32_MAX;
    in.hold_ms = 1;
    in.has_report = true;
    struct rn_buf out = fresh();
    assert_int_equal(rn_ack_encode(&in, &out), RN_OK);
    assert_int_equal(rn_ack_decode(rn_buf_span(&out), &back, &err), RN_OK);
    assert_memory_equal(in.received, back.received, sizeof in.received);
    assert_memory_equal(in.conflict, back.conflict, sizeof in.conflict);
    for (uint32_t i = 0; i < RN_ACK_MAX; i++) {
        assert_true(back.durable[i].first == in.durable[i].first &&
                    back.durable[i].last == in.durable[i].last && back.durable[i].crc == i);
        assert_true(back.refused[i].first == i + 1 && back.refused[i].last == i + 1 &&
                    back.refused[i].reason == RN_REFUSED_TIME);
        assert_true(back.need[i].kind == RN_OBJECT_BASE && back.need[i].id == 65535 - i &&
                    back.need[i].object == (i % 2 == 1));
    }
    assert_true(back.has_hello && back.hello.duplicate && back.hello.fingerprint == 3);
    assert_true(back.has_report && back.report_n == 0);
    assert_true(back.window == UINT32_MAX && back.hold_ms == 1);
}

static void too_many_ranges_are_not_written(void **state)
{
    (void)state;
    static struct rn_ack ack;
    ack = full_ack();
    struct rn_buf out = fresh();
    ack.nneed = RN_ACK_MAX + 1;
    assert_int_equal(rn_ack_encode(&ack, &out), RN_ELIMIT);
}

static void a_buffer_that_is_too_small_is_an_error(void **state)
{
    (void)state;
    struct rn_status will = {.install = 1, .epoch = 5};
    struct rn_buf out;
    rn_buf_init_fixed(&out, storage, 5);
    assert_int_equal(rn_status_encode(&will, &out), RN_ELIMIT);
}

static struct rn_config_doc doc, doc_back;

static void a_configuration_is_written_in_one_order(void **state)
{
    (void)state;
    doc = (struct rn_config_doc){.dev = rn_span_text("pump-07"), .revision = 3, .nitems = 3};
    doc.items[0] = (struct rn_config_item){rn_span_text("mqtt.keepalive"), rn_span_text("60s")};
    doc.items[1] = (struct rn_config_item){rn_span_text("b"), rn_span_text("")};
    doc.items[2] = (struct rn_config_item){rn_span_text("a"), rn_span_text("[x, y]")};
    struct rn_buf out = fresh();
    assert_int_equal(rn_config_encode(&doc, &out), RN_OK);
    assert_int_equal(rn_config_decode(rn_buf_span(&out), &doc_back, &err), RN_OK);
    assert_int_equal(doc_back.nitems, 3);
    assert_true(rn_span_eq_text(doc_back.items[0].key, "a"));
    assert_true(rn_span_eq_text(doc_back.items[1].key, "b"));
    assert_true(rn_span_eq_text(doc_back.items[2].value, "60s"));
    assert_int_equal(doc_back.expires_ms, 0);
}

static void a_configuration_that_breaks_the_rules_is_not_written(void **state)
{
    (void)state;
    static char keys[RN_CONFIG_MAX_KEYS][8];
    static char value[200];
    memset(value, 'x', sizeof value - 1);
    struct rn_buf out = fresh();
    doc = (struct rn_config_doc){.dev = rn_span_text("a"), .revision = 1, .nitems = 2};
    doc.items[0].key = doc.items[1].key = rn_span_text("same");
    assert_int_equal(rn_config_encode(&doc, &out), RN_EINVAL);
    doc.nitems = 1;
    assert_int_equal(rn_config_encode(&doc, &out), RN_OK);
    doc.revision = 0;
    assert_int_equal(rn_config_encode(&doc, &out), RN_EINVAL);
    doc.revision = 1;
    doc.dev = rn_span_text("A");
    assert_int_equal(rn_config_encode(&doc, &out), RN_EINVAL);
    doc.dev = rn_span_text("a");
    doc.nitems = RN_CONFIG_MAX_KEYS + 1;
    assert_int_equal(rn_config_encode(&doc, &out), RN_ELIMIT);
    doc.nitems = RN_CONFIG_MAX_KEYS;
    for (uint32_t i = 0; i < doc.nitems; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", 999 - i);
        doc.items[i] = (struct rn_config_item){rn_span_text(keys[i]), rn_span_text("v")};
    }
    out = fresh();
    assert_int_equal(rn_config_encode(&doc, &out), RN_OK);
    assert_int_equal(rn_config_decode(rn_buf_span(&out), &doc_back, &err), RN_OK);
    for (uint32_t i = 0; i < doc.nitems; i++)
        doc.items[i].value = rn_span_text(value);
    assert_int_equal(rn_config_encode(&doc, &out), RN_ELIMIT); // over 16,384 bytes
}

static void the_bytes_to_be_signed_are_those_of_rfc_9052(void **state)
{
    (void)state;
    struct rn_buf out = fresh();
    char hex[64];
    assert_int_equal(rn_signed_tbs(rn_span_text("hi"), &out), RN_OK);
    rn_hex(hex, out.data, out.len);
    assert_string_equal(hex, "846a5369676e61747572653143a1012740426869");
}

static void a_signature_has_64_bytes_or_none(void **state)
{
    (void)state;
    struct rn_signed msg = {rn_span_text("doc"), {storage + 1000, 63}}, back;
    struct rn_buf out = fresh();
    assert_int_equal(rn_signed_encode(&msg, &out), RN_EINVAL);
    msg.signature.len = 64;
    assert_int_equal(rn_signed_encode(&msg, &out), RN_OK);
    assert_int_equal(rn_signed_decode(rn_buf_span(&out), &back, &err), RN_OK);
    assert_true(rn_span_eq_text(back.payload, "doc") && back.signature.len == 64);
    msg.signature.len = 0;
    out = fresh();
    assert_int_equal(rn_signed_encode(&msg, &out), RN_OK);
    assert_int_equal(rn_signed_decode(rn_buf_span(&out), &back, &err), RN_OK);
    assert_int_equal(back.signature.len, 0);
}

static void a_message_over_the_maximum_is_refused_unread(void **state)
{
    (void)state;
    struct rn_status status;
    struct rn_span huge = {storage, RN_MESSAGE_MAX + 1}; // its bytes are not looked at
    assert_int_equal(rn_status_decode(huge, &status, &err), RN_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_keeps_every_member),
        cmocka_unit_test(a_will_is_small),
        cmocka_unit_test(a_full_acknowledgement_keeps_every_range),
        cmocka_unit_test(too_many_ranges_are_not_written),
        cmocka_unit_test(a_buffer_that_is_too_small_is_an_error),
        cmocka_unit_test(a_configuration_is_written_in_one_order),
        cmocka_unit_test(a_configuration_that_breaks_the_rules_is_not_written),
        cmocka_unit_test(the_bytes_to_be_signed_are_those_of_rfc_9052),
        cmocka_unit_test(a_signature_has_64_bytes_or_none),
        cmocka_unit_test(a_message_over_the_maximum_is_refused_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
