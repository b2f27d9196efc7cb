// See fingerprint.h.
#include "agent/fingerprint.h"

#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/wire.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CARDS_MAX = 16 };

// Appends a small file's content; nothing if it cannot be read.
static void add_file(struct rn_buf *out, const char *path)
{
    char text[128];
    struct rn_buf part;
    rn_buf_init_fixed(&part, text, sizeof text);
    if (rn_file_read(path, &part, NULL) >= 0)
        rn_buf_append(out, part.data, part.len);
}

// Virtual interfaces come and go; only those with a device behind them count.
static void add_cards(struct rn_buf *out)
{
    static const char folder[] = "/sys/class/net";
    char **names;
    int count;
    if (rn_names_list(folder, "", CARDS_MAX, &names, &count, NULL) < 0)
        return;
    for (int i = 0; i < count; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%.64s/device", folder, names[i]);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof path, "%s/%.64s/address", folder, names[i]);
        add_file(out, path);
    }
    rn_names_free(names, count);
}

uint64_t fingerprint_read(const char *device)
{
    uint8_t bytes[2048], hash[RN_SHA256_BYTES];
    struct rn_buf seen;
    uint64_t out = 0;
    rn_buf_init_fixed(&seen, bytes, sizeof bytes);
    add_file(&seen, "/etc/machine-id");
    add_cards(&seen);
    if (seen.len == 0)
        return 0;
    rn_buf_text(&seen, device);
    rn_sha256(hash, seen.data, seen.len);
    for (int i = 0; i < 8; i++)
        out = out << 8 | hash[i];
    out &= RN_ID_MAX;
    return out ? out : 1;
}
