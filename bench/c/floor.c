/* The floor: the least that any server can do here, one epoll loop and `send` to every subscriber.
 *
 * Owns: the four transports' minimum on /channels/NAME, with bytes of the same size as Tidings sends. Does not
 * own: history, limits, checks of input, heartbeats; it is a yardstick and no server.
 * Invariant: every send is checked. What the kernel did not take is kept and goes out when the socket is
 * writable again, before anything newer: a floor that drops data would win by it.
 *
 * --join 1 sends each message to each subscriber by itself. --join K sends up to K messages that came in one
 * turn of the loop joined; none waits for the next turn.
 * A channel is the number at the end of its name (none: 0), so that finding it costs nothing.
 */
#include "common.h"

#include <sys/epoll.h>
#include <sys/resource.h>

#define N_CHANNELS 16384
#define MAX_BODY (1 << 16)
#define READ_SIZE (256 << 10)
/* Behind a reader that stops, a floor without a window must either keep or cut; it keeps this much, then cuts. */
#define MAX_KEPT (64 << 20)

enum kind { HTTP, WEBSOCKET, SSE, PARKED, DEAD };

struct text { char *bytes; size_t len, cap; };

struct conn {
    int fd;
    uint8_t kind;
    unsigned place;       /* in its channel's list */
    struct channel *channel;
    struct text kept;     /* not yet taken by the kernel */
    char *rest;           /* an incomplete request */
    size_t rest_len;
    struct conn *next_free;
};

struct list { struct conn **conns; unsigned n, cap; };

struct channel {
    struct list subscribers[PARKED + 1];
    struct text frames, events, envelopes;  /* this turn's messages, one rendering for each kind */
    struct text answer;                     /* the last messages as an answer to a poll */
    unsigned joined;
    int64_t position;
    bool dirty;
};

static struct channel channels[N_CHANNELS];
static struct channel *dirty[N_CHANNELS];
static unsigned n_dirty, join = 1;
static const char *epoch = "9f3k";
static int64_t position;
static int poller;
static char buffer[READ_SIZE + MAX_BODY + 16384];
static struct conn *dead; /* freed at the end of the turn: its events may still be in the list */

static void append(struct text *t, const char *bytes, size_t n) {
    if (t->cap - t->len < n) {
        t->cap = (t->len + n) * 2;
        t->bytes = grow(t->bytes, t->cap);
    }
    memcpy(t->bytes + t->len, bytes, n);
    t->len += n;
}

static void listen_to(struct conn *c, uint32_t what) {
    struct epoll_event event = {.events = what, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void leave(struct conn *c) {
    if (!c->channel) return;
    struct list *l = &c->channel->subscribers[c->kind];
    l->conns[c->place] = l->conns[--l->n];
    l->conns[c->place]->place = c->place;
    c->channel = NULL;
}

static void enter(struct conn *c, enum kind kind, struct channel *channel) {
    struct list *l = &channel->subscribers[kind];
    if (l->n == l->cap) l->conns = grow(l->conns, (l->cap = l->cap ? l->cap * 2 : 16) * sizeof *l->conns);
    c->kind = (uint8_t)kind;
    c->channel = channel;
    c->place = l->n;
    l->conns[l->n++] = c;
}

static void drop(struct conn *c) {
    if (c->kind == DEAD) return;
    leave(c);
    close(c->fd);
    c->kind = DEAD;
    c->next_free = dead;
    dead = c;
}

static void send_to(struct conn *c, const char *bytes, size_t n) {
    if (!c->kept.len) {
        ssize_t sent = send(c->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == (ssize_t)n) return;
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            drop(c);
            return;
        }
        if (sent > 0) bytes += sent, n -= (size_t)sent;
        listen_to(c, EPOLLIN | EPOLLOUT);
    }
    if (c->kept.len + n > MAX_KEPT) {
        fprintf(stderr, "floor: a reader stopped and is cut\n");
        drop(c);
        return;
    }
    append(&c->kept, bytes, n);
}

static void send_kept(struct conn *c) {
    ssize_t sent = send(c->fd, c->kept.bytes, c->kept.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) drop(c);
        return;
    }
    c->kept.len -= (size_t)sent;
    memmove(c->kept.bytes, c->kept.bytes + sent, c->kept.len);
    if (c->kept.len) return;
    free(c->kept.bytes);
    memset(&c->kept, 0, sizeof c->kept);
    listen_to(c, EPOLLIN);
}

/* From the last to the first: a send that fails takes its subscriber out of the list, and the last one's place is done. */
static void send_to_list(struct list *l, const struct text *t) {
    for (unsigned i = l->n; i-- > 0;) send_to(l->conns[i], t->bytes, t->len);
}

static void render_answer(struct channel *channel) {
    char head[256], tail[64];
    int tail_len = snprintf(tail, sizeof tail, "],\"cursor\":\"%s-%lld\"}", epoch, (long long)channel->position);
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                            "Cache-Control: no-store\r\nETag: \"%s-%lld\"\r\n\r\n{\"messages\":[",
                            channel->envelopes.len + (size_t)tail_len + 13, epoch, (long long)channel->position);
    channel->answer.len = 0;
    append(&channel->answer, head, (size_t)head_len);
    append(&channel->answer, channel->envelopes.bytes, channel->envelopes.len);
    append(&channel->answer, tail, (size_t)tail_len);
}

static void flush_channel(struct channel *channel) {
    if (!channel->joined) return;
    struct list *parked = &channel->subscribers[PARKED];
    render_answer(channel);
    send_to_list(&channel->subscribers[WEBSOCKET], &channel->frames);
    send_to_list(&channel->subscribers[SSE], &channel->events);
    for (unsigned i = parked->n; i-- > 0;) {
        struct conn *c = parked->conns[i];
        leave(c);
        c->kind = HTTP;
        send_to(c, channel->answer.bytes, channel->answer.len);
    }
    channel->frames.len = channel->events.len = channel->envelopes.len = 0;
    channel->joined = 0;
}

static void publish(struct channel *channel, const char *name, size_t name_len, const char *data, size_t n) {
    static char envelope[MAX_BODY + 1024];
    char id[64], head[16];
    int id_len = snprintf(id, sizeof id, "%s-%lld", epoch, (long long)++position);
    channel->position = position;
    int len = snprintf(envelope, sizeof envelope, "{\"id\":\"%s\",\"channel\":\"%.*s\",\"time\":%lld,\"data\":", id, (int)name_len,
                       name, (long long)(clock_ns(CLOCK_REALTIME) / 1000000));
    memcpy(envelope + len, data, n);
    envelope[(size_t)len + n] = '}';
    size_t size = (size_t)len + n + 1, frame = size + 12;
    head[0] = (char)0x81;
    int head_len = 2;
    if (frame < 126) {
        head[1] = (char)frame;
    } else if (frame < 65536) {
        head[1] = 126, head[2] = (char)(frame >> 8), head[3] = (char)frame, head_len = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++) head[2 + i] = (char)(frame >> (56 - 8 * i));
        head_len = 10;
    }
    append(&channel->frames, head, (size_t)head_len);
    append(&channel->frames, "{\"message\":", 11);
    append(&channel->frames, envelope, size);
    append(&channel->frames, "}", 1);
    append(&channel->events, "id: ", 4);
    append(&channel->events, id, (size_t)id_len);
    append(&channel->events, "\ndata: ", 7);
    append(&channel->events, envelope, size);
    append(&channel->events, "\n\n", 2);
    if (channel->joined) append(&channel->envelopes, ",", 1);
    append(&channel->envelopes, envelope, size);
    if (!channel->dirty) {
        channel->dirty = true;
        dirty[n_dirty++] = channel;
    }
    if (++channel->joined >= join) flush_channel(channel);
}

static void answer_get(struct conn *c, struct channel *channel, const char *head, size_t n) {
    const char *line_end = memchr(head, '\r', n), *value;
    size_t line = (size_t)(line_end - head);
    if ((value = header(head, n, "upgrade:")) && !strncasecmp(value, "websocket", 9)) {
        /* The accept key of the one key that the generator sends: RFC 6455's own example. */
        static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        send_to(c, answer, sizeof answer - 1);
        if (c->kind != DEAD) enter(c, WEBSOCKET, channel);
    } else if ((value = header(head, n, "accept:")) && !strncasecmp(value, "text/event-stream", 17)) {
        static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n"
                                     "X-Accel-Buffering: no\r\n\r\n";
        send_to(c, answer, sizeof answer - 1);
        if (c->kind != DEAD) enter(c, SSE, channel);
    } else {
        const char *after = memmem(head, line, "after=", 6), *dash = after ? memchr(after, '-', (size_t)(line_end - after)) : NULL;
        bool behind = dash && atoll(dash + 1) < channel->position;
        if (!behind && memmem(head, line, "wait=", 5)) {
            enter(c, PARKED, channel);
        } else if (behind) {
            send_to(c, channel->answer.bytes, channel->answer.len);
        } else {
            char answer[256], body[80];
            int size = snprintf(body, sizeof body, "{\"messages\":[],\"cursor\":\"%s-%lld\"}", epoch, (long long)channel->position);
            int len = snprintf(answer, sizeof answer,
                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                               "Cache-Control: no-store\r\nETag: \"%s-%lld\"\r\n\r\n%s",
                               size, epoch, (long long)channel->position, body);
            send_to(c, answer, (size_t)len);
        }
    }
}

/* One request; returns its length, or 0 when it is not complete. The answers of one turn's publishes go out joined. */
static size_t take_request(struct conn *c, const char *p, size_t n, struct text *answers) {
    size_t head = head_length(p, n), body = 0;
    if (!head) return 0;
    const char *length = header(p, head, "content-length:"), *name = memmem(p, head, "/channels/", 10);
    if (length) body = strtoul(length, NULL, 10);
    if (!name || body > MAX_BODY) {
        fprintf(stderr, "floor: a request it does not know\n");
        drop(c);
        return n;
    }
    if (n - head < body) return 0;
    name += 10;
    size_t name_len = strcspn(name, " ?\r"), digits = name_len;
    while (digits && name[digits - 1] >= '0' && name[digits - 1] <= '9') digits--;
    struct channel *channel = &channels[digits < name_len ? atoi(name + digits) % N_CHANNELS : 0];
    if (*p == 'P') {
        publish(channel, name, name_len, p + head, body);
        char answer[256], said[80];
        int size = snprintf(said, sizeof said, "{\"id\":\"%s-%lld\",\"durability\":\"memory\"}", epoch, (long long)position);
        int len = snprintf(answer, sizeof answer,
                           "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, said);
        append(answers, answer, (size_t)len);
    } else {
        answer_get(c, channel, p, head);
    }
    return head + body;
}

static void readable(struct conn *c) {
    static struct text answers;
    if (c->rest_len) memcpy(buffer, c->rest, c->rest_len);
    ssize_t got = recv(c->fd, buffer + c->rest_len, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        drop(c);
        return;
    }
    if (c->kind != HTTP) return; /* pongs and the like */
    size_t n = c->rest_len + (size_t)got, used = 0;
    answers.len = 0;
    while (used < n && c->kind == HTTP) {
        size_t taken = take_request(c, buffer + used, n - used, &answers);
        if (!taken) break;
        used += taken;
    }
    if (c->kind == DEAD) return;
    if (answers.len) send_to(c, answers.bytes, answers.len);
    n -= used;
    if (n > sizeof buffer - READ_SIZE) {
        drop(c);
        return;
    }
    if (n) {
        c->rest = grow(c->rest, n);
        memcpy(c->rest, buffer + used, n);
    } else {
        free(c->rest);
        c->rest = NULL;
    }
    c->rest_len = n;
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        set_nodelay(fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %s", strerror(errno));
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept: %s", strerror(errno));
}

int main(int argc, char **argv) {
    int port = 0, one = 1;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argument(argc, argv, &i);
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--join")) join = (unsigned)atoi(value);
        else if (!strcmp(name, "--epoch")) epoch = value;
        else die("no such option: %s", name);
    }
    if (!port || !join) die("--port and --join want a number");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(0x7f000001u);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) die("port %d: %s", port, strerror(errno));
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) die("epoll_ctl: %s", strerror(errno));
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (c->kind != DEAD && events[i].events & EPOLLOUT) send_kept(c);
            if (c->kind != DEAD && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
        }
        for (unsigned i = 0; i < n_dirty; i++) {
            flush_channel(dirty[i]);
            dirty[i]->dirty = false;
        }
        n_dirty = 0;
        for (struct conn *next; dead; dead = next) {
            next = dead->next_free;
            free(dead->kept.bytes);
            free(dead->rest);
            free(dead);
        }
    }
}
