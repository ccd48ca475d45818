/* Bayeux, as Faye speaks it on a WebSocket: handshake, subscribe, then a connect that is repeated when it is answered.
 *
 * Every text is an array of objects; those whose channel is not a /meta/ one are messages.
 */
#include "generator.h"

static bool say(struct conn *c, const char *text) { return send_text(c, text, strlen(text)); }

static bool opened(struct conn *c) {
    c->state = GREETING;
    return say(c, "[{\"channel\":\"/meta/handshake\",\"version\":\"1.0\",\"supportedConnectionTypes\":[\"websocket\"],\"id\":\"1\"}]");
}

static bool subscribe(struct conn *c) {
    char channel[200], text[600];
    expand(channel, sizeof channel, options.hello, c->number % options.channels);
    snprintf(text, sizeof text, "[{\"channel\":\"/meta/subscribe\",\"clientId\":\"%s\",\"subscription\":\"%s\",\"id\":\"2\"}]",
             c->session, channel);
    return say(c, text);
}

static bool stay(struct conn *c) {
    char text[300];
    snprintf(text, sizeof text, "[{\"channel\":\"/meta/connect\",\"clientId\":\"%s\",\"connectionType\":\"websocket\",\"id\":\"3\"}]",
             c->session);
    return say(c, text);
}

static bool take_meta(struct conn *c, const char *p, const char *end, const char *channel, size_t len) {
    size_t n;
    since.others++;
    const char *successful = json_member(p, end, "successful", &n);
    if (!successful || n != 4 || memcmp(successful, "true", 4)) {
        count_error("refused: %.*s", end - p < 100 ? (int)(end - p) : 100, p);
        close_conn(c);
        return false;
    }
    if (len == 15 && !memcmp(channel, "/meta/handshake", 15)) {
        const char *id = json_member(p, end, "clientId", &n);
        if (!id || n > 100) {
            count_error("handshake without a clientId");
            close_conn(c);
            return false;
        }
        set_text(&c->session, id, n);
        return subscribe(c);
    }
    if (len == 15 && !memcmp(channel, "/meta/subscribe", 15) && c->state == GREETING) {
        up(c, STREAM);
        return stay(c);
    }
    if (len == 13 && !memcmp(channel, "/meta/connect", 13)) return stay(c);
    return true;
}

static bool take(struct conn *c, const char *p, size_t n, int64_t now) {
    const char *at = p, *end = p + n, *from, *to;
    size_t len;
    while (json_next(&at, end, &from, &to)) {
        const char *channel = json_member(from, to, "channel", &len);
        if (!channel) break;
        if (len >= 6 && !memcmp(channel, "/meta/", 6)) {
            if (!take_meta(c, from, to, channel, len)) return false;
        } else {
            count_messages(c, 1, from, to, now);
        }
    }
    if (at < end && *at == ']') return true;
    count_error("no array of messages: %.*s", n < 60 ? (int)n : 60, p);
    close_conn(c);
    return false;
}

const struct dialect faye = {
    .name = "faye",
    .transports = 1 << WEBSOCKET,
    .stamp_key = STAMP_KEY,
    .opened = opened,
    .take = take,
};
