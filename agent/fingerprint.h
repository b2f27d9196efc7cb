// The machine's fingerprint: tells a buffer that it runs on another machine than the one that made
// it (a cloned disk, an image written twice).
#ifndef AGENT_FINGERPRINT_H
#define AGENT_FINGERPRINT_H

#include <stdint.h>

// 63 bits over the machine id, the addresses of physical network cards and the device's name; 0 if
// neither machine id nor card can be read, or one of them cannot be read now.
uint64_t fingerprint_read(const char *device);

#endif
