// Tells systemd what state we are in (sd_notify(3)), without its library.
#ifndef RUNNEL_NOTIFY_H
#define RUNNEL_NOTIFY_H

#include <stdint.h>

void rn_notify_send(const char *state); // "READY=1"; nothing without NOTIFY_SOCKET
int64_t rn_notify_watchdog_ms(void);    // how often WATCHDOG=1 is due; 0: not wanted

#endif
