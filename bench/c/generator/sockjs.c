/* SockJS: o opens, h is a heartbeat, a[…] an array of messages, each a string, and c[…] closes. */
#include "generator.h"

static void aim(const struct conn *c, char *target, size_t size) {
    static unsigned sessions; /* a session's name is used once */
    size_t used = strlen(target);
    const char *transport = options.transport == WEBSOCKET ? "websocket"
                            : options.transport == SSE   ? "eventsource"
                                                         : "xhr_streaming";
    int n = snprintf(target + used, size - used, "/%03u/%x-%x/%s", c->number % 1000, (unsigned)getpid(), ++sessions, transport);
    if (n < 0 || (size_t)n >= size - used) die("target is too long");
}

static bool opened(struct conn *c) {
    c->state = GREETING;
    return true;
}

static bool take(struct conn *c, const char *p, size_t n, int64_t now) {
    if (n && p[0] == 'a') {
        const char *at = p + 1, *end = p + n, *from, *to;
        int64_t messages = 0;
        while (json_next(&at, end, &from, &to)) messages++;
        if (at == end || *at != ']') {
            count_error("no array: %.*s", n < 60 ? (int)n : 60, p);
            close_conn(c);
            return false;
        }
        if (messages) count_messages(c, messages, p, end, now);
        return true;
    }
    since.others++;
    if (n == 1 && p[0] == 'o' && c->state == GREETING) up(c, STREAM);
    if (n && p[0] == 'c') {
        count_error("the server closed: %.*s", n < 60 ? (int)n : 60, p);
        close_conn(c);
        return false;
    }
    return true;
}

const struct dialect sockjs = {
    .name = "sockjs",
    .transports = 1 << WEBSOCKET | 1 << SSE | 1 << XHR_STREAMING,
    .stamp_key = "\\\"due\\\":\\\"",
    .aim = aim,
    .opened = opened,
    .take = take,
};
