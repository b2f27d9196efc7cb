// See temp.h.
#include "agent/collect/temp.h"

#include "agent/collect/parse.h"
#include "agent/collect/point.h"
#include "agent/collect/read.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AGAIN_MS (5 * 60 * 1000)
#define HOTTEST       1000000000 // a million degrees: what is above is garbage

static const struct rn_field_desc fields[] = {
    {.name = "temp",
     .type = RN_FLOAT,
     .kind = RN_GAUGE,
     .decimals = 3,
     .unit = "Cel",
     .help = "Temperature."},
};

struct sensor {
    char file[96]; // below sysfs
    char name[96], device[64];
    bool doubled; // another sensor has this name
};

struct state {
    struct sensor sensor[TEMP_MAX_SENSORS];
    int count;
    bool looked;
    int64_t looked_ms; // CLOCK_BOOTTIME
};

bool temp_parse_input(const char *file, int *number)
{
    struct rn_span rest = rn_span_text(file), digits;
    uint64_t value;
    if (!parse_starts(rest, "temp") || !parse_until(&rest, '_', &digits) ||
        !rn_span_eq_text(rest, "input"))
        return false;
    digits.data += 4;
    digits.len -= 4;
    if (!parse_u64(digits, &value) || value > 9999)
        return false;
    *number = (int)value;
    return true;
}

void temp_sensor_name(char *out, size_t size, const char *name, const char *label)
{
    int len = snprintf(out, size, *label ? "%s_%s" : "%s%s", name, label);
    size_t start = *label ? strlen(name) + 1 : strlen(name);
    for (size_t i = start; len > 0 && i < size && out[i]; i++)
        out[i] = out[i] == ' ' ? '_' : (char)tolower((unsigned char)out[i]);
    parse_clean(out);
}

// ---- state: which sensors there are ------------------------------------------------------------

static void add(struct state *s, const struct collect_env *env, const struct sensor *sensor)
{
    if (s->count < TEMP_MAX_SENSORS)
        s->sensor[s->count++] = *sensor;
    else
        collect_left_out(env, 1);
}

// The last part of what the link names; "" if there is none.
static void link_name(const struct collect_env *env, const char *path, char *out, size_t size)
{
    char full[PATH_MAX], target[PATH_MAX];
    out[0] = '\0';
    int len = snprintf(full, sizeof full, "%s/%s", env->sysfs, path);
    ssize_t got =
        len > 0 && (size_t)len < sizeof full ? readlink(full, target, sizeof target - 1) : 0;
    if (got <= 0)
        return;
    target[got] = '\0';
    const char *slash = strrchr(target, '/');
    (void)parse_copy(out, size, rn_span_text(slash ? slash + 1 : target));
    parse_clean(out);
}

// Calls visit for each entry of a folder below sysfs, in the order that the kernel gives.
static void each_entry(struct state *s, const struct collect_env *env, const char *folder,
                       void (*visit)(struct state *, const struct collect_env *, const char *folder,
                                     const char *entry))
{
    char full[PATH_MAX];
    int len = snprintf(full, sizeof full, "%s/%s", env->sysfs, folder);
    DIR *dir = len > 0 && (size_t)len < sizeof full ? opendir(full) : NULL;
    if (!dir)
        return;
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            visit(s, env, folder, entry->d_name);
    closedir(dir);
}

static void visit_input(struct state *s, const struct collect_env *env, const char *folder,
                        const char *entry)
{
    struct sensor sensor = {0};
    char path[160], name[64], label[64];
    int number;
    if (!temp_parse_input(entry, &number))
        return;
    snprintf(path, sizeof path, "%s/device", folder);
    link_name(env, path, sensor.device, sizeof sensor.device);
    snprintf(path, sizeof path, "%s/name", folder);
    if (collect_read_line(env->sysfs, path, name, sizeof name) < 0)
        snprintf(name, sizeof name, "%s", sensor.device);
    snprintf(path, sizeof path, "%s/temp%d_label", folder, number);
    if (collect_read_line(env->sysfs, path, label, sizeof label) < 0)
        label[0] = '\0';
    temp_sensor_name(sensor.name, sizeof sensor.name, name, label);
    int len = snprintf(sensor.file, sizeof sensor.file, "%s/%s", folder, entry);
    if (sensor.name[0] && len > 0 && (size_t)len < sizeof sensor.file)
        add(s, env, &sensor);
}

static void visit_hwmon(struct state *s, const struct collect_env *env, const char *folder,
                        const char *entry)
{
    char path[96];
    int before = s->count;
    int len = snprintf(path, sizeof path, "%s/%s", folder, entry);
    if (len < 0 || (size_t)len >= sizeof path)
        return;
    each_entry(s, env, path, visit_input);
    len = snprintf(path, sizeof path, "%s/%s/device", folder, entry); // drivers before Linux 3.15
    if (s->count == before && len > 0 && (size_t)len < sizeof path)
        each_entry(s, env, path, visit_input);
}

static void visit_zone(struct state *s, const struct collect_env *env, const char *folder,
                       const char *entry)
{
    struct sensor sensor = {0};
    char path[160], name[64];
    if (strncmp(entry, "thermal_zone", 12) != 0)
        return;
    int len = snprintf(path, sizeof path, "%s/%s/type", folder, entry);
    if (len < 0 || (size_t)len >= sizeof path ||
        collect_read_line(env->sysfs, path, name, sizeof name) < 0)
        return;
    temp_sensor_name(sensor.name, sizeof sensor.name, name, "");
    if (!parse_copy(sensor.device, sizeof sensor.device, rn_span_text(entry)) || !sensor.name[0])
        return;
    parse_clean(sensor.device);
    len = snprintf(sensor.file, sizeof sensor.file, "%s/%s/temp", folder, entry);
    if (len > 0 && (size_t)len < sizeof sensor.file)
        add(s, env, &sensor);
}

static int by_file(const void *a, const void *b)
{
    const struct sensor *left = a, *right = b;
    return strcmp(left->file, right->file);
}

// Same name and same device cannot be told apart: the first one stays.
static void mark_doubles(struct state *s, const struct collect_env *env)
{
    int kept = 0;
    for (int i = 0; i < s->count; i++) {
        bool same = false;
        for (int j = 0; j < kept; j++) {
            if (strcmp(s->sensor[i].name, s->sensor[j].name) != 0)
                continue;
            s->sensor[i].doubled = s->sensor[j].doubled = true;
            same |= strcmp(s->sensor[i].device, s->sensor[j].device) == 0;
        }
        if (same)
            collect_left_out(env, 1);
        else
            s->sensor[kept++] = s->sensor[i];
    }
    s->count = kept;
}

static void look(struct state *s, const struct collect_env *env)
{
    s->count = 0;
    each_entry(s, env, "class/hwmon", visit_hwmon);
    if (s->count == 0)
        each_entry(s, env, "class/thermal", visit_zone);
    qsort(s->sensor, (size_t)s->count, sizeof s->sensor[0], by_file);
    mark_doubles(s, env);
    s->looked = true;
}

// ---- emit --------------------------------------------------------------------------------------

// False if the sensor gives no temperature now.
static bool emit(const struct sensor *sensor, const struct collect_env *env,
                 const struct rn_samples *out)
{
    char text[32];
    int64_t value;
    struct point p;
    if (collect_read_line(env->sysfs, sensor->file, text, sizeof text) < 0 ||
        !parse_i64(rn_span_text(text), &value) || value > HOTTEST || value < -HOTTEST)
        return false;
    point_clear(&p);
    if (sensor->doubled && sensor->device[0])
        point_tag(&p, "device", sensor->device);
    point_tag(&p, "sensor", sensor->name);
    point_int(&p, &fields[0], value);
    point_report(&p, "temp", out);
    return true;
}

static int sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                  const struct rn_samples *out, struct rn_err *err)
{
    (void)conf, (void)err;
    struct state *s = state;
    if (!s->looked || boot_ms - s->looked_ms >= LOOK_AGAIN_MS) {
        look(s, env);
        s->looked_ms = boot_ms;
    }
    for (int i = 0; i < s->count; i++)
        (void)emit(&s->sensor[i], env, out);
    return 0;
}

const struct rn_collector collect_temp = {
    .name = "temp",
    .help = "Temperatures.",
    .state_size = sizeof(struct state),
    .fields = fields,
    .nfields = 1,
    .tags = "device sensor",
    .sample = sample,
};
