/* What the three C programs share: the clock, the stamp in a message, errors, sockets.
 *
 * The stamp: a message's data holds "due":"0000012345678901234", the moment it was meant to be
 * published, as nanoseconds of CLOCK_MONOTONIC in 19 digits, so that its size never varies. Publisher and
 * generator run on one machine, and so read one clock.
 */
#ifndef TIDINGS_BENCH_COMMON_H
#define TIDINGS_BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_KEY "\"due\":\""
#define STAMP_KEY_LEN (sizeof STAMP_KEY - 1)
#define STAMP_DIGITS 19
#define NS 1000000000LL

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * NS + t.tv_nsec;
}

static inline int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static inline int64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

/* Set-up errors end the program; what goes wrong on a connection is counted and reported instead. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void *grow(void *block, size_t size) {
    void *p = realloc(block, size);
    if (!p) die("out of memory");
    return p;
}

/* The stamp after `*at`, or -1; `*at` moves behind it. */
static inline int64_t next_stamp(const char **at, const char *end) {
    const char *p = memmem(*at, (size_t)(end - *at), STAMP_KEY, STAMP_KEY_LEN);
    if (!p || end - p < (ptrdiff_t)(STAMP_KEY_LEN + STAMP_DIGITS)) return -1;
    p += STAMP_KEY_LEN;
    int64_t value = 0;
    for (int i = 0; i < STAMP_DIGITS; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        value = value * 10 + (p[i] - '0');
    }
    *at = p + STAMP_DIGITS;
    return value;
}

static inline int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static inline void sort_values(int64_t *values, size_t n) {
    if (n) qsort(values, n, sizeof *values, by_value);
}

/* Of sorted values, in seconds. */
static inline double quantile(const int64_t *sorted, size_t n, double q) {
    if (!n) return 0;
    size_t i = (size_t)(q * (double)n);
    return (double)sorted[i < n ? i : n - 1] / (double)NS;
}

/* `target` with {n} replaced by `number`, for loads over many channels. */
static inline void expand(char *out, size_t size, const char *target, unsigned number) {
    const char *hole = strstr(target, "{n}");
    int n = hole ? snprintf(out, size, "%.*s%u%s", (int)(hole - target), target, number, hole + 3)
                 : snprintf(out, size, "%s", target);
    if (n < 0 || (size_t)n >= size) die("target is too long");
}

/* Length of the head at `p` with its empty line, or 0 when it is not complete. */
static inline size_t head_length(const char *p, size_t n) {
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    return end ? (size_t)(end - p) + 4 : 0;
}

/* The value of a header (name with its colon, without CRLF before), or NULL. */
static inline const char *header(const char *head, size_t n, const char *name) {
    size_t len = strlen(name);
    for (const char *line = memchr(head, '\n', n); line; line = memchr(line, '\n', (size_t)(head + n - line))) {
        line++;
        if ((size_t)(head + n - line) < len) return NULL;
        if (!strncasecmp(line, name, len)) {
            line += len;
            while (*line == ' ' || *line == '\t') line++;
            return line;
        }
    }
    return NULL;
}

static inline int status_of(const char *head, size_t n) {
    return n >= 12 && !memcmp(head, "HTTP/1.", 7) ? atoi(head + 9) : 0;
}

static inline void set_nodelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline const char *argument(int argc, char **argv, int *i) {
    if (*i + 1 >= argc) die("%s wants a value", argv[*i]);
    return argv[++*i];
}

/* A JSON string may hold neither quotes nor control characters; our own error texts need no more than this. */
static inline void print_json_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') putchar('\\');
        putchar(c < 32 || c > 126 ? '?' : c);
    }
    putchar('"');
}

#endif
