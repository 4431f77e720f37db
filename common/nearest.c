/* Levenshtein distance in one row of the table. */
#include "common/nearest.h"

#include <stdio.h>
#include <string.h>

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Both texts shorter than NEAREST_MAX_NAME. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[NEAREST_MAX_NAME], length = strlen(b);
    for (size_t k = 0; k <= length; k++)
        row[k] = k;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= length; k++) {
            size_t replaced = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            row[k] = least(replaced, least(row[k], row[k - 1]) + 1);
        }
    }
    return row[length];
}

struct nearest nearest_to(const char *wanted) {
    return (struct nearest){.wanted = wanted, .distance = strlen(wanted) / 3 + 2};
}

void nearest_offer(struct nearest *nearest, const char *candidate) {
    if (strlen(nearest->wanted) >= NEAREST_MAX_NAME || strlen(candidate) >= NEAREST_MAX_NAME)
        return;
    size_t distance = edit_distance(nearest->wanted, candidate);
    if (distance >= nearest->distance)
        return;
    nearest->distance = distance;
    snprintf(nearest->best, sizeof nearest->best, "%s", candidate);
}

const char *nearest_hint(const struct nearest *nearest, char *text, size_t size) {
    text[0] = '\0';
    if (nearest->best[0])
        snprintf(text, size, "; did you mean %s?", nearest->best);
    return text;
}
