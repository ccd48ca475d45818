/* The generator's parts, what they share, and who may call whom: commands and the loop (generator.c) above all;
 * streams and answers cut bytes into texts; a dialect understands a text, and counts or replies.
 *
 * Invariant: every function that takes bytes or sends them and returns bool returns false when it has closed
 * the connection; its caller then leaves the connection alone.
 */
#ifndef TIDINGS_BENCH_GENERATOR_H
#define TIDINGS_BENCH_GENERATOR_H

#include "../common.h"

#include <sys/epoll.h>

enum transport { WEBSOCKET, SSE, XHR_STREAMING, LONG_POLLING, POLLING };

/* In this order: what is being opened, what is up, what is closed. */
enum state {
    CONNECTING,
    HEAD,     /* a stream's request is sent */
    GREETING, /* the dialect's handshake, or a poll's first answer, is under way */
    STREAM,
    ANSWER,   /* a poll is asked */
    RESTING,  /* a poll is to be asked again later */
    CUT,      /* closed by command, to be opened again from its place */
    CLOSED,
};

struct chunks { uint8_t state; uint32_t left; }; /* how far a chunked body has been read */

struct conn {
    int fd;
    unsigned number;
    uint8_t state;
    bool sampled;
    bool rested;      /* has waited its first, random, rest */
    bool in_message;  /* a fragmented WebSocket message is open, and it counts */
    bool chunked;
    uint8_t posted;   /* POSTs whose answers come before the poll's */
    uint32_t got;     /* messages since it was opened the last time */
    uint32_t rest_len;
    struct chunks chunks;
    char *rest;       /* an incomplete unit, kept until the rest of it comes; NULL when there is none */
    char *place;      /* where the next poll or the next connection begins; NULL before it is known */
    char *session;    /* what the dialect's server calls this client; NULL before it has said so */
};

struct answer {
    int status;
    const char *head, *body, *end;
    size_t head_len;
};

/* What is said besides HTTP and WebSocket frames. NULL: nothing is to be done. */
struct dialect {
    const char *name;
    unsigned transports; /* bits: 1 << WEBSOCKET, … */
    const char *stamp_key;
    void (*aim)(const struct conn *c, char *target, size_t size); /* completes the target of a request */
    bool (*opened)(struct conn *c);                               /* a stream's head has come; goes up, or greets */
    bool (*take)(struct conn *c, const char *p, size_t n, int64_t now); /* a frame's, event's or line's whole text */
    bool (*answered)(struct conn *c, const struct answer *a, int64_t now);
    void (*keep_place)(struct conn *c, const char *p, size_t n); /* of the last text of a read that had a message */
};

extern const struct dialect plain, engineio, sockjs, faye;

struct options {
    int port;
    enum transport transport;
    const struct dialect *dialect;
    const char *target, *hello, *prefix;
    char headers[2048];
    size_t prefix_len;
    unsigned samples, sources, in_flight, channels;
    double rearm, lazy;
    bool cursor, etag; /* --resume */
};

struct counts {
    int64_t messages, others, bytes, sent_bytes, answers, empties, requests, first, last, wall, cpu;
};

extern struct options options;
extern struct counts since; /* the mark */
extern struct conn *conns;
extern unsigned n_conns, n_up, n_failed, n_opening;

/* connections.c */
void init_connections(void);
void open_conn(struct conn *c);
void close_conn(struct conn *c);
unsigned cut_all(void);
void up(struct conn *c, enum state state);
void watch(const struct conn *c, int operation);
bool is_lazy(const struct conn *c);
bool send_all(struct conn *c, const char *bytes, size_t n, const char *what);
bool ask(struct conn *c);
bool post(struct conn *c, const char *body);
void handle_event(struct conn *c);
void sweep(int64_t now);
int64_t sweep_due(void);
extern int poller;

/* resting.c */
void rest(struct conn *c, int64_t now);
void forget_rests(void);
int64_t rest_due(void);
void end_rests(int64_t now);

/* counting.c */
__attribute__((format(printf, 1, 2))) void count_error(const char *format, ...);
void count_messages(struct conn *c, int64_t n, const char *from, const char *end, int64_t now);
void count_from_here(void);
void expect_each(unsigned each);
void print_errors(void);
void report(void);

/* streams.c: each takes the complete units at `p` and returns how many bytes they were, all of them when it has closed. */
size_t take_head(struct conn *c, const char *p, size_t n);
size_t take_frames(struct conn *c, const char *p, size_t n, int64_t now);
size_t take_events(struct conn *c, const char *p, size_t n, int64_t now);
size_t take_lines(struct conn *c, const char *p, size_t n, int64_t now);
bool send_text(struct conn *c, const char *text, size_t n);

/* answers.c */
size_t take_answers(struct conn *c, char *p, size_t n, int64_t now);
bool is_chunked(const char *head, size_t n);
size_t dechunk(struct chunks *chunks, char *p, size_t n);
bool ended(const struct chunks *chunks);

/* places.c */
void note_place(const char *p, size_t n);
void keep_noted_place(struct conn *c);
void set_place(struct conn *c, const char *p, size_t n);
void set_text(char **text, const char *p, size_t n);

/* json.c */
bool json_next(const char **at, const char *end, const char **value, const char **value_end);
const char *json_member(const char *p, const char *end, const char *name, size_t *n);

#endif
