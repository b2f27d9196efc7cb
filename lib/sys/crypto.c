// See runnel/crypto.h. The only file that includes OpenSSL.
#include <runnel/crypto.h>

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/random.h>

int rn_random(void *out, size_t len, struct rn_err *err)
{
    uint8_t *to = out;
    while (len > 0) {
        ssize_t got = getrandom(to, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rn_fail_errno(err, "random numbers from the kernel");
        to += got;
        len -= (size_t)got;
    }
    return RN_OK;
}

int rn_random_id(uint64_t *out, struct rn_err *err)
{
    uint64_t id = 0;
    while (id == 0) {
        int rc = rn_random(&id, sizeof id, err);
        if (rc < 0)
            return rc;
        id &= INT64_MAX;
    }
    *out = id;
    return RN_OK;
}

void rn_sha256(uint8_t out[RN_SHA256_BYTES], const void *bytes, size_t len)
{
    // Fails only without memory for its small context. Going on with a wrong name for content
    // would merge what differs, so that is the end.
    if (!EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL))
        abort();
}

int rn_ed25519_keygen(uint8_t seed[32], uint8_t public_key[32], struct rn_err *err)
{
    int rc = rn_random(seed, RN_ED25519_KEY_BYTES, err);
    return rc < 0 ? rc : rn_ed25519_public(public_key, seed, err);
}

int rn_ed25519_public(uint8_t public_key[32], const uint8_t seed[32], struct rn_err *err)
{
    size_t len = RN_ED25519_KEY_BYTES;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, len);
    int ok = key && EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1;
    EVP_PKEY_free(key);
    return ok ? RN_OK : rn_fail(err, RN_ENOMEM, "Ed25519: no public key");
}

int rn_ed25519_sign(uint8_t sig[64], const uint8_t seed[32], struct rn_span message,
                    struct rn_err *err)
{
    size_t len = RN_ED25519_SIG_BYTES;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, RN_ED25519_KEY_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = key && context && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
             EVP_DigestSign(context, sig, &len, message.data, message.len) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return ok ? RN_OK : rn_fail(err, RN_ENOMEM, "Ed25519: signing failed");
}

int rn_ed25519_verify(const uint8_t sig[64], const uint8_t public_key[32], struct rn_span message,
                      struct rn_err *err)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, RN_ED25519_KEY_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ERR_clear_error();
    bool ready = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1;
    bool good = ready && EVP_DigestVerify(context, sig, RN_ED25519_SIG_BYTES, message.data,
                                          message.len) == 1;
    bool judged = ready && ERR_peek_error() == 0; // a signature that is wrong leaves no error
    ERR_clear_error();
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    if (!good && !judged)
        return rn_fail(err, RN_ENOMEM, "no memory to verify an Ed25519 signature");
    return good ? RN_OK : rn_fail(err, RN_EACCESS, "the Ed25519 signature does not verify");
}

int rn_secret_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
