// See runnel/rand.h.
#include <runnel/rand.h>

static uint64_t rotate(uint64_t value, int by)
{
    return (value << by) | (value >> (64 - by));
}

void rn_rand_init(struct rn_rand *rand, uint64_t seed)
{
    // splitmix64: what the generator's authors advise for filling the state from one number.
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t mixed = seed;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        rand->s[i] = mixed ^ (mixed >> 31);
    }
}

uint64_t rn_rand_u64(struct rn_rand *rand)
{
    uint64_t *s = rand->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t rn_rand_below(struct rn_rand *rand, uint64_t bound)
{
    if (bound == 0)
        return 0;
    uint64_t surplus =
        -bound % bound; // 2^64 mod bound: the values that would favour the small ones
    uint64_t value;
    do
        value = rn_rand_u64(rand);
    while (value < surplus);
    return value % bound;
}
