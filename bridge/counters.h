// The bridge's counters: one row a counter, from which the struct, /metrics
// (runnel_bridge_<name>_total) and docs/OPERATIONS.md are made. Owned by the intake's thread;
// others get a copy (bridge.h).
#ifndef BRIDGE_COUNTERS_H
#define BRIDGE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

// X(field, "name", "help")
// clang-format off
#define COUNTERS(X) \
    X(messages, "messages", "MQTT messages taken from the broker") \
    X(bytes, "bytes", "payload bytes of those messages") \
    X(batches_stored, "batches_stored", "batches appended to the log and committed") \
    X(batch_bytes, "batch_bytes", "payload bytes of stored batches") \
    X(duplicates, "duplicates", "batches that were in the log already") \
    X(conflicts, "conflicts", "batches with a known name and other content, or that name a number which was given to two objects") \
    X(stored_put_off, "put_off", "batches neither stored nor acknowledged for lack of room") \
    X(commits, "commits", "groups committed to the log") \
    X(commit_failures, "commit_failures", "groups that could not be committed") \
    X(rows_retired, "rows_retired", "log rows dropped by retention") \
    X(schemas_stored, "schemas_stored", "objects stored that nobody had brought before") \
    X(schema_bytes, "schema_bytes", "payload bytes of those objects") \
    X(key_messages, "key_messages", "key messages taken") \
    X(bindings_replaced, "bindings_replaced", "bindings that made room for newer ones") \
    X(needs, "needs", "times a device was asked for an object or a binding") \
    X(births, "births", "births taken, live or retained") \
    X(wills, "wills", "last wills taken") \
    X(stops, "stops", "graceful stops taken") \
    X(reports, "reports", "configuration reports taken") \
    X(acks_sent, "acks_sent", "acknowledgement messages published") \
    X(ack_bytes, "ack_bytes", "payload bytes of those messages") \
    X(acks_delayed, "acks_delayed", "acknowledgements that the transport did not take at once") \
    X(durable, "durable", "batches told durable for the first time") \
    X(refused_topic, "refused_topic", "messages on a topic that is not Runnel's") \
    X(refused_retained, "refused_retained", "retained messages on topics of data") \
    X(refused_device, "refused_device", "messages of devices beyond the maximum") \
    X(refused_size, "refused_size", "messages over the maximum size") \
    X(refused_malformed, "refused_malformed", "messages that do not parse") \
    X(refused_install, "refused_install", "batches of an install that no birth announced") \
    X(refused_schema, "refused_schema", "batches that do not fit their schema") \
    X(refused_encoding, "refused_encoding", "batches in an unknown encoding") \
    X(refused_time, "refused_time", "batches outside the time window") \
    X(refused_key, "refused_key", "key messages refused") \
    X(refused_rate, "refused_rate", "messages of a device that sends too many of that sort") \
    X(refused_installs, "refused_installs", "births beyond the installs kept of a device") \
    X(refused_decode, "refused_decode", "stored batches whose columns do not decode") \
    X(stale, "stale", "statuses of an earlier epoch or another agent") \
    X(calls_refused, "calls_refused", "requests of other threads that found the queue full")
// clang-format on

struct counters {
#define X(field, name, help) uint64_t field;
    COUNTERS(X)
#undef X
};

struct counter_row {
    const char *name, *help;
    size_t offset; // of the uint64_t in struct counters
};
extern const struct counter_row counter_rows[];
extern const size_t counter_count;

#endif
