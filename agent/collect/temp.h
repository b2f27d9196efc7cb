// temp: temperatures of the sensors below /sys/class/hwmon or, where there are none, of the thermal
// zones below /sys/class/thermal (kernel documents hwmon/sysfs-interface and driver-api/thermal).
//
// A sensor is named by its driver and its label: "coretemp_core_0". Where two have the same name
// both get a tag `device` besides. The sensors are looked for at the first tick and every five
// minutes. A sensor that sleeps or fails is missing in that tick.
#ifndef AGENT_COLLECT_TEMP_H
#define AGENT_COLLECT_TEMP_H

#include "agent/collect/collector.h"

#include <stdbool.h>

#define TEMP_MAX_SENSORS 64

// "temp12_input" -> 12. False for any other name.
bool temp_parse_input(const char *file, int *number);
// name, or name_label with the label in lower case and its blanks as '_'. Cut off where it is too
// long.
void temp_sensor_name(char *out, size_t size, const char *name, const char *label);

extern const struct rn_collector collect_temp;

#endif
