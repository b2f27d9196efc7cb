// Between the intake and the desired configurations: what a birth is told, when a device is sent a
// document, where its reports go. Intake's thread.
#ifndef BRIDGE_OFFERS_H
#define BRIDGE_OFFERS_H

#include "bridge/desired.h"
#include "bridge/intake.h"
#include <runnel/err.h>

struct offers_conf {
    struct desired *desired;
    // Publishes a signed document, retained. Negative: not now; offers_again or the next birth
    // brings it.
    int (*publish)(void *arg, const char *dev, struct rn_span message);
    void *arg;
};

struct offers;
RN_MUST_CHECK int offers_new(struct offers **out, const struct offers_conf *conf,
                             struct rn_err *err);
void offers_free(struct offers *offers); // accepts NULL
struct intake_hooks offers_hooks(struct offers *offers);
// Publishes a device's newest document now. RN_OK too when there is no connection: offers_again
// brings it.
RN_MUST_CHECK int offers_publish(struct offers *offers, const char *dev, struct rn_err *err);
// There is a connection again: what no device has answered may never have left, or the broker may
// have forgotten it. The newest 1,000; births bring the rest.
void offers_again(struct offers *offers);

#endif
