// Desired configurations: versions, signatures, history, reports, and what survives a restart.
#include "bridge/desired.h"

#include <runnel/crypto.h>
#include <runnel/file.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct fixture {
    char folder[64];
    struct desired *desired;
};

static void reopen(struct fixture *fix)
{
    struct rn_err err;
    desired_close(fix->desired);
    if (desired_open(&fix->desired, fix->folder, &err) < 0)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct fixture *fix = calloc(1, sizeof *fix);
    snprintf(fix->folder, sizeof fix->folder, "%s/runnel-desired-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(fix->folder));
    reopen(fix);
    *state = fix;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    desired_close(fix->desired);
    assert_int_equal(rn_remove_tree(fix->folder, &err), 0);
    free(fix);
    return 0;
}

static int put(struct fixture *fix, const char *dev, const char *key, const char *value,
               uint64_t base, uint64_t *revision, struct rn_err *err)
{
    struct rn_config_item items[2] = {
        {rn_span_text(key), rn_span_text(value)},
        {rn_span_text("batch.interval"), rn_span_text("1m")},
    };
    return desired_put(fix->desired, dev, items, 2, base, "ann", "why not", 1000, revision, err);
}

static void gives_out_revisions_in_order_and_keeps_them(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    assert_int_equal(put(fix, "d1", "step", "5s", 0, &revision, &err), 0);
    assert_int_equal(revision, 1);
    assert_int_equal(put(fix, "d1", "step", "6s", UINT64_MAX, &revision, &err), 0);
    assert_int_equal(revision, 2);
    assert_int_equal(put(fix, "d1", "step", "7s", 1, &revision, &err), RN_ECONFLICT);
    reopen(fix);
    struct desired_state known;
    assert_int_equal(desired_state(fix->desired, "d1", &known, &err), 0);
    assert_int_equal(known.revision, 2);
    assert_int_equal(desired_state(fix->desired, "d2", &known, &err), 0);
    assert_int_equal(known.revision, 0);
}

static void signs_what_the_public_key_verifies(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    uint8_t key[RN_ED25519_KEY_BYTES], storage[RN_CONFIG_MAX_BYTES + 256], tbs_storage[17000];
    struct rn_buf message, tbs;
    rn_buf_init_fixed(&message, storage, sizeof storage);
    rn_buf_init_fixed(&tbs, tbs_storage, sizeof tbs_storage);
    assert_int_equal(put(fix, "d1", "step", "5s", 0, &revision, &err), 0);
    reopen(fix); // the key is kept
    assert_int_equal(desired_message(fix->desired, "d1", 0, &message, &err), 0);
    struct rn_signed envelope;
    assert_int_equal(rn_signed_decode(rn_buf_span(&message), &envelope, &err), 0);
    assert_int_equal(rn_signed_tbs(envelope.payload, &tbs), 0);
    assert_int_equal(rn_unhex(key, sizeof key, desired_public_key(fix->desired)), 0);
    assert_int_equal(rn_ed25519_verify(envelope.signature.data, key, rn_buf_span(&tbs), &err), 0);
    static struct rn_config_doc doc;
    assert_int_equal(rn_config_decode(envelope.payload, &doc, &err), 0);
    assert_true(rn_span_eq_text(doc.dev, "d1"));
    assert_int_equal(doc.nitems, 2);
    assert_true(rn_span_eq_text(doc.items[0].key, "step")); // sorted as CBOR does: by length
    assert_int_equal(desired_message(fix->desired, "d9", 0, &message, &err), RN_ENOENT);
}

static void the_secret_key_is_for_its_owner_only(void **state)
{
    struct fixture *fix = *state;
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s/config.key", fix->folder);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void refuses_a_key_that_stands_twice(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    assert_int_equal(put(fix, "d1", "batch.interval", "5s", 0, &revision, &err), RN_EINVAL);
    assert_non_null(strstr(err.text, "batch.interval"));
}

struct listing {
    int count;
    uint64_t revision[4];
};

static void list(void *arg, const struct desired_version *version)
{
    struct listing *listing = arg;
    assert_string_equal(version->author, "ann");
    assert_int_equal(version->doc->nitems, 2);
    listing->revision[listing->count++] = version->revision;
}

static void lists_the_history_newest_first(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    for (int i = 0; i < 3; i++)
        assert_int_equal(put(fix, "d1", "step", "5s", UINT64_MAX, &revision, &err), 0);
    struct listing listing = {0};
    assert_int_equal(desired_history(fix->desired, "d1", 2, list, &listing, &err), 0);
    assert_int_equal(listing.count, 2);
    assert_int_equal(listing.revision[0], 3);
    assert_int_equal(listing.revision[1], 2);
}

static void the_next_revision_is_above_what_the_device_reported(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    struct rn_report report = {.install = 7,
                               .n = 5,
                               .running = 40,
                               .offered = 41,
                               .state = RN_CONFIG_REJECTED,
                               .path = rn_span_text("step"),
                               .reason = rn_span_text("expected a duration")};
    assert_int_equal(desired_report(fix->desired, "d1", &report, 2000, &err), 0);
    report.n = 4; // older: ignored
    report.offered = 1;
    assert_int_equal(desired_report(fix->desired, "d1", &report, 3000, &err), 0);
    struct desired_state known;
    assert_int_equal(desired_state(fix->desired, "d1", &known, &err), 0);
    assert_int_equal(known.offered, 41);
    assert_int_equal(known.state, RN_CONFIG_REJECTED);
    assert_string_equal(known.path, "step");
    assert_int_equal(put(fix, "d1", "step", "5s", 0, &revision, &err), 0);
    assert_int_equal(revision, 42);
}

static void a_forged_document_that_a_device_rejected_uses_up_no_revisions(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    const struct rn_report report = {.install = 7,
                                     .n = 1,
                                     .running = 4,
                                     .offered = RN_ID_MAX,
                                     .state = RN_CONFIG_REJECTED,
                                     .path = rn_span_text("signature")};
    assert_int_equal(desired_report(fix->desired, "d1", &report, 5000, &err), 0);
    assert_int_equal(put(fix, "d1", "step", "5s", 0, &revision, &err), 0);
    assert_int_equal(revision, 5);
}

static void collect(void *arg, const char *dev)
{
    strcat(arg, dev);
    strcat(arg, " ");
}

static void names_the_devices_that_have_not_answered_their_newest_document(void **state)
{
    struct fixture *fix = *state;
    struct rn_err err;
    uint64_t revision;
    char names[64] = "";
    static const char *const devices[] = {"d1", "d2", "d3", "d1"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(put(fix, devices[i], "step", "5s", UINT64_MAX, &revision, &err), 0);
    struct rn_report report = {.install = 7, .n = 1, .offered = 1, .state = RN_CONFIG_REJECTED};
    assert_int_equal(desired_report(fix->desired, "d1", &report, 5000, &err),
                     0); // of its older one
    assert_int_equal(desired_report(fix->desired, "d2", &report, 5000, &err), 0);
    assert_int_equal(desired_unanswered(fix->desired, 10, collect, names, &err), 0);
    assert_non_null(strstr(names, "d1 "));
    assert_non_null(strstr(names, "d3 "));
    assert_int_equal(strlen(names), 6);
    names[0] = 0;
    assert_int_equal(desired_unanswered(fix->desired, 1, collect, names, &err), 0);
    assert_int_equal(strlen(names), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_out_revisions_in_order_and_keeps_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(signs_what_the_public_key_verifies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_secret_key_is_for_its_owner_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_a_key_that_stands_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_the_history_newest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            names_the_devices_that_have_not_answered_their_newest_document, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_forged_document_that_a_device_rejected_uses_up_no_revisions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_next_revision_is_above_what_the_device_reported, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
