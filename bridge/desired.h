// Desired configurations: owned, versioned and signed here. desired.db keeps every document that a
// device was ever given, with who asked for it, and the device's last report. Belongs to the
// intake's thread.
//
// A document is the CBOR of schemas/config.cddl, signed as COSE_Sign1 with the bridge's Ed25519 key
// (config.key, mode 0600, made at first start; config.pub is what devices are given as
// config_key_file: 64 hex digits).
#ifndef BRIDGE_DESIRED_H
#define BRIDGE_DESIRED_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

#define DESIRED_TEXT 200

struct desired;

// What is known about one device's configuration.
struct desired_state {
    uint64_t revision; // of the desired document; 0: none
    uint8_t hash[RN_HASH_BYTES];
    int64_t created_ms;
    bool has_report;
    uint64_t report_n, running, offered;
    uint8_t running_hash[RN_HASH_BYTES];
    enum rn_config_state state; // as the device reported about `offered`
    int64_t reported_ms;
    char path[DESIRED_TEXT], reason[DESIRED_TEXT];
};

// Makes folder/desired.db, folder/config.key and folder/config.pub if they are not there.
RN_MUST_CHECK int desired_open(struct desired **out, const char *folder, struct rn_err *err);
void desired_close(struct desired *desired); // accepts NULL

// Zeroes *state for a device that was never given anything and never reported.
RN_MUST_CHECK int desired_state(struct desired *desired, const char *dev,
                                struct desired_state *state, struct rn_err *err);
// Stores a new document with revision max(stored, reported) + 1, which replaces the old one whole.
// items: sorted by key or not. base: the revision the writer started from; RN_ECONFLICT if another
// was stored since (UINT64_MAX: whatever is there). author and comment are kept for the history.
RN_MUST_CHECK int desired_put(struct desired *desired, const char *dev,
                              const struct rn_config_item *items, uint32_t nitems, uint64_t base,
                              const char *author, const char *comment, int64_t utc_ms,
                              uint64_t *revision, struct rn_err *err);
// The signed message for the config topic. RN_ENOENT if the device has none. revision 0: newest.
RN_MUST_CHECK int desired_message(struct desired *desired, const char *dev, uint64_t revision,
                                  struct rn_buf *out, struct rn_err *err);
// Visits the devices that have not said anything about their newest document, those with the newest
// documents first, at most max.
RN_MUST_CHECK int desired_unanswered(struct desired *desired, uint32_t max,
                                     void (*visit)(void *arg, const char *dev), void *arg,
                                     struct rn_err *err);
// Visits a device's documents, newest first, at most max. doc is borrowed for the call.
struct desired_version {
    uint64_t revision;
    uint8_t hash[RN_HASH_BYTES];
    int64_t created_ms;
    const char *author, *comment;
    const struct rn_config_doc *doc;
};
RN_MUST_CHECK int desired_history(struct desired *desired, const char *dev, uint32_t max,
                                  void (*visit)(void *arg, const struct desired_version *version),
                                  void *arg, struct rn_err *err);
// Stores a device's report if its number is new; older ones are ignored. Both are success.
RN_MUST_CHECK int desired_report(struct desired *desired, const char *dev,
                                 const struct rn_report *report, int64_t utc_ms,
                                 struct rn_err *err);
const char *desired_public_key(const struct desired *desired); // 64 hex digits

#endif
