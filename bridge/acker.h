// Composes what a device is told: received, durable, refused, need, conflict, hello, in as few
// messages as the delay allows. Pure: no I/O, no clock.
//
// What is to be said about batches lies in the dedupe items (`say`); the rest in a struct
// acker_words per install. acker_compose writes one message without changing anything; acker_said
// takes what was in it off the list once the message has been handed to the transport. A wheel of
// 10 ms slots tells whose message is due.
#ifndef BRIDGE_ACKER_H
#define BRIDGE_ACKER_H

#include "bridge/dedupe.h"
#include <runnel/wire.h>

#define ACKER_MAX_NEEDS     8
#define ACKER_MAX_CONFLICTS 16

// To be said to one install beside the states of its batches. Zeroed: nothing.
struct acker_words {
    bool has_hello;
    bool has_report;
    uint8_t nneed, nconflict;
    uint32_t hold_ms; // send nothing for so long
    struct rn_hello hello;
    uint64_t report_n;
    struct rn_ack_need need[ACKER_MAX_NEEDS];
    uint64_t conflict[ACKER_MAX_CONFLICTS];
};

// What does not fit is left out: the agent asks again by sending again.
void acker_need(struct acker_words *words, enum rn_object kind, uint32_t id, bool object);
void acker_conflict(struct acker_words *words, uint64_t seq);

// Writes at most one message's worth; true if there is anything in it. log_id, time, window and
// hold are the caller's to fill.
bool acker_compose(const struct dedupe_install *in, const struct acker_words *words,
                   struct rn_ack *out);
void acker_said(struct dedupe_install *in, struct acker_words *words, const struct rn_ack *ack);
bool acker_pending(const struct dedupe_install *in, const struct acker_words *words);

// How long words may wait for company: urgent ones for delay_ms, others until the device's ack_by
// is nearly over. What is left for the way back is a tenth of it, at most 10 s.
int64_t acker_delay(int64_t delay_ms, uint64_t ack_by_ms, bool urgent);
// Does a device that has so many batches pending, up to its newest, need an answer soon? It does if
// they are more than those that an answer may be waiting for.
bool acker_backlog(uint64_t pending, uint64_t interval_ms, uint64_t ack_by_ms);

// ---- due times ---------------------------------------------------------------------------------
#define ACKER_SLOTS   256
#define ACKER_SLOT_MS 10

struct acker_node { // in each device; zeroed: not queued
    struct acker_node *next, **prev;
    int64_t due_ms;
};

struct acker_wheel { // zero-initialise
    struct acker_node *slot[ACKER_SLOTS];
    int64_t done; // slots up to this number have been looked through
    uint32_t count;
};

// Queues the node, or brings an earlier due time. Due times may lie beyond the wheel.
void acker_schedule(struct acker_wheel *wheel, struct acker_node *node, int64_t now_ms,
                    int64_t due_ms);
void acker_cancel(struct acker_wheel *wheel, struct acker_node *node);
// Takes one node that is due; NULL: none.
struct acker_node *acker_take(struct acker_wheel *wheel, int64_t now_ms);
// In how many ms acker_take has to be called next, at least 1; -1: nothing is queued.
int64_t acker_wait(const struct acker_wheel *wheel, int64_t now_ms);

#endif
