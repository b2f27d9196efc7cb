// Devices: what the intake knows (state, last status, ledger, configuration) joined with what
// verify counted (samples in the log). The intake is asked first: what a device was told to be
// delivered is then certainly counted by verify.
#include "bridge/http/api_internal.h"

#include <runnel/clock.h>
#include <runnel/json.h>
#include <runnel/map.h>

#include <stdlib.h>
#include <string.h>

// A copy of what the intake knows of one device.
struct device_row {
    struct fleet_device dev; // pointers inside are not to be followed
    struct desired_state desired;
};

struct rows {
    uint32_t count;
    struct device_row row[];
};

static const char *const config_state_names[] = {
    [RN_CONFIG_NONE] = "",
    [RN_CONFIG_PROBATION] = "probation",
    [RN_CONFIG_CONFIRMED] = "confirmed",
    [RN_CONFIG_REJECTED] = "rejected",
    [RN_CONFIG_UNDETERMINED] = "undetermined",
    [RN_CONFIG_CONFLICT] = "conflict",
};

const char *api_config_state(enum rn_config_state state)
{
    return (unsigned)state < sizeof config_state_names / sizeof config_state_names[0]
               ? config_state_names[state]
               : "";
}

// ---- on the intake's thread -------------------------------------------------------------------
static void copy_device(const struct bridge_view *view, const struct fleet_device *dev,
                        struct device_row *row)
{
    struct rn_err ignored;
    row->dev = *dev;
    if (desired_state(view->desired, dev->name, &row->desired, &ignored) < 0)
        row->desired = (struct desired_state){0};
}

static void look_devices(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    bridge_get_view(bridge, &view);
    const struct fleet *fleet = view.fleet;
    struct rows *rows = calloc(1, sizeof *rows + fleet->count * sizeof rows->row[0]);
    ask->extra = rows;
    for (uint32_t i = 0; rows && i < fleet->count; i++)
        copy_device(&view, fleet->device[i], &rows->row[rows->count++]);
}

static void look_device(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    bridge_get_view(bridge, &view);
    const struct fleet_device *dev = fleet_find(view.fleet, ask->dev);
    struct rows *rows = calloc(1, sizeof *rows + sizeof rows->row[0]);
    ask->extra = rows;
    if (rows && dev)
        copy_device(&view, dev, &rows->row[rows->count++]);
}

// ---- on the server's thread -------------------------------------------------------------------
static void put_ledger(struct json_out *out, const struct rn_ledger *ledger)
{
    json_begin(out, "ledger", '{');
    json_count(out, "produced", ledger->produced);
    json_count(out, "delivered", ledger->delivered);
    json_count(out, "pending", ledger->pending);
    json_count(out, "evicted", ledger->evicted);
    json_count(out, "thinned", ledger->thinned);
    json_count(out, "refused", ledger->refused);
    json_count(out, "lost", ledger->lost);
    json_end(out, '}');
}

static void put_config(struct json_out *out, const struct fleet_device *dev,
                       const struct desired_state *desired)
{
    json_begin(out, "config", '{');
    json_count(out, "desired", desired->revision);
    json_count(out, "running", dev->config_revision);
    json_text(out, "state", desired->has_report ? api_config_state(desired->state) : "");
    json_end(out, '}');
}

// Monotonic times of the liveness core as wall-clock times.
static int64_t wall(int64_t mono_ms)
{
    return mono_ms ? rn_clock_utc_ms() - (rn_clock_mono_ms() - mono_ms) : 0;
}

static void put_device(struct json_out *out, const struct device_row *row,
                       const struct rn_json *verified)
{
    const struct fleet_device *dev = &row->dev;
    json_text(out, "device", dev->name);
    json_text(out, "state", live_state_name(dev->live.shown));
    json_text(out, "reason", live_reason_name(dev->live.reason));
    json_int(out, "since_ms", wall(dev->live.since_ms));
    json_int(out, "heard_ms", dev->heard_ms);
    json_int(out, "status_ms", dev->status_ms);
    json_name(out, "install", dev->live.install);
    json_count(out, "epoch", dev->live.epoch);
    if (dev->live.shown == LIVE_DUPLICATE) {
        json_begin(out, "duplicate", '{');
        json_name(out, "other_install", dev->live.other_install);
        json_name(out, "fingerprint", dev->live.fingerprint);
        json_name(out, "other_fingerprint", dev->live.other_fingerprint);
        json_end(out, '}');
    }
    json_text(out, "version", dev->version);
    json_text(out, "said", dev->reason);
    json_int(out, "interval_ms", dev->live.interval_ms);
    json_count(out, "away_ms", dev->away_ms);
    json_int(out, "clock_offset_ms", dev->clock_offset_ms);
    json_int(out, "stored", rn_json_int(rn_json_get(verified, "samples"), 0));
    json_int(out, "stored_bytes", rn_json_int(rn_json_get(verified, "bytes"), 0));
    json_count(out, "duplicates", dev->duplicates);
    json_count(out, "conflicts", dev->conflicts);
    json_count(out, "refused", dev->refused);
    if (dev->has_ledger)
        put_ledger(out, &dev->ledger);
    put_config(out, dev, &row->desired);
}

static const struct rn_json *find_verified(const struct rn_map *by_name, const char *name)
{
    return rn_map_get(by_name, rn_span_text(name));
}

static void verified_devices(struct ask *ask, const char *text)
{
    const struct rows *rows = ask->extra;
    struct json_out out = {.buf = &ask->body};
    struct rn_json *list = NULL;
    struct rn_map by_name;
    int rc = rn_json_parse(&list, rn_span_text(text), API_ANSWER_MAX, &ask->err);
    size_t count = rn_json_len(list);
    rn_map_init(&by_name, (uint32_t)count + 1, (uint64_t)rn_clock_utc_ns());
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct rn_json *entry = rn_json_at(list, i);
        rc = rn_map_put(&by_name, rn_span_text(rn_json_text_or(rn_json_get(entry, "device"), "")),
                        (void *)(uintptr_t)entry); // read only
    }
    json_begin(&out, NULL, '{');
    json_begin(&out, "devices", '[');
    for (uint32_t i = 0; i < rows->count; i++) {
        json_begin(&out, NULL, '{');
        put_device(&out, &rows->row[i], find_verified(&by_name, rows->row[i].dev.name));
        json_end(&out, '}');
    }
    json_end(&out, ']');
    json_end(&out, '}');
    api_reply_json(ask->request, 200, &ask->body);
    rn_map_release(&by_name);
    rn_json_free(list);
}

static bool finish_devices(struct ask *ask)
{
    if (ask->extra)
        return api_ask_verify(ask, "", verified_devices);
    http_reply_error(ask->request, 500, "out of memory");
    return false;
}

void api_devices(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_devices, finish_devices, NULL);
}

// ---- one device -------------------------------------------------------------------------------
// The member "last" of verify's answer as it stands there.
static void put_last(struct json_out *out, const char *text)
{
    const char *last = strstr(text, "\"last\":[");
    const char *end = strrchr(text, '}');
    if (!last || !end || end < last)
        return;
    rn_buf_byte(out->buf, ',');
    rn_buf_append(out->buf, last, (size_t)(end - last));
}

static void verified_device(struct ask *ask, const char *text)
{
    const struct rows *rows = ask->extra;
    struct json_out out = {.buf = &ask->body};
    struct rn_json *verified = NULL;
    if (rn_json_parse(&verified, rn_span_text(text), API_ANSWER_MAX, &ask->err) < 0)
        verified = NULL; // shows as nothing stored
    json_begin(&out, NULL, '{');
    put_device(&out, &rows->row[0], verified);
    if (verified)
        put_last(&out, text);
    json_end(&out, '}');
    api_reply_json(ask->request, 200, &ask->body);
    rn_json_free(verified);
}

static bool finish_device(struct ask *ask)
{
    const struct rows *rows = ask->extra;
    if (rows && rows->count)
        return api_ask_verify(ask, ask->dev, verified_device);
    http_reply_error(ask->request, rows ? 404 : 500, "there is no device '%s'", ask->dev);
    return false;
}

void api_device(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_device, finish_device, NULL);
}

// ---- summary ----------------------------------------------------------------------------------
static void look_summary(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct json_out out = {.buf = &ask->body};
    bridge_get_view(bridge, &view);
    json_begin(&out, NULL, '{');
    json_text(&out, "bridge", view.name);
    json_bool(&out, "connected", view.connected);
    json_bool(&out, "storing", view.storing);
    json_int(&out, "uptime_ms", rn_clock_mono_ms() - view.started_ms);
    json_begin(&out, "devices", '{');
    for (int state = 0; state < LIVE_STATES; state++)
        json_count(&out, live_state_name((enum live_state)state), view.fleet->live.count[state]);
    json_end(&out, '}');
    json_begin(&out, "log", '{');
    json_name(&out, "id", log_id(view.log));
    json_count(&out, "head", log_head(view.log));
    json_count(&out, "tail", log_tail(view.log));
    json_int(&out, "bytes", log_bytes(view.log));
    json_end(&out, '}');
    json_count(&out, "schema_bytes", view.counters->schema_bytes);
    json_text(&out, "config_key", desired_public_key(view.desired));
}

static const char *const cursor_state_names[] = {
    [CURSOR_STARTING] = "starting", [CURSOR_OK] = "ok",           [CURSOR_RETRYING] = "retrying",
    [CURSOR_HELD] = "held",         [CURSOR_STOPPED] = "stopped",
};

static void put_cursors(struct json_out *out, struct cursors *cursors)
{
    json_begin(out, "cursors", '[');
    for (uint32_t i = 0; i < cursors_count(cursors); i++) {
        struct cursor_status status;
        cursors_status(cursors, i, &status);
        json_begin(out, NULL, '{');
        json_text(out, "name", cursors_name(cursors, i));
        json_text(out, "state", cursor_state_names[status.state]);
        json_count(out, "position", status.position);
        json_count(out, "behind",
                   status.head > status.position ? status.head - status.position : 0);
        json_count(out, "samples", status.samples);
        json_count(out, "dead", status.dead);
        json_count(out, "gap_rows", status.gap_rows);
        json_text(out, "text", status.text);
        json_end(out, '}');
    }
    json_end(out, ']');
}

static bool finish_summary(struct ask *ask)
{
    struct json_out out = {.buf = &ask->body, .comma = true};
    struct cursors_totals totals;
    if (ask->api->closing) {
        http_reply_error(ask->request, 503, "the bridge is stopping");
        return false;
    }
    cursors_totals(ask->api->conf.cursors, &totals);
    json_count(&out, "samples_stored", totals.samples);
    json_count(&out, "batches_stored", totals.batches);
    json_count(&out, "payload_bytes", totals.bytes);
    json_count(&out, "refused_batches", totals.refused);
    put_cursors(&out, ask->api->conf.cursors);
    json_end(&out, '}');
    return api_answer(ask);
}

void api_summary(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_summary, finish_summary, NULL);
}
