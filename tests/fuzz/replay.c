// Replays inputs that are kept: packs of [length, 2 bytes big-endian][bytes], written by corpus.py.
// Each input lies in memory that is exactly as large as it.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(FILE *pack, size_t *inputs)
{
    int high, low;
    while ((high = getc(pack)) != EOF && (low = getc(pack)) != EOF) {
        size_t size = (size_t)high << 8 | (size_t)low;
        uint8_t *data = malloc(size ? size : 1);
        if (!data || fread(data, 1, size, pack) != size) {
            free(data);
            return 1;
        }
        (void)LLVMFuzzerTestOneInput(data, size);
        free(data);
        ++*inputs;
    }
    return 0;
}

int main(int argc, char **argv)
{
    size_t inputs = 0;
    for (int i = 1; i < argc; i++) {
        FILE *pack = fopen(argv[i], "rb");
        if (!pack || replay(pack, &inputs)) {
            fprintf(stderr, "%s: cannot be read, or ends early\n", argv[i]);
            return 1;
        }
        fclose(pack);
    }
    printf("%zu inputs\n", inputs);
    return inputs ? 0 : 1;
}
