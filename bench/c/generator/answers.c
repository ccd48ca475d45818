/* Answers that end, to polls and POSTs, and bodies in chunks. */
#include "generator.h"

bool is_chunked(const char *head, size_t n) {
    const char *coding = header(head, n, "transfer-encoding:");
    return coding && !strncasecmp(coding, "chunked", 7);
}

enum { SIZE, EXTENSION, DATA, DATA_END, LAST };

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Takes the chunks' heads and ends out of the `n` bytes at `p`, and returns how many are left. */
size_t dechunk(struct chunks *chunks, char *p, size_t n) {
    size_t from = 0, to = 0;
    while (from < n && chunks->state != LAST) {
        if (chunks->state == DATA) {
            size_t size = n - from < chunks->left ? n - from : chunks->left;
            memmove(p + to, p + from, size);
            from += size;
            to += size;
            if (!(chunks->left -= (uint32_t)size)) chunks->state = DATA_END;
            continue;
        }
        char c = p[from++];
        if (chunks->state == DATA_END) {
            if (c == '\n') chunks->state = SIZE;
        } else if (c == '\n') {
            chunks->state = chunks->left ? DATA : LAST;
        } else if (chunks->state == SIZE && hex(c) >= 0) {
            chunks->left = chunks->left * 16 + (uint32_t)hex(c);
        } else {
            chunks->state = EXTENSION;
        }
    }
    return to;
}

bool ended(const struct chunks *chunks) { return chunks->state == LAST; }

/* The length of a whole chunked body, with its last empty line, or 0 when it has not all come. */
static size_t chunked_length(const char *p, size_t n) {
    for (size_t at = 0;;) {
        const char *newline = memchr(p + at, '\n', n - at);
        if (!newline) return 0;
        size_t size = strtoul(p + at, NULL, 16), head = (size_t)(newline + 1 - p);
        if (n - head < size + 2) return 0;
        at = head + size + 2;
        if (!size) return at;
    }
}

size_t take_answers(struct conn *c, char *p, size_t n, int64_t now) {
    size_t head = head_length(p, n), size = 0, all;
    if (!head) return 0;
    struct answer a = {.status = status_of(p, head), .head = p, .head_len = head, .body = p + head};
    const char *length = header(p, head, "content-length:");
    if (a.status == 204 || a.status == 304) {
        all = head;
    } else if (length) {
        size = strtoul(length, NULL, 10);
        if (n - head < size) return 0;
        all = head + size;
    } else if (is_chunked(p, head)) {
        size = chunked_length(p + head, n - head);
        if (!size) return 0;
        all = head + size;
        struct chunks chunks = {0};
        size = dechunk(&chunks, p + head, size);
    } else {
        count_error("answer %d to a poll, without a length", a.status);
        close_conn(c);
        return n;
    }
    a.end = a.body + size;
    if (c->posted) {
        c->posted--;
        if (a.status >= 200 && a.status < 300) return all;
        count_error("answer %d to a POST", a.status);
        close_conn(c);
        return n;
    }
    since.answers++;
    return options.dialect->answered(c, &a, now) ? all : n;
}
