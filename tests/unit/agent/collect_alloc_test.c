// In steady state a tick allocates nothing; opendir(3) alone takes a block of the C library's own
// and gives it back. Counted by standing in for malloc, which a sanitizer does not allow.
#include "collect_fixture.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifndef SANITIZED
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

static int taken, given;

void *malloc(size_t size)
{
    taken++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    taken++;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    taken++;
    given += block != NULL;
    return __libc_realloc(block, size);
}

void free(void *block)
{
    given += block != NULL;
    __libc_free(block);
}

static void count_point(void *arg, const struct rn_point *point)
{
    *(uint32_t *)arg += point->nvalues;
}

static void check(struct fixture *f, const struct rn_collector *c)
{
    struct rn_err err;
    uint32_t values = 0;
    struct subject s = subject_open(f, c);
    struct rn_samples out = {count_point, &values};
    for (int tick = 0; tick < 2; tick++) // the scratch buffer grows, sensors are looked for
        (void)c->sample(s.state, s.conf, &f->env, tick * 1000, &out, &err);
    taken = given = 0;
    for (int tick = 2; tick < 22; tick++)
        (void)c->sample(s.state, s.conf, &f->env, tick * 1000, &out, &err);
    int took = taken, gave = given;
    assert_int_equal(took, gave);
    assert_true(took <= (strcmp(c->name, "processes") == 0 ? 20 : 0));
    subject_close(&s);
}

static void a_tick_allocates_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    free(malloc(1)); // the counting works
    assert_true(taken > 0 && given > 0);
    for (size_t i = 0; i < collect_table_count; i++)
        if (strcmp(collect_table[i]->name, "runnel_agent") != 0)
            check(&f, collect_table[i]);
    fixture_release(&f);
}
#endif

int main(void)
{
#ifdef SANITIZED
    print_message("counting allocations needs a build without sanitizers\n");
    return 0;
#else
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tick_allocates_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
