/* Publishes over HTTP keep-alive: open loop at a rate, or as fast as the server accepts.
 *
 * Owns: POST requests, their answers, and how late each was sent. Does not own: what subscribers got.
 * Open loop (--rate R): message k is due at t0 + k/R, carries that time, and waits for no answer, so a
 * server that stalls cannot hide it. Bursts (--rate 0): on each connection at most --outstanding messages
 * are unanswered; the next go out as answers come, joined as they fall due.
 * --chance 1: the same number of messages, at random moments, each on a random channel (a Poisson process).
 * --batch K: each request is K lines of NDJSON for POST /publish; counts are messages all the same.
 * Ends with one line of JSON; durations in it are seconds.
 */
#include "common.h"

#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>

struct conn {
    int fd;
    char *out, *in;
    size_t out_len, out_cap, in_len, in_cap;
    int64_t *due;       /* the unanswered messages' times, oldest first, a ring of `due_cap` */
    size_t due_head, due_tail, due_cap;
};

static struct {
    int port;
    const char *target, *type;
    unsigned size, connections, outstanding, channels, batch;
    bool chance;
    double rate, seconds;
    char headers[2048];
} options = {.target = "/channels/bench", .type = "application/json", .size = 100, .connections = 1, .outstanding = 16,
             .channels = 1, .rate = 50, .seconds = 10};

struct times { int64_t *values; size_t n, cap; };
static struct times lateness, answer_times;
static int64_t published, answered, errors, blocked;
static char first_error[160];

static void add(struct times *t, int64_t value) {
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 4096;
        t->values = grow(t->values, t->cap * sizeof *t->values);
    }
    t->values[t->n++] = value;
}

__attribute__((format(printf, 1, 2))) static void count_error(const char *format, ...) {
    if (!errors++) {
        va_list args;
        va_start(args, format);
        vsnprintf(first_error, sizeof first_error, format, args);
        va_end(args);
    }
}

static void broken(struct conn *c, const char *what) {
    if (c->fd < 0) return;
    count_error("%s", what);
    close(c->fd);
    c->fd = -1;
    c->out_len = 0;
}

static void make_room(struct conn *c, size_t n) {
    if (c->out_cap - c->out_len < n) c->out = grow(c->out, c->out_cap = c->out_cap * 2 + n);
}

static unsigned next_channel(void) {
    return (options.chance ? (unsigned)lrand48() : (unsigned)published) % options.channels;
}

/* Data of exactly `size` bytes: {"due":"…","pad":"xxx"}. */
static void append_data(struct conn *c, int64_t due) {
    static char pad[1 << 17];
    if (!pad[0]) memset(pad, 'x', sizeof pad - 1);
    int fill = (int)options.size - (int)(sizeof "{\"due\":\"\",\"pad\":\"\"}" - 1) - STAMP_DIGITS;
    c->out_len += (size_t)sprintf(c->out + c->out_len, "{" STAMP_KEY "%019lld\",\"pad\":\"%.*s\"}", (long long)due, fill, pad);
}

static void append_head(struct conn *c, const char *target, size_t body) {
    c->out_len += (size_t)sprintf(c->out + c->out_len,
                                  "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
                                  target, options.port, options.type, body, options.headers);
}

/* One message; with --batch, K of them in one request. */
static void append_request(struct conn *c, int64_t due) {
    char target[1024];
    if (options.batch) {
        static char lines[100 * 256];
        /* Every line's channel first: the length of the body must be known before it. */
        size_t names = 0, at[101] = {0}, line = sizeof "{\"channel\":\"\",\"data\":}\n" - 1 + options.size;
        for (unsigned i = 0; i < options.batch; i++, published++) {
            expand(target, sizeof target, options.target, next_channel());
            const char *name = target + sizeof "/channels/" - 1;
            names += (size_t)snprintf(lines + names, sizeof lines - names, "%s", name);
            at[i + 1] = names;
        }
        make_room(c, 4096 + options.batch * line + names);
        append_head(c, "/publish", options.batch * line + names);
        for (unsigned i = 0; i < options.batch; i++) {
            c->out_len += (size_t)sprintf(c->out + c->out_len, "{\"channel\":\"%.*s\",\"data\":", (int)(at[i + 1] - at[i]), lines + at[i]);
            append_data(c, due);
            c->out_len += (size_t)sprintf(c->out + c->out_len, "}\n");
        }
    } else {
        expand(target, sizeof target, options.target, next_channel());
        make_room(c, options.size + 4096);
        append_head(c, target, options.size);
        append_data(c, due);
        published++;
    }
    if (c->due_tail - c->due_head == c->due_cap) {
        size_t old = c->due_cap;
        c->due_cap = old ? old * 2 : 1024;
        int64_t *ring = grow(NULL, c->due_cap * sizeof *ring);
        for (size_t i = c->due_head; i < c->due_tail; i++) ring[i % c->due_cap] = c->due[i % old];
        free(c->due);
        c->due = ring;
    }
    c->due[c->due_tail++ % c->due_cap] = due;
}

static void flush_out(struct conn *c) {
    if (c->fd < 0 || !c->out_len) return;
    ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) broken(c, strerror(errno));
        else blocked++;
        return;
    }
    c->out_len -= (size_t)sent;
    if (c->out_len) {
        blocked++;
        memmove(c->out, c->out + sent, c->out_len);
    }
}

static void read_answers(struct conn *c) {
    if (c->in_cap - c->in_len < 65536) c->in = grow(c->in, c->in_cap = c->in_cap * 2 + 131072);
    ssize_t got = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        broken(c, got ? strerror(errno) : "the server closed a publishing connection");
        return;
    }
    c->in_len += (size_t)got;
    int64_t now = now_ns();
    size_t used = 0;
    while (used < c->in_len) {
        char *p = c->in + used;
        size_t n = c->in_len - used, head = head_length(p, n), size = 0;
        if (!head) break;
        int status = status_of(p, head);
        const char *length = header(p, head, "content-length:");
        const char *coding = header(p, head, "transfer-encoding:");
        if (length) {
            size = strtoul(length, NULL, 10);
            if (n - head < size) break;
        } else if (coding) {
            const char *end = memmem(p + head, n - head, "0\r\n\r\n", 5);
            if (!end) break;
            size = (size_t)(end - (p + head)) + 5;
        }
        used += head + size;
        if (c->due_head == c->due_tail) {
            broken(c, "an answer to nothing");
            return;
        }
        int64_t due = c->due[c->due_head++ % c->due_cap];
        if (status >= 200 && status < 300) {
            int64_t receipts = 1;
            if (options.batch) {
                receipts = 0;
                const char *end = p + head + size;
                for (const char *at = p + head; (at = memmem(at, (size_t)(end - at), "\"durability\"", 12)); at += 12) receipts++;
                if (receipts != options.batch) {
                    count_error("%lld receipts for a batch of %u", (long long)receipts, options.batch);
                    errors += options.batch - receipts - 1;
                }
            }
            answered += receipts;
            add(&answer_times, now - due);
        } else {
            count_error("answer %d to a publish", status);
            if (options.batch) errors += options.batch - 1;
        }
    }
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
}

static void parse_arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argument(argc, argv, &i);
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--target")) options.target = value;
        else if (!strcmp(name, "--type")) options.type = value;
        else if (!strcmp(name, "--channels")) options.channels = (unsigned)atoi(value);
        else if (!strcmp(name, "--size")) options.size = (unsigned)atoi(value);
        else if (!strcmp(name, "--connections")) options.connections = (unsigned)atoi(value);
        else if (!strcmp(name, "--outstanding")) options.outstanding = (unsigned)atoi(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--batch")) options.batch = (unsigned)atoi(value);
        else if (!strcmp(name, "--chance")) options.chance = atoi(value);
        else if (!strcmp(name, "--header")) {
            size_t used = strlen(options.headers);
            if ((size_t)snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", value) >=
                sizeof options.headers - used)
                die("too many headers");
        } else die("no such option: %s", name);
    }
    if (!options.port || !options.connections || !options.channels) die("--port, --connections and --channels want a number");
    if (options.size < 40 || options.size > 1 << 16) die("--size is 40 to 65536 bytes");
    if (options.batch > 100) die("--batch is at most 100");
    if (options.batch && (options.rate > 0 || strncmp(options.target, "/channels/", 10))) die("--batch is for bursts, on /channels/NAME");
    if (options.chance && options.rate <= 0) die("--chance wants a --rate");
}

/* `n` moments in a stretch of time, at random: what a Poisson process is once their number is known. */
static int64_t *random_moments(int64_t n) {
    int64_t *moments = grow(NULL, (size_t)(n + 1) * sizeof *moments);
    for (int64_t i = 0; i < n; i++) moments[i] = (int64_t)(drand48() * options.seconds * (double)NS);
    sort_values(moments, (size_t)n);
    return moments;
}

/* When the next message is due, from the start. */
static int64_t due_after(const int64_t *moments) {
    return moments ? moments[published] : (int64_t)((double)published * (double)NS / options.rate);
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1);
    /* It shares its core with the generator, and must be in time: it goes first where we may ask for that. */
    struct sched_param first_of_all = {.sched_priority = 1};
    if (options.rate > 0) (void)sched_setscheduler(0, SCHED_FIFO, &first_of_all);
    struct conn *conns = calloc(options.connections, sizeof *conns);
    struct pollfd *polls = calloc(options.connections, sizeof *polls);
    if (!conns || !polls) die("out of memory");
    for (unsigned i = 0; i < options.connections; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
        to.sin_addr.s_addr = htonl(0x7f000001u);
        conns[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
        set_nodelay(conns[i].fd);
    }
    int64_t t0 = now_ns() + NS / 50, until = t0 + (int64_t)(options.seconds * (double)NS), give_up = until + 10 * NS;
    int64_t cpu0 = cpu_ns(), first = 0, last = 0;
    bool open_loop = options.rate > 0;
    int64_t total = open_loop ? (int64_t)(options.rate * options.seconds + 0.5) : 0;
    const int64_t *moments = options.chance ? random_moments(total) : NULL;
    for (;;) {
        int64_t now = now_ns(), next = 0;
        if (open_loop) {
            int64_t due;
            while (published < total && (due = t0 + due_after(moments)) <= now) {
                struct conn *c = &conns[published % options.connections];
                if (c->fd < 0) {
                    count_error("no connection left to publish on");
                    total = published;
                    break;
                }
                append_request(c, due);
                flush_out(c);
                now = now_ns();
                add(&lateness, now - due);
                if (!first) first = due;
                last = now;
            }
            if (published < total) next = t0 + due_after(moments);
        } else if (now >= t0 && now < until) {
            for (unsigned i = 0; i < options.connections; i++) {
                struct conn *c = &conns[i];
                if (c->fd < 0) continue;
                while (c->due_tail - c->due_head < options.outstanding) {
                    now = now_ns();
                    if (!first) first = now;
                    last = now;
                    append_request(c, now);
                }
                flush_out(c);
            }
        } else if (now < t0) {
            next = t0;
        }
        bool sending = open_loop ? published < total : now < until, waiting = false;
        for (unsigned i = 0; i < options.connections; i++) {
            struct conn *c = &conns[i];
            polls[i].fd = c->fd;
            polls[i].events = (short)(POLLIN | (c->out_len ? POLLOUT : 0));
            polls[i].revents = 0;
            waiting |= c->fd >= 0 && c->due_head != c->due_tail;
        }
        bool alive = false;
        for (unsigned i = 0; i < options.connections; i++) alive |= conns[i].fd >= 0;
        if ((!sending && !waiting) || !alive || now > give_up) break;
        int64_t wait = next ? next - now : NS / 10;
        if (wait < 0) wait = 0;
        struct timespec timeout = {.tv_sec = wait / NS, .tv_nsec = wait % NS};
        if (ppoll(polls, options.connections, &timeout, NULL) < 0 && errno != EINTR) die("ppoll: %s", strerror(errno));
        for (unsigned i = 0; i < options.connections; i++) {
            if (polls[i].fd < 0) continue;
            if (polls[i].revents & POLLOUT) flush_out(&conns[i]);
            if (polls[i].revents & (POLLIN | POLLHUP | POLLERR) && conns[i].fd >= 0) read_answers(&conns[i]);
        }
    }
    int64_t unanswered = published - answered - errors;
    if (unanswered > 0) count_error("%lld publishes without an answer", (long long)unanswered);
    sort_values(lateness.values, lateness.n);
    sort_values(answer_times.values, answer_times.n);
    printf("{\"published\":%lld,\"answered\":%lld,\"errors\":%lld,\"error\":", (long long)published, (long long)answered,
           (long long)errors);
    print_json_text(first_error);
    printf(",\"blocked\":%lld,\"first_ns\":%lld,\"last_ns\":%lld,\"late_p50\":%.9f,\"late_p99\":%.9f,\"late_max\":%.9f,"
           "\"answer_p50\":%.9f,\"answer_p99\":%.9f,\"cpu\":%.6f,\"wall\":%.6f}\n",
           (long long)blocked, (long long)first, (long long)last, quantile(lateness.values, lateness.n, 0.5),
           quantile(lateness.values, lateness.n, 0.99), quantile(lateness.values, lateness.n, 1),
           quantile(answer_times.values, answer_times.n, 0.5), quantile(answer_times.values, answer_times.n, 0.99),
           (double)(cpu_ns() - cpu0) / NS, (double)(now_ns() - t0) / NS);
    return 0;
}
