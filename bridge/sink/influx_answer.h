// What an answer to a write means, for everything that speaks InfluxDB's write protocols. Pure.
//
// Which lines were refused is said in three ways: by line number (3.x), by quoting the line (1.x,
// 2.x), by naming a measurement and a field (type conflicts); and how many, by "dropped=n".
#ifndef BRIDGE_SINK_INFLUX_ANSWER_H
#define BRIDGE_SINK_INFLUX_ANSWER_H

#include "bridge/sink/sink.h"
#include <runnel/buf.h>

#define INFLUX_NAME_MAX 256

struct influx_answer {
    enum sink_outcome outcome;
    char text[240];                    // one line for people: "404 database not found: \"x\""
    uint32_t line[SINK_RESULT_POINTS]; // refused lines of the body, from 0
    uint32_t nlines;
    uint64_t dropped;                  // 0: not said
    char measurement[INFLUX_NAME_MAX]; // of a type conflict, else ""
    char field[INFLUX_NAME_MAX];
    char type[16]; // that the refused points have: "float", ..., or ""
};

// status: of HTTP; reply: body of the answer; written: the lines that were sent, not compressed.
void influx_answer_read(struct influx_answer *out, int status, struct rn_span reply,
                        struct rn_span written);

#endif
