/* Engine.IO 4 with Socket.IO 5 on top, namespace "/".
 *
 * A packet is a digit and a text: 0 open, 1 close, 2 ping, 3 pong, 4 a packet of Socket.IO, 6 nothing. Of Socket.IO, 0 is a
 * connect, 1 a disconnect, 2 an event, 4 a refusal. In polling answers packets are separated by 0x1e.
 * With connection state recovery the server names the session (pid), and puts an offset behind each event's arguments.
 */
#include "generator.h"

static bool by_polling(void) { return options.transport == LONG_POLLING; }

static void aim(const struct conn *c, char *target, size_t size) {
    size_t used = strlen(target);
    int n = snprintf(target + used, size - used, "%cEIO=4&transport=%s", strchr(target, '?') ? '&' : '?',
                     by_polling() ? "polling" : "websocket");
    /* While it is being opened a connection has at most the session of the one before it. */
    if (n > 0 && by_polling() && c->session && c->state != CONNECTING)
        n += snprintf(target + used + n, size - used - (size_t)n, "&sid=%s", c->session);
    if (n < 0 || (size_t)n >= size - used) die("target is too long");
}

static bool opened(struct conn *c) {
    c->state = GREETING;
    return true;
}

static bool say(struct conn *c, const char *packet) {
    return by_polling() ? post(c, packet) : send_text(c, packet, strlen(packet));
}

static bool fail(struct conn *c, const char *what, const char *p, size_t n) {
    count_error("%s: %.*s", what, (int)(n < 80 ? n : 80), p);
    close_conn(c);
    return false;
}

/* Place: "PID" before the first event, then "PID OFFSET". */
static bool greet(struct conn *c) {
    char packet[256] = "40";
    char *offset = c->place ? strchr(c->place, ' ') : NULL;
    if (offset)
        snprintf(packet, sizeof packet, "40{\"pid\":\"%.*s\",\"offset\":\"%s\"}", (int)(offset - c->place), c->place, offset + 1);
    return say(c, packet);
}

static bool take_open(struct conn *c, const char *p, size_t n) {
    size_t len;
    const char *sid = json_member(p + 1, p + n, "sid", &len);
    if (!sid) return fail(c, "no session", p, n);
    if (by_polling()) set_text(&c->session, sid, len);
    return greet(c);
}

static bool take_connect(struct conn *c, const char *p, size_t n) {
    size_t len;
    const char *pid = json_member(p + 2, p + n, "pid", &len);
    size_t had = c->place ? strcspn(c->place, " ") : 0;
    /* The same pid is a session that was recovered: its offset still holds. */
    if (pid && options.cursor && (had != len || memcmp(c->place, pid, len))) set_place(c, pid, len);
    if (c->state == GREETING) up(c, by_polling() ? ANSWER : STREAM);
    return true;
}

static bool take(struct conn *c, const char *p, size_t n, int64_t now) {
    if (n >= 2 && p[0] == '4' && p[1] == '2') {
        if (n >= options.prefix_len && !memcmp(p, options.prefix, options.prefix_len)) {
            count_messages(c, 1, p, p + n, now);
            note_place(p, n);
        } else {
            since.others++;
        }
        return true;
    }
    since.others++;
    if (n && p[0] == '0') return take_open(c, p, n);
    if (n && p[0] == '1') return fail(c, "the server closed", p, n);
    if (n && p[0] == '2') return say(c, "3");
    if (n >= 2 && p[0] == '4') {
        if (p[1] == '0') return take_connect(c, p, n);
        if (p[1] == '1' || p[1] == '4') return fail(c, "disconnected", p, n);
    }
    return true;
}

static bool answered(struct conn *c, const struct answer *a, int64_t now) {
    if (a->status != 200) {
        count_error("answer %d to a poll", a->status);
        close_conn(c);
        return false;
    }
    bool was_up = c->state != GREETING;
    int64_t before = since.messages;
    for (const char *p = a->body, *end; p < a->end; p = end + 1) {
        end = memchr(p, 0x1e, (size_t)(a->end - p));
        if (!end) end = a->end;
        if (!take(c, p, (size_t)(end - p), now)) return false;
    }
    if (was_up && since.messages == before) since.empties++;
    if (options.rearm <= 0 || c->state != ANSWER) return ask(c);
    rest(c, now);
    return true;
}

static void keep_place(struct conn *c, const char *p, size_t n) {
    if (!options.cursor || !c->place || n < 3 || memcmp(p + n - 2, "\"]", 2)) return;
    const char *end = p + n - 2, *quote = memrchr(p, '"', n - 2);
    if (!quote) return;
    char place[160];
    int len = snprintf(place, sizeof place, "%.*s %.*s", (int)strcspn(c->place, " "), c->place, (int)(end - quote - 1), quote + 1);
    if (len > 0 && (size_t)len < sizeof place) set_place(c, place, (size_t)len);
}

const struct dialect engineio = {
    .name = "engineio",
    .transports = 1 << WEBSOCKET | 1 << LONG_POLLING,
    .stamp_key = STAMP_KEY,
    .aim = aim,
    .opened = opened,
    .take = take,
    .answered = answered,
    .keep_place = keep_place,
};
