// Keepalive: how long this connection may be idle, learned from connections that died idle. NATs
// and firewalls forget idle connections after one to thirty minutes, and say nothing. Pure.
//
// A loss may be blamed on idleness if something that was sent after a gap, or the ping that the gap
// led to, was not answered, and the next attempt to connect succeeds at once: an outage or a broker
// that is gone would make it fail. One such loss proves nothing: three in a row do, without a gap
// of that length that was survived between them. Then the keepalive goes below the gap. A
// connection that lived long at a learned value, with gaps of about that length, makes the next one
// try a longer one, in steps that double; each failure doubles the time until that is tried again.
//
// The keepalive takes effect with a connection; it stays within min_ms..max_ms. The pings
// themselves are not seen here: that they are sent after each idle keepalive is relied upon.
#ifndef AGENT_KEEPALIVE_H
#define AGENT_KEEPALIVE_H

#include <stdbool.h>
#include <stdint.h>

struct keepalive_conf {
    int64_t min_ms, max_ms; // max_ms: what is configured
};

struct keepalive_learned { // what is worth saving; zero: nothing learned
    int64_t value_ms;      // 0: max_ms
    int64_t hold_ms;       // how long a connection has to live before a longer one is tried
    int64_t step_ms;       // by so much then
    int64_t strike_ms;     // shortest gap that the last losses may be blamed on
    int64_t strikes;       // so many
};

struct keepalive {
    struct keepalive_conf conf;
    struct keepalive_learned learned, before; // before: the loss that is not confirmed yet
    bool connected, doubtful;                 // doubtful: learned may have to go back to before
    int64_t used_ms;                          // on this connection
    int64_t since_ms, last_ms;                // of this connection; the last that passed
    int64_t unanswered_ms;                    // longest gap before what was not answered yet
    int64_t safe_ms;                          // longest gap that was survived
};

void keepalive_init(struct keepalive *x, const struct keepalive_conf *conf,
                    const struct keepalive_learned *saved);
void keepalive_reconf(struct keepalive *x, const struct keepalive_conf *conf);
// For the next connection.
int64_t keepalive_ms(const struct keepalive *x);
// True: learned has changed for good and is to be saved.
bool keepalive_connected(struct keepalive *x, int64_t mono_ms);
void keepalive_failed(struct keepalive *x); // an attempt to connect
void keepalive_sent(struct keepalive *x, int64_t mono_ms);
void keepalive_heard(struct keepalive *x, int64_t mono_ms);
void keepalive_lost(struct keepalive *x, int64_t mono_ms);

#endif
