// Randomness, SHA-256 and Ed25519 (RFC 8032), behind the one file of ours that includes OpenSSL.
#ifndef RUNNEL_CRYPTO_H
#define RUNNEL_CRYPTO_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdint.h>

#define RN_SHA256_BYTES      32
#define RN_ED25519_KEY_BYTES 32 // both the seed (private) and the public key
#define RN_ED25519_SIG_BYTES 64

RN_MUST_CHECK int rn_random(void *out, size_t len, struct rn_err *err); // from the kernel
// 63 random bits, never 0: install identities, log identities.
RN_MUST_CHECK int rn_random_id(uint64_t *out, struct rn_err *err);
void rn_sha256(uint8_t out[RN_SHA256_BYTES], const void *bytes, size_t len);
RN_MUST_CHECK int rn_ed25519_keygen(uint8_t seed[32], uint8_t public_key[32], struct rn_err *err);
RN_MUST_CHECK int rn_ed25519_public(uint8_t public_key[32], const uint8_t seed[32],
                                    struct rn_err *err);
RN_MUST_CHECK int rn_ed25519_sign(uint8_t sig[64], const uint8_t seed[32], struct rn_span message,
                                  struct rn_err *err);
// RN_OK or RN_EACCESS.
RN_MUST_CHECK int rn_ed25519_verify(const uint8_t sig[64], const uint8_t public_key[32],
                                    struct rn_span message, struct rn_err *err);
// Compares in constant time; true if equal.
int rn_secret_equal(const void *a, const void *b, size_t len);

#endif
