/* Very many subscribers in one process: it opens them, counts what they get, and stamps the delay of some.
 *
 * Owns: connections of one transport to one server, counts of every message and byte on all of them, delays
 * on a sample spread over the accept order. Does not own: publishing (publisher.c), judging (the harness).
 * Invariant: whatever is not a message on an open connection is counted as something else or as an error;
 * nothing is dropped unseen.
 *
 * It obeys lines on standard input, and answers each with one line of JSON on standard output:
 *   connect N           open N more; answered when all of them are up or have failed
 *   mark                counters to zero, choose the sampled connections anew
 *   await N SECONDS     report as soon as N messages came since the mark, or when the time is over
 *   report              report now
 *   cut                 close all at once, and keep each one's place: {"cut":N}
 *   reconnect EACH [F]  open all that were cut again, each from its place, at most F (--in-flight) handshakes at once;
 *                       answered as `connect` is. A connection has caught up when EACH messages came on it since
 *   quit
 * Durations in answers are seconds. A report counts since the mark, but `caught_*` since the last `reconnect`:
 *   caught_up           connections that have caught up; caught_over: those that got more than EACH
 *   caught_first, caught_p50, caught_p99, caught_last   how long after the command they had
 *   bytes, sent_bytes   what was read, and what was written, heads and handshakes included
 *   empties             answers without a message: 204, 304, 408, or a body that holds none
 *
 * --transport websocket | sse | xhr-streaming | long-polling | polling
 *     polling asks when it is opened (and is up when that is answered), then --rearm SECONDS after each answer, the
 *     second time a random share of that. xhr-streaming is SockJS's only.
 * --dialect plain | engineio | sockjs | faye        what is said besides
 *     plain       one frame or event is one message; a poll's messages are counted by their stamps
 *     engineio    Engine.IO 4 and Socket.IO 5, namespace "/"; websocket and long-polling. Every packet 42 that begins with
 *                 --prefix counts. The target is the path with whatever query subscribes: /socket.io/?channel=bench
 *     sockjs      websocket, sse (its eventsource), xhr-streaming. Every string of an array frame counts. The target is the
 *                 service's prefix: "/SERVER/SESSION/TRANSPORT" is put behind it
 *     faye        Bayeux; websocket. --hello is the channel to subscribe to, /bench
 * --resume cursor | etag | cursor+etag | none       what a next poll, or a reconnect, begins from
 *     cursor      (default) the last id or "cursor", as ?after=; for engineio pid and offset (connection state recovery)
 *     etag        polls: ETag and Last-Modified, as If-None-Match and If-Modified-Since. Streams: the last "id:" line, of an
 *                 event or at the head of a WebSocket message (Nchan's ws+meta.nchan), as Last-Event-ID
 *     cursor+etag polls: ?after= and If-None-Match, so that an empty answer may be a 304
 *     none        anew
 * --port P, --target PATH ({n}: the channel's number), --channels N, --hello TEXT ({n}, too), --prefix TEXT, --header LINE,
 * --samples N, --sources N, --in-flight N, --rearm SECONDS (after an answer), --lazy SECONDS
 */
#include "generator/generator.h"

#include <sys/resource.h>

struct options options = {.target = "/channels/bench", .samples = 128, .sources = 4, .in_flight = 128, .channels = 1,
                          .dialect = &plain, .prefix = "", .cursor = true};

static unsigned wanted, reopen_next = UINT32_MAX, in_flight; /* reopen_next: UINT32_MAX is no reconnect */
static bool connecting, awaiting;
static int64_t connect_began, await_messages, await_until;

static void begin_opening(unsigned most) {
    connecting = true;
    connect_began = now_ns();
    in_flight = most;
}

static void open_some(void) {
    while (n_opening < in_flight && n_conns < wanted) {
        struct conn *c = &conns[n_conns++];
        memset(c, 0, sizeof *c);
        open_conn(c);
    }
    for (; reopen_next < n_conns && n_opening < in_flight; reopen_next++)
        if (conns[reopen_next].state == CUT) open_conn(&conns[reopen_next]);
    if (!connecting || n_conns < wanted || reopen_next < n_conns || n_opening) return;
    connecting = false;
    reopen_next = UINT32_MAX;
    printf("{\"connected\":%u,\"failed\":%u,", n_up, n_failed);
    print_errors();
    printf(",\"wall\":%.6f}\n", (double)(now_ns() - connect_began) / NS);
    fflush(stdout);
}

static void obey(char *line) {
    unsigned n, most;
    long long messages;
    double seconds;
    int got;
    if (sscanf(line, "connect %u", &n) == 1) {
        /* Elements move: nothing points at one between two turns of the loop. */
        wanted += n;
        conns = grow(conns, wanted * sizeof *conns);
        begin_opening(options.in_flight);
    } else if ((got = sscanf(line, "reconnect %u %u", &n, &most)) >= 1) {
        expect_each(n);
        reopen_next = 0;
        begin_opening(got == 2 && most ? most : options.in_flight);
    } else if (!strcmp(line, "cut")) {
        if (connecting) die("cut: connections are being opened");
        printf("{\"cut\":%u}\n", cut_all());
        fflush(stdout);
    } else if (sscanf(line, "await %lld %lf", &messages, &seconds) == 2) {
        awaiting = true;
        await_messages = messages;
        await_until = now_ns() + (int64_t)(seconds * (double)NS);
    } else if (!strcmp(line, "mark")) {
        count_from_here();
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

/* The place of `name` in `names`, which end with NULL. */
static unsigned choice(const char *what, const char *name, const char *const *names) {
    for (unsigned i = 0; names[i]; i++)
        if (!strcmp(name, names[i])) return i;
    die("%s: there is no %s", what, name);
}

static const char *const transports[] = {
    [WEBSOCKET] = "websocket",       [SSE] = "sse",         [XHR_STREAMING] = "xhr-streaming",
    [LONG_POLLING] = "long-polling", [POLLING] = "polling", NULL};
static const char *const dialect_names[] = {"plain", "engineio", "sockjs", "faye", NULL};
static const struct dialect *const dialects[] = {&plain, &engineio, &sockjs, &faye};
static const char *const resumes[] = {"none", "cursor", "etag", "cursor+etag", NULL};

static void add_header(const char *line) {
    size_t used = strlen(options.headers), left = sizeof options.headers - used;
    if ((size_t)snprintf(options.headers + used, left, "%s\r\n", line) >= left) die("too many headers");
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
        else if (!strcmp(name, "--header")) add_header(value);
        else if (!strcmp(name, "--transport")) options.transport = (enum transport)choice(name, value, transports);
        else if (!strcmp(name, "--dialect")) options.dialect = dialects[choice(name, value, dialect_names)];
        else if (!strcmp(name, "--resume")) {
            unsigned resume = choice(name, value, resumes);
            options.cursor = resume & 1;
            options.etag = resume & 2;
        } else die("no such option: %s", name);
    }
    if (!options.port || !options.channels || !options.sources || !options.in_flight)
        die("--port, --channels, --sources and --in-flight want a number");
    if (!(options.dialect->transports >> options.transport & 1))
        die("%s has no %s here", options.dialect->name, transports[options.transport]);
    if (options.dialect == &faye && !options.hello) die("faye wants --hello CHANNEL");
    options.prefix_len = strlen(options.prefix);
}

static int timeout_ms(int64_t now) {
    int64_t until = awaiting ? await_until : INT64_MAX;
    if (rest_due() < until) until = rest_due();
    if (sweep_due() < until) until = sweep_due();
    if (until == INT64_MAX) return -1;
    return until <= now ? 0 : (int)((until - now) / 1000000 + 1);
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    init_connections();
    struct epoll_event commands = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, events[512];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &commands)) die("standard input must be a pipe");
    count_from_here();
    for (;;) {
        open_some();
        int n = epoll_wait(poller, events, 512, timeout_ms(now_ns()));
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == UINT32_MAX) read_commands();
            else handle_event(&conns[events[i].data.u32]);
        }
        int64_t now = now_ns();
        sweep(now);
        end_rests(now);
        if (awaiting && (since.messages >= await_messages || now >= await_until)) {
            awaiting = false;
            report();
        }
    }
}
