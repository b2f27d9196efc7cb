// See remote_saved.h. The saved state is a CBOR array whose first item is its version.
#include "agent/remote_saved.h"

#include <runnel/cbor.h>
#include <runnel/crypto.h>

#include <string.h>

enum { VERSION = 1, ITEMS = 18, SAVED_MAX = 1024 };

static const char *const name_saved = "remote", *const name_candidate = "remote.candidate",
                         *const name_good = "remote.good";

void remote_docs_init(struct remote_docs *docs)
{
    *docs = (struct remote_docs){0};
    rn_buf_init(&docs->candidate, RN_CONFIG_MAX_BYTES);
    rn_buf_init(&docs->good, RN_CONFIG_MAX_BYTES);
}

void remote_docs_release(struct remote_docs *docs)
{
    rn_buf_release(&docs->candidate);
    rn_buf_release(&docs->good);
}

// ---- encoding -----------------------------------------------------------------------------------

static void put_name(struct rn_buf *out, const struct remote_name *name)
{
    rn_cbor_put_uint(out, name->revision);
    rn_cbor_put_bytes(out, (struct rn_span){name->hash, sizeof name->hash});
}

static void encode(struct rn_buf *out, const struct remote_saved *s)
{
    rn_cbor_put_array(out, ITEMS);
    rn_cbor_put_uint(out, VERSION);
    rn_cbor_put_uint(out, s->phase);
    put_name(out, &s->good);
    put_name(out, &s->candidate);
    put_name(out, &s->condemned);
    put_name(out, &s->judged);
    rn_cbor_put_uint(out, (uint64_t)s->connected_ms);
    rn_cbor_put_uint(out, (uint64_t)s->unconnected_ms);
    rn_cbor_put_uint(out, (uint64_t)s->restarts << 32 | s->failures);
    rn_cbor_put_uint(out, (s->good_had_connection ? 1 : 0) | (s->moves ? 2 : 0));
    rn_cbor_put_uint(out, s->verdict);
    rn_cbor_put_bytes(out, rn_span_text(s->path));
    rn_cbor_put_bytes(out, rn_span_text(s->reason));
    rn_cbor_put_uint(out, s->report_n);
}

static int get_name(struct rn_cbor_in *in, struct remote_name *name)
{
    struct rn_span hash;
    int rc = rn_cbor_get_uint(in, RN_ID_MAX, &name->revision);
    if (rc >= 0)
        rc = rn_cbor_get_bytes(in, RN_HASH_BYTES, &hash);
    if (rc >= 0 && hash.len != RN_HASH_BYTES)
        rc = rn_cbor_fail(in, RN_EFORMAT, "not a hash");
    if (rc >= 0)
        memcpy(name->hash, hash.data, RN_HASH_BYTES);
    return rc;
}

static void get_number(struct rn_cbor_in *in, uint64_t max, uint64_t *value)
{
    *value = 0;
    (void)!rn_cbor_get_uint(in, max, value); // the reader remembers the first error
}

static void get_words(struct rn_cbor_in *in, char out[REMOTE_TEXT])
{
    struct rn_span text;
    if (rn_cbor_get_bytes(in, REMOTE_TEXT - 1, &text) < 0)
        return;
    if (text.len)
        memcpy(out, text.data, text.len);
    out[text.len] = 0;
}

static int decode(struct rn_span bytes, struct remote_saved *s, struct rn_err *err)
{
    struct rn_cbor_in in;
    uint64_t items, version, phase, connected, unconnected, counts, flags, verdict;
    struct remote_name *const names[] = {&s->good, &s->candidate, &s->condemned, &s->judged};
    rn_cbor_in_init(&in, bytes, err);
    int rc = rn_cbor_get_array(&in, ITEMS, &items);
    if (rc >= 0 && items != ITEMS)
        rc = rn_cbor_fail(&in, RN_EFORMAT, "not the items of this version");
    if (rc < 0)
        return rc;
    get_number(&in, VERSION, &version);
    get_number(&in, REMOTE_UNDETERMINED, &phase);
    for (int i = 0; rc >= 0 && i < 4; i++)
        rc = get_name(&in, names[i]);
    get_number(&in, RN_ID_MAX, &connected);
    get_number(&in, RN_ID_MAX, &unconnected);
    get_number(&in, UINT64_MAX, &counts);
    get_number(&in, 3, &flags);
    get_number(&in, RN_CONFIG_CONFLICT, &verdict);
    get_words(&in, s->path);
    get_words(&in, s->reason);
    get_number(&in, RN_ID_MAX, &s->report_n);
    s->phase = (enum remote_phase)phase;
    s->connected_ms = (int64_t)connected;
    s->unconnected_ms = (int64_t)unconnected;
    s->restarts = (uint32_t)(counts >> 32);
    s->failures = (uint32_t)counts;
    s->good_had_connection = flags & 1;
    s->moves = flags & 2;
    s->verdict = (enum rn_config_state)verdict;
    return rn_cbor_end(&in);
}

// ---- state.db -----------------------------------------------------------------------------------

static bool is_document(const struct rn_buf *bytes, const struct remote_name *name)
{
    uint8_t hash[RN_SHA256_BYTES];
    rn_sha256(hash, bytes->data, bytes->len);
    return bytes->len > 0 && memcmp(hash, name->hash, sizeof hash) == 0;
}

static int get(struct state *state, const char *name, struct rn_buf *out, struct rn_err *err)
{
    rn_buf_clear(out);
    int rc = state_get(state, name, out, err);
    return rc == RN_ENOENT ? RN_OK : rc;
}

static int damaged(struct remote_docs *docs, struct rn_err *err)
{
    uint64_t report_n = docs->saved.report_n;
    docs->saved = (struct remote_saved){.report_n = report_n};
    rn_buf_clear(&docs->candidate);
    rn_buf_clear(&docs->good);
    return rn_fail(err, RN_ECORRUPT, "the kept remote configuration is damaged");
}

int remote_docs_read(struct remote_docs *docs, struct state *state, struct rn_err *err)
{
    uint8_t storage[SAVED_MAX];
    struct rn_buf bytes;
    const struct remote_saved *s = &docs->saved;
    rn_buf_init_fixed(&bytes, storage, sizeof storage);
    docs->saved = (struct remote_saved){0};
    int rc = get(state, name_saved, &bytes, err);
    if (rc < 0 || bytes.len == 0)
        return rc;
    if (decode(rn_buf_span(&bytes), &docs->saved, err) < 0) {
        docs->saved.report_n = 0;
        return damaged(docs, err);
    }
    rc = get(state, name_candidate, &docs->candidate, err);
    if (rc >= 0)
        rc = get(state, name_good, &docs->good, err);
    if (rc == RN_ELIMIT)
        return damaged(docs, err);
    if (rc < 0)
        return rc;
    if ((s->good.revision && !is_document(&docs->good, &s->good)) ||
        (s->phase != REMOTE_IDLE && !is_document(&docs->candidate, &s->candidate)))
        return damaged(docs, err);
    return 1;
}

int remote_docs_write(const struct remote_docs *docs, struct state *state, bool candidate,
                      bool good, struct rn_err *err)
{
    uint8_t storage[SAVED_MAX];
    struct rn_buf bytes;
    struct state_value values[3];
    size_t count = 0;
    rn_buf_init_fixed(&bytes, storage, sizeof storage);
    encode(&bytes, &docs->saved);
    if (!rn_buf_ok(&bytes))
        return rn_fail(err, RN_ELIMIT, "the state of the remote configuration is too large");
    values[count++] = (struct state_value){name_saved, rn_buf_span(&bytes)};
    if (candidate)
        values[count++] = (struct state_value){name_candidate, rn_buf_span(&docs->candidate)};
    if (good)
        values[count++] = (struct state_value){name_good, rn_buf_span(&docs->good)};
    return state_put_all(state, values, count, err);
}
