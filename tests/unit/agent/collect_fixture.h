// What the tests of collectors share: a world to look at, a receiver that prints, a folder to
// write a small tree into.
#ifndef TESTS_UNIT_AGENT_COLLECT_FIXTURE_H
#define TESTS_UNIT_AGENT_COLLECT_FIXTURE_H

#include "agent/collect/collector.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

// A test's own world, so that the library's files need not work for this.
static inline void fixture_mkdirs(const char *path)
{
    char part[512];
    for (size_t i = 1; path[i - 1]; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        assert_true(mkdir(part, 0755) == 0 || errno == EEXIST);
    }
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

struct fixture {
    struct collect_env env;
    struct rn_buf scratch;
    uint64_t left_out;
    struct rn_samples samples;
    char *out; // a line for each point
    size_t len, size;
    int points;
    char folder[64]; // of a tree that the test writes
    char proc[80], sys[80];
};

static inline void fixture_print(struct fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void fixture_print(struct fixture *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(f->out + f->len, f->size - f->len, format, args);
    va_end(args);
    assert_true(len >= 0 && f->len + (size_t)len < f->size);
    f->len += (size_t)len;
}

static inline void fixture_print_value(struct fixture *f, const struct rn_point_value *value)
{
    const struct rn_field_desc *field = value->field;
    int64_t number = value->scaled;
    fixture_print(f, "%s=", field->name);
    if (field->decimals == 0) {
        int64_t mul = field->mul ? field->mul : 1;
        assert_false(__builtin_mul_overflow(number, mul, &number));
        fixture_print(f, "%" PRId64 "%s", number, field->type == RN_INT ? "i" : "");
        return;
    }
    int64_t unit = 1;
    for (int i = 0; i < field->decimals; i++)
        unit *= 10;
    fixture_print(f, "%s%" PRId64 ".%0*" PRId64, number < 0 ? "-" : "", labs(number) / unit,
                  field->decimals, labs(number) % unit);
}

// measurement,tag=value field=value,field=value
static inline void fixture_add(void *arg, const struct rn_point *point)
{
    struct fixture *f = arg;
    f->points++;
    assert_true(point->nvalues > 0);
    fixture_print(f, "%s", point->measurement);
    for (uint32_t i = 0; i < point->ntags; i++) {
        const struct rn_tag *tag = &point->tags[i];
        assert_true(i == 0 || rn_span_cmp(point->tags[i - 1].key, tag->key) < 0);
        assert_true(tag->value.len > 0 && rn_utf8_valid(tag->value.data, tag->value.len));
        fixture_print(f, ",%.*s=%.*s", (int)tag->key.len, (const char *)tag->key.data,
                      (int)tag->value.len, (const char *)tag->value.data);
    }
    for (uint32_t i = 0; i < point->nvalues; i++) {
        fixture_print(f, i ? "," : " ");
        fixture_print_value(f, &point->values[i]);
    }
    fixture_print(f, "\n");
}

static inline void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    rn_buf_init(&f->scratch, COLLECT_SCRATCH_MAX);
    collect_env_init(&f->env, &f->scratch);
    f->env.left_out = &f->left_out;
    f->env.page_bytes = 4096;
    f->samples = (struct rn_samples){fixture_add, f};
    f->size = 1 << 20;
    f->out = malloc(f->size);
    assert_non_null(f->out);
    f->out[0] = '\0';
}

// An empty tree of the test's own, in place of the machine.
static inline void fixture_init_tree(struct fixture *f)
{
    fixture_init(f);
    strcpy(f->folder, "/tmp/collect-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->proc, sizeof f->proc, "%s/proc", f->folder);
    snprintf(f->sys, sizeof f->sys, "%s/sys", f->folder);
    fixture_mkdirs(f->proc);
    fixture_mkdirs(f->sys);
    f->env.procfs = f->proc;
    f->env.sysfs = f->sys;
    f->env.rootfs = f->folder;
}

static inline void fixture_release(struct fixture *f)
{
    if (f->folder[0])
        assert_int_equal(nftw(f->folder, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    rn_buf_release(&f->scratch);
    free(f->out);
}

static inline void fixture_write_bytes(struct fixture *f, const char *path, const void *bytes,
                                       size_t len)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", f->folder, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    fixture_mkdirs(full);
    *slash = '/';
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static inline void fixture_write(struct fixture *f, const char *path, const char *text)
{
    fixture_write_bytes(f, path, text, strlen(text));
}

static inline void fixture_clear(struct fixture *f)
{
    f->len = 0;
    f->points = 0;
    f->out[0] = '\0';
}

// State and configuration of one collector: everything at its default, then opened.
struct subject {
    const struct rn_collector *collector;
    void *state, *conf;
};

static inline struct subject subject_open(struct fixture *f, const struct rn_collector *c)
{
    struct rn_err err = {0};
    struct subject s = {c, calloc(1, c->state_size + 1), calloc(1, c->conf_size + 1)};
    assert_true(s.state && s.conf);
    assert_int_equal(rn_opt_defaults(c->opts, c->nopts, s.conf, &err), 0);
    if (c->open)
        assert_int_equal(c->open(s.state, s.conf, &f->env, &err), 0);
    return s;
}

static inline int subject_sample(struct fixture *f, const struct subject *s, int64_t boot_ms)
{
    struct rn_err err = {0};
    int code = s->collector->sample(s->state, s->conf, &f->env, boot_ms, &f->samples, &err);
    assert_true(code >= 0 || (err.code == code && err.text[0]));
    return code;
}

static inline void subject_close(struct subject *s)
{
    if (s->collector->close)
        s->collector->close(s->state);
    free(s->state);
    free(s->conf);
}

// The value of a field in the first line that starts with `start`; NULL if there is none. Static.
static inline const char *fixture_value(const struct fixture *f, const char *start,
                                        const char *field)
{
    static char value[64];
    char key[64];
    for (const char *line = f->out; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, start, strlen(start)) != 0)
            continue;
        size_t len = strcspn(line, "\n");
        snprintf(key, sizeof key, "%s=", field);
        for (const char *at = strstr(line, key); at && at < line + len; at = strstr(at + 1, key)) {
            if (at[-1] != ' ' && at[-1] != ',')
                continue;
            at += strlen(key);
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at, ",\n"), at);
            return value;
        }
    }
    return NULL;
}

#endif
