// Drives the codec of batches for tests and benchmarks written in other languages. Commands on
// standard input, one a line, bytes in hex; one line of answer each, "error WORDS" if it failed.
//   schema BYTES           what follows is about this schema
//   base BYTES, hints BYTES   used from now on; "-": none
//   code ENC BODY [TIMES]  the body in encoding ENC, decoded, compared with the given one and
//   timed:
//                          "body BYTES samples N encode_ns X decode_ns Y" (a sample, least of
//                          TIMES)
//   learn BODY             adds a body to what hints are made from
//   hints? -               "hints BYTES" from what was learnt
//   base? BODY             "base BYTES": the last row of the body
#include <runnel/buf.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES (4 * RN_BATCH_MAX_BYTES)

struct driver {
    struct rn_schema schema;
    uint8_t schema_bytes[RN_SCHEMA_MAX_BYTES];
    uint64_t schema_storage[RN_SCHEMA_STORAGE / 8];
    struct rn_base base;
    struct rn_hints hints;
    struct rn_coding with;
    struct rn_hints_sums sums;
    uint64_t work[RN_ENCODE_WORK / 8];
    uint8_t in[RN_BATCH_MAX_BYTES], out[RN_BATCH_MAX_BYTES];
    char line[LINE_MAX_BYTES], hex[2 * RN_BATCH_MAX_BYTES + 1];
    struct rn_err err;
};

static int unhex(struct driver *d, const char *text, struct rn_span *bytes)
{
    size_t len = strlen(text);
    if (len % 2 || len / 2 > sizeof d->in || rn_unhex(d->in, len / 2, text))
        return rn_fail(&d->err, RN_EINVAL, "not hex, or too long");
    *bytes = (struct rn_span){d->in, len / 2};
    return RN_OK;
}

static int set_schema(struct driver *d, struct rn_span bytes)
{
    if (bytes.len > sizeof d->schema_bytes)
        return rn_fail(&d->err, RN_ELIMIT, "schema is too long");
    memcpy(d->schema_bytes, bytes.data, bytes.len);
    d->with = (struct rn_coding){0};
    memset(&d->sums, 0, sizeof d->sums);
    return rn_schema_decode((struct rn_span){d->schema_bytes, bytes.len}, &d->schema,
                            d->schema_storage, sizeof d->schema_storage, &d->err);
}

static int decode(struct driver *d, struct rn_span body, struct rn_grid *grid, void **storage)
{
    struct rn_batch_info info;
    int rc = rn_batch_open_body(body, &info, &d->err);
    if (rc)
        return rc;
    size_t size = rn_batch_grid_bytes(&d->schema, &info);
    free(*storage);
    *storage = malloc(size ? size : 1);
    return rn_batch_decode_with(&d->schema, &info, &d->with, grid, *storage, size, d->work,
                                RN_DECODE_WORK, &d->err);
}

static bool same(const struct rn_grid *a, const struct rn_grid *b)
{
    size_t cells = (size_t)a->n * a->ncolumns;
    if (a->n != b->n || memcmp(a->times, b->times, a->n * sizeof *a->times) != 0 ||
        memcmp(a->states, b->states, cells) != 0)
        return false;
    for (size_t at = 0; at < cells; at++) {
        if (a->states[at] == RN_CELL_TEXT ? !rn_span_eq(rn_grid_text(a, at), rn_grid_text(b, at))
                                          : a->states[at] && a->cells[at].i != b->cells[at].i)
            return false;
    }
    return true;
}

struct timed {
    int64_t encode_ns, decode_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t least_since(int64_t start, int64_t least)
{
    int64_t took = now_ns() - start;
    return took < least ? took : least;
}

static int encode_timed(struct driver *d, uint32_t enc, const struct rn_grid *grid, int times,
                        struct rn_buf *out, struct timed *timed)
{
    int rc = RN_OK;
    timed->encode_ns = INT64_MAX;
    for (int i = 0; i < times && !rc; i++) {
        int64_t start = now_ns();
        rn_buf_init_fixed(out, d->out, sizeof d->out);
        rc = rn_batch_encode_as(enc, &d->schema, 0, &d->with, grid, d->work,
                                enc == RN_ENC_RANGE ? RN_RANGE_WORK : sizeof d->work, out, &d->err);
        timed->encode_ns = least_since(start, timed->encode_ns);
    }
    return rc;
}

static int code(struct driver *d, uint32_t enc, struct rn_span body, int times)
{
    void *storage = NULL, *again = NULL;
    struct rn_grid grid, back;
    struct rn_buf out;
    struct timed timed = {.decode_ns = INT64_MAX};
    int rc = decode(d, body, &grid, &storage);
    if (!rc)
        rc = encode_timed(d, enc, &grid, times, &out, &timed);
    for (int i = 0; i < times && !rc; i++) {
        int64_t start = now_ns();
        rc = decode(d, rn_buf_span(&out), &back, &again);
        timed.decode_ns = least_since(start, timed.decode_ns);
    }
    if (!rc && !same(&grid, &back))
        rc = rn_fail(&d->err, RN_ECORRUPT, "does not come back");
    if (!rc) {
        double samples = (double)rn_grid_samples(&grid);
        rn_hex(d->hex, out.data, out.len);
        printf("body %s samples %.0f encode_ns %.2f decode_ns %.2f\n", d->hex, samples,
               (double)timed.encode_ns / samples, (double)timed.decode_ns / samples);
    }
    free(storage);
    free(again);
    return rc;
}

static int learn(struct driver *d, struct rn_span body)
{
    void *storage = NULL;
    struct rn_grid grid;
    int rc = decode(d, body, &grid, &storage);
    if (!rc) {
        rn_hints_add(&d->schema, d->with.base, &grid, &d->sums);
        puts("learnt");
    }
    free(storage);
    return rc;
}

static int make_base(struct driver *d, struct rn_span body)
{
    static struct rn_base base;
    void *storage = NULL;
    struct rn_grid grid;
    struct rn_buf out;
    int rc = decode(d, body, &grid, &storage);
    if (!rc) {
        rn_base_from(&d->schema, &grid, &base);
        rn_buf_init_fixed(&out, d->out, sizeof d->out);
        rc = rn_base_encode(&base, &out);
    }
    if (!rc) {
        rn_hex(d->hex, out.data, out.len);
        printf("base %s\n", d->hex);
    }
    free(storage);
    return rc;
}

static int make_hints(struct driver *d)
{
    static struct rn_hints hints;
    struct rn_buf out;
    rn_buf_init_fixed(&out, d->out, sizeof d->out);
    rn_hints_from(&d->schema, &d->sums, &hints);
    int rc = rn_hints_encode(&hints, &out);
    if (rc)
        return rc;
    rn_hex(d->hex, out.data, out.len);
    printf("hints %s\n", d->hex);
    return RN_OK;
}

static int set_base(struct driver *d, const char *text, struct rn_span bytes)
{
    bool none = strcmp(text, "-") == 0;
    d->with.base = none ? NULL : &d->base;
    return none ? RN_OK : rn_base_decode(bytes, &d->base, &d->err);
}

static int set_hints(struct driver *d, const char *text, struct rn_span bytes)
{
    bool none = strcmp(text, "-") == 0;
    d->with.hints = none ? NULL : &d->hints;
    return none ? RN_OK : rn_hints_decode(bytes, &d->hints, &d->err);
}

static int run(struct driver *d, char *line)
{
    char *words[4] = {0}, *rest = line;
    for (int i = 0; i < 4; i++)
        words[i] = strsep(&rest, " \n");
    bool coding = strcmp(words[0], "code") == 0;
    const char *text = words[coding ? 2 : 1];
    struct rn_span bytes = {0};
    int rc = text && strcmp(text, "-") != 0 ? unhex(d, text, &bytes) : RN_OK;
    if (rc || !text)
        return rc ? rc : rn_fail(&d->err, RN_EINVAL, "too few words");
    if (coding)
        return code(d, (uint32_t)atoi(words[1]), bytes, words[3] && *words[3] ? atoi(words[3]) : 1);
    if (strcmp(words[0], "learn") == 0)
        return learn(d, bytes);
    if (strcmp(words[0], "base?") == 0)
        return make_base(d, bytes);
    if (strcmp(words[0], "hints?") == 0)
        return make_hints(d);
    if (strcmp(words[0], "schema") == 0)
        rc = set_schema(d, bytes);
    else if (strcmp(words[0], "base") == 0)
        rc = set_base(d, text, bytes);
    else if (strcmp(words[0], "hints") == 0)
        rc = set_hints(d, text, bytes);
    else
        rc = rn_fail(&d->err, RN_EINVAL, "no such command");
    if (!rc)
        puts("set");
    return rc;
}

int main(void)
{
    struct driver *d = calloc(1, sizeof *d);
    while (d && fgets(d->line, sizeof d->line, stdin)) {
        d->err.text[0] = '\0';
        if (run(d, d->line))
            printf("error %s\n", d->err.text);
        fflush(stdout);
    }
    free(d);
    return 0;
}
