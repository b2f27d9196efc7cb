// See remote_doc.h.
#include "agent/remote_doc.h"

#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_FILE_MAX = 256 };

// Both may quote the document. They are cut, kept and sent: plain characters only, so that a cut
// never leaves half of one.
static void put_plain(char out[REMOTE_TEXT], const char *text, size_t len)
{
    size_t n = 0;
    for (; n < len && n < REMOTE_TEXT - 1 && text[n]; n++)
        out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    out[n] = 0;
}

static int fault(struct remote_fault *out, const char *path, const char *reason)
{
    put_plain(out->path, path, strlen(path));
    put_plain(out->reason, reason, strlen(reason));
    return RN_EACCESS;
}

void remote_fault_set(struct remote_fault *out, const struct rn_err *err)
{
    size_t n = strspn(err->text, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    bool key = n > 0 && strncmp(err->text + n, ": ", 2) == 0;
    const char *words = err->text + (key ? n + 2 : 0);
    put_plain(out->path, err->text, key ? n : 0);
    put_plain(out->reason, words, strlen(words));
}

bool remote_doc_passing(int code)
{
    return code == RN_ENOMEM || code == RN_EAGAIN;
}

// ---- signature ----------------------------------------------------------------------------------

static int read_key(const char *path, uint8_t key[RN_ED25519_KEY_BYTES], struct rn_err *err)
{
    char text[KEY_FILE_MAX + 1];
    struct rn_buf buf;
    rn_buf_init_fixed(&buf, text, KEY_FILE_MAX);
    int rc = rn_file_read(path, &buf, err);
    if (rc < 0)
        return rc;
    text[buf.len] = 0;
    text[strcspn(text, " \t\r\n")] = 0;
    if (rn_unhex(key, RN_ED25519_KEY_BYTES, text) < 0)
        return rn_fail(err, RN_EFORMAT, "%s: expected 64 hex digits", path);
    return RN_OK;
}

static int verify(const struct rn_signed *msg, const char *key_file, struct rn_err *err)
{
    uint8_t key[RN_ED25519_KEY_BYTES];
    struct rn_buf tbs;
    int rc = read_key(key_file, key, err);
    if (rc < 0)
        return rc;
    rn_buf_init(&tbs, RN_CONFIG_MAX_BYTES + 64);
    rc = rn_signed_tbs(msg->payload, &tbs);
    if (rc >= 0)
        rc = rn_ed25519_verify(msg->signature.data, key, rn_buf_span(&tbs), err);
    rn_buf_release(&tbs);
    return rc;
}

static int check_signature(const struct rn_signed *msg, const struct agent_settings *local,
                           struct remote_fault *out, struct rn_err *why)
{
    struct rn_err err = {.text = ""};
    if (msg->signature.len == 0 && local->config_allow_unsigned)
        return RN_OK;
    if (msg->signature.len == 0)
        return fault(out, "signature", "not signed, and config.allow_unsigned is false here");
    if (!local->config_key_file[0])
        return local->config_allow_unsigned
                   ? RN_OK
                   : fault(out, "signature",
                           "config_key_file is not set here: nothing is accepted");
    int rc = verify(msg, local->config_key_file, &err);
    if (remote_doc_passing(rc))
        return rn_fail(why, rc, "its signature cannot be checked now: %.100s", err.text);
    if (rc == RN_EACCESS && err.text[0] == 0)
        snprintf(err.text, sizeof err.text, "it does not verify");
    if (rc < 0) {
        char words[REMOTE_TEXT];
        snprintf(words, sizeof words, "not signed with the key of config_key_file: %.100s",
                 err.text);
        return fault(out, "signature", words);
    }
    return RN_OK;
}

// ---- the document -------------------------------------------------------------------------------

static int decode(struct rn_span payload, struct rn_config_doc **out, struct rn_err *err)
{
    struct rn_config_doc *doc = malloc(sizeof *doc);
    if (!doc)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    int rc = rn_config_decode(payload, doc, err);
    if (rc < 0) {
        free(doc);
        return rc;
    }
    *out = doc;
    return RN_OK;
}

int remote_doc_open(struct rn_span message, const struct agent_settings *local, int64_t utc_ms,
                    struct rn_span *payload, struct remote_name *name, struct remote_fault *out,
                    struct rn_err *err)
{
    struct rn_signed msg;
    struct rn_config_doc *doc;
    int rc = rn_signed_decode(message, &msg, err);
    if (rc >= 0)
        rc = decode(msg.payload, &doc, err);
    if (rc < 0)
        return rc == RN_ENOMEM ? rc : RN_EFORMAT;
    *payload = msg.payload;
    name->revision = doc->revision;
    rn_sha256(name->hash, msg.payload.data, msg.payload.len);
    *out = (struct remote_fault){0};
    rc = check_signature(&msg, local, out, err);
    if (rc >= 0 && !rn_span_eq_text(doc->dev, local->device))
        rc = fault(out, "device", "this document is for another device");
    if (rc >= 0 && doc->expires_ms != 0 && utc_ms > 0 && (uint64_t)utc_ms >= doc->expires_ms)
        rc = fault(out, "expires", "this document has expired");
    free(doc);
    return rc;
}

// One option as terminated texts; a NUL inside would hide what follows it.
static int set_item(struct config *config, const struct rn_config_item *item, const char *source,
                    struct rn_buf *text, struct rn_err *err)
{
    char key[RN_NAME_MAX + 1];
    if (item->key.len > RN_NAME_MAX || memchr(item->key.data, 0, item->key.len) ||
        (item->value.len && memchr(item->value.data, 0, item->value.len)))
        return rn_fail(err, RN_EINVAL, "a key or a value contains a NUL");
    memcpy(key, item->key.data, item->key.len);
    key[item->key.len] = 0;
    rn_buf_clear(text);
    rn_buf_append(text, item->value.data, item->value.len);
    const char *value = rn_buf_cstr(text);
    if (!rn_buf_ok(text))
        return rn_fail(err, RN_ENOMEM, "out of memory");
    return rn_conf_set(&config->conf, key, value, source, true, err);
}

static void blame(struct remote_fault *faulty, const struct rn_config_item *item,
                  const struct rn_err *err)
{
    const char *key = (const char *)item->key.data;
    size_t n = item->key.len;
    bool named = strncmp(err->text, key, n) == 0 && strncmp(err->text + n, ": ", 2) == 0;
    const char *words = err->text + (named ? n + 2 : 0);
    put_plain(faulty->path, key, n);
    put_plain(faulty->reason, words, strlen(words));
}

static int set_items(struct config *config, const struct rn_config_doc *doc,
                     struct remote_fault *faulty, struct rn_err *err)
{
    char source[40];
    struct rn_buf text;
    int rc = RN_OK;
    snprintf(source, sizeof source, "remote r%llu", (unsigned long long)doc->revision);
    rn_buf_init(&text, RN_CONFIG_MAX_BYTES + 1);
    for (uint32_t i = 0; rc >= 0 && i < doc->nitems; i++) {
        rc = set_item(config, &doc->items[i], source, &text, err);
        if (rc < 0)
            blame(faulty, &doc->items[i], err);
    }
    rn_buf_release(&text);
    if (rc >= 0 && (rc = config_finish(config, err)) < 0)
        remote_fault_set(faulty, err);
    return rc;
}

int remote_doc_config(struct rn_span payload, const struct config *local, struct config **out,
                      struct remote_fault *faulty, struct rn_err *err)
{
    struct rn_config_doc *doc = NULL;
    struct config *config = NULL;
    *faulty = (struct remote_fault){0};
    int rc = config_copy(&config, local, err);
    if (rc >= 0 && payload.data)
        rc = decode(payload, &doc, err);
    if (rc < 0)
        remote_fault_set(faulty, err);
    else if (doc)
        rc = set_items(config, doc, faulty, err);
    free(doc);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    *out = config;
    return RN_OK;
}
