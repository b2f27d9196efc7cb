// See runnel/conf.h. The only file that includes libyaml.
//
// Two layers: a reader that turns a file into (dotted key, text) pairs within hard limits, and what
// is done with the pairs: setting rows (rn_conf_file) or showing them (rn_conf_visit).
#include <runnel/conf.h>
#include <runnel/file.h>
#include <runnel/map.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    FILE_MAX = 256 * 1024,
    KEYS_MAX = 2000,
    DEPTH_MAX = 8,
    KEY_MAX = 200,
    SCALAR_MAX = 4096,
    FOLDER_MAX = 100, // files of a folder
    SHOWN_PATH = 80,  // of a long path the end is shown
};

enum node { NODE_SCALAR, NODE_LIST_BEGIN, NODE_LIST_ITEM, NODE_LIST_END };

struct reader;
struct handler {
    int (*node)(void *arg, struct reader *reader, enum node node, const char *text);
    void *arg;
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; // the current one
    const char *path;
    char key[KEY_MAX + 1]; // dotted, of the current node
    size_t key_len;
    size_t key_line, key_column;
    struct rn_map seen; // dotted key -> line, to refuse what stands there twice
    struct rn_buf text; // the current scalar, expanded, over storage
    char storage[SCALAR_MAX + 1];
    bool nothing; // the current scalar is an unquoted empty one ("key:")
    struct handler handler;
    struct rn_err *err; // never NULL
};

// --- errors with their place ----------------------------------------------------------------

static const char *shown(const char *path)
{
    size_t len = strlen(path);
    return len > SHOWN_PATH ? path + len - SHOWN_PATH : path;
}

// Puts file, line, column and key in front of the words that are in err.
static int placed(struct reader *r, size_t line, size_t column)
{
    if (r->key_len)
        return rn_err_prefix(r->err, "%s:%zu:%zu: %s", shown(r->path), line, column, r->key);
    return rn_err_prefix(r->err, "%s:%zu:%zu", shown(r->path), line, column);
}

static int placed_at_event(struct reader *r)
{
    return placed(r, r->event.start_mark.line + 1, r->event.start_mark.column + 1);
}

static int RN_PRINTF(3, 4) fail_here(struct reader *r, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rn_vfail(r->err, code, format, args);
    va_end(args);
    return placed_at_event(r);
}

// --- ${VAR} ---------------------------------------------------------------------------------

static bool name_char(char c, bool first)
{
    return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (!first && c >= '0' && c <= '9');
}

// at stands behind "${". Appends the value; returns what follows the brace, NULL on failure.
static const char *expand_variable(struct rn_buf *out, const char *at, struct rn_err *err)
{
    char name[64];
    size_t len = 0;
    while (name_char(at[len], len == 0) && len < sizeof name - 1)
        len++;
    memcpy(name, at, len);
    name[len] = 0;
    const char *rest = at + len;
    bool has_default = strncmp(rest, ":-", 2) == 0;
    const char *end = has_default ? strchr(rest, '}') : rest;
    if (len == 0 || !end || *end != '}') {
        rn_fail(err, RN_EINVAL, "expected ${NAME} or ${NAME:-default}; write $$ for a dollar sign");
        return NULL;
    }
    const char *value = getenv(name);
    if (has_default && (!value || !*value))
        rn_buf_append(out, rest + 2, (size_t)(end - rest - 2));
    else if (value)
        rn_buf_text(out, value);
    else {
        rn_fail(err, RN_EINVAL,
                "the environment variable %s is not set; set it or write ${%s:-default}", name,
                name);
        return NULL;
    }
    return end + 1;
}

static int expand(struct rn_buf *out, const char *text, struct rn_err *err)
{
    while (*text) {
        size_t plain = strcspn(text, "$");
        rn_buf_append(out, text, plain);
        text += plain;
        if (text[0] == '$' && text[1] == '{') {
            text = expand_variable(out, text + 2, err);
            if (!text)
                return RN_EINVAL;
        } else if (*text) {
            rn_buf_byte(out, '$');
            text += text[1] == '$' ? 2 : 1;
        }
    }
    return RN_OK;
}

// --- reading --------------------------------------------------------------------------------

static int advance(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return RN_OK;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return rn_fail(r->err, RN_ENOMEM, "no memory to read %s", shown(r->path));
    rn_fail(r->err, RN_EINVAL, "not valid YAML: %s%s%s", p->context ? p->context : "",
            p->context ? ", " : "", p->problem ? p->problem : "unreadable");
    r->key_len = 0; // the parser may be far behind the last key
    return placed(r, p->problem_mark.line + 1, p->problem_mark.column + 1);
}

// Nodes with an anchor or a tag, and aliases, are not configuration.
static int check_plain(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    const unsigned char *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT) {
        anchor = e->data.alias.anchor;
    } else if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor)
        return fail_here(r, RN_EUNSUPPORTED,
                         "anchors and aliases (& and *) are not supported; write "
                         "the value out, or quote it");
    if (tag)
        return fail_here(r, RN_EUNSUPPORTED, "tags (!) are not supported; quote the value");
    return RN_OK;
}

static int check_scalar(struct reader *r, size_t max)
{
    size_t len = r->event.data.scalar.length;
    if (len > max)
        return fail_here(r, RN_ELIMIT, "longer than %zu bytes", max);
    if (memchr(r->event.data.scalar.value, 0, len))
        return fail_here(r, RN_EINVAL, "a NUL character is not allowed");
    return RN_OK;
}

static const char *scalar_text(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static bool is_nothing(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 &&
           event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int handle_scalar(struct reader *r, enum node node)
{
    int rc = check_scalar(r, SCALAR_MAX);
    if (rc < 0)
        return rc;
    rn_buf_clear(&r->text);
    r->nothing = is_nothing(&r->event);
    if (expand(&r->text, scalar_text(r), r->err) < 0)
        return placed_at_event(r);
    const char *text = rn_buf_cstr(&r->text);
    if (!rn_buf_ok(&r->text))
        return fail_here(r, RN_ELIMIT, "longer than %d bytes", SCALAR_MAX);
    return r->handler.node(r->handler.arg, r, node, text);
}

// Appends the key in the current event to the dotted one and remembers it.
static int push_key(struct reader *r)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail_here(r, RN_EINVAL, "expected a key, such as `name: value`");
    int rc = check_plain(r);
    if (rc == RN_OK)
        rc = check_scalar(r, KEY_MAX);
    if (rc < 0)
        return rc;
    size_t dot = r->key_len > 0, len = r->event.data.scalar.length;
    if (len == 0 || r->key_len + dot + len > KEY_MAX)
        return fail_here(r, RN_ELIMIT, "expected a key of 1 to %d bytes with all it stands in",
                         KEY_MAX);
    if (dot)
        r->key[r->key_len] = '.';
    memcpy(r->key + r->key_len + dot, scalar_text(r), len + 1);
    r->key_len += dot + len;
    r->key_line = r->event.start_mark.line + 1;
    r->key_column = r->event.start_mark.column + 1;
    struct rn_span key = rn_span_text(r->key);
    uintptr_t first = (uintptr_t)rn_map_get(&r->seen, key);
    if (first)
        return fail_here(r, RN_EEXIST, "set twice; first in line %zu", (size_t)first);
    rc = rn_map_put(&r->seen, key, (void *)(uintptr_t)r->key_line);
    if (rc < 0)
        return fail_here(r, rc, "no room for more than %d keys in one file", KEYS_MAX);
    return RN_OK;
}

static void cut_key(struct reader *r, size_t len)
{
    r->key_len = len;
    r->key[len] = 0;
}

static int read_list(struct reader *r)
{
    int rc = r->handler.node(r->handler.arg, r, NODE_LIST_BEGIN, NULL);
    for (;;) {
        if (rc == RN_OK)
            rc = advance(r);
        if (rc == RN_OK)
            rc = check_plain(r);
        if (rc < 0)
            return rc;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return r->handler.node(r->handler.arg, r, NODE_LIST_END, NULL);
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail_here(r, RN_EINVAL, "expected a list of single values");
        rc = handle_scalar(r, NODE_LIST_ITEM);
    }
}

static int read_mapping(struct reader *r, int depth);

static int read_value(struct reader *r, int depth)
{
    int rc = check_plain(r);
    if (rc < 0)
        return rc;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        return read_mapping(r, depth + 1);
    if (r->event.type == YAML_SEQUENCE_START_EVENT)
        return read_list(r);
    return handle_scalar(r, NODE_SCALAR);
}

static int read_mapping(struct reader *r, int depth)
{
    size_t outer = r->key_len;
    if (depth > DEPTH_MAX)
        return fail_here(r, RN_ELIMIT, "nested deeper than %d", DEPTH_MAX);
    for (;;) {
        int rc = advance(r);
        if (rc < 0 || r->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        rc = push_key(r);
        if (rc == RN_OK)
            rc = advance(r);
        if (rc == RN_OK)
            rc = read_value(r, depth);
        if (rc < 0)
            return rc;
        cut_key(r, outer);
    }
}

static int read_document(struct reader *r)
{
    int rc = advance(r); // the root
    if (rc == RN_OK)
        rc = check_plain(r);
    if (rc < 0)
        return rc;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        rc = read_mapping(r, 1);
    else if (!is_nothing(&r->event))
        rc = fail_here(r, RN_EINVAL, "expected keys with values, such as `name: value`");
    return rc < 0 ? rc : advance(r); // the document's end
}

static int read_stream(struct reader *r)
{
    int rc = advance(r); // the stream's start
    if (rc == RN_OK)
        rc = advance(r);
    if (rc == RN_OK && r->event.type == YAML_DOCUMENT_START_EVENT) {
        rc = read_document(r);
        if (rc == RN_OK)
            rc = advance(r);
    }
    if (rc == RN_OK && r->event.type != YAML_STREAM_END_EVENT)
        rc = fail_here(r, RN_EUNSUPPORTED, "expected one document a file; remove the second `---`");
    return rc;
}

static int read_file(const char *path, struct handler handler, struct rn_err *err)
{
    struct reader reader = {.path = path, .handler = handler, .err = err};
    struct rn_buf content;
    rn_buf_init(&content, FILE_MAX);
    int rc = rn_file_read(path, &content, err);
    if (rc < 0) {
        rn_buf_release(&content);
        return rc;
    }
    if (!yaml_parser_initialize(&reader.parser)) {
        rn_buf_release(&content);
        return rn_fail(err, RN_ENOMEM, "no memory to read %s", shown(path));
    }
    // The file is the administrator's own, so nobody chooses its keys to collide.
    rn_map_init(&reader.seen, KEYS_MAX, 0);
    rn_buf_init_fixed(&reader.text, reader.storage, sizeof reader.storage);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    const uint8_t *bytes = content.len ? content.data : (const uint8_t *)"";
    yaml_parser_set_input_string(&reader.parser, bytes, content.len);
    rc = read_stream(&reader);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    rn_map_release(&reader.seen);
    rn_buf_release(&content);
    return rc;
}

// --- finding rows ---------------------------------------------------------------------------

struct target {
    struct rn_conf_section *section;
    const struct rn_opt *row;
};

static bool find_row(struct rn_conf *conf, const char *key, struct target *out)
{
    size_t best = 0;
    *out = (struct target){0};
    for (size_t i = 0; i < conf->nsections; i++) {
        struct rn_conf_section *section = &conf->sections[i];
        size_t len = strlen(section->prefix);
        if (strncmp(key, section->prefix, len) != 0 || (out->row && len <= best))
            continue;
        const struct rn_opt *row = rn_opt_find(section->rows, section->count, key + len);
        if (!row)
            continue;
        *out = (struct target){section, row};
        best = len;
    }
    return out->row;
}

// "<secret>_file": finds the row of <secret>.
static bool find_secret_of_file(struct rn_conf *conf, const char *key, struct target *out)
{
    static const char suffix[] = "_file";
    char secret[KEY_MAX + 1];
    size_t len = strlen(key), tail = sizeof suffix - 1;
    if (len <= tail || len > KEY_MAX || strcmp(key + len - tail, suffix) != 0)
        return false;
    memcpy(secret, key, len - tail);
    secret[len - tail] = 0;
    return find_row(conf, secret, out) && out->row->type == RN_OPT_SECRET;
}

static bool compose(char out[KEY_MAX + 1], const char *prefix, const char *key)
{
    int len = snprintf(out, KEY_MAX + 1, "%s%s", prefix, key);
    return len >= 0 && len <= KEY_MAX;
}

static int unknown_key(const struct rn_conf *conf, const char *key, struct rn_err *err)
{
    char known[KEY_MAX + 1], best[KEY_MAX + 1] = "";
    uint32_t nearest = UINT32_MAX;
    for (size_t i = 0; i < conf->nsections; i++) {
        const struct rn_conf_section *section = &conf->sections[i];
        for (size_t k = 0; k < section->count; k++) {
            if (!compose(known, section->prefix, section->rows[k].key))
                continue;
            uint32_t d = rn_opt_distance(known, key);
            if (d < nearest) {
                nearest = d;
                memcpy(best, known, sizeof best);
            }
        }
    }
    if (*best)
        return rn_fail(err, RN_ENOENT, "there is no such key; did you mean %s?", best);
    return rn_fail(err, RN_ENOENT, "there is no such key");
}

// Does some row's key begin with "key."?
static bool is_branch(const struct rn_conf *conf, const char *key)
{
    size_t len = strlen(key);
    char known[KEY_MAX + 1];
    for (size_t i = 0; i < conf->nsections; i++)
        for (size_t k = 0; k < conf->sections[i].count; k++)
            if (compose(known, conf->sections[i].prefix, conf->sections[i].rows[k].key) &&
                strncmp(known, key, len) == 0 && known[len] == '.')
                return true;
    return false;
}

static void note_origin(const struct target *target, const char *source, size_t line)
{
    if (!target->section->origins)
        return;
    char *out = target->section->origins[target->row - target->section->rows].source;
    size_t size = sizeof target->section->origins->source;
    if (line)
        snprintf(out, size, "%s:%zu", source, line);
    else
        snprintf(out, size, "%s", source);
}

static int set_secret_from_file(const struct target *target, const char *path, struct rn_err *err)
{
    struct rn_buf content;
    rn_buf_init(&content, SCALAR_MAX * 4);
    int rc = rn_file_read(path, &content, err);
    if (rc == RN_OK && content.len && content.data[content.len - 1] == '\n')
        content.len--;
    if (rc == RN_OK && content.len && memchr(content.data, 0, content.len))
        rc = rn_fail(err, RN_EINVAL, "%s holds a NUL character", shown(path));
    if (rc == RN_OK)
        rc = rn_opt_set(target->row, target->section->base, rn_buf_cstr(&content), err);
    if (content.data)
        explicit_bzero(content.data, content.len);
    rn_buf_release(&content);
    return rc;
}

static int set_scalar(struct rn_conf *conf, const char *key, const char *text,
                      struct target *target, struct rn_err *err)
{
    if (find_row(conf, key, target))
        return rn_opt_set(target->row, target->section->base, text, err);
    if (find_secret_of_file(conf, key, target))
        return set_secret_from_file(target, text, err);
    return unknown_key(conf, key, err);
}

// --- a file into the rows -------------------------------------------------------------------

static int begin_list(struct rn_conf *conf, struct reader *r)
{
    struct target target;
    if (!find_row(conf, r->key, &target))
        return unknown_key(conf, r->key, r->err);
    if (target.row->type != RN_OPT_LIST)
        return rn_fail(r->err, RN_EINVAL, "expected a single value, not a list");
    memset((char *)target.section->base + target.row->offset, 0, sizeof(struct rn_opt_list));
    return RN_OK;
}

static int end_list(const struct target *target, struct rn_err *err)
{
    struct rn_opt_list list;
    memcpy(&list, (const char *)target->section->base + target->row->offset, sizeof list);
    if (list.count < target->row->min)
        return rn_fail(err, RN_EINVAL, "expected at least %lld elements",
                       (long long)target->row->min);
    return RN_OK;
}

static int set_node(void *arg, struct reader *r, enum node node, const char *text)
{
    struct rn_conf *conf = arg;
    struct target target = {0};
    int rc = RN_OK;
    if (node == NODE_LIST_BEGIN) {
        rc = begin_list(conf, r);
    } else if (node == NODE_SCALAR) {
        if (r->nothing && is_branch(conf, r->key))
            return RN_OK; // a heading whose lines are all commented out
        rc = set_scalar(conf, r->key, text, &target, r->err);
    } else if (find_row(conf, r->key, &target)) { // it is: begin_list looked
        rc = node == NODE_LIST_ITEM ? rn_opt_append(target.row, target.section->base, text, r->err)
                                    : end_list(&target, r->err);
    }
    if (rc == RN_ENOENT && !target.row)
        return placed(r, r->key_line, r->key_column);
    if (rc < 0)
        return placed_at_event(r);
    if (target.row && node != NODE_LIST_ITEM)
        note_origin(&target, r->path, r->key_line);
    return RN_OK;
}

int rn_conf_file(struct rn_conf *conf, const char *path, struct rn_err *err)
{
    struct rn_err unused;
    return read_file(path, (struct handler){set_node, conf}, err ? err : &unused);
}

int rn_conf_folder(struct rn_conf *conf, const char *folder, struct rn_err *err)
{
    char **names = NULL, path[4096];
    int count = 0;
    int rc = rn_names_list(folder, ".yaml", FOLDER_MAX, &names, &count, err);
    if (rc == RN_ENOENT)
        return RN_OK;
    for (int i = 0; i < count && rc == RN_OK; i++) {
        rc = rn_path_join(path, sizeof path, folder, names[i], err);
        if (rc == RN_OK)
            rc = rn_conf_file(conf, path, err);
    }
    rn_names_free(names, count);
    return rc;
}

// --- the rest of the interface --------------------------------------------------------------

int rn_conf_init(struct rn_conf *conf, struct rn_err *err)
{
    struct rn_err unused;
    for (size_t i = 0; i < conf->nsections; i++) {
        struct rn_conf_section *section = &conf->sections[i];
        int rc = rn_opt_defaults(section->rows, section->count, section->base, err ? err : &unused);
        if (rc < 0)
            return rc;
        for (size_t k = 0; k < section->count; k++)
            note_origin(&(struct target){section, &section->rows[k]}, "default", 0);
    }
    return RN_OK;
}

static int may_set_remotely(struct rn_conf *conf, const char *key, struct rn_err *err)
{
    struct target target;
    if (!find_row(conf, key, &target))
        return unknown_key(conf, key, err);
    bool path = target.row->flags & RN_OPT_PATH;
    if (!(target.row->flags & RN_OPT_REMOTE) || (path && !conf->remote_paths))
        return rn_fail(err, RN_EACCESS, "may be set by the local configuration only");
    return RN_OK;
}

int rn_conf_set(struct rn_conf *conf, const char *key, const char *text, const char *source,
                bool remote_only, struct rn_err *err)
{
    struct rn_err unused;
    struct target target = {0};
    if (!err)
        err = &unused;
    int rc = remote_only ? may_set_remotely(conf, key, err) : RN_OK;
    if (rc == RN_OK)
        rc = set_scalar(conf, key, text, &target, err);
    if (rc < 0)
        return rn_err_prefix(err, "%.*s", KEY_MAX / 2, key);
    note_origin(&target, source, 0);
    return RN_OK;
}

static bool is_set(const struct rn_conf_section *section, size_t at)
{
    const struct rn_opt *row = &section->rows[at];
    const char *field = (const char *)section->base + row->offset;
    struct rn_opt_list list;
    if (row->type == RN_OPT_TEXT || row->type == RN_OPT_SECRET)
        return *field;
    if (row->type == RN_OPT_LIST) {
        memcpy(&list, field, sizeof list);
        return list.count > 0;
    }
    return !section->origins || strcmp(section->origins[at].source, "default") != 0;
}

int rn_conf_check(const struct rn_conf *conf, struct rn_err *err)
{
    for (size_t i = 0; i < conf->nsections; i++) {
        const struct rn_conf_section *section = &conf->sections[i];
        for (size_t k = 0; k < section->count; k++) {
            const struct rn_opt *row = &section->rows[k];
            if ((row->flags & RN_OPT_REQUIRED) && !is_set(section, k))
                return rn_fail(err, RN_EINVAL, "%s%s must be set: %s", section->prefix, row->key,
                               row->help ? row->help : "it has no default");
        }
    }
    return RN_OK;
}

struct visitor {
    int (*visit)(void *arg, const char *key, const char *text);
    void *arg;
};

static int show_node(void *arg, struct reader *r, enum node node, const char *text)
{
    const struct visitor *visitor = arg;
    if (node != NODE_SCALAR && node != NODE_LIST_ITEM)
        return RN_OK;
    int rc = visitor->visit(visitor->arg, r->key, text);
    return rc < 0 ? fail_here(r, rc, "not acceptable here") : RN_OK;
}

int rn_conf_visit(const char *path, int (*visit)(void *arg, const char *key, const char *text),
                  void *arg, struct rn_err *err)
{
    struct rn_err unused;
    struct visitor visitor = {visit, arg};
    return read_file(path, (struct handler){show_node, &visitor}, err ? err : &unused);
}
