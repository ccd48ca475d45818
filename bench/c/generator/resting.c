/* Connections that rest before they ask again. There is one fixed delay (but for the first), so a queue is enough. */
#include "generator.h"

static struct { int64_t at; unsigned number; } *resting;
static size_t head, tail, cap;

void rest(struct conn *c, int64_t now) {
    c->state = RESTING;
    double delay = options.rearm;
    if (!c->rested) delay *= drand48();
    int64_t at = now + (int64_t)(delay * (double)NS);
    if (tail - head == cap) {
        size_t old = cap;
        cap = old ? old * 2 : 1024;
        resting = grow(resting, cap * sizeof *resting);
        /* What had wrapped around goes behind the old end. */
        for (size_t i = head; i < tail; i++)
            if (i % cap != i % old) resting[i % cap] = resting[i % old];
    }
    size_t i = tail++;
    /* Only first rests are shorter than others: they are put in their place. */
    while (!c->rested && i > head && resting[(i - 1) % cap].at > at) {
        resting[i % cap] = resting[(i - 1) % cap];
        i--;
    }
    resting[i % cap].at = at;
    resting[i % cap].number = c->number;
    c->rested = true;
}

void forget_rests(void) { head = tail; }

int64_t rest_due(void) { return head != tail ? resting[head % cap].at : INT64_MAX; }

void end_rests(int64_t now) {
    while (head != tail && resting[head % cap].at <= now) {
        struct conn *c = &conns[resting[head++ % cap].number];
        if (c->state != RESTING) continue;
        c->state = ANSWER;
        ask(c);
    }
}
