/* Bytes that grow on the heap, for tools and for work at the start. A failed allocation is
 * remembered, so that a caller may check once, at the end. One thread at a time. */
#ifndef SIPTRUNK_COMMON_BUFFER_H
#define SIPTRUNK_COMMON_BUFFER_H

#include "common/error.h"
#include "common/slice.h"

/* Starts as {0}. */
struct buffer {
    char *data;
    size_t size, capacity;
    bool failed;
};

void buffer_free(struct buffer *buffer);

/* Forgets the bytes and the failure; keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Room for size more bytes; NULL (and failed) when memory is out. The caller then raises .size. */
char *buffer_reserve(struct buffer *buffer, size_t size);

void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_add_text(struct buffer *buffer, const char *text);

struct slice buffer_slice(const struct buffer *buffer);

#endif
