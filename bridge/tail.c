// See tail.h.
#include "bridge/tail.h"

#include <pthread.h>
#include <runnel/text.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_ITEMS    256
#define QUEUE_BYTES    (4 * 1024 * 1024)
#define TEXT_MAX_BYTES (4 * 1024 * 1024)

struct tail {
    struct tails *tails;
    struct rn_queue *queue;
    char types[8];
    char dev[RN_DEV_MAX + 1];
    uint64_t lost; // since the last text; guarded by the list's mutex
};

struct tails {
    pthread_mutex_t lock; // guards sub and each one's lost
    struct tail *sub[TAIL_MAX];
    _Atomic uint32_t count;
    struct rn_buf text; // of verify's thread
};

void cursors_text_free(void *text)
{
    free(text);
}

int tails_new(struct tails **out, struct rn_err *err)
{
    struct tails *tails = calloc(1, sizeof *tails);
    if (!tails)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    pthread_mutex_init(&tails->lock, NULL);
    rn_buf_init(&tails->text, TEXT_MAX_BYTES);
    *out = tails;
    return RN_OK;
}

void tails_free(struct tails *tails)
{
    if (!tails)
        return;
    for (uint32_t i = 0; i < TAIL_MAX; i++)
        if (tails->sub[i])
            tails->sub[i]->tails = NULL;
    pthread_mutex_destroy(&tails->lock);
    rn_buf_release(&tails->text);
    free(tails);
}

static bool enlist(struct tails *tails, struct tail *tail)
{
    bool found = false;
    pthread_mutex_lock(&tails->lock);
    for (uint32_t i = 0; i < TAIL_MAX && !found; i++)
        if (!tails->sub[i]) {
            tails->sub[i] = tail;
            atomic_fetch_add(&tails->count, 1);
            found = true;
        }
    pthread_mutex_unlock(&tails->lock);
    return found;
}

int tails_add(struct tails *tails, const char *types, const char *dev, struct rn_wake *wake,
              struct tail **out, struct rn_err *err)
{
    struct tail *tail = calloc(1, sizeof *tail);
    if (!tail)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    tail->tails = tails;
    snprintf(tail->types, sizeof tail->types, "%s", types && *types ? types : "mlei");
    snprintf(tail->dev, sizeof tail->dev, "%s", dev ? dev : "");
    int rc = rn_queue_new(&tail->queue, QUEUE_ITEMS, QUEUE_BYTES, wake, cursors_text_free, err);
    if (rc == RN_OK && !enlist(tails, tail))
        rc = rn_fail(err, RN_ELIMIT, "there are %d subscribers already", TAIL_MAX);
    if (rc < 0) {
        rn_queue_free(tail->queue);
        free(tail);
        return rc;
    }
    *out = tail;
    return RN_OK;
}

struct cursors_text *tail_next(struct tail *tail)
{
    return rn_queue_pop(tail->queue);
}

void tail_unsubscribe(struct tail *tail)
{
    if (!tail)
        return;
    struct tails *tails = tail->tails;
    if (tails) {
        pthread_mutex_lock(&tails->lock);
        for (uint32_t i = 0; i < TAIL_MAX; i++)
            if (tails->sub[i] == tail) {
                tails->sub[i] = NULL;
                atomic_fetch_sub(&tails->count, 1);
            }
        pthread_mutex_unlock(&tails->lock);
    }
    rn_queue_free(tail->queue);
    free(tail);
}

static bool matches(const struct tail *tail, const struct rn_run *run)
{
    return strchr(tail->types, run->type) && (!tail->dev[0] || strcmp(tail->dev, run->dev) == 0);
}

static void hand_over(struct tail *tail, const struct rn_buf *text)
{
    struct cursors_text *copy = malloc(sizeof *copy + text->len + 1);
    if (copy) {
        copy->token = NULL;
        copy->lost = tail->lost;
        copy->len = text->len;
        memcpy(copy->data, text->data, text->len);
        copy->data[text->len] = 0;
    }
    if (copy && rn_queue_push(tail->queue, copy, sizeof *copy + text->len)) {
        tail->lost = 0;
        return;
    }
    tail->lost++;
    free(copy);
}

void tails_publish(struct tails *tails, const struct rn_run *run)
{
    bool written = false;
    if (atomic_load_explicit(&tails->count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&tails->lock);
    for (uint32_t i = 0; i < TAIL_MAX; i++) {
        if (!tails->sub[i] || !matches(tails->sub[i], run))
            continue;
        if (!written) {
            rn_buf_clear(&tails->text);
            (void)rn_json_grid(&tails->text, run->schema, run->grid, rn_span_text(run->dev));
            written = true;
        }
        if (rn_buf_ok(&tails->text) && tails->text.len)
            hand_over(tails->sub[i], &tails->text);
        else if (!rn_buf_ok(&tails->text))
            tails->sub[i]->lost++;
    }
    pthread_mutex_unlock(&tails->lock);
}
