// Desired configurations: read, replace, history. They belong to the intake.
#include "bridge/http/api_internal.h"

#include <runnel/clock.h>
#include <runnel/json.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX 100
#define VALUE_MAX   4096

static void put_settings(struct json_out *out, const struct rn_config_doc *doc)
{
    json_begin(out, "settings", '{');
    for (uint32_t i = 0; doc && i < doc->nitems; i++) {
        char key[RN_NAME_MAX + 1];
        struct rn_span name = doc->items[i].key;
        snprintf(key, sizeof key, "%.*s", (int)name.len, (const char *)name.data);
        json_span(out, key, doc->items[i].value);
    }
    json_end(out, '}');
}

static void put_version(void *arg, const struct desired_version *version)
{
    struct json_out *out = arg;
    json_begin(out, NULL, '{');
    json_count(out, "revision", version->revision);
    json_bytes(out, "hash", version->hash, RN_HASH_BYTES);
    json_time(out, "created", version->created_ms);
    json_text(out, "author", version->author);
    json_text(out, "comment", version->comment);
    put_settings(out, version->doc);
    json_end(out, '}');
}

static void put_newest(void *arg, const struct desired_version *version)
{
    put_settings(arg, version->doc);
}

static void put_report(struct json_out *out, const struct desired_state *state)
{
    if (!state->has_report) {
        json_null(out, "report");
        return;
    }
    json_begin(out, "report", '{');
    json_count(out, "n", state->report_n);
    json_count(out, "running", state->running);
    json_bytes(out, "running_hash", state->running_hash, RN_HASH_BYTES);
    json_count(out, "offered", state->offered);
    json_text(out, "state", api_config_state(state->state));
    json_text(out, "path", state->path);
    json_text(out, "reason", state->reason);
    json_time(out, "reported", state->reported_ms);
    json_end(out, '}');
}

// ---- on the intake's thread -------------------------------------------------------------------
static void fail(struct ask *ask, int code)
{
    ask->status = api_status_of(code);
}

static bool name_is_good(struct ask *ask)
{
    if (rn_dev_valid(rn_span_text(ask->dev)))
        return true;
    fail(ask, rn_fail(&ask->err, RN_EINVAL, "'%s' is no device name", ask->dev));
    return false;
}

static void look_config(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct desired_state state;
    struct json_out out = {.buf = &ask->body};
    bridge_get_view(bridge, &view);
    if (!name_is_good(ask))
        return;
    int rc = desired_state(view.desired, ask->dev, &state, &ask->err);
    json_begin(&out, NULL, '{');
    json_text(&out, "device", ask->dev);
    json_count(&out, "revision", state.revision);
    json_bytes(&out, "hash", state.hash, RN_HASH_BYTES);
    json_time(&out, "created", state.created_ms);
    if (rc == 0 && state.revision)
        rc = desired_history(view.desired, ask->dev, 1, put_newest, &out, &ask->err);
    else
        put_settings(&out, NULL);
    put_report(&out, &state);
    json_end(&out, '}');
    if (rc < 0)
        fail(ask, rc);
}

static void look_history(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct json_out out = {.buf = &ask->body};
    bridge_get_view(bridge, &view);
    if (!name_is_good(ask))
        return;
    json_begin(&out, NULL, '{');
    json_text(&out, "device", ask->dev);
    json_begin(&out, "history", '[');
    int rc = desired_history(view.desired, ask->dev, HISTORY_MAX, put_version, &out, &ask->err);
    json_end(&out, ']');
    json_end(&out, '}');
    if (rc < 0)
        fail(ask, rc);
}

// A document that is to be stored: texts of its own, so that the request may be gone.
struct wish {
    uint64_t base;
    char comment[DESIRED_TEXT], author[64];
    uint32_t nitems;
    struct rn_config_item items[RN_CONFIG_MAX_KEYS];
    size_t used;
    char text[2 * RN_CONFIG_MAX_BYTES];
    const char *trouble; // words for the user; NULL: none
};

static void store_wish(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct wish *wish = ask->extra;
    struct json_out out = {.buf = &ask->body};
    uint64_t revision = 0;
    bridge_get_view(bridge, &view);
    if (!name_is_good(ask))
        return;
    int rc = desired_put(view.desired, ask->dev, wish->items, wish->nitems, wish->base,
                         wish->author, wish->comment, rn_clock_utc_ms(), &revision, &ask->err);
    if (rc == 0)
        rc = bridge_offer_config(bridge, ask->dev, &ask->err);
    if (rc < 0) {
        fail(ask, rc);
        return;
    }
    json_begin(&out, NULL, '{');
    json_text(&out, "device", ask->dev);
    json_count(&out, "revision", revision);
    json_end(&out, '}');
}

// ---- on the server's thread -------------------------------------------------------------------
static struct rn_span keep_text(struct wish *wish, const char *text)
{
    size_t len = strlen(text);
    if (len > VALUE_MAX || len > sizeof wish->text - wish->used) {
        wish->trouble = "a value is too long";
        return (struct rn_span){0};
    }
    char *at = wish->text + wish->used;
    memcpy(at, text, len);
    wish->used += len;
    return (struct rn_span){(const uint8_t *)at, len};
}

// Values may be texts, numbers or booleans; what the device makes of them is its own decision.
static bool take_item(void *arg, const char *key, const struct rn_json *value)
{
    struct wish *wish = arg;
    char number[40];
    const char *text = rn_json_text(value);
    if (rn_json_type(value) == RN_JSON_INT) {
        snprintf(number, sizeof number, "%lld", (long long)rn_json_int(value, 0));
        text = number;
    } else if (rn_json_type(value) == RN_JSON_BOOL) {
        text = rn_json_bool(value, false) ? "true" : "false";
    }
    if (!text || !key[0] || strlen(key) > RN_NAME_MAX)
        wish->trouble = "settings: expected keys with dots and texts, integers or booleans";
    else if (wish->nitems == RN_CONFIG_MAX_KEYS)
        wish->trouble = "settings: too many keys";
    if (wish->trouble)
        return false;
    struct rn_config_item *item = &wish->items[wish->nitems++];
    item->key = keep_text(wish, key);
    item->value = keep_text(wish, text);
    return !wish->trouble;
}

static void read_wish(struct wish *wish, const struct rn_json *json)
{
    const struct rn_json *base = rn_json_get(json, "base");
    wish->base = base ? (uint64_t)rn_json_int(base, 0) : UINT64_MAX;
    snprintf(wish->comment, sizeof wish->comment, "%s",
             rn_json_text_or(rn_json_get(json, "comment"), ""));
    snprintf(wish->author, sizeof wish->author, "%s",
             rn_json_text_or(rn_json_get(json, "author"), "api"));
    if (rn_json_type(rn_json_get(json, "settings")) != RN_JSON_OBJECT)
        wish->trouble = "expected {\"settings\": {\"key\": \"value\", ...}}";
    else
        rn_json_each(rn_json_get(json, "settings"), take_item, wish);
}

static void put_wish(struct http_api *api, struct http_request *request)
{
    struct rn_err err;
    struct rn_json *json = NULL;
    struct wish *wish = calloc(1, sizeof *wish);
    if (!wish) {
        http_reply_error(request, 500, "out of memory");
        return;
    }
    if (rn_json_parse(&json, http_body(request), 65536, &err) < 0)
        http_reply_error(request, 400, "%s", err.text);
    else {
        read_wish(wish, json);
        if (wish->trouble)
            http_reply_error(request, 400, "%s", wish->trouble);
        else {
            api_ask(api, request, store_wish, api_answer, wish);
            wish = NULL;
        }
    }
    rn_json_free(json);
    free(wish);
}

void api_config(void *app, struct http_request *request, enum http_method method)
{
    if (method == HTTP_PUT)
        put_wish(app, request);
    else
        api_ask(app, request, look_config, api_answer, NULL);
}

void api_config_history(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_history, api_answer, NULL);
}
