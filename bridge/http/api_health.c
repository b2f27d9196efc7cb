// Health, readiness, and the numbers for Prometheus (text format 0.0.4).
#include "bridge/http/api_internal.h"

#include <runnel/clock.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void api_healthz(void *app, struct http_request *request, enum http_method method)
{
    (void)app;
    (void)method;
    http_reply(request, 200, "text/plain", rn_span_text("ok\n"));
}

// ---- ready ------------------------------------------------------------------------------------
static void look_ready(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct json_out out = {.buf = &ask->body};
    bridge_get_view(bridge, &view);
    bool ready = view.connected && view.storing;
    json_begin(&out, NULL, '{');
    json_bool(&out, "ready", ready);
    json_bool(&out, "broker", view.connected);
    json_bool(&out, "log", view.storing);
    json_end(&out, '}');
    ask->status = ready ? 200 : 503;
}

static bool finish_ready(struct ask *ask)
{
    api_reply_json(ask->request, ask->status, &ask->body);
    return false;
}

void api_readyz(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_ready, finish_ready, NULL);
}

// ---- Prometheus -------------------------------------------------------------------------------
static void metric(struct rn_buf *out, const char *name, const char *type, const char *help)
{
    rn_buf_printf(out, "# HELP runnel_bridge_%s %s\n# TYPE runnel_bridge_%s %s\n", name, help, name,
                  type);
}

static void single(struct rn_buf *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    metric(out, name, type, help);
    rn_buf_printf(out, "runnel_bridge_%s %" PRIu64 "\n", name, value);
}

static void put_counters(struct rn_buf *out, const struct counters *counters)
{
    for (size_t i = 0; i < counter_count; i++) {
        uint64_t value;
        const struct counter_row *row = &counter_rows[i];
        memcpy(&value, (const char *)counters + row->offset, sizeof value);
        rn_buf_printf(out,
                      "# HELP runnel_bridge_%s_total %s\n# TYPE runnel_bridge_%s_total counter\n"
                      "runnel_bridge_%s_total %" PRIu64 "\n",
                      row->name, row->help, row->name, row->name, value);
    }
}

static void put_fleet(struct rn_buf *out, const struct fleet *fleet)
{
    metric(out, "devices", "gauge", "devices by shown state");
    for (int state = 0; state < LIVE_STATES; state++)
        rn_buf_printf(out, "runnel_bridge_devices{state=\"%s\"} %u\n",
                      live_state_name((enum live_state)state), fleet->live.count[state]);
}

static void look_counters(struct bridge *bridge, struct ask *ask)
{
    struct bridge_view view;
    struct rn_buf *out = &ask->body;
    bridge_get_view(bridge, &view);
    put_counters(out, view.counters);
    put_fleet(out, view.fleet);
    single(out, "connected", "gauge", "1 while the broker is there", view.connected);
    single(out, "storing", "gauge", "1 while the log takes batches", view.storing);
    single(out, "log_head", "gauge", "highest position of the log", log_head(view.log));
    single(out, "log_tail", "gauge", "lowest position still in the log", log_tail(view.log));
    single(out, "log_bytes", "gauge", "size of the log's files", (uint64_t)log_bytes(view.log));
    single(out, "uptime_seconds", "gauge", "since the bridge was started",
           (uint64_t)((rn_clock_mono_ms() - view.started_ms) / 1000));
}

struct cursor_metric {
    const char *name, *type, *help;
    size_t offset; // of the uint64_t in struct cursor_status
};

static const struct cursor_metric cursor_metrics[] = {
    {"cursor_position", "gauge", "position in the log", offsetof(struct cursor_status, position)},
    {"cursor_samples_total", "counter", "samples completed",
     offsetof(struct cursor_status, samples)},
    {"cursor_batches_total", "counter", "batches completed",
     offsetof(struct cursor_status, batches)},
    {"cursor_retries_total", "counter", "writes tried again",
     offsetof(struct cursor_status, retries)},
    {"cursor_dead_total", "counter", "points dead-lettered", offsetof(struct cursor_status, dead)},
    {"cursor_gap_rows_total", "counter", "log rows dropped before they were read",
     offsetof(struct cursor_status, gap_rows)},
};

static void put_cursors(struct rn_buf *out, struct cursors *cursors)
{
    uint32_t count = cursors_count(cursors);
    for (size_t m = 0; m < sizeof cursor_metrics / sizeof cursor_metrics[0]; m++) {
        const struct cursor_metric *row = &cursor_metrics[m];
        metric(out, row->name, row->type, row->help);
        for (uint32_t i = 0; i < count; i++) {
            struct cursor_status status;
            uint64_t value;
            cursors_status(cursors, i, &status);
            memcpy(&value, (const char *)&status + row->offset, sizeof value);
            rn_buf_printf(out, "runnel_bridge_%s{cursor=\"%s\"} %" PRIu64 "\n", row->name,
                          cursors_name(cursors, i), value);
        }
    }
}

static bool finish_counters(struct ask *ask)
{
    struct cursors_totals totals;
    if (ask->api->closing) {
        http_reply_error(ask->request, 503, "the bridge is stopping");
        return false;
    }
    cursors_totals(ask->api->conf.cursors, &totals);
    single(&ask->body, "samples_stored_total", "counter", "samples in the log, ever",
           totals.samples);
    put_cursors(&ask->body, ask->api->conf.cursors);
    http_reply(ask->request, 200, "text/plain; version=0.0.4", rn_buf_span(&ask->body));
    return false;
}

void api_prometheus(void *app, struct http_request *request, enum http_method method)
{
    (void)method;
    api_ask(app, request, look_counters, finish_counters, NULL);
}
