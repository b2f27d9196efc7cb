// One message of a device on its way through the intake, and how it is refused. Intake's thread.
#ifndef BRIDGE_ARRIVAL_H
#define BRIDGE_ARRIVAL_H

#include "bridge/intake.h"

struct arrival {
    struct intake *intake; // for intake.c only
    const struct intake_parts *parts;
    const struct intake_hooks *hooks;
    struct fleet_device *dev;
    const char *name; // the device's
    struct rn_span payload;
    bool retained;
    char type;  // of data
    bool first; // batch since the hello
    struct intake_time now;
};

// Why something was not taken: one bit of fleet_device.complained, one counter, one event.
enum refusal {
    BAD_SIZE,
    BAD_FORM,
    BAD_INSTALL,
    BAD_SCHEMA,
    BAD_ENCODING,
    BAD_TIME,
    BAD_KEY,
    BAD_RATE,
    BAD_INSTALLS,
    BAD_RETAINED,
    BAD_CONFLICT,
};

// Counts it; the first of its kind from a device is logged.
void arrival_refuse(const struct arrival *a, enum refusal why, const char *words);
// What is to be said to the device goes out soon.
void arrival_answer_soon(const struct arrival *a);

#endif
