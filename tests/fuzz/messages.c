// Every other message: what is accepted encodes, and that decodes and encodes to the same bytes.
#include <runnel/wire.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 65536
static struct rn_err words, *err; // words cost more than most decoders: one input in eight

#define AGAIN(noun)                                                                                \
    static int noun##_again(struct rn_span in, struct rn_buf *out)                                 \
    {                                                                                              \
        static struct rn_##noun msg;                                                               \
        if (rn_##noun##_decode(in, &msg, err))                                                     \
            return 1;                                                                              \
        return rn_##noun##_encode(&msg, out);                                                      \
    }

AGAIN(status)
AGAIN(ack)
AGAIN(signed)
AGAIN(report)
AGAIN(bridge_status)
AGAIN(hints)
AGAIN(base)

static int key_again(struct rn_span in, struct rn_buf *out)
{
    static struct rn_key_msg msg;
    if (rn_key_decode(in, &msg, err))
        return 1;
    return rn_key_encode(&msg, out);
}

static int config_again(struct rn_span in, struct rn_buf *out)
{
    static struct rn_config_doc doc;
    if (rn_config_decode(in, &doc, err))
        return 1;
    return rn_config_encode(&doc, out);
}

static int (*const messages[])(struct rn_span in, struct rn_buf *out) = {
    status_again, ack_again,    signed_again, report_again, bridge_status_again,
    key_again,    config_again, hints_again,  base_again,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[MAX], second[MAX];
    err = size % 8 ? NULL : &words;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        struct rn_buf out, again;
        rn_buf_init_fixed(&out, first, sizeof first);
        rn_buf_init_fixed(&again, second, sizeof second);
        int result = messages[i]((struct rn_span){data, size}, &out);
        if (result > 0)
            continue; // refused
        if (result < 0 || messages[i](rn_buf_span(&out), &again) != RN_OK ||
            !rn_span_eq(rn_buf_span(&out), rn_buf_span(&again)))
            abort();
    }
    return 0;
}
