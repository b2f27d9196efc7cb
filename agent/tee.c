// See tee.h.
#include "agent/tee.h"

#include <runnel/log.h>
#include <runnel/text.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEE_MAX = 8 << 20 }; // the text of the largest batch

struct tee {
    int fd;
    struct rn_buf text;
};

int tee_open(struct tee **out, const char *path, struct rn_err *err)
{
    struct tee *tee = calloc(1, sizeof *tee);
    if (!tee)
        return rn_fail(err, RN_ENOMEM, "out of memory");
    tee->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (tee->fd < 0) {
        free(tee);
        return rn_fail_errno(err, "--tee %s", path);
    }
    rn_buf_init(&tee->text, TEE_MAX);
    *out = tee;
    return RN_OK;
}

void tee_close(struct tee *tee)
{
    if (!tee)
        return;
    close(tee->fd);
    rn_buf_release(&tee->text);
    free(tee);
}

static void put(struct tee *tee)
{
    struct rn_span text = rn_buf_span(&tee->text);
    ssize_t n = !rn_buf_ok(&tee->text) ? -1 : write(tee->fd, text.data, text.len);
    if (n != (ssize_t)text.len)
        rn_log(RN_LOG_ERROR, "tee_incomplete", "err=%s", RN_Q(n < 0 ? strerror(errno) : "short"));
    rn_buf_clear(&tee->text);
}

void tee_begin(struct tee *tee, const char *device, const struct sampler_batch *batch)
{
    const struct rn_lp_conf lp = {.host_key = rn_span_text("host"), .host = rn_span_text(device)};
    rn_buf_printf(&tee->text, "# begin %s %llu\n", device, (unsigned long long)batch->samples);
    rn_lp_grid(&tee->text, batch->schema, batch->grid, &lp);
    put(tee);
}

void tee_commit(struct tee *tee, const char *device, uint64_t install, uint64_t seq,
                uint64_t samples)
{
    rn_buf_printf(&tee->text, "# commit %s %016llx %llu %llu\n", device,
                  (unsigned long long)install, (unsigned long long)seq,
                  (unsigned long long)samples);
    put(tee);
}
