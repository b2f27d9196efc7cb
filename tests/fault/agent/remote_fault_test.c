// Remote configuration on a disk that refuses and in memory that runs out: nothing is tried that
// cannot be kept, and the way back is always open.
#include "agent/remote_io.h"
#include "tests/support/faults.h"
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/log.h>
#include <runnel/wire.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct device {
    char folder[64], key_file[128];
    struct state *state;
    struct remote_io *io;
    int64_t now;
    uint64_t running, report_n;
    enum rn_config_state reported;
};

static int check(void *arg, const struct config *config, struct rn_err *err)
{
    (void)arg;
    (void)config;
    (void)err;
    return RN_OK;
}

static int apply(void *arg, struct config *config, struct rn_err *err)
{
    (void)arg;
    (void)err;
    config_free(config);
    return RN_OK;
}

static void running(void *arg, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    (void)hash;
    ((struct device *)arg)->running = revision;
}

static int report(void *arg, struct rn_span payload)
{
    struct device *dev = arg;
    struct rn_report message;
    struct rn_err err;
    if (rn_report_decode(payload, &message, &err) < 0)
        fail_msg("%s", err.text);
    dev->report_n = message.n;
    dev->reported = message.state;
    return RN_OK;
}

static void flush(void *arg)
{
    (void)arg;
}

static uint64_t install(void *arg)
{
    (void)arg;
    return 77;
}

static int try_start(struct device *dev, struct rn_err *err)
{
    char key[160];
    snprintf(key, sizeof key, "config_key_file=%s", dev->key_file);
    const char *const sets[] = {"device=d1", "config.allow_unsigned=true",
                                "config.deadline_connected=4s", "config.deadline_unconnected=4s",
                                key};
    const struct remote_io_hooks hooks = {.arg = dev,
                                          .check = check,
                                          .apply = apply,
                                          .running = running,
                                          .report = report,
                                          .flush = flush,
                                          .install = install};
    struct config *local = NULL;
    bool renewed;
    dev->running = 0;
    int rc = config_new(&local, collect_table, collect_table_count, false, err);
    if (rc >= 0)
        rc = config_load(local, "/dev/null", sets, 5, err);
    if (rc >= 0)
        rc = config_finish(local, err);
    if (rc >= 0)
        rc = state_open(&dev->state, dev->folder, &renewed, err);
    if (rc >= 0)
        rc = remote_io_new(&dev->io, local, dev->state, &hooks, 1000, err);
    config_free(local);
    if (rc >= 0)
        remote_io_start(dev->io, dev->now);
    return rc;
}

static void start(struct device *dev)
{
    struct rn_err err = {.text = ""};
    if (try_start(dev, &err) < 0)
        fail_msg("%s", err.text);
}

static void stop(struct device *dev)
{
    remote_io_free(dev->io);
    state_close(dev->state);
    dev->io = NULL;
    dev->state = NULL;
}

static void connect_device(struct device *dev)
{
    remote_io_connection(dev->io, true, dev->now);
    remote_io_received(dev->io, dev->now);
}

static void pass(struct device *dev, int64_t ms)
{
    for (int64_t end = dev->now + ms; dev->now < end;) {
        dev->now += 500;
        remote_io_tick(dev->io, dev->now);
    }
}

// The message is made before faults are armed.
static void offer(struct device *dev, const struct rn_buf *message)
{
    remote_io_offer(dev->io, rn_buf_span(message), 0, dev->now);
}

static void make_message(struct rn_buf *out, uint64_t revision)
{
    static struct rn_config_doc doc;
    struct rn_buf payload;
    rn_buf_init(&payload, 4096);
    rn_buf_init(out, 4096);
    doc = (struct rn_config_doc){.dev = rn_span_text("d1"), .revision = revision, .nitems = 1};
    doc.items[0] = (struct rn_config_item){rn_span_text("step"), rn_span_text("5s")};
    assert_int_equal(rn_config_encode(&doc, &payload), 0);
    assert_int_equal(rn_signed_encode(&(struct rn_signed){.payload = rn_buf_span(&payload)}, out),
                     0);
    rn_buf_release(&payload);
}

// Signed, with the key that the device has pinned.
static void make_signed(struct device *dev, struct rn_buf *out, uint64_t revision)
{
    uint8_t seed[32], key[32], signature[RN_ED25519_SIG_BYTES];
    char hex[65];
    struct rn_buf unsigned_one, tbs;
    struct rn_signed msg;
    assert_int_equal(rn_ed25519_keygen(seed, key, NULL), RN_OK);
    rn_hex(hex, key, sizeof key);
    snprintf(dev->key_file, sizeof dev->key_file, "%s/key", dev->folder);
    assert_int_equal(rn_file_replace(dev->key_file, rn_span_text(hex), 0600, NULL), RN_OK);
    make_message(&unsigned_one, revision);
    assert_int_equal(rn_signed_decode(rn_buf_span(&unsigned_one), &msg, NULL), RN_OK);
    rn_buf_init(&tbs, 4096);
    assert_int_equal(rn_signed_tbs(msg.payload, &tbs), RN_OK);
    assert_int_equal(rn_ed25519_sign(signature, seed, rn_buf_span(&tbs), NULL), RN_OK);
    msg.signature = (struct rn_span){signature, sizeof signature};
    rn_buf_init(out, 4096);
    assert_int_equal(rn_signed_encode(&msg, out), RN_OK);
    rn_buf_release(&unsigned_one);
    rn_buf_release(&tbs);
}

static int set_up(void **state)
{
    struct device *dev = calloc(1, sizeof *dev);
    rn_log_level_set(RN_LOG_ERROR);
    snprintf(dev->folder, sizeof dev->folder, "%s/runnel-remote-fault-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(dev->folder));
    *state = dev;
    return 0;
}

static int tear_down(void **state)
{
    struct device *dev = *state;
    struct rn_err err;
    stop(dev);
    assert_int_equal(rn_remove_tree(dev->folder, &err), 0);
    free(dev);
    return 0;
}

static void what_cannot_be_kept_is_not_tried_and_may_come_again(void **state)
{
    struct device *dev = *state;
    struct rn_buf message;
    make_message(&message, 3);
    start(dev);
    connect_device(dev);
    faults_arm(FAULT_WRITE | FAULT_SYNC | FAULT_STICKY, 1, ENOSPC);
    offer(dev, &message);
    assert_int_equal(dev->running, 0);
    assert_int_equal(dev->reported, RN_CONFIG_REJECTED);
    assert_true(faults_disarm());
    offer(dev, &message);
    remote_io_received(dev->io, dev->now);
    assert_int_equal(dev->running, 3);
    remote_io_report_seen(dev->io, dev->report_n, dev->now);
    assert_int_equal(dev->reported, RN_CONFIG_CONFIRMED);
    rn_buf_release(&message);
}

static void the_way_back_needs_no_disk(void **state)
{
    struct device *dev = *state;
    struct rn_buf message;
    make_message(&message, 3);
    start(dev);
    connect_device(dev);
    offer(dev, &message);
    assert_int_equal(dev->running, 3);
    remote_io_connection(dev->io, false, dev->now);
    faults_arm(FAULT_WRITE | FAULT_SYNC | FAULT_STICKY, 1, ENOSPC);
    pass(dev, 5000);
    assert_int_equal(dev->running, 0);
    assert_true(faults_disarm());
    pass(dev, 500); // now it is kept
    stop(dev);
    start(dev);
    assert_int_equal(dev->running, 0);
    rn_buf_release(&message);
}

// A whole life; whatever fails, it goes on.
static int live(struct device *dev, const struct rn_buf *message, struct rn_err *err)
{
    int rc = try_start(dev, err);
    if (rc < 0)
        return rc;
    connect_device(dev);
    offer(dev, message);
    remote_io_report_seen(dev->io, dev->report_n, dev->now);
    pass(dev, 1000);
    return RN_OK;
}

static void every_single_fault_leaves_a_device_that_can_be_configured(void **state)
{
    struct device *dev = *state;
    static const unsigned kinds[] = {FAULT_ALLOC, FAULT_WRITE, FAULT_SYNC};
    struct rn_buf first, second;
    make_message(&first, 1);
    make_message(&second, 2);
    for (size_t k = 0; k < 3; k++) {
        bool hit = true;
        for (long n = 1; hit; n++) {
            struct rn_err err = {.text = ""};
            dev->now = 1000;
            faults_arm(kinds[k], n, kinds[k] == FAULT_ALLOC ? ENOMEM : EIO);
            (void)!live(dev, &first, &err);
            hit = faults_disarm();
            stop(dev);
            start(dev);
            connect_device(dev);
            offer(dev, &second);
            remote_io_report_seen(dev->io, dev->report_n, dev->now);
            if (dev->running != 2 || dev->reported != RN_CONFIG_CONFIRMED)
                fail_msg("kind %u, fault %ld: runs %llu, says %d", kinds[k], n,
                         (unsigned long long)dev->running, (int)dev->reported);
            stop(dev);
            assert_int_equal(rn_remove_tree(dev->folder, &err), 0);
        }
    }
    rn_buf_release(&first);
    rn_buf_release(&second);
    struct rn_err err;
    assert_int_equal(rn_mkdirs(dev->folder, 0700, &err), 0);
}

// Whatever fails while a document is looked at or put in force: it is not the document's fault.
static void a_document_that_met_a_fault_is_taken_when_it_comes_again(void **state)
{
    struct device *dev = *state;
    static const struct {
        unsigned what;
        int error;
    } kinds[] = {{FAULT_ALLOC, ENOMEM}, {FAULT_OPEN, EMFILE}, {FAULT_READ, ENOMEM}};
    struct rn_buf message;
    make_signed(dev, &message, 3);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool hit = true;
        for (long n = 1; hit; n++) {
            start(dev);
            connect_device(dev);
            dev->reported = RN_CONFIG_NONE;
            faults_arm(kinds[k].what, n, kinds[k].error);
            offer(dev, &message);
            hit = faults_disarm();
            enum rn_config_state first = dev->reported;
            remote_io_connection(dev->io, false, dev->now);
            connect_device(dev);
            offer(dev, &message);
            remote_io_report_seen(dev->io, dev->report_n, dev->now);
            if (dev->running != 3 || dev->reported != RN_CONFIG_CONFIRMED ||
                (first == RN_CONFIG_REJECTED && kinds[k].what != FAULT_ALLOC))
                fail_msg("kind %u, fault %ld: runs %llu, said %d, then %d", kinds[k].what, n,
                         (unsigned long long)dev->running, (int)first, (int)dev->reported);
            stop(dev);
            char path[128];
            snprintf(path, sizeof path, "%s/state.db", dev->folder);
            assert_int_equal(unlink(path), 0);
        }
    }
    rn_buf_release(&message);
}

static void what_cannot_be_read_at_the_start_is_not_written_over(void **state)
{
    struct device *dev = *state;
    static const unsigned kinds[] = {FAULT_ALLOC, FAULT_SQL, FAULT_READ};
    struct rn_buf message, older;
    make_message(&older, 2);
    make_message(&message, 3);
    start(dev);
    connect_device(dev);
    offer(dev, &message);
    remote_io_report_seen(dev->io, dev->report_n, dev->now);
    assert_int_equal(dev->reported, RN_CONFIG_CONFIRMED);
    stop(dev);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool hit = true;
        for (long n = 1; hit; n += 1 + n / 8) {
            struct rn_err err = {.text = ""};
            faults_arm(kinds[k], n, ENOMEM);
            int rc = try_start(dev, &err);
            hit = faults_disarm();
            if (rc >= 0) {
                connect_device(dev);
                offer(dev, &older);
            }
            stop(dev);
            start(dev);
            if (dev->running != 3)
                fail_msg("kind %u, fault %ld: %llu runs afterwards", kinds[k], n,
                         (unsigned long long)dev->running);
            stop(dev);
        }
    }
    start(dev);
    rn_buf_release(&message);
    rn_buf_release(&older);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_kept_is_not_tried_and_may_come_again),
        TEST(the_way_back_needs_no_disk),
        TEST(every_single_fault_leaves_a_device_that_can_be_configured),
        TEST(a_document_that_met_a_fault_is_taken_when_it_comes_again),
        TEST(what_cannot_be_read_at_the_start_is_not_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
