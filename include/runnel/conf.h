// Configuration from YAML files and remote documents into an option table's struct.
//
// Files are read as libyaml events; nothing but mappings, sequences of scalars and scalars is
// accepted (no anchors, no tags, no multiple documents). A mapping nests keys: `mqtt: {keepalive:
// 60s}` is "mqtt.keepalive". `${VAR}` and `${VAR:-default}` are expanded inside scalars after
// parsing; `$$` is a dollar. A key `<secret>_file` reads a SECRET row from that file, one trailing
// newline cut. Every error says file, line, column, key and what was expected.
// A later source overrides an earlier one; a list is replaced whole.
#ifndef RUNNEL_CONF_H
#define RUNNEL_CONF_H

#include <runnel/err.h>
#include <runnel/opt.h>
#include <stdbool.h>
#include <stddef.h>

// Who set a row: kept beside the struct, one entry a row, for `check --origin`.
struct rn_conf_origin {
    char source[160]; // "default", "<file>:<line>", "remote r12"
};

struct rn_conf {
    const struct rn_opt *rows;
    size_t count;
    void *base;                     // the configuration struct
    struct rn_conf_origin *origins; // count entries, or NULL
};

// Sets all defaults (origin "default").
RN_MUST_CHECK int rn_conf_init(struct rn_conf *conf, struct rn_err *err);
RN_MUST_CHECK int rn_conf_file(struct rn_conf *conf, const char *path, struct rn_err *err);
// folder/*.yaml in order of name; a folder that is not there is no error.
RN_MUST_CHECK int rn_conf_folder(struct rn_conf *conf, const char *folder, struct rn_err *err);
// One key as from a command line or a remote document; source goes into the origin. If
// remote_only, rows without RN_OPT_REMOTE are refused with RN_EACCESS. No ${} expansion.
RN_MUST_CHECK int rn_conf_set(struct rn_conf *conf, const char *key, const char *text,
                              const char *source, bool remote_only, struct rn_err *err);
// Everything required is there?
RN_MUST_CHECK int rn_conf_check(const struct rn_conf *conf, struct rn_err *err);

#endif
