/* The floor of a poll: one epoll loop that answers every GET with the same bytes.
 *
 * Owns: finding the end of a request, and `send`. Does not own: what is asked; no head is looked into, so that a
 * request with a body has no place here. Answers to requests that came together go out together.
 * Invariant: every send is checked. What the kernel did not take is kept, and nothing is read from that
 * connection until it is gone.
 *
 * responder --port P --answer TEXT
 */
#include "common.h"

#include <sys/epoll.h>

#define MAX_HEAD 16384
#define MAX_JOINED 64

struct conn {
    int fd;
    unsigned owed;      /* answers not yet sent, the one that `sent` bytes are gone of included */
    size_t sent;
    size_t rest_len;    /* of an incomplete head */
    char rest[MAX_HEAD];
};

static int poller;
static const char *answer;
static size_t answer_len;
static char answers[1 << 16], buffer[MAX_HEAD * 2];
static unsigned joined; /* answers that `answers` holds */

static void drop(struct conn *c) {
    close(c->fd);
    free(c);
}

static void listen_to(struct conn *c, uint32_t what) {
    struct epoll_event event = {.events = what, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

/* False when the connection is gone. */
static bool send_owed(struct conn *c) {
    while (c->owed) {
        size_t n = (c->owed < joined ? c->owed : joined) * answer_len - c->sent;
        ssize_t sent = send(c->fd, answers + c->sent, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) break;
            drop(c);
            return false;
        }
        c->sent += (size_t)sent;
        c->owed -= (unsigned)(c->sent / answer_len);
        c->sent %= answer_len;
        if ((size_t)sent < n) break;
    }
    return true;
}

static void writable(struct conn *c) {
    if (send_owed(c) && !c->owed) listen_to(c, EPOLLIN);
}

static void readable(struct conn *c) {
    memcpy(buffer, c->rest, c->rest_len);
    ssize_t got = recv(c->fd, buffer + c->rest_len, sizeof buffer - c->rest_len, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        drop(c);
        return;
    }
    size_t n = c->rest_len + (size_t)got, used = 0;
    for (size_t head; (head = head_length(buffer + used, n - used)); used += head) c->owed++;
    n -= used;
    if (n > MAX_HEAD) {
        fprintf(stderr, "responder: a head of more than %d bytes\n", MAX_HEAD);
        drop(c);
        return;
    }
    memcpy(c->rest, buffer + used, n);
    c->rest_len = n;
    if (send_owed(c) && c->owed) listen_to(c, EPOLLOUT);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = malloc(sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        c->owed = 0;
        c->sent = c->rest_len = 0;
        set_nodelay(fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %s", strerror(errno));
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept: %s", strerror(errno));
}

int main(int argc, char **argv) {
    int port = 0, one = 1;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argument(argc, argv, &i);
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--answer")) answer = value;
        else die("no such option: %s", name);
    }
    if (!port || !answer) die("--port and --answer want a value");
    answer_len = strlen(answer);
    if (!answer_len || answer_len > sizeof answers) die("--answer is 1 to %zu bytes", sizeof answers);
    while (joined < MAX_JOINED && (joined + 1) * answer_len <= sizeof answers) memcpy(answers + joined++ * answer_len, answer, answer_len);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(0x7f000001u);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) die("port %d: %s", port, strerror(errno));
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) die("epoll_ctl: %s", strerror(errno));
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) accept_all(listener);
            else if (events[i].events & EPOLLOUT) writable(c);
            else readable(c);
        }
    }
}
