/* Each connection's place. Of all the texts of one read only the last one's is kept: the others were behind it. */
#include "generator.h"

static const char *noted;
static size_t noted_len;

void note_place(const char *p, size_t n) {
    noted = p;
    noted_len = n;
}

void keep_noted_place(struct conn *c) {
    if (noted && options.dialect->keep_place && (options.cursor || options.etag)) options.dialect->keep_place(c, noted, noted_len);
    noted = NULL;
}

void set_text(char **text, const char *p, size_t n) {
    /* Most are as long as the one before. */
    if (!*text || strlen(*text) != n) *text = grow(*text, n + 1);
    memcpy(*text, p, n);
    (*text)[n] = 0;
}

void set_place(struct conn *c, const char *p, size_t n) { set_text(&c->place, p, n); }
