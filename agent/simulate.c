// See simulate.h.
#include "agent/simulate.h"

#include "agent/collect/point.h"
#include <runnel/rand.h>

#include <stddef.h>
#include <string.h>

enum { F_TEMPERATURE, F_PRESSURE, F_LOAD, F_BYTES, F_ERRORS, F_LEVEL, F_OPEN, F_MODE, F_COUNT };

static const struct rn_field_desc fields[F_COUNT] = {
    [F_TEMPERATURE] = {.name = "temperature",
                       .type = RN_FLOAT,
                       .kind = RN_GAUGE,
                       .decimals = 2,
                       .unit = "Cel",
                       .help = "A random walk."},
    [F_PRESSURE] = {.name = "pressure",
                    .type = RN_FLOAT,
                    .kind = RN_GAUGE,
                    .decimals = 1,
                    .unit = "hPa",
                    .help = "A slower random walk."},
    [F_LOAD] = {.name = "load",
                .type = RN_FLOAT,
                .kind = RN_GAUGE,
                .decimals = 2,
                .unit = "%",
                .help = "Anything between 0 and 100."},
    [F_BYTES] = {.name = "bytes",
                 .type = RN_UINT,
                 .kind = RN_COUNTER,
                 .unit = "By",
                 .help = "A counter that grows by some kilobytes."},
    [F_ERRORS] = {.name = "errors",
                  .type = RN_INT,
                  .kind = RN_COUNTER,
                  .help = "A counter that rarely grows."},
    [F_LEVEL] = {.name = "level", .type = RN_INT, .kind = RN_GAUGE, .help = "A walk of integers."},
    [F_OPEN] = {.name = "open", .type = RN_BOOL, .kind = RN_STATE, .help = "A door."},
    [F_MODE] = {.name = "mode", .type = RN_TEXT, .kind = RN_STATE, .help = "A word."},
};

struct sim_conf {
    int64_t seed;
};

static const struct rn_opt options[] = {
    {.key = "seed",
     .type = RN_OPT_INT,
     .offset = offsetof(struct sim_conf, seed),
     .def = "1",
     .help = "of the synthetic values"},
};

struct sim_state {
    struct rn_rand rand;
    int64_t temperature, pressure, level, errors, mode;
    uint64_t bytes;
    bool open;
};

static int sim_open(void *state, const void *conf, const struct collect_env *env,
                    struct rn_err *err)
{
    struct sim_state *s = state;
    const struct sim_conf *c = conf;
    (void)env;
    (void)err;
    rn_rand_init(&s->rand, (uint64_t)c->seed);
    s->temperature = 2000 + (int64_t)rn_rand_below(&s->rand, 1000);
    s->pressure = 10130;
    s->bytes = rn_rand_below(&s->rand, 1 << 30);
    return RN_OK;
}

static int64_t step(struct rn_rand *rand, int64_t most)
{
    return (int64_t)rn_rand_below(rand, (uint64_t)(2 * most + 1)) - most;
}

static void walk(struct sim_state *s)
{
    s->temperature += step(&s->rand, 15);
    s->pressure += step(&s->rand, 2);
    s->level += step(&s->rand, 3);
    s->bytes += rn_rand_below(&s->rand, 8192);
    s->errors += rn_rand_below(&s->rand, 50) == 0;
    if (rn_rand_below(&s->rand, 20) == 0)
        s->open = !s->open;
    if (rn_rand_below(&s->rand, 30) == 0)
        s->mode = (int64_t)rn_rand_below(&s->rand, 3);
}

static int sim_sample(void *state, const void *conf, const struct collect_env *env, int64_t boot_ms,
                      const struct rn_samples *out, struct rn_err *err)
{
    static const char *const modes[] = {"idle", "heating", "cooling"};
    struct sim_state *s = state;
    (void)conf;
    (void)env;
    (void)boot_ms;
    (void)err;
    walk(s);
    struct point p;
    point_clear(&p);
    point_tag(&p, "site", "simulated");
    point_int(&p, &fields[F_TEMPERATURE], s->temperature);
    point_int(&p, &fields[F_PRESSURE], s->pressure);
    point_int(&p, &fields[F_LOAD], (int64_t)rn_rand_below(&s->rand, 10001));
    point_uint(&p, &fields[F_BYTES], s->bytes);
    point_int(&p, &fields[F_ERRORS], s->errors);
    point_int(&p, &fields[F_LEVEL], s->level);
    point_int(&p, &fields[F_OPEN], s->open);
    p.value[p.nvalues++] =
        (struct rn_point_value){.field = &fields[F_MODE], .text = rn_span_text(modes[s->mode])};
    point_report(&p, "sim", out);
    return RN_OK;
}

const struct rn_collector simulate_collector = {
    .name = "sim",
    .help = "Synthetic values, for demonstrations and tests.",
    .state_size = sizeof(struct sim_state),
    .conf_size = sizeof(struct sim_conf),
    .opts = options,
    .nopts = RN_OPT_COUNT(options),
    .fields = fields,
    .nfields = F_COUNT,
    .tags = "site",
    .open = sim_open,
    .sample = sim_sample,
};
