// See address.h.
#include "lib/mqtt/address.h"

#include <stdio.h>
#include <string.h>

static const struct scheme {
    const char *ours, *theirs;
    unsigned port;
    bool tls, path;
} schemes[] = {
    {"mqtt://", "tcp://", 1883, false, false},
    {"mqtts://", "ssl://", 8883, true, false},
    {"ws://", "ws://", 80, false, true},
    {"wss://", "wss://", 443, true, true},
};

static const struct scheme *find_scheme(const char *text)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(text, schemes[i].ours, strlen(schemes[i].ours)) == 0)
            return &schemes[i];
    return NULL;
}

static bool is_host_char(char c, bool bracketed)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

// Length of the host at the beginning, brackets included; 0 if there is none.
static size_t host_length(const char *text)
{
    bool bracketed = *text == '[';
    size_t len = bracketed;
    while (is_host_char(text[len], bracketed))
        len++;
    if (!bracketed)
        return len;
    return text[len] == ']' && len > 1 ? len + 1 : 0;
}

// ":1883" at *text; moves *text behind it. False if it is no port.
static bool parse_port(const char **text, unsigned *port)
{
    if (**text != ':')
        return true;
    unsigned value = 0;
    const char *at = *text + 1;
    for (; *at >= '0' && *at <= '9' && value <= 65535; at++)
        value = value * 10 + (unsigned)(*at - '0');
    if (at == *text + 1 || value == 0 || value > 65535)
        return false;
    *port = value;
    *text = at;
    return true;
}

// The library looks for the last ':' of the whole text to find the port, so a path must not have
// one.
static bool is_path(const char *text, bool allowed)
{
    if (*text == '\0')
        return true;
    if (*text != '/' || (!allowed && text[1] != '\0'))
        return false;
    for (; *text; text++)
        if (*text <= ' ' || *text >= 127 || *text == ':')
            return false;
    return true;
}

int rn_mqtt_address_parse(struct rn_mqtt_address *out, const char *text, struct rn_err *err)
{
    const struct scheme *scheme = find_scheme(text);
    if (!scheme)
        return rn_fail(err, RN_EINVAL,
                       "broker address \"%s\" must begin with mqtt://, mqtts://, "
                       "ws:// or wss://",
                       text);
    const char *host = text + strlen(scheme->ours);
    size_t host_len = host_length(host);
    if (host_len == 0)
        return rn_fail(err, RN_EINVAL, "broker address \"%s\" has no valid host", text);
    const char *rest = host + host_len;
    unsigned port = scheme->port;
    if (!parse_port(&rest, &port))
        return rn_fail(err, RN_EINVAL, "broker address \"%s\": the port must be 1..65535", text);
    if (!is_path(rest, scheme->path))
        return rn_fail(err, RN_EINVAL, "broker address \"%s\": \"%s\" is not expected at its end",
                       text, rest);
    int len = snprintf(out->uri, sizeof out->uri, "%s%.*s:%u%s", scheme->theirs, (int)host_len,
                       host, port, scheme->path ? rest : "");
    if (len < 0 || (size_t)len >= sizeof out->uri)
        return rn_fail(err, RN_EINVAL, "broker address is too long");
    out->tls = scheme->tls;
    return RN_OK;
}
