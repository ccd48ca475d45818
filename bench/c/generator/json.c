/* As much JSON as dialects need: the elements of an array and the members of an object, as the bytes that they are.
 *
 * Invariant: nothing outside of [p, end) is read; what is no JSON ends the walk.
 */
#include "generator.h"

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
    return p;
}

/* `p` is at the opening quote. NULL: it does not end. */
static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '"') return p + 1;
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end) {
    if (p < end && *p == '"') return skip_string(p, end);
    for (int depth = 0; p < end;) {
        if (*p == '"') {
            if (!(p = skip_string(p, end))) return NULL;
            continue;
        }
        if (*p == '[' || *p == '{') depth++;
        else if (*p == ']' || *p == '}') {
            if (!depth) return p;
            if (!--depth) return p + 1;
        } else if (!depth && (*p == ',' || *p == ':')) return p;
        p++;
    }
    return NULL;
}

/* The next element of an array, whose first byte `*at` is set to by the caller; `*at` moves behind it. After the last one,
 * and only there, `*at` is at the closing bracket. */
bool json_next(const char **at, const char *end, const char **value, const char **value_end) {
    const char *p = skip_space(*at, end);
    if (p == end || (*p != '[' && *p != ',')) return false;
    p = skip_space(p + 1, end);
    const char *after = skip_value(p, end);
    if (!after) return false;
    *at = skip_space(after, end);
    *value = p;
    *value_end = after;
    return after != p;
}

/* The bytes of a member of the object at `p`, a string's without its quotes; NULL where there is none. */
const char *json_member(const char *p, const char *end, const char *name, size_t *n) {
    p = skip_space(p, end);
    if (p == end || *p != '{') return NULL;
    size_t len = strlen(name);
    while (p < end && (*p == '{' || *p == ',')) {
        const char *key = skip_space(p + 1, end), *colon, *after;
        if (key == end || *key != '"' || !(colon = skip_string(key, end))) return NULL;
        bool found = (size_t)(colon - key) == len + 2 && !memcmp(key + 1, name, len);
        colon = skip_space(colon, end);
        if (colon == end || *colon != ':') return NULL;
        const char *value = skip_space(colon + 1, end);
        if (!(after = skip_value(value, end)) || after == value) return NULL;
        if (found) {
            bool text = *value == '"';
            *n = (size_t)(after - value) - (text ? 2 : 0);
            return value + text;
        }
        p = skip_space(after, end);
    }
    return NULL;
}
