// A target without libFuzzer. Replays inputs that are kept: packs of [length, 2 bytes
// big-endian][bytes], written by corpus.py. With a count it then runs so many mutations of them:
// without coverage to gather that is several times as quick as libFuzzer, for large numbers.
//
//   fuzz_NAME PACK [COUNT [SEED]]
//
// Each input lies in memory that is exactly as large as it. One that ends the program is left in
// the file "finding"; the same count and seed find it again.
#include <runnel/rand.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUTS_MAX  4096
#define MUTATED_MAX 512 // of what is mutated

struct input {
    uint8_t *data;
    size_t size;
};

static struct input inputs[INPUTS_MAX];
static size_t ninputs;
static struct input current; // that the target is at

static int load(FILE *pack)
{
    int high, low;
    while ((high = getc(pack)) != EOF && (low = getc(pack)) != EOF) {
        size_t size = (size_t)high << 8 | (size_t)low;
        uint8_t *data = malloc(size ? size : 1);
        if (!data || ninputs == INPUTS_MAX || fread(data, 1, size, pack) != size) {
            free(data);
            return 1;
        }
        inputs[ninputs++] = (struct input){data, size};
    }
    return ninputs ? 0 : 1;
}

static void run(struct input input)
{
    current = input;
    (void)LLVMFuzzerTestOneInput(input.data, input.size);
}

// ---- mutations ----------------------------------------------------------------------------------

struct draft {
    uint8_t data[MUTATED_MAX];
    size_t size;
};

static size_t below(struct rn_rand *rng, size_t bound)
{
    return (size_t)rn_rand_below(rng, bound);
}

static void change_byte(struct draft *draft, struct rn_rand *rng)
{
    static const uint8_t edges[] = {0, 1, 0x17, 0x18, 0x1b, 0x7f, 0x80, 0x81, 0xf9, 0xfb, 0xff};
    uint8_t *at = &draft->data[below(rng, draft->size)];
    switch (below(rng, 4)) {
    case 0:
        *at = (uint8_t)(*at ^ 1U << below(rng, 8));
        break;
    case 1:
        *at = (uint8_t)rn_rand_u64(rng);
        break;
    case 2:
        *at = edges[below(rng, sizeof edges)];
        break;
    default:
        *at = (uint8_t)(*at + below(rng, 17) - 8);
    }
}

static void erase(struct draft *draft, struct rn_rand *rng)
{
    size_t at = below(rng, draft->size), most = draft->size - at;
    size_t len = 1 + below(rng, most < 16 ? most : 16);
    memmove(draft->data + at, draft->data + at + len, draft->size - at - len);
    draft->size -= len;
}

// Bytes of any input, over what is there or before it.
static void splice(struct draft *draft, struct rn_rand *rng)
{
    const struct input *from = &inputs[below(rng, ninputs)];
    size_t start = below(rng, from->size + 1), at = below(rng, draft->size + 1);
    size_t len = below(rng, 32), left = from->size - start;
    len = len < left ? len : left;
    bool insert = rn_rand_u64(rng) & 1;
    size_t room = MUTATED_MAX - (insert ? draft->size : at);
    len = len < room ? len : room;
    if (insert)
        memmove(draft->data + at + len, draft->data + at, draft->size - at);
    if (len)
        memcpy(draft->data + at, from->data + start, len);
    size_t end = insert ? draft->size + len : at + len;
    draft->size = end > draft->size ? end : draft->size;
}

static void mutate(struct draft *draft, struct rn_rand *rng)
{
    const struct input *from = &inputs[below(rng, ninputs)];
    draft->size = from->size < MUTATED_MAX ? from->size : MUTATED_MAX;
    memcpy(draft->data, from->data, draft->size);
    for (size_t left = 1 + below(rng, 6); left > 0; left--) {
        size_t way = below(rng, 8);
        if (way < 2 || draft->size == 0)
            splice(draft, rng);
        else if (way == 2)
            erase(draft, rng);
        else
            change_byte(draft, rng);
    }
}

static void run_mutations(uint64_t count, uint64_t seed)
{
    static struct draft draft;
    struct rn_rand rng;
    rn_rand_init(&rng, seed);
    for (uint64_t i = 0; i < count; i++) {
        mutate(&draft, &rng);
        uint8_t *exact = malloc(draft.size ? draft.size : 1);
        if (!exact)
            return;
        memcpy(exact, draft.data, draft.size);
        run((struct input){exact, draft.size});
        free(exact);
    }
    printf("%llu mutations of seed %llu\n", (unsigned long long)count, (unsigned long long)seed);
}

// Sanitizers end the program by abort() where they are told to (abort_on_error=1).
static void keep_finding(int number)
{
    FILE *file = fopen("finding", "wb");
    if (file) {
        (void)fwrite(current.data, 1, current.size, file);
        fclose(file);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

int main(int argc, char **argv)
{
    FILE *pack = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!pack || load(pack)) {
        fprintf(stderr, "usage: %s PACK [COUNT [SEED]]\n", argv[0]);
        return 1;
    }
    fclose(pack);
    (void)signal(SIGABRT, keep_finding);
    for (size_t i = 0; i < ninputs; i++)
        run(inputs[i]);
    printf("%zu inputs\n", ninputs);
    if (argc > 2)
        run_mutations(strtoull(argv[2], NULL, 10), argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    while (ninputs)
        free(inputs[--ninputs].data);
    return 0;
}
