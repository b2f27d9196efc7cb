// Seeded generator (xoshiro256**, Blackman and Vigna 2018): for jitter and tests, never for
// secrets. Pure cores get one in their configuration, so that every run can be repeated from its
// seed.
#ifndef RUNNEL_RAND_H
#define RUNNEL_RAND_H

#include <stdint.h>

struct rn_rand {
    uint64_t s[4];
};

void rn_rand_init(struct rn_rand *rand, uint64_t seed); // any seed, 0 too
uint64_t rn_rand_u64(struct rn_rand *rand);
uint64_t rn_rand_below(struct rn_rand *rand,
                       uint64_t bound); // 0..bound-1 unbiased; 0 if bound is 0

#endif
