/* Answers that do not end: WebSocket frames, event streams, lines. They are cut into texts for the dialect. */
#include "generator.h"

size_t take_head(struct conn *c, const char *p, size_t n) {
    size_t head = head_length(p, n);
    if (!head) return 0;
    int status = status_of(p, head), expected = options.transport == WEBSOCKET ? 101 : 200;
    if (status != expected) {
        count_error("answer %d, not %d", status, expected);
        close_conn(c);
        return n;
    }
    c->chunked = is_chunked(p, head);
    if (!options.dialect->opened(c)) return n;
    return head;
}

/* A masked frame, with a mask of zeros: the bytes stay as they are. */
static bool send_frame(struct conn *c, int opcode, const char *payload, size_t n) {
    unsigned char frame[1200] = {(unsigned char)(0x80 | opcode)};
    size_t head = n < 126 ? 6 : 8;
    if (n > sizeof frame - 8) die("a frame of %zu bytes", n);
    frame[1] = (unsigned char)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        frame[2] = (unsigned char)(n >> 8);
        frame[3] = (unsigned char)n;
    }
    memcpy(frame + head, payload, n);
    return send_all(c, (char *)frame, n + head, "frame");
}

bool send_text(struct conn *c, const char *text, size_t n) { return send_frame(c, 1, text, n); }

static size_t give_up(struct conn *c, size_t n) {
    close_conn(c);
    return n;
}

size_t take_frames(struct conn *c, const char *p, size_t n, int64_t now) {
    const struct dialect *dialect = options.dialect;
    size_t used = 0;
    while (n - used >= 2) {
        const unsigned char *f = (const unsigned char *)p + used;
        size_t left = n - used, head = 2;
        uint64_t size = f[1] & 0x7f;
        int opcode = f[0] & 0x0f;
        bool last = f[0] & 0x80;
        if (f[1] & 0x80 || f[0] & 0x70) {
            count_error("frame with mask or reserved bits");
            return give_up(c, n);
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
        if (left < head || left - head < size) break;
        const char *payload = p + used + head;
        used += head + size;
        if (opcode == 1 || opcode == 2) {
            if (last) {
                if (!dialect->take(c, payload, size, now)) return n;
                continue;
            }
            if (dialect != &plain) {
                count_error("a message in fragments");
                return give_up(c, n);
            }
            c->in_message = size >= options.prefix_len && !memcmp(payload, options.prefix, options.prefix_len);
        } else if (opcode == 0) {
            if (!last) continue;
            if (c->in_message) count_messages(c, 1, payload, payload + size, now);
            else since.others++;
            c->in_message = false;
        } else if (opcode == 9) {
            since.others++;
            if (!send_frame(c, 10, payload, size > 125 ? 125 : (size_t)size)) return n;
        } else if (opcode == 8) {
            count_error("server closed the WebSocket with code %d",
                        size >= 2 ? (unsigned char)payload[0] << 8 | (unsigned char)payload[1] : 1005);
            return give_up(c, n);
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

static bool is_ours(const char *name, size_t n) {
    return (n == 5 && !memcmp(name, "ready", 5)) || (n == 3 && !memcmp(name, "gap", 3)) ||
           (n == 6 && !memcmp(name, "advice", 6)) || (n == 3 && !memcmp(name, "end", 3));
}

/* The value of a field, `skip` bytes behind the line's begin and one more where there is a space. */
static const char *value(const char *line, size_t skip, size_t *len) {
    if (*len > skip && line[skip] == ' ') skip++;
    *len -= skip;
    return line + skip;
}

/* Events end with an empty line. */
size_t take_events(struct conn *c, const char *p, size_t n, int64_t now) {
    size_t used = 0;
    const char *at = p, *end = p + n, *newline, *data = NULL, *id = NULL;
    size_t data_len = 0, id_len = 0;
    bool ours = false;
    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        size_t len = (size_t)(newline - at);
        if (len && at[len - 1] == '\r') len--;
        if (!len) {
            if (data && !ours) {
                if (options.dialect != &plain) {
                    if (!options.dialect->take(c, data, data_len, now)) return n;
                } else {
                    count_messages(c, 1, p + used, newline, now);
                }
            } else if (newline > p + used + 1) {
                since.others++;
            }
            /* Not before: who is cut within an event has not had it. */
            if (id) note_place(id, id_len);
            data = id = NULL;
            ours = false;
            used = (size_t)(newline + 1 - p);
        } else if (starts(at, len, "data:")) {
            data = value(at, 5, &len);
            data_len = len;
        } else if (starts(at, len, "id:")) {
            id = value(at, 3, &len);
            id_len = len;
        } else if (starts(at, len, "event:")) {
            const char *name = value(at, 6, &len);
            ours = is_ours(name, len);
        }
        at = newline + 1;
    }
    return used;
}

size_t take_lines(struct conn *c, const char *p, size_t n, int64_t now) {
    size_t used = 0;
    const char *newline;
    while ((newline = memchr(p + used, '\n', n - used))) {
        const char *line = p + used;
        used = (size_t)(newline + 1 - p);
        if (!options.dialect->take(c, line, (size_t)(newline - line), now)) return n;
    }
    return used;
}
