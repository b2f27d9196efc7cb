// The small parts of sys: clocks, log lines, files, cryptography.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <runnel/clock.h>
#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// --- clocks ---------------------------------------------------------------------------------

static void times_print_as_rfc_3339(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(rn_clock_rfc3339(out, 0), "1970-01-01T00:00:00.000Z");
    assert_string_equal(rn_clock_rfc3339(out, 1795255200123), "2026-11-21T10:00:00.123Z");
    assert_string_equal(rn_clock_rfc3339(out, -1), "1969-12-31T23:59:59.999Z");
    assert_string_equal(rn_clock_rfc3339(out, 951782400000), "2000-02-29T00:00:00.000Z");
    assert_string_equal(rn_clock_rfc3339(out, INT64_MAX), "9223372036854775807");
    assert_string_equal(rn_clock_rfc3339(out, INT64_MIN), "-9223372036854775808");
}

static void the_boot_id_is_32_digits_and_stays(void **state)
{
    (void)state;
    char a[33], b[33];
    struct rn_err err;
    assert_int_equal(rn_clock_boot_id(a, &err), RN_OK);
    assert_int_equal(rn_clock_boot_id(b, &err), RN_OK);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_equal(a, b);
}

static void the_clocks_agree_with_each_other(void **state)
{
    (void)state;
    int64_t mono = rn_clock_mono_ms();
    assert_true(rn_clock_mono_ms() >= mono);
    assert_true(rn_clock_boot_ms() >= mono); // counts what mono counts, and suspend
    int64_t ns = rn_clock_utc_ns();
    assert_true(rn_clock_utc_ms() - ns / 1000000 < 10000);
}

// --- log ------------------------------------------------------------------------------------

struct capture {
    int saved, pipe[2];
    char text[8192];
};

static void capture_start(struct capture *c)
{
    assert_int_equal(pipe(c->pipe), 0);
    c->saved = dup(STDERR_FILENO);
    dup2(c->pipe[1], STDERR_FILENO);
    close(c->pipe[1]);
}

static void capture_stop(struct capture *c)
{
    dup2(c->saved, STDERR_FILENO); // closes the last writer, so that read ends
    close(c->saved);
    size_t len = 0;
    for (ssize_t got = 1; got > 0 && len < sizeof c->text - 1; len += (size_t)got) {
        got = read(c->pipe[0], c->text + len, sizeof c->text - 1 - len);
        assert_true(got >= 0);
    }
    c->text[len] = 0;
    close(c->pipe[0]);
}

static void a_line_is_logfmt_with_time_level_and_event(void **state)
{
    (void)state;
    struct capture c;
    capture_start(&c);
    rn_log(RN_LOG_WARN, "broker_unreachable", "address=%s n=%d", RN_Q("a b"), 3);
    rn_log(RN_LOG_DEBUG, "unseen", "a=1");
    capture_stop(&c);
    assert_memory_equal(c.text, "ts=2", 4);
    assert_string_equal(strchr(c.text, ' '),
                        " level=warn event=broker_unreachable address=\"a b\" n=3\n");
}

static void under_the_journal_a_line_begins_with_its_priority(void **state)
{
    (void)state;
    struct capture c;
    struct stat st;
    char stream[64];
    capture_start(&c);
    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    rn_log(RN_LOG_ERROR, "x", "a=1");
    setenv("JOURNAL_STREAM", "1:1", 1); // another program's journal
    rn_log(RN_LOG_ERROR, "x", "a=2");
    unsetenv("JOURNAL_STREAM");
    capture_stop(&c);
    assert_memory_equal(c.text, "<3>event=x a=1\nts=", 18);
}

static void hostile_values_cannot_forge_a_line_or_a_key(void **state)
{
    (void)state;
    assert_string_equal(RN_Q("plain:1883/x"), "plain:1883/x");
    assert_string_equal(RN_Q(""), "\"\"");
    assert_string_equal(RN_Q("a=b"), "\"a=b\"");
    assert_string_equal(RN_Q("a\"b\\c"), "\"a\\\"b\\\\c\"");
    assert_string_equal(RN_Q("x\nlevel=error"), "\"x\\nlevel=error\"");
    assert_string_equal(RN_Q("\x1b[2J\x7f"), "\"\\x1b[2J\\x7f\"");
    assert_string_equal(RN_Q("Größe"), "\"Größe\"");
    assert_string_equal(RN_Q("\xff\xc3"), "\"\\xff\\xc3\"");
    assert_string_equal(RN_Q("\xc2\x85"), "\"\\xc2\\x85\"");          // C1 next line
    assert_string_equal(RN_Q("\xe2\x80\xa8"), "\"\\xe2\\x80\\xa8\""); // line separator
    assert_string_equal(rn_log_quote_n("a\0b", 3), "\"a\\x00b\"");
    assert_string_equal(rn_log_quote(NULL), "\"\"");
    struct capture c;
    capture_start(&c);
    rn_log(RN_LOG_INFO, "x", "v=%s", "a\nts=1 level=error"); // a caller that forgot to quote
    capture_stop(&c);
    assert_ptr_equal(strchr(c.text, '\n'), c.text + strlen(c.text) - 1);
}

static void long_values_and_lines_are_cut(void **state)
{
    (void)state;
    char words[9000];
    memset(words, 'y', sizeof words - 1);
    words[sizeof words - 1] = 0;
    const char *quoted = RN_Q(words);
    size_t len = strlen(quoted);
    assert_in_range(len, 500, 511);
    assert_string_equal(quoted + len - 4, "…\"");
    struct capture c;
    capture_start(&c);
    rn_log(RN_LOG_INFO, "x", "v=%s", words);
    capture_stop(&c);
    len = strlen(c.text);
    assert_in_range(len, 4000, 4096);
    assert_int_equal(c.text[len - 1], '\n');
}

static void quotes_in_one_call_do_not_overwrite_each_other(void **state)
{
    (void)state;
    const char *one = RN_Q("1 1"), *two = RN_Q("2 2");
    assert_string_equal(one, "\"1 1\"");
    assert_string_equal(two, "\"2 2\"");
}

static void complaints_are_collapsed_and_the_recovery_is_told_once(void **state)
{
    (void)state;
    struct rn_complaint bad = {0};
    struct capture c;
    capture_start(&c);
    for (int64_t ms = 0; ms < 100; ms += 10)
        rn_complain(&bad, ms, 50, RN_LOG_WARN, "bad", "n=%d", (int)ms);
    rn_recovered(&bad, "good");
    rn_recovered(&bad, "good");
    capture_stop(&c);
    int lines = 0;
    for (const char *at = c.text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3);
    assert_non_null(strstr(c.text, "event=bad n=0\n"));
    assert_non_null(strstr(c.text, "event=bad n=50 repeated=4\n"));
    assert_non_null(strstr(c.text, "event=good suppressed=4\n"));
}

enum { THREADS = 4, LINES = 300 };

static void *log_many(void *arg)
{
    for (int i = 0; i < LINES; i++)
        rn_log(RN_LOG_INFO, "mixed", "thread=%s n=%d end=1", RN_Q(arg), i);
    return NULL;
}

static void lines_of_several_threads_never_mix(void **state)
{
    (void)state;
    static char names[THREADS][4] = {"a a", "b b", "c c", "d d"};
    pthread_t thread[THREADS];
    char path[] = "/tmp/runnel-log-XXXXXX", line[256];
    int fd = mkstemp(path), saved = dup(STDERR_FILENO), lines = 0;
    fcntl(fd, F_SETFL, O_APPEND);
    dup2(fd, STDERR_FILENO);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, log_many, names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    FILE *file = fdopen(fd, "r");
    assert_non_null(file);
    for (rewind(file); fgets(line, sizeof line, file); lines++) {
        assert_memory_equal(line, "ts=", 3);
        assert_non_null(strstr(line, " event=mixed thread=\""));
        assert_string_equal(line + strlen(line) - 7, " end=1\n");
    }
    fclose(file);
    unlink(path);
    assert_int_equal(lines, THREADS * LINES);
}

// --- files ----------------------------------------------------------------------------------

static int make_folder(void **state)
{
    char *folder = strdup("/tmp/runnel-file-XXXXXX");
    *state = folder;
    return folder && mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    int rc = rn_remove_tree(*state, NULL);
    free(*state);
    return rc;
}

static const char *in(void **state, const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, 256, "%s/%s", (const char *)*state, name);
    return out;
}

static void a_file_is_replaced_whole_with_its_mode(void **state)
{
    struct rn_err err;
    struct rn_buf buf;
    struct stat st;
    const char *path = in(state, "conf");
    rn_buf_init(&buf, 100);
    assert_int_equal(rn_file_replace(path, rn_span_text("old"), 0644, &err), RN_OK);
    assert_int_equal(rn_file_replace(path, rn_span_text("new text"), 0600, &err), RN_OK);
    assert_int_equal(rn_file_read(path, &buf, &err), RN_OK);
    assert_string_equal(rn_buf_cstr(&buf), "new text");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(access(in(state, "conf.tmp"), F_OK), -1);
    rn_buf_release(&buf);
}

static void a_file_that_is_too_large_or_absent_is_an_error(void **state)
{
    struct rn_err err;
    struct rn_buf buf;
    rn_buf_init(&buf, 3);
    assert_int_equal(rn_file_read(in(state, "none"), &buf, &err), RN_ENOENT);
    assert_int_equal(rn_file_replace(in(state, "f"), rn_span_text("123"), 0600, &err), RN_OK);
    assert_int_equal(rn_file_read(in(state, "f"), &buf, &err), RN_OK); // just fits
    rn_buf_clear(&buf);
    assert_int_equal(rn_file_replace(in(state, "f"), rn_span_text("1234"), 0600, &err), RN_OK);
    assert_int_equal(rn_file_read(in(state, "f"), &buf, &err), RN_ELIMIT);
    assert_int_equal(rn_file_read(*state, &buf, &err), RN_EIO); // a folder
    assert_int_equal(rn_file_replace(in(state, "no/f"), rn_span_text(""), 0600, &err), RN_ENOENT);
    rn_buf_release(&buf);
}

static void folders_are_made_and_removed_without_following_links(void **state)
{
    struct rn_err err;
    assert_int_equal(rn_mkdirs(in(state, "a/b/c/"), 0755, &err), RN_OK);
    assert_int_equal(rn_mkdirs(in(state, "a/b/c"), 0755, &err), RN_OK);
    assert_int_equal(rn_file_replace(in(state, "keep"), rn_span_text("k"), 0600, &err), RN_OK);
    assert_int_equal(rn_mkdirs(in(state, "keep/x"), 0755, &err), RN_EEXIST); // a file
    assert_int_equal(rn_mkdirs(in(state, "other"), 0755, &err), RN_OK);
    assert_int_equal(rn_file_replace(in(state, "other/f"), rn_span_text("k"), 0600, &err), RN_OK);
    assert_int_equal(symlink("../../other", in(state, "a/b/link")), 0);
    assert_int_equal(rn_file_replace(in(state, "a/b/c/f"), rn_span_text("f"), 0600, &err), RN_OK);
    assert_int_equal(rn_remove_tree(in(state, "a"), &err), RN_OK);
    assert_int_equal(access(in(state, "a"), F_OK), -1);
    assert_int_equal(access(in(state, "other/f"), F_OK), 0);
    assert_int_equal(rn_remove_tree(in(state, "a"), &err), RN_OK); // there is nothing left to do
}

static void names_come_sorted_and_bounded(void **state)
{
    struct rn_err err;
    char **names;
    int count;
    static const char *const files[] = {"b.yaml", "a.yaml", "c.txt", ".h.yaml", "10.yaml"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(rn_file_replace(in(state, files[i]), rn_span_text(""), 0600, &err), 0);
    assert_int_equal(rn_names_list(*state, ".yaml", 3, &names, &count, &err), RN_OK);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "10.yaml");
    assert_string_equal(names[1], "a.yaml");
    assert_string_equal(names[2], "b.yaml");
    rn_names_free(names, count);
    assert_int_equal(rn_names_list(*state, ".yaml", 2, &names, &count, &err), RN_ELIMIT);
    assert_int_equal(rn_names_list(in(state, "no"), ".yaml", 2, &names, &count, &err), RN_ENOENT);
    char out[8];
    assert_int_equal(rn_path_join(out, sizeof out, "abc", "def", &err), RN_OK);
    assert_string_equal(out, "abc/def");
    assert_int_equal(rn_path_join(out, sizeof out, "abcd", "def", &err), RN_ELIMIT);
}

// --- cryptography ---------------------------------------------------------------------------

static void sha256_matches_the_published_vectors(void **state)
{
    (void)state;
    uint8_t digest[32];
    char text[65];
    rn_sha256(digest, "abc", 3); // FIPS 180-4
    rn_hex(text, digest, 32);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    rn_sha256(digest, NULL, 0);
    rn_hex(text, digest, 32);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void ed25519_matches_rfc_8032(void **state)
{
    (void)state;
    // Section 7.1, test 2: one byte, 72.
    uint8_t seed[32], expected_key[32], expected_sig[64], key[32], sig[64];
    struct rn_err err;
    assert_int_equal(
        rn_unhex(seed, 32, "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"), 0);
    assert_int_equal(rn_unhex(expected_key, 32,
                              "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
                     0);
    assert_int_equal(rn_unhex(expected_sig, 64,
                              "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                              "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
                     0);
    struct rn_span message = {(const uint8_t *)"\x72", 1};
    assert_int_equal(rn_ed25519_public(key, seed, &err), RN_OK);
    assert_memory_equal(key, expected_key, 32);
    assert_int_equal(rn_ed25519_sign(sig, seed, message, &err), RN_OK);
    assert_memory_equal(sig, expected_sig, 64);
    assert_int_equal(rn_ed25519_verify(sig, key, message, &err), RN_OK);
}

static void a_changed_message_signature_or_key_does_not_verify(void **state)
{
    (void)state;
    uint8_t seed[32], key[32], sig[64];
    struct rn_err err;
    struct rn_span message = rn_span_text("document");
    assert_int_equal(rn_ed25519_keygen(seed, key, &err), RN_OK);
    assert_int_equal(rn_ed25519_sign(sig, seed, message, &err), RN_OK);
    assert_int_equal(rn_ed25519_verify(sig, key, message, &err), RN_OK);
    assert_int_equal(rn_ed25519_verify(sig, key, rn_span_text("documenT"), &err), RN_EACCESS);
    sig[10] ^= 1;
    assert_int_equal(rn_ed25519_verify(sig, key, message, &err), RN_EACCESS);
    sig[10] ^= 1;
    key[3] ^= 1;
    assert_int_equal(rn_ed25519_verify(sig, key, message, &err), RN_EACCESS);
}

static void random_ids_are_63_bits_and_differ(void **state)
{
    (void)state;
    uint64_t a = 0, b = 0;
    assert_int_equal(rn_random_id(&a, NULL), RN_OK);
    assert_int_equal(rn_random_id(&b, NULL), RN_OK);
    assert_true(a != 0 && a <= INT64_MAX && a != b);
    assert_true(rn_secret_equal("abc", "abc", 3));
    assert_false(rn_secret_equal("abc", "abd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_print_as_rfc_3339),
        cmocka_unit_test(the_boot_id_is_32_digits_and_stays),
        cmocka_unit_test(the_clocks_agree_with_each_other),
        cmocka_unit_test(a_line_is_logfmt_with_time_level_and_event),
        cmocka_unit_test(under_the_journal_a_line_begins_with_its_priority),
        cmocka_unit_test(hostile_values_cannot_forge_a_line_or_a_key),
        cmocka_unit_test(long_values_and_lines_are_cut),
        cmocka_unit_test(quotes_in_one_call_do_not_overwrite_each_other),
        cmocka_unit_test(complaints_are_collapsed_and_the_recovery_is_told_once),
        cmocka_unit_test(lines_of_several_threads_never_mix),
        cmocka_unit_test_setup_teardown(a_file_is_replaced_whole_with_its_mode, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_is_too_large_or_absent_is_an_error, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(folders_are_made_and_removed_without_following_links,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(names_come_sorted_and_bounded, make_folder, remove_folder),
        cmocka_unit_test(sha256_matches_the_published_vectors),
        cmocka_unit_test(ed25519_matches_rfc_8032),
        cmocka_unit_test(a_changed_message_signature_or_key_does_not_verify),
        cmocka_unit_test(random_ids_are_63_bits_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
