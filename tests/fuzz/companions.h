// Schemas of the vectors that cover types, periods, gaps, irregular times and rules, each with a
// base and hints.
#ifndef FUZZ_COMPANIONS_H
#define FUZZ_COMPANIONS_H

#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>

#define SCHEMAS 5
static struct rn_schema schemas[SCHEMAS];
static struct rn_base bases[SCHEMAS];
static struct rn_hints hints[SCHEMAS];
static uint64_t work[RN_ENCODE_WORK / 8];

static struct rn_span load_file(const char *folder, const char *name, uint8_t bytes[4096])
{
    char path[512];
    snprintf(path, sizeof path, FUZZ_VECTORS "/%s-%s.cbor", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        abort();
    size_t len = fread(bytes, 1, 4096, file);
    fclose(file);
    return (struct rn_span){bytes, len};
}

static void load(void)
{
    static const char *const names[SCHEMAS] = {"minimal", "vitals", "types", "irregular", "rules"};
    static uint8_t bytes[SCHEMAS][4096], companion[4096];
    static uint64_t storage[SCHEMAS][4096];
    for (int i = 0; i < SCHEMAS; i++) {
        struct rn_err err;
        if (rn_schema_decode(load_file("schema", names[i], bytes[i]), &schemas[i], storage[i],
                             sizeof storage[i], &err) ||
            rn_base_decode(load_file("packed/base", names[i], companion), &bases[i], &err) ||
            rn_hints_decode(load_file("packed/hints", names[i], companion), &hints[i], &err))
            abort();
    }
}

static struct rn_coding coding(int schema)
{
    return (struct rn_coding){.base = &bases[schema], .hints = &hints[schema]};
}

#endif
