// Configuration from YAML files and remote documents into option tables.
//
// Files are read as libyaml events; nothing but mappings, sequences of scalars and scalars is
// accepted (no anchors, no tags, no multiple documents). A mapping nests keys: `mqtt: {keepalive:
// 60s}` is "mqtt.keepalive". `${VAR}` and `${VAR:-default}` are expanded inside scalars after
// parsing; `$$` is a dollar. A key `<secret>_file` reads a SECRET row from that file, one trailing
// newline cut. Every error says file, line, column, key and what was expected.
// A later source overrides an earlier one; a list is replaced whole. A key that stands twice in one
// file is an error. A call that fails may have set some rows before: work on a copy where that
// matters. Limits: 256 kB a file, 2,000 keys, depth 8, 200 bytes a dotted key, 4,096 bytes a
// scalar.
#ifndef RUNNEL_CONF_H
#define RUNNEL_CONF_H

#include <runnel/err.h>
#include <runnel/opt.h>
#include <stdbool.h>
#include <stddef.h>

// Who set a row: kept beside the struct, one entry a row, for `check --origin`.
struct rn_conf_origin {
    char source[160]; // "default", "<file>:<line>", "--set", "remote r12"
};

// One option table over one struct, under a prefix of the keys: "" for the daemon's own rows,
// "collect.cpu." for a collector's, "sinks.main." for a sink's.
struct rn_conf_section {
    const char *prefix;
    const struct rn_opt *rows;
    size_t count;
    void *base;
    struct rn_conf_origin *origins; // count entries, or NULL
};

// A key belongs to the section with the longest prefix that fits it and that has the row.
struct rn_conf {
    struct rn_conf_section *sections;
    size_t nsections;
    bool remote_paths; // the local file lets remote documents set rows marked RN_OPT_PATH
};

// Sets all defaults (origin "default").
RN_MUST_CHECK int rn_conf_init(struct rn_conf *conf, struct rn_err *err);
RN_MUST_CHECK int rn_conf_file(struct rn_conf *conf, const char *path, struct rn_err *err);
// folder/*.yaml in order of name; a folder that is not there is no error.
RN_MUST_CHECK int rn_conf_folder(struct rn_conf *conf, const char *folder, struct rn_err *err);
// One key as from a command line or a remote document; source goes into the origin. If
// remote_only, rows without RN_OPT_REMOTE (and paths, unless remote_paths) are refused with
// RN_EACCESS, and `<secret>_file` is no key. RN_ENOENT: unknown key. No ${} expansion. A list's
// text is "[a, b]" or a single element.
RN_MUST_CHECK int rn_conf_set(struct rn_conf *conf, const char *key, const char *text,
                              const char *source, bool remote_only, struct rn_err *err);
// Everything required is there? A required text, secret or list must not be empty; another row
// must have an origin other than "default" (where origins are kept).
RN_MUST_CHECK int rn_conf_check(const struct rn_conf *conf, struct rn_err *err);

// Visits every scalar of a file without any table: how a program finds out which sections the user
// wants ("sinks.<name>.type") before it makes them. List elements come one by one, each with the
// list's key. A negative result of visit ends it and is returned.
RN_MUST_CHECK int rn_conf_visit(const char *path,
                                int (*visit)(void *arg, const char *key, const char *text),
                                void *arg, struct rn_err *err);

#endif
