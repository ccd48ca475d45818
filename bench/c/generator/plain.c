/* No dialect: a frame or an event is a message, a poll's answer has as many as there are stamps in it. */
#include "generator.h"

static bool opened(struct conn *c) {
    up(c, STREAM);
    if (!options.hello) return true;
    char hello[512];
    expand(hello, sizeof hello, options.hello, c->number % options.channels);
    return send_text(c, hello, strlen(hello));
}

static bool take(struct conn *c, const char *p, size_t n, int64_t now) {
    if (n >= options.prefix_len && !memcmp(p, options.prefix, options.prefix_len)) count_messages(c, 1, p, p + n, now);
    else since.others++;
    note_place(p, n);
    return true;
}

/* The text between a key and the next quote, or NULL. */
static const char *quoted(const char *p, const char *end, const char *key, size_t *n) {
    const char *at = memmem(p, (size_t)(end - p), key, strlen(key));
    if (!at) return NULL;
    at += strlen(key);
    const char *quote = memchr(at, '"', (size_t)(end - at));
    if (!quote) return NULL;
    *n = (size_t)(quote - at);
    return at;
}

/* Of an event it is the id already; of a frame it is in the first bytes: {"message":{"id":"…", {"ready":{"cursor":"…",
 * or with Nchan's ws+meta.nchan a line "id: …". */
static void keep_place(struct conn *c, const char *p, size_t n) {
    const char *end = p + (n < 256 ? n : 256), *id = p;
    if (options.transport == WEBSOCKET) {
        if (options.cursor) {
            id = quoted(p, end, "\"id\":\"", &n);
            if (!id) id = quoted(p, end, "\"cursor\":\"", &n);
        } else if (n > 4 && !memcmp(p, "id: ", 4)) {
            const char *newline = memchr(p, '\n', n);
            id = newline ? p + 4 : NULL;
            n = newline ? (size_t)(newline - id) : 0;
        } else {
            id = NULL;
        }
    }
    if (id) set_place(c, id, n);
}

static size_t line_length(const char *value) { return strcspn(value, "\r\n"); }

static void keep_validators(struct conn *c, const struct answer *a) {
    char lines[512];
    int n = 0;
    const char *etag = header(a->head, a->head_len, "etag:"), *modified = header(a->head, a->head_len, "last-modified:");
    if (etag) n = snprintf(lines, sizeof lines, "If-None-Match: %.*s\r\n", (int)line_length(etag), etag);
    if (modified)
        n += snprintf(lines + n, sizeof lines - (size_t)n, "If-Modified-Since: %.*s\r\n", (int)line_length(modified), modified);
    if (n && (size_t)n < sizeof lines) set_place(c, lines, (size_t)n);
}

static void keep_cursor(struct conn *c, const char *body, const char *end) {
    const char *key = "\"cursor\":\"", *last = NULL, *cursor;
    size_t n;
    for (const char *at = body; (at = memmem(at, (size_t)(end - at), key, 10)); at += 10) last = at;
    if (last && (cursor = quoted(last, end, key, &n))) set_place(c, cursor, n);
}

static bool answered(struct conn *c, const struct answer *a, int64_t now) {
    if (a->status != 200 && a->status != 204 && a->status != 304 && a->status != 408) {
        count_error("answer %d to a poll", a->status);
        close_conn(c);
        return false;
    }
    int64_t messages = 0;
    for (const char *at = a->body; (at = memmem(at, (size_t)(a->end - at), STAMP_KEY, STAMP_KEY_LEN)); at += STAMP_KEY_LEN)
        messages++;
    if (messages) count_messages(c, messages, a->body, a->end, now);
    else since.empties++;
    if (options.cursor) keep_cursor(c, a->body, a->end);
    else if (options.etag) keep_validators(c, a);
    if (c->state == GREETING) up(c, ANSWER);
    /* Behind the messages, in Tidings' own words: a limit cut the answer short. */
    size_t tail = (size_t)(a->end - a->body) < 128 ? (size_t)(a->end - a->body) : 128;
    bool more = memmem(a->end - tail, tail, "\"more\":true", 11);
    if (options.rearm <= 0 || more) return ask(c);
    rest(c, now);
    return true;
}

const struct dialect plain = {
    .name = "plain",
    .transports = 1 << WEBSOCKET | 1 << SSE | 1 << LONG_POLLING | 1 << POLLING,
    .stamp_key = STAMP_KEY,
    .opened = opened,
    .take = take,
    .answered = answered,
    .keep_place = keep_place,
};
