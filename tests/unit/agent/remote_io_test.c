// The shell of remote configuration against a real state.db and real signatures: what is refused
// and why, what is put in force, and that a kill between any two actions loses nothing.
#include "agent/pace.h"
#include "agent/remote_io.h"
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/log.h>
#include <runnel/wire.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define UTC INT64_C(1800000000000)

// A device around the shell. What hooks were told lies here; the rest is in the folder.
struct device {
    char folder[64], key_file[100];
    uint8_t seed[32];
    struct state *state;
    struct remote_io *io;
    int64_t now, step_ms, interval_ms;
    uint64_t running, reports, report_n;
    struct rn_report report; // texts below
    char path[REMOTE_TEXT], reason[REMOTE_TEXT];
    bool connected, refuse, no_memory;
    int asked;          // for the document, once more
    int calls, kill_at; // the process ends before the kill_at-th call of a hook
};

static void call(struct device *dev)
{
    if (++dev->calls == dev->kill_at)
        (void)!raise(SIGKILL);
}

static int check(void *arg, const struct config *config, struct rn_err *err)
{
    call(arg);
    if (((struct device *)arg)->no_memory)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    if (config->settings.mqtt_addresses.count > 1)
        return rn_fail(err, RN_EINVAL, "mqtt.addresses: more than one");
    return RN_OK;
}

static int apply(void *arg, struct config *config, struct rn_err *err)
{
    struct device *dev = arg;
    call(dev);
    if (dev->refuse)
        return rn_fail(err, RN_EINVAL, "step: not now");
    dev->step_ms = config->settings.step_ms;
    dev->interval_ms = pace_interval(&config->settings);
    config_free(config);
    return RN_OK;
}

static void running(void *arg, uint64_t revision, const uint8_t hash[RN_HASH_BYTES])
{
    struct device *dev = arg;
    (void)hash;
    call(dev);
    dev->running = revision;
}

static void keep_text(char out[REMOTE_TEXT], struct rn_span text)
{
    snprintf(out, REMOTE_TEXT, "%.*s", (int)text.len, (const char *)text.data);
}

static int report(void *arg, struct rn_span payload)
{
    struct device *dev = arg;
    struct rn_err err;
    call(dev);
    if (!dev->connected)
        return RN_ESTATE;
    assert_int_equal(rn_report_decode(payload, &dev->report, &err), 0);
    keep_text(dev->path, dev->report.path);
    keep_text(dev->reason, dev->report.reason);
    dev->report_n = dev->report.n;
    dev->reports++;
    return RN_OK;
}

static void flush(void *arg)
{
    call(arg);
}

static uint64_t install(void *arg)
{
    (void)arg;
    return 77;
}

static void again(void *arg)
{
    ((struct device *)arg)->asked++;
}

// ---- life of a device ---------------------------------------------------------------------------

static struct config *local_config(const struct device *dev, const char *more)
{
    struct config *config;
    struct rn_err err;
    char key[160];
    snprintf(key, sizeof key, "config_key_file=%s", dev->key_file);
    const char *const sets[] = {"device=d1", key, "config.deadline_connected=4s",
                                "config.deadline_unconnected=8s", more ? more : "step=10s"};
    if (config_new(&config, collect_table, collect_table_count, true, &err) < 0 ||
        config_load(config, "/dev/null", sets, 5, &err) < 0 || config_finish(config, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

static void start_with(struct device *dev, const char *more)
{
    const struct remote_io_hooks hooks = {.arg = dev,
                                          .check = check,
                                          .apply = apply,
                                          .running = running,
                                          .report = report,
                                          .flush = flush,
                                          .install = install,
                                          .again = again};
    struct config *local = local_config(dev, more);
    struct rn_err err;
    bool renewed;
    dev->step_ms = local->settings.step_ms;
    dev->running = 0;
    if (state_open(&dev->state, dev->folder, &renewed, &err) < 0 ||
        remote_io_new(&dev->io, local, dev->state, &hooks, UTC, &err) < 0)
        fail_msg("%s", err.text);
    config_free(local);
    remote_io_start(dev->io, dev->now);
}

static void start(struct device *dev)
{
    start_with(dev, NULL);
}

static void stop(struct device *dev)
{
    remote_io_free(dev->io);
    state_close(dev->state);
    dev->io = NULL;
    dev->state = NULL;
    dev->connected = false;
}

static void set_connected(struct device *dev, bool connected)
{
    dev->connected = connected;
    remote_io_connection(dev->io, connected, dev->now);
    if (connected)
        remote_io_received(dev->io, dev->now);
}

static void pass(struct device *dev, int64_t ms)
{
    for (int64_t end = dev->now + ms; dev->now < end;) {
        dev->now += 500;
        remote_io_tick(dev->io, dev->now);
    }
}

static void write_key(struct device *dev)
{
    uint8_t public_key[32];
    char hex[66];
    struct rn_err err;
    assert_int_equal(rn_ed25519_keygen(dev->seed, public_key, &err), 0);
    rn_hex(hex, public_key, sizeof public_key);
    strcat(hex, "\n");
    assert_int_equal(rn_file_replace(dev->key_file, rn_span_text(hex), 0644, &err), 0);
}

static int set_up(void **state)
{
    struct device *dev = calloc(1, sizeof *dev);
    rn_log_level_set(RN_LOG_ERROR);
    snprintf(dev->folder, sizeof dev->folder, "%s/runnel-remote-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(dev->folder));
    snprintf(dev->key_file, sizeof dev->key_file, "%s/config.pub", dev->folder);
    dev->now = 1000;
    write_key(dev);
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

// ---- documents ----------------------------------------------------------------------------------

struct doc {
    const char *dev, *key, *value, *key2, *value2;
    uint64_t revision;
    int64_t expires_ms;
    enum { SIGNED, UNSIGNED, WRONG_KEY, WRONG_SIGNATURE } how;
};

static void sign(const struct device *dev, const struct doc *doc, struct rn_span payload,
                 struct rn_buf *out)
{
    static const uint8_t other_seed[32] = {1, 2, 3};
    uint8_t signature[64];
    struct rn_signed msg = {.payload = payload};
    struct rn_err err;
    struct rn_buf tbs;
    rn_buf_init(&tbs, 20000);
    assert_int_equal(rn_signed_tbs(payload, &tbs), 0);
    if (doc->how != UNSIGNED) {
        const uint8_t *seed = doc->how == WRONG_KEY ? other_seed : dev->seed;
        assert_int_equal(rn_ed25519_sign(signature, seed, rn_buf_span(&tbs), &err), 0);
        signature[0] ^= doc->how == WRONG_SIGNATURE;
        msg.signature = (struct rn_span){signature, sizeof signature};
    }
    assert_int_equal(rn_signed_encode(&msg, out), 0);
    rn_buf_release(&tbs);
}

static void offer(struct device *dev, const struct doc *doc)
{
    static struct rn_config_doc full;
    struct rn_buf payload, message;
    rn_buf_init(&payload, 20000);
    rn_buf_init(&message, 20000);
    full = (struct rn_config_doc){.dev = rn_span_text(doc->dev ? doc->dev : "d1"),
                                  .revision = doc->revision,
                                  .expires_ms = (uint64_t)doc->expires_ms};
    if (doc->key)
        full.items[full.nitems++] =
            (struct rn_config_item){rn_span_text(doc->key), rn_span_text(doc->value)};
    if (doc->key2)
        full.items[full.nitems++] =
            (struct rn_config_item){rn_span_text(doc->key2), rn_span_text(doc->value2)};
    assert_int_equal(rn_config_encode(&full, &payload), 0);
    sign(dev, doc, rn_buf_span(&payload), &message);
    remote_io_offer(dev->io, rn_buf_span(&message), UTC, dev->now);
    rn_buf_release(&payload);
    rn_buf_release(&message);
}

static void seen(struct device *dev)
{
    remote_io_report_seen(dev->io, dev->report_n, dev->now);
}

static const struct doc good = {.revision = 3, .key = "step", .value = "5s"};
static const struct doc cutting = {
    .revision = 4, .key = "step", .value = "2s", .key2 = "mqtt.addresses", .value2 = "[mqtt://x]"};

// ---- what is refused ----------------------------------------------------------------------------

struct refusal {
    struct doc doc;
    const char *path, *words;
};

static void refuses_with_path_and_reason(void **state)
{
    struct device *dev = *state;
    static const struct refusal cases[] = {
        {{.revision = 1, .how = UNSIGNED}, "signature", "not signed"},
        {{.revision = 1, .how = WRONG_KEY}, "signature", "does not verify"},
        {{.revision = 1, .how = WRONG_SIGNATURE}, "signature", "does not verify"},
        {{.revision = 1, .dev = "d2"}, "device", "another device"},
        {{.revision = 1, .expires_ms = UTC}, "expires", "expired"},
        {{.revision = 1, .key = "stap", .value = "5s"}, "stap", "step"},
        {{.revision = 1, .key = "Step\n", .value = "5s"}, "Step?", "key"},
        {{.revision = 1, .key = "step", .value = "5"}, "step", "expected a duration"},
        {{.revision = 1, .key = "step", .value = "1ms"}, "step", "between"},
        {{.revision = 1, .key = "device", .value = "x"}, "device", "local configuration only"},
        {{.revision = 1, .key = "data", .value = "/"}, "data", "local configuration only"},
        {{.revision = 1, .key = "topic_prefix", .value = "x"}, "topic_prefix", "local"},
        {{.revision = 1, .key = "mqtt.username", .value = "x"}, "mqtt.username", "local"},
        {{.revision = 1, .key = "mqtt.ca_file", .value = "x"}, "mqtt.ca_file", "local"},
        {{.revision = 1, .key = "mqtt.password_file", .value = "/etc/shadow"},
         "mqtt.password_file",
         ""},
        {{.revision = 1, .key = "config_key_file", .value = "x"}, "config_key_file", "local"},
        {{.revision = 1, .key = "config.allow_paths", .value = "yes"}, "config.allow_paths", ""},
        {{.revision = 1, .key = "sysfs", .value = "x"}, "sysfs", "local configuration only"},
        {{.revision = 1, .key = "collect.cpu.period", .value = "15s"},
         "collect.cpu.period",
         "multiple"},
        {{.revision = 1, .key = "batch.interval", .value = "15s"}, "batch.interval", "multiple"},
        {{.revision = 1, .key = "mqtt.addresses", .value = "[]"}, "mqtt.addresses", "at least one"},
        {{.revision = 1, .key = "mqtt.addresses", .value = "[mqtt://a, mqtt://b]"},
         "mqtt.addresses",
         "more than one"},
    };
    start(dev);
    set_connected(dev, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        offer(dev, &cases[i].doc);
        assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
        assert_string_equal(dev->path, cases[i].path);
        if (!strstr(dev->reason, cases[i].words) || !dev->reason[0])
            fail_msg("case %zu: %s", i, dev->reason);
        assert_int_equal(dev->report.offered, 1);
        assert_int_equal(dev->running, 0);
        assert_int_equal(dev->step_ms, 10000);
        dev->now += 10000; // not a flood
    }
}

static void without_a_trusted_clock_nothing_has_expired(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    offer(dev, &(struct doc){.revision = 1, .expires_ms = UTC + 1000});
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
}

static void takes_unsigned_ones_only_where_the_local_file_says_so(void **state)
{
    struct device *dev = *state;
    start_with(dev, "config.allow_unsigned=true");
    set_connected(dev, true);
    offer(dev, &(struct doc){.revision = 1, .key = "step", .value = "5s", .how = UNSIGNED});
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
    assert_int_equal(dev->step_ms, 5000);
    // A wrong signature is none: what is signed must be right.
    offer(dev, &(struct doc){.revision = 2, .how = WRONG_KEY});
    assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
    assert_string_equal(dev->path, "signature");
}

static void paths_are_local_matters_unless_the_local_file_says_otherwise(void **state)
{
    struct device *dev = *state;
    start_with(dev, "config.allow_paths=true");
    set_connected(dev, true);
    // The folder of the data and the key are nobody else's matter at all.
    offer(dev, &(struct doc){.revision = 1, .key = "data", .value = "/x"});
    assert_string_equal(dev->path, "data");
    offer(dev, &(struct doc){.revision = 2, .key = "config_key_file", .value = "/x"});
    assert_string_equal(dev->path, "config_key_file");
    offer(dev, &(struct doc){.revision = 3, .key = "sysfs", .value = "/x"});
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
}

// On a connection that lives for weeks nothing brings it by itself.
static void a_document_that_was_put_off_is_asked_for_until_there_is_a_verdict(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    pass(dev, 60000);
    assert_int_equal(dev->asked, 0);
    dev->no_memory = true;
    offer(dev, &good);
    assert_int_equal(dev->reports, 0);
    pass(dev, 4500);
    assert_int_equal(dev->asked, 0);
    pass(dev, 500);
    assert_int_equal(dev->asked, 1);
    offer(dev, &good); // it came; the next question is 10 s after the first, then 20, 40 ..
    pass(dev, 9500);
    assert_int_equal(dev->asked, 1);
    pass(dev, 500);
    assert_int_equal(dev->asked, 2);
    pass(dev, 24 * 3600000);
    assert_in_range(dev->asked, 24, 24 + 10);
    int asked = dev->asked;
    dev->no_memory = false;
    offer(dev, &good);
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
    seen(dev);
    pass(dev, 2 * 3600000);
    assert_int_equal(dev->asked, asked);
}

static void with_a_new_connection_it_comes_unasked(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    dev->no_memory = true;
    offer(dev, &good);
    set_connected(dev, false);
    set_connected(dev, true);
    pass(dev, 60000);
    assert_int_equal(dev->asked, 0);
    offer(dev, &good);
    pass(dev, 5000);
    assert_int_equal(dev->asked, 1);
}

static void a_flood_of_documents_is_cut_off(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    for (uint64_t i = 1; i <= 100; i++)
        offer(dev, &(struct doc){.revision = i, .how = UNSIGNED});
    assert_in_range(dev->reports, 1, 20);
    dev->now += 60000;
    offer(dev, &good);
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
}

static void garbage_is_not_answered(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    static const char *const texts[] = {"", "x", "\x84", "\x84\x43\xa1\x01\x27\xa0\x41\x00\x40"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        remote_io_offer(dev->io, rn_span_text(texts[i]), UTC, dev->now);
    assert_int_equal(dev->reports, 0);
}

// ---- what is put in force -----------------------------------------------------------------------

static void puts_in_force_reports_confirms_and_keeps(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    offer(dev, &good);
    assert_int_equal(dev->step_ms, 5000);
    assert_int_equal(dev->running, 3);
    assert_int_equal(dev->report.state, RN_CONFIG_PROBATION);
    assert_int_equal(dev->report.running, 3);
    seen(dev);
    assert_int_equal(dev->report.state, RN_CONFIG_CONFIRMED);
    stop(dev);
    start(dev);
    assert_int_equal(dev->step_ms, 5000);
    assert_int_equal(dev->running, 3);
    struct remote_seen kept;
    struct config *config = local_config(dev, NULL);
    struct rn_err err;
    assert_int_equal(remote_io_inspect(dev->folder, &kept, &config, &err), 0);
    assert_int_equal(kept.running.revision, 3);
    assert_int_equal(kept.verdict, RN_CONFIG_CONFIRMED);
    assert_int_equal(config->settings.step_ms, 5000);
    config_free(config);
}

static void rolls_back_in_time_and_says_why(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    offer(dev, &good);
    seen(dev);
    offer(dev, &cutting);
    assert_int_equal(dev->step_ms, 2000);
    set_connected(dev, false);
    pass(dev, 7500);
    assert_int_equal(dev->running, 4);
    pass(dev, 1000);
    assert_int_equal(dev->running, 3);
    assert_int_equal(dev->step_ms, 5000);
    set_connected(dev, true);
    assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
    assert_int_equal(dev->report.offered, 4);
    assert_int_equal(dev->report.running, 3);
    assert_non_null(strstr(dev->reason, "no connection"));
}

static void a_document_that_the_agent_refuses_is_rejected_with_its_words(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    dev->refuse = true;
    offer(dev, &good);
    assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
    assert_string_equal(dev->path, "step");
    assert_string_equal(dev->reason, "not now");
    assert_int_equal(dev->running, 0);
}

static void a_reload_keeps_the_document_and_a_broken_one_changes_nothing(void **state)
{
    struct device *dev = *state;
    struct rn_err err;
    start(dev);
    set_connected(dev, true);
    offer(dev, &good);
    seen(dev);
    struct config *local = local_config(dev, "batch.interval=120s");
    assert_int_equal(remote_io_reload(dev->io, local, dev->now, &err), 0);
    assert_int_equal(dev->interval_ms, 120000);
    assert_int_equal(dev->step_ms, 5000);
    // 7 s is fine for the local file alone and not with this document's step.
    local = local_config(dev, "step=1s");
    local->settings.batch_interval_ms = 7000;
    assert_true(remote_io_reload(dev->io, local, dev->now, &err) < 0);
    assert_non_null(strstr(err.text, "r3"));
    config_free(local);
    assert_int_equal(dev->interval_ms, 120000);
}

static void one_that_no_longer_fits_the_local_files_is_told_and_taken_up_again(void **state)
{
    struct device *dev = *state;
    struct rn_err err;
    start(dev);
    set_connected(dev, true);
    offer(dev, &(struct doc){.revision = 3,
                             .key = "step",
                             .value = "7s",
                             .key2 = "batch.interval",
                             .value2 = "70s"});
    seen(dev);
    stop(dev);
    start_with(dev, "collect.cpu.period=10s"); // no multiple of the document's step
    set_connected(dev, true);
    assert_int_equal(dev->running, 0);
    assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
    assert_string_equal(dev->path, "collect.cpu.period");
    struct config *local = local_config(dev, NULL);
    assert_int_equal(remote_io_reload(dev->io, local, dev->now, &err), 0);
    assert_int_equal(dev->running, 3);
    assert_int_equal(dev->report.state, RN_CONFIG_CONFIRMED);
}

// ---- what is kept -------------------------------------------------------------------------------

static void a_lost_state_never_uses_report_numbers_again(void **state)
{
    struct device *dev = *state;
    start(dev);
    set_connected(dev, true);
    offer(dev, &good);
    assert_true(dev->report_n > (uint64_t)UTC);
}

static void a_damaged_entry_is_forgotten_and_offered_again(void **state)
{
    struct device *dev = *state;
    struct rn_err err;
    static const char *const names[] = {"remote", "remote.good"};
    for (int i = 0; i < 2; i++) {
        start(dev);
        set_connected(dev, true);
        offer(dev, &good);
        seen(dev);
        assert_int_equal(state_put(dev->state, names[i], rn_span_text("junk"), &err), 0);
        stop(dev);
        start(dev);
        assert_int_equal(dev->running, 0);
        set_connected(dev, true);
        offer(dev, &good);
        assert_int_equal(dev->running, 3);
        seen(dev);
        assert_int_equal(dev->report.state, RN_CONFIG_CONFIRMED);
        stop(dev);
    }
    start(dev);
}

static void without_a_state_every_document_is_refused(void **state)
{
    struct device *dev = *state;
    start(dev);
    remote_io_free(dev->io);
    const struct remote_io_hooks hooks = {.arg = dev,
                                          .check = check,
                                          .apply = apply,
                                          .running = running,
                                          .report = report,
                                          .flush = flush,
                                          .install = install};
    struct config *local = local_config(dev, NULL);
    struct rn_err err;
    assert_int_equal(remote_io_new(&dev->io, local, NULL, &hooks, UTC, &err), 0);
    config_free(local);
    remote_io_start(dev->io, dev->now);
    set_connected(dev, true);
    offer(dev, &good);
    assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
    assert_string_equal(dev->path, "data");
    assert_int_equal(dev->running, 0);
}

// ---- kills --------------------------------------------------------------------------------------

static void script_good(struct device *dev)
{
    start(dev);
    set_connected(dev, true);
    offer(dev, &good);
    seen(dev);
}

static void script_cut_off(struct device *dev)
{
    start(dev);
    set_connected(dev, true);
    offer(dev, &cutting);
    set_connected(dev, false);
    pass(dev, 9000);
    set_connected(dev, true);
}

// Runs the script in a process that ends before the n-th call. False: it came to its end.
static bool killed_at(const struct device *dev, void (*script)(struct device *), int n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct device own = *dev;
        own.kill_at = n;
        own.calls = 0;
        script(&own);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void begin_anew(struct device *dev)
{
    char path[100];
    static const char *const parts[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%.64s/state.db%s", dev->folder, parts[i]);
        unlink(path);
    }
    dev->report = (struct rn_report){0};
    dev->report_n = dev->reports = 0;
}

static void a_kill_between_any_two_actions_does_not_cost_a_good_document(void **state)
{
    struct device *dev = *state;
    int n = 1;
    for (; killed_at(dev, script_good, n); n++) {
        start(dev);
        set_connected(dev, true);
        offer(dev, &good);
        assert_int_equal(dev->running, 3);
        assert_int_equal(dev->step_ms, 5000);
        seen(dev);
        assert_int_equal(dev->report.state, RN_CONFIG_CONFIRMED);
        stop(dev);
        begin_anew(dev);
    }
    assert_in_range(n, 6, 100);
}

static void a_kill_between_any_two_actions_does_not_keep_a_device_cut_off(void **state)
{
    struct device *dev = *state;
    int n = 1;
    for (; killed_at(dev, script_cut_off, n); n++) {
        start(dev);
        if (dev->running == 0) // not yet or no longer: it could connect
            set_connected(dev, true);
        pass(dev, 9000);
        assert_int_equal(dev->running, 0);
        assert_int_equal(dev->step_ms, 10000);
        set_connected(dev, true);
        if (dev->report.offered != 4) { // it was killed before the document was kept
            offer(dev, &cutting);
            set_connected(dev, false);
            pass(dev, 9000);
            set_connected(dev, true);
        }
        assert_int_equal(dev->report.state, RN_CONFIG_REJECTED);
        assert_int_equal(dev->running, 0);
        offer(dev, &cutting);
        assert_int_equal(dev->running, 0);
        stop(dev);
        begin_anew(dev);
    }
    assert_in_range(n, 8, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_with_path_and_reason),
        TEST(without_a_trusted_clock_nothing_has_expired),
        TEST(takes_unsigned_ones_only_where_the_local_file_says_so),
        TEST(paths_are_local_matters_unless_the_local_file_says_otherwise),
        TEST(a_document_that_was_put_off_is_asked_for_until_there_is_a_verdict),
        TEST(with_a_new_connection_it_comes_unasked),
        TEST(a_flood_of_documents_is_cut_off),
        TEST(garbage_is_not_answered),
        TEST(puts_in_force_reports_confirms_and_keeps),
        TEST(rolls_back_in_time_and_says_why),
        TEST(a_document_that_the_agent_refuses_is_rejected_with_its_words),
        TEST(a_reload_keeps_the_document_and_a_broken_one_changes_nothing),
        TEST(one_that_no_longer_fits_the_local_files_is_told_and_taken_up_again),
        TEST(a_lost_state_never_uses_report_numbers_again),
        TEST(a_damaged_entry_is_forgotten_and_offered_again),
        TEST(without_a_state_every_document_is_refused),
        TEST(a_kill_between_any_two_actions_does_not_cost_a_good_document),
        TEST(a_kill_between_any_two_actions_does_not_keep_a_device_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
