// Which batches of a device are already in the log, and what the device has been told about each.
// Pure: no I/O, no clock.
//
// A batch is named by (dev, install, seq) for ever. For every install the module keeps one item a
// batch that the agent has not yet settled: `low` of each batch says below which seq everything is
// settled, and the items below it are forgotten. So the state stays a few items a device while
// things go well. Bounds: DEDUPE_MAX_INSTALLS installs a device, max_device items a device,
// max_items in all. At a bound a new batch is DEDUPE_FULL: neither stored nor acknowledged, so it
// stays on the device; only an install's lowest, which the others wait for, is taken. Memory grows
// only with batches that were really stored, never with what a message claims.
//
// A batch below `low` cannot be compared any more; it is DEDUPE_CONFLICT: an agent that settled it
// ignores that, a restored copy that still holds it sends it anew under another name.
#ifndef BRIDGE_DEDUPE_H
#define BRIDGE_DEDUPE_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>

#define DEDUPE_MAX_INSTALLS 16

enum dedupe_state {
    DEDUPE_OPEN,     // appended, not committed yet: nothing may be said
    DEDUPE_RECEIVED, // in the log
    DEDUPE_DURABLE,  // what acknowledgement waits for is met
    DEDUPE_REFUSED,  // dead-lettered; reason says why
};

struct dedupe_item {
    uint64_t seq;
    uint32_t crc;   // CRC-32C of the body
    uint8_t state;  // enum dedupe_state
    uint8_t reason; // enum rn_refusal of a refused one
    bool say;       // the device is to be told
    bool alone;     // in a durable range of its own
};

struct dedupe_install {
    uint64_t install;
    uint64_t floor;           // everything below is settled
    uint64_t max_seq;         // highest ever stored; 0: none
    int64_t heard_ms;         // wall clock of its last birth or batch
    struct dedupe_item *item; // sorted by seq, all >= floor
    uint32_t count, cap;
    uint32_t unsaid; // items with `say`
};

struct dedupe_device {
    struct dedupe_install *install[DEDUPE_MAX_INSTALLS];
    uint32_t ninstalls;
    uint32_t items; // of all its installs
};

// The whole bridge's. Zero-initialise, then set the bounds.
struct dedupe {
    uint32_t max_device; // items of one device
    uint64_t max_items;  // items in all
    int64_t silent_ms;   // an install not heard for so long may make room for a new one
    uint64_t items;
    uint64_t full;               // batches put off at a bound
    uint64_t installs_forgotten; // silent ones that made room
    uint64_t installs_refused;   // no room: all the others are alive
    uint64_t items_forgotten;    // at a rebuild that hit a bound
};

enum dedupe_verdict { DEDUPE_NEW, DEDUPE_SAME, DEDUPE_CONFLICT, DEDUPE_FULL };

void dedupe_device_release(struct dedupe *dedupe, struct dedupe_device *dev);
struct dedupe_install *dedupe_find(const struct dedupe_device *dev, uint64_t install);
// The install, made if it is not there. NULL: no room (or no memory); counted. *gone is the install
// that made room, 0 if none.
struct dedupe_install *dedupe_announce(struct dedupe *dedupe, struct dedupe_device *dev,
                                       uint64_t install, int64_t utc_ms, uint64_t *gone);

// Judges a batch and, if it is new, adds its item in state OPEN. `low` is the distance to the
// lowest seq still pending (<= seq).
enum dedupe_verdict dedupe_offer(struct dedupe *dedupe, struct dedupe_device *dev,
                                 struct dedupe_install *in, uint64_t seq, uint64_t low,
                                 uint32_t crc);
struct dedupe_item *dedupe_item(const struct dedupe_install *in, uint64_t seq); // NULL: none
// Moves an item to a state and marks it to be said; an item that is settled in another way
// (durable, refused) stays as it is. False if there is no such item.
bool dedupe_settle(struct dedupe_install *in, uint64_t seq, enum dedupe_state state,
                   uint8_t reason);
// Takes an item back whose append failed.
void dedupe_drop(struct dedupe *dedupe, struct dedupe_device *dev, struct dedupe_install *in,
                 uint64_t seq);
void dedupe_say(struct dedupe_install *in, struct dedupe_item *item, bool say);
// To be said alone: it came again, so the device has it still, and what lies beside it perhaps not.
void dedupe_say_alone(struct dedupe_install *in, struct dedupe_item *item);
// Marks everything that can be said: after a birth, when earlier words may have been lost.
void dedupe_say_all(struct dedupe_install *in);

// Rebuild from a stored row: the item is taken as DURABLE; what is not yet is corrected by
// dedupe_reopen when the rows above the acknowledged position are read. At a bound the oldest items
// are forgotten and counted.
RN_MUST_CHECK int dedupe_restore(struct dedupe *dedupe, struct dedupe_device *dev,
                                 struct dedupe_install *in, uint64_t seq, uint32_t crc);
void dedupe_reopen(struct dedupe_install *in, uint64_t seq);

// A device's state as bytes, for the segment that is sealed, and back. Of an item's state only a
// refusal is saved: no later reading of the log would show it.
#define DEDUPE_SAVED_MAX (16u << 20) // more than a million items
void dedupe_save(const struct dedupe_device *dev, struct rn_buf *out);
RN_MUST_CHECK int dedupe_load(struct dedupe *dedupe, struct dedupe_device *dev,
                              struct rn_span saved, struct rn_err *err);

#endif
