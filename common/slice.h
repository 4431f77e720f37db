/* A view of bytes that somebody else owns: a Kafka message, an arena, a literal. Never
 * NUL-terminated by promise. Says nothing about encoding; see common/text.h for that. */
#ifndef SIPTRUNK_COMMON_SLICE_H
#define SIPTRUNK_COMMON_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *data; /* NULL: absent. An empty slice that is present has a non-NULL pointer. */
    size_t size;
};

#define SLICE_NONE       ((struct slice){0})
#define SLICE_LITERAL(s) ((struct slice){.data = ("" s), .size = sizeof(s) - 1})
#define SLICE_FMT        "%.*s"
#define SLICE_ARG(s)     (int)(s).size, (s).data

static inline struct slice slice_of(const char *text) {
    return text ? (struct slice){.data = text, .size = strlen(text)} : SLICE_NONE;
}

static inline bool slice_equal(struct slice a, struct slice b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_is(struct slice a, const char *text) {
    return slice_equal(a, slice_of(text));
}

/* Byte order, as collation C. */
static inline int slice_compare(struct slice a, struct slice b) {
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    if (order)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

#endif
