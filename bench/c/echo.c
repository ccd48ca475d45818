/* Round trips over WebSocket: each connection sends a message, waits for what comes back of it, and sends the next.
 *
 * Owns: connections, handshakes, masked frames, how long each round trip took. Does not own: judging.
 * Invariant: a connection has at most --outstanding messages on the way, and what comes back answers the oldest of
 * them. Frames that do not begin with --expect are counted as others; nothing is dropped unseen.
 *
 * What is sent is --send with {n} replaced by the connection's number and {data} by JSON of exactly --size bytes that
 * holds the time. --hello, which may be given several times, goes out first. Every server is asked the same question:
 * where --expect begins the message itself it is "how soon does a player hear himself", where it begins the
 * receipt it is "how many publishes". Ends with one line of JSON; durations in it are seconds.
 */
#include "common.h"

#include <sys/epoll.h>
#include <sys/resource.h>

#define MAX_HELLOS 4
#define MAX_MESSAGE (1 << 16)
#define READ_SIZE (64 << 10)
#define GRACE (2 * NS) /* for what is on the way when the time is over */

struct conn {
    int fd;
    bool up;
    unsigned number;
    char *out, *rest; /* not yet taken by the kernel; an incomplete head or frame */
    size_t out_len, out_cap, rest_len, rest_cap;
    char *before, *after; /* of what it sends, around the data */
    int64_t *sent;    /* a ring of --outstanding times, oldest first */
    unsigned oldest, waiting;
};

static struct {
    int port;
    const char *target, *send, *expect, *hellos[MAX_HELLOS];
    unsigned n_hellos, connections, outstanding, size;
    double seconds;
    char headers[2048];
} options = {.target = "/channels/echo-{n}", .expect = "", .connections = 100, .outstanding = 1, .size = 40, .seconds = 5};

static struct conn *conns;
static int poller;
static unsigned n_up, n_open;
static int64_t trips, others, errors, *times;
static size_t n_times, cap_times;
static char first_error[160], pad[MAX_MESSAGE];
static bool sending;

__attribute__((format(printf, 1, 2))) static void count_error(const char *format, ...) {
    if (!errors++) {
        va_list args;
        va_start(args, format);
        vsnprintf(first_error, sizeof first_error, format, args);
        va_end(args);
    }
}

static void drop(struct conn *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    n_open--;
    if (c->up) n_up--;
}

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = c->number};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void flush_out(struct conn *c) {
    if (c->fd < 0 || !c->out_len) return;
    ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        count_error("send: %s", strerror(errno));
        drop(c);
        return;
    }
    if (sent > 0) {
        c->out_len -= (size_t)sent;
        memmove(c->out, c->out + sent, c->out_len);
    }
    if (c->out_len) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void append(struct conn *c, const char *bytes, size_t n) {
    if (c->out_cap - c->out_len < n) c->out = grow(c->out, c->out_cap = (c->out_len + n) * 2);
    memcpy(c->out + c->out_len, bytes, n);
    c->out_len += n;
}

/* A masked frame, with a mask of zeros: the bytes stay as they are. */
static void append_frame(struct conn *c, int opcode, const char *payload, size_t n) {
    unsigned char head[8] = {(unsigned char)(0x80 | opcode), (unsigned char)(0x80 | n)};
    size_t len = 2;
    if (n > 125) {
        head[1] = 0x80 | 126, head[2] = (unsigned char)(n >> 8), head[3] = (unsigned char)n;
        len = 4;
    }
    append(c, (const char *)head, len);
    append(c, "\0\0\0\0", 4);
    append(c, payload, n);
}

static void send_message(struct conn *c) {
    static char message[MAX_MESSAGE + 2048];
    int64_t now = now_ns();
    int fill = (int)options.size - (int)(sizeof "{\"due\":\"\",\"pad\":\"\"}" - 1) - STAMP_DIGITS;
    int n = snprintf(message, sizeof message, "%s{" STAMP_KEY "%019lld\",\"pad\":\"%.*s\"}%s", c->before, (long long)now, fill, pad,
                     c->after);
    append_frame(c, 1, message, (size_t)n);
    c->sent[(c->oldest + c->waiting++) % options.outstanding] = now;
    flush_out(c);
}

static void came_back(struct conn *c, int64_t now) {
    if (!c->waiting) {
        count_error("an answer to nothing");
        return;
    }
    int64_t sent = c->sent[c->oldest];
    c->oldest = (c->oldest + 1) % options.outstanding;
    c->waiting--;
    if (!sending) return;
    trips++;
    if (n_times == cap_times) times = grow(times, (cap_times = cap_times ? cap_times * 2 : 1 << 16) * sizeof *times);
    times[n_times++] = now - sent;
    send_message(c);
}

/* One frame; returns its length, or 0 when it is not complete. */
static size_t take_frame(struct conn *c, const char *p, size_t n, int64_t now) {
    const unsigned char *f = (const unsigned char *)p;
    if (n < 2) return 0;
    size_t head = 2, size = f[1] & 0x7f;
    if (size == 126) {
        if (n < 4) return 0;
        size = (size_t)f[2] << 8 | f[3];
        head = 4;
    } else if (size == 127) {
        count_error("a frame of more than 64 KiB");
        drop(c);
        return n;
    }
    if (n - head < size) return 0;
    int opcode = f[0] & 0x0f;
    if (opcode == 8) {
        count_error("server closed the WebSocket with code %d", size >= 2 ? f[head] << 8 | f[head + 1] : 1005);
        drop(c);
    } else if (opcode == 9) {
        append_frame(c, 10, p + head, size);
        flush_out(c);
    } else if ((opcode == 1 || opcode == 2) && size >= strlen(options.expect) &&
               !memcmp(p + head, options.expect, strlen(options.expect))) {
        came_back(c, now);
    } else {
        others++;
    }
    return head + size;
}

static size_t take_head(struct conn *c, const char *p, size_t n) {
    size_t head = head_length(p, n);
    if (!head) return 0;
    if (status_of(p, head) != 101) {
        count_error("answer %d, not 101", status_of(p, head));
        drop(c);
        return n;
    }
    c->up = true;
    n_up++;
    for (unsigned i = 0; i < options.n_hellos; i++) {
        char hello[1024];
        expand(hello, sizeof hello, options.hellos[i], c->number);
        append_frame(c, 1, hello, strlen(hello));
    }
    flush_out(c);
    return head;
}

static void readable(struct conn *c) {
    if (c->rest_cap - c->rest_len < READ_SIZE) c->rest = grow(c->rest, c->rest_cap = c->rest_len + READ_SIZE);
    ssize_t got = recv(c->fd, c->rest + c->rest_len, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        count_error("%s", got ? strerror(errno) : "closed by the server");
        drop(c);
        return;
    }
    c->rest_len += (size_t)got;
    int64_t now = now_ns();
    size_t used = 0, taken;
    while (c->fd >= 0 && used < c->rest_len) {
        taken = c->up ? take_frame(c, c->rest + used, c->rest_len - used, now) : take_head(c, c->rest + used, c->rest_len - used);
        if (!taken) break;
        used += taken;
    }
    c->rest_len -= used;
    memmove(c->rest, c->rest + used, c->rest_len);
}

/* `text` with every {n} replaced, as new memory. */
static char *fill_in(const char *text, size_t len, unsigned number) {
    char *out = grow(NULL, len * 6 + 1), *end = out;
    for (const char *at = text; at < text + len;) {
        if (!strncmp(at, "{n}", 3)) {
            end += sprintf(end, "%u", number);
            at += 3;
        } else {
            *end++ = *at++;
        }
    }
    *end = 0;
    return out;
}

static void open_conn(unsigned number) {
    struct conn *c = &conns[number];
    char target[1024], request[4096];
    const char *hole = strstr(options.send, "{data}");
    c->number = number;
    c->before = fill_in(options.send, (size_t)(hole - options.send), number);
    c->after = fill_in(hole + 6, strlen(hole + 6), number);
    c->sent = grow(NULL, options.outstanding * sizeof *c->sent);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    to.sin_addr.s_addr = htonl(0x7f000001u);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
    set_nodelay(c->fd);
    n_open++;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    expand(target, sizeof target, options.target, number);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                     target, options.port, options.headers);
    if (n < 0 || (size_t)n >= sizeof request) die("request is too long");
    append(c, request, (size_t)n);
    flush_out(c);
}

static void turn(int64_t until) {
    struct epoll_event events[256];
    int64_t left = until - now_ns();
    int n = epoll_wait(poller, events, 256, left > 0 ? (int)(left / 1000000 + 1) : 0);
    if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct conn *c = &conns[events[i].data.u32];
        if (c->fd >= 0 && events[i].events & EPOLLOUT) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
            flush_out(c);
        }
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    }
}

static void parse_arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argument(argc, argv, &i);
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--target")) options.target = value;
        else if (!strcmp(name, "--send")) options.send = value;
        else if (!strcmp(name, "--expect")) options.expect = value;
        else if (!strcmp(name, "--connections")) options.connections = (unsigned)atoi(value);
        else if (!strcmp(name, "--outstanding")) options.outstanding = (unsigned)atoi(value);
        else if (!strcmp(name, "--size")) options.size = (unsigned)atoi(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--hello")) {
            if (options.n_hellos == MAX_HELLOS) die("too many hellos");
            options.hellos[options.n_hellos++] = value;
        } else if (!strcmp(name, "--header")) {
            size_t used = strlen(options.headers);
            if ((size_t)snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", value) >=
                sizeof options.headers - used)
                die("too many headers");
        } else die("no such option: %s", name);
    }
    if (!options.port || !options.connections || !options.outstanding) die("--port, --connections and --outstanding want a number");
    if (!options.send || !strstr(options.send, "{data}")) die("--send wants {data} in it");
    if (options.size < 40 || options.size > MAX_MESSAGE - 2048) die("--size is 40 to %d bytes", MAX_MESSAGE - 2048);
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    memset(pad, 'x', sizeof pad - 1);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(options.connections, sizeof *conns);
    if (!conns) die("out of memory");
    for (unsigned i = 0; i < options.connections; i++) open_conn(i);
    for (int64_t until = now_ns() + 15 * NS; n_up < n_open && now_ns() < until;) turn(until);
    /* What is said first is answered within this time; it counts as "others". */
    for (int64_t until = now_ns() + NS / 2; now_ns() < until;) turn(until);
    unsigned connected = n_up;
    sending = true;
    int64_t began = now_ns(), cpu = cpu_ns(), until = began + (int64_t)(options.seconds * (double)NS);
    for (unsigned i = 0; i < options.connections; i++)
        for (unsigned k = 0; k < options.outstanding && conns[i].fd >= 0; k++) send_message(&conns[i]);
    while (now_ns() < until && n_open) turn(until);
    double wall = (double)(now_ns() - began) / NS, used = (double)(cpu_ns() - cpu) / NS;
    sending = false;
    unsigned waiting = 1;
    for (until = now_ns() + GRACE; waiting && now_ns() < until;) {
        turn(now_ns() + NS / 100);
        waiting = 0;
        for (unsigned i = 0; i < options.connections; i++) waiting += conns[i].fd >= 0 && conns[i].waiting;
    }
    if (waiting) count_error("%u connections wait for what they sent", waiting);
    sort_values(times, n_times);
    printf("{\"connected\":%u,\"trips\":%lld,\"others\":%lld,\"errors\":%lld,\"error\":", connected, (long long)trips,
           (long long)others, (long long)errors);
    print_json_text(first_error);
    printf(",\"trip_p50\":%.9f,\"trip_p99\":%.9f,\"trip_p999\":%.9f,\"cpu\":%.6f,\"wall\":%.6f}\n", quantile(times, n_times, 0.5),
           quantile(times, n_times, 0.99), quantile(times, n_times, 0.999), used, wall);
    return 0;
}
