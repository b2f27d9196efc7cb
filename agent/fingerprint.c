// See fingerprint.h.
#include "agent/fingerprint.h"

#include <runnel/crypto.h>
#include <runnel/file.h>
#include <runnel/wire.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CARDS_MAX = 4096 }; // containers have an interface each

// What only fails now must not make another machine of this one.
static bool is_lasting(int code)
{
    return code == RN_ENOENT || code == RN_EACCESS || code == RN_ELIMIT;
}

// Appends a small file's content; nothing if there is none to be read.
static int add_file(struct rn_buf *out, const char *path)
{
    char text[128];
    struct rn_buf part;
    rn_buf_init_fixed(&part, text, sizeof text);
    int rc = rn_file_read(path, &part, NULL);
    if (rc >= 0)
        rn_buf_append(out, part.data, part.len);
    return rc >= 0 || is_lasting(rc) ? RN_OK : rc;
}

// Virtual interfaces come and go; only those with a device behind them count.
static int add_cards(struct rn_buf *out)
{
    static const char folder[] = "/sys/class/net";
    char **names;
    int count;
    int rc = rn_names_list(folder, "", CARDS_MAX, &names, &count, NULL);
    if (rc < 0)
        return is_lasting(rc) ? RN_OK : rc;
    for (int i = 0; rc >= 0 && i < count; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%.64s/device", folder, names[i]);
        if (access(path, F_OK) < 0) {
            // ENOTDIR: bonding_masters is a file.
            rc = errno == ENOENT || errno == ENOTDIR || errno == EACCES ? RN_OK : RN_EIO;
            continue;
        }
        snprintf(path, sizeof path, "%s/%.64s/address", folder, names[i]);
        rc = add_file(out, path);
    }
    rn_names_free(names, count);
    return rc;
}

uint64_t fingerprint_read(const char *device)
{
    uint8_t bytes[2048], hash[RN_SHA256_BYTES];
    struct rn_buf seen;
    uint64_t out = 0;
    rn_buf_init_fixed(&seen, bytes, sizeof bytes);
    if (add_file(&seen, "/etc/machine-id") < 0 || add_cards(&seen) < 0 || seen.len == 0)
        return 0;
    rn_buf_text(&seen, device);
    rn_sha256(hash, seen.data, seen.len);
    for (int i = 0; i < 8; i++)
        out = out << 8 | hash[i];
    out &= RN_ID_MAX;
    return out ? out : 1;
}
