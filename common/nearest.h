/* The name that somebody probably meant: the nearest of those offered, by edit distance. */
#ifndef SIPTRUNK_COMMON_NEAREST_H
#define SIPTRUNK_COMMON_NEAREST_H

#include <stddef.h>

enum { NEAREST_MAX_NAME = 96 };

struct nearest {
    const char *wanted; /* what was typed; borrowed */
    size_t distance;
    char best[NEAREST_MAX_NAME]; /* empty: nothing is near enough */
};

struct nearest nearest_to(const char *wanted);

/* Names that are too long, or unlike what was typed in more than a third of it, are passed over. */
void nearest_offer(struct nearest *nearest, const char *candidate);

/* "; did you mean NAME?", or "" when nothing is near. Writes into text, which holds size bytes, and
 * returns it. */
const char *nearest_hint(const struct nearest *nearest, char *text, size_t size);

#endif
