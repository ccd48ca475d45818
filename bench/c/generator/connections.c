/* Connections: opened, asked with, read, cut and opened again. */
#include "generator.h"

int poller;
struct conn *conns;
unsigned n_conns, n_up, n_failed, n_opening;
/* With --lazy SECONDS, connections that are not sampled are not polled: a sweep over all of them begins that often,
 * and reads several messages at a time. One recv for each message would cost this process as much as one send
 * costs the server that it must keep ahead of. */
static int64_t sweep_at;
static unsigned sweep_next = UINT32_MAX; /* no sweep is under way */
static char buffer[4 << 20];
#define READ_SIZE (256 << 10)

void init_connections(void) {
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1: %s", strerror(errno));
}

static bool is_poll(void) { return options.transport == LONG_POLLING || options.transport == POLLING; }

static void leave(struct conn *c, enum state state) {
    close(c->fd);
    free(c->rest);
    c->rest = NULL;
    c->rest_len = 0;
    c->state = (uint8_t)state;
}

void close_conn(struct conn *c) {
    if (c->state < STREAM) {
        n_opening--;
        n_failed++;
    } else {
        n_up--;
    }
    leave(c, CLOSED);
    free(c->place);
    free(c->session);
    c->place = c->session = NULL;
}

unsigned cut_all(void) {
    unsigned n = 0;
    forget_rests();
    for (unsigned i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        if (c->state < STREAM || c->state >= CUT) continue;
        leave(c, CUT);
        n_up--;
        n++;
    }
    return n;
}

void watch(const struct conn *c, int operation) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = c->number};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

void up(struct conn *c, enum state state) {
    c->state = (uint8_t)state;
    if (is_lazy(c)) watch(c, EPOLL_CTL_DEL);
    n_opening--;
    n_up++;
}

bool is_lazy(const struct conn *c) {
    return options.lazy > 0 && !c->sampled && c->state >= STREAM && c->state < CUT;
}

bool send_all(struct conn *c, const char *bytes, size_t n, const char *what) {
    ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (sent > 0) since.sent_bytes += sent;
    if (sent == (ssize_t)n) return true;
    if (sent < 0) count_error("%s: %s", what, strerror(errno));
    else count_error("%s: short write", what);
    close_conn(c);
    return false;
}

static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + used, size - used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size - used) die("request is too long");
}

static const char *const accepts[] = {
    [WEBSOCKET] = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    [SSE] = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n",
    [XHR_STREAMING] = "Content-Length: 0\r\n",
    [LONG_POLLING] = "Accept: application/json\r\n",
    [POLLING] = "Accept: application/json\r\n",
};

static void aim(const struct conn *c, char *target, size_t size) {
    expand(target, size, options.target, c->number % options.channels);
    if (options.dialect->aim) options.dialect->aim(c, target, size);
}

bool ask(struct conn *c) {
    char target[1024], request[4096] = "";
    aim(c, target, sizeof target);
    bool plainly = options.dialect == &plain && c->place;
    if (plainly && options.cursor) add(target, sizeof target, "%cafter=%s", strchr(target, '?') ? '&' : '?', c->place);
    add(request, sizeof request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s",
        options.transport == XHR_STREAMING ? "POST" : "GET", target, options.port, accepts[options.transport], options.headers);
    if (plainly && options.etag) {
        if (options.cursor) add(request, sizeof request, "If-None-Match: \"%s\"\r\n", c->place);
        else if (is_poll()) add(request, sizeof request, "%s", c->place);
        else add(request, sizeof request, "Last-Event-ID: %s\r\n", c->place);
    }
    add(request, sizeof request, "\r\n");
    since.requests++;
    return send_all(c, request, strlen(request), "request");
}

/* The answer to a POST comes before that to the poll that follows it. */
bool post(struct conn *c, const char *body) {
    char target[1024], request[4096] = "";
    aim(c, target, sizeof target);
    add(request, sizeof request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: text/plain;charset=UTF-8\r\n"
        "Content-Length: %zu\r\n%s\r\n%s", target, options.port, strlen(body), options.headers, body);
    since.requests++;
    c->posted++;
    return send_all(c, request, strlen(request), "post");
}

void open_conn(struct conn *c) {
    *c = (struct conn){.number = (unsigned)(c - conns), .sampled = c->sampled, .rested = c->rested, .place = c->place,
                       .session = c->session, .state = CONNECTING};
    n_opening++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    set_nodelay(c->fd);
    int one = 1;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    from.sin_addr.s_addr = htonl(0x7f000001u + c->number % options.sources);
    to.sin_addr.s_addr = htonl(0x7f000001u);
    to.sin_port = htons((uint16_t)options.port);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        count_error("connect: %s", strerror(errno));
        close_conn(c);
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = c->number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void connected(struct conn *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        count_error("connect: %s", strerror(error));
        close_conn(c);
        return;
    }
    if (!ask(c)) return;
    watch(c, EPOLL_CTL_MOD);
    if (!is_poll()) c->state = HEAD;
    /* A parked request gets no answer that would tell that it arrived. */
    else if (options.dialect == &plain && options.transport == LONG_POLLING) up(c, ANSWER);
    else c->state = GREETING;
}

static size_t take_units(struct conn *c, char *p, size_t n, int64_t now) {
    switch (options.transport) {
        case WEBSOCKET: return take_frames(c, p, n, now);
        case SSE: return take_events(c, p, n, now);
        case XHR_STREAMING: return take_lines(c, p, n, now);
        default: return take_answers(c, p, n, now);
    }
}

static void readable(struct conn *c) {
    size_t kept = c->rest_len;
    if (kept + READ_SIZE > sizeof buffer) {
        count_error("a unit of more than %zu bytes", sizeof buffer - READ_SIZE);
        close_conn(c);
        return;
    }
    if (kept) memcpy(buffer, c->rest, kept);
    ssize_t got = recv(c->fd, buffer + kept, READ_SIZE, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        if (got < 0) count_error("read: %s", strerror(errno));
        else count_error("closed by the server%s", kept ? " in the middle of a unit" : "");
        close_conn(c);
        return;
    }
    int64_t now = now_ns();
    since.bytes += got;
    note_place(NULL, 0);
    size_t n = kept, used = 0;
    n += c->chunked ? dechunk(&c->chunks, buffer + kept, (size_t)got) : (size_t)got;
    while (used < n && c->state < CUT) {
        size_t taken;
        if (c->state == HEAD) {
            taken = take_head(c, buffer + used, n - used);
            if (c->chunked) n = used + taken + dechunk(&c->chunks, buffer + used + taken, n - used - taken);
        } else {
            taken = take_units(c, buffer + used, n - used, now);
        }
        if (!taken) break;
        used += taken;
    }
    if (c->state >= CUT) return;
    keep_noted_place(c);
    if (c->chunked && ended(&c->chunks)) {
        count_error("the server ended the stream");
        close_conn(c);
        return;
    }
    n -= used;
    if (n) {
        c->rest = grow(c->rest, n);
        memcpy(c->rest, buffer + used, n);
    } else if (c->rest) {
        free(c->rest);
        c->rest = NULL;
    }
    c->rest_len = (uint32_t)n;
}

void handle_event(struct conn *c) {
    if (c->state == CONNECTING) connected(c);
    else if (c->state < CUT) readable(c);
}

void sweep(int64_t now) {
    if (options.lazy <= 0) return;
    if (sweep_next == UINT32_MAX) {
        if (now < sweep_at) return;
        sweep_next = 0;
        sweep_at = now + (int64_t)(options.lazy * (double)NS);
    }
    /* A few at a time, so that the sampled ones are not read late. */
    for (int i = 0; i < 64 && sweep_next < n_conns; i++, sweep_next++)
        if (is_lazy(&conns[sweep_next])) readable(&conns[sweep_next]);
    if (sweep_next >= n_conns) sweep_next = UINT32_MAX;
}

/* When `sweep` has something to do; INT64_MAX is never, 0 is now. */
int64_t sweep_due(void) {
    if (sweep_next != UINT32_MAX) return 0;
    return options.lazy > 0 && n_up ? sweep_at : INT64_MAX;
}
