// The messages of Runnel's protocol, version 1: pure encoders and decoders over caller's memory.
// schemas/*.cddl is the truth; docs/PROTOCOL.md explains. Decoding borrows bytes from the input.
// Unknown integer keys of maps are skipped; trailing bytes are an error; integers that name things
// are below 2^63. Every decoder returns RN_EFORMAT for what is malformed, RN_ELIMIT for what is
// over a bound and RN_EUNSUPPORTED for a version or encoding that this program does not know.
#ifndef RUNNEL_WIRE_H
#define RUNNEL_WIRE_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <runnel/grid.h>
#include <runnel/ranges.h>
#include <runnel/schema.h>
#include <stdbool.h>
#include <stdint.h>

#define RN_DEV_MAX     32 // bytes of a device name
#define RN_ID_MAX      0x7fffffffffffffffULL
#define RN_MESSAGE_MAX 262144

// ---- topics -------------------------------------------------------------------------------------
enum rn_topic {
    RN_TOPIC_NONE,
    RN_TOPIC_METRICS,   // rn/u/<s>/<dev>/m
    RN_TOPIC_LOGS,      // .../l
    RN_TOPIC_EVENTS,    // .../e
    RN_TOPIC_INVENTORY, // .../i
    RN_TOPIC_KEY,       // .../k   a schema, hints or base, or its binding
    RN_TOPIC_REPORT,    // .../r   a configuration report
    RN_TOPIC_STATUS,    // rn/s/<s>/<dev>
    RN_TOPIC_ACK,       // rn/d/<s>/<dev>/a
    RN_TOPIC_CONFIG,    // .../c
    RN_TOPIC_QUERY,     // .../q
    RN_TOPIC_BRIDGE,    // rn/b/<bridge>
};

// [a-z0-9][a-z0-9._-]{0,31}
bool rn_dev_valid(struct rn_span dev);
// [A-Z][A-Za-z0-9._-]{0,31}: bridges and operators
bool rn_bridge_valid(struct rn_span name);
// CRC-32 of the name mod 256.
uint8_t rn_dev_shard(struct rn_span dev);
#define RN_TOPIC_MAX 128
// Writes the terminated topic; prefix is e.g. "rn"; dev is the bridge's name for RN_TOPIC_BRIDGE.
// RN_EINVAL for a bad name.
RN_MUST_CHECK int rn_topic_write(char out[RN_TOPIC_MAX], const char *prefix, enum rn_topic topic,
                                 const char *dev);
// Strict: exact number of levels, right shard for the name, valid name. dev is terminated and holds
// the bridge's name for RN_TOPIC_BRIDGE. RN_TOPIC_NONE for anything else.
enum rn_topic rn_topic_parse(const char *topic, size_t len, const char *prefix,
                             char dev[RN_DEV_MAX + 1]);

// ---- schema -------------------------------------------------------------------------------------
// Deterministic encoding: equal schemas have equal bytes. The hash is SHA-256 of it (the caller's).
RN_MUST_CHECK int rn_schema_encode(const struct rn_schema *schema, struct rn_buf *out,
                                   struct rn_err *err);
// Decodes and checks whole. Everything the schema points to lies in `storage` or, for names, in the
// input, which must outlive it. storage is aligned to 8; RN_SCHEMA_STORAGE bytes always suffice (32
// for each byte of input do). The hash is left to the caller.
#define RN_SCHEMA_STORAGE (RN_SCHEMA_MAX_BYTES * 32)
RN_MUST_CHECK int rn_schema_decode(struct rn_span bytes, struct rn_schema *schema, void *storage,
                                   size_t size, struct rn_err *err);

// ---- key message (k): binds a small local id to the hash of an object, may carry the object -----
enum rn_object { RN_OBJECT_SCHEMA = 1, RN_OBJECT_HINTS = 2, RN_OBJECT_BASE = 3 };
struct rn_key_msg {
    uint64_t install;
    enum rn_object kind;
    uint32_t id;                 // local to (dev, install); 0..65535
    uint8_t hash[RN_HASH_BYTES]; // SHA-256 of the object
    bool has_object;
    struct rn_span object; // at most RN_SCHEMA_MAX_BYTES, not empty
};
RN_MUST_CHECK int rn_key_encode(const struct rn_key_msg *msg, struct rn_buf *out);
RN_MUST_CHECK int rn_key_decode(struct rn_span bytes, struct rn_key_msg *msg, struct rn_err *err);

// ---- batch --------------------------------------------------------------------------------------
// On the wire: array(9) [tag, seq, low, schema id, t0, n, enc, columns, ext], as the
// CDDL says. It is kept in two parts: the head (tag, seq, low), which changes from transmission to
// transmission, and the body (everything after `low`), which never does. CRCs of batches in
// acknowledgements are CRC-32C of the body.
struct rn_batch_head {
    uint32_t tag; // low 32 bits of install
    uint64_t seq; // 1..RN_ID_MAX
    uint64_t low; // seq - lowest seq still pending; <= seq
};
struct rn_batch_info {
    uint32_t schema_id;
    int64_t t0;               // time of the first tick in the schema's units since 1970
    uint32_t n;               // ticks
    uint32_t enc;             // 0, 1, 2
    struct rn_span columns;   // the encoded columns item, borrowed
    bool has_base, has_hints; // named in ext; never in encoding 0
    uint32_t base_id, hints_id;
    uint32_t text_max; // bytes that a text may have: RN_TEXT_SHORT, or what ext says
};
void rn_batch_put_head(struct rn_buf *out, const struct rn_batch_head *head);
// Encodes the body of a grid in encoding 0. t0 is grid->times[0] >= 0; with a step, times must be
// its consecutive multiples; without, none is before t0. Cells that are not due must be missing.
RN_MUST_CHECK int rn_batch_encode_body(const struct rn_schema *schema, uint32_t schema_id,
                                       const struct rn_grid *grid, struct rn_buf *out,
                                       struct rn_err *err);
// Envelope only: head, info, and the body's bytes. Checks bounds, not the columns.
RN_MUST_CHECK int rn_batch_open(struct rn_span bytes, struct rn_batch_head *head,
                                struct rn_batch_info *info, struct rn_span *body,
                                struct rn_err *err);
// Envelope of a stored body (without head).
RN_MUST_CHECK int rn_batch_open_body(struct rn_span body, struct rn_batch_info *info,
                                     struct rn_err *err);
// How many bytes rn_batch_decode needs for this schema, n and body, at most.
size_t rn_batch_grid_bytes(const struct rn_schema *schema, const struct rn_batch_info *info);
// Decodes the columns into a grid over storage (aligned to 8). Refuses n x columns over
// RN_BATCH_MAX_CELLS. Every time fits 64 bits in nanoseconds. All encodings; RN_EUNSUPPORTED for a
// batch that names a base or hints. Takes 20 kB of stack.
RN_MUST_CHECK int rn_batch_decode(const struct rn_schema *schema, const struct rn_batch_info *info,
                                  struct rn_grid *grid, void *storage, size_t size,
                                  struct rn_err *err);

// ---- encodings 1 and 2 --------------------------------------------------------------------------
// 1: zigzag varints, deflated. 2: adaptive range coder. Both code what a column's rule and base do
// not tell already; 2 also takes hints. docs/PROTOCOL.md is the description of the format.
// Hints and base are immutable objects, like schemas, and belong to one schema.
enum { RN_ENC_PLAIN = 0, RN_ENC_DEFLATE = 1, RN_ENC_RANGE = 2, RN_ENC_MAX = 2 };

// What a column's numbers are usually like, so that the coder need not find out in every batch.
struct rn_hint {
    uint8_t first; // bits of the first number's distance from the base, 0..64
    uint8_t step;  // twice the mean of log2(1 + |difference from tick to tick|), 0..127
};
struct rn_hints {
    struct rn_hint column[RN_SCHEMA_MAX_COLUMNS];
    uint32_t ncolumns;
};
RN_MUST_CHECK int rn_hints_encode(const struct rn_hints *hints, struct rn_buf *out);
RN_MUST_CHECK int rn_hints_decode(struct rn_span bytes, struct rn_hints *hints, struct rn_err *err);

// What a column's first number is compared with: an earlier one, less what its rule expected then.
struct rn_base {
    int64_t column[RN_SCHEMA_MAX_COLUMNS];
    uint32_t ncolumns;
    uint32_t crc; // CRC-32C of the object's bytes, which the batch's own CRC goes on from
};
RN_MUST_CHECK int rn_base_encode(struct rn_base *base, struct rn_buf *out);
RN_MUST_CHECK int rn_base_decode(struct rn_span bytes, struct rn_base *base, struct rn_err *err);
// Base from the last scaled number of each column (0 where there is none).
void rn_base_from(const struct rn_schema *schema, const struct rn_grid *grid, struct rn_base *base);
// Gathers hints over many batches. Begin with a zeroed struct, add grids, then look.
struct rn_hints_sums {
    uint64_t step[RN_SCHEMA_MAX_COLUMNS], first[RN_SCHEMA_MAX_COLUMNS];
    uint32_t nsteps[RN_SCHEMA_MAX_COLUMNS], nfirsts[RN_SCHEMA_MAX_COLUMNS];
};
// base: the one that batches like this are encoded with, or NULL.
void rn_hints_add(const struct rn_schema *schema, const struct rn_base *base,
                  const struct rn_grid *grid, struct rn_hints_sums *sums);
void rn_hints_from(const struct rn_schema *schema, const struct rn_hints_sums *sums,
                   struct rn_hints *hints);

// What a batch is encoded with beside its schema; NULL members: without.
struct rn_coding {
    const struct rn_base *base;
    const struct rn_hints *hints; // encoding 2 only
    uint32_t base_id, hints_id;   // their local numbers
};
// Bytes of work memory (aligned to 8) that encoding and decoding take; nothing is allocated.
#define RN_ENCODE_WORK 49152 // enough for each; encoding 2 alone takes RN_RANGE_WORK
#define RN_DECODE_WORK 20480
#define RN_RANGE_WORK  16384
// As rn_batch_encode_body, in any encoding. with may be NULL. RN_ELIMIT also for what would cost a
// decoder too much (see the bounds in docs/PROTOCOL.md): a lower encoding, or fewer ticks, may do.
RN_MUST_CHECK int rn_batch_encode_as(uint32_t enc, const struct rn_schema *schema,
                                     uint32_t schema_id, const struct rn_coding *with,
                                     const struct rn_grid *grid, void *work, size_t work_size,
                                     struct rn_buf *out, struct rn_err *err);
// As rn_batch_decode, with the base and hints that the batch names. RN_ENOENT: one is missing;
// RN_EFORMAT also: they, or the bytes, are not those that the batch was encoded with.
RN_MUST_CHECK int rn_batch_decode_with(const struct rn_schema *schema,
                                       const struct rn_batch_info *info,
                                       const struct rn_coding *with, struct rn_grid *grid,
                                       void *storage, size_t size, void *work, size_t work_size,
                                       struct rn_err *err);

// ---- status (s): birth, will, stop --------------------------------------------------------------
enum rn_presence { RN_PRESENCE_WILL = 0, RN_PRESENCE_ONLINE = 1, RN_PRESENCE_STOPPED = 2 };
// Every sample in exactly one of pending, delivered, evicted, thinned, refused, lost.
struct rn_ledger {
    uint64_t produced;  // samples committed to the buffer, ever, by this install
    uint64_t delivered; // durable: acknowledged and deleted
    uint64_t pending;   // in the buffer and the journal
    uint64_t evicted;   // dropped because the buffer was full or too old
    uint64_t thinned;
    uint64_t refused; // dead-lettered by the bridge
    uint64_t lost;    // salvage could not read them
};
struct rn_status {
    enum rn_presence presence;
    uint64_t install, epoch, n;         // n counts the statuses of one epoch; the will is n = 0
    uint64_t time_ms;                   // wall clock, 0: not trusted
    uint64_t interval_ms;               // a batch is due at least this often; 0: not said
    uint64_t next_seq;                  // the next batch's
    uint64_t fingerprint;               // 63 bits of the machine fingerprint, 0: none
    uint64_t config_revision;           // running; 0: none
    uint8_t config_hash[RN_HASH_BYTES]; // of the running remote configuration; zero: none
    bool has_ledger;
    struct rn_ledger ledger; // birth, update and stop; not in the will
    struct rn_span version;  // of the agent
    struct rn_span reason;   // why it was away or stops: "start", "reconnect: ...", "SIGTERM"
    uint64_t away_ms;        // how long there was no connection before this birth
    uint64_t ack_by_ms;      // how long answers to batches may take; 0: rn_ack_by_default
};
// How long the bridge may take to answer a batch of a device that says nothing else: three batch
// intervals below two minutes, else one; never longer than an hour.
#define RN_ACK_BY_MAX_MS 3600000u
static inline uint64_t rn_ack_by_default(uint64_t interval_ms)
{
    if (interval_ms > RN_ACK_BY_MAX_MS)
        return RN_ACK_BY_MAX_MS;
    return interval_ms < 120000 ? 3 * interval_ms : interval_ms;
}
RN_MUST_CHECK int rn_status_encode(const struct rn_status *status, struct rn_buf *out);
RN_MUST_CHECK int rn_status_decode(struct rn_span bytes, struct rn_status *status,
                                   struct rn_err *err);

// ---- acknowledgement (a): everything the bridge tells a device about its data -------------------
#define RN_ACK_MAX 64 // ranges of each sort in one message
struct rn_ack_durable {
    uint64_t first, last;
    uint32_t crc; // CRC-32C over the 4-byte big-endian CRCs of the range's bodies in order
};
enum rn_refusal { // reasons; fixed numbers of the protocol
    RN_REFUSED_MALFORMED = 1,
    RN_REFUSED_SCHEMA = 2,   // columns do not fit the schema
    RN_REFUSED_ENCODING = 3, // encoding not known here: encode anew
    RN_REFUSED_TOO_LARGE = 4,
    RN_REFUSED_TIME = 5, // whole batch outside the time window
};
struct rn_ack_refused {
    uint64_t first, last;
    uint32_t reason;
};
struct rn_ack_need {
    enum rn_object kind;
    uint32_t id;
    bool object; // false: the binding (id -> hash) is missing; true: the object itself
};
struct rn_hello {
    uint64_t install;         // whose birth is answered
    uint64_t epoch;           // of that birth
    uint64_t max_seq;         // highest seen of this install; 0: none
    uint64_t max_epoch;       // highest epoch seen of this install
    uint64_t config_revision; // desired; 0: none
    uint8_t config_hash[RN_HASH_BYTES];
    uint64_t fleet;       // devices that share this bridge: scales the reconnect jitter
    bool duplicate;       // another live agent uses this name
    uint64_t fingerprint; // that the bridge knows for this install, 0: none
};
struct rn_ack {
    uint32_t tag;     // of the install that the ranges are about
    uint64_t log_id;  // whose log answers
    uint64_t time_ms; // server's wall clock
    bool has_hello;
    struct rn_hello hello;
    struct rn_range received[RN_ACK_MAX];
    uint32_t nreceived;
    struct rn_ack_durable durable[RN_ACK_MAX];
    uint32_t ndurable;
    struct rn_ack_refused refused[RN_ACK_MAX];
    uint32_t nrefused;
    struct rn_ack_need need[RN_ACK_MAX];
    uint32_t nneed;
    struct rn_range conflict[RN_ACK_MAX];
    uint32_t nconflict;
    uint32_t window;  // 0: not said
    uint32_t hold_ms; // send nothing for so long; 0: not held
    bool has_report;
    uint64_t report_n; // the highest report number stored
};
RN_MUST_CHECK int rn_ack_encode(const struct rn_ack *ack, struct rn_buf *out);
RN_MUST_CHECK int rn_ack_decode(struct rn_span bytes, struct rn_ack *ack, struct rn_err *err);

// ---- configuration (c) and its report (r) -------------------------------------------------------
#define RN_CONFIG_MAX_BYTES 16384
#define RN_CONFIG_MAX_KEYS  256
struct rn_config_item {
    struct rn_span key, value; // dotted key, value as text as in the file; lists as "[a, b]"
};
struct rn_config_doc {
    struct rn_span dev;
    uint64_t revision;   // >= 1
    uint64_t expires_ms; // 0: never
    uint32_t nitems;
    // Decoded in the order of the encoding: shorter keys first, then bytewise. rn_config_encode
    // takes any order and refuses a key that comes twice (RN_EINVAL).
    struct rn_config_item items[RN_CONFIG_MAX_KEYS];
};
RN_MUST_CHECK int rn_config_encode(const struct rn_config_doc *doc, struct rn_buf *out);
RN_MUST_CHECK int rn_config_decode(struct rn_span bytes, struct rn_config_doc *doc,
                                   struct rn_err *err);
// COSE_Sign1 (RFC 9052), EdDSA: [<<{1: -8}>>, {}, payload, signature].
struct rn_signed {
    struct rn_span payload;
    struct rn_span signature; // 64 bytes, or empty: unsigned
};
// Sig_structure to be signed or verified for a payload.
RN_MUST_CHECK int rn_signed_tbs(struct rn_span payload, struct rn_buf *out);
RN_MUST_CHECK int rn_signed_encode(const struct rn_signed *msg, struct rn_buf *out);
RN_MUST_CHECK int rn_signed_decode(struct rn_span bytes, struct rn_signed *msg, struct rn_err *err);

enum rn_config_state { // fixed numbers of the protocol
    RN_CONFIG_NONE = 0,
    RN_CONFIG_PROBATION = 1,
    RN_CONFIG_CONFIRMED = 2,
    RN_CONFIG_REJECTED = 3,     // invalid, unsigned, outdated, or rolled back
    RN_CONFIG_UNDETERMINED = 4, // rolled back, but the outage may not be its fault: tried again
    RN_CONFIG_CONFLICT = 5,     // same revision, other hash
};
struct rn_report {
    uint64_t install;
    uint64_t n;       // counts this device's reports
    uint64_t running; // revision in force; 0: local files only
    uint8_t running_hash[RN_HASH_BYTES];
    uint64_t offered; // revision that the state is about
    uint8_t offered_hash[RN_HASH_BYTES];
    enum rn_config_state state;
    struct rn_span path; // of the offending key
    struct rn_span reason;
};
RN_MUST_CHECK int rn_report_encode(const struct rn_report *report, struct rn_buf *out);
RN_MUST_CHECK int rn_report_decode(struct rn_span bytes, struct rn_report *report,
                                   struct rn_err *err);

// ---- bridge presence (rn/b/<bridge>) ------------------------------------------------------------
struct rn_bridge_status {
    bool online;
    uint64_t log_id, since_ms, fence;
};
RN_MUST_CHECK int rn_bridge_status_encode(const struct rn_bridge_status *s, struct rn_buf *out);
RN_MUST_CHECK int rn_bridge_status_decode(struct rn_span bytes, struct rn_bridge_status *s,
                                          struct rn_err *err);

#endif
