/* What is counted: messages, delays of the sampled ones, errors, and who has caught up after a cut. */
#include "generator.h"

struct counts since;
static int64_t errors;
static char first_error[160];

struct times { int64_t *values; size_t n, cap; };
static struct times delays;
static struct { unsigned each; int64_t began; struct times caught; } storm;

static void add(struct times *t, int64_t value) {
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1 << 14;
        t->values = grow(t->values, t->cap * sizeof *t->values);
    }
    t->values[t->n++] = value;
}

void count_error(const char *format, ...) {
    if (!errors++) {
        va_list args;
        va_start(args, format);
        vsnprintf(first_error, sizeof first_error, format, args);
        va_end(args);
    }
}

/* As next_stamp, with the key as the dialect's text has it. */
static int64_t find_stamp(const char **at, const char *end) {
    const char *key = options.dialect->stamp_key;
    size_t len = strlen(key);
    const char *p = memmem(*at, (size_t)(end - *at), key, len);
    if (!p || end - p < (ptrdiff_t)(len + STAMP_DIGITS)) return -1;
    p += len;
    int64_t value = 0;
    for (int i = 0; i < STAMP_DIGITS; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        value = value * 10 + (p[i] - '0');
    }
    *at = p + STAMP_DIGITS;
    return value;
}

void count_messages(struct conn *c, int64_t n, const char *from, const char *end, int64_t now) {
    since.messages += n;
    if (!since.first) since.first = now;
    since.last = now;
    uint32_t before = c->got;
    c->got += (uint32_t)n;
    if (before < storm.each && c->got >= storm.each) add(&storm.caught, now - storm.began);
    if (c->sampled)
        for (int64_t due; (due = find_stamp(&from, end)) >= 0;) add(&delays, now - due);
}

static void choose(struct conn *c) {
    if (c->sampled) return;
    if (is_lazy(c)) watch(c, EPOLL_CTL_ADD);
    c->sampled = true;
}

void count_from_here(void) {
    memset(&since, 0, sizeof since);
    since.wall = now_ns();
    since.cpu = cpu_ns();
    delays.n = 0;
    for (unsigned i = 0; i < n_conns; i++) {
        struct conn *c = &conns[i];
        bool was = c->sampled;
        c->sampled = false;
        if (was && is_lazy(c)) watch(c, EPOLL_CTL_DEL);
    }
    unsigned samples = n_conns < options.samples ? n_conns : options.samples;
    for (unsigned i = 0; i < samples; i++) choose(&conns[samples > 1 ? (uint64_t)i * (n_conns - 1) / (samples - 1) : 0]);
}

void expect_each(unsigned each) {
    storm.each = each;
    storm.began = now_ns();
    storm.caught.n = 0;
}

void print_errors(void) {
    printf("\"errors\":%lld,\"error\":", (long long)errors);
    print_json_text(first_error);
}

static double at(const struct times *t, double q) { return quantile(t->values, t->n, q); }

void report(void) {
    double cpu = (double)(cpu_ns() - since.cpu) / NS, wall = (double)(now_ns() - since.wall) / NS;
    struct times *caught = &storm.caught;
    unsigned over = 0;
    for (unsigned i = 0; i < n_conns && storm.each; i++) over += conns[i].got > storm.each;
    sort_values(delays.values, delays.n);
    sort_values(caught->values, caught->n);
    printf("{\"connected\":%u,\"failed\":%u,\"messages\":%lld,\"others\":%lld,\"bytes\":%lld,\"sent_bytes\":%lld,"
           "\"requests\":%lld,\"answers\":%lld,\"empties\":%lld,",
           n_up, n_failed, (long long)since.messages, (long long)since.others, (long long)since.bytes,
           (long long)since.sent_bytes, (long long)since.requests, (long long)since.answers, (long long)since.empties);
    print_errors();
    printf(",\"first_ns\":%lld,\"last_ns\":%lld,\"samples\":%zu,\"delay_p50\":%.9f,\"delay_p99\":%.9f,\"delay_p999\":%.9f,"
           "\"delay_max\":%.9f,\"caught_up\":%zu,\"caught_over\":%u,\"caught_first\":%.9f,\"caught_p50\":%.9f,"
           "\"caught_p99\":%.9f,\"caught_last\":%.9f,\"cpu\":%.6f,\"wall\":%.6f}\n",
           (long long)since.first, (long long)since.last, delays.n, at(&delays, 0.5), at(&delays, 0.99), at(&delays, 0.999),
           at(&delays, 1), caught->n, over, at(caught, 0), at(caught, 0.5), at(caught, 0.99), at(caught, 1), cpu, wall);
    fflush(stdout);
}
