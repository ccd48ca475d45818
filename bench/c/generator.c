/* Very many subscribers in one process: it opens them, counts what they get, and stamps the delay of some.
 *
 * Owns: connections of one transport to one server, counts of every message and byte on all of them, delays
 * on a sample spread over the accept order. Does not own: publishing (publisher.c), judging (the harness).
 * Invariant: whatever is not a message on an open connection is counted as something else or as an error;
 * nothing is dropped unseen.
 *
 * It obeys lines on standard input, and answers each with one line of JSON on standard output:
 *   connect N         open N more; answered when all of them are up or have failed
 *   mark              counters to zero, choose the sampled connections anew
 *   await N SECONDS   report as soon as N messages came since the mark, or when the time is over
 *   report            report now
 *   quit
 * Durations in answers are seconds.
 */
#include "common.h"

#include <sys/epoll.h>
#include <sys/resource.h>

enum transport { WEBSOCKET, SSE, LONG_POLLING };
enum state { CONNECTING, HEAD, STREAM, ANSWER, RESTING, CLOSED };

struct conn {
    int fd;
    uint8_t state;
    bool sampled;
    bool rested;      /* has waited its first, random, rest */
    bool in_message;  /* a fragmented WebSocket message is open, and it counts */
    unsigned number;
    uint32_t rest_len;
    char *rest;       /* an incomplete unit, kept until the rest of it comes; NULL when there is none */
    char *cursor;     /* long-polling: where the next request begins; NULL before the first answer */
};

static struct {
    int port;
    enum transport transport;
    const char *target, *hello, *prefix;
    char headers[2048];
    size_t prefix_len;
    unsigned samples, sources, in_flight, channels;
    double rearm, lazy;
} options = {.target = "/channels/bench", .samples = 128, .sources = 4, .in_flight = 128, .channels = 1};

static struct {
    int64_t messages, others, bytes, answers, empties, requests, first, last, wall, cpu;
} since;  /* the mark */

static struct conn *conns;
static unsigned n_conns, wanted, n_up, n_failed, n_opening;
static int64_t errors;
static char first_error[160];
static int64_t *delays;
static size_t n_delays, cap_delays;
static int poller;
/* With --lazy SECONDS, connections that are not sampled are not polled: a sweep over all of them begins that often,
 * and reads several messages at a time. One recv for each message would cost this process as much as one send
 * costs the server that it must keep ahead of. */
static int64_t sweep_at;
static unsigned sweep_next = UINT32_MAX; /* no sweep is under way */
static bool connecting, awaiting;
static int64_t connect_began, await_messages, await_until;
static char buffer[1 << 20];
#define READ_SIZE (256 << 10)

/* Connections that rest before they ask again; one fixed delay (but for the first), so a queue is enough. */
static struct { int64_t at; unsigned number; } *resting;
static size_t rest_head, rest_tail, rest_cap;

__attribute__((format(printf, 1, 2))) static void count_error(const char *format, ...) {
    if (!errors++) {
        va_list args;
        va_start(args, format);
        vsnprintf(first_error, sizeof first_error, format, args);
        va_end(args);
    }
}

static void close_conn(struct conn *c) {
    if (c->state <= HEAD) {
        n_opening--;
        n_failed++;
    } else {
        n_up--;
    }
    close(c->fd);
    free(c->rest);
    free(c->cursor);
    c->rest = c->cursor = NULL;
    c->rest_len = 0;
    c->state = CLOSED;
}

static bool send_all(struct conn *c, const char *bytes, size_t n, const char *what) {
    ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (sent == (ssize_t)n) return true;
    if (sent < 0) count_error("%s: %s", what, strerror(errno));
    else count_error("%s: short write", what);
    close_conn(c);
    return false;
}

/* A masked frame, with a mask of zeros: the bytes stay as they are. */
__attribute__((noinline)) static bool send_frame(struct conn *c, int opcode, const char *payload, size_t n) {
    char frame[256] = {(char)(0x80 | opcode), (char)(0x80 | n)};
    memcpy(frame + 6, payload, n);
    return send_all(c, frame, n + 6, "frame");
}

static bool ask(struct conn *c) {
    char target[1024], request[4096];
    expand(target, sizeof target, options.target, c->number % options.channels);
    if (c->cursor) {
        size_t used = strlen(target);
        snprintf(target + used, sizeof target - used, "%cafter=%s", strchr(target, '?') ? '&' : '?', c->cursor);
    }
    const char *extra = options.transport == WEBSOCKET
                            ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        : options.transport == SSE ? "Accept: text/event-stream\r\nCache-Control: no-cache\r\n"
                                                   : "Accept: application/json\r\n";
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s\r\n", target, options.port,
                     extra, options.headers);
    if (n < 0 || (size_t)n >= sizeof request) die("request is too long");
    since.requests++;
    return send_all(c, request, (size_t)n, "request");
}

static void watch(const struct conn *c, int operation) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = c->number};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void up(struct conn *c, enum state state) {
    c->state = (uint8_t)state;
    if (options.lazy > 0) watch(c, EPOLL_CTL_DEL);
    n_opening--;
    n_up++;
}

static void add_delay(int64_t delay) {
    if (n_delays == cap_delays) {
        cap_delays = cap_delays ? cap_delays * 2 : 1 << 16;
        delays = grow(delays, cap_delays * sizeof *delays);
    }
    delays[n_delays++] = delay;
}

static void count_messages(const struct conn *c, int64_t n, const char *from, const char *end, int64_t now) {
    since.messages += n;
    if (!since.first) since.first = now;
    since.last = now;
    if (c->sampled)
        for (int64_t due; (due = next_stamp(&from, end)) >= 0;) add_delay(now - due);
}

/* Each of these takes the complete units at `p` and returns how many bytes they were. */

static size_t take_frames(struct conn *c, const char *p, size_t n, int64_t now) {
    size_t used = 0;
    while (n - used >= 2) {
        const unsigned char *f = (const unsigned char *)p + used;
        size_t left = n - used, head = 2;
        uint64_t size = f[1] & 0x7f;
        int opcode = f[0] & 0x0f;
        if (f[1] & 0x80 || f[0] & 0x70) {
            count_error("frame with mask or reserved bits");
            close_conn(c);
            return n;
        }
        if (size == 126) {
            if (left < 4) break;
            size = (uint64_t)f[2] << 8 | f[3];
            head = 4;
        } else if (size == 127) {
            if (left < 10) break;
            size = 0;
            for (int i = 2; i < 10; i++) size = size << 8 | f[i];
            head = 10;
        }
        if (size > sizeof buffer - READ_SIZE) {
            count_error("a frame of %llu bytes", (unsigned long long)size);
            close_conn(c);
            return n;
        }
        if (left < head || left - head < size) break;
        const char *payload = p + used + head;
        used += head + size;
        if (opcode == 1 || opcode == 2) {
            bool counts = size >= options.prefix_len && !memcmp(payload, options.prefix, options.prefix_len);
            if (!(f[0] & 0x80)) c->in_message = counts;
            else if (counts) count_messages(c, 1, payload, payload + size, now);
            else since.others++;
        } else if (opcode == 0) {
            if (f[0] & 0x80) {
                if (c->in_message) count_messages(c, 1, payload, payload + size, now);
                else since.others++;
                c->in_message = false;
            }
        } else if (opcode == 9) {
            since.others++;
            if (!send_frame(c, 10, payload, size > 125 ? 125 : (size_t)size)) return n;
        } else if (opcode == 8) {
            count_error("server closed the WebSocket with code %d",
                        size >= 2 ? (unsigned char)payload[0] << 8 | (unsigned char)payload[1] : 1005);
            close_conn(c);
            return n;
        } else {
            since.others++;
        }
    }
    return used;
}

static bool starts(const char *line, size_t n, const char *with) {
    size_t len = strlen(with);
    return n >= len && !memcmp(line, with, len);
}

/* Events end with an empty line. A chunk head of a chunked answer looks like an unknown field, and is ignored as one. */
static size_t take_events(struct conn *c, const char *p, size_t n, int64_t now) {
    size_t used = 0;
    const char *at = p, *end = p + n, *newline;
    bool data = false, ours = false;
    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        size_t len = (size_t)(newline - at);
        if (len && at[len - 1] == '\r') len--;
        if (!len) {
            if (data && !ours) count_messages(c, 1, p + used, newline, now);
            else if (newline > p + used + 1) since.others++;
            data = ours = false;
            used = (size_t)(newline + 1 - p);
        } else if (starts(at, len, "data:")) {
            data = true;
        } else if (starts(at, len, "event:")) {
            const char *name = at + 6 + (len > 6 && at[6] == ' ');
            size_t left = len - (size_t)(name - at);
            ours = (left == 5 && !memcmp(name, "ready", 5)) || (left == 3 && !memcmp(name, "gap", 3)) ||
                   (left == 6 && !memcmp(name, "advice", 6)) || (left == 3 && !memcmp(name, "end", 3));
        }
        at = newline + 1;
    }
    return used;
}

static void rest(struct conn *c, int64_t now) {
    c->state = RESTING;
    double delay = options.rearm;
    if (!c->rested) delay *= drand48();
    int64_t at = now + (int64_t)(delay * (double)NS);
    if (rest_tail - rest_head == rest_cap) {
        size_t old = rest_cap;
        rest_cap = old ? old * 2 : 1024;
        resting = grow(resting, rest_cap * sizeof *resting);
        /* What had wrapped around goes behind the old end. */
        for (size_t i = rest_head; i < rest_tail; i++)
            if (i % rest_cap != i % old) resting[i % rest_cap] = resting[i % old];
    }
    size_t i = rest_tail++;
    /* Only first rests are shorter than others: they are put in their place. */
    while (!c->rested && i > rest_head && resting[(i - 1) % rest_cap].at > at) {
        resting[i % rest_cap] = resting[(i - 1) % rest_cap];
        i--;
    }
    resting[i % rest_cap].at = at;
    resting[i % rest_cap].number = c->number;
    c->rested = true;
}

static size_t take_answers(struct conn *c, const char *p, size_t n, int64_t now) {
    size_t head = head_length(p, n), size = 0;
    if (!head) return 0;
    int status = status_of(p, head);
    if (status != 200 && status != 204 && status != 304) {
        count_error("answer %d to a poll", status);
        close_conn(c);
        return n;
    }
    if (status == 200) {
        const char *length = header(p, head, "content-length:");
        if (!length) {
            count_error("answer without content-length");
            close_conn(c);
            return n;
        }
        size = strtoul(length, NULL, 10);
    }
    if (n - head < size) return 0;
    const char *body = p + head, *end = body + size;
    int64_t messages = 0;
    for (const char *at = body; (at = memmem(at, (size_t)(end - at), STAMP_KEY, STAMP_KEY_LEN)); at += STAMP_KEY_LEN) messages++;
    since.answers++;
    if (messages) count_messages(c, messages, body, end, now);
    else since.empties++;
    const char *key = "\"cursor\":\"", *cursor = NULL;
    for (const char *at = body; (at = memmem(at, (size_t)(end - at), key, 10)); at += 10) cursor = at + 10;
    if (cursor) {
        const char *quote = memchr(cursor, '"', (size_t)(end - cursor));
        free(c->cursor);
        c->cursor = quote ? strndup(cursor, (size_t)(quote - cursor)) : NULL;
    }
    if (options.rearm > 0) rest(c, now);
    else if (!ask(c)) return n;
    return head + size;
}

static size_t take_head(struct conn *c, const char *p, size_t n) {
    size_t head = head_length(p, n);
    if (!head) return 0;
    int status = status_of(p, head), expected = options.transport == WEBSOCKET ? 101 : 200;
    if (status != expected) {
        count_error("answer %d, not %d", status, expected);
        close_conn(c);
        return n;
    }
    up(c, STREAM);
    if (options.hello && !send_frame(c, 1, options.hello, strlen(options.hello))) return n;
    return head;
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
    size_t n = kept + (size_t)got, used = 0;
    while (used < n && c->state != CLOSED) {
        const char *at = buffer + used;
        size_t taken = c->state == HEAD                        ? take_head(c, at, n - used)
                       : options.transport == WEBSOCKET ? take_frames(c, at, n - used, now)
                       : options.transport == SSE       ? take_events(c, at, n - used, now)
                                                        : take_answers(c, at, n - used, now);
        if (!taken) break;
        used += taken;
    }
    if (c->state == CLOSED) return;
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

static void open_conn(void) {
    unsigned number = n_conns++;
    struct conn *c = &conns[number];
    memset(c, 0, sizeof *c);
    c->number = number;
    c->state = CONNECTING;
    n_opening++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    set_nodelay(c->fd);
    int one = 1;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    from.sin_addr.s_addr = htonl(0x7f000001u + number % options.sources);
    to.sin_addr.s_addr = htonl(0x7f000001u);
    to.sin_port = htons((uint16_t)options.port);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        count_error("connect: %s", strerror(errno));
        close_conn(c);
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void writable(struct conn *c) {
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
    /* A parked request gets no answer that would tell that it arrived. */
    if (options.transport == LONG_POLLING) up(c, ANSWER);
    else c->state = HEAD;
}

static bool is_lazy(const struct conn *c) {
    return options.lazy > 0 && !c->sampled && c->state >= STREAM && c->state != CLOSED;
}

static void choose(struct conn *c) {
    if (c->sampled) return;
    if (is_lazy(c)) watch(c, EPOLL_CTL_ADD);
    c->sampled = true;
}

static void mark(void) {
    memset(&since, 0, sizeof since);
    since.wall = now_ns();
    since.cpu = cpu_ns();
    n_delays = 0;
    for (unsigned i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        bool was = c->sampled;
        c->sampled = false;
        if (was && is_lazy(c)) watch(c, EPOLL_CTL_DEL);
    }
    unsigned samples = n_conns < options.samples ? n_conns : options.samples;
    for (unsigned i = 0; i < samples; i++) choose(&conns[samples > 1 ? (uint64_t)i * (n_conns - 1) / (samples - 1) : 0]);
}

static void report(void) {
    double cpu = (double)(cpu_ns() - since.cpu) / NS, wall = (double)(now_ns() - since.wall) / NS;
    sort_values(delays, n_delays);
    printf("{\"connected\":%u,\"failed\":%u,\"messages\":%lld,\"others\":%lld,\"bytes\":%lld,\"requests\":%lld,"
           "\"answers\":%lld,\"empties\":%lld,\"errors\":%lld,\"error\":",
           n_up, n_failed, (long long)since.messages, (long long)since.others, (long long)since.bytes,
           (long long)since.requests, (long long)since.answers, (long long)since.empties, (long long)errors);
    print_json_text(first_error);
    printf(",\"first_ns\":%lld,\"last_ns\":%lld,\"samples\":%zu,\"delay_p50\":%.9f,\"delay_p99\":%.9f,\"delay_p999\":%.9f,"
           "\"delay_max\":%.9f,\"cpu\":%.6f,\"wall\":%.6f}\n",
           (long long)since.first, (long long)since.last, n_delays, quantile(delays, n_delays, 0.5),
           quantile(delays, n_delays, 0.99), quantile(delays, n_delays, 0.999), quantile(delays, n_delays, 1), cpu, wall);
    fflush(stdout);
}

static void obey(char *line) {
    unsigned n;
    long long messages;
    double seconds;
    if (sscanf(line, "connect %u", &n) == 1) {
        wanted += n;
        conns = grow(conns, wanted * sizeof *conns);
        connecting = true;
        connect_began = now_ns();
    } else if (sscanf(line, "await %lld %lf", &messages, &seconds) == 2) {
        awaiting = true;
        await_messages = messages;
        await_until = now_ns() + (int64_t)(seconds * (double)NS);
    } else if (!strcmp(line, "mark")) {
        mark();
        printf("{\"marked\":true}\n");
        fflush(stdout);
    } else if (!strcmp(line, "report")) {
        report();
    } else if (!strcmp(line, "quit")) {
        exit(0);
    } else {
        die("what is '%s'?", line);
    }
}

static void read_commands(void) {
    static char line[256];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
    if (got <= 0) exit(0); /* the harness is gone */
    used += (size_t)got;
    for (char *newline; (newline = memchr(line, '\n', used));) {
        *newline = 0;
        obey(line);
        used -= (size_t)(newline + 1 - line);
        memmove(line, newline + 1, used);
    }
    if (used == sizeof line - 1) die("a command of more than %zu bytes", sizeof line);
}

static void parse_arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argument(argc, argv, &i);
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--target")) options.target = value;
        else if (!strcmp(name, "--channels")) options.channels = (unsigned)atoi(value);
        else if (!strcmp(name, "--hello")) options.hello = value;
        else if (!strcmp(name, "--prefix")) options.prefix = value;
        else if (!strcmp(name, "--samples")) options.samples = (unsigned)atoi(value);
        else if (!strcmp(name, "--sources")) options.sources = (unsigned)atoi(value);
        else if (!strcmp(name, "--in-flight")) options.in_flight = (unsigned)atoi(value);
        else if (!strcmp(name, "--rearm")) options.rearm = atof(value);
        else if (!strcmp(name, "--lazy")) options.lazy = atof(value);
        else if (!strcmp(name, "--header")) {
            size_t used = strlen(options.headers);
            if ((size_t)snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", value) >=
                sizeof options.headers - used)
                die("too many headers");
        } else if (!strcmp(name, "--transport")) {
            if (!strcmp(value, "websocket")) options.transport = WEBSOCKET;
            else if (!strcmp(value, "sse")) options.transport = SSE;
            else if (!strcmp(value, "long-polling")) options.transport = LONG_POLLING;
            else die("no such transport: %s", value);
        } else die("no such option: %s", name);
    }
    if (!options.port || !options.channels || !options.sources) die("--port, --channels and --sources want a number");
    if (!options.prefix) options.prefix = "";
    options.prefix_len = strlen(options.prefix);
}

static int timeout_ms(int64_t now) {
    int64_t until = awaiting ? await_until : INT64_MAX;
    if (rest_head != rest_tail && resting[rest_head % rest_cap].at < until) until = resting[rest_head % rest_cap].at;
    if (options.lazy > 0 && n_up && sweep_at < until) until = sweep_at;
    if (sweep_next != UINT32_MAX) return 0;
    if (until == INT64_MAX) return -1;
    return until <= now ? 0 : (int)((until - now) / 1000000 + 1);
}

static void sweep(int64_t now) {
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

static void handle(const struct epoll_event *event) {
    if (event->data.u32 == UINT32_MAX) {
        read_commands();
        return;
    }
    struct conn *c = &conns[event->data.u32];
    if (c->state == CONNECTING) writable(c);
    else if (c->state != CLOSED) readable(c);
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event commands = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, events[512];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &commands)) die("standard input must be a pipe");
    mark();
    for (;;) {
        while (n_conns < wanted && n_opening < options.in_flight) open_conn();
        if (connecting && n_conns == wanted && !n_opening) {
            connecting = false;
            printf("{\"connected\":%u,\"failed\":%u,\"errors\":%lld,\"error\":", n_up, n_failed, (long long)errors);
            print_json_text(first_error);
            printf(",\"wall\":%.6f}\n", (double)(now_ns() - connect_began) / NS);
            fflush(stdout);
        }
        int n = epoll_wait(poller, events, 512, timeout_ms(now_ns()));
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) handle(&events[i]);
        int64_t now = now_ns();
        if (options.lazy > 0) sweep(now);
        for (; rest_head != rest_tail && resting[rest_head % rest_cap].at <= now; rest_head++) {
            struct conn *c = &conns[resting[rest_head % rest_cap].number];
            if (c->state != RESTING) continue;
            c->state = ANSWER;
            ask(c);
        }
        if (awaiting && (since.messages >= await_messages || now >= await_until)) {
            awaiting = false;
            report();
        }
    }
}
