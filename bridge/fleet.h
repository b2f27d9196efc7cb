// The devices: one record each, in memory, with what has to survive a restart in fleet.db. Owned by
// the intake's thread. Records are never freed while the bridge runs; there are at most
// max_devices.
#ifndef BRIDGE_FLEET_H
#define BRIDGE_FLEET_H

#include "bridge/acker.h"
#include "bridge/dedupe.h"
#include "bridge/liveness.h"
#include "bridge/schemas.h"
#include <runnel/wire.h>
#include <stdbool.h>
#include <stdint.h>

#define FLEET_BINDINGS 6 // looked-up bindings kept an install

struct fleet_binding {
    enum rn_object kind;
    uint32_t id;
    struct schemas_info info; // row 0: free
    int64_t number;           // of the object in the log, while log_numbers is `numbers`
    uint64_t numbers;
};

// One buffer of one device, as far as the device's memory reaches.
struct fleet_install {
    uint64_t id;
    struct dedupe_install *batches; // what is stored of it
    struct acker_words words;       // what is to be said beside
    uint64_t max_epoch;
    uint64_t fingerprint;
    int64_t said_ms;        // when something was last said
    int64_t waits_for;      // schema that batches were dropped for, 0: none
    int64_t waits_ms;       // since when (monotonic)
    uint32_t waits_id;      // under which they name it
    uint64_t greeted_epoch; // the last birth that was answered
    bool talks;             // it sent a batch since: it has heard the hello
    bool news; // a status came since that batch. Two without a batch between them may mean
               // that the batch was late, of another connection, and the hello was lost
    struct fleet_binding binding[FLEET_BINDINGS];
    uint32_t next_binding;
    bool saved; // fleet.db has it
};

// A bucket of tokens: `burst` at most, one more every `every_ms`.
struct fleet_bucket {
    int64_t full_ms; // when it will be full again
};

struct fleet_device {
    char name[RN_DEV_MAX + 1];
    struct fleet *fleet;
    struct live_device live;
    struct dedupe_device dedupe;
    struct fleet_install *install[DEDUPE_MAX_INSTALLS];
    uint32_t ninstalls;
    struct acker_node due;
    struct fleet_bucket keys, hellos, reports, letters;
    uint32_t complained; // reasons of refusal that were logged, one bit each
    bool dirty;          // differs from fleet.db
    int told_state;      // enum live_state that was logged last
    // Its last status, and when that came (wall clock; 0: none yet).
    int64_t first_ms, status_ms, heard_ms, state_ms;
    uint64_t config_revision;
    uint8_t config_hash[RN_HASH_BYTES];
    bool has_ledger;
    struct rn_ledger ledger;
    uint64_t ack_by_ms; // how long its answers may wait; 0 before its first status
    char version[32], reason[96];
    uint64_t next_seq, away_ms;
    int64_t clock_offset_ms; // the device's clock against ours at its last status; 0 if unknown
    // Since the bridge was started.
    uint64_t batches, bytes, duplicates, conflicts, refused, schema_bytes;
};

struct fleet_conf {
    const char *folder; // holds fleet.db
    uint32_t max_devices;
    struct live_conf live;
    uint32_t max_items_device; // bounds of dedupe
    uint64_t max_items;
    int64_t silent_ms;
};

struct fleet {
    struct live_fleet live;
    struct dedupe dedupe;
    uint64_t refused; // devices beyond the maximum
    uint32_t count;
    struct fleet_device **device; // in the order in which they came
    struct fleet_store *store;
};

// Opens fleet.db and loads what it holds. A damaged file is put aside, and begun anew.
RN_MUST_CHECK int fleet_open(struct fleet **out, const struct fleet_conf *conf, int64_t now_ms,
                             struct rn_err *err);
void fleet_close(struct fleet *fleet);
// The new name of a damaged file that fleet_open put aside, or "".
const char *fleet_quarantined(const struct fleet *fleet);
struct fleet_device *fleet_find(const struct fleet *fleet, const char *name);
// Made if it is not there. NULL at the maximum (counted) or without memory.
struct fleet_device *fleet_get(struct fleet *fleet, const char *name, int64_t now_ms,
                               int64_t utc_ms);
struct fleet_install *fleet_install_find(const struct fleet_device *dev, uint64_t install);
struct fleet_install *fleet_install_by_tag(const struct fleet_device *dev, uint32_t tag);
// Made if it is not there. NULL: no room. *gone: the install that made room, 0 if none.
struct fleet_install *fleet_announce(struct fleet_device *dev, uint64_t install, int64_t utc_ms,
                                     uint64_t *gone);
// Takes over what a status says.
void fleet_note_status(struct fleet_device *dev, const struct rn_status *status, int64_t utc_ms);
// Writes what has changed, at most max devices, in one transaction. Returns how many.
RN_MUST_CHECK int fleet_save(struct fleet *fleet, uint32_t max, struct rn_err *err);
// Writes one device, now.
RN_MUST_CHECK int fleet_save_device(struct fleet_device *dev, struct rn_err *err);

// True if a token was there and is taken.
bool fleet_bucket_take(struct fleet_bucket *bucket, int64_t now_ms, int64_t burst,
                       int64_t every_ms);

#endif
